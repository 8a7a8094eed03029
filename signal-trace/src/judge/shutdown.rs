//! One judged shutdown: the one result model that the terminal, JSON, metrics, events and audit render.
//!
//! Values only: nothing here knows how it was found out or how it is shown.

use std::sync::Arc;
use std::time::Duration;

use crate::containers::Runtime;
use crate::event::{CgroupId, Comm, ExitStatus, Generated, KernelTime, Pid, Signal};

/// How the container ended: the first axis of a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Evidence was lost and the rest does not decide it.
    Unknown,
    /// The OOM killer took init or a process of the snapshot inside the window.
    OomKilled,
    /// Killed by design: no stop signal before the kill, or none worth the name.
    Forced,
    /// SIGKILL from outside reached init while it still lived, after a stop signal.
    GraceExceeded,
    /// Init, or a leaf that was told, ended by another fatal signal.
    Crashed,
    /// The stop signal's default action ended init, or every told leaf.
    DiedOnSignal,
    /// Init ended in time, but a process of the snapshot was killed.
    ChildrenKilled,
    /// Everything ended by itself after the stop signal, in time.
    Graceful,
}

impl Outcome {
    /// All of them, in the order in which they are decided.
    pub const ALL: [Self; 8] = [
        Self::Unknown,
        Self::OomKilled,
        Self::Forced,
        Self::GraceExceeded,
        Self::Crashed,
        Self::DiedOnSignal,
        Self::ChildrenKilled,
        Self::Graceful,
    ];

    /// Its name in every output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::OomKilled => "oom_killed",
            Self::Forced => "forced",
            Self::GraceExceeded => "grace_exceeded",
            Self::Crashed => "crashed",
            Self::DiedOnSignal => "died_on_signal",
            Self::ChildrenKilled => "children_killed",
            Self::Graceful => "graceful",
        }
    }
}

/// Where the stop signal's way broke: the second axis of a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// Nothing to explain.
    None,
    /// Init was the only one to tell, and took no notice.
    Ignored,
    /// Leaves lived and none was told.
    NotForwarded,
    /// Passed on, but some leaf was never reached.
    PartiallyForwarded,
    /// Told, but init exited without waiting.
    NotAwaited,
    /// Told, and not done in time.
    ChildTooSlow,
    /// Told, and dropped it.
    ChildIgnored,
    /// Nobody else left to tell, and init was not done in time.
    Stuck,
    /// No told leaf had a handler.
    NoHandler,
    /// The preStop hook or the wait for main containers ate the budget.
    PrestopOverrun,
    /// systemd signalled every process at once: neither credit nor blame.
    HostBroadcast,
    /// The way was not seen.
    Unknown,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::None,
        Self::Ignored,
        Self::NotForwarded,
        Self::PartiallyForwarded,
        Self::NotAwaited,
        Self::ChildTooSlow,
        Self::ChildIgnored,
        Self::Stuck,
        Self::NoHandler,
        Self::PrestopOverrun,
        Self::HostBroadcast,
        Self::Unknown,
    ];

    /// Its name in every output.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Ignored => "ignored",
            Self::NotForwarded => "not_forwarded",
            Self::PartiallyForwarded => "partially_forwarded",
            Self::NotAwaited => "not_awaited",
            Self::ChildTooSlow => "child_too_slow",
            Self::ChildIgnored => "child_ignored",
            Self::Stuck => "stuck",
            Self::NoHandler => "no_handler",
            Self::PrestopOverrun => "prestop_overrun",
            Self::HostBroadcast => "host_broadcast",
            Self::Unknown => "unknown",
        }
    }
}

/// Both axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Verdict {
    /// How it ended.
    pub outcome: Outcome,
    /// Where the way broke.
    pub cause: Cause,
}

/// What a verdict rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Confidence {
    /// The window was not seen whole.
    Partial,
    /// The sequence of signals and exits decides it.
    Observed,
    /// A kernel fact decides it.
    Proven,
}

impl Confidence {
    /// All of them, the weakest first.
    pub const ALL: [Self; 3] = [Self::Partial, Self::Observed, Self::Proven];

    /// Its name in every output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Partial => "partial",
            Self::Observed => "observed",
            Self::Proven => "proven",
        }
    }
}

/// What init itself did with the stop signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InitDisposition {
    /// It has a handler.
    Handled,
    /// Blocked, and read by `sigtimedwait` or `signalfd`.
    Waited,
    /// A namespace init with `SIG_DFL`: the kernel dropped the signal.
    NoHandler,
    /// `SIG_IGN`.
    SigIgn,
    /// Blocked, and still pending at the SIGKILL.
    Unread,
    /// Pending at the SIGKILL though not blocked: frozen, stopped or in D state.
    NeverRan,
    /// Ran a handler, restored `SIG_DFL` and sent itself the signal.
    Reraised,
    /// The default action ended it.
    DefaultAction,
    /// Not seen.
    Unknown,
}

