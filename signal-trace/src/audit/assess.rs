//! From what was counted to the report: pure, and the same for every source.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::durations::Durations;
use super::findings::{Judged, findings_of, waiver_findings};
use super::groups::Groups;
use super::recommend::recommend;
use super::report::{
    ContainerReport, Coverage, DurationsReport, GapReport, Level, Period, Report, Rules, SCHEMA, Shutdowns,
    SourceReport, Status, Subject, VerdictCount, WorkloadReport,
};
use super::score::{self, add, counted, thousandth};
use super::tally::{Count, Key, Tallies, Tally, Watched};
use crate::judge::shutdown::{Outcome, Verdict};
use crate::policy::file::Policy;
use crate::policy::{Compliance, Killed};
use crate::report::json::{Name, Time};

/// Share of node-hours that is asked for where nobody asked for another, and where it is known at all.
const USUAL_COVERAGE: f64 = 0.8;

/// Judges everything by that policy; `now` is when the report is written.
pub fn assess(tallies: &Tallies, policy: &Policy, period: Period, now: Timestamp) -> Report {
    let today = now.to_zoned(TimeZone::UTC).date();
    let mut by_subject: BTreeMap<Subject, Vec<(&Key, &Tally)>> = BTreeMap::new();
    for (key, tally) in &tallies.containers {
        by_subject.entry(subject(key)).or_default().push((key, tally));
    }
    let mut used = vec![false; policy.waivers.len()];
    let mut groups = Groups::default();
    let mut workloads = Vec::new();
    let mut findings = Vec::new();
    for (subject, containers) in by_subject {
        let judged = Judged::new(&subject, &containers, policy, today, &mut used);
        let before = before(&subject, &containers, policy, today);
        let report = workload(&subject, &containers, &judged, before, policy);
        findings.extend(findings_of(&report, &containers, &judged, policy));
        groups.add(&report, before);
        workloads.push(report);
    }
    findings.extend(waiver_findings(policy, today, &used));
    findings.sort_by(|a, b| {
        (a.level, a.waiver.is_some(), std::cmp::Reverse(a.shutdowns), &a.id).cmp(&(
            b.level,
            b.waiver.is_some(),
            std::cmp::Reverse(b.shutdowns),
            &b.id,
        ))
    });
    workloads.sort_by(worst_first);

    let coverages = tallies.watched.iter().map(|(name, watched)| (name.as_str(), share_of([watched])));
    let coverages: BTreeMap<&str, Option<f64>> = coverages.collect();
    let coverage = coverage(tallies, policy, &workloads);
    let enough = |share: Option<f64>| is_enough(policy, share) != Some(false) && !is_doubtful(policy, share);
    let (clusters, namespaces, teams, totals, trend) = groups.close(&coverages, &enough);
    let mean = score::mean(workloads.iter().filter_map(|workload| workload.score));
    let score = mean.filter(|_| enough(coverage.share));
    Report {
        schema: SCHEMA.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        generated: Time(now),
        period,
        complete: tallies.gaps.is_empty(),
        gaps: tallies
            .gaps
            .iter()
            .map(|gap| GapReport { cluster: gap.cluster.clone(), message: gap.message.clone() })
            .collect(),
        sources: tallies
            .sources
            .iter()
            .map(|s| SourceReport { kind: s.kind.to_owned(), name: s.name.clone() })
            .collect(),
        rules: rules(policy, coverage.share),
        coverage,
        score,
        grade: score.map(score::grade),
        totals,
        trend,
        clusters,
        namespaces,
        teams,
        workloads,
        findings,
    }
}

fn subject(key: &Key) -> Subject {
    // Outside Kubernetes a container has no workload: it is its own.
    let name = if key.workload.is_empty() { &key.container } else { &key.workload };
    Subject {
        cluster: key.cluster.clone(),
        namespace: key.namespace.clone(),
        kind: key.kind.clone(),
        name: name.clone(),
    }
}

