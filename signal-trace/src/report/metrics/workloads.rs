//! The series that belong to workloads: how they come, count and go.
//!
//! Bounded. Beyond so many label sets, what is new counts under the one set `_other`, and the refusal is counted. A
//! workload's series outlive its last container here by some minutes, because the interesting increments happen as it
//! goes, and by some more while a change has not been seen. Time is an argument; whatever falls due between two scrapes
//! is done at the second one, where it first could be seen, so there is no timer.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::Settings;
use super::gate::{Gate, Turn};
use super::held::{Change, Durations, Held, Seconds};
use super::labels::{Labels, Whose, WhoseKiller, WhoseVerdict};
use super::page::Page;
use crate::event::{CgroupId, KernelTime};
use crate::judge::shutdown::{Cause, ContainerFacts, GraceSource, KilledBy, Outcome, Shutdown, Verdict};

/// Containers whose going is awaited. The series of one that is beyond go late from now on, as if it were gone.
const MAX_CONTAINERS: usize = 16_384;
/// Edges of `shutdown_duration_seconds`. The usual grace periods of 10, 30 and 60 s have one right above them: what is
/// killed at their end is not guessed to have lived on to some edge far away.
pub(crate) const EDGES: [f64; 17] =
    [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 11.0, 15.0, 20.0, 25.0, 30.0, 31.0, 60.0, 61.0, 120.0, 300.0];
/// The one verdict of which every workload has a series from the start: it shows that the workload is watched.
const PASSED: Verdict = Verdict { outcome: Outcome::Graceful, cause: Cause::None };

/// All label sets.
#[derive(Debug)]
pub(super) struct Workloads {
    settings: Settings,
    sets: BTreeMap<Arc<Labels>, Series>,
    other: Option<(Arc<Labels>, Series)>,
    containers: HashMap<CgroupId, Arc<Labels>>,
    totals: Totals,
}

/// What a bound refused, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// Times that a label set found no room.
    pub(super) refused: u64,
    /// Times that a series had to show an increment before its 0 had been seen.
    pub(super) shown_early: u64,
}

/// The series of one label set.
///
/// All but three of them are made when they are first needed: a histogram alone is 18 series, the verdicts are 30, and
/// most workloads never stop on most nodes.
#[derive(Debug)]
struct Series {
    grace: Option<Duration>,
    shutdowns: BTreeMap<Verdict, Held<u64>>,
    durations: Option<Held<Durations>>,
    avoidable_wait: Held<Seconds>,
    killed: BTreeMap<KilledBy, Held<u64>>,
    /// Containers that live.
    containers: usize,
    /// When the last of them went, or was judged.
    idle_since: KernelTime,
    /// When a scrape was last shown something new.
    changed: Turn,
}

impl Workloads {
    pub(super) fn new(settings: Settings) -> Self {
        let (sets, containers) = (BTreeMap::new(), HashMap::new());
        Self { settings, sets, other: None, containers, totals: Totals::default() }
    }

    /// What was refused so far.
    pub(super) fn totals(&self) -> Totals {
        self.totals
    }

    /// A container lives: its workload's series begin, if they have not begun. Said again, it may have other names:
    /// many are seen before their pod is known.
    pub(super) fn container_seen(
        &mut self,
        facts: &ContainerFacts,
        grace: Option<Duration>,
        gate: &mut Gate,
        now: KernelTime,
    ) {
        let labels = Labels::of(facts, self.settings.pod_label);
        if self.containers.get(&facts.cgroup).is_some_and(|known| **known != labels) {
            self.container_gone(facts.cgroup, now);
        }
        let Some(key) = self.room_for(labels, gate, now) else { return };
        let known = self.containers.contains_key(&facts.cgroup);
        let track = !known && self.containers.len() < MAX_CONTAINERS;
        if let Some(series) = self.sets.get_mut(&key) {
            series.grace = grace.or(series.grace);
            series.idle_since = now;
            series.containers += usize::from(track);
        }
        if track {
            self.containers.insert(facts.cgroup, key);
        }
    }

    /// A container is gone.
    pub(super) fn container_gone(&mut self, cgroup: CgroupId, now: KernelTime) {
        let Some(labels) = self.containers.remove(&cgroup) else { return };
        if let Some(series) = self.sets.get_mut(&labels) {
            series.containers = series.containers.saturating_sub(1);
            series.idle_since = now;
        }
    }

    /// A container was stopped, and judged: maybe long after it was gone, and maybe never seen before.
    pub(super) fn shutdown(&mut self, shutdown: &Shutdown, gate: &mut Gate, now: KernelTime) {
        let labels = Labels::of(&shutdown.container, self.settings.pod_label);
        let series = match self.room_for(labels, gate, now) {
            Some(key) => self.sets.get_mut(&key),
            None => self.other.as_mut().map(|(_, series)| series),
        };
        if let Some(series) = series {
            self.totals.shown_early += series.shutdown(shutdown, gate, now);
        }
    }

    /// Shows what may be shown by now, and forgets whom nobody misses. Every scrape begins with it.
    pub(super) fn settle(&mut self, gate: &mut Gate, now: KernelTime) {
        let others = self.other.iter_mut().map(|(_, series)| series);
        for series in self.sets.values_mut().chain(others) {
            self.totals.shown_early += series.settle(gate, now, self.settings.hold);
        }
        self.forget_gone(gate, now);
    }

    /// Writes all series down.
    pub(super) fn write(&self, page: &mut Page) {
        for (labels, series) in &self.sets {
            if let Some(grace) = series.grace {
                page.shutdown_grace.push((Whose(Arc::clone(labels)), grace.as_secs_f64()));
            }
            series.write(labels, page);
        }
        if let Some((labels, series)) = &self.other {
            series.write(labels, page);
        }
    }

