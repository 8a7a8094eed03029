//! Verdict records: what `watch --json` and the agent's log wrote, line by line and in bounded memory.
//!
//! A log holds other lines too, and log shippers wrap lines and send some twice: what is no record is passed over, a
//! wrapped one is unwrapped, and one that came before does not count again. What looks like a record and cannot be read
//! is a gap in the report, not a silence.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, BufRead, Read};

use serde::Deserialize;

use super::super::tally::{Gap, Key, Said, Source, Tallies, Tally};
use super::{Window, Within};
use crate::event::Signal;
use crate::judge::shutdown::{Finding, Outcome, Verdict};
use crate::policy::file::Policy;
use crate::report::json::{Record, Seconds, What, read_line};

/// A record's line is some kilobytes; its timeline is bounded.
const LINE: usize = 1 << 20;
/// Containers of workloads that are told apart.
const CONTAINERS: usize = 500_000;
/// Records that are remembered to know a second copy of them.
const REMEMBERED: usize = 4_000_000;
/// Nodes that are counted.
const NODES: usize = 200_000;
/// What begins every record.
const MARK: &str = r#"{"schema":"signal-trace.dev/"#;

/// Reads many files into one tally.
pub struct Records<'p> {
    policy: &'p Policy,
    window: Window,
    seen: HashSet<u64>,
    nodes: HashSet<(String, String)>,
    counts: Counts,
}

/// What was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records of the period or of the one before.
    pub records: u64,
    /// Records of another time.
    pub outside: u64,
    /// Second copies.
    pub copies: u64,
    /// Lines that are no records.
    pub other: u64,
    /// Lines that should be records.
    pub broken: u64,
    /// Records that found no room.
    pub refused: u64,
}

impl<'p> Records<'p> {
    /// Of that time, by that policy: its helpers are looked for in every record.
    pub fn new(policy: &'p Policy, window: Window) -> Self {
        Self { policy, window, seen: HashSet::new(), nodes: HashSet::new(), counts: Counts::default() }
    }

    /// What was read so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Reads one stream to its end. If it cannot be read to its end, what was read counts and the rest is a gap.
    pub fn read(&mut self, cluster: &str, name: &str, stream: &mut dyn BufRead, tallies: &mut Tallies) {
        tallies.sources.push(Source { kind: "records", name: name.to_owned() });
        let before = self.counts;
        let mut gap = |message| {
            let cluster = (!cluster.is_empty()).then(|| cluster.to_owned());
            tallies.gaps.push(Gap { cluster, message });
        };
        let mut first_broken = None;
        let mut line = Vec::new();
        let mut pending = Vec::new();
        for number in 1_u64.. {
            match next_line(stream, &mut line) {
                Ok(Read1::Line) => {}
                Ok(Read1::TooLong) => {
                    self.counts.broken += 1;
                    first_broken.get_or_insert((number, format!("longer than {LINE} bytes")));
                    continue;
                }
                Ok(Read1::End) => break,
                Err(error) => {
                    gap(format!("{name} could not be read to its end, from line {number} on: {error}"));
                    break;
                }
            }
            let text = String::from_utf8_lossy(&line);
            match record(&text) {
                Some(Ok(record)) => pending.push(record),
                Some(Err(error)) => {
                    self.counts.broken += 1;
                    first_broken.get_or_insert((number, error));
                }
                None => self.counts.other += u64::from(!text.trim().is_empty()),
            }
            for record in pending.drain(..) {
                self.take(cluster, &record, &mut tallies.containers);
            }
        }
        if let Some((number, error)) = first_broken {
            let broken = self.counts.broken - before.broken;
            gap(format!("{name}: {broken} broken records, the first in line {number}: {error}"));
        }
        let refused = self.counts.refused - before.refused;
        if refused > 0 {
            gap(format!("{name}: {refused} records of containers beyond the first {CONTAINERS} are not counted"));
        }
        self.watched(cluster, tallies);
    }

