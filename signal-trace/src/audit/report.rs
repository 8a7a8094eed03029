//! The result of an audit: what every format renders, and, as JSON, the published shape `signal-trace.dev/audit/v1`.
//!
//! Values only. The doc comments are the schema's descriptions: they speak to whoever reads the JSON. Fields may be
//! added within a version; none is renamed or removed. What is not known is null, never 0.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};

use crate::judge::shutdown::{Cause, Outcome, Verdict};
use crate::policy::Compliance;
use crate::report::json::{Name, Time};

/// Name and version of the shape.
pub const SCHEMA: &str = "signal-trace.dev/audit/v1";

/// Which workloads shut down gracefully, which do not, who is at fault, and what it costs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "signal-trace audit, version 1")]
pub struct Report {
    /// Name and version of this shape: `signal-trace.dev/audit/v1`.
    pub schema: String,
    /// Version of signal-trace that wrote it.
    pub version: String,
    /// When it was written.
    pub generated: Time,
    /// What it is about.
    pub period: Period,
    /// Whether nothing is missing of what was asked for.
    pub complete: bool,
    /// What is missing, and why.
    pub gaps: Vec<GapReport>,
    /// Where the numbers came from.
    pub sources: Vec<SourceReport>,
    /// The rules that were applied.
    pub rules: Rules,
    /// How much was watched.
    pub coverage: Coverage,
    /// From 0 to 100; null where too little was watched, or no workload has enough data.
    pub score: Option<f64>,
    /// By the score.
    pub grade: Option<Grade>,
    /// Over everything.
    pub totals: Totals,
    /// Against the period of the same length before; null where that was not asked for, or is empty.
    pub trend: Option<Trend>,
    /// By cluster.
    pub clusters: Vec<Group>,
    /// By namespace of each cluster.
    pub namespaces: Vec<Group>,
    /// By team, where the policy names teams.
    pub teams: Vec<Group>,
    /// Worst first.
    pub workloads: Vec<WorkloadReport>,
    /// Gravest first.
    pub findings: Vec<Finding>,
}

/// From and to, as far as they are bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Period {
    /// Its begin; null for all there is.
    pub from: Option<Time>,
    /// Its end; null for all there is.
    pub to: Option<Time>,
}

/// Something that makes the numbers incomplete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Gap")]
pub struct GapReport {
    /// Whose; null where it is no cluster's.
    pub cluster: Option<String>,
    /// What is missing, and why.
    pub message: String,
}

/// Where numbers came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Source")]
pub struct SourceReport {
    /// `records` or `prometheus`.
    pub kind: String,
    /// A file's name, or an address without its secrets.
    pub name: String,
}

/// The rules that were applied.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Rules {
    /// Shutdowns that count, below which a workload has insufficient data.
    pub min_shutdowns: u64,
    /// Share of node-hours below which no score is given.
    pub min_coverage: Option<f64>,
    /// Score below which an audit fails.
    pub min_score: Option<f64>,
    /// Share of failing shutdowns that a workload may have.
    pub tolerate_fail: f64,
    /// Share of failing and warning shutdowns that a workload may have.
    pub tolerate_warn: f64,
    /// What a shutdown that warns adds to the score, where one that passes adds 1.
    pub weight_warn: f64,
}

/// How much was watched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Coverage {
    /// Share of the node-hours of the period during which a healthy agent watched; null where it is not known.
    pub share: Option<f64>,
    /// Whether that is enough; null where it is not known or no minimum is set.
    pub enough: Option<bool>,
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
    /// Verdicts that came out unknown, because evidence was lost.
    pub unknown_verdicts: u64,
    /// Kernel records that were lost.
    pub lost_events: Option<u64>,
    /// Shutdowns that belong to nobody.
    pub unattributed: u64,
}

