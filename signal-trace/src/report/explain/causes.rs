//! The words for every [`Cause`].

use super::{Text, fixes};
use crate::judge::shutdown::Cause;

pub(super) fn text(cause: Cause) -> &'static Text {
    match cause {
        Cause::None => &NONE,
        Cause::Ignored => &IGNORED,
        Cause::NotForwarded => &NOT_FORWARDED,
        Cause::PartiallyForwarded => &PARTIALLY_FORWARDED,
        Cause::NotAwaited => &NOT_AWAITED,
        Cause::ChildTooSlow => &CHILD_TOO_SLOW,
        Cause::ChildIgnored => &CHILD_IGNORED,
        Cause::Stuck => &STUCK,
        Cause::NoHandler => &NO_HANDLER,
        Cause::PrestopOverrun => &PRESTOP_OVERRUN,
        Cause::HostBroadcast => &HOST_BROADCAST,
        Cause::Unknown => &UNKNOWN,
    }
}

const NONE: Text = Text {
    brief: "nothing is left to explain",
    meaning: "The outcome says it all. The signal's way did not break, or there was none to follow.",
    how: "Every graceful shutdown has this cause, and every one that was forced, crashed, was killed for memory or could \
          not be judged.",
    kernel: "Nothing beyond what the outcome rests on.",
    fixes: &[],
    event_reasons: &[],
    confirm: &[],
    ignore: Some("It accuses nobody: look at the outcome."),
};

const IGNORED: Text = Text {
    brief: "{init} took no notice of {signal}",
    meaning: "PID 1 was the only process to tell, and it did nothing. The whole wait could not help: without a handler \
              the next stop goes the same way.",
    how: "PID 1 of a pid namespace is special. A signal that it has no handler for is dropped, where any other process \
          would end. Programs that ran well from a terminal meet this first in a container. Or PID 1 ignores the signal \
          on purpose, or blocks it, or sends it to itself again.",
    kernel: "The signal was dropped as it was sent, since PID 1 had no handler, or it was still unread at the SIGKILL. \
             No child was waiting to be told.",
    fixes: &[fixes::PYTHON, fixes::NODE, fixes::GO, fixes::TINI, fixes::STOP_SIGNAL],
    event_reasons: &["StopSignalIgnored"],
    confirm: &[],
    ignore: Some(
        "When the container has nothing to save and its grace is a second or two. Every stop still lasts that long.",
    ),
};

const NOT_FORWARDED: Text = Text {
    brief: "{init} passed {signal} on to nobody",
    meaning: "The runtime tells PID 1 alone. The program below it never heard of the stop, so it could not stop.",
    how: "PID 1 is a shell that waits for the program: a CMD without brackets, a start script without `exec`. Or it is \
          a shell with a trap, which runs only after the program in the foreground has ended. Or PID 1 handles the \
          signal and ends, and does not tell its children.",
    kernel: "The stop signal to PID 1. After it, not one signal from PID 1 or below to a process that was alive then.",
    fixes: &[fixes::EXEC_FORM, fixes::SHELL_EXEC, fixes::SHELL_TRAP, fixes::JAVA, fixes::NGINX, fixes::APACHE],
    event_reasons: &["StopSignalNotForwarded"],
    confirm: &[],
    ignore: Some(
        "When the program below has nothing to save and the grace is a second or two. Every rollout still waits that \
         long.",
    ),
};

const PARTIALLY_FORWARDED: Text = Text {
    brief: "{signal} did not reach every process",
    meaning: "PID 1 passed the signal on, and somewhere below the chain broke. The record names who was missed, and \
              after whom.",
    how: "A shell in the middle dies of the signal and passes nothing on: `npm start`, `tini -- sh -c`, `docker run \
          --init` with a script. Or a process left the group that was told.",
    kernel: "Signals from PID 1 to some of its processes, and none to others that had no child of their own.",
    fixes: &[fixes::NPM, fixes::SHELL_EXEC, fixes::TINI_GROUP, fixes::SESSION],
    event_reasons: &["StopSignalNotForwarded"],
    confirm: &[],
    ignore: Some("When whoever was missed has nothing to lose, and was to end with the others anyway."),
};

const NOT_AWAITED: Text = Text {
    brief: "they had been told, and {init} did not wait for them",
    meaning: "The children knew that they had to stop and were at it. Then PID 1 ended, and the kernel killed them.",
    how: "tini and dumb-init wait for their own child only. When that one ends first, all others are killed. The same \
          goes for a program that tells its workers and exits, and for a shell whose `wait` returned as the trap ran.",
    kernel: "The signal to the child, then the exit of PID 1, then SIGKILL to the child, and the child's exit by it.",
    fixes: &[fixes::TINI_WAIT, fixes::SHELL_TRAP, fixes::SUPERVISOR],
    event_reasons: &[],
    confirm: &[],
    ignore: Some("When what the children were at may be cut off at any point, as with a reader that has no state."),
};

