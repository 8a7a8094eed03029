//! For a terminal: the score first, then the workloads, worst on top, then what to change.

use std::fmt::{self, Write as _};

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, LineStyle, Table, presets};

use super::{Error, words};
use crate::audit::report::{Finding, Grade, Level, Report, Status, WorkloadReport};
use crate::report::escape;
use crate::report::line::{Line, prose};
use crate::report::style::{Charset, Paint, Style};

/// Workloads and findings that are shown: a screen or two. Every other format has them all.
const ROWS: usize = 40;
const FINDINGS: usize = 20;
/// Columns that a name may take.
const NAME: usize = 48;

pub(super) fn render(report: &Report, style: &Style) -> Result<Vec<u8>, Error> {
    let mut out = String::new();
    head(&mut out, report, style)?;
    if !report.workloads.is_empty() {
        out.push('\n');
        workloads(&mut out, &report.workloads, style)?;
    }
    findings(&mut out, &report.findings, style)?;
    recommendations(&mut out, &report.workloads, style)?;
    let shown = if style.charset() == Charset::Ascii { escape_ascii(&out) } else { out };
    Ok(shown.into_bytes())
}

fn head(out: &mut String, report: &Report, style: &Style) -> fmt::Result {
    if let Some(missing) = words::incomplete(report) {
        paragraph(out, &missing, Paint::Bad, 0, style)?;
        for gap in report.gaps.iter().take(FINDINGS) {
            paragraph(out, &words::sentence(&gap.message), Paint::Plain, 2, style)?;
        }
        out.push('\n');
    }
    let mut line = Line::new();
    line.push(Paint::Strong, "Graceful shutdowns  ");
    line.push(report.grade.map_or(Paint::Neutral, of_grade), words::score(report));
    if let Some(trend) = report.trend {
        let paint = if trend.change < 0.0 { Paint::Bad } else { Paint::Good };
        line.push(paint, format!("  {}", words::trend(trend)));
    }
    line.write(out, style)?;
    paragraph(out, &words::period(report.period), Paint::Dim, 0, style)?;
    out.push('\n');

    let totals = &report.totals;
    let graceful = totals.graceful.map(|share| format!(", graceful {}", words::share(share))).unwrap_or_default();
    let by = totals.by_status;
    let statuses = [
        (by.fail, "fail"),
        (by.warn, "warn"),
        (by.pass, "pass"),
        (by.insufficient_data, "insufficient data"),
        (by.waived, "waived"),
        (by.skipped, "not scored"),
    ];
    let statuses: Vec<String> =
        statuses.into_iter().filter(|(n, _)| *n > 0).map(|(n, status)| format!("{n} {status}")).collect();
    let facts = [
        ("coverage", words::coverage(&report.coverage)),
        ("shutdowns", format!("{}{graceful}", totals.shutdowns.all)),
        ("lost", format!("{} of waiting that could not help", words::hours(totals.avoidable_hours))),
        ("workloads", format!("{} ({})", totals.workloads, statuses.join(", "))),
    ];
    for (label, text) in facts {
        labelled(out, label, &text, Paint::Plain, style)?;
    }
    Ok(())
}

