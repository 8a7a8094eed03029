//! From evidence to a verdict: two tables, each decided by its first row that holds.
//!
//! [`outcome`] says how the container ended, [`cause`] where the stop signal's way broke. Both are meant to be held
//! against the documentation of the verdicts, row by row; what a row means lives in the small functions below them.

use std::time::Duration;

use crate::event::{ExitStatus, Handler, KernelTime, Mask, Signal};
use crate::judge::evidence::{Evidence, Member, Party, bit};
use crate::judge::program::tells_by_signals;
use crate::judge::shutdown::{Cause, Confidence, Grace, InitDisposition, KilledBy, Outcome, Verdict, Where};

/// A kill this soon after the stop signal is no grace period, unless it was configured that short.
const FORCED_WITHIN: Duration = Duration::from_millis(500);

/// A supervisor that kills an untold child this late had other means to stop it.
const LATE_KILL: Duration = Duration::from_secs(1);

/// A budget that is shorter than configured by more than this was eaten by somebody.
const BUDGET_TOLERANCE: Duration = Duration::from_secs(1);

/// What is weighed: the evidence, and what was configured.
#[derive(Clone, Copy)]
pub(super) struct Case<'a> {
    /// What was seen.
    pub(super) evidence: &'a Evidence,
    /// The configured grace.
    pub(super) grace: Grace,
    /// What went by between the decision to stop and the stop signal.
    pub(super) prestop: Option<Duration>,
}

/// Both axes.
pub(super) fn verdict(case: Case<'_>) -> Verdict {
    let outcome = outcome(case);
    Verdict { outcome, cause: cause(outcome, case) }
}

/// How the container ended.
fn outcome(case: Case<'_>) -> Outcome {
    let e = case.evidence;
    if end_may_be_lost(e) {
        Outcome::Unknown
    } else if oom_killed(e) {
        Outcome::OomKilled
    } else if may_be_oom_killed(e) {
        Outcome::Unknown
    } else if forced(case) {
        if e.lost { Outcome::Unknown } else { Outcome::Forced }
    } else if grace_exceeded(e) {
        Outcome::GraceExceeded
    } else if crashed(e) {
        Outcome::Crashed
    } else if default_action(e) {
        // An earlier stop signal may be among what was lost, and may have been handled.
        if e.lost { Outcome::Unknown } else { Outcome::DiedOnSignal }
    } else if e.init.exit.is_none() || (e.init.killed() && !e.rebooted) {
        Outcome::Unknown
    } else if e.members().any(|m| m.certain && m.party.killed()) {
        Outcome::ChildrenKilled
    } else if !whole(e) {
        Outcome::Unknown
    } else if told_leaves_died(e) {
        Outcome::DiedOnSignal
    } else {
        Outcome::Graceful
    }
}

/// Where the way broke.
fn cause(outcome: Outcome, case: Case<'_>) -> Cause {
    let e = case.evidence;
    match outcome {
        Outcome::Graceful | Outcome::Forced | Outcome::OomKilled | Outcome::Crashed | Outcome::Unknown => Cause::None,
        Outcome::GraceExceeded | Outcome::DiedOnSignal | Outcome::ChildrenKilled if e.host_told_members => {
            Cause::HostBroadcast
        }
        Outcome::GraceExceeded | Outcome::DiedOnSignal | Outcome::ChildrenKilled if !way_seen(e) => Cause::Unknown,
        Outcome::GraceExceeded => cause_of_excess(case),
        Outcome::DiedOnSignal | Outcome::ChildrenKilled => cause_of_death(e),
    }
}