    /// Makes sure that a label set has its series; none where there is no room for it, and then `other` is there.
    fn room_for(&mut self, labels: Labels, gate: &mut Gate, now: KernelTime) -> Option<Arc<Labels>> {
        if let Some((key, _)) = self.sets.get_key_value(&labels) {
            return Some(Arc::clone(key));
        }
        if self.sets.len() >= self.settings.label_sets {
            self.forget_gone(gate, now);
        }
        if self.sets.len() >= self.settings.label_sets {
            self.forget_longest_gone(gate, now);
        }
        if self.sets.len() >= self.settings.label_sets {
            self.totals.refused += 1;
            let pod_label = self.settings.pod_label;
            self.other.get_or_insert_with(|| (Arc::new(Labels::other(pod_label)), Series::new(gate, now)));
            return None;
        }
        let key = Arc::new(labels);
        self.sets.insert(Arc::clone(&key), Series::new(gate, now));
        Some(key)
    }

    fn forget_gone(&mut self, gate: &Gate, now: KernelTime) {
        let Settings { linger, hold, .. } = self.settings;
        self.sets.retain(|_, series| {
            let idle = now.since(series.idle_since);
            series.containers > 0 || idle < linger || (!series.is_seen(gate, now) && idle < linger.saturating_add(hold))
        });
    }

    fn forget_longest_gone(&mut self, gate: &Gate, now: KernelTime) {
        let gone = self.sets.iter().filter(|(_, series)| series.containers == 0 && series.is_seen(gate, now));
        if let Some(key) = gone.min_by_key(|(_, series)| series.idle_since).map(|(key, _)| Arc::clone(key)) {
            self.sets.remove(&key);
        }
    }
}

impl Series {
    fn new(gate: &mut Gate, now: KernelTime) -> Self {
        Self {
            grace: None,
            shutdowns: BTreeMap::from([(PASSED, Held::new(0, gate, now))]),
            durations: None,
            avoidable_wait: Held::new(Seconds::default(), gate, now),
            killed: BTreeMap::new(),
            containers: 0,
            idle_since: now,
            changed: gate.next(),
        }
    }

    /// Counts one shutdown, and says how many series had to show it early.
    fn shutdown(&mut self, shutdown: &Shutdown, gate: &mut Gate, now: KernelTime) -> u64 {
        // What was in force for one stop need not be what is configured.
        if self.grace.is_none() || shutdown.grace.source == GraceSource::Spec {
            self.grace = shutdown.grace.period.or(self.grace);
        }
        self.idle_since = now;
        let mut changes = Changes::default();
        changes.add(self.shutdowns.entry(shutdown.verdict).or_insert_with(|| Held::new(0, gate, now)).add(1));
        if let Some(duration) = shutdown.stop_to_exit {
            let durations = self.durations.get_or_insert_with(|| Held::new(Durations::new(&EDGES), gate, now));
            changes.add(durations.add(duration));
        }
        if let Some(wait) = shutdown.avoidable_wait {
            changes.add(self.avoidable_wait.add(wait));
        }
        for (by, count) in KilledBy::ALL.into_iter().zip(shutdown.killed) {
            if count > 0 {
                let killed = self.killed.entry(by).or_insert_with(|| Held::new(0, gate, now));
                changes.add(killed.add(u64::try_from(count).unwrap_or(u64::MAX)));
            }
        }
        self.note(changes, gate)
    }

    fn settle(&mut self, gate: &mut Gate, now: KernelTime, hold: Duration) -> u64 {
        let mut changes = Changes::default();
        for counter in self.shutdowns.values_mut().chain(self.killed.values_mut()) {
            changes.add(counter.settle(gate, now, hold));
        }
        if let Some(durations) = &mut self.durations {
            changes.add(durations.settle(gate, now, hold));
        }
        changes.add(self.avoidable_wait.settle(gate, now, hold));
        self.note(changes, gate)
    }

    fn note(&mut self, changes: Changes, gate: &mut Gate) -> u64 {
        if changes.any {
            self.changed = gate.next();
        }
        changes.early
    }

    fn is_seen(&self, gate: &Gate, now: KernelTime) -> bool {
        let mut counters = self.shutdowns.values().chain(self.killed.values());
        let holding = counters.any(Held::is_holding)
            || self.durations.as_ref().is_some_and(Held::is_holding)
            || self.avoidable_wait.is_holding();
        !holding && gate.has_seen(self.changed, now)
    }

    fn write(&self, labels: &Arc<Labels>, page: &mut Page) {
        let whose = || Whose(Arc::clone(labels));
        for (verdict, count) in &self.shutdowns {
            page.shutdowns.push((WhoseVerdict(Arc::clone(labels), *verdict), *count.shown()));
        }
        if let Some(durations) = &self.durations {
            page.shutdown_duration.push((whose(), durations.shown().clone()));
        }
        page.avoidable_wait.push((whose(), self.avoidable_wait.shown().0));
        for (by, count) in &self.killed {
            page.processes_killed.push((WhoseKiller(Arc::clone(labels), *by), *count.shown()));
        }
    }
}

/// What became of several series at once.
#[derive(Clone, Copy, Debug, Default)]
struct Changes {
    any: bool,
    early: u64,
}

impl Changes {
    fn add(&mut self, change: Change) {
        match change {
            Change::None => {}
            Change::Shown => self.any = true,
            Change::ShownEarly => {
                self.any = true;
                self.early += 1;
            }
        }
    }
}
