//! The words that every format says in the same way: scores, shares, names, what is missing.

use std::collections::BTreeSet;

use crate::audit::report::{
    Coverage, DurationsReport, Finding, Grade, Period, Report, Share, Status, Subject, Trend, VerdictCount,
    WorkloadReport,
};
use crate::report::escape;
use crate::report::style::Charset;

/// Columns of a name before it is cut where it is shown to people: Kubernetes' own limits fit.
const NAME: usize = 260;

/// What is missing, as the first thing that anybody reads; nothing where nothing is.
pub(crate) fn incomplete(report: &Report) -> Option<String> {
    let clusters: BTreeSet<&str> = report.gaps.iter().filter_map(|gap| gap.cluster.as_deref()).collect();
    let clusters: Vec<&str> = clusters.into_iter().collect();
    let what = match (&clusters[..], report.gaps.len()) {
        (_, 0) => return None,
        ([], _) => "part of the numbers is missing".to_owned(),
        (names, _) => {
            let names: Vec<String> = names.iter().map(|name| shown(name)).collect();
            // One that gave nothing is in no group.
            let read = report.clusters.iter().filter(|group| !clusters.contains(&group.cluster.as_str())).count();
            let of = clusters.len() + read;
            format!("{} of {of} clusters could not be read whole ({})", names.len(), names.join(", "))
        }
    };
    Some(format!("INCOMPLETE: {what}"))
}

/// `B 87.3`, or why there is none.
pub(crate) fn score(report: &Report) -> String {
    match (report.grade, report.score) {
        (Some(grade), Some(score)) => format!("{} {score:.1}", grade.name()),
        _ if report.coverage.enough == Some(false) => "no score: too little was watched".to_owned(),
        _ if report.coverage.share.is_none() && report.rules.min_coverage.is_some() => {
            "no score: how much was watched is not known".to_owned()
        }
        _ => "no score: insufficient data".to_owned(),
    }
}

/// `B 87.3`, or a dash.
pub(crate) fn grade(grade: Option<Grade>, score: Option<f64>) -> String {
    match (grade, score) {
        (Some(grade), Some(score)) => format!("{} {score:.1}", grade.name()),
        _ => "-".to_owned(),
    }
}

/// `+2.1 points (before: 85.2 % of 40)`.
pub(crate) fn trend(trend: Trend) -> String {
    format!("{:+.1} points ({} of {} before)", trend.change, percent(trend.graceful_before), trend.counted_before)
}

/// `94.5 %`.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// `94.5 % (93.8 to 95.2)`.
pub(crate) fn share(share: Share) -> String {
    format!("{} ({:.1} to {:.1})", percent(share.value), share.low * 100.0, share.high * 100.0)
}

/// `2026-10-23 to 2026-11-22`, to the minute where days would say nothing.
pub(crate) fn period(period: Period) -> String {
    let day = |time: crate::report::json::Time| time.0.strftime("%Y-%m-%d %H:%M").to_string();
    match (period.from, period.to) {
        (Some(from), Some(to)) => format!("{} to {} UTC", day(from), day(to)),
        (Some(from), None) => format!("since {} UTC", day(from)),
        (None, Some(to)) => format!("until {} UTC", day(to)),
        (None, None) => "all records".to_owned(),
    }
}

/// How much was watched, in one sentence.
pub(crate) fn coverage(coverage: &Coverage) -> String {
    let mut parts = Vec::new();
    match (coverage.agents, coverage.nodes) {
        (Some(agents), Some(nodes)) => parts.push(format!("{agents} of {nodes} nodes watched")),
        (Some(1), None) => parts.push("1 node seen, of how many is not known".to_owned()),
        (Some(agents), None) => parts.push(format!("{agents} nodes seen, of how many is not known")),
        (None, _) => parts.push("which nodes were watched is not known".to_owned()),
    }
    if let Some(share) = coverage.share {
        let of = if coverage.watched_hours.is_some() { " of node-hours" } else { "" };
        parts.push(format!("{}{of}", percent(share)));
    }
    let numbers = [
        (coverage.hidden_nodes, "node that cannot be watched", "nodes that cannot be watched"),
        (coverage.hidden_pods, "pod that cannot be watched", "pods that cannot be watched"),
        (Some(coverage.unknown_verdicts), "verdict unknown", "verdicts unknown"),
        (coverage.lost_events, "kernel record lost", "kernel records lost"),
        (
            Some(coverage.unattributed),
            "shutdown that nobody could be named for",
            "shutdowns that nobody could be named for",
        ),
    ];
    let known = numbers.into_iter().filter_map(|(n, one, more)| n.filter(|n| *n > 0).map(|n| (n, one, more)));
    parts.extend(known.map(|(n, one, more)| format!("{n} {}", if n == 1 { one } else { more })));
    parts.join(", ")
}