/// SIGKILL ended the grace period: who was still there, and had they been told?
fn cause_of_excess(case: Case<'_>) -> Cause {
    let e = case.evidence;
    let at = e.outside_kill.map_or(e.ended, |k| k.time);
    let leaves = e.leaves_at(at);
    let untold_leaf = leaves.iter().any(|m| !m.party.got_signal());
    if init_disposition(e) == InitDisposition::NeverRan {
        Cause::Stuck
    } else if took_no_notice(e) {
        if untold_leaf { Cause::NotForwarded } else { Cause::Ignored }
    } else if prestop_overrun(case, at) {
        Cause::PrestopOverrun
    } else if untold_leaf && tells_by_other_means(e) {
        Cause::Unknown
    } else if untold_leaf {
        if nobody_told(e) { Cause::NotForwarded } else { Cause::PartiallyForwarded }
    } else if leaves.is_empty() && unread_or_dropped(e) {
        Cause::Unknown
    } else if leaves.is_empty() {
        Cause::Stuck
    } else if leaves.iter().all(|m| m.party.dropped_all()) {
        Cause::ChildIgnored
    } else {
        Cause::ChildTooSlow
    }
}

/// The container ended in time, but not everybody in it well.
fn cause_of_death(e: &Evidence) -> Cause {
    let killed: Vec<_> = e.members().filter(|m| m.party.killed()).collect();
    let told: Vec<_> = killed.iter().filter(|m| m.party.got_signal()).collect();
    let by_supervisor = told.iter().find(|m| matches!(m.party.killer(), Some(KilledBy::Supervisor | KilledBy::Inside)));
    if killed.len() > told.len() {
        if nobody_told(e) { Cause::NotForwarded } else { Cause::PartiallyForwarded }
    } else if let Some(member) = by_supervisor {
        if member.party.dropped_all() { Cause::ChildIgnored } else { Cause::ChildTooSlow }
    } else if told.iter().any(|m| m.party.killer().is_none()) {
        Cause::Unknown
    } else if !told.is_empty() {
        Cause::NotAwaited
    } else {
        Cause::NoHandler
    }
}

/// What init did with the stop signal.
pub(super) fn init_disposition(e: &Evidence) -> InitDisposition {
    let Some(stop) = e.stop else { return InitDisposition::Unknown };
    let pending = e.outside_kill.map_or(e.init.pending_at_exit, |k| k.pending) & bit(stop.signal) != 0;
    let unread = pending && !e.stop_read;
    if stop.dropped {
        return match stop.handler {
            Handler::Default => InitDisposition::NoHandler,
            Handler::Ignore => InitDisposition::SigIgn,
            Handler::Function | Handler::Unknown => InitDisposition::Unknown,
        };
    }
    // The kernel ends a process by the default action without taking the signal out of the queue.
    if default_action(e) {
        return InitDisposition::DefaultAction;
    }
    if unread {
        return if stop.mask == Mask::Blocked { InitDisposition::Unread } else { InitDisposition::NeverRan };
    }
    if e.init.reraised.is_some() {
        return InitDisposition::Reraised;
    }
    match (stop.mask, stop.handler) {
        (Mask::Awaited, _) => InitDisposition::Waited,
        (Mask::Blocked, Handler::Default | Handler::Ignore | Handler::Unknown) if acted(e) => InitDisposition::Waited,
        // Read by a slow reader, or dropped as it was unblocked: shells block while they start a program.
        (Mask::Blocked, Handler::Default | Handler::Ignore | Handler::Unknown) => InitDisposition::Unknown,
        (Mask::Open | Mask::Blocked, Handler::Function) => InitDisposition::Handled,
        (Mask::Open, Handler::Default | Handler::Ignore | Handler::Unknown) => InitDisposition::Unknown,
    }
}

