//! The alerts of `deploy/chart/rules`: their names, and the words for each.

use super::{Text, fixes};

/// What an operator may be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alert {
    /// A workload drops its stop signal.
    StopSignalIgnored,
    /// A workload's PID 1 keeps the stop signal to itself.
    StopSignalNotForwarded,
    /// A workload leaves processes behind.
    ChildrenKilled,
    /// Too many shutdowns of a workload end by SIGKILL.
    GracePeriodExceeded,
    /// Time is lost on waits that cannot help.
    DeploysSlowed,
    /// One agent does not answer.
    AgentDown,
    /// A node has no agent.
    NodeUnwatched,
    /// No agent answers.
    AgentsAbsent,
    /// One agent let go of its programs.
    AgentDetached,
    /// Records of the kernel are lost.
    KernelEventsLost,
    /// A bound of an agent is reached.
    EvidenceRefused,
    /// Shutdowns have no pod.
    AttributionFailing,
    /// Kubernetes events cannot be written.
    EventWritesFailing,
    /// A container outlives SIGKILL.
    StuckAfterKill,
}

impl Alert {
    /// All of them: those about workloads, then those about nodes.
    pub const ALL: [Self; 14] = [
        Self::StopSignalIgnored,
        Self::StopSignalNotForwarded,
        Self::ChildrenKilled,
        Self::GracePeriodExceeded,
        Self::DeploysSlowed,
        Self::AgentDown,
        Self::NodeUnwatched,
        Self::AgentsAbsent,
        Self::AgentDetached,
        Self::KernelEventsLost,
        Self::EvidenceRefused,
        Self::AttributionFailing,
        Self::EventWritesFailing,
        Self::StuckAfterKill,
    ];

    /// Its name, as the rules have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::StopSignalIgnored => "SignalTraceStopSignalIgnored",
            Self::StopSignalNotForwarded => "SignalTraceStopSignalNotForwarded",
            Self::ChildrenKilled => "SignalTraceChildrenKilled",
            Self::GracePeriodExceeded => "SignalTraceGracePeriodExceeded",
            Self::DeploysSlowed => "SignalTraceDeploysSlowed",
            Self::AgentDown => "SignalTraceAgentDown",
            Self::NodeUnwatched => "SignalTraceNodeUnwatched",
            Self::AgentsAbsent => "SignalTraceAgentsAbsent",
            Self::AgentDetached => "SignalTraceAgentDetached",
            Self::KernelEventsLost => "SignalTraceKernelEventsLost",
            Self::EvidenceRefused => "SignalTraceEvidenceRefused",
            Self::AttributionFailing => "SignalTraceAttributionFailing",
            Self::EventWritesFailing => "SignalTraceEventWritesFailing",
            Self::StuckAfterKill => "SignalTraceStuckAfterKill",
        }
    }
}

pub(super) fn text(alert: Alert) -> &'static Text {
    match alert {
        Alert::StopSignalIgnored => &STOP_SIGNAL_IGNORED,
        Alert::StopSignalNotForwarded => &STOP_SIGNAL_NOT_FORWARDED,
        Alert::ChildrenKilled => &CHILDREN_KILLED,
        Alert::GracePeriodExceeded => &GRACE_PERIOD_EXCEEDED,
        Alert::DeploysSlowed => &DEPLOYS_SLOWED,
        Alert::AgentDown => &AGENT_DOWN,
        Alert::NodeUnwatched => &NODE_UNWATCHED,
        Alert::AgentsAbsent => &AGENTS_ABSENT,
        Alert::AgentDetached => &AGENT_DETACHED,
        Alert::KernelEventsLost => &KERNEL_EVENTS_LOST,
        Alert::EvidenceRefused => &EVIDENCE_REFUSED,
        Alert::AttributionFailing => &ATTRIBUTION_FAILING,
        Alert::EventWritesFailing => &EVENT_WRITES_FAILING,
        Alert::StuckAfterKill => &STUCK_AFTER_KILL,
    }
}

