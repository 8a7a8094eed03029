//! One page for a browser: it needs nothing but itself, reads without a script, in light and dark, and prints.
//!
//! The template escapes every value; only the bars, which are made of numbers alone, are markup of ours.

use askama::Template;

use super::{Error, words};
use crate::audit::report::{
    Finding, Grade, Group, Level, Report, Share, Shutdowns, Status, StatusCounts, Totals, WorkloadReport,
};
use crate::audit::score::counted;

/// Rows and details: a browser is slow with more, and nobody reads them.
const ROWS: usize = 2000;
const DETAILS: usize = 250;
/// Details that are open at once.
const OPEN: usize = 5;

#[derive(Template)]
#[template(path = "audit.html")]
struct Page<'r> {
    missing: Option<String>,
    gaps: Vec<String>,
    sources: Vec<String>,
    period: String,
    score: String,
    mood: &'static str,
    trend: Option<String>,
    graceful: String,
    interval: String,
    avoidable: String,
    coverage: String,
    coverage_text: String,
    totals: &'r Totals,
    status_bar: String,
    shutdown_bar: String,
    groups: Vec<GroupRow>,
    rows: Vec<Row>,
    more_rows: usize,
    details: Vec<Detail>,
    more_details: usize,
    waivers: Vec<String>,
    weight_warn: f64,
    min_shutdowns: u64,
    version: &'r str,
    generated: String,
}

struct GroupRow {
    name: String,
    score: String,
    sort: f64,
    workloads: u64,
    failing: u64,
    shutdowns: u64,
    graceful: String,
    avoidable: String,
    avoidable_sort: f64,
}

struct Row {
    name: String,
    status: &'static str,
    mood: &'static str,
    rank: usize,
    score: String,
    sort: f64,
    shutdowns: u64,
    bar: String,
    graceful: String,
    graceful_sort: f64,
    p95: String,
    p95_sort: f64,
    avoidable: String,
    avoidable_sort: f64,
    verdict: String,
}

struct Detail {
    name: String,
    status: &'static str,
    mood: &'static str,
    open: bool,
    facts: Vec<(&'static str, String)>,
    findings: Vec<Line>,
    recommendations: Vec<String>,
}

struct Line {
    level: &'static str,
    mood: &'static str,
    new: bool,
    message: String,
    advice: String,
}

pub(super) fn render(report: &Report) -> Result<Vec<u8>, Error> {
    Ok(page(report).render()?.into_bytes())
}

fn page(report: &Report) -> Page<'_> {
    let with_details: Vec<&WorkloadReport> = report.workloads.iter().filter(|w| has_details(w)).collect();
    let groups = report.clusters.iter().filter(|_| report.clusters.len() > 1).map(|group| ("cluster", group));
    let namespaces = report.namespaces.iter().map(|group| ("namespace", group));
    let teams = report.teams.iter().map(|group| ("team", group));
    Page {
        missing: words::incomplete(report),
        gaps: report.gaps.iter().map(|gap| words::sentence(&gap.message)).collect(),
        sources: report.sources.iter().map(|source| words::shown(&source.name)).collect(),
        period: words::period(report.period),
        score: words::score(report),
        mood: report.grade.map_or("none", mood_of_grade),
        trend: report.trend.map(words::trend),
        graceful: report.totals.graceful.map_or_else(|| "-".to_owned(), |share| words::percent(share.value)),
        interval: report.totals.graceful.map_or_else(|| "no shutdown that counts".to_owned(), interval),
        avoidable: words::hours(report.totals.avoidable_hours),
        coverage: report.coverage.share.map_or_else(|| "not known".to_owned(), words::percent),
        coverage_text: words::coverage(&report.coverage),
        totals: &report.totals,
        status_bar: status_bar(report.totals.by_status),
        shutdown_bar: shutdown_bar(report.totals.shutdowns),
        groups: groups.chain(teams).chain(namespaces).take(ROWS).map(group_row).collect(),
        rows: report.workloads.iter().take(ROWS).map(row).collect(),
        more_rows: report.workloads.len().saturating_sub(ROWS),
        details: with_details.iter().take(DETAILS).enumerate().map(|(at, w)| detail(w, at < OPEN, report)).collect(),
        more_details: with_details.len().saturating_sub(DETAILS),
        waivers: report.findings.iter().filter(|f| is_about_waivers(f)).map(waiver_line).collect(),
        weight_warn: report.rules.weight_warn,
        min_shutdowns: report.rules.min_shutdowns,
        version: &report.version,
        generated: report.generated.0.strftime("%Y-%m-%d %H:%M UTC").to_string(),
    }
}

