//! The six entrypoints of the demo, as data: how each is started, when it has settled, and how its stop must end.
//!
//! Two axes of failure that every image has met: the signal is not passed on, or nobody does anything about it. Nothing
//! here starts, stops or traces anything.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::judge::shutdown::{Cause, Outcome, Verdict};

/// The line that a case prints [`Case::ready_lines`] times once it has settled.
pub const READY: &str = "ready";

/// Between stop signal and SIGKILL: long against the 200 ms that the program needs, short for who watches.
const GRACE: Duration = Duration::from_secs(2);

/// A program that shuts down well, if it is told.
const WELL_BEHAVED: &[&str] = &["--on", "TERM=after:200ms:0"];

/// One entrypoint, and what its shutdown must be found to be.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// What it shows.
    pub title: &'static str,
    /// What is pid 1.
    entrypoint: Entrypoint,
    /// The rules of the program, `cart`.
    program: &'static [&'static str],
    /// How often [`READY`] is printed before the stop signal may come: once by the program, once by a shell that has
    /// something to do after starting it.
    pub ready_lines: usize,
    /// Between SIGTERM and SIGKILL.
    pub grace: Duration,
    /// The verdict that is true.
    pub expected: Verdict,
}

#[derive(Clone, Copy, Debug)]
enum Entrypoint {
    /// The program itself.
    Program,
    /// `/bin/sh -c SCRIPT`.
    Sh(&'static str),
    /// `bash -c SCRIPT`.
    Bash(&'static str),
}

/// The shells of this machine.
#[derive(Clone, Debug)]
pub struct Shells {
    /// A POSIX shell.
    pub sh: PathBuf,
    /// bash, or `sh` where there is none.
    pub bash: PathBuf,
}

impl Shells {
    /// `/bin/sh`, and bash from the usual places.
    pub fn find() -> Self {
        let sh = PathBuf::from("/bin/sh");
        let bash = ["/bin/bash", "/usr/bin/bash", "/usr/local/bin/bash"].map(PathBuf::from);
        Self { bash: bash.into_iter().find(|path| path.is_file()).unwrap_or_else(|| sh.clone()), sh }
    }
}

/// All of them, in the order to show them.
pub const CASES: [Case; 6] = [
    Case {
        title: "a shell around the program",
        // Not the last command: some shells replace themselves by that one, which would hide what most images do.
        entrypoint: Entrypoint::Sh(r#""$@"; exit $?"#),
        program: WELL_BEHAVED,
        ready_lines: 1,
        grace: GRACE,
        expected: Verdict { outcome: Outcome::GraceExceeded, cause: Cause::NotForwarded },
    },
    Case {
        title: "the same, with exec",
        entrypoint: Entrypoint::Sh(r#"exec "$@""#),
        program: WELL_BEHAVED,
        ready_lines: 1,
        grace: GRACE,
        expected: Verdict { outcome: Outcome::Graceful, cause: Cause::None },
    },
    Case {
        title: "a shell that traps the signal, passes it on and waits",
        // The first wait ends at the signal, the second with the program.
        entrypoint: Entrypoint::Bash(
            r#"trap 'kill -TERM $p' TERM; "$@" & p=$!; echo ready; wait $p; trap - TERM; wait $p"#,
        ),
        program: WELL_BEHAVED,
        ready_lines: 2,
        grace: GRACE,
        expected: Verdict { outcome: Outcome::Graceful, cause: Cause::None },
    },
    Case {
        title: "a program without a handler, as pid 1",
        entrypoint: Entrypoint::Program,
        program: &[],
        ready_lines: 1,
        grace: GRACE,
        expected: Verdict { outcome: Outcome::GraceExceeded, cause: Cause::Ignored },
    },
    Case {
        title: "a handler that takes longer than the grace period",
        entrypoint: Entrypoint::Program,
        program: &["--on", "TERM=after:1m:0"],
        ready_lines: 1,
        grace: GRACE,
        expected: Verdict { outcome: Outcome::GraceExceeded, cause: Cause::Stuck },
    },
    Case {
        title: "a shell that exits at the signal and leaves the program behind",
        entrypoint: Entrypoint::Sh(r#"trap 'exit 0' TERM; "$@" & echo ready; wait"#),
        program: WELL_BEHAVED,
        ready_lines: 2,
        grace: GRACE,
        expected: Verdict { outcome: Outcome::ChildrenKilled, cause: Cause::NotForwarded },
    },
];

impl Case {
    /// What to start as pid 1. `signal_trace` is this program's own file, which plays the program of every case.
    pub fn command(&self, shells: &Shells, signal_trace: &Path) -> Command {
        let mut command = match self.entrypoint {
            Entrypoint::Program => Command::new(signal_trace),
            Entrypoint::Sh(script) => wrapped(&shells.sh, script, signal_trace),
            Entrypoint::Bash(script) => wrapped(&shells.bash, script, signal_trace),
        };
        command.args(["app", "--name", "cart", "--ready", "--verbose"]).args(self.program);
        command
    }

    /// The entrypoint as a Dockerfile would have it, for printing.
    pub fn shown(&self) -> String {
        let (shell, script) = match self.entrypoint {
            Entrypoint::Program => return r#"["cart"]"#.into(),
            Entrypoint::Sh(script) => ("sh", script),
            Entrypoint::Bash(script) => ("bash", script),
        };
        // What the demo needs for itself is not shown.
        let script = script.replace(r#""$@""#, "cart").replace("echo ready; ", "");
        format!(r#"["{shell}", "-c", "{script}"]"#)
    }
}

fn wrapped(shell: &Path, script: &str, program: &Path) -> Command {
    let mut command = Command::new(shell);
    // The word after the script is its name, and the next ones are its "$@".
    command.args(["-c", script, "sh"]).arg(program);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_what_a_person_would_write() {
        let shown = CASES.map(|case| format!("{}: {}", case.title, case.shown()));
        insta::assert_snapshot!(shown.join("\n"), @r#"
        a shell around the program: ["sh", "-c", "cart; exit $?"]
        the same, with exec: ["sh", "-c", "exec cart"]
        a shell that traps the signal, passes it on and waits: ["bash", "-c", "trap 'kill -TERM $p' TERM; cart & p=$!; wait $p; trap - TERM; wait $p"]
        a program without a handler, as pid 1: ["cart"]
        a handler that takes longer than the grace period: ["cart"]
        a shell that exits at the signal and leaves the program behind: ["sh", "-c", "trap 'exit 0' TERM; cart & wait"]
        "#);
    }

    #[test]
    fn the_program_comes_after_the_script() {
        let shells = Shells { sh: "/bin/sh".into(), bash: "/bin/bash".into() };
        let words = |case: &Case| {
            let command = case.command(&shells, Path::new("/opt/my tools/signal-trace"));
            let words: Vec<_> = [command.get_program()].into_iter().chain(command.get_args()).collect();
            words.iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        let wrapped = words(&CASES[0]);
        assert_eq!(wrapped[..5], ["/bin/sh", "-c", r#""$@"; exit $?"#, "sh", "/opt/my tools/signal-trace"]);
        assert_eq!(wrapped[5..], ["app", "--name", "cart", "--ready", "--verbose", "--on", "TERM=after:200ms:0"]);
        assert_eq!(words(&CASES[3])[0], "/opt/my tools/signal-trace");
    }
}
