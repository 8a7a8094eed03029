//! What a source counted: the input of an audit, whichever source it was.
//!
//! Sums alone, so that a million shutdowns of a workload take the room of one. Two sources add up; two replicas that
//! watched the same are brought together by the larger of each count.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::durations::Durations;
use crate::judge::shutdown::{GraceSource, Verdict};

/// A container of a workload in a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The name its source was given, or a label's value; empty where there is one cluster and no name.
    pub cluster: String,
    /// Its namespace; empty outside Kubernetes.
    pub namespace: String,
    /// `deployment`, `statefulset`, ..., in lower case; empty outside Kubernetes.
    pub kind: String,
    /// The workload's name.
    pub workload: String,
    /// The container's name.
    pub container: String,
}

/// Shutdowns of one verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// All of them.
    pub shutdowns: u64,
    /// Of these, where helpers alone were killed.
    pub helpers: u64,
}

/// The sentence of the latest record of a verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// When.
    pub time: Timestamp,
    /// What to change.
    pub advice: String,
}

/// What became of one container of a workload.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// Within the period.
    pub verdicts: BTreeMap<Verdict, Count>,
    /// Within the period of the same length before it.
    pub before: BTreeMap<Verdict, Count>,
    /// From stop signal to init's exit.
    pub durations: Durations,
    /// The configured grace as it was last seen.
    pub grace: Option<Duration>,
    /// In records alone: from which source, and when.
    pub grace_from: Option<(GraceSource, Timestamp)>,
    /// Waited, and could not help.
    pub avoidable: Duration,
    /// The first shutdown of the period.
    pub first: Option<Timestamp>,
    /// The last one.
    pub last: Option<Timestamp>,
    /// In records alone.
    pub said: BTreeMap<Verdict, Said>,
}

/// What is known of how much of a cluster was watched.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Watched {
    /// Nodes at the end of the period.
    pub nodes: Option<u64>,
    /// Of these, with a healthy agent.
    pub agents: Option<u64>,
    /// Nodes that no agent can watch: virtual ones, Windows.
    pub hidden_nodes: Option<u64>,
    /// Pods whose containers the kernel does not show: sandboxed runtimes.
    pub hidden_pods: Option<u64>,
    /// Node-hours that were watched.
    pub watched_hours: Option<f64>,
    /// Node-hours that there were.
    pub all_hours: Option<f64>,
    /// Kernel records that were lost.
    pub lost_events: Option<u64>,
    /// Shutdowns that belong to nobody, by reason.
    pub unattributed: BTreeMap<String, u64>,
}

/// Where numbers came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// `records` or `prometheus`.
    pub kind: &'static str,
    /// A file's name, an address without its secrets.
    pub name: String,
}

/// Something that makes the numbers incomplete.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gap {
    /// Whose; none where it is no cluster's.
    pub cluster: Option<String>,
    /// What is missing, and why.
    pub message: String,
}

/// All that was counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tallies {
    /// By container.
    pub containers: BTreeMap<Key, Tally>,
    /// By cluster.
    pub watched: BTreeMap<String, Watched>,
    /// In the order in which they were asked.
    pub sources: Vec<Source>,
    /// What is missing.
    pub gaps: Vec<Gap>,
}

impl Tally {
    /// One more shutdown.
    pub fn count(&mut self, verdict: Verdict, helpers: bool) {
        count(&mut self.verdicts, verdict, helpers);
    }

    /// One more shutdown of the period before.
    pub fn count_before(&mut self, verdict: Verdict, helpers: bool) {
        count(&mut self.before, verdict, helpers);
    }

    /// The grace of one more shutdown: of the best source's the latest stays.
    pub fn grace_read(&mut self, grace: Duration, source: GraceSource, time: Timestamp) {
        let weight = |(source, time): (GraceSource, Timestamp)| (trust(source), time);
        if self.grace_from.is_none_or(|known| weight((source, time)) >= weight(known)) {
            self.grace = Some(grace);
            self.grace_from = Some((source, time));
        }
    }

    /// The period has a shutdown at that time.
    pub fn seen_at(&mut self, time: Timestamp) {
        self.first = Some(self.first.map_or(time, |first| first.min(time)));
        self.last = Some(self.last.map_or(time, |last| last.max(time)));
    }

    /// Shutdowns of the period.
    pub fn shutdowns(&self) -> u64 {
        self.verdicts.values().map(|count| count.shutdowns).sum()
    }

    /// Of two replicas that watched the same: what one of them missed the other has.
    pub fn merge_replica(&mut self, other: Self) {
        for (mine, theirs) in [(&mut self.verdicts, other.verdicts), (&mut self.before, other.before)] {
            for (verdict, count) in theirs {
                let mine = mine.entry(verdict).or_default();
                mine.shutdowns = mine.shutdowns.max(count.shutdowns);
                mine.helpers = mine.helpers.max(count.helpers);
            }
        }
        self.durations.merge_replica(&other.durations);
        self.grace = other.grace.or(self.grace);
        self.avoidable = self.avoidable.max(other.avoidable);
        for time in other.first.into_iter().chain(other.last) {
            self.seen_at(time);
        }
        self.said.extend(other.said);
    }
}

/// How much a source tells of what is configured: a deletion may ask for another grace, and the rest are for one stop.
fn trust(source: GraceSource) -> u8 {
    match source {
        GraceSource::Spec => 2,
        GraceSource::Deletion => 1,
        GraceSource::Probe
        | GraceSource::Floor
        | GraceSource::Flag
        | GraceSource::RuntimeDefault
        | GraceSource::Unknown => 0,
    }
}

fn count(counts: &mut BTreeMap<Verdict, Count>, verdict: Verdict, helpers: bool) {
    let count = counts.entry(verdict).or_default();
    count.shutdowns = count.shutdowns.saturating_add(1);
    count.helpers = count.helpers.saturating_add(u64::from(helpers));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::shutdown::{Cause, Outcome};

    const GRACEFUL: Verdict = Verdict { outcome: Outcome::Graceful, cause: Cause::None };
    const STUCK: Verdict = Verdict { outcome: Outcome::GraceExceeded, cause: Cause::Stuck };

    #[test]
    fn replicas_do_not_add_up() {
        let mut one = Tally::default();
        let mut other = Tally::default();
        for _ in 0..3 {
            one.count(GRACEFUL, false);
            other.count(GRACEFUL, false);
        }
        other.count(STUCK, false);
        one.avoidable = Duration::from_secs(9);
        one.merge_replica(other);
        assert_eq!(one.shutdowns(), 4);
        assert_eq!(one.avoidable, Duration::from_secs(9));
    }
}
