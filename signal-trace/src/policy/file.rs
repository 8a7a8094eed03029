//! What an organisation writes to judge by its own rules: weights, tolerances, exceptions with an owner and an end.
//!
//! Text goes in, a checked value comes out; nothing is read from a disk here and no clock. A key that nobody knows is an
//! error, because a rule that is silently not applied is worse than none.

use std::collections::BTreeMap;
use std::str::FromStr;

use jiff::civil::Date;
use serde::{Deserialize, Deserializer, de};
use thiserror::Error;

use super::{Compliance, Killed, of_verdict};
use crate::judge::shutdown::{Cause, Outcome, Verdict};
use crate::pattern::glob;
use crate::suggest::nearest;
use crate::yaml::describe;

/// The rules that an audit and `check` judge by. Without a file they are the defaults.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Shutdowns that count, below which a workload has insufficient data.
    pub min_shutdowns: u64,
    /// Share of node-hours that were watched, below which no score is given.
    pub min_coverage: Option<f64>,
    /// Score below which an audit fails.
    pub min_score: Option<f64>,
    /// Share of a workload's shutdowns that may be bad before the workload is.
    pub tolerate: Tolerance,
    /// What a shutdown adds to the score.
    pub weights: Weights,
    /// What a verdict is worth, where it is not what the default says.
    pub verdicts: BTreeMap<VerdictName, Compliance>,
    /// Programs whose death by SIGKILL loses nothing.
    pub helpers: Vec<String>,
    /// Namespaces that are listed and not scored.
    pub system_namespaces: Vec<String>,
    /// Who is responsible, by namespace; the first that matches.
    pub teams: Vec<Team>,
    /// Other rules for some namespaces; the first that matches.
    pub namespaces: Vec<NamespaceRule>,
    /// Findings that are known and accepted for a time.
    pub waivers: Vec<Waiver>,
}

/// Shares from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tolerance {
    /// Of failing shutdowns.
    pub fail: f64,
    /// Of failing and warning shutdowns together.
    pub warn: f64,
}

/// Parts of a whole point, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Weights {
    /// Of a shutdown that warns; one that passes has 1, one that fails 0.
    pub warn: f64,
}

/// Who is responsible for some namespaces.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Team {
    /// Pattern of their namespaces.
    pub namespace: String,
    /// Their name.
    pub team: String,
}

/// Other rules for some namespaces.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamespaceRule {
    /// Pattern of their names.
    pub namespace: String,
    /// In place of the general one.
    #[serde(default)]
    pub min_shutdowns: Option<u64>,
    /// In place of the general one.
    #[serde(default)]
    pub tolerate: Option<Tolerance>,
    /// Before the general ones.
    #[serde(default)]
    pub verdicts: BTreeMap<VerdictName, Compliance>,
}

/// A finding that is known and accepted for a time.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Waiver {
    /// Pattern of the cluster; any, if it is not given.
    #[serde(default = "any")]
    pub cluster: String,
    /// Pattern of the namespace.
    pub namespace: String,
    /// Pattern of the workload's name, or of its kind and name: `statefulset/db`.
    pub workload: String,
    /// The verdict that is waived; all of them, if it is not given.
    #[serde(default)]
    pub verdict: Option<VerdictName>,
    /// Who answers for it.
    pub owner: String,
    /// Why it is accepted.
    pub reason: String,
    /// The last day on which it holds, UTC.
    #[serde(deserialize_with = "date")]
    pub expires: Date,
}

/// Half of a verdict, or both: `stuck`, `grace_exceeded`, `grace_exceeded/stuck`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VerdictName {
    cause: Option<Cause>,
    outcome: Option<Outcome>,
}

/// A policy that cannot be used.
#[derive(Debug, Error)]
pub enum PolicyError {
    /// No YAML, an unknown key, or a value of the wrong kind.
    #[error("{message}")]
    Unreadable {
        /// What is wrong, and where.
        message: String,
    },
    /// A number out of its bounds.
    #[error("`{key}` is {value}: it must be from {low} to {high}")]
    OutOfBounds {
        /// Which.
        key: &'static str,
        /// What it is.
        value: f64,
        /// The least it may be.
        low: f64,
        /// The most it may be.
        high: f64,
    },
    /// A waiver that nobody answers for.
    #[error("the waiver for {namespace}/{workload} has no {lack}: say who accepts it and why")]
    Unowned {
        /// For which namespace.
        namespace: String,
        /// For which workload.
        workload: String,
        /// What it lacks.
        lack: &'static str,
    },
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            min_shutdowns: 3,
            min_coverage: None,
            min_score: None,
            tolerate: Tolerance::default(),
            weights: Weights::default(),
            verdicts: BTreeMap::new(),
            helpers: Vec::new(),
            system_namespaces: vec!["kube-system".to_owned()],
            teams: Vec::new(),
            namespaces: Vec::new(),
            waivers: Vec::new(),
        }
    }
}

impl Default for Tolerance {
    fn default() -> Self {
        Self { fail: 0.0, warn: 0.05 }
    }
}

