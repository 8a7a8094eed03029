//! The series of the agent itself: what it read, lost, could not name and wrote. Few, and there from the start.

use std::time::Duration;

use super::gate::Gate;
use super::held::{Change, Durations, Held};
use super::labels::One;
use super::page::{Page, Samples};
use super::workloads::Totals;
use super::{Gauges, KernelEvent, KubeEvent, LossReason, Refused, Unattributed};
use crate::event::KernelTime;

/// Edges of `kill_to_exit_seconds`: a killed process is gone at once, or hangs in the kernel.
const KILL_EDGES: [f64; 9] = [0.001, 0.01, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0];

/// All of them.
#[derive(Debug)]
pub(super) struct Own {
    kill_to_exit: Held<Durations>,
    kernel_events: [Held<u64>; KernelEvent::ALL.len()],
    kernel_events_lost: [Total; LossReason::ALL.len()],
    unattributed: [Held<u64>; Unattributed::ALL.len()],
    kube_events: [Held<u64>; KubeEvent::ALL.len()],
    refused: [Held<u64>; Refused::ALL.len()],
    series_refused: Total,
    early_increments: Total,
    connections_refused: Held<u64>,
    gauges: Gauges,
    last_event: Option<Duration>,
    /// Of the series here.
    shown_early: u64,
}

/// A counter whose new total is told, not its increments.
#[derive(Debug)]
struct Total {
    told: u64,
    series: Held<u64>,
}

impl Own {
    pub(super) fn new(gate: &mut Gate, now: KernelTime) -> Self {
        Self {
            kill_to_exit: Held::new(Durations::new(&KILL_EDGES), gate, now),
            kernel_events: KernelEvent::ALL.map(|_| Held::new(0, gate, now)),
            kernel_events_lost: LossReason::ALL.map(|_| Total::new(gate, now)),
            unattributed: Unattributed::ALL.map(|_| Held::new(0, gate, now)),
            kube_events: KubeEvent::ALL.map(|_| Held::new(0, gate, now)),
            refused: Refused::ALL.map(|_| Held::new(0, gate, now)),
            series_refused: Total::new(gate, now),
            early_increments: Total::new(gate, now),
            connections_refused: Held::new(0, gate, now),
            gauges: Gauges::default(),
            last_event: None,
            shown_early: 0,
        }
    }

    pub(super) fn kill_to_exit(&mut self, duration: Duration) {
        let change = self.kill_to_exit.add(duration);
        self.note(change);
    }

    pub(super) fn kernel_events(&mut self, kind: KernelEvent, count: u64) {
        let change = self.kernel_events[kind as usize].add(count);
        self.note(change);
    }

    pub(super) fn last_event(&mut self, since_epoch: Duration) {
        self.last_event = self.last_event.max(Some(since_epoch));
    }

    pub(super) fn lost(&mut self, reason: LossReason, total: u64) {
        let change = self.kernel_events_lost[reason as usize].raise(total);
        self.note(change);
    }

    pub(super) fn unattributed(&mut self, reason: Unattributed) {
        let change = self.unattributed[reason as usize].add(1);
        self.note(change);
    }

    pub(super) fn kube_event(&mut self, result: KubeEvent) {
        let change = self.kube_events[result as usize].add(1);
        self.note(change);
    }

    pub(super) fn refused(&mut self, what: Refused, count: u64) {
        let change = self.refused[what as usize].add(count);
        self.note(change);
    }

    pub(super) fn connection_refused(&mut self) {
        let change = self.connections_refused.add(1);
        self.note(change);
    }

    pub(super) fn gauges(&mut self, gauges: Gauges) {
        self.gauges = gauges;
    }

    /// Shows what may be shown by now; `workloads` says what its bounds refused.
    pub(super) fn settle(&mut self, workloads: Totals, gate: &Gate, now: KernelTime, hold: Duration) {
        let change = self.kill_to_exit.settle(gate, now, hold);
        self.note(change);
        let Self { kernel_events, kernel_events_lost, unattributed, kube_events, refused, connections_refused, .. } =
            self;
        let totals = kernel_events_lost.iter_mut().chain([&mut self.series_refused]).map(|total| &mut total.series);
        let counters = kernel_events.iter_mut().chain(unattributed).chain(kube_events);
        let counters = counters.chain(refused).chain([connections_refused]);
        let early = totals.chain(counters).filter_map(|series| match series.settle(gate, now, hold) {
            Change::None | Change::Shown => None,
            Change::ShownEarly => Some(1),
        });
        self.shown_early += early.sum::<u64>();
        let change = self.series_refused.raise(workloads.refused);
        self.note(change);
        // The last, because it counts the others; of itself it does not count.
        let _ = self.early_increments.series.settle(gate, now, hold);
        let _ = self.early_increments.raise(workloads.shown_early + self.shown_early);
    }

    /// Writes all series down.
    pub(super) fn write(&self, page: &mut Page) {
        page.kill_to_exit = Some(self.kill_to_exit.shown().clone());
        page.kernel_events = named("kind", KernelEvent::ALL.map(KernelEvent::name), &self.kernel_events);
        let lost = LossReason::ALL.map(LossReason::name).into_iter().zip(&self.kernel_events_lost);
        page.kernel_events_lost = lost.map(|(name, total)| (One("reason", name), *total.series.shown())).collect();
        page.unattributed_shutdowns = named("reason", Unattributed::ALL.map(Unattributed::name), &self.unattributed);
        page.kube_events = named("result", KubeEvent::ALL.map(KubeEvent::name), &self.kube_events);
        page.refused = named("what", Refused::ALL.map(Refused::name), &self.refused);
        page.gauges = self.gauges;
        page.series_refused = *self.series_refused.series.shown();
        page.early_increments = *self.early_increments.series.shown();
        page.connections_refused = *self.connections_refused.shown();
        page.last_event = self.last_event.map(|time| time.as_secs_f64());
    }

    fn note(&mut self, change: Change) {
        self.shown_early += u64::from(change == Change::ShownEarly);
    }
}

impl Total {
    fn new(gate: &mut Gate, now: KernelTime) -> Self {
        Self { told: 0, series: Held::new(0, gate, now) }
    }

    /// To a new total; one that went down is an old one.
    fn raise(&mut self, total: u64) -> Change {
        let step = total.saturating_sub(self.told);
        self.told += step;
        match step {
            0 => Change::None,
            step => self.series.add(step),
        }
    }
}

fn named<const N: usize>(label: &'static str, names: [&'static str; N], series: &[Held<u64>; N]) -> Samples<One, u64> {
    names.into_iter().zip(series).map(|(name, series)| (One(label, name), *series.shown())).collect()
}