    /// One record, of that cluster.
    pub fn take(&mut self, cluster: &str, record: &Record, containers: &mut BTreeMap<Key, Tally>) {
        let within = self.window.place(record.time.0);
        if within == Within::Neither {
            self.counts.outside += 1;
            return;
        }
        if !self.is_first(cluster, record) {
            self.counts.copies += 1;
            return;
        }
        if within == Within::Period && self.nodes.len() < NODES {
            self.nodes.insert((cluster.to_owned(), record.node.clone()));
        }
        let key = key(cluster, record);
        if containers.len() >= CONTAINERS && !containers.contains_key(&key) {
            self.counts.refused += 1;
            return;
        }
        self.counts.records += 1;
        let tally = containers.entry(key).or_default();
        let verdict = Verdict { outcome: record.outcome.0, cause: record.cause.0 };
        let helpers = only_helpers_killed(record, self.policy);
        if within == Within::Before {
            tally.count_before(verdict, helpers);
            return;
        }
        tally.count(verdict, helpers);
        tally.seen_at(record.time.0);
        if let Some(seconds) = record.stop_to_exit_seconds {
            tally.durations.add(seconds.duration());
        }
        if let Some(seconds) = record.grace.seconds {
            tally.grace_read(seconds.duration(), record.grace.source.0, record.time.0);
        }
        let avoidable = record.avoidable_wait_seconds.map(Seconds::duration).unwrap_or_default();
        tally.avoidable = tally.avoidable.saturating_add(avoidable);
        if !record.advice.is_empty() && tally.said.get(&verdict).is_none_or(|said| said.time <= record.time.0) {
            tally.said.insert(verdict, Said { time: record.time.0, advice: record.advice.clone() });
        }
    }

    /// A container is stopped once at a time: the node, its id and the time are one shutdown.
    fn is_first(&mut self, cluster: &str, record: &Record) -> bool {
        let mut hasher = DefaultHasher::new();
        (cluster, &record.node, &record.container.id, record.time.0.as_microsecond()).hash(&mut hasher);
        let hash = hasher.finish();
        if self.seen.len() < REMEMBERED { self.seen.insert(hash) } else { !self.seen.contains(&hash) }
    }

    fn watched(&self, cluster: &str, tallies: &mut Tallies) {
        let nodes = self.nodes.iter().filter(|(of, _)| of == cluster).count();
        let watched = tallies.watched.entry(cluster.to_owned()).or_default();
        watched.agents = Some(u64::try_from(nodes).unwrap_or(u64::MAX));
    }
}

/// What the metrics of the same shutdown would be labelled with.
fn key(cluster: &str, record: &Record) -> Key {
    let container = &record.container;
    let name = match (&container.name, container.runtime.as_deref()) {
        (Some(name), _) => name.as_str(),
        (None, Some("systemd")) => container.id.as_str(),
        (None, _) => "",
    };
    let mut key = Key { cluster: cluster.to_owned(), container: name.to_owned(), ..Key::default() };
    if let Some(pod) = &record.pod {
        let owner = pod.workload.as_ref().map(|workload| (workload.kind.as_str(), workload.name.as_str()));
        let (kind, workload) = owner.unwrap_or(("pod", pod.name.as_str()));
        key.namespace.clone_from(&pod.namespace);
        key.kind = kind.to_ascii_lowercase();
        workload.clone_into(&mut key.workload);
    }
    key
}

/// By the judge's own list, or because every process that the timeline shows killed is on the policy's.
pub fn only_helpers_killed(record: &Record, policy: &Policy) -> bool {
    if record.findings.iter().any(|finding| finding.0 == Finding::HelpersKilled) {
        return true;
    }
    let in_time = matches!(record.outcome.0, Outcome::ChildrenKilled | Outcome::DiedOnSignal);
    if !in_time || record.timeline_cut > 0 || policy.helpers.is_empty() {
        return false;
    }
    let init = record.init.as_ref().map(|init| init.pid);
    let mut killed = 0;
    for step in &record.timeline {
        if let What::Exit { process, status } = &step.what
            && status.signal.is_some_and(|signal| signal.0 == Signal::KILL)
            && Some(process.pid) != init
        {
            if !policy.is_helper(&process.comm) {
                return false;
            }
            killed += 1;
        }
    }
    killed > 0 && killed == record.processes.killed
}

/// The record that a line holds; none where it holds none.
fn record(line: &str) -> Option<Result<Record, String>> {
    let line = line.trim();
    // As it is, or behind the time and stream that a container runtime puts before every line.
    if let Some(at) = line.find(MARK) {
        let start = &line[..at];
        if start.is_empty() || start.ends_with(' ') || start.ends_with('\t') {
            return Some(read_line(&line[at..]).map_err(|error| error.to_string()));
        }
    }
    // Wrapped, by Docker or by a shipper: {"log": "...", ...}
    if !line.starts_with('{') || !line.contains("signal-trace.dev/") {
        return None;
    }
    let wrapped: Wrapped = serde_json::from_str(line).ok()?;
    let inner = wrapped.log.or(wrapped.line).or(wrapped.message);
    match inner {
        Some(inner) => {
            inner.trim().starts_with(MARK).then(|| read_line(inner.trim()).map_err(|error| error.to_string()))
        }
        // Written anew by a program that orders keys or spaces in another way.
        None => wrapped.schema.map(|_| read_line(line).map_err(|error| error.to_string())),
    }
}

