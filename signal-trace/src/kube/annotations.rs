//! What a pod's author may tell this program by annotations, and how far that is believed.
//!
//! Anybody who may create a pod may write them: each has a bounded length and a closed form, a wrong value counts as
//! absent and is a [`Fault`] to be reported once, and none of them says anything about another pod. They change who is
//! told about a verdict, never the verdict.

use std::collections::BTreeMap;
use std::fmt;

use crate::judge::shutdown::{Cause, Outcome, Verdict};

/// Whom to ask about the pod: a team, a channel, an address.
pub const OWNER: &str = "signal-trace.dev/owner";
/// Outcomes and causes that are by design in this pod: `died_on_signal,no_handler`.
pub const EXPECT: &str = "signal-trace.dev/expect";
/// Containers whose shutdowns are nobody's concern: their names, or `true` for all of the pod.
pub const IGNORE: &str = "signal-trace.dev/ignore";

/// Longest owner, in bytes: as long as a label's value.
const MAX_OWNER: usize = 63;
/// Longest list, in bytes.
const MAX_LIST: usize = 512;
/// How much of a wrong value is repeated in the complaint.
const MAX_SHOWN: usize = 64;

/// The valid annotations of one pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Annotations(Option<Box<Wishes>>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Wishes {
    owner: Option<Box<str>>,
    outcomes: u16,
    causes: u16,
    ignore: Ignore,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Ignore {
    #[default]
    Nothing,
    Containers(Box<[Box<str>]>),
    Everything,
}

/// An annotation that says nothing valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its key.
    pub key: &'static str,
    /// The start of what it says, with what cannot be printed escaped.
    pub value: Box<str>,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What can be wrong with an annotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// Longer than this many bytes.
    TooLong(usize),
    /// Empty, or with characters that have no place in it.
    NotPrintable,
    /// Neither an outcome nor a cause.
    NoVerdict,
    /// No container of the pod.
    NoContainer,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong(limit) => write!(f, "is longer than {limit} bytes"),
            Self::NotPrintable => f.write_str("must be printable ASCII and not empty"),
            Self::NoVerdict => f.write_str("names no outcome and no cause: see `signal-trace explain`"),
            Self::NoContainer => f.write_str("must be `true` or the names of containers of this pod"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "annotation {}=\"{}\" {}", self.key, self.value, self.problem)
    }
}

impl Annotations {
    /// Reads the three keys of a pod whose containers have these names; every other annotation is left alone.
    pub fn read(all: &BTreeMap<String, String>, containers: &[&str]) -> (Self, Vec<Fault>) {
        let mut wishes = Wishes::default();
        let mut faults = Vec::new();
        let mut note = |key, value: &str, problem: Option<Problem>| {
            faults.extend(problem.map(|problem| Fault { key, value: shown(value), problem }));
        };
        if let Some(value) = all.get(OWNER) {
            note(OWNER, value, wishes.read_owner(value).err());
        }
        if let Some(value) = all.get(EXPECT) {
            note(EXPECT, value, wishes.read_expect(value).err());
        }
        if let Some(value) = all.get(IGNORE) {
            note(IGNORE, value, wishes.read_ignore(value, containers).err());
        }
        let empty = wishes == Wishes::default();
        (Self((!empty).then(|| Box::new(wishes))), faults)
    }

    /// Whom to ask.
    pub fn owner(&self) -> Option<&str> {
        self.0.as_ref()?.owner.as_deref()
    }

    /// Whether the pod's author declared this verdict to be by design.
    pub fn expects(&self, verdict: Verdict) -> bool {
        self.0
            .as_ref()
            .is_some_and(|w| w.outcomes & outcome_bit(verdict.outcome) != 0 || w.causes & cause_bit(verdict.cause) != 0)
    }

    /// Whether the pod's author declared the container of that name to be nobody's concern.
    pub fn ignores(&self, container: &str) -> bool {
        match self.0.as_ref().map(|w| &w.ignore) {
            None | Some(Ignore::Nothing) => false,
            Some(Ignore::Containers(names)) => names.iter().any(|n| **n == *container),
            Some(Ignore::Everything) => true,
        }
    }
}

impl Wishes {
    fn read_owner(&mut self, value: &str) -> Result<(), Problem> {
        let value = value.trim();
        if value.len() > MAX_OWNER {
            return Err(Problem::TooLong(MAX_OWNER));
        }
        if value.is_empty() || !value.bytes().all(|b| b.is_ascii_graphic() || b == b' ') {
            return Err(Problem::NotPrintable);
        }
        self.owner = Some(value.into());
        Ok(())
    }

    fn read_expect(&mut self, value: &str) -> Result<(), Problem> {
        let (mut outcomes, mut causes) = (0, 0);
        for name in list(value)? {
            let outcome = Outcome::ALL.into_iter().find(|o| o.name() == name);
            // A verdict without a cause has not been explained by expecting none.
            let cause = Cause::ALL.into_iter().find(|c| c.name() == name && *c != Cause::None);
            if outcome.is_none() && cause.is_none() {
                return Err(Problem::NoVerdict);
            }
            outcomes |= outcome.map_or(0, outcome_bit);
            causes |= cause.map_or(0, cause_bit);
        }
        (self.outcomes, self.causes) = (outcomes, causes);
        Ok(())
    }