impl InitDisposition {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Handled,
        Self::Waited,
        Self::NoHandler,
        Self::SigIgn,
        Self::Unread,
        Self::NeverRan,
        Self::Reraised,
        Self::DefaultAction,
        Self::Unknown,
    ];

    /// Its name in every output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Handled => "handled",
            Self::Waited => "waited",
            Self::NoHandler => "no_handler",
            Self::SigIgn => "sig_ign",
            Self::Unread => "unread",
            Self::NeverRan => "never_ran",
            Self::Reraised => "reraised",
            Self::DefaultAction => "default_action",
            Self::Unknown => "unknown",
        }
    }
}

/// Why the container was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trigger {
    /// The pod was deleted.
    Delete,
    /// The Eviction API, or the kubelet under pressure.
    Eviction,
    /// A pod of higher priority.
    Preemption,
    /// A NoExecute taint.
    Taint,
    /// The pod garbage collector.
    PodGc,
    /// Graceful node shutdown.
    NodeShutdown,
    /// A liveness or startup probe failed.
    Probe,
    /// Restarted in its pod for another reason.
    Restart,
    /// Somebody asked the runtime.
    RuntimeStop,
    /// Not known.
    Unknown,
}

impl Trigger {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Delete,
        Self::Eviction,
        Self::Preemption,
        Self::Taint,
        Self::PodGc,
        Self::NodeShutdown,
        Self::Probe,
        Self::Restart,
        Self::RuntimeStop,
        Self::Unknown,
    ];

    /// Its name in every output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::Eviction => "eviction",
            Self::Preemption => "preemption",
            Self::Taint => "taint",
            Self::PodGc => "pod_gc",
            Self::NodeShutdown => "node_shutdown",
            Self::Probe => "probe",
            Self::Restart => "restart",
            Self::RuntimeStop => "runtime_stop",
            Self::Unknown => "unknown",
        }
    }
}

/// Where the configured grace was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GraceSource {
    /// `metadata.deletionGracePeriodSeconds`.
    Deletion,
    /// `spec.terminationGracePeriodSeconds`.
    Spec,
    /// The probe's own `terminationGracePeriodSeconds`.
    Probe,
    /// The kubelet's floor of 2 s.
    Floor,
    /// `--grace`.
    Flag,
    /// The runtime's default.
    RuntimeDefault,
    /// Not known.
    Unknown,
}

impl GraceSource {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Deletion, Self::Spec, Self::Probe, Self::Floor, Self::Flag, Self::RuntimeDefault, Self::Unknown];

    /// Its name in every output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Deletion => "deletion",
            Self::Spec => "spec",
            Self::Probe => "probe",
            Self::Floor => "floor",
            Self::Flag => "flag",
            Self::RuntimeDefault => "runtime_default",
            Self::Unknown => "unknown",
        }
    }
}

/// The time between stop signal and SIGKILL that was configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grace {
    /// None where it is not known.
    pub period: Option<Duration>,
    /// Where it was read.
    pub source: GraceSource,
}

/// Where a signal came from, as seen from the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Where {
    /// Neither of the container nor of its pod.
    Outside,
    /// Init or a descendant of it.
    Inside,
    /// A process that entered the container, or what it left behind.
    ExecSession,
    /// The kernel itself.
    Kernel,
    /// The host's own init.
    Host,
}

impl Where {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Outside, Self::Inside, Self::ExecSession, Self::Kernel, Self::Host];

    /// Its name in every output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Outside => "outside",
            Self::Inside => "inside",
            Self::ExecSession => "exec_session",
            Self::Kernel => "kernel",
            Self::Host => "host",
        }
    }
}

/// Who killed what was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KilledBy {
    /// SIGKILL from outside.
    Runtime,
    /// The kernel, as it took the dying init's pid namespace or terminal down.
    Teardown,
    /// An ancestor inside the container.
    Supervisor,
    /// Another process of the container.
    Inside,
    /// The OOM killer.
    Oom,
}

impl KilledBy {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Runtime, Self::Teardown, Self::Supervisor, Self::Inside, Self::Oom];

    /// Its name in every output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Runtime => "runtime",
            Self::Teardown => "teardown",
            Self::Supervisor => "supervisor",
            Self::Inside => "inside",
            Self::Oom => "oom",
        }
    }
}

/// Advice that is no verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Finding {
    /// Ended within a second of the stop while endpoints may still point at it.
    EarlyExit,
    /// All that were killed are on the policy's list of helpers.
    HelpersKilled,
    /// A process restored the default action and sent itself the signal.
    Reraised,
}

impl Finding {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::EarlyExit, Self::HelpersKilled, Self::Reraised];

    /// Its name in every output.
    pub fn name(self) -> &'static str {
        match self {
            Self::EarlyExit => "early_exit",
            Self::HelpersKilled => "helpers_killed",
            Self::Reraised => "reraised",
        }
    }
}

/// A container's names, as far as they are known on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerFacts {
    /// The id of its own cgroup.
    pub cgroup: CgroupId,
    /// That cgroup's path below the mount of the hierarchy.
    pub cgroup_path: String,
    /// Who made it.
    pub runtime: Runtime,
    /// The runtime's id of it.
    pub id: String,
    /// Its name in the pod's spec.
    pub name: Option<String>,
    /// The image's reference.
    pub image: Option<String>,
    /// Its pod; none outside Kubernetes, or where the pod is not known.
    pub pod: Option<PodFacts>,
}