/// What the verdict rests on.
pub(super) fn confidence(verdict: Verdict, e: &Evidence) -> Confidence {
    if !whole(e) {
        return Confidence::Partial;
    }
    if e.stop.is_some_and(|s| s.traced) {
        return Confidence::Observed;
    }
    match verdict.cause {
        Cause::None | Cause::NoHandler => Confidence::Proven,
        Cause::Ignored | Cause::NotForwarded
            if matches!(init_disposition(e), InitDisposition::NoHandler | InitDisposition::SigIgn) =>
        {
            Confidence::Proven
        }
        Cause::Ignored
        | Cause::NotForwarded
        | Cause::PartiallyForwarded
        | Cause::NotAwaited
        | Cause::ChildTooSlow
        | Cause::ChildIgnored
        | Cause::Stuck
        | Cause::PrestopOverrun
        | Cause::HostBroadcast
        | Cause::Unknown => Confidence::Observed,
    }
}

/// The members that were not told and suffered for it: of each such subtree the top one.
pub(super) fn missed(verdict: Verdict, e: &Evidence) -> Vec<&Member> {
    if !matches!(verdict.cause, Cause::NotForwarded | Cause::PartiallyForwarded) {
        return Vec::new();
    }
    let suffered = |m: &Member| suffered_untold(e, m);
    let mut missed: Vec<_> = e
        .members()
        .filter(|m| suffered(m) && m.parent.and_then(|p| e.member(p)).is_none_or(|parent| !suffered(parent)))
        .collect();
    missed.sort_by_key(|m| m.party.named.pid);
    missed
}

/// It got no signal, and was killed or still there when init was.
fn suffered_untold(e: &Evidence, m: &Member) -> bool {
    let at = e.outside_kill.map(|k| k.time);
    !m.party.got_signal() && (m.party.killed() || at.is_some_and(|t| m.party.alive_at(t)))
}

/// Nobody of the snapshot. What ends by itself was told over a pipe or a socket; not so under a shell, whose children come
/// and go.
fn nobody_told(e: &Evidence) -> bool {
    let by_signals = tells_by_signals(&e.init.named.comm);
    e.members().all(|m| !m.party.got_signal() && (by_signals || !m.party.told()))
}

/// Nothing that could have belonged to the window was lost, and everybody's end was seen.
fn whole(e: &Evidence) -> bool {
    !e.lost && e.init.exit.is_some() && e.all_ended()
}

/// Init ended by all that is known of it, and how and when is among what was lost.
fn end_may_be_lost(e: &Evidence) -> bool {
    e.init.exit.is_none() && e.may_lack_ends()
}

/// Memory killed one of them before anybody killed init.
fn oom_killed(e: &Evidence) -> bool {
    // Init was killed by somebody whose signal was lost: whether that came before is not known.
    let unseen_kill = e.lost && e.outside_kill.is_none() && e.init.killed() && !e.init.oom_killed();
    !unseen_kill && before_the_kill(e).any(Party::oom_killed)
}

/// The same, where what would tell was lost.
fn may_be_oom_killed(e: &Evidence) -> bool {
    let stranger = e.stranger_killed.is_some_and(|at| is_before_the_kill(e, at));
    let end_lost = e.may_lack_ends() && e.members().any(|m| m.party.exit.is_none() && m.party.kernel_kill);
    end_lost || (e.lost && (stranger || before_the_kill(e).any(Party::may_be_oom_killed)))
}

/// Init and the members that ended no later than init was killed from outside, if it was.
fn before_the_kill(e: &Evidence) -> impl Iterator<Item = &Party> {
    let all = std::iter::once(&e.init).chain(e.members().map(|m| &m.party));
    all.filter(|p| p.exit.is_some_and(|(at, _)| is_before_the_kill(e, at)))
}

fn is_before_the_kill(e: &Evidence, at: KernelTime) -> bool {
    e.outside_kill.is_none_or(|kill| at <= kill.time)
}

fn forced(case: Case<'_>) -> bool {
    let Some(kill) = case.evidence.outside_kill else { return false };
    if case.evidence.init.exit.is_some() && !case.evidence.init.killed() {
        return false;
    }
    let short_by_design = case.grace.period.is_some_and(|g| !g.is_zero() && g <= FORCED_WITHIN);
    match case.evidence.stop {
        None => true,
        Some(_) => !short_by_design && kill.time.since(case.evidence.opened) <= FORCED_WITHIN,
    }
}

