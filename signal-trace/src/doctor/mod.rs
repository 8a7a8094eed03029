//! Whether this machine, or this pod, is fit to trace: one finding a line, each with what to do about it.
//!
//! [`machine`] looks at the kernel and the files that it shows itself in, [`api`] asks the API server what this account
//! may do. What runs a container to be sure of it is the command's own. Findings are values; [`render`] writes them.

pub mod api;
pub mod machine;
pub mod render;

use serde::Serialize;

/// How a thing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, with less.
    Warn,
    /// It does not work.
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Its name, the same in every version.
    pub name: &'static str,
    /// How it stands.
    pub level: Level,
    /// What was found.
    pub found: String,
    /// What to do; none where nothing has to be done.
    pub fix: Option<String>,
}

impl Check {
    /// As it should be.
    pub fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, level: Level::Ok, found: found.into(), fix: None }
    }

    /// It works, with less.
    pub fn warn(name: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name, level: Level::Warn, found: found.into(), fix: Some(fix.into()) }
    }

    /// It does not work.
    pub fn fail(name: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name, level: Level::Fail, found: found.into(), fix: Some(fix.into()) }
    }

    /// From an error whose message says, behind its first colon, what to do.
    pub fn failed(name: &'static str, error: &dyn std::error::Error) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(error) = source {
            text.push_str(&format!(" ({error})"));
            source = error.source();
        }
        match text.split_once(": ") {
            Some((found, fix)) => Self::fail(name, found, fix),
            None => Self::fail(name, text, "see the message"),
        }
    }
}

/// Whether nothing is in the way.
pub fn is_ready(checks: &[Check]) -> bool {
    checks.iter().all(|check| check.level != Level::Fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_that_says_what_to_do_is_parted() {
        let error = std::io::Error::other("CAP_BPF missing: run as root");
        let check = Check::failed("capabilities", &error);
        assert_eq!((check.found.as_str(), check.fix.as_deref()), ("CAP_BPF missing", Some("run as root")));
        assert!(!is_ready(&[Check::ok("a", "b"), check]));
        assert!(is_ready(&[Check::warn("a", "b", "c")]));
    }
}
