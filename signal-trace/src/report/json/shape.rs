//! What a record holds, in the order in which it is written, and how it is made of a shutdown.
//!
//! The doc comments below are the schema's descriptions: they speak to whoever reads the JSON.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fields::{Name, SchemaTag, Seconds, SignalName, Time};
use crate::event::{ExitStatus, Pid};
use crate::judge::shutdown::{
    Cause, Confidence, ContainerFacts, Counts, Delivery, Finding, Grace, GraceSource, InitDisposition, KilledBy,
    Missed, Named, Outcome, PodFacts, Shutdown, Step, StepKind, Trigger, Where,
};
use crate::report::clock::WallClock;

/// One shutdown of one container instance: how it ended, why, and the evidence.
///
/// One object a line. Fields may be added within a version; none is renamed or removed. Numbers that are not known are
/// null, never 0. All spans are in seconds, with microseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "signal-trace shutdown, version 1")]
pub struct Record {
    /// Name and version of this contract.
    pub schema: SchemaTag,
    /// When the shutdown began (stop signal, or the kill where none came before it), by the wall clock, UTC, with
    /// microseconds. The timeline's `at_seconds` count from here.
    pub time: Time,
    /// Name of the node.
    pub node: String,
    /// The container.
    pub container: ContainerRecord,
    /// Its pod; null outside Kubernetes, or where the pod is not known.
    pub pod: Option<PodRecord>,
    /// How the container ended.
    pub outcome: Name<Outcome>,
    /// Where the stop signal's way broke.
    pub cause: Name<Cause>,
    /// What the verdict rests on.
    pub confidence: Name<Confidence>,
    /// Why the container was stopped.
    pub trigger: Name<Trigger>,
    /// The signal that began the shutdown; null where a SIGKILL came first.
    pub stop_signal: Option<SignalName>,
    /// What init did with it.
    pub init_disposition: Name<InitDisposition>,
    /// The configured grace.
    pub grace: GraceRecord,
    /// What the preStop hook or the sidecar wait took of the grace before the stop signal, in seconds.
    pub prestop_seconds: Option<Seconds>,
    /// From the stop signal to the first SIGKILL from outside onto init, in seconds; null where there was none.
    pub stop_to_kill_seconds: Option<Seconds>,
    /// From the stop signal to init's exit, in seconds.
    pub stop_to_exit_seconds: Option<Seconds>,
    /// From that SIGKILL to init's exit, in seconds: long where init was in uninterruptible sleep.
    pub kill_to_exit_seconds: Option<Seconds>,
    /// Time that was waited and could not help, in seconds.
    pub avoidable_wait_seconds: Option<Seconds>,
    /// The container's init: pid 1 of its own pid namespace, or the first process where that is shared.
    pub init: Option<ProcessRecord>,
    /// How init ended; null where its exit was not seen.
    pub exit: Option<ExitRecord>,
    /// Counts of processes, without init and exec sessions.
    pub processes: ProcessCounts,
    /// Who killed those of the processes that were killed, or init where none of them was; null where nobody was.
    pub killed_by: Option<Name<KilledBy>>,
    /// Processes that should have been told and were not.
    pub missed: Vec<MissedRecord>,
    /// Advice that is no verdict.
    pub findings: Vec<Name<Finding>>,
    /// What to change, in one sentence.
    pub advice: String,
    /// The evidence, in order of time.
    pub timeline: Vec<StepRecord>,
    /// How many more steps there were: the timeline is bounded.
    pub timeline_cut: u64,
}

/// A container's names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Container")]
pub struct ContainerRecord {
    /// The runtime's id of it.
    pub id: String,
    /// Its name in the pod's spec.
    pub name: Option<String>,
    /// Who made it: containerd, cri-o, docker, podman, systemd, signal-trace; null where its cgroup does not tell.
    pub runtime: Option<String>,
    /// The image's reference.
    pub image: Option<String>,
    /// Path of its cgroup below the mount of the v2 hierarchy.
    pub cgroup: String,
    /// Id of that cgroup, unique within a boot.
    pub cgroup_id: u64,
}

