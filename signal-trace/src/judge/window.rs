//! One shutdown as a state machine: when a window opens, counts, and closes.
//!
//! It decides about time and phases only; what the window saw is in [`Evidence`], what it means in `verdict`.

use std::time::Duration;

use crate::event::{KernelTime, Signal};
use crate::judge::evidence::Evidence;

/// A signal that may mean reload or rotate opens a window that is dropped if no end follows within this, or within the
/// configured grace where that is longer.
const PROVISIONAL: Duration = Duration::from_secs(60);
/// A stop signal from an exec session waits this long for its pod to be found terminating.
const CANDIDATE: Duration = Duration::from_secs(10);
/// An unknown grace is at most this; runtimes can be told to wait for ever.
const UNKNOWN_GRACE: Duration = Duration::from_secs(3600);
/// What a kill may take beyond the grace, on a node under pressure.
const LATE: Duration = Duration::from_secs(120);
/// After init is gone, the rest is killed at once, or by the runtime soon: longer is left behind alive.
const LEFTOVERS: Duration = Duration::from_secs(5);

/// Where a window stands, each with the instant at which it ends if nothing happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Opened by a signal that is not known to be the stop signal.
    Provisional(KernelTime),
    /// Opened by an exec session: counts once the pod is terminating.
    Candidate(KernelTime),
    /// A shutdown.
    Open(KernelTime),
    /// Init is gone; others may be left.
    Closing(KernelTime),
}

/// One shutdown in the making.
#[derive(Debug)]
pub(super) struct Window {
    /// Where it stands.
    pub(super) phase: Phase,
    /// The last stop signal from outside: a runtime that is started again begins its grace anew.
    stopped: KernelTime,
    /// The longest grace that was known: who enforces one may not hear of a shorter one.
    grace: Option<Duration>,
    /// What it saw.
    pub(super) evidence: Evidence,
}

impl Window {
    /// Opened by a signal that may mean something else than stop.
    pub(super) fn provisional(evidence: Evidence, grace: Option<Duration>) -> Self {
        let bound = PROVISIONAL.max(grace.unwrap_or_default() + LATE.min(grace.unwrap_or_default()));
        Self::new(Phase::Provisional(evidence.opened.after(bound)), grace, evidence)
    }

    /// Opened from inside the pod.
    pub(super) fn candidate(evidence: Evidence) -> Self {
        Self::new(Phase::Candidate(evidence.opened.after(CANDIDATE)), None, evidence)
    }

    /// Opened by the stop signal, or by a SIGKILL.
    pub(super) fn open(evidence: Evidence, grace: Option<Duration>) -> Self {
        let mut window = Self::new(Phase::Open(KernelTime::default()), grace, evidence);
        window.confirm(grace);
        window
    }

    fn new(phase: Phase, grace: Option<Duration>, evidence: Evidence) -> Self {
        Self { phase, stopped: evidence.opened, grace, evidence }
    }

    /// It is a shutdown after all.
    pub(super) fn confirm(&mut self, grace: Option<Duration>) {
        self.grace = self.grace.max(grace);
        self.phase = Phase::Open(self.stopped.after(self.bound()));
    }

    /// Another signal that stops came from outside. A runtime that was started again begins the grace anew, once; what
    /// comes later still is no part of this stop.
    pub(super) fn stopped_again(&mut self, at: KernelTime, signal: Signal, certain: bool) {
        if !matches!(self.phase, Phase::Open(_)) {
            return;
        }
        let opening = self.evidence.stop;
        self.evidence.stop_unclear |= opening.is_some_and(|s| s.by_session && s.signal != signal);
        let repeated = certain || opening.is_some_and(|s| s.signal == signal);
        if repeated && at <= self.evidence.opened.after(self.bound()) {
            self.stopped = at;
            self.confirm(None);
        }
    }

    fn bound(&self) -> Duration {
        self.grace.unwrap_or(UNKNOWN_GRACE) + LATE
    }

    /// Init ended. A candidate was never a shutdown: the container ended by itself.
    pub(super) fn init_ended(&mut self, at: KernelTime) -> Fate {
        match self.phase {
            Phase::Candidate(_) => Fate::Dropped,
            Phase::Provisional(_) | Phase::Open(_) | Phase::Closing(_) => {
                self.phase = Phase::Closing(at.after(LEFTOVERS));
                self.fate_if_empty()
            }
        }
    }

    /// A process ended, or the snapshot changed.
    pub(super) fn fate_if_empty(&self) -> Fate {
        match self.phase {
            Phase::Closing(_) if self.evidence.is_complete() => Fate::Judged,
            Phase::Closing(_) | Phase::Candidate(_) | Phase::Provisional(_) | Phase::Open(_) => Fate::Stands,
        }
    }

    /// The container's cgroup is gone: nothing more will come.
    pub(super) fn container_gone(&self) -> Fate {
        match self.phase {
            Phase::Candidate(_) | Phase::Provisional(_) => Fate::Dropped,
            Phase::Open(_) | Phase::Closing(_) => Fate::Judged,
        }
    }

    /// When it ends if nothing happens.
    pub(super) fn deadline(&self) -> KernelTime {
        match self.phase {
            Phase::Provisional(at) | Phase::Candidate(at) | Phase::Open(at) | Phase::Closing(at) => at,
        }
    }

    /// Whether init is gone and others may be left.
    pub(super) fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing(_))
    }

    /// Its deadline came. A stop signal that was never enforced is no shutdown; a kill that never took effect is one.
    pub(super) fn expired(&self) -> Fate {
        match self.phase {
            Phase::Candidate(_) | Phase::Provisional(_) => Fate::Dropped,
            Phase::Open(_) if self.evidence.outside_kill.is_none() => Fate::Dropped,
            Phase::Open(_) | Phase::Closing(_) => Fate::Judged,
        }
    }
}

/// What becomes of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It goes on.
    Stands,
    /// It was no shutdown.
    Dropped,
    /// It is complete.
    Judged,
}
