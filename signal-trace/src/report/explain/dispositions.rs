//! The words for every [`InitDisposition`].

use super::{Text, fixes};
use crate::judge::shutdown::InitDisposition;

pub(super) fn text(disposition: InitDisposition) -> &'static Text {
    match disposition {
        InitDisposition::Handled => &HANDLED,
        InitDisposition::Waited => &WAITED,
        InitDisposition::NoHandler => &NO_HANDLER,
        InitDisposition::SigIgn => &SIG_IGN,
        InitDisposition::Unread => &UNREAD,
        InitDisposition::NeverRan => &NEVER_RAN,
        InitDisposition::Reraised => &RERAISED,
        InitDisposition::DefaultAction => &DEFAULT_ACTION,
        InitDisposition::Unknown => &UNKNOWN,
    }
}

const HANDLED: Text = Text {
    brief: "{init} has a handler for {signal}",
    meaning: "PID 1 runs code of its own when the signal comes. What that code does is another matter: a shell's trap, \
              for one, may run much later.",
    how: "The program installed a function with `sigaction`, or its language's runtime did.",
    kernel: "The address of a function as the handler, when the signal was sent.",
    fixes: &[],
    event_reasons: &[],
    confirm: &[],
    ignore: None,
};

const WAITED: Text = Text {
    brief: "{init} waits for signals, and read {signal}",
    meaning: "PID 1 keeps the signal blocked and fetches it. That is how inits are built: tini, dumb-init, s6, systemd.",
    how: "`sigwait`, `sigtimedwait`, or a signalfd.",
    kernel: "The signal was blocked when it came, and no longer pending later.",
    fixes: &[],
    event_reasons: &[],
    confirm: &[],
    ignore: None,
};

const NO_HANDLER: Text = Text {
    brief: "{init} has no handler for {signal}, so the kernel dropped it",
    meaning: "For PID 1 of a pid namespace a signal without a handler does not exist. The kernel throws it away as it is \
              sent.",
    how: "A shell as PID 1 without a trap, or a program that leaves the signal to its default action.",
    kernel: "Result `ignored` for the signal, on a namespace init that had its default action set.",
    fixes: &[fixes::SHELL_EXEC, fixes::PYTHON, fixes::TINI],
    event_reasons: &[],
    confirm: &[],
    ignore: None,
};

const SIG_IGN: Text = Text {
    brief: "{init} ignores {signal}",
    meaning: "PID 1, or who started it, said that this signal is to be ignored.",
    how: "The program asked for it, or inherited it: `trap '' TERM` in a shell, `nohup`.",
    kernel: "SIG_IGN as the handler, when the signal was sent.",
    fixes: &[fixes::SIG_IGN, fixes::STOP_SIGNAL],
    event_reasons: &[],
    confirm: &[],
    ignore: None,
};

const UNREAD: Text = Text {
    brief: "{init} blocks {signal} and never read it",
    meaning: "The signal came and lay there until the end. Nobody in PID 1 fetched it.",
    how: "Every thread blocks the signal, and the one that should read it is not there, has ended, or is busy. A mask \
          can come from the parent.",
    kernel: "The signal was blocked, and still pending at the SIGKILL.",
    fixes: &[fixes::UNBLOCK],
    event_reasons: &[],
    confirm: &[],
    ignore: None,
};

const NEVER_RAN: Text = Text {
    brief: "{init} did not get to run after {signal} came",
    meaning: "PID 1 would have taken the signal, had it run at all.",
    how: "It was frozen, stopped, or in a system call that cannot be interrupted.",
    kernel: "The signal was not blocked, and still pending at the SIGKILL.",
    fixes: &[fixes::FROZEN],
    event_reasons: &[],
    confirm: &[],
    ignore: None,
};

const RERAISED: Text = Text {
    brief: "{init} ran a handler, then sent {signal} to itself",
    meaning: "The runtime of its language has a handler, which restores the default action and sends the signal again, to \
              end as if there had been none. For PID 1 of a pid namespace that second signal is dropped.",
    how: "Node.js, Go and Ruby do this where the program has no handler of its own. Go and Ruby then exit all the same. \
          Node.js stays.",
    kernel: "A handler at the first signal, and the same signal again, from PID 1 to itself.",
    fixes: &[fixes::NODE, fixes::GO],
    event_reasons: &[],
    confirm: &[],
    ignore: None,
};

const DEFAULT_ACTION: Text = Text {
    brief: "the default action of {signal} ended {init}",
    meaning: "The container's first process had no handler, and ended at once.",
    how: "It is not PID 1 of a namespace of its own: the pod shares its pid namespace, or the host's.",
    kernel: "No handler, and an exit by the signal.",
    fixes: &[fixes::PYTHON, fixes::GO, fixes::POLICY],
    event_reasons: &[],
    confirm: &[],
    ignore: None,
};

const UNKNOWN: Text = Text {
    brief: "what {init} did with {signal} was not seen",
    meaning: "There was no stop signal to PID 1, or its record is missing, or it is a signal whose handlers are not read.",
    how: "A kill without a stop signal, lost records, or an unusual stop signal: handlers are read for those that \
          usually stop something.",
    kernel: "No record of the signal to PID 1, or one that does not tell about its handler.",
    fixes: &[fixes::AGENT],
    event_reasons: &[],
    confirm: &[],
    ignore: None,
};
