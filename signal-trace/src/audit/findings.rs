//! What is to be done, container by container and verdict by verdict, and what is waived of it.

use jiff::civil::Date;

use super::assess::{waived, worth};
use super::report::{Finding, Level, Shutdowns, Status, Subject, WaiverReport, WorkloadReport};
use super::score::{add, counted};
use super::tally::{Key, Tally};
use crate::judge::shutdown::{Cause, Verdict};
use crate::policy::file::{Policy, Tolerance, Waiver};
use crate::policy::{Compliance, Killed};
use crate::report::explain::Entry;

/// One workload's shutdowns by what they are worth, with what is waived set aside.
pub(super) struct Judged<'p> {
    /// What is waived does not count in it.
    pub(super) shutdowns: Shutdowns,
    /// Something is waived.
    pub(super) waived: bool,
    bad: Vec<Bad<'p>>,
}

/// A verdict of a container that is not as it should be.
struct Bad<'p> {
    container: String,
    verdict: Verdict,
    shutdowns: u64,
    worth: Compliance,
    waiver: Option<&'p Waiver>,
}

impl<'p> Judged<'p> {
    /// Marks the waivers that were needed, by their place in the policy.
    pub(super) fn new(
        subject: &Subject,
        containers: &[(&Key, &Tally)],
        policy: &'p Policy,
        today: Date,
        used: &mut [bool],
    ) -> Self {
        let mut judged = Self { shutdowns: Shutdowns::default(), waived: false, bad: Vec::new() };
        let Subject { cluster, namespace, kind, name } = subject;
        for (key, tally) in containers {
            for (verdict, count) in &tally.verdicts {
                let mut shutdowns = worth(namespace, *verdict, *count, policy);
                let bad = shutdowns.warn + shutdowns.fail;
                if bad > 0 {
                    let mut waiver = None;
                    for (candidate, used) in policy.waivers.iter().zip(used.iter_mut()) {
                        if candidate.is_for(cluster, namespace, kind, name, *verdict) {
                            *used = true;
                            waiver = waiver.or(Some(candidate).filter(|waiver| !waiver.has_expired(today)));
                        }
                    }
                    let worth = policy.worth(namespace, *verdict, Killed::Others);
                    let container = key.container.clone();
                    judged.bad.push(Bad { container, verdict: *verdict, shutdowns: bad, worth, waiver });
                    if waiver.is_some() {
                        judged.waived = true;
                        shutdowns = waived(shutdowns);
                    }
                }
                add(&mut judged.shutdowns, shutdowns);
            }
        }
        judged
    }

    /// How bad it is, beyond what is tolerated.
    #[expect(clippy::cast_precision_loss, reason = "a share against a share")]
    pub(super) fn level(&self, tolerance: Tolerance) -> Option<Level> {
        let Shutdowns { warn, fail, .. } = self.shutdowns;
        let is_over = |part: u64, share: f64| part > 0 && part as f64 > share * counted(self.shutdowns) as f64;
        if is_over(fail, tolerance.fail) {
            Some(Level::Fail)
        } else if is_over(warn + fail, tolerance.warn) {
            Some(Level::Warn)
        } else {
            None
        }
    }
}