const STOP_SIGNAL_IGNORED: Text = Text {
    brief: "a container takes no notice of its stop signal, again and again",
    meaning: "Every stop of it lasts the whole grace period, and then it is killed with whatever it was doing. Rollouts \
              and drains wait for it each time.",
    how: "PID 1 has no handler for the signal, ignores it or never reads it (`ignored`), or passes it on to somebody who \
          does so (`child_ignored`).",
    kernel: "Two shutdowns or more within 6 hours with one of these causes, which ended by SIGKILL.",
    fixes: &[fixes::PYTHON, fixes::NODE, fixes::GO, fixes::TINI, fixes::STOP_SIGNAL, fixes::SIG_IGN],
    event_reasons: &[],
    confirm: &[
        "kubectl get events -A --field-selector reason=StopSignalIgnored",
        "signal-trace watch --filter 'cause=*ignored'",
    ],
    ignore: Some("When the container has nothing to save and nobody minds the wait, as with a tool for debugging."),
};

const STOP_SIGNAL_NOT_FORWARDED: Text = Text {
    brief: "a container does not pass its stop signal on, again and again",
    meaning: "The program never hears that it is to stop. Every stop lasts the whole grace period, and then the program is \
              killed with whatever it was doing.",
    how: "PID 1 is a shell or a script runner around the program (`not_forwarded`), or there is one in the middle \
          (`partially_forwarded`).",
    kernel: "Two shutdowns or more within 6 hours with one of these causes, which ended by SIGKILL.",
    fixes: &[fixes::EXEC_FORM, fixes::SHELL_EXEC, fixes::SHELL_TRAP, fixes::NPM, fixes::JAVA, fixes::TINI_GROUP],
    event_reasons: &[],
    confirm: &[
        "kubectl get events -A --field-selector reason=StopSignalNotForwarded",
        "signal-trace watch --filter 'cause=*forwarded'",
    ],
    ignore: Some("When the program has nothing to save and nobody minds the wait, as with a tool for debugging."),
};

const CHILDREN_KILLED: Text = Text {
    brief: "a container ends in time and leaves processes behind, again and again",
    meaning: "Its exit looks clean, and processes in it are killed without a chance to finish: requests, jobs and buffers \
              of theirs are lost, and no exit code tells.",
    how: "PID 1 ends before its children do, and the kernel kills what is left of the container. The cause says whether \
          they had been told.",
    kernel: "Three shutdowns or more within 6 hours with the outcome `children_killed`.",
    fixes: &[fixes::SHELL_TRAP, fixes::SHELL_EXEC, fixes::NPM, fixes::TINI_WAIT, fixes::SUPERVISOR, fixes::HELPERS],
    event_reasons: &[],
    confirm: &[
        "kubectl get events -A --field-selector reason=ChildrenKilled",
        "signal-trace watch --filter outcome=children_killed",
    ],
    ignore: Some(
        "When those that are killed have nothing to lose: a `tail`, a `sleep`, a reader that goes on elsewhere.",
    ),
};

const GRACE_PERIOD_EXCEEDED: Text = Text {
    brief: "too many shutdowns of a workload end by SIGKILL",
    meaning: "More of its containers than one in twenty are killed when their grace period is over. What they were doing \
              is lost, and whoever waited for them waited for the whole of it.",
    how: "The cause of the verdicts says why, and the dashboard `Workload` shows which it is. Four pairs of windows look at \
          it: a fast burn shows within an hour, a slow one within three days.",
    kernel: "The share of `grace_exceeded` among the shutdowns that were judged, with ten of them in the window at least.",
    fixes: &[fixes::EXEC_FORM, fixes::SHELL_EXEC, fixes::PYTHON, fixes::NODE, fixes::FASTER, fixes::MORE_GRACE],
    event_reasons: &[],
    confirm: &[
        "kubectl get events -A --field-selector reportingComponent=signal-trace.dev/agent",
        "signal-trace watch --filter outcome=grace_exceeded",
    ],
    ignore: Some(
        "When the grace is shorter than the work on purpose, as somebody else takes the work up again: silence it for \
         that workload.",
    ),
};

const DEPLOYS_SLOWED: Text = Text {
    brief: "rollouts wait for containers that cannot end by themselves",
    meaning: "More than ten minutes of a day were spent on one workload in waits whose end was certain from the beginning: \
              nothing was going to happen before SIGKILL.",
    how: "PID 1 drops the signal or keeps it to itself, so the whole grace period is lost at every stop. With many replicas, \
          or many rollouts a day, that adds up.",
    kernel: "The sum of such waits in a day: `signal_trace_avoidable_wait_seconds_total`.",
    fixes: &[fixes::EXEC_FORM, fixes::SHELL_EXEC, fixes::PYTHON, fixes::NODE, fixes::GO, fixes::TINI],
    event_reasons: &[],
    confirm: &[
        "kubectl get events -A --field-selector reportingComponent=signal-trace.dev/agent",
        "signal-trace watch --filter outcome=grace_exceeded",
    ],
    ignore: Some("When nobody waits for these stops, as with batch jobs that are scaled to nothing at night."),
};