    fn read_ignore(&mut self, value: &str, containers: &[&str]) -> Result<(), Problem> {
        let names: Vec<_> = list(value)?.collect();
        self.ignore = match names.as_slice() {
            ["true"] => Ignore::Everything,
            ["false"] => Ignore::Nothing,
            names if names.iter().all(|n| containers.contains(n)) => {
                Ignore::Containers(names.iter().map(|n| Box::from(*n)).collect())
            }
            _ => return Err(Problem::NoContainer),
        };
        Ok(())
    }
}

fn list(value: &str) -> Result<impl Iterator<Item = &str>, Problem> {
    if value.len() > MAX_LIST { Err(Problem::TooLong(MAX_LIST)) } else { Ok(value.split(',').map(str::trim)) }
}

fn outcome_bit(outcome: Outcome) -> u16 {
    1 << outcome as u16
}

fn cause_bit(cause: Cause) -> u16 {
    1 << cause as u16
}

fn shown(value: &str) -> Box<str> {
    let mut shown: String = value.chars().take(MAX_SHOWN).flat_map(char::escape_default).collect();
    shown.truncate(MAX_SHOWN);
    shown.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(pairs: &[(&str, &str)]) -> (Annotations, Vec<Fault>) {
        let all = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Annotations::read(&all, &["app", "proxy"])
    }

    #[test]
    fn valid_ones_are_believed_for_what_they_name() {
        let (a, faults) = read(&[
            (OWNER, " team-payments #oncall "),
            (EXPECT, "died_on_signal, ignored"),
            (IGNORE, "proxy"),
            ("kubectl.kubernetes.io/last-applied-configuration", "{…}"),
        ]);
        assert_eq!(faults, []);
        assert_eq!(a.owner(), Some("team-payments #oncall"));
        let verdict = |outcome, cause| Verdict { outcome, cause };
        assert!(a.expects(verdict(Outcome::DiedOnSignal, Cause::NoHandler)));
        assert!(a.expects(verdict(Outcome::GraceExceeded, Cause::Ignored)));
        assert!(!a.expects(verdict(Outcome::GraceExceeded, Cause::NotForwarded)));
        assert!(a.ignores("proxy") && !a.ignores("app"));
    }

    #[test]
    fn none_take_no_space() {
        let (a, faults) = read(&[("app.kubernetes.io/name", "cart")]);
        assert_eq!((a, faults), (Annotations(None), Vec::new()));
        assert_eq!(size_of::<Annotations>(), size_of::<usize>());
    }

    #[test]
    fn the_whole_pod_can_be_ignored() {
        assert!(read(&[(IGNORE, "true")]).0.ignores("whatever"));
        assert!(!read(&[(IGNORE, "false")]).0.ignores("app"));
    }

    #[test]
    fn a_wrong_one_counts_as_absent_and_is_named() {
        let long = "x".repeat(4096);
        for (key, value, problem) in [
            (OWNER, "", Problem::NotPrintable),
            (OWNER, "a\u{1b}[31m", Problem::NotPrintable),
            (OWNER, &long, Problem::TooLong(63)),
            (EXPECT, "slow", Problem::NoVerdict),
            (EXPECT, "ignored,slow", Problem::NoVerdict),
            (EXPECT, "none", Problem::NoVerdict),
            (EXPECT, "", Problem::NoVerdict),
            (EXPECT, &long, Problem::TooLong(512)),
            (IGNORE, "yes", Problem::NoContainer),
            (IGNORE, "app,true", Problem::NoContainer),
            (IGNORE, "another-pods-container", Problem::NoContainer),
        ] {
            let (a, faults) = read(&[(key, value)]);
            assert_eq!(a, Annotations::default(), "{key}={value}");
            assert_eq!(faults.iter().map(|f| (f.key, f.problem)).collect::<Vec<_>>(), [(key, problem)], "{value}");
        }
    }

    #[test]
    fn a_complaint_is_one_short_printable_line() {
        let (_, faults) = read(&[(OWNER, &format!("\u{1b}]0;pwned\u{7}\n{}", "ß".repeat(500)))]);
        let text = faults[0].to_string();
        assert!(text.is_ascii() && !text.contains(char::is_control) && text.len() < 200, "{text}");
        assert!(text.starts_with(r#"annotation signal-trace.dev/owner="\u{1b}]0;pwned"#), "{text}");
    }

    proptest! {
        #[test]
        fn no_value_is_believed_beyond_its_form(owner in ".{0,80}", expect in "[a-z_, ]{0,40}", ignore in ".{0,40}") {
            let (a, _) = read(&[(OWNER, &owner), (EXPECT, &expect), (IGNORE, &ignore)]);
            prop_assert!(a.owner().is_none_or(|o| o.len() <= MAX_OWNER && !o.contains(char::is_control)));
            prop_assert!(!a.ignores("another") || ignore == "true" || ignore.trim() == "true");
        }
    }
}