/// The table of workloads alone.
pub(crate) fn workloads(out: &mut String, workloads: &[WorkloadReport], style: &Style) -> fmt::Result {
    let rule = style.glyphs().dash.chars().next().unwrap_or('-');
    let mut table = Table::new();
    table.load_style(presets::NOTHING.header_separator(LineStyle::none().fill(rule).junction(rule)));
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(u16::try_from(style.width()).unwrap_or(u16::MAX));
    let columns: Vec<Column> = Column::ALL.into_iter().filter(|column| style.width() >= column.least_width()).collect();
    table.set_header(columns.iter().map(|column| column.title()));
    for workload in workloads.iter().take(ROWS) {
        table.add_row(columns.iter().map(|column| column.cell(workload, style)));
    }
    for (at, column) in columns.iter().enumerate() {
        let Some(cells) = table.column_mut(at) else { continue };
        if matches!(column, Column::Shutdowns | Column::Graceful | Column::Lost) {
            cells.set_cell_alignment(CellAlignment::Right);
        }
        if !matches!(column, Column::Workload) {
            cells.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    for line in table.lines() {
        painted(&line, style).write(out, style)?;
    }
    more(out, workloads.len(), ROWS, "workloads", style)
}

/// A column, left out where the terminal is narrower than it needs.
#[derive(Clone, Copy)]
enum Column {
    Sign,
    Workload,
    Grade,
    Shutdowns,
    Graceful,
    P95,
    Lost,
    Verdict,
}

impl Column {
    const ALL: [Self; 8] = [
        Self::Sign,
        Self::Workload,
        Self::Grade,
        Self::Shutdowns,
        Self::Graceful,
        Self::P95,
        Self::Lost,
        Self::Verdict,
    ];

    fn least_width(self) -> usize {
        match self {
            Self::Sign | Self::Workload | Self::Shutdowns | Self::Verdict => 0,
            Self::Grade => 60,
            Self::Graceful => 72,
            Self::Lost => 88,
            Self::P95 => 110,
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Sign => "",
            Self::Workload => "workload",
            Self::Grade => "grade",
            Self::Shutdowns => "n",
            Self::Graceful => "graceful",
            Self::P95 => "p95",
            Self::Lost => "lost",
            Self::Verdict => "verdict",
        }
    }

    fn cell(self, workload: &WorkloadReport, style: &Style) -> String {
        match self {
            Self::Sign => sign(workload.status, style).1.to_owned(),
            Self::Workload => escape::word(&words::subject(&workload.subject), NAME, Charset::Unicode),
            Self::Grade => words::grade(workload.grade, workload.score),
            Self::Shutdowns => workload.shutdowns.all.to_string(),
            Self::Graceful => workload.graceful.map_or_else(|| "-".to_owned(), |share| words::percent(share.value)),
            Self::P95 => words::against_grace(workload.durations, workload.grace_seconds),
            Self::Lost => words::hours(workload.avoidable_hours),
            Self::Verdict => words::leading(workload).map(words::short_verdict).unwrap_or_default().to_owned(),
        }
    }
}

/// The table is laid out without colour: a row is known by the sign that begins its first line.
fn painted(text: &str, style: &Style) -> Line {
    let mut line = Line::new();
    let text = text.trim_end();
    let start = text.trim_start();
    let indent = &text[..text.len() - start.len()];
    for status in [Status::Fail, Status::Warn, Status::Pass, Status::InsufficientData, Status::Waived, Status::Skipped]
    {
        let (paint, sign) = sign(status, style);
        if indent.len() == 1
            && let Some(rest) = start.strip_prefix(sign).filter(|rest| rest.starts_with(' '))
        {
            line.push(Paint::Plain, indent).push(paint, sign).push(Paint::Plain, rest);
            return line;
        }
    }
    line.push(Paint::Plain, text);
    line
}

fn findings(out: &mut String, findings: &[Finding], style: &Style) -> fmt::Result {
    let grave: Vec<&Finding> = findings.iter().filter(|finding| finding.level != Level::Note).collect();
    if grave.is_empty() {
        return Ok(());
    }
    heading(out, "To change", style)?;
    for finding in grave.iter().take(FINDINGS) {
        let mut line = Line::new();
        let (paint, sign) = match finding.level {
            _ if finding.waiver.is_some() => (Paint::Neutral, style.glyphs().forced),
            Level::Fail => (Paint::Bad, style.glyphs().bad),
            Level::Warn | Level::Note => (Paint::Warn, style.glyphs().warn),
        };
        line.push(paint, format!("{sign} ")).push(Paint::Strong, words::subject(&finding.subject));
        if !finding.container.is_empty() {
            line.push(Paint::Plain, format!("  {}", words::shown(&finding.container)));
        }
        if finding.is_new == Some(true) {
            line.push(Paint::Bad, "  new");
        }
        line.write(out, style)?;
        paragraph(out, &format!("{}.", words::sentence(&finding.message)), Paint::Plain, 2, style)?;
        let advice = words::waiver(finding).unwrap_or_else(|| words::sentence(&finding.advice));
        paragraph(out, &advice, Paint::Dim, 2, style)?;
    }
    more(out, grave.len(), FINDINGS, "findings", style)
}

fn recommendations(out: &mut String, workloads: &[WorkloadReport], style: &Style) -> fmt::Result {
    let all: Vec<_> = workloads.iter().flat_map(|w| w.recommendations.iter().map(move |found| (w, found))).collect();
    if all.is_empty() {
        return Ok(());
    }
    heading(out, "Could be better", style)?;
    for (workload, found) in all.iter().take(FINDINGS) {
        let text = format!("{} {}: {}", words::subject(&workload.subject), words::shown(&found.container), found.text);
        paragraph(out, &text, Paint::Plain, 2, style)?;
    }
    more(out, all.len(), FINDINGS, "recommendations", style)
}

fn heading(out: &mut String, text: &str, style: &Style) -> fmt::Result {
    out.push('\n');
    let mut line = Line::new();
    line.push(Paint::Strong, text);
    line.write(out, style)
}

fn labelled(out: &mut String, label: &str, text: &str, paint: Paint, style: &Style) -> fmt::Result {
    const COLUMN: usize = 11;
    let mut first = Line::new();
    first.push(Paint::Dim, label);
    for words in prose(text, style.width() - COLUMN, paint, style) {
        first.pad_to(COLUMN).append(words);
        first.write(out, style)?;
        first = Line::new();
    }
    Ok(())
}

fn paragraph(out: &mut String, text: &str, paint: Paint, indent: usize, style: &Style) -> fmt::Result {
    for words in prose(text, style.width() - indent, paint, style) {
        let mut line = Line::new();
        line.pad_to(indent).append(words);
        line.write(out, style)?;
    }
    Ok(())
}

fn more(out: &mut String, all: usize, shown: usize, what: &str, style: &Style) -> fmt::Result {
    match all.checked_sub(shown) {
        Some(more @ 1..) => {
            paragraph(out, &format!("and {more} more {what}: see --output json or html"), Paint::Dim, 2, style)
        }
        Some(0) | None => Ok(()),
    }
}

fn sign(status: Status, style: &Style) -> (Paint, &'static str) {
    let glyphs = style.glyphs();
    match status {
        Status::Fail => (Paint::Bad, glyphs.bad),
        Status::Warn => (Paint::Warn, glyphs.warn),
        Status::Pass => (Paint::Good, glyphs.good),
        Status::InsufficientData => (Paint::Neutral, glyphs.unknown),
        Status::Waived => (Paint::Neutral, glyphs.forced),
        Status::Skipped => (Paint::Dim, glyphs.dash),
    }
}

fn of_grade(grade: Grade) -> Paint {
    match grade {
        Grade::A | Grade::B => Paint::Good,
        Grade::C => Paint::Warn,
        Grade::D | Grade::F => Paint::Bad,
    }
}

/// The names are escaped already; what is left beyond ASCII are letters that this terminal does not have.
fn escape_ascii(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            let _ = write!(out, "{}", c.escape_unicode());
        }
    }
    out
}