const AGENT_DOWN: Text = Text {
    brief: "the agent of a node does not answer",
    meaning: "Nobody watches that node: shutdowns on it are neither counted nor explained. Nothing else there is affected.",
    how: "The pod does not run: its image cannot be pulled, the kernel refuses the programs, its memory limit is too low. \
          Or it runs, and a network policy keeps the scraper away.",
    kernel: "`up` of a target of the job `signal-trace` is 0 for 15 minutes.",
    fixes: &[fixes::REFUSED, fixes::LET_IN],
    event_reasons: &[],
    confirm: &["kubectl -n signal-trace get pods -o wide", "kubectl -n signal-trace logs --previous POD"],
    ignore: Some(
        "While the node reboots or is replaced. A node that is gone for good takes its target and the alert along.",
    ),
};

const NODE_UNWATCHED: Text = Text {
    brief: "a node has no agent, or Prometheus does not know of it",
    meaning: "Nobody watches that node: shutdowns on it are neither counted nor explained. Nothing else there is affected.",
    how: "The DaemonSet wants no pod there, or gets none: the label `signal-trace.dev/off` was left on the node, a node \
          selector or an affinity leaves it out, a quota or an admission policy refuses the pod. Or the pod runs, and its \
          targets have no label `node`.",
    kernel: "A node of `kube_node_info`, which kube-state-metrics serves, has no target of the job `signal-trace` for 15 \
             minutes, while other nodes of its cluster have one.",
    fixes: &[fixes::SWITCHED_OFF, fixes::POD_SECURITY, fixes::SCRAPE_JOB],
    event_reasons: &[],
    confirm: &["kubectl get node NODE --show-labels", "kubectl -n signal-trace describe daemonset signal-trace"],
    ignore: Some("While the node is switched off on purpose, or leaves the cluster."),
};

const AGENTS_ABSENT: Text = Text {
    brief: "no agent at all answers",
    meaning: "No shutdown is seen anywhere, or Prometheus knows the agents under another name. No other alert of \
              signal-trace can fire meanwhile.",
    how: "Nothing scrapes them: the PodMonitor lacks the labels that your Prometheus selects, or the job is called \
          otherwise. Or the DaemonSet has no pods, as an admission policy refuses them.",
    kernel: "No target of the job `signal-trace` is up for 15 minutes.",
    fixes: &[fixes::SCRAPE_JOB, fixes::POD_SECURITY, fixes::REFUSED],
    event_reasons: &[],
    confirm: &["kubectl -n signal-trace get daemonsets,pods", "kubectl -n signal-trace get podmonitors -o yaml"],
    ignore: Some("Where signal-trace is not installed: do not load its rules there."),
};

const AGENT_DETACHED: Text = Text {
    brief: "an agent let go of its kernel programs, as it cost too much",
    meaning: "The kernel programs, and reading what they say, took more of a processor than `cpuLimit` allows, so the \
              agent detached them to spare the node. Shutdowns there are not seen until its pod is made anew.",
    how: "A storm of forks, signals or control groups in containers. Or a limit that was set too low.",
    kernel: "`signal_trace_detached` is 1 for 5 minutes.",
    fixes: &[fixes::STORM, fixes::CPU_LIMIT],
    event_reasons: &[],
    confirm: &[
        "kubectl -n signal-trace logs POD | grep 'of a core'",
        "kubectl get --raw /api/v1/namespaces/signal-trace/pods/POD:9469/proxy/metrics | grep detached",
    ],
    ignore: Some("During a load test, if the pod is made anew afterwards."),
};

