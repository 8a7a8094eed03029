//! What is asked, in PromQL. Pure: a period and some names give a fixed, small number of questions.
//!
//! How a shutdown is counted right, whatever happened to the series of its agent:
//! - A series that was never reset gained its highest value less the last one before the range: exactly, and without the
//!   extrapolation of `increase()`, which can make three shutdowns of two in a short series.
//! - One that was reset, because its agent restarted, gained what `increase()` says, rounded: that is exact as long as it
//!   has several samples for each increment.
//! - One that appears above 0 in the middle of the range, of an agent that was scraped all along, has its first value
//!   added. Of an agent that nobody scraped at the beginning it is not: those shutdowns may be from before.
//! - Two scrapers of the same agents differ in a replica label alone: the larger count of each series is taken.
//! - Agents that follow one another on a node, and a workload's pods on many nodes, are series of their own, and add up.

use jiff::{SignedDuration, Timestamp};

/// Labels that differ between two scrapers of the same target and nowhere else.
const REPLICAS: &str = "prometheus_replica, replica, __replica__, receive_replica";
/// What a workload's series are summed by.
const WHOSE: &str = "namespace, workload, workload_type, container";
/// Points at which it is asked which nodes were watched.
const COVERAGE_POINTS: i64 = 120;
/// Parts of the period in which a workload's shutdowns are looked for.
const SEEN_PARTS: i64 = 30;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// Shutdowns of the period by verdict.
    Shutdowns,
    /// First values of series that appeared above 0.
    Newborn,
    /// Shutdowns of the period before.
    Before,
    /// Their durations by bucket.
    Durations,
    /// Waited, and could not help.
    Avoidable,
    /// The configured grace.
    Grace,
    /// In which parts of the period there were shutdowns.
    Seen,
    /// Kernel records that were lost.
    Lost,
    /// Shutdowns of nobody, by reason.
    Unattributed,
    /// Nodes with an agent, over time.
    Agents,
    /// All nodes, over time.
    Nodes,
    /// Nodes that cannot be watched.
    HiddenNodes,
    /// Pods that cannot be watched.
    HiddenPods,
}

impl Ask {
    /// All of them, in the order in which they are asked.
    pub(super) const ALL: [Self; 13] = [
        Self::Shutdowns,
        Self::Newborn,
        Self::Before,
        Self::Durations,
        Self::Avoidable,
        Self::Grace,
        Self::Seen,
        Self::Lost,
        Self::Unattributed,
        Self::Agents,
        Self::Nodes,
        Self::HiddenNodes,
        Self::HiddenPods,
    ];

    /// What it is for, for people.
    pub(super) fn about(self) -> &'static str {
        match self {
            Self::Shutdowns => "shutdowns by verdict",
            Self::Newborn => "first values of series that appeared above 0",
            Self::Before => "shutdowns of the period before",
            Self::Durations => "durations by bucket",
            Self::Avoidable => "avoidable wait",
            Self::Grace => "configured grace",
            Self::Seen => "first and last shutdown",
            Self::Lost => "kernel records lost",
            Self::Unattributed => "shutdowns that nobody could be named for",
            Self::Agents => "nodes with an agent",
            Self::Nodes => "all nodes",
            Self::HiddenNodes => "nodes that cannot be watched",
            Self::HiddenPods => "pods that cannot be watched",
        }
    }

    /// The range that it is asked over, in an audit of that period.
    pub(super) fn range(self, period: Range) -> Range {
        if self == Self::Before { period.before() } else { period }
    }

    /// Whether its answers over two halves of a range add up to the one over the whole.
    pub(super) fn can_be_split(self) -> bool {
        match self {
            Self::Shutdowns | Self::Newborn | Self::Before | Self::Durations | Self::Avoidable | Self::Grace => true,
            Self::Lost | Self::Unattributed => true,
            Self::Seen | Self::Agents | Self::Nodes | Self::HiddenNodes | Self::HiddenPods => false,
        }
    }
}

/// A bounded period: the begin is before the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
}