/// A pod's names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Pod")]
pub struct PodRecord {
    /// metadata.namespace
    pub namespace: String,
    /// metadata.name
    pub name: String,
    /// metadata.uid
    pub uid: String,
    /// Its pod-template-hash or controller-revision-hash.
    pub revision: Option<String>,
    /// What owns it in the end: a Deployment rather than its ReplicaSet.
    pub workload: Option<WorkloadRecord>,
}

/// What owns a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Workload")]
pub struct WorkloadRecord {
    /// Its kind, as the API spells it.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// The configured time between stop signal and SIGKILL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Grace")]
pub struct GraceRecord {
    /// In seconds; null where it is not known.
    pub seconds: Option<Seconds>,
    /// Where it was read.
    pub source: Name<GraceSource>,
}

/// A process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Process")]
pub struct ProcessRecord {
    /// Pid on the host.
    pub pid: u32,
    /// Pid in the container's own pid namespace; null where it is not known.
    pub ns_pid: Option<u32>,
    /// Its name as the kernel holds it, at most 15 bytes that the process chose; what is not UTF-8 became U+FFFD.
    pub comm: String,
}

/// How a process ended: one of the two is null.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Exit")]
pub struct ExitRecord {
    /// The code it ended itself with.
    pub code: Option<u8>,
    /// The signal that ended it.
    pub signal: Option<SignalName>,
}

/// Counts over the container's processes when the stop signal came, without init and exec sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProcessCounts {
    /// Alive when the stop signal came.
    pub at_stop: u64,
    /// Of these, without a living child.
    pub leaves: u64,
    /// Of those at the stop, told.
    pub told: u64,
    /// Of those at the stop, ended by SIGKILL.
    pub killed: u64,
}

/// A process that should have been told and was not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Missed")]
pub struct MissedRecord {
    /// The top process of the subtree that was not told.
    #[serde(flatten)]
    pub process: ProcessRecord,
    /// The process that was told and did not pass it on; null where lineage does not tell.
    pub broke_at: Option<ProcessRecord>,
}

