//! The words for every [`Outcome`].

use super::{Text, fixes};
use crate::judge::shutdown::Outcome;

pub(super) fn text(outcome: Outcome) -> &'static Text {
    match outcome {
        Outcome::Unknown => &UNKNOWN,
        Outcome::OomKilled => &OOM_KILLED,
        Outcome::Forced => &FORCED,
        Outcome::GraceExceeded => &GRACE_EXCEEDED,
        Outcome::Crashed => &CRASHED,
        Outcome::DiedOnSignal => &DIED_ON_SIGNAL,
        Outcome::ChildrenKilled => &CHILDREN_KILLED,
        Outcome::Graceful => &GRACEFUL,
    }
}

const UNKNOWN: Text = Text {
    brief: "Not judged, because part of the evidence is missing",
    meaning: "What was seen does not decide how this shutdown went. It counts neither as graceful nor as a failure.",
    how: "Kernel events were lost under load, or the shutdown had begun before signal-trace did.",
    kernel: "A counter of lost records moved while the shutdown was going on, or its beginning is not in the record.",
    fixes: &[fixes::AGENT],
    event_reasons: &[],
    confirm: &[],
    ignore: Some(
        "A few of them are the price of certainty: a shutdown that had begun before the agent did, or one under heavy \
         load.",
    ),
};

const OOM_KILLED: Text = Text {
    brief: "Killed by the OOM killer while it was shutting down",
    meaning: "The container was told to stop, and ran out of memory before it had. The clean-up did not finish.",
    how: "A shutdown takes memory of its own: buffers are flushed, state is written, code is loaded that was not needed \
          before. The memory limit, or the node, left no room for that.",
    kernel: "The OOM killer chose the process, the kernel sent it SIGKILL, and it ended by that. All three were seen: \
             the choice alone proves nothing.",
    fixes: &[fixes::MEMORY],
    event_reasons: &["OOMKilledDuringShutdown"],
    confirm: &[],
    ignore: Some(
        "When the container holds nothing that a clean-up would save. The memory limit is worth a look all the same.",
    ),
};

const FORCED: Text = Text {
    brief: "Killed at once, by design",
    meaning: "Somebody wanted it dead and gave it no time. This says nothing about the program.",
    how: "`docker kill`, `docker stop -t 0`, a runtime that is given a timeout of 0, or a stop signal that is SIGKILL.",
    kernel: "SIGKILL from outside, with no stop signal before it or with one at most half a second before it, while the \
             configured grace was not that short.",
    fixes: &[fixes::STOPPER],
    event_reasons: &[],
    confirm: &[],
    ignore: Some(
        "Wherever somebody wants it so: `docker kill` by hand, a job of a pipeline that is cancelled, a test that is \
         torn down.",
    ),
};

const GRACE_EXCEEDED: Text = Text {
    brief: "Killed when its grace period ran out",
    meaning: "The container was still running when its time was over, so the runtime killed it. What it was doing is \
              lost. Whoever waited for it, a rollout or a node drain, waited for the whole grace period.",
    how: "The stop signal never came to the program, or the program took no notice, or it needed more time. The cause \
          says which.",
    kernel: "SIGKILL from outside onto init, while init was alive, some time after the stop signal.",
    fixes: &[
        fixes::EXEC_FORM,
        fixes::SHELL_EXEC,
        fixes::PYTHON,
        fixes::NODE,
        fixes::GO,
        fixes::JAVA,
        fixes::MORE_GRACE,
    ],
    event_reasons: &[],
    confirm: &[],
    ignore: Some(
        "When the grace is shorter than the work on purpose, as somebody else takes the work up again. The annotation \
         `signal-trace.dev/expect: grace_exceeded` then keeps Kubernetes events about it away.",
    ),
};

const CRASHED: Text = Text {
    brief: "Crashed while it was shutting down",
    meaning: "Init, or a process that had been told to stop, died of another fatal signal: a segmentation fault, an \
              abort, or a SIGKILL from inside the pod onto init. The clean-up did not finish.",
    how: "A bug on the way out. Often a signal handler does what no handler may do, or a thread uses what another has \
          already freed.",
    kernel: "An exit by a signal that is not the stop signal, and not a kill from outside.",
    fixes: &[fixes::HANDLER_BUG],
    event_reasons: &["CrashedDuringShutdown"],
    confirm: &[],
    ignore: Some("When crashing is the last thing that a program does on purpose, with its state safe before."),
};

const DIED_ON_SIGNAL: Text = Text {
    brief: "Ended by the stop signal itself, without a clean-up",
    meaning: "Nothing handled the signal, so its default action ended the program. That is quick, and it cuts open \
              requests and loses what is only in memory.",
    how: "The program has no handler and is not PID 1 of its namespace: behind tini or dumb-init, below a shell that \
          passes the signal on, or in a shared pid namespace. Some servers want it so: SIGTERM is the hard stop of \
          haproxy and php-fpm.",
    kernel: "An exit by the stop signal, and no handler for it when it was sent.",
    fixes: &[fixes::PYTHON, fixes::NODE, fixes::GO, fixes::PHP_FPM, fixes::HAPROXY, fixes::POLICY],
    event_reasons: &[],
    confirm: &[],
    ignore: Some(
        "Where there is nothing to clean up: no open requests, no state in memory. To end at once is then the best it \
         can do.",
    ),
};

const CHILDREN_KILLED: Text = Text {
    brief: "{init} ended in time, but other processes were killed",
    meaning: "The container looks clean from outside, its exit code may even be 0. But processes in it were still at \
              work, and were killed without a chance to finish.",
    how: "When PID 1 of a pid namespace ends, the kernel kills what is left in the namespace, at once. So PID 1 has to \
          tell its children and to wait for them. A supervisor that loses patience kills its children too.",
    kernel: "A process that was alive at the stop signal ended by SIGKILL: from the kernel as the namespace was taken \
             down, from the runtime, or from a process in the container.",
    fixes: &[
        fixes::NPM,
        fixes::SHELL_EXEC,
        fixes::SHELL_TRAP,
        fixes::TINI_GROUP,
        fixes::TINI_WAIT,
        fixes::SUPERVISOR,
        fixes::HELPERS,
    ],
    event_reasons: &["ChildrenKilled"],
    confirm: &[],
    ignore: Some(
        "When those that were killed have nothing to lose: a `tail`, a `sleep`, a reader that goes on elsewhere.",
    ),
};

const GRACEFUL: Text = Text {
    brief: "Everything ended by itself, in time",
    meaning: "After the stop signal every process of the container ended by itself before the grace was over. An exit \
              code other than 0 is shown and not blamed.",
    how: "PID 1 handled the signal, and its children were told by it or noticed in their own way: a closed pipe, a \
          closed socket.",
    kernel: "An exit of every process that was alive at the stop signal, none of them by SIGKILL.",
    fixes: &[],
    event_reasons: &[],
    confirm: &[],
    ignore: Some(
        "It is what should be. Look at it only where requests fail all the same: the finding `early_exit` says why \
         they may.",
    ),
};