fn has_details(workload: &WorkloadReport) -> bool {
    let is_bad = workload.shutdowns.fail + workload.shutdowns.warn > 0;
    is_bad || workload.status == Status::Waived || !workload.recommendations.is_empty()
}

fn is_about_waivers(finding: &Finding) -> bool {
    matches!(finding.rule.as_str(), "expired_waiver" | "unused_waiver")
}

fn waiver_line(finding: &Finding) -> String {
    format!("{}: {}. {}", words::subject(&finding.subject), words::sentence(&finding.message), finding.advice)
}

fn interval(share: Share) -> String {
    format!("{:.1} to {:.1} % with 95 % confidence", share.low * 100.0, share.high * 100.0)
}

fn group_row((kind, group): (&str, &Group)) -> GroupRow {
    let name = [&group.cluster, &group.name].into_iter().filter(|part| !part.is_empty()).map(|part| words::shown(part));
    let name = name.collect::<Vec<_>>().join("/");
    let totals = &group.totals;
    GroupRow {
        name: if name.is_empty() { format!("(no {kind})") } else { format!("{kind} {name}") },
        score: words::grade(group.grade, group.score),
        sort: group.score.unwrap_or(-1.0),
        workloads: totals.workloads,
        failing: totals.by_status.fail,
        shutdowns: totals.shutdowns.all,
        graceful: totals.graceful.map_or_else(|| "-".to_owned(), words::share),
        avoidable: words::hours(totals.avoidable_hours),
        avoidable_sort: totals.avoidable_hours,
    }
}

fn row(workload: &WorkloadReport) -> Row {
    Row {
        name: words::subject(&workload.subject),
        status: words::status(workload.status),
        mood: mood(workload.status),
        rank: workload.status as usize,
        score: words::grade(workload.grade, workload.score),
        sort: workload.score.unwrap_or(-1.0),
        shutdowns: workload.shutdowns.all,
        bar: bar(shutdown_parts(workload.shutdowns)),
        graceful: workload.graceful.map_or_else(|| "-".to_owned(), words::share),
        graceful_sort: workload.graceful.map_or(-1.0, |share| share.value),
        p95: words::against_grace(workload.durations, workload.grace_seconds),
        p95_sort: workload.durations.map_or(-1.0, |durations| durations.p95),
        avoidable: words::hours(workload.avoidable_hours),
        avoidable_sort: workload.avoidable_hours,
        verdict: words::leading(workload).map(words::verdict).unwrap_or_default(),
    }
}

fn detail(workload: &WorkloadReport, open: bool, report: &Report) -> Detail {
    let findings =
        report.findings.iter().filter(|finding| finding.subject == workload.subject && !is_about_waivers(finding));
    let recommendations = workload.recommendations.iter().map(|found| {
        let container = words::shown(&found.container);
        if container.is_empty() { found.text.clone() } else { format!("{container}: {}", found.text) }
    });
    Detail {
        name: words::subject(&workload.subject),
        status: words::status(workload.status),
        mood: mood(workload.status),
        open,
        facts: facts(workload),
        findings: findings.map(line).collect(),
        recommendations: recommendations.collect(),
    }
}

