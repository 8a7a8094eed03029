//! The words for every [`Finding`].

use super::{Text, fixes};
use crate::judge::shutdown::Finding;

pub(super) fn text(finding: Finding) -> &'static Text {
    match finding {
        Finding::EarlyExit => &EARLY_EXIT,
        Finding::HelpersKilled => &HELPERS_KILLED,
        Finding::Reraised => &RERAISED,
    }
}

const EARLY_EXIT: Text = Text {
    brief: "it ended within a second, while requests may still have been on their way to it",
    meaning: "The shutdown was fine, and it may still have cost requests.",
    how: "The pod serves ports and has no preStop hook. Load balancers and proxies learn of the pod's end only some \
          seconds after it was told to stop.",
    kernel: "Every process ended within a second of the stop signal.",
    fixes: &[fixes::EARLY],
    event_reasons: &[],
    confirm: &[],
    ignore: None,
};

const HELPERS_KILLED: Text = Text {
    brief: "all that were killed are helpers",
    meaning: "The processes that were killed are of programs that have nothing to lose: tail, sleep, epmd, ssh-agent.",
    how: "A `sleep` or a `tail` that a script left behind.",
    kernel: "The names of the processes that ended by SIGKILL.",
    fixes: &[],
    event_reasons: &[],
    confirm: &[],
    ignore: None,
};

const RERAISED: Text = Text {
    brief: "a process handled the signal by sending it to itself again",
    meaning: "There is a handler, and it belongs to the language's runtime: the program itself does nothing about the \
              signal.",
    how: "Node.js, Go and Ruby do this where the program has no handler of its own. Well-behaved tools do it after their \
          clean-up, so that their parent sees the signal.",
    kernel: "The stop signal again, from the process to itself, after its default action was restored.",
    fixes: &[fixes::NODE, fixes::GO],
    event_reasons: &[],
    confirm: &[],
    ignore: None,
};