const KERNEL_EVENTS_LOST: Text = Text {
    brief: "an agent keeps losing records of the kernel",
    meaning: "It is behind. Every shutdown that a lost record could have touched is judged `unknown`, never wrong: fewer \
              are judged than happen.",
    how: "A storm of forks or signals in containers, on a node whose processors are taken (`ring_full`). Or there are more \
          containers and processes than there is room for (`map_full`).",
    kernel: "`signal_trace_kernel_events_lost_total` of one reason rises for 20 minutes on end.",
    fixes: &[fixes::CPU, fixes::STORM],
    event_reasons: &[],
    confirm: &[
        "kubectl get --raw /api/v1/namespaces/signal-trace/pods/POD:9469/proxy/metrics | grep kernel_events",
        "kubectl top pod -n signal-trace POD",
    ],
    ignore: Some("During a load test that is known to fork without end. A single burst does not raise it."),
};

const EVIDENCE_REFUSED: Text = Text {
    brief: "an agent has no room for what it is to follow or to tell",
    meaning: "By `what`: the containers of `cgroups` are not followed; shutdowns of `pods` and `waits` are judged and counted \
              without names; `records` are missing in the log that `top` and `audit --records` read.",
    how: "`cgroups` and `pods`: there is more on the node than the agent has room for. `waits`: many containers ended while \
          the API server did not answer. `records`: the log is not read, or it cannot be written.",
    kernel: "`signal_trace_refused_total` of one of these rises for 30 minutes on end.",
    fixes: &[fixes::LOG, fixes::API_SERVER, fixes::SCOPE],
    event_reasons: &[],
    confirm: &[
        "kubectl get --raw /api/v1/namespaces/signal-trace/pods/POD:9469/proxy/metrics | grep refused",
        "kubectl -n signal-trace logs --tail=20 POD",
    ],
    ignore: Some("During a load test, if it ends with it."),
};

const ATTRIBUTION_FAILING: Text = Text {
    brief: "an agent cannot say whose shutdowns it sees",
    meaning: "They are judged and counted, but without a namespace and a workload: no dashboard and no alert of a workload \
              shows them.",
    how: "The agent cannot read the pods of its node: its role was changed, or it does not reach the API server. Or \
          containers are stopped there that belong to no pod.",
    kernel: "More than a tenth of an hour's shutdowns, and five at least, in `signal_trace_unattributed_shutdowns_total`.",
    fixes: &[fixes::READ_PODS, fixes::API_SERVER],
    event_reasons: &[],
    confirm: &[
        "kubectl get --raw /api/v1/namespaces/signal-trace/pods/POD:9469/proxy/metrics | grep unattributed",
        "kubectl auth can-i list pods --as=system:serviceaccount:signal-trace:signal-trace",
    ],
    ignore: Some("On nodes where containers run outside Kubernetes, as those of an image build."),
};

const EVENT_WRITES_FAILING: Text = Text {
    brief: "an agent cannot write Kubernetes events",
    meaning: "Whoever looks at a pod with kubectl does not see the verdict. The agent's metrics and its log have it all the \
              same.",
    how: "Its role lacks the right, the API server refuses or is slow, or so many shutdowns fail at once that the queue \
          is full.",
    kernel: "`signal_trace_kube_events_total` with the result failed, rejected or dropped_queue rises for 30 minutes on end.",
    fixes: &[fixes::WRITE_EVENTS, fixes::API_SERVER],
    event_reasons: &[],
    confirm: &[
        "kubectl get --raw /api/v1/namespaces/signal-trace/pods/POD:9469/proxy/metrics | grep kube_events",
        "kubectl auth can-i create events.events.k8s.io --as=system:serviceaccount:signal-trace:signal-trace",
    ],
    ignore: Some("While the API server is down or being upgraded: that has alerts of its own."),
};

const STUCK_AFTER_KILL: Text = Text {
    brief: "a container is not gone 10 seconds after SIGKILL",
    meaning: "Nobody can ignore SIGKILL: who outlives it is held inside the kernel. The pod stays `Terminating`, its volumes \
              stay attached, and its node does not drain.",
    how: "A process waits for a disk, for a network file system whose server is gone, or for a driver. It dies as soon as \
          that answers.",
    kernel: "More than 10 seconds from the runtime's SIGKILL to the exit of PID 1, or no exit at all, in the last 30 minutes.",
    fixes: &[fixes::FROZEN, fixes::NETWORK_VOLUME],
    event_reasons: &[],
    confirm: &["ps -eo pid,stat,wchan:32,comm | awk '$2 ~ /D/'", "dmesg | grep -A 20 'blocked for more than'"],
    ignore: Some("For a process with hundreds of gigabytes: the kernel needs its seconds to take them back."),
};
