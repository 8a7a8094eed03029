//! What every name that a verdict can have means, and what to do about it: `signal-trace explain`.
//!
//! One table: the terminal, runbooks and the first sentence of a block are made of the same words. Texts are plain
//! ASCII with code between backticks, so they are Markdown as they are. In a `brief`, `{init}` and `{signal}` stand
//! for the process and the signal of one shutdown.

mod alerts;
mod causes;
mod dispositions;
mod findings;
mod fixes;
mod outcomes;
mod render;

use thiserror::Error;

use crate::judge::shutdown::{Cause, Finding, InitDisposition, Outcome};
use crate::suggest::{nearest, plain};

pub use alerts::Alert;
pub use render::{markdown, write_entries, write_list};

/// What a name is a name of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Axis {
    /// How the container ended.
    Outcome,
    /// Where the stop signal's way broke.
    Cause,
    /// What init did with the stop signal.
    InitDisposition,
    /// Advice that is no verdict.
    Finding,
    /// What an operator is told of.
    Alert,
}

impl Axis {
    /// All of them, in the order in which they are listed.
    pub const ALL: [Self; 5] = [Self::Outcome, Self::Cause, Self::InitDisposition, Self::Finding, Self::Alert];

    /// Its field in a record, or what Prometheus calls it.
    pub fn field(self) -> &'static str {
        match self {
            Self::Outcome => "outcome",
            Self::Cause => "cause",
            Self::InitDisposition => "init_disposition",
            Self::Finding => "finding",
            Self::Alert => "alert",
        }
    }

    /// The question that its names answer.
    pub fn question(self) -> &'static str {
        match self {
            Self::Outcome => "How did the container end?",
            Self::Cause => "Where did the stop signal's way break?",
            Self::InitDisposition => "What did PID 1 do with the stop signal?",
            Self::Finding => "What else is worth knowing?",
            Self::Alert => "What needs somebody?",
        }
    }
}

/// The words for one name.
#[derive(Debug)]
pub struct Text {
    /// A clause without its full stop; `{init}` and `{signal}` stand for those of one shutdown.
    pub brief: &'static str,
    /// What it means to whoever runs the container.
    pub meaning: &'static str,
    /// How it comes about.
    pub how: &'static str,
    /// The evidence: what the kernel saw, or what an alert counts.
    pub kernel: &'static str,
    /// What to change, the most usual first.
    pub fixes: &'static [Fix],
    /// The reasons of the Kubernetes events that come of it.
    pub event_reasons: &'static [&'static str],
    /// Commands that show whether it is so, where they do not follow from the name.
    pub confirm: &'static [&'static str],
    /// When nothing need be done; none for what is a fact and no fault.
    pub ignore: Option<&'static str>,
}

impl Text {
    /// The brief for no shutdown in particular.
    pub fn in_general(&self) -> String {
        self.of("PID 1", "the stop signal")
    }

    /// The brief with those names in it; they are printed as they are.
    pub fn of(&self, init: &str, signal: &str) -> String {
        // In one pass, so that a name cannot stand for anything.
        let filled: Vec<String> = self.brief.split("{init}").map(|part| part.replace("{signal}", signal)).collect();
        filled.join(init)
    }
}

/// One remedy.
#[derive(Clone, Copy, Debug)]
pub struct Fix {
    /// For whom.
    pub who: &'static str,
    /// What to do.
    pub what: &'static str,
    /// How it looks, line by line.
    pub example: &'static [&'static str],
}

/// One name and its words.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// What it is a name of.
    pub axis: Axis,
    /// The name, as every output has it.
    pub name: &'static str,
    /// Its words.
    pub text: &'static Text,
}

impl From<Outcome> for Entry {
    fn from(outcome: Outcome) -> Self {
        Self { axis: Axis::Outcome, name: outcome.name(), text: outcomes::text(outcome) }
    }
}

impl From<Cause> for Entry {
    fn from(cause: Cause) -> Self {
        Self { axis: Axis::Cause, name: cause.name(), text: causes::text(cause) }
    }
}

impl From<InitDisposition> for Entry {
    fn from(disposition: InitDisposition) -> Self {
        Self { axis: Axis::InitDisposition, name: disposition.name(), text: dispositions::text(disposition) }
    }
}

impl From<Finding> for Entry {
    fn from(finding: Finding) -> Self {
        Self { axis: Axis::Finding, name: finding.name(), text: findings::text(finding) }
    }
}

impl From<Alert> for Entry {
    fn from(alert: Alert) -> Self {
        Self { axis: Axis::Alert, name: alert.name(), text: alerts::text(alert) }
    }
}

/// Every name there is, axis by axis.
pub fn all() -> Vec<Entry> {
    let outcomes = Outcome::ALL.into_iter().map(Entry::from);
    let causes = Cause::ALL.into_iter().map(Entry::from);
    let dispositions = InitDisposition::ALL.into_iter().map(Entry::from);
    let findings = Finding::ALL.into_iter().map(Entry::from);
    let alerts = Alert::ALL.into_iter().map(Entry::from);
    outcomes.chain(causes).chain(dispositions).chain(findings).chain(alerts).collect()
}

/// No verdict has that name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("no verdict is called {asked:?}{}; `signal-trace explain` lists them all", suggestion(.nearest.as_ref()))]
pub struct UnknownName {
    /// What was asked for.
    pub asked: String,
    /// What may have been meant.
    pub nearest: Option<&'static str>,
}

fn suggestion(nearest: Option<&&'static str>) -> String {
    nearest.map(|name| format!(", the nearest is {name}")).unwrap_or_default()
}

/// The entries of that name: in any case, with `-` for `_`; the reason of a Kubernetes event will do, and so will a
/// whole verdict (`grace_exceeded/not_forwarded`).
///
/// # Errors
/// Where a part of it is no name.
pub fn look_up(asked: &str) -> Result<Vec<Entry>, UnknownName> {
    let all = all();
    let mut found = Vec::new();
    let parts = asked.split(|c: char| c.is_whitespace() || "/,·:+".contains(c)).filter(|part| !part.is_empty());
    for part in parts {
        let matching = all.iter().filter(|entry| entry.answers_to(part));
        let before = found.len();
        found.extend(matching.copied());
        if found.len() == before {
            return Err(UnknownName {
                asked: part.to_owned(),
                nearest: nearest(all.iter().flat_map(Entry::names), part),
            });
        }
    }
    if found.is_empty() {
        return Err(UnknownName { asked: asked.to_owned(), nearest: None });
    }
    Ok(found)
}

impl Entry {
    /// Commands that show whether it is so, with kubectl or on the node; none for what is part of a record.
    pub fn confirm(&self) -> Vec<String> {
        match self.axis {
            Axis::Outcome | Axis::Cause => {
                let (field, name) = (self.axis.field(), self.name);
                let seen = match self.text.event_reasons.first() {
                    Some(reason) => format!("kubectl get events -A --field-selector reason={reason}"),
                    None => format!(
                        "kubectl -n signal-trace logs -l app.kubernetes.io/name=signal-trace --tail=-1 | \
                         grep '\"{field}\":\"{name}\"'"
                    ),
                };
                vec![seen, format!("signal-trace watch --filter {field}={name}")]
            }
            Axis::InitDisposition | Axis::Finding => Vec::new(),
            Axis::Alert => self.text.confirm.iter().map(|&command| command.to_owned()).collect(),
        }
    }

    fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.text.event_reasons.iter().copied())
    }

    fn answers_to(&self, asked: &str) -> bool {
        let asked = plain(asked);
        self.names().any(|name| plain(name) == asked)
    }
}

#[cfg(test)]
mod tests;
