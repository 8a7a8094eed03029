//! What a verdict is worth: compliance is a policy over verdicts, not a fact.
//!
//! Pure, and the same for `check`, for alerts and for an audit of many nodes. [`mod@file`] is what an organisation may write
//! to have it otherwise.

pub mod file;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::judge::shutdown::{Cause, Finding, Outcome, Shutdown, Verdict};

/// Whether a shutdown is as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
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

/// Who was killed, where somebody was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Killed {
    /// Helpers alone, that have nothing to lose.
    Helpers,
    /// Others too, or it is not known.
    Others,
}

/// By the default policy.
pub fn compliance(shutdown: &Shutdown) -> Compliance {
    let helpers = shutdown.findings.contains(&Finding::HelpersKilled);
    of_verdict(shutdown.verdict, if helpers { Killed::Helpers } else { Killed::Others })
}

/// By the default policy, where no more than the verdict is known.
pub fn of_verdict(verdict: Verdict, killed: Killed) -> Compliance {
    match verdict.cause {
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
    match verdict.outcome {
        Outcome::Graceful => Compliance::Pass,
        Outcome::DiedOnSignal | Outcome::ChildrenKilled => match killed {
            Killed::Helpers => Compliance::Pass,
            Killed::Others => Compliance::Warn,
        },
        Outcome::GraceExceeded | Outcome::Crashed | Outcome::OomKilled => Compliance::Fail,
        Outcome::Forced | Outcome::Unknown => Compliance::NotCounted,
    }
}