/// One line of the evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Step")]
pub struct StepRecord {
    /// Since the shutdown began, in seconds by the kernel's clock.
    pub at_seconds: Seconds,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum What {
    /// A signal was sent.
    Signal {
        /// Which.
        signal: SignalName,
        /// Who sent it.
        from: SenderRecord,
        /// Whom it was for.
        to: ProcessRecord,
        /// What became of it.
        result: Name<Delivery>,
    },
    /// A process ended.
    Exit {
        /// Which.
        process: ProcessRecord,
        /// How: one of the two is null.
        #[serde(flatten)]
        status: ExitRecord,
    },
    /// The OOM killer chose a process.
    OomMark {
        /// Which.
        process: ProcessRecord,
    },
}

/// Who sent a signal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Sender")]
pub struct SenderRecord {
    /// Pid on the host; null where the kernel sent it on nobody's behalf.
    pub pid: Option<u32>,
    /// Pid in the container's own pid namespace; null where it has none or none is known.
    pub ns_pid: Option<u32>,
    /// Its name; null where the kernel sent it on nobody's behalf.
    pub comm: Option<String>,
    /// From where.
    #[serde(rename = "where")]
    pub origin: Name<Where>,
}

impl Record {
    /// Of one shutdown on the node of that name.
    pub fn new(shutdown: &Shutdown, node: &str, clock: WallClock) -> Self {
        let s = shutdown;
        Self {
            schema: SchemaTag,
            time: Time(clock.at(s.opened)),
            node: node.to_owned(),
            container: ContainerRecord::from(&*s.container),
            pod: s.container.pod.as_ref().map(PodRecord::from),
            outcome: Name(s.verdict.outcome),
            cause: Name(s.verdict.cause),
            confidence: Name(s.confidence),
            trigger: Name(s.trigger),
            stop_signal: s.stop_signal.map(SignalName),
            init_disposition: Name(s.init_disposition),
            grace: GraceRecord::from(s.grace),
            prestop_seconds: s.prestop.map(Seconds::from),
            stop_to_kill_seconds: s.stop_to_kill.map(Seconds::from),
            stop_to_exit_seconds: s.stop_to_exit.map(Seconds::from),
            kill_to_exit_seconds: s.kill_to_exit.map(Seconds::from),
            avoidable_wait_seconds: s.avoidable_wait.map(Seconds::from),
            init: s.init.map(ProcessRecord::from),
            exit: s.exit.map(ExitRecord::from),
            processes: ProcessCounts::from(s.processes),
            killed_by: s.killed_by.map(Name),
            missed: s.missed.iter().copied().map(MissedRecord::from).collect(),
            findings: s.findings.iter().copied().map(Name).collect(),
            advice: s.advice.clone(),
            timeline: s.timeline.iter().copied().map(StepRecord::from).collect(),
            timeline_cut: count(s.timeline_cut),
        }
    }
}

impl From<&ContainerFacts> for ContainerRecord {
    fn from(facts: &ContainerFacts) -> Self {
        Self {
            id: facts.id.clone(),
            name: facts.name.clone(),
            runtime: facts.runtime.name().map(str::to_owned),
            image: facts.image.clone(),
            cgroup: facts.cgroup_path.clone(),
            cgroup_id: facts.cgroup.0,
        }
    }
}

impl From<&PodFacts> for PodRecord {
    fn from(facts: &PodFacts) -> Self {
        let workload = facts.workload.as_ref();
        Self {
            namespace: facts.namespace.clone(),
            name: facts.name.clone(),
            uid: facts.uid.clone(),
            revision: facts.revision.clone(),
            workload: workload.map(|w| WorkloadRecord { kind: w.kind.clone(), name: w.name.clone() }),
        }
    }
}

impl From<Grace> for GraceRecord {
    fn from(grace: Grace) -> Self {
        Self { seconds: grace.period.map(Seconds::from), source: Name(grace.source) }
    }
}

impl From<Named> for ProcessRecord {
    fn from(named: Named) -> Self {
        Self { pid: named.pid.0, ns_pid: named.ns_pid.map(|Pid(pid)| pid), comm: named.comm.to_text().into_owned() }
    }
}

impl From<ExitStatus> for ExitRecord {
    fn from(status: ExitStatus) -> Self {
        match status {
            ExitStatus::Code(code) => Self { code: Some(code), signal: None },
            ExitStatus::Signal(signal) => Self { code: None, signal: Some(SignalName(signal)) },
        }
    }
}

impl From<Counts> for ProcessCounts {
    fn from(counts: Counts) -> Self {
        let Counts { at_stop, leaves, told, killed } = counts;
        Self { at_stop: count(at_stop), leaves: count(leaves), told: count(told), killed: count(killed) }
    }
}

impl From<Missed> for MissedRecord {
    fn from(missed: Missed) -> Self {
        Self { process: missed.process.into(), broke_at: missed.broke_at.map(ProcessRecord::from) }
    }
}

impl From<Step> for StepRecord {
    fn from(step: Step) -> Self {
        let what = match step.what {
            StepKind::Signal { signal, from, origin, to, result } => What::Signal {
                signal: SignalName(signal),
                from: SenderRecord::new(from, origin, result),
                to: to.into(),
                result: Name(result),
            },
            StepKind::Exit { process, status } => What::Exit { process: process.into(), status: status.into() },
            StepKind::OomMark { process } => What::OomMark { process: process.into() },
        };
        Self { at_seconds: step.at.into(), what }
    }
}

impl SenderRecord {
    /// For the kernel's own signals, but those of a teardown, `from` is whoever happened to run: that is left out.
    fn new(from: Named, origin: Where, result: Delivery) -> Self {
        if origin == Where::Kernel && result != Delivery::Teardown {
            return Self { pid: None, ns_pid: None, comm: None, origin: Name(origin) };
        }
        let process = ProcessRecord::from(from);
        Self { pid: Some(process.pid), ns_pid: process.ns_pid, comm: Some(process.comm), origin: Name(origin) }
    }
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}