impl Range {
    pub(super) fn seconds(self) -> i64 {
        self.to.duration_since(self.from).as_secs().max(1)
    }

    /// The one of the same length before it.
    pub(super) fn before(self) -> Self {
        let length = SignedDuration::from_secs(self.seconds());
        Self { from: self.from.checked_sub(length).unwrap_or(Timestamp::MIN), to: self.from }
    }

    pub(super) fn halves(self) -> [Self; 2] {
        let half = SignedDuration::from_secs(self.seconds() / 2);
        let middle = self.from.checked_add(half).unwrap_or(self.to);
        [Self { from: self.from, to: middle }, Self { from: middle, to: self.to }]
    }
}

/// Which series are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// The label that tells clusters apart, where one server has several.
    pub cluster_label: String,
    /// More matchers for every series of the agents: `env="prod"`.
    pub selector: String,
}

/// A question as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) text: String,
    pub(super) when: When,
}

/// At one time, or at many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    At(Timestamp),
    Every { range: Range, step: i64 },
}

impl Names {
    pub(super) fn query(&self, ask: Ask, range: Range) -> Query {
        let length = format!("{}s", range.seconds());
        let at = When::At(range.to);
        let (text, when) = match ask {
            Ask::Shutdowns | Ask::Before => (self.shutdowns(&length), at),
            Ask::Newborn => (self.newborn(&length), at),
            Ask::Durations => {
                let name = "signal_trace_shutdown_duration_seconds_bucket";
                (self.summed(&format!("{WHOSE}, le"), &self.gained(name, &length)), at)
            }
            Ask::Avoidable => {
                let name = "signal_trace_avoidable_wait_seconds_total";
                {
                    let increase = format!("increase({}[{length}])", self.series(name));
                    (self.summed(WHOSE, &format!("{} or {increase}", self.exactly(name, &length))), at)
                }
            }
            Ask::Grace => {
                let series = self.series("signal_trace_shutdown_grace_seconds");
                (self.by("max", WHOSE, &format!("last_over_time({series}[{length}])")), at)
            }
            Ask::Seen => {
                let step = (range.seconds() / SEEN_PARTS).max(1);
                let increase = self.gained("signal_trace_shutdowns_total", &format!("{step}s"));
                let first = range.from.checked_add(SignedDuration::from_secs(step)).unwrap_or(range.to);
                let range = Range { from: first.min(range.to), to: range.to };
                (format!("{} > 0", self.summed(WHOSE, &increase)), When::Every { range, step })
            }
            Ask::Lost => (self.summed("", &self.gained("signal_trace_kernel_events_lost_total", &length)), at),
            Ask::Unattributed => {
                (self.summed("reason", &self.gained("signal_trace_unattributed_shutdowns_total", &length)), at)
            }
            Ask::Agents => (self.agents(), every(range)),
            Ask::Nodes => {
                let nodes = format!("group by ({}) (kube_node_info)", self.label("node"));
                (self.by("count", "", &nodes), every(range))
            }
            Ask::HiddenNodes => (self.hidden_nodes(), at),
            Ask::HiddenPods => {
                let kinds =
                    "kube_pod_runtimeclass_name_info{runtimeclass_name=~\"(?i).*(kata|gvisor|runsc|firecracker).*\"}";
                let pods = format!("group by ({}) ({kinds})", self.label("namespace, pod"));
                (self.by("count", "", &pods), at)
            }
        };
        Query { text, when }
    }

    fn shutdowns(&self, length: &str) -> String {
        let labels = format!("{WHOSE}, outcome, cause");
        self.summed(&labels, &self.gained("signal_trace_shutdowns_total", length))
    }

    fn newborn(&self, length: &str) -> String {
        let series = self.series("signal_trace_shutdowns_total");
        let agent = self.series("signal_trace_build_info");
        let first = format!(
            "((min_over_time({series}[{length}]) unless {series} offset {length}) \
             and on ({}) ({agent} offset {length})) > 0",
            self.label("job, instance")
        );
        self.summed(&format!("{WHOSE}, outcome, cause"), &first)
    }