impl Default for Weights {
    fn default() -> Self {
        Self { warn: 0.5 }
    }
}

impl Policy {
    /// Reads YAML. An empty text is the default policy.
    ///
    /// # Errors
    ///
    /// Where it is no policy; the message names the place and, for a key that is unknown, the one that was meant.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let policy: Option<Self> =
            serde_saphyr::from_str(text).map_err(|error| PolicyError::Unreadable { message: describe(&error) })?;
        let policy = policy.unwrap_or_default();
        policy.check()?;
        Ok(policy)
    }

    fn check(&self) -> Result<(), PolicyError> {
        let rules = self.namespaces.iter().filter_map(|rule| rule.tolerate);
        let tolerances =
            rules.chain([self.tolerate]).flat_map(|t| [("tolerate.fail", t.fail), ("tolerate.warn", t.warn)]);
        let shares = tolerances.chain([("weights.warn", self.weights.warn)]);
        let shares = shares.chain(self.min_coverage.map(|value| ("min_coverage", value)));
        let bounds = shares.map(|(key, value)| (key, value, 1.0));
        for (key, value, high) in bounds.chain(self.min_score.map(|value| ("min_score", value, 100.0))) {
            if !(0.0..=high).contains(&value) {
                return Err(PolicyError::OutOfBounds { key, value, low: 0.0, high });
            }
        }
        for waiver in &self.waivers {
            for (lack, text) in [("owner", &waiver.owner), ("reason", &waiver.reason)] {
                if text.trim().is_empty() {
                    let (namespace, workload) = (waiver.namespace.clone(), waiver.workload.clone());
                    return Err(PolicyError::Unowned { namespace, workload, lack });
                }
            }
        }
        Ok(())
    }

    /// What a verdict is worth in that namespace. The narrowest rule decides: both halves before the cause, the cause
    /// before the outcome, and the namespace's own before the general ones.
    pub fn worth(&self, namespace: &str, verdict: Verdict, killed: Killed) -> Compliance {
        if killed == Killed::Helpers {
            return of_verdict(verdict, killed);
        }
        let own = self.rule(namespace).map(|rule| &rule.verdicts);
        let mut rules = own.into_iter().chain([&self.verdicts]);
        let decided = rules.find_map(|rules| VerdictName::from_narrow(verdict).find_map(|name| rules.get(&name)));
        decided.copied().unwrap_or_else(|| of_verdict(verdict, killed))
    }

    /// The rule for a namespace, if it has one of its own.
    pub fn rule(&self, namespace: &str) -> Option<&NamespaceRule> {
        self.namespaces.iter().find(|rule| glob(&rule.namespace, namespace))
    }

    /// Who is responsible for a namespace.
    pub fn team(&self, namespace: &str) -> Option<&str> {
        self.teams.iter().find(|team| glob(&team.namespace, namespace)).map(|team| team.team.as_str())
    }

    /// Whether a namespace is the cluster's own.
    pub fn is_system(&self, namespace: &str) -> bool {
        self.system_namespaces.iter().any(|pattern| glob(pattern, namespace))
    }

    /// Whether a process of that name has nothing to lose.
    pub fn is_helper(&self, comm: &str) -> bool {
        self.helpers.iter().any(|helper| helper == comm)
    }
}

impl Waiver {
    /// Whether it is for that verdict of that workload, on whatever day.
    pub fn is_for(&self, cluster: &str, namespace: &str, kind: &str, name: &str, verdict: Verdict) -> bool {
        glob(&self.cluster, cluster)
            && glob(&self.namespace, namespace)
            && (glob(&self.workload, name) || glob(&self.workload, &format!("{kind}/{name}")))
            && self.verdict.is_none_or(|waived| waived.covers(verdict))
    }

    /// Whether its last day is over.
    pub fn has_expired(&self, today: Date) -> bool {
        self.expires < today
    }
}

impl VerdictName {
    fn from_narrow(verdict: Verdict) -> impl Iterator<Item = Self> {
        let (cause, outcome) = (Some(verdict.cause), Some(verdict.outcome));
        [Self { cause, outcome }, Self { cause, outcome: None }, Self { cause: None, outcome }].into_iter()
    }

    fn covers(self, verdict: Verdict) -> bool {
        self.cause.is_none_or(|cause| cause == verdict.cause)
            && self.outcome.is_none_or(|outcome| outcome == verdict.outcome)
    }
}

impl FromStr for VerdictName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut name = Self { cause: None, outcome: None };
        for half in text.split('/') {
            let outcome = Outcome::ALL.into_iter().find(|outcome| outcome.name() == half);
            let cause = Cause::ALL.into_iter().find(|cause| cause.name() == half);
            match (outcome, cause) {
                // `unknown` is a name of both: alone and in front it is the outcome.
                (Some(outcome), _) if name == (Self { cause: None, outcome: None }) => name.outcome = Some(outcome),
                (_, Some(cause)) if name.cause.is_none() => name.cause = Some(cause),
                _ => return Err(no_verdict(half)),
            }
        }
        Ok(name)
    }
}