#[derive(Deserialize)]
struct Wrapped {
    log: Option<String>,
    line: Option<String>,
    message: Option<String>,
    schema: Option<String>,
}

enum Read1 {
    Line,
    TooLong,
    End,
}

/// Reads one line without its end into `line`; what is longer than a record can be is passed over.
fn next_line(stream: &mut dyn BufRead, line: &mut Vec<u8>) -> io::Result<Read1> {
    line.clear();
    let limit = u64::try_from(LINE).unwrap_or(u64::MAX);
    if stream.take(limit).read_until(b'\n', line)? == 0 {
        return Ok(Read1::End);
    }
    if line.len() < LINE || line.ends_with(b"\n") {
        return Ok(Read1::Line);
    }
    while !line.ends_with(b"\n") {
        line.clear();
        if stream.take(limit).read_until(b'\n', line)? == 0 {
            break;
        }
    }
    Ok(Read1::TooLong)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;
    use crate::judge::shutdown::GraceSource::{self, Deletion, Flag, Floor, Probe, Spec};
    use crate::report::json::{GraceRecord, Name, Time, write_line};

    fn record_at(time: Timestamp) -> Record {
        Record { time: Time(time), ..read_line(RECORD).unwrap() }
    }

    #[test]
    fn a_node_of_the_period_before_is_not_watched_now() {
        let at = |text: &str| text.parse().unwrap();
        let window = Window { from: Some(at("2026-11-22T10:00:00Z")), to: Some(at("2026-11-22T12:00:00Z")) };
        let mut log: Vec<u8> = Vec::new();
        for (node, time) in [("gone", "2026-11-22T09:00:00Z"), ("there", "2026-11-22T11:00:00Z")] {
            write_line(&mut log, &Record { node: node.to_owned(), ..record_at(at(time)) }).unwrap();
        }
        let (policy, mut tallies) = (Policy::default(), Tallies::default());
        let mut records = Records::new(&policy, window);
        records.read("", "log", &mut &*log, &mut tallies);
        assert_eq!(records.counts(), Counts { records: 2, ..Counts::default() });
        assert_eq!(tallies.watched[""].agents, Some(1));
    }

    #[test]
    fn the_grace_is_the_latest_of_the_best_source() {
        let begin: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
        for (graces, expected) in [
            (&[(30, Spec), (2, Floor)][..], 30),
            (&[(2, Floor), (30, Spec), (5, Deletion)], 30),
            (&[(45, Deletion), (30, Deletion), (10, Probe)], 30),
            (&[(30, Spec), (60, Spec), (2, Floor)], 60),
            (&[(10, Flag), (20, Flag)], 20),
        ] {
            let record = |(minute, (seconds, source)): (u64, &(u64, GraceSource))| {
                let seconds = Some(Duration::from_secs(*seconds).into());
                let grace = GraceRecord { seconds, source: Name(*source) };
                Record { grace, ..record_at(begin + Duration::from_mins(minute)) }
            };
            let records: Vec<Record> = (0..).zip(graces).map(record).collect();
            let policy = Policy::default();
            // Files are read in any order.
            for order in [records.iter().collect::<Vec<_>>(), records.iter().rev().collect()] {
                let (mut reader, mut containers) = (Records::new(&policy, Window::default()), BTreeMap::new());
                for record in order {
                    reader.take("", record, &mut containers);
                }
                let found: Vec<_> = containers.values().map(|tally| tally.grace).collect();
                assert_eq!(found, [Some(Duration::from_secs(expected))], "{graces:?}");
            }
        }
    }

    const RECORD: &str = r#"{"schema":"signal-trace.dev/shutdown/v1","time":"2026-11-22T10:00:00.000000Z","node":"worker-1",
"container":{"id":"c","name":"app","runtime":"containerd","image":null,"cgroup":"/kubepods/c","cgroup_id":7},
"pod":{"namespace":"shop","name":"cart-7d9f-x2k","uid":"u","revision":null,"workload":{"kind":"Deployment","name":"cart"}},
"outcome":"graceful","cause":"none","confidence":"proven","trigger":"delete","stop_signal":"SIGTERM",
"init_disposition":"handled","grace":{"seconds":30.0,"source":"spec"},"prestop_seconds":null,"stop_to_kill_seconds":null,
"stop_to_exit_seconds":0.5,"kill_to_exit_seconds":null,"avoidable_wait_seconds":null,
"init":{"pid":27063,"ns_pid":1,"comm":"cart"},"exit":{"code":0,"signal":null},
"processes":{"at_stop":0,"leaves":0,"told":0,"killed":0},"killed_by":null,"missed":[],"findings":[],"advice":"",
"timeline":[],"timeline_cut":0}"#;
}