    /// Each node once, however many agents it has: by its label, or by the address without the port. An agent that let
    /// go of its programs sees nothing.
    fn agents(&self) -> String {
        let agent = format!(
            "({} unless on ({}) ({} == 1))",
            self.series("signal_trace_build_info"),
            self.label("job, instance"),
            self.series("signal_trace_detached")
        );
        let by_address = format!(r#"label_replace({agent}, "st_node", "$1", "instance", "(.*?)(:[0-9]+)?")"#);
        let by_name = format!(r#"label_replace({by_address}, "st_node", "$1", "node", "(.+)")"#);
        self.by("count", "", &format!("group by ({}) ({by_name})", self.label("st_node")))
    }

    fn hidden_nodes(&self) -> String {
        let windows = r#"kube_node_info{os_image=~"(?i).*windows.*"}"#;
        let virtual_ones = r#"kube_node_info{node=~"(fargate|virtual-|aci-|virtual-kubelet).*"}"#;
        self.by("count", "", &format!("group by ({}) ({windows} or {virtual_ones})", self.label("node")))
    }

    /// What each series gained, as the whole number that it was.
    fn gained(&self, name: &str, length: &str) -> String {
        let increase = format!("round(increase({}[{length}]))", self.series(name));
        format!("{} or {increase}", self.exactly(name, length))
    }

    /// What each series gained that was not reset.
    fn exactly(&self, name: &str, length: &str) -> String {
        let series = self.series(name);
        let before = format!("({series} offset {length} or min_over_time({series}[{length}]))");
        format!("((max_over_time({series}[{length}]) - {before}) >= 0 unless resets({series}[{length}]) > 0)")
    }

    /// The sum by those labels, with each replica counted once.
    fn summed(&self, labels: &str, series: &str) -> String {
        self.by("sum", labels, &format!("max without ({REPLICAS}) ({series})"))
    }

    fn by(&self, aggregate: &str, labels: &str, inner: &str) -> String {
        let text = format!("{aggregate} by ({}) ({inner})", self.label(labels));
        if self.cluster_label == "cluster" || self.cluster_label.is_empty() {
            return text;
        }
        format!(r#"label_replace({text}, "cluster", "$1", "{}", "(.*)")"#, self.cluster_label)
    }

    fn label(&self, more: &str) -> String {
        match (self.cluster_label.as_str(), more) {
            ("", more) => more.to_owned(),
            (cluster, "") => cluster.to_owned(),
            (cluster, more) => format!("{cluster}, {more}"),
        }
    }

    fn series(&self, name: &str) -> String {
        if self.selector.is_empty() { name.to_owned() } else { format!("{name}{{{}}}", self.selector) }
    }
}

fn every(range: Range) -> When {
    When::Every { range, step: (range.seconds() / COVERAGE_POINTS).max(15) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn month() -> Range {
        let at = |text: &str| text.parse().unwrap();
        Range { from: at("2026-10-23T12:00:00Z"), to: at("2026-11-22T12:00:00Z") }
    }

    #[test]
    fn the_questions() {
        let plain = Names { cluster_label: "cluster".to_owned(), selector: String::new() };
        let picky = Names { cluster_label: "k8s".to_owned(), selector: r#"env="prod""#.to_owned() };
        let mut text = String::new();
        for (names, asks) in [(plain, &Ask::ALL[..]), (picky, &[Ask::Newborn, Ask::Agents])] {
            for ask in asks {
                let query = names.query(*ask, ask.range(month()));
                text.push_str(&format!("{}\n  {}\n  {:?}\n", ask.about(), query.text, query.when));
            }
        }
        insta::assert_snapshot!(text);
    }

    #[test]
    fn two_halves_are_the_whole() {
        let [first, second] = month().halves();
        assert_eq!((first.from, second.to, first.to), (month().from, month().to, second.from));
        assert_eq!(month().before().to, month().from);
        assert_eq!(month().before().seconds(), month().seconds());
    }
}
