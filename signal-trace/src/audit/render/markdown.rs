//! For a comment on a change, or a wiki: the worst workloads, what to change, and how much was seen.

use std::fmt::{self, Write as _};

use super::words;
use crate::audit::report::{Finding, Level, Report, WorkloadReport};

/// Rows of the table, and findings: hosts cut long comments off.
const ROWS: usize = 50;

pub(super) fn render(report: &Report) -> Result<String, fmt::Error> {
    let mut out = String::new();
    if let Some(missing) = words::incomplete(report) {
        writeln!(out, "> **{}**\n", text(&missing))?;
    }
    writeln!(out, "# Graceful shutdowns: {}\n", words::score(report))?;
    facts(&mut out, report)?;
    table(&mut out, &report.workloads)?;
    findings(&mut out, &report.findings)?;
    if !report.gaps.is_empty() {
        writeln!(out, "\n## What is missing\n")?;
        for gap in &report.gaps {
            let whose = gap.cluster.as_deref().map(|name| format!("{}: ", text(name))).unwrap_or_default();
            writeln!(out, "- {whose}{}", text(&gap.message))?;
        }
    }
    writeln!(
        out,
        "\nWritten by signal-trace {} at {}.",
        report.version,
        report.generated.0.strftime("%Y-%m-%d %H:%M UTC")
    )?;
    Ok(out)
}

fn facts(out: &mut String, report: &Report) -> fmt::Result {
    let totals = &report.totals;
    writeln!(out, "- Period: {}", words::period(report.period))?;
    writeln!(out, "- Coverage: {}", words::coverage(&report.coverage))?;
    write!(out, "- Shutdowns: {}", totals.shutdowns.all)?;
    if let Some(share) = totals.graceful {
        write!(out, ", graceful {}", words::share(share))?;
    }
    writeln!(out, ", {} waited for nothing", words::hours(totals.avoidable_hours))?;
    if let Some(trend) = report.trend {
        writeln!(out, "- Trend: {}", words::trend(trend))?;
    }
    let by = totals.by_status;
    writeln!(
        out,
        "- Workloads: {} ({} fail, {} warn, {} pass, {} insufficient data, {} waived, {} not scored)\n",
        totals.workloads, by.fail, by.warn, by.pass, by.insufficient_data, by.waived, by.skipped
    )
}

fn table(out: &mut String, workloads: &[WorkloadReport]) -> fmt::Result {
    if workloads.is_empty() {
        return writeln!(out, "No workload was seen.");
    }
    writeln!(out, "| workload | status | grade | shutdowns | graceful | p95 | waited for nothing | verdict |")?;
    writeln!(out, "|---|---|---|--:|---|---|--:|---|")?;
    for workload in workloads.iter().take(ROWS) {
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            text(&words::subject(&workload.subject)),
            words::status(workload.status),
            words::grade(workload.grade, workload.score),
            workload.shutdowns.all,
            workload.graceful.map(words::share).unwrap_or_else(|| "-".to_owned()),
            words::against_grace(workload.durations, workload.grace_seconds),
            words::hours(workload.avoidable_hours),
            words::leading(workload).map(words::verdict).map_or_else(|| "-".to_owned(), |verdict| text(&verdict)),
        )?;
    }
    more(out, workloads.len(), "workloads")
}

fn findings(out: &mut String, findings: &[Finding]) -> fmt::Result {
    let grave: Vec<_> = findings.iter().filter(|finding| finding.level != Level::Note).collect();
    if grave.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n## To change\n")?;
    for finding in grave.iter().take(ROWS) {
        let new = if finding.is_new == Some(true) { " (new)" } else { "" };
        let level = if finding.waiver.is_some() { "waived" } else { finding.level.name() };
        write!(out, "- **{level}** {}{new}: {}.", text(&words::subject(&finding.subject)), text(&finding.message))?;
        if let Some(waiver) = words::waiver(finding) {
            write!(out, " *{}.*", text(&waiver))?;
        } else {
            write!(out, " {}", text(&finding.advice))?;
        }
        writeln!(out)?;
    }
    more(out, grave.len(), "findings")
}

fn more(out: &mut String, all: usize, what: &str) -> fmt::Result {
    match all.checked_sub(ROWS) {
        Some(more @ 1..) => writeln!(out, "\nAnd {more} more {what}."),
        Some(0) | None => Ok(()),
    }
}

/// Text in which nothing is markup: no link, no image, no mention, no end of a cell.
fn text(value: &str) -> String {
    let mut out = String::new();
    for c in words::sentence(value).chars() {
        match c {
            // A mention tells people who have nothing to do with it.
            '@' => out.push_str("&#64;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '|' | '`' | '*' | '_' | '[' | ']' | '#' | '~' | '!' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_becomes_markup() {
        assert_eq!(text("a|b"), r"a\|b");
        assert_eq!(text("![x](http://a)"), r"\!\[x\](http://a)");
        assert_eq!(text("<img src=x> @all"), "&lt;img src=x&gt; &#64;all");
        assert_eq!(text("a\nb"), r"a\\u{a}b");
    }
}