const CHILD_TOO_SLOW: Text = Text {
    brief: "a process had been told, and was not done in time",
    meaning: "The signal came where it should. The process handled it, and still ran when its time was over.",
    how: "Long requests, a queue that is drained to its end, a flush to slow storage. Or the grace is shorter than what \
          the program was built for, or its supervisor has less patience than the runtime.",
    kernel: "The signal to the process, which had a handler for it, and its exit by SIGKILL later.",
    fixes: &[fixes::FASTER, fixes::MORE_GRACE, fixes::SUPERVISOR, fixes::NGINX, fixes::POSTGRES],
    event_reasons: &["GracePeriodExceeded"],
    confirm: &[],
    ignore: Some(
        "When somebody else takes up the work that is cut off, and the grace is as long as anybody is willing to wait.",
    ),
};

const CHILD_IGNORED: Text = Text {
    brief: "a process had been told, and dropped the signal",
    meaning: "The signal was passed on, and whom it came to ignores it. Waiting could not help.",
    how: "The process ignores the signal, on purpose or because its parent did: that is inherited. Or it understands \
          another signal than the one that it was sent.",
    kernel: "A signal from PID 1 or below, dropped as it was sent, because the target ignores it.",
    fixes: &[fixes::SIG_IGN, fixes::STOP_SIGNAL],
    event_reasons: &["StopSignalIgnored"],
    confirm: &[],
    ignore: Some("When the child has nothing to lose. The wait for it is lost all the same."),
};

const STUCK: Text = Text {
    brief: "{init} was not done in time, with nobody left to tell",
    meaning: "PID 1 had noticed the signal, or could not run at all. All its children were gone, or it never had one. It \
              was still there when its time was over.",
    how: "It waits for something that does not come: a client that stays, a lock, a thread. Or the signal means \
          something else to it: uWSGI reloads. Or it was frozen, stopped, or waiting for a disk.",
    kernel: "PID 1 alive at the SIGKILL, and no process left below it that had been alive at the stop signal.",
    fixes: &[fixes::FASTER, fixes::UWSGI, fixes::POSTGRES, fixes::MORE_GRACE, fixes::FROZEN],
    event_reasons: &["GracePeriodExceeded"],
    confirm: &[],
    ignore: Some("When the wait is wanted, as one for clients that leave by themselves, and the grace is its bound."),
};

const NO_HANDLER: Text = Text {
    brief: "nobody who was told had a handler for {signal}",
    meaning: "The signal came to every process that had to hear of it. None of them had said what to do then, so its \
              default action ended them at once.",
    how: "A program that was written for a terminal, behind an init that passes signals on. Or a server that is sent \
          its hard stop: haproxy and php-fpm have another signal for the soft one.",
    kernel: "No handler for the signal in the process when it was sent, and the exit of the process by that signal.",
    fixes: &[fixes::PYTHON, fixes::NODE, fixes::GO, fixes::PHP_FPM, fixes::HAPROXY, fixes::POLICY],
    event_reasons: &["NoSignalHandler"],
    confirm: &[],
    ignore: Some("Where there is nothing to clean up: no open requests, no state in memory."),
};

const PRESTOP_OVERRUN: Text = Text {
    brief: "the preStop hook or the sidecar wait had used up the time",
    meaning: "The program got its stop signal late, and had less time than the grace says, at times only the two \
              seconds that the kubelet always gives.",
    how: "The grace runs from the deletion on. The preStop hook takes its time out of it, and so does a sidecar's wait \
          for the main containers.",
    kernel: "SIGKILL came more than a second sooner after the stop signal than the grace allows, and the missing time \
             is what the hook or the wait took.",
    fixes: &[fixes::PRESTOP, fixes::SIDECAR],
    event_reasons: &["PreStopConsumedGracePeriod"],
    confirm: &[],
    ignore: Some("When the hook does all there is to do, and the program behind it has nothing to save."),
};

const HOST_BROADCAST: Text = Text {
    brief: "every process was signalled at once, by systemd",
    meaning: "The node went down, and its systemd told every process of the container directly. What PID 1 passed on \
              cannot be seen in that, so it earns neither credit nor blame.",
    how: "The kubelet does not shut the node's pods down first, so systemd stops the containers like any other service.",
    kernel: "The stop signal from the host's PID 1 to every process of the cgroup, within moments.",
    fixes: &[fixes::NODE_SHUTDOWN],
    event_reasons: &[],
    confirm: &[],
    ignore: Some(
        "As far as the program goes, always: it is not its fault. For the node, where losing pods at a reboot is \
         accepted.",
    ),
};

const UNKNOWN: Text = Text {
    brief: "where the signal's way broke was not seen",
    meaning: "The outcome is certain, its cause is not. Nobody is blamed for what was not seen.",
    how: "Records were lost, or a hook sent a signal before the stop signal. Or processes may have been told over a pipe or a socket, where the \
          kernel shows nothing: Nginx and Apache tell their workers so and wait for the busy ones, and Istio's agent drains \
          Envoy so and kills it later.",
    kernel: "A gap in the records; or a PID 1, no shell, that took the signal and sent none to those who outlived the grace; \
             or a SIGKILL from its own parent onto a process that no signal had told.",
    fixes: &[fixes::AGENT],
    event_reasons: &["GracePeriodExceeded"],
    confirm: &[],
    ignore: Some(
        "While it stays rare. If it comes back for one workload, follow its next stop with `signal-trace watch` on the \
         node.",
    ),
};