impl<'de> Deserialize<'de> for VerdictName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

fn no_verdict(half: &str) -> String {
    let names = Outcome::ALL.iter().map(|outcome| outcome.name()).chain(Cause::ALL.iter().map(|cause| cause.name()));
    let meant = nearest(names, half).map(|name| format!(", the nearest is {name}")).unwrap_or_default();
    format!("no verdict is called {half:?}{meant}; `signal-trace explain` lists them all")
}

fn any() -> String {
    "*".to_owned()
}

fn date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Date, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| de::Error::custom(format_args!("{text:?} is no day: write it as 2027-01-31")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(outcome: Outcome, cause: Cause) -> Verdict {
        Verdict { outcome, cause }
    }

    const STUCK: Verdict = Verdict { outcome: Outcome::GraceExceeded, cause: Cause::Stuck };

    #[test]
    fn an_empty_file_is_the_default() {
        for text in ["", "# nothing\n", "{}"] {
            assert_eq!(Policy::parse(text).unwrap(), Policy::default(), "{text:?}");
        }
    }

    #[test]
    fn the_documented_example_is_a_policy() {
        let example = include_str!("../../../docs/policy.md").lines().filter_map(|line| line.strip_prefix("    "));
        let policy = Policy::parse(&example.collect::<Vec<_>>().join("\n")).unwrap();
        assert_eq!((policy.min_shutdowns, policy.waivers.len(), policy.verdicts.len()), (5, 1, 2));
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_what_was_meant() {
        for (text, key, meant) in [
            ("min_shutdowns: 2\nwavers: []\n", "wavers", "waivers"),
            ("tolerate: {fial: 0.1}", "fial", "fail"),
            ("waivers:\n  - {namespace: a, workload: b, ownr: me}", "ownr", "owner"),
        ] {
            let message = Policy::parse(text).unwrap_err().to_string();
            assert!(message.contains(&format!("`{key}`")) && message.contains("line"), "{message}");
            assert!(message.ends_with(&format!(": did you mean `{meant}`?")), "{message}");
        }
    }

    #[test]
    fn a_verdict_that_is_none_is_an_error() {
        let message = Policy::parse("verdicts: {stuk: warn}").unwrap_err().to_string();
        assert!(message.contains("no verdict is called \"stuk\", the nearest is stuck"), "{message}");
        assert!(Policy::parse("verdicts: {stuck: maybe}").is_err());
        assert!("stuck/stuck".parse::<VerdictName>().is_err());
    }

    #[test]
    fn numbers_and_waivers_are_checked() {
        for text in ["min_score: 101", "min_coverage: -0.1", "tolerate: {fail: 2}", "weights: {warn: .nan}"] {
            assert!(matches!(Policy::parse(text), Err(PolicyError::OutOfBounds { .. })), "{text}");
        }
        let waiver = "waivers: [{namespace: a, workload: b, owner: ' ', reason: r, expires: 2027-01-31}]";
        assert!(matches!(Policy::parse(waiver), Err(PolicyError::Unowned { lack: "owner", .. })));
        let no_day = "waivers: [{namespace: a, workload: b, owner: o, reason: r, expires: soon}]";
        assert!(Policy::parse(no_day).unwrap_err().to_string().contains("is no day"));
        let endless = "waivers: [{namespace: a, workload: b, owner: o, reason: r}]";
        assert!(Policy::parse(endless).unwrap_err().to_string().contains("expires"));
    }

    #[test]
    fn the_narrowest_rule_decides() {
        let policy = Policy::parse(
            "verdicts: {grace_exceeded: warn, stuck: pass, grace_exceeded/stuck: not_counted}\n\
             namespaces: [{namespace: 'prod-*', verdicts: {grace_exceeded: fail}}]",
        )
        .unwrap();
        let worth = |namespace, verdict| policy.worth(namespace, verdict, Killed::Others);
        assert_eq!(worth("dev", STUCK), Compliance::NotCounted);
        assert_eq!(worth("dev", verdict(Outcome::GraceExceeded, Cause::Ignored)), Compliance::Warn);
        assert_eq!(worth("prod-1", STUCK), Compliance::Fail);
        assert_eq!(worth("prod-1", verdict(Outcome::Graceful, Cause::None)), Compliance::Pass);
    }

    #[test]
    fn a_waiver_is_for_what_it_names_until_its_last_day() {
        let text = "waivers: [{namespace: shop, workload: statefulset/db, verdict: stuck, owner: o, reason: r, \
                    expires: 2026-11-30}]";
        let policy = Policy::parse(text).unwrap();
        let waiver = &policy.waivers[0];
        assert!(waiver.is_for("any", "shop", "statefulset", "db", STUCK));
        assert!(!waiver.is_for("any", "shop", "deployment", "db", STUCK));
        assert!(!waiver.is_for("any", "shop", "statefulset", "db", verdict(Outcome::Crashed, Cause::None)));
        assert!(!waiver.has_expired("2026-11-30".parse().unwrap()));
        assert!(waiver.has_expired("2026-12-01".parse().unwrap()));
    }
}
