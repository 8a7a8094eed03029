//! `app`: that the kernel shows of it exactly what it was asked to be.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::getsid;
use signal_trace::event::{ExitStatus, Pid, Signal};
use signal_trace::sandbox::{Process, Running};

use super::support::{SOON, all, app, directory, ends, members, pidfd, raw, start, start_app, status, stderr, stdout};

const TERM: u64 = 1 << (15 - 1);
const INT: u64 = 1 << (2 - 1);

/// A mask of `/proc/PID/status`.
fn mask(pid: Pid, field: &str) -> u64 {
    let status = status(pid);
    let value = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(":\t")).expect("the field");
    u64::from_str_radix(value, 16).expect("a mask")
}

/// Stops the init of `running` and says how it ended, which has to be by itself.
fn ended_by(running: &mut Running, signal: Signal) -> ExitStatus {
    let stopped = running.stop(signal, SOON).unwrap();
    assert!(!stopped.killed, "it outlived the signal");
    stopped.status
}

/// An app that is not the init of a pid namespace, beside one that is.
fn start_beside(running: &Running, arguments: &[&str]) -> Process {
    let mut command = app(&["--ready"]);
    command.args(arguments);
    let mut process = running.exec(command).unwrap();
    assert!(stdout(&mut process).wait_for_lines("ready", 1, SOON));
    process
}

#[test]
fn the_kernel_shows_what_was_asked_for_and_no_more() {
    for (rules, blocked, ignored, caught) in [
        (&[][..], 0, 0, 0),
        (&["--on", "TERM=default"], 0, 0, 0),
        (&["--on", "TERM=ignore", "--on", "INT=exit:0"], 0, TERM, INT),
        (&["--on", "TERM=after:1s:0", "--on", "INT=reraise"], 0, 0, TERM | INT),
        (&["--on", "TERM=block", "--on", "INT=abort"], TERM, 0, INT),
        (&["--on", "INT=block", "--child", "--name leaf"], INT, 0, 0),
    ] {
        let running = start_app(rules);
        let shown = ["SigBlk", "SigIgn", "SigCgt"].map(|field| mask(running.init().pid(), field));
        assert_eq!(shown, [blocked, ignored, caught], "{rules:?}");
        assert!(status(running.init().pid()).contains("Threads:\t1\n"));
        let sleeps = || status(running.init().pid()).contains("State:\tS");
        let begun = Instant::now();
        while !sleeps() {
            assert!(begun.elapsed() < SOON, "it never sleeps");
            std::thread::yield_now();
        }
    }
}

#[test]
fn children_inherit_none_of_the_rules() {
    let running = start_app(&["--on", "TERM=ignore", "--on", "INT=block", "--child", "--name leaf"]);
    let leaf = members(&directory(&running)).into_iter().find(|pid| *pid != running.init().pid()).unwrap();
    assert!(status(leaf).starts_with("Name:\tleaf\n"));
    assert_eq!((mask(leaf, "SigBlk") & INT, mask(leaf, "SigIgn") & TERM), (0, 0));
}

#[test]
fn handlers_end_it_as_asked() {
    assert_eq!(ended_by(&mut start_app(&["--on", "TERM=exit:3"]), Signal::TERM), ExitStatus::Code(3));
    assert_eq!(ended_by(&mut start_app(&["--on", "QUIT=exit:137"]), Signal::QUIT), ExitStatus::Code(137));
    // Also for the init of a namespace, which the kernel spares most signals: a fault is forced on it.
    assert_eq!(ended_by(&mut start_app(&["--on", "TERM=segv"]), Signal::TERM), ExitStatus::Signal(Signal::SEGV));
    let work = Duration::from_millis(150);
    let stopped = start_app(&["--on", "TERM=after:150ms:4"]).stop(Signal::TERM, SOON).unwrap();
    assert!(stopped.after >= work && !stopped.killed, "{stopped:?}");
    assert_eq!(stopped.status, ExitStatus::Code(4));
}

#[test]
fn a_wait_reads_the_signal() {
    let mut running = start_app(&["--on", "TERM=wait", "--on", "INT=ignore"]);
    running.init().signal(Signal::INT).unwrap();
    assert_eq!(ended_by(&mut running, Signal::TERM), ExitStatus::Code(0));
}

