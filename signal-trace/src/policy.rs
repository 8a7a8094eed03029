//! What a verdict is worth: compliance is a policy over verdicts, not a fact.
//!
//! Pure, and the same for `check`, for alerts and for an audit of many nodes.

use crate::judge::shutdown::{Cause, Finding, Outcome, Shutdown};

/// Whether a shutdown is as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Compliance {
    /// As it should be.
    Pass,
    /// It ended in time, but not everybody in it well.
    Warn,
    /// It did not end as it should.
    Fail,
    /// It says nothing about the program: killed by design, or not seen whole.
    NotCounted,
}

impl Compliance {
    /// Its name in every output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::NotCounted => "not_counted",
        }
    }
}

/// By the default policy.
pub fn compliance(shutdown: &Shutdown) -> Compliance {
    match shutdown.verdict.cause {
        Cause::Unknown | Cause::HostBroadcast => return Compliance::NotCounted,
        Cause::None
        | Cause::Ignored
        | Cause::NotForwarded
        | Cause::PartiallyForwarded
        | Cause::NotAwaited
        | Cause::ChildTooSlow
        | Cause::ChildIgnored
        | Cause::Stuck
        | Cause::NoHandler
        | Cause::PrestopOverrun => {}
    }
    match shutdown.verdict.outcome {
        Outcome::Graceful => Compliance::Pass,
        Outcome::DiedOnSignal | Outcome::ChildrenKilled => {
            if shutdown.findings.contains(&Finding::HelpersKilled) {
                Compliance::Pass
            } else {
                Compliance::Warn
            }
        }
        Outcome::GraceExceeded | Outcome::Crashed | Outcome::OomKilled => Compliance::Fail,
        Outcome::Forced | Outcome::Unknown => Compliance::NotCounted,
    }
}
