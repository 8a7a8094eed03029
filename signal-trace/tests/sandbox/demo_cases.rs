//! The demo's entrypoints end as the demo claims: by exit status, by time, and by what the program itself was told.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use signal_trace::cli::demo::cases::{CASES, Case, READY, Shells};
use signal_trace::event::{ExitStatus, Signal};
use signal_trace::judge::shutdown::{Cause, Outcome, Verdict};

use super::support::{BINARY, SOON, all, create, directory, ends, members, pidfd, stderr, stdout};

/// What the program of the well-behaved cases takes.
const WORK: Duration = Duration::from_millis(200);

#[test]
fn every_case_ends_as_it_claims_with_every_shell() {
    let scratch = tempfile::tempdir().unwrap();
    thread::scope(|scope| {
        for shells in shells(scratch.path()) {
            for case in &CASES {
                let shells = shells.clone();
                scope.spawn(move || stop(case, &shells));
            }
        }
    });
}

/// The machine's own shells as they are found, and each of the well-known ones that it has, in both roles.
fn shells(scratch: &Path) -> Vec<Shells> {
    // A multi-call binary goes by the name it is started with.
    let busybox = scratch.join("sh");
    if let Some(path) = ["/bin/busybox", "/usr/bin/busybox"].map(Path::new).into_iter().find(|path| path.is_file()) {
        std::os::unix::fs::symlink(path, &busybox).unwrap();
    }
    let known = [busybox, "/bin/dash".into(), "/bin/bash".into()];
    let known = known.into_iter().filter(|path: &PathBuf| path.is_file());
    known.map(|path| Shells { sh: path.clone(), bash: path }).chain([Shells::find()]).collect()
}

fn stop(case: &Case, shells: &Shells) {
    let context = format!("{} ({})", case.title, shells.sh.display());
    let mut command = case.command(shells, Path::new(BINARY));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = create().start(command).unwrap();
    let (out, err) = (stdout(running.init_mut()), stderr(running.init_mut()));
    assert!(out.wait_for_lines(READY, case.ready_lines, SOON), "{context}: {:?} {:?}", out.text(), err.text());

    let everybody = members(&directory(&running));
    let ends_of: Vec<OwnedFd> = everybody.iter().copied().map(pidfd).collect();
    let carts = everybody.iter().filter(|pid| fs::read_to_string(format!("/proc/{}/comm", pid.0)).unwrap() == "cart\n");
    assert_eq!(carts.count(), 1, "{context}");
    let stopped = running.stop(Signal::TERM, case.grace).unwrap();
    assert!(ends_of.iter().all(|process| ends(process, Duration::ZERO)), "{context}");
    let told = all(&err).contains("cart: SIGTERM");

    let found = match (stopped.killed, told, everybody.len()) {
        (true, false, 1) => (Outcome::GraceExceeded, Cause::Ignored),
        (true, true, 1) => (Outcome::GraceExceeded, Cause::Stuck),
        // The program would have ended by itself: that it was not told is why it did not.
        (true, false, 2) => (Outcome::GraceExceeded, Cause::NotForwarded),
        (false, false, 2) => (Outcome::ChildrenKilled, Cause::NotForwarded),
        (false, true, _) => (Outcome::Graceful, Cause::None),
        other => panic!("{context}: no case ends like {other:?}"),
    };
    assert_eq!(case.expected, Verdict { outcome: found.0, cause: found.1 }, "{context}");
    if stopped.killed {
        assert_eq!(stopped.status, ExitStatus::Signal(Signal::KILL), "{context}");
        assert!(stopped.after >= case.grace, "{context}: {stopped:?}");
    } else {
        assert_eq!(stopped.status, ExitStatus::Code(0), "{context}");
        assert!(!told || stopped.after >= WORK, "{context}: {stopped:?}");
    }
}