#[test]
fn what_does_not_end_it_does_not() {
    for rule in ["TERM=ignore", "TERM=block", "TERM=default", "TERM=reraise"] {
        let mut running = start_app(&["--on", rule, "--on", "INT=exit:9"]);
        running.init().signal(Signal::TERM).unwrap();
        if rule == "TERM=reraise" {
            // The second look at the handler: it is the default now, which a namespace's init survives.
            let begun = Instant::now();
            while mask(running.init().pid(), "SigCgt") & TERM != 0 {
                assert!(begun.elapsed() < SOON, "its handler did not run");
                std::thread::yield_now();
            }
        }
        assert_eq!(mask(running.init().pid(), "ShdPnd") & TERM != 0, rule == "TERM=block", "{rule}");
        assert_eq!(ended_by(&mut running, Signal::INT), ExitStatus::Code(9), "{rule}");
    }
}

#[test]
fn who_is_no_init_dies_of_what_it_raises() {
    let running = start_app(&[]);
    for (arguments, fatal) in [
        (&["--on", "TERM=reraise"][..], Signal::TERM),
        (&["--on", "TERM=abort"], Signal::ABRT),
        (&["--on", "TERM=default"], Signal::TERM),
    ] {
        let mut process = start_beside(&running, arguments);
        process.signal(Signal::TERM).unwrap();
        assert_eq!(process.wait_within(SOON).unwrap(), Some(ExitStatus::Signal(fatal)), "{arguments:?}");
    }
}

#[test]
fn a_forward_reaches_the_children_and_waits() {
    let child = "--name leaf --verbose --on TERM=after:150ms:0";
    let mut command = app(&["--ready", "--verbose", "--name", "front", "--on", "TERM=exit:0", "--forward"]);
    command.args(["--child", child, "--child", child]);
    let mut running = start(command);
    let (out, err) = (stdout(running.init_mut()), stderr(running.init_mut()));
    assert!(out.wait_for_lines("ready", 1, SOON));
    let stopped = running.stop(Signal::TERM, SOON).unwrap();
    assert_eq!(stopped.status, ExitStatus::Code(0));
    assert!(stopped.after >= Duration::from_millis(150), "{stopped:?}");
    let mut told: Vec<String> = all(&err).lines().map(str::to_owned).collect();
    told.sort();
    assert_eq!(told, ["front: SIGTERM", "leaf: SIGTERM", "leaf: SIGTERM"]);
}

#[test]
fn a_forward_may_also_leave_the_children_behind() {
    let mut running =
        start_app(&["--on", "TERM=exit:0", "--forward=leave", "--child", "--name leaf --on TERM=after:1m:0"]);
    let everybody: Vec<_> = members(&directory(&running)).into_iter().map(pidfd).collect();
    assert_eq!(everybody.len(), 2);
    assert_eq!(ended_by(&mut running, Signal::TERM), ExitStatus::Code(0));
    assert!(everybody.iter().all(|process| ends(process, Duration::ZERO)), "the teardown took the leaf");
}

#[test]
fn without_a_forward_nobody_is_told() {
    let mut command = app(&["--ready", "--on", "TERM=exit:0", "--child", "--verbose --on TERM=after:1m:0"]);
    command.arg("--verbose");
    let mut running = start(command);
    let (out, err) = (stdout(running.init_mut()), stderr(running.init_mut()));
    assert!(out.wait_for_lines("ready", 1, SOON));
    assert_eq!(ended_by(&mut running, Signal::TERM), ExitStatus::Code(0));
    assert_eq!(all(&err), "app: SIGTERM\n");
}

#[test]
fn it_has_the_name_and_the_session_it_was_given() {
    let running = start_app(&["--name", "cart", "--child", "--setsid --name worker"]);
    assert_eq!(fs::read_to_string(format!("/proc/{}/comm", running.init().pid().0)).unwrap(), "cart\n");
    let worker = members(&directory(&running)).into_iter().find(|pid| *pid != running.init().pid()).unwrap();
    assert_eq!(getsid(Some(raw(worker))).unwrap(), raw(worker));
}

#[test]
fn what_cannot_be_is_refused() {
    for (arguments, complaint) in [
        (&["--on", "KILL=ignore"][..], "SIGKILL cannot be set"),
        (&["--on", "TERM=ignore", "--on", "TERM=exit:0"], "two rules for SIGTERM"),
        (&["--child", "--on NOPE=exit:0"], "it ended before it was ready"),
        (&["--child", "--name 'open"], "a quote is not closed"),
    ] {
        let output = app(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains(complaint), "{arguments:?}: {said}");
    }
}