fn workload(
    subject: &Subject,
    containers: &[(&Key, &Tally)],
    judged: &Judged,
    before: Shutdowns,
    policy: &Policy,
) -> WorkloadReport {
    let mut durations = Durations::default();
    let mut grace = None;
    let mut avoidable = 0.0;
    let mut recommendations = Vec::new();
    let mut seen: Option<(Timestamp, Timestamp)> = None;
    for (key, tally) in containers {
        durations.merge(&tally.durations);
        grace = grace.max(tally.grace);
        avoidable += tally.avoidable.as_secs_f64() / 3600.0;
        recommendations.extend(recommend(&key.kind, &key.container, tally));
        if let (Some(first), Some(last)) = (tally.first, tally.last) {
            seen = Some(seen.map_or((first, last), |(f, l)| (f.min(first), l.max(last))));
        }
    }
    let shutdowns = judged.shutdowns;
    let status = status(subject, judged, policy);
    let is_scored = matches!(status, Status::Fail | Status::Warn | Status::Pass);
    let score = score::of_shutdowns(shutdowns, policy.weights.warn).filter(|_| is_scored);
    let reports = containers.iter().map(|(key, tally)| container(key, tally, policy)).collect();
    WorkloadReport {
        subject: subject.clone(),
        team: policy.team(&subject.namespace).map(str::to_owned),
        status,
        score,
        grade: score.map(score::grade),
        shutdowns,
        graceful: score::graceful(shutdowns),
        durations: spans(&durations, grace),
        grace_seconds: grace.map(|grace| grace.as_secs_f64()),
        avoidable_hours: thousandth(avoidable),
        first_seen: seen.map(|(first, _)| Time(first)),
        last_seen: seen.map(|(_, last)| Time(last)),
        trend: score::trend(shutdowns, before),
        containers: reports,
        recommendations,
    }
}

fn status(subject: &Subject, judged: &Judged, policy: &Policy) -> Status {
    if policy.is_system(&subject.namespace) {
        return Status::Skipped;
    }
    let counted = counted(judged.shutdowns);
    let worst = judged.level(policy.rule(&subject.namespace).and_then(|rule| rule.tolerate).unwrap_or(policy.tolerate));
    if judged.waived && worst.is_none() {
        return Status::Waived;
    }
    if counted < min_shutdowns(policy, &subject.namespace) || counted == 0 {
        return Status::InsufficientData;
    }
    match worst {
        Some(Level::Fail) => Status::Fail,
        Some(Level::Warn) => Status::Warn,
        Some(Level::Note) | None => Status::Pass,
    }
}

fn min_shutdowns(policy: &Policy, namespace: &str) -> u64 {
    policy.rule(namespace).and_then(|rule| rule.min_shutdowns).unwrap_or(policy.min_shutdowns)
}

fn container(key: &Key, tally: &Tally, policy: &Policy) -> ContainerReport {
    let counts = tally.verdicts.iter().filter(|(_, count)| count.shutdowns > 0);
    let counts = counts.map(|(verdict, count)| VerdictCount {
        outcome: Name(verdict.outcome),
        cause: Name(verdict.cause),
        shutdowns: count.shutdowns,
        helpers: count.helpers,
        worth: policy.worth(&key.namespace, *verdict, Killed::Others),
    });
    let mut verdicts: Vec<_> = counts.collect();
    verdicts.sort_by_key(|count| (std::cmp::Reverse(count.shutdowns), count.verdict()));
    ContainerReport {
        name: key.container.clone(),
        verdicts,
        durations: spans(&tally.durations, tally.grace),
        grace_seconds: tally.grace.map(|grace| grace.as_secs_f64()),
    }
}

fn spans(durations: &Durations, grace: Option<Duration>) -> Option<DurationsReport> {
    let at = |q| durations.quantile(q, grace).map(thousandth);
    Some(DurationsReport { p50: at(0.5)?, p95: at(0.95)?, p99: at(0.99)?, max_below: durations.bound(1.0) })
}

/// What the shutdowns of the period before were worth by today's rules and waivers.
fn before(subject: &Subject, containers: &[(&Key, &Tally)], policy: &Policy, today: Date) -> Shutdowns {
    let Subject { cluster, namespace, kind, name } = subject;
    let mut sum = Shutdowns::default();
    for (verdict, count) in containers.iter().flat_map(|(_, tally)| &tally.before) {
        let shutdowns = worth(namespace, *verdict, *count, policy);
        let mut waivers = policy.waivers.iter().filter(|waiver| !waiver.has_expired(today));
        let is_waived = waivers.any(|waiver| waiver.is_for(cluster, namespace, kind, name, *verdict));
        add(&mut sum, if is_waived { waived(shutdowns) } else { shutdowns });
    }
    sum
}