/// `20 min`, `14.2 h`.
pub(crate) fn hours(hours: f64) -> String {
    match hours * 3600.0 {
        0.0 => "-".to_owned(),
        seconds @ ..90.0 => format!("{seconds:.0} s"),
        seconds @ ..5400.0 => format!("{:.0} min", seconds / 60.0),
        _ => format!("{hours:.1} h"),
    }
}

/// `30.0 s of 30 s`: the 95th of a hundred against the grace.
pub(crate) fn against_grace(durations: Option<DurationsReport>, grace: Option<f64>) -> String {
    let Some(durations) = durations else { return "-".to_owned() };
    match grace {
        Some(grace) => format!("{} of {}", seconds(durations.p95), seconds(grace)),
        None => seconds(durations.p95),
    }
}

/// `2.1 s`.
pub(crate) fn seconds(seconds: f64) -> String {
    if seconds.fract() == 0.0 { format!("{seconds:.0} s") } else { format!("{seconds:.1} s") }
}

/// `shop/cart (deployment)`, made fit to print.
pub(crate) fn subject(subject: &Subject) -> String {
    let mut text = [&subject.cluster, &subject.namespace, &subject.name]
        .into_iter()
        .filter(|part| !part.is_empty())
        .map(|part| shown(part))
        .collect::<Vec<_>>()
        .join("/");
    if !subject.kind.is_empty() {
        text.push_str(&format!(" ({})", shown(&subject.kind)));
    }
    text
}

/// A name, made fit to print.
pub(crate) fn shown(name: &str) -> String {
    escape::word(name, NAME, Charset::Unicode)
}

/// A sentence that may hold names, made fit to print.
pub(crate) fn sentence(text: &str) -> String {
    escape::sentence(text, Charset::Unicode)
}

/// `grace_exceeded · not_forwarded`.
pub(crate) fn verdict(count: &VerdictCount) -> String {
    let verdict = count.verdict();
    if verdict.cause == crate::judge::shutdown::Cause::None {
        return verdict.outcome.name().to_owned();
    }
    format!("{} · {}", verdict.outcome.name(), verdict.cause.name())
}

/// Its narrower half: `not_forwarded`.
pub(crate) fn short_verdict(count: &VerdictCount) -> &'static str {
    let verdict = count.verdict();
    if verdict.cause == crate::judge::shutdown::Cause::None { verdict.outcome.name() } else { verdict.cause.name() }
}

/// The verdict that says most about a workload: the most frequent of those that are as bad as the worst.
pub(crate) fn leading(workload: &WorkloadReport) -> Option<&VerdictCount> {
    let counts = workload.containers.iter().flat_map(|container| &container.verdicts);
    counts.max_by_key(|count| (rank(count), count.shutdowns))
}

fn rank(count: &VerdictCount) -> u8 {
    use crate::policy::Compliance;
    match count.worth {
        Compliance::Fail => 3,
        Compliance::Warn => 2,
        Compliance::Pass => 1,
        Compliance::NotCounted => 0,
    }
}

/// A status in words.
pub(crate) fn status(status: Status) -> &'static str {
    match status {
        Status::Fail => "fail",
        Status::Warn => "warn",
        Status::Pass => "pass",
        Status::InsufficientData => "insufficient data",
        Status::Waived => "waived",
        Status::Skipped => "not scored",
    }
}

/// Why a finding is accepted.
pub(crate) fn waiver(finding: &Finding) -> Option<String> {
    let waiver = finding.waiver.as_ref()?;
    Some(format!("waived until {} by {}: {}", waiver.expires, sentence(&waiver.owner), sentence(&waiver.reason)))
}