/// Over everything.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Totals {
    /// Workloads that were seen.
    pub workloads: u64,
    /// Of these, by status.
    pub by_status: StatusCounts,
    /// Their shutdowns.
    pub shutdowns: Shutdowns,
    /// Of those that count, how many were graceful.
    pub graceful: Option<Share>,
    /// Waited, and could not help.
    pub avoidable_hours: f64,
}

/// Workloads by status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StatusCounts {
    /// That fail.
    pub fail: u64,
    /// That warn.
    pub warn: u64,
    /// That pass.
    pub pass: u64,
    /// With too few shutdowns to say.
    pub insufficient_data: u64,
    /// Whose findings are all waived.
    pub waived: u64,
    /// Of system namespaces.
    pub skipped: u64,
}

/// Shutdowns by what they are worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Shutdowns {
    /// All of them.
    pub all: u64,
    /// As they should be.
    pub pass: u64,
    /// In time, but not everybody well.
    pub warn: u64,
    /// Not as they should be.
    pub fail: u64,
    /// That say nothing about the program.
    pub not_counted: u64,
}

/// A share of what counts, with its 95 % confidence interval (Wilson).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Share {
    /// From 0 to 1.
    pub value: f64,
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

/// Against the period before.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Trend {
    /// Shutdowns that counted then.
    pub counted_before: u64,
    /// Graceful share then.
    pub graceful_before: f64,
    /// Points of a hundred by which it changed.
    pub change: f64,
}

/// Several workloads together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Group {
    /// The cluster; empty where there is one and it has no name.
    pub cluster: String,
    /// Namespace or team; empty for a cluster.
    pub name: String,
    /// Mean of the scores of its workloads; null where none has one, or too little was watched.
    pub score: Option<f64>,
    /// By the score.
    pub grade: Option<Grade>,
    /// Share of node-hours that were watched; only for clusters.
    pub coverage: Option<f64>,
    /// The same counts as for everything.
    pub totals: Totals,
}

/// How a workload stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// More failing shutdowns than are tolerated.
    Fail,
    /// More failing and warning ones than are tolerated.
    Warn,
    /// As it should be.
    Pass,
    /// Too few shutdowns to say. Never a pass.
    InsufficientData,
    /// Every finding is waived.
    Waived,
    /// Of a system namespace: listed, not scored.
    Skipped,
}

impl Status {
    /// Its name in every output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Warn => "warn",
            Self::Pass => "pass",
            Self::InsufficientData => "insufficient_data",
            Self::Waived => "waived",
            Self::Skipped => "skipped",
        }
    }
}

/// A score as a letter: A from 95, B from 85, C from 70, D from 50, F below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Grade {
    /// 95 and more.
    A,
    /// 85 and more.
    B,
    /// 70 and more.
    C,
    /// 50 and more.
    D,
    /// Less.
    F,
}

impl Grade {
    /// Its letter.
    pub fn name(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::B => "B",
            Self::C => "C",
            Self::D => "D",
            Self::F => "F",
        }
    }
}

/// Whose something is.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Subject {
    /// The cluster; empty where there is one and it has no name.
    pub cluster: String,
    /// Its namespace; empty outside Kubernetes.
    pub namespace: String,
    /// `deployment`, `statefulset`, ...; empty outside Kubernetes.
    pub kind: String,
    /// Its name; empty outside Kubernetes.
    pub name: String,
}

/// One workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Workload")]
pub struct WorkloadReport {
    /// Which.
    #[serde(flatten)]
    pub subject: Subject,
    /// Who is responsible, by the policy.
    pub team: Option<String>,
    /// How it stands.
    pub status: Status,
    /// 100 times the weighted share of good shutdowns; null with insufficient data.
    pub score: Option<f64>,
    /// By the score.
    pub grade: Option<Grade>,
    /// Its shutdowns.
    pub shutdowns: Shutdowns,
    /// Of those that count, how many were graceful.
    pub graceful: Option<Share>,
    /// How long they took.
    pub durations: Option<DurationsReport>,
    /// The configured grace, the longest of its containers.
    pub grace_seconds: Option<f64>,
    /// Waited, and could not help.
    pub avoidable_hours: f64,
    /// Its first shutdown in the period, as exactly as the source tells.
    pub first_seen: Option<Time>,
    /// Its last one.
    pub last_seen: Option<Time>,
    /// Against the period before.
    pub trend: Option<Trend>,
    /// Container by container.
    pub containers: Vec<ContainerReport>,
    /// What could be better, with numbers.
    pub recommendations: Vec<Recommendation>,
}