/// Those of one workload. Where the workload as a whole is as it should be, or too little is known of it, they are notes.
pub(super) fn findings_of(
    workload: &WorkloadReport,
    containers: &[(&Key, &Tally)],
    judged: &Judged<'_>,
    policy: &Policy,
) -> Vec<Finding> {
    let worst = |bad: &Bad<'_>| match workload.status {
        Status::Fail => Level::Fail,
        Status::Warn => Level::Warn,
        // The gravity of what is waived is its own: a reader sees what was accepted.
        Status::Waived if bad.waiver.is_some() => Level::Fail,
        Status::Waived | Status::Pass | Status::InsufficientData | Status::Skipped => Level::Note,
    };
    let of = |bad: &Bad<'_>| {
        let own = if bad.worth == Compliance::Fail { Level::Fail } else { Level::Warn };
        let Verdict { outcome, cause } = bad.verdict;
        let rule = if cause == Cause::None { outcome.name() } else { cause.name() };
        let subject = &workload.subject;
        Finding {
            id: id(subject, &[&bad.container, outcome.name(), cause.name()]),
            rule: rule.to_owned(),
            level: own.max(worst(bad)),
            subject: subject.clone(),
            container: bad.container.clone(),
            team: policy.team(&subject.namespace).map(str::to_owned),
            shutdowns: bad.shutdowns,
            message: message(bad, workload.shutdowns.all),
            advice: advice(bad, containers),
            waiver: bad.waiver.map(WaiverReport::from),
            is_new: None,
        }
    };
    judged.bad.iter().map(of).collect()
}

/// A waiver that has run out is a finding, whether or not it is still needed; one that nothing needs is worth a note.
pub(super) fn waiver_findings(policy: &Policy, today: Date, used: &[bool]) -> Vec<Finding> {
    let mut found = Vec::new();
    for (waiver, used) in policy.waivers.iter().zip(used) {
        let (rule, level, message, advice) = if waiver.has_expired(today) {
            let message = format!("the waiver of {} ran out on {}", waiver.owner, waiver.expires);
            ("expired_waiver", Level::Fail, message, "Mend what it was for, or have its owner decide anew.")
        } else if *used {
            continue;
        } else {
            let message = format!("the waiver of {} is not needed: nothing that it is for was seen", waiver.owner);
            ("unused_waiver", Level::Note, message, "Remove it from the policy.")
        };
        let subject = Subject {
            cluster: if waiver.cluster == "*" { String::new() } else { waiver.cluster.clone() },
            namespace: waiver.namespace.clone(),
            kind: String::new(),
            name: waiver.workload.clone(),
        };
        found.push(Finding {
            id: id(&subject, &[rule, &waiver.expires.to_string()]),
            rule: rule.to_owned(),
            level,
            team: policy.team(&subject.namespace).map(str::to_owned),
            subject,
            container: String::new(),
            shutdowns: 0,
            message,
            advice: advice.to_owned(),
            waiver: None,
            is_new: None,
        });
    }
    found
}

impl From<&Waiver> for WaiverReport {
    fn from(waiver: &Waiver) -> Self {
        Self { owner: waiver.owner.clone(), reason: waiver.reason.clone(), expires: waiver.expires.to_string() }
    }
}

fn id(subject: &Subject, parts: &[&str]) -> String {
    let Subject { cluster, namespace, kind, name } = subject;
    let all = [cluster, namespace, kind, name].into_iter().map(String::as_str).chain(parts.iter().copied());
    all.collect::<Vec<_>>().join("/")
}

fn message(bad: &Bad<'_>, all: u64) -> String {
    let outcome = Entry::from(bad.verdict.outcome).text.in_general();
    let mut text = format!("{} of {all} shutdowns: {outcome}", bad.shutdowns);
    if bad.verdict.cause != Cause::None {
        text.push_str(": ");
        text.push_str(&Entry::from(bad.verdict.cause).text.in_general());
    }
    text
}

/// What the latest record says, because it names the program; else what is to be said in general.
fn advice(bad: &Bad<'_>, containers: &[(&Key, &Tally)]) -> String {
    let mut tallies = containers.iter().filter(|(key, _)| key.container == bad.container);
    let said = tallies.find_map(|(_, tally)| tally.said.get(&bad.verdict)).map(|said| said.advice.clone());
    said.filter(|advice| !advice.is_empty()).unwrap_or_else(|| {
        let entries = [Entry::from(bad.verdict.cause), Entry::from(bad.verdict.outcome)];
        let first = entries.iter().find_map(|entry| entry.text.fixes.first());
        first.map(|fix| fix.what.to_owned()).unwrap_or_default()
    })
}