fn facts(workload: &WorkloadReport) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    if let Some(team) = &workload.team {
        facts.push(("Team", words::shown(team)));
    }
    let counts = workload.shutdowns;
    facts.push((
        "Shutdowns",
        format!("{} of {} that count were graceful, {} in all", counts.pass, counted(counts), counts.all),
    ));
    if let (Some(first), Some(last)) = (workload.first_seen, workload.last_seen) {
        let day = |time: crate::report::json::Time| time.0.strftime("%Y-%m-%d %H:%M").to_string();
        facts.push(("Seen", format!("{} to {} UTC", day(first), day(last))));
    }
    if let Some(d) = workload.durations {
        let max =
            d.max_below.map_or_else(|| "more than 300 s".to_owned(), |max| format!("{} at most", words::seconds(max)));
        let text = format!("half within {}, 95 of 100 within {}, {max}", words::seconds(d.p50), words::seconds(d.p95));
        facts.push(("Durations", text));
    }
    if let Some(grace) = workload.grace_seconds {
        facts.push(("Grace", words::seconds(grace)));
    }
    if let Some(trend) = workload.trend {
        facts.push(("Trend", words::trend(trend)));
    }
    for container in &workload.containers {
        let verdicts: Vec<String> =
            container.verdicts.iter().map(|count| format!("{} {}", count.shutdowns, words::verdict(count))).collect();
        if !verdicts.is_empty() {
            facts.push(("Container", format!("{}: {}", words::shown(&container.name), verdicts.join(", "))));
        }
    }
    facts
}

fn line(finding: &Finding) -> Line {
    Line {
        level: finding.level.name(),
        mood: match finding.level {
            Level::Fail => "fail",
            Level::Warn => "warn",
            Level::Note => "none",
        },
        new: finding.is_new == Some(true),
        message: words::sentence(&finding.message),
        advice: words::waiver(finding).unwrap_or_else(|| words::sentence(&finding.advice)),
    }
}

fn mood(status: Status) -> &'static str {
    match status {
        Status::Fail => "fail",
        Status::Warn => "warn",
        Status::Pass => "pass",
        Status::InsufficientData | Status::Waived | Status::Skipped => "none",
    }
}

fn mood_of_grade(grade: Grade) -> &'static str {
    match grade {
        Grade::A | Grade::B => "pass",
        Grade::C => "warn",
        Grade::D | Grade::F => "fail",
    }
}

type Part = (&'static str, &'static str, u64);

fn shutdown_parts(counts: Shutdowns) -> [Part; 4] {
    [
        ("pass", "as they should be", counts.pass),
        ("warn", "with a warning", counts.warn),
        ("fail", "failed", counts.fail),
        ("none", "not counted", counts.not_counted),
    ]
}

fn shutdown_bar(counts: Shutdowns) -> String {
    legend(shutdown_parts(counts))
}

fn status_bar(counts: StatusCounts) -> String {
    let rest = counts.insufficient_data + counts.waived + counts.skipped;
    legend([
        ("pass", "pass", counts.pass),
        ("warn", "warn", counts.warn),
        ("fail", "fail", counts.fail),
        ("none", "insufficient data, waived or not scored", rest),
    ])
}

/// A bar with its numbers beside it, so that colour is not all there is.
fn legend(parts: [Part; 4]) -> String {
    let mut out = bar(parts);
    out.push_str("<div class=\"legend\">");
    for (mood, name, count) in parts {
        out.push_str(&format!("<span><i class=\"{mood}-fill\"></i>{count} {name}</span>"));
    }
    out.push_str("</div>");
    out
}

/// What it shows is said in words beside it, so that it is nothing to a screen reader.
#[expect(clippy::cast_precision_loss, reason = "the width of a bar")]
fn bar(parts: [Part; 4]) -> String {
    let all: u64 = parts.iter().map(|(_, _, count)| count).sum();
    let mut out = "<span class=\"bar\" aria-hidden=\"true\">".to_owned();
    for (mood, _, count) in parts {
        if count > 0 {
            let width = 100.0 * count as f64 / all as f64;
            out.push_str(&format!("<span class=\"{mood}-fill\" style=\"width:{width:.2}%\"></span>"));
        }
    }
    out.push_str("</span>");
    out
}