/// Shutdowns of one verdict by what they are worth.
pub(super) fn worth(namespace: &str, verdict: Verdict, count: Count, policy: &Policy) -> Shutdowns {
    let mut shutdowns = Shutdowns { all: count.shutdowns, ..Shutdowns::default() };
    let helpers = count.helpers.min(count.shutdowns);
    for (killed, n) in [(Killed::Helpers, helpers), (Killed::Others, count.shutdowns - helpers)] {
        match policy.worth(namespace, verdict, killed) {
            Compliance::Pass => shutdowns.pass += n,
            Compliance::Warn => shutdowns.warn += n,
            Compliance::Fail => shutdowns.fail += n,
            Compliance::NotCounted => shutdowns.not_counted += n,
        }
    }
    shutdowns
}

/// With what is bad of them set aside.
pub(super) fn waived(shutdowns: Shutdowns) -> Shutdowns {
    let Shutdowns { all, pass, warn, fail, not_counted } = shutdowns;
    Shutdowns { all, pass, warn: 0, fail: 0, not_counted: not_counted + warn + fail }
}

fn worst_first(a: &WorkloadReport, b: &WorkloadReport) -> std::cmp::Ordering {
    let rank = |workload: &WorkloadReport| match workload.status {
        Status::Fail => 0,
        Status::Warn => 1,
        Status::InsufficientData => 2,
        Status::Pass => 3,
        Status::Waived => 4,
        Status::Skipped => 5,
    };
    let score = |workload: &WorkloadReport| workload.score.unwrap_or(0.0);
    rank(a)
        .cmp(&rank(b))
        .then(score(a).total_cmp(&score(b)))
        .then(b.shutdowns.all.cmp(&a.shutdowns.all))
        .then_with(|| a.subject.cmp(&b.subject))
}

fn rules(policy: &Policy, share: Option<f64>) -> Rules {
    Rules {
        min_shutdowns: policy.min_shutdowns,
        min_coverage: min_coverage(policy, share),
        min_score: policy.min_score,
        tolerate_fail: policy.tolerate.fail,
        tolerate_warn: policy.tolerate.warn,
        weight_warn: policy.weights.warn,
    }
}

fn min_coverage(policy: &Policy, share: Option<f64>) -> Option<f64> {
    policy.min_coverage.or(share.map(|_| USUAL_COVERAGE))
}

fn is_enough(policy: &Policy, share: Option<f64>) -> Option<bool> {
    Some(share? >= min_coverage(policy, share)?)
}

/// Somebody asked for a share, and it is not known.
fn is_doubtful(policy: &Policy, share: Option<f64>) -> bool {
    policy.min_coverage.is_some_and(|min| min > 0.0) && share.is_none()
}

fn coverage(tallies: &Tallies, policy: &Policy, workloads: &[WorkloadReport]) -> Coverage {
    let all = || tallies.watched.values();
    let sum = |of: fn(&Watched) -> Option<u64>| all().filter_map(of).reduce(u64::saturating_add);
    let share = share_of(all());
    let unknown = workloads.iter().flat_map(|w| &w.containers).flat_map(|c| &c.verdicts);
    let unknown = unknown.filter(|count| count.outcome.0 == Outcome::Unknown).map(|count| count.shutdowns).sum();
    Coverage {
        share,
        enough: is_enough(policy, share),
        nodes: sum(|w| w.nodes),
        agents: sum(|w| w.agents),
        hidden_nodes: sum(|w| w.hidden_nodes),
        hidden_pods: sum(|w| w.hidden_pods),
        watched_hours: all().filter_map(|w| w.watched_hours).reduce(|a, b| a + b).map(score::tenth),
        unknown_verdicts: unknown,
        lost_events: sum(|w| w.lost_events),
        unattributed: all().flat_map(|w| w.unattributed.values()).sum(),
    }
}

/// Of those clusters together; none where one of them does not tell.
#[expect(clippy::cast_precision_loss, reason = "numbers of nodes")]
fn share_of<'a>(watched: impl IntoIterator<Item = &'a Watched>) -> Option<f64> {
    let mut sums = (0.0, 0.0);
    for cluster in watched {
        let (part, whole) = match (cluster.watched_hours, cluster.all_hours) {
            (Some(part), Some(whole)) => (part, whole),
            _ => (cluster.agents? as f64, cluster.nodes? as f64),
        };
        sums = (sums.0 + part.min(whole), sums.1 + whole);
    }
    (sums.1 > 0.0).then(|| thousandth(sums.0 / sums.1))
}
