//! Whose shutdowns the agent tells: those of the namespaces and labels that it was given.
//!
//! Pure. What is out of scope is attributed like everything else, so that nobody takes it for unknown, and then dropped.

use thiserror::Error;

use crate::kube::labels::{LabelError, Labels};
use crate::pattern::glob;

/// The rule.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    include: Vec<String>,
    exclude: Vec<String>,
    labels: Labels,
}

/// A rule that nothing can meet.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ScopeError {
    /// It cannot be the name of a namespace.
    #[error("`{0}` is no name of a namespace: use lower-case letters, digits and -, and * for any text")]
    Namespace(String),
    /// It is no condition on labels.
    #[error(transparent)]
    Label(#[from] LabelError),
}

impl Scope {
    /// Pods of these namespaces (of all, if there are none), not of those, with all of these labels.
    ///
    /// # Errors
    ///
    /// See [`ScopeError`].
    pub fn new(include: &[String], exclude: &[String], labels: &[String]) -> Result<Self, ScopeError> {
        let wrong = include.iter().chain(exclude).find(|pattern| !may_name_a_namespace(pattern));
        if let Some(wrong) = wrong {
            return Err(ScopeError::Namespace(wrong.escape_debug().to_string()));
        }
        Ok(Self { include: include.to_vec(), exclude: exclude.to_vec(), labels: Labels::new(labels)? })
    }

    /// What a pod's labels must meet.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// Whether pods of this namespace are told of.
    pub fn has_namespace(&self, namespace: &str) -> bool {
        let any = |patterns: &[String]| patterns.iter().any(|pattern| glob(pattern, namespace));
        (self.include.is_empty() || any(&self.include)) && !any(&self.exclude)
    }
}

fn may_name_a_namespace(pattern: &str) -> bool {
    !pattern.is_empty()
        && pattern.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'*'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(include: &[&str], exclude: &[&str], labels: &[&str]) -> Result<Scope, ScopeError> {
        let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
        Scope::new(&owned(include), &owned(exclude), &owned(labels))
    }

    #[test]
    fn without_a_rule_everything_is_in_scope() {
        let all = scope(&[], &[], &[]).unwrap();
        assert!(all.has_namespace("kube-system") && all.labels().hold(None));
    }

    #[test]
    fn namespaces_are_chosen_by_pattern_and_exclusion_wins() {
        let scope = scope(&["shop-*", "bank"], &["shop-test"], &[]).unwrap();
        for (namespace, expected) in [("shop-eu", true), ("bank", true), ("banks", false), ("shop-test", false)] {
            assert_eq!(scope.has_namespace(namespace), expected, "{namespace}");
        }
    }

    #[test]
    fn a_rule_that_nothing_can_meet_is_refused() {
        assert_eq!(scope(&["Shop"], &[], &[]).unwrap_err(), ScopeError::Namespace("Shop".into()));
        assert_eq!(scope(&[], &[""], &[]).unwrap_err(), ScopeError::Namespace(String::new()));
        assert!(matches!(scope(&[], &[], &["a b"]).unwrap_err(), ScopeError::Label(_)));
    }
}
