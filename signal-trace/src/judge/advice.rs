//! What to change: one sentence for each verdict, by what init is.
//!
//! It reads the shutdown and nothing else. Programs are named by what the kernel calls them, which a container may have
//! chosen: a name only picks between sentences and is printed by whoever escapes.

use crate::event::{Comm, ExitStatus, Signal};
use crate::judge::program::{Kind, kind};
use crate::judge::shutdown::{Cause, Confidence, Finding, InitDisposition, Outcome, Shutdown, Step, StepKind};

/// One sentence, short enough to read aloud; empty where there is nothing to change.
pub(super) fn advice(shutdown: &Shutdown) -> String {
    let init = shutdown.init.map_or(Comm::default(), |init| init.comm);
    let name = printable(&init);
    let stop = shutdown.stop_signal.unwrap_or(Signal::TERM);
    let missed = shutdown.missed.first().map_or_else(|| "its child".to_owned(), |m| printable(&m.process.comm));
    let broke_at = shutdown.missed.first().and_then(|m| m.broke_at).map_or(init, |broke_at| broke_at.comm);
    match shutdown.verdict.outcome {
        Outcome::Graceful | Outcome::Forced => String::new(),
        Outcome::Unknown => {
            "Evidence is missing, so nobody is blamed: stop it again while signal-trace watches.".into()
        }
        Outcome::OomKilled => {
            "Raise the memory limit, or free memory before the stop: the out-of-memory killer ended the shutdown."
                .into()
        }
        Outcome::Crashed => {
            let who = youngest_to_die(shutdown, Signal::is_fault).unwrap_or(name);
            format!("Look at {who}'s {stop} handler: {who} crashed instead of ending.")
        }
        Outcome::GraceExceeded | Outcome::DiedOnSignal | Outcome::ChildrenKilled => {
            let (kind, broke_kind, broke_at) = (kind(&init), kind(&broke_at), printable(&broke_at));
            by_cause(shutdown, &Names { init: name, kind, missed, broke_at, broke_kind, stop })
        }
    }
}

struct Names {
    init: String,
    kind: Kind,
    missed: String,
    broke_at: String,
    broke_kind: Kind,
    stop: Signal,
}

fn by_cause(shutdown: &Shutdown, n: &Names) -> String {
    let Names { init, stop, .. } = n;
    match shutdown.verdict.cause {
        Cause::None => String::new(),
        Cause::Ignored => ignored(shutdown, n),
        Cause::NotForwarded | Cause::PartiallyForwarded if only_a_daemon(shutdown, n) => daemon_left(n),
        Cause::NotForwarded => not_forwarded(shutdown, n),
        Cause::PartiallyForwarded => partially_forwarded(n),
        Cause::NotAwaited => format!("Have {init} wait for its children before it exits: they were told, and cut off."),
        Cause::ChildTooSlow => {
            "Raise the grace period or shorten the children's shutdown: they were told, and not done in time.".into()
        }
        Cause::ChildIgnored => format!("Handle the forwarded signal in {init}'s children: they drop it."),
        Cause::Stuck if n.kind == Kind::Uwsgi => "Set die-on-term = true: to uwsgi SIGTERM means reload.".into(),
        Cause::Stuck if shutdown.init_disposition == InitDisposition::NeverRan => {
            format!(
                "Find out what held {init} at the stop: it was frozen, stopped or waiting for a device and never ran."
            )
        }
        Cause::Stuck => {
            format!("Raise the grace period or make {init}'s {stop} handler faster: it was not done in time.")
        }
        Cause::NoHandler => no_handler(shutdown, n),
        Cause::PrestopOverrun => {
            "Shorten the preStop hook or raise terminationGracePeriodSeconds: the hook used up the time to shut down."
                .into()
        }
        Cause::HostBroadcast => String::new(),
        // It took the signal; how it tells its workers, the kernel does not show.
        Cause::Unknown if shutdown.verdict.outcome == Outcome::GraceExceeded && took_it(shutdown) => {
            format!("Find out what {init} or its workers still did, and raise the grace period if they need it.")
        }
        Cause::Unknown => "The way of the signal was not seen whole, so nobody is blamed for it.".into(),
    }
}

fn took_it(shutdown: &Shutdown) -> bool {
    matches!(shutdown.init_disposition, InitDisposition::Handled | InitDisposition::Waited)
        && shutdown.confidence != Confidence::Partial
}