/// A pod's names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodFacts {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// `pod-template-hash` or `controller-revision-hash`.
    pub revision: Option<String>,
    /// What owns it in the end: a Deployment rather than its ReplicaSet.
    pub workload: Option<Workload>,
}

/// What owns a pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Workload {
    /// Its kind as the API spells it: `Deployment`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// A process as evidence names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// Pid on the host.
    pub pid: Pid,
    /// Pid in the container's own namespace, where that is known.
    pub ns_pid: Option<Pid>,
    /// Its name.
    pub comm: Comm,
}

/// A process that should have been told and was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missed {
    /// The top process of the subtree that was not told.
    pub process: Named,
    /// The process that was told and did not pass it on; none where lineage does not tell.
    pub broke_at: Option<Named>,
}

/// Counts over the snapshot: the container's processes at the stop, without init and exec sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Alive when the stop signal came.
    pub at_stop: usize,
    /// Of these, without a living child.
    pub leaves: usize,
    /// Of the processes at the stop, those that were told.
    pub told: usize,
    /// Of the processes at the stop, those that were killed: by SIGKILL, or by the hang-up of the dying init's terminal.
    pub killed: usize,
}

/// One line of the evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Since the window opened.
    pub at: Duration,
    /// What happened.
    pub what: StepKind,
}

/// What a [`Step`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepKind {
    /// A signal.
    Signal {
        /// Which.
        signal: Signal,
        /// Who sent it; the kernel's own have the task that happened to run, shown only for a teardown.
        from: Named,
        /// From where.
        origin: Where,
        /// Whom it was for.
        to: Named,
        /// What became of it.
        result: Delivery,
    },
    /// An exit.
    Exit {
        /// Who ended.
        process: Named,
        /// How.
        status: ExitStatus,
    },
    /// The OOM killer chose a process.
    OomMark {
        /// Which.
        process: Named,
    },
}

/// What became of one signal, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// As the kernel reported it.
    Generated(Generated),
    /// Dropped, because a namespace init has no handler for it.
    NoHandler,
    /// The kernel's teardown of a pid namespace.
    Teardown,
    /// The target was dying already.
    Dying,
}

impl Delivery {
    /// All that records tell apart: there, what a namespace init dropped was ignored, and `init_disposition` says why.
    pub const ALL: [Self; 6] = [
        Self::Generated(Generated::Delivered),
        Self::Generated(Generated::Ignored),
        Self::Generated(Generated::AlreadyPending),
        Self::Generated(Generated::Overflow),
        Self::Teardown,
        Self::Dying,
    ];

    /// Its name in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Generated(Generated::Delivered) => "delivered",
            Self::Generated(Generated::Ignored) => "ignored",
            Self::Generated(Generated::AlreadyPending) => "already_pending",
            Self::Generated(Generated::Overflow) => "overflow",
            Self::NoHandler => "ignored",
            Self::Teardown => "teardown",
            Self::Dying => "already_dying",
        }
    }
}

/// One shutdown of one container instance, judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// Whose.
    pub container: Arc<ContainerFacts>,
    /// The verdict.
    pub verdict: Verdict,
    /// What it rests on.
    pub confidence: Confidence,
    /// Why it was stopped.
    pub trigger: Trigger,
    /// The signal that opened the window; none where a SIGKILL came first.
    pub stop_signal: Option<Signal>,
    /// What init did with it.
    pub init_disposition: InitDisposition,
    /// The configured budget.
    pub grace: Grace,
    /// What the hook or the sidecar wait took of the budget before the stop signal.
    pub prestop: Option<Duration>,
    /// When the window opened.
    pub opened: KernelTime,
    /// When its last piece of evidence came.
    pub ended: KernelTime,
    /// From the stop signal to the first SIGKILL from outside onto init.
    pub stop_to_kill: Option<Duration>,
    /// From the stop signal to init's exit.
    pub stop_to_exit: Option<Duration>,
    /// From that SIGKILL to init's exit.
    pub kill_to_exit: Option<Duration>,
    /// Time that was waited and could not help.
    pub avoidable_wait: Option<Duration>,
    /// Init.
    pub init: Option<Named>,
    /// How init ended.
    pub exit: Option<ExitStatus>,
    /// Counts over the snapshot.
    pub processes: Counts,
    /// Who killed those of the snapshot that were killed; init's killer where none was.
    pub killed_by: Option<KilledBy>,
    /// Killed processes of the snapshot by who killed them, in the order of [`KilledBy::ALL`].
    pub killed: [usize; KilledBy::ALL.len()],
    /// Who should have been told.
    pub missed: Vec<Missed>,
    /// Advice that is no verdict.
    pub findings: Vec<Finding>,
    /// What to change: one sentence.
    pub advice: String,
    /// The evidence, in order of time, bounded.
    pub timeline: Vec<Step>,
    /// Steps that the bound cut from the timeline.
    pub timeline_cut: usize,
}