/// One container of a workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "WorkloadContainer")]
pub struct ContainerReport {
    /// Its name.
    pub name: String,
    /// Most frequent first.
    pub verdicts: Vec<VerdictCount>,
    /// How long they took.
    pub durations: Option<DurationsReport>,
    /// The configured grace.
    pub grace_seconds: Option<f64>,
}

/// How often a verdict came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VerdictCount {
    /// How the container ended.
    pub outcome: Name<Outcome>,
    /// Where the stop signal's way broke.
    pub cause: Name<Cause>,
    /// How often.
    pub shutdowns: u64,
    /// Of these, where helpers alone were killed.
    pub helpers: u64,
    /// What it is worth, where others were killed.
    pub worth: Compliance,
}

impl VerdictCount {
    /// Both axes.
    pub fn verdict(&self) -> Verdict {
        Verdict { outcome: self.outcome.0, cause: self.cause.0 }
    }
}

/// Seconds from the stop signal to init's exit. Placed between the edges of the metric's histogram.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Durations")]
pub struct DurationsReport {
    /// Half of them took at most this.
    pub p50: f64,
    /// 95 of a hundred took at most this.
    pub p95: f64,
    /// 99 of a hundred took at most this.
    pub p99: f64,
    /// None took more than this; null where some took more than the histogram knows.
    pub max_below: Option<f64>,
}

/// What could be better, with numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Recommendation {
    /// Which container.
    pub container: String,
    /// About what.
    pub about: About,
    /// One sentence.
    pub text: String,
    /// The grace that would do, in seconds.
    pub grace_seconds: Option<f64>,
}

/// What a recommendation is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum About {
    /// The grace is much longer than is ever needed.
    GraceTooLong,
    /// The grace is nearly used up.
    GraceTooShort,
    /// Nobody serves while it is waited for.
    Downtime,
}

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// The audit fails by it.
    Fail,
    /// It fails by it where it is asked to be strict.
    Warn,
    /// To be known.
    Note,
}

impl Level {
    /// Its name in every output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Warn => "warn",
            Self::Note => "note",
        }
    }
}

/// Something to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// The same in every audit, as long as it is the same finding.
    pub id: String,
    /// A verdict's cause, or its outcome where it has none; `expired_waiver`; `unused_waiver`.
    pub rule: String,
    /// How grave it is.
    pub level: Level,
    /// Whose it is.
    #[serde(flatten)]
    pub subject: Subject,
    /// Which container.
    pub container: String,
    /// Who is responsible, by the policy.
    pub team: Option<String>,
    /// How often.
    pub shutdowns: u64,
    /// One sentence.
    pub message: String,
    /// What to change.
    pub advice: String,
    /// Why it is accepted, where it is.
    pub waiver: Option<WaiverReport>,
    /// Whether the baseline does not have it; null without a baseline.
    pub is_new: Option<bool>,
}

/// Why a finding is accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Waiver")]
pub struct WaiverReport {
    /// Who answers for it.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// The last day on which it holds.
    pub expires: String,
}

/// Draft 2020-12, as it is printed.
pub fn schema_text() -> String {
    format!("{:#}\n", schema().to_value())
}

/// Draft 2020-12.
pub fn schema() -> Schema {
    let generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let mut schema = generator.into_root_schema_for::<Report>();
    schema.insert("$id".to_owned(), "https://signal-trace.dev/schemas/audit-v1.json".into());
    schema
}