/// A kill from outside found init alive; still being on its way out when the wait for its exit was given up is no less.
fn grace_exceeded(e: &Evidence) -> bool {
    e.stop.is_some() && e.outside_kill.is_some() && (e.init.killed() || e.init.exit.is_none())
}

fn crashed(e: &Evidence) -> bool {
    let killed_from_inside = e.inside_kill.is_some() && e.outside_kill.is_none() && e.init.killed();
    e.init.crashed()
        || killed_from_inside
        || e.leaves_at(e.opened).iter().any(|m| m.party.got_signal() && m.party.crashed())
}

/// The stop signal met `SIG_DFL` in an init that the kernel does not protect, and ended it.
fn default_action(e: &Evidence) -> bool {
    e.stop.is_some_and(|stop| {
        !matches!(stop.handler, Handler::Function | Handler::Ignore)
            && stop.mask == Mask::Open
            && e.init.reraised.is_none()
            && matches!(e.init.exit, Some((_, ExitStatus::Signal(s))) if s == stop.signal)
    })
}

fn told_leaves_died(e: &Evidence) -> bool {
    let leaves = e.leaves_at(e.opened);
    leaves.iter().any(|m| m.party.got_signal())
        && leaves.iter().filter(|m| m.party.told()).all(|m| m.party.died_of_default())
}

/// Init did something that it does when it is told to stop: it ended by itself, or told another.
fn acted(e: &Evidence) -> bool {
    e.init.exit.is_some_and(|(_, status)| status != ExitStatus::Signal(Signal::KILL))
        || e.members().any(|m| m.party.got_signal())
}

/// Blocked when it came and not pending any more: nobody can say whether it was read.
fn unread_or_dropped(e: &Evidence) -> bool {
    e.stop.is_some_and(|stop| stop.mask == Mask::Blocked) && init_disposition(e) == InitDisposition::Unknown
}

fn took_no_notice(e: &Evidence) -> bool {
    e.stop.is_some_and(|s| s.dropped)
        || (!e.init_told && matches!(init_disposition(e), InitDisposition::Unread | InitDisposition::Reraised))
}

/// Nothing was lost, it is clear which signal was the stop, and who was told. No untold child was killed late by its own
/// parent, who may have had other means to tell it.
fn way_seen(e: &Evidence) -> bool {
    let late_kill = |m: &Member| {
        !m.party.got_signal()
            && m.party.killed()
            && m.party
                .kill
                .is_some_and(|k| k.by_parent && k.by == KilledBy::Supervisor && k.time.since(e.opened) >= LATE_KILL)
    };
    let unclear = |m: &Member| m.maybe_told && !m.party.got_signal();
    whole(e) && !e.stop_unclear && !e.members().any(|m| unclear(m) || late_kill(m))
}

/// Init took the signal and sent nobody any: it may tell its workers over a pipe, and wait for the last.
fn tells_by_other_means(e: &Evidence) -> bool {
    matches!(init_disposition(e), InitDisposition::Handled | InitDisposition::Waited)
        && !tells_by_signals(&e.init.named.comm)
        && e.members().all(|m| !m.party.got_signal())
}

fn prestop_overrun(case: Case<'_>, kill: KernelTime) -> bool {
    let (Some(period), Some(prestop)) = (case.grace.period, case.prestop) else { return false };
    let missing = period.saturating_sub(kill.since(case.evidence.opened));
    missing > BUDGET_TOLERANCE && prestop + BUDGET_TOLERANCE >= missing
}

/// Whether a signal from there can be the stop signal of a container.
pub(super) fn stops(origin: Where) -> bool {
    match origin {
        Where::Outside | Where::Host => true,
        Where::Inside | Where::ExecSession | Where::Kernel => false,
    }
}