fn ignored(shutdown: &Shutdown, n: &Names) -> String {
    let Names { init, stop, .. } = n;
    match shutdown.init_disposition {
        InitDisposition::SigIgn => format!("Do not ignore {stop} in {init}."),
        InitDisposition::Unread => {
            format!("Have {init} read {stop} or unblock it: the signal was still pending at the kill.")
        }
        InitDisposition::Reraised => {
            format!(
                "Give {init} a {stop} handler that exits, or run it under an init such as tini: as PID 1 it cannot die of the signal."
            )
        }
        InitDisposition::Handled
        | InitDisposition::Waited
        | InitDisposition::NoHandler
        | InitDisposition::NeverRan
        | InitDisposition::DefaultAction
        | InitDisposition::Unknown => match n.kind {
            Kind::Shell => format!("Give the script a trap for {stop} that exits: as PID 1 {init} drops the signal."),
            Kind::PackageManager | Kind::InitHelper | Kind::Uwsgi | Kind::Other if !stop.default_is_fatal() => {
                format!("Set a stop signal that {init} acts on: {stop} does nothing by default.")
            }
            Kind::PackageManager | Kind::InitHelper | Kind::Uwsgi | Kind::Other => {
                format!(
                    "Add a {stop} handler to {init}, or run it under an init such as tini: as PID 1 it drops the signal."
                )
            }
        },
    }
}

fn not_forwarded(shutdown: &Shutdown, n: &Names) -> String {
    let Names { init, missed, stop, .. } = n;
    let deferred = shutdown.verdict.outcome == Outcome::GraceExceeded
        && matches!(shutdown.init_disposition, InitDisposition::Handled);
    match n.kind {
        Kind::Shell if deferred => {
            format!(
                "Run {missed} in the background and wait for it: {init} runs its trap only after the foreground command ends."
            )
        }
        Kind::Shell if shutdown.verdict.outcome == Outcome::ChildrenKilled => {
            format!("In the trap, signal {missed} and wait for it before the script exits, or exec {missed}.")
        }
        Kind::Shell => format!("Start {missed} with exec, or in the exec form of CMD: {init} does not pass {stop} on."),
        Kind::InitHelper if init == "runsvdir" && *stop == Signal::TERM => {
            "Stop runsvdir with SIGHUP: at SIGTERM it leaves its services alone.".into()
        }
        Kind::PackageManager => {
            format!("Start {missed} directly instead of through {init}: it does not pass {stop} on.")
        }
        Kind::InitHelper | Kind::Uwsgi | Kind::Other => {
            format!("Have {init} pass {stop} on to {missed} and wait for it, or start {missed} as PID 1.")
        }
    }
}

fn partially_forwarded(n: &Names) -> String {
    let Names { missed, broke_at, stop, .. } = n;
    match n.broke_kind {
        Kind::Shell | Kind::PackageManager | Kind::InitHelper => {
            format!("Let {broke_at} exec {missed}, or start {missed} without it: {stop} stopped at {broke_at}.")
        }
        Kind::Uwsgi | Kind::Other => {
            format!("Have {broke_at} pass {stop} on to {missed} and wait for it, or start {missed} without it.")
        }
    }
}

/// Nobody was cut off but a helper that makes a daemon of itself. A `sleep` is rather somebody's way to wait.
fn only_a_daemon(shutdown: &Shutdown, n: &Names) -> bool {
    shutdown.findings.contains(&Finding::HelpersKilled) && n.missed != "sleep"
}

fn daemon_left(n: &Names) -> String {
    let who = if n.kind == Kind::InitHelper { &n.broke_at } else { &n.init };
    format!("Have {who} end {} before it exits: nothing but a helper was left to be killed.", n.missed)
}

fn no_handler(shutdown: &Shutdown, n: &Names) -> String {
    let Names { init, stop, .. } = n;
    let who = youngest_to_die(shutdown, Signal::is_terminating).unwrap_or_else(|| init.clone());
    match who.as_str() {
        "haproxy" => "Stop haproxy with SIGUSR1: to its workers SIGTERM is the hard stop.".into(),
        name if name.starts_with("php-fpm") && *stop == Signal::QUIT => {
            "Set process_control_timeout for php-fpm: without it the workers get SIGTERM right after SIGQUIT.".into()
        }
        name if name.starts_with("php-fpm") => {
            "Stop php-fpm with SIGQUIT: to its workers SIGTERM is the hard stop.".into()
        }
        _ => format!("Give {who} a {stop} handler if it has work to finish: it died of the signal at once."),
    }
}

/// The youngest of those who died of such a signal: the shells and helpers above a payload are older than it, and in
/// which order a group ends is chance.
fn youngest_to_die(shutdown: &Shutdown, of: impl Fn(Signal) -> bool) -> Option<String> {
    let died = |step: &Step| match step.what {
        StepKind::Exit { process, status: ExitStatus::Signal(signal) } if of(signal) => Some(process),
        StepKind::Exit { .. } | StepKind::Signal { .. } | StepKind::OomMark { .. } => None,
    };
    shutdown.timeline.iter().filter_map(died).max_by_key(|process| process.pid).map(|process| printable(&process.comm))
}

/// Bytes that a stranger chose: printable ASCII stays, the rest becomes `?`.
fn printable(comm: &Comm) -> String {
    let text: String =
        comm.as_bytes().iter().map(|b| if b.is_ascii_graphic() || *b == b' ' { char::from(*b) } else { '?' }).collect();
    if text.is_empty() { "PID 1".into() } else { text }
}
