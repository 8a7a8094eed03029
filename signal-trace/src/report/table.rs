//! A table of cases: what was expected, what came, how long it took.
//!
//! For whoever runs many shutdowns and compares: it knows rows, and not where they come from.

use std::fmt;
use std::time::Duration;

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, LineStyle, Table, Width, presets};

use super::escape;
use super::line::Line;
use super::style::{Charset, Paint, Style};
use super::words;

/// Columns that a cell may take before it is cut.
const CELL: usize = 160;

/// What a column must have, so that no name in a verdict is broken.
const VERDICT: u16 = 21;

/// Whether what came is what was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// It is.
    Same,
    /// It is not.
    Different,
}

/// One case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its name.
    pub case: String,
    /// What had to come.
    pub expected: String,
    /// What came.
    pub got: String,
    /// How long it took, where that was seen.
    pub took: Option<Duration>,
    /// How they compare.
    pub matches: Match,
}

impl Row {
    /// Compares the two texts.
    pub fn new(case: &str, expected: &str, got: &str, took: Option<Duration>) -> Self {
        let matches = if expected == got { Match::Same } else { Match::Different };
        Self { case: case.to_owned(), expected: expected.to_owned(), got: got.to_owned(), took, matches }
    }
}

/// The rows below a heading, and one line that counts them.
///
/// # Errors
/// Those of the writer.
pub fn write_cases(out: &mut impl fmt::Write, rows: &[Row], style: &Style) -> fmt::Result {
    let rule = style.glyphs().dash.chars().next().unwrap_or('-');
    let mut table = Table::new();
    table.load_style(presets::NOTHING.header_separator(LineStyle::none().fill(rule).junction(rule)));
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(u16::try_from(style.width()).unwrap_or(u16::MAX));
    table.set_header(["case", "expected", "got", "seconds", "ok"]);
    for row in rows {
        let cell = |text: &str| escape::word(text, CELL, style.charset());
        let seconds = row.took.map_or_else(|| "-".to_owned(), |took| format!("{:.3}", took.as_secs_f64()));
        let mark = mark(row.matches, style.charset()).to_owned();
        table.add_row([cell(&row.case), cell(&row.expected), cell(&row.got), seconds, mark]);
    }
    if let Some(seconds) = table.column_mut(3) {
        seconds.set_cell_alignment(CellAlignment::Right);
    }
    fit(&mut table, style.width());
    for line in table.lines() {
        painted(&line, style).write(out, style)?;
    }
    let different = rows.iter().filter(|row| row.matches == Match::Different).count();
    let mut closing = Line::new();
    match different {
        0 => closing.push(Paint::Good, format!("{}: all as expected", words::count(rows.len(), "case", "cases"))),
        n => closing.push(Paint::Bad, format!("{n} of {} not as expected", words::count(rows.len(), "case", "cases"))),
    };
    closing.write(out, style)
}

/// Where the rows do not fit, verdicts break between their halves, and numbers not at all.
fn fit(table: &mut Table, width: usize) {
    const PADDING: usize = 2;
    let contents = table.column_max_content_widths();
    let natural: usize = contents.iter().map(|content| usize::from(*content) + PADDING).sum();
    if natural <= width {
        return;
    }
    let verdict = ColumnConstraint::LowerBoundary(Width::Fixed(VERDICT));
    let whole = ColumnConstraint::ContentWidth;
    for (index, constraint) in [(1, verdict), (2, verdict), (3, whole), (4, whole)] {
        // A column must be left for the names of the cases.
        let has_room = matches!(constraint, ColumnConstraint::ContentWidth) || width >= 72;
        if let Some(column) = table.column_mut(index).filter(|_| has_room) {
            column.set_constraint(constraint);
        }
    }
}

fn mark(matches: Match, charset: Charset) -> &'static str {
    match (matches, charset) {
        (Match::Same, Charset::Unicode) => "✓",
        (Match::Different, Charset::Unicode) => "✗",
        (Match::Same, Charset::Ascii) => "yes",
        (Match::Different, Charset::Ascii) => "NO",
    }
}

/// The table is laid out without colour: a row is known by the mark that ends its first line.
fn painted(text: &str, style: &Style) -> Line {
    let text = text.trim_end();
    let mut line = Line::new();
    for (matches, rest, paint) in [(Match::Same, Paint::Plain, Paint::Good), (Match::Different, Paint::Bad, Paint::Bad)]
    {
        let mark = mark(matches, style.charset());
        if let Some(cells) = text.strip_suffix(mark).filter(|cells| cells.ends_with(' ')) {
            line.push(rest, cells).push(paint, mark);
            return line;
        }
    }
    line.push(Paint::Plain, text);
    line
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr;

    use super::*;
    use crate::judge::shutdown::{Cause, Outcome, Verdict};
    use crate::report::style::Colors;
    use crate::report::text::verdict_name;

    fn rows(charset: Charset) -> Vec<Row> {
        let verdict = |outcome, cause| verdict_name(Verdict { outcome, cause }, charset);
        let wrapper = verdict(Outcome::GraceExceeded, Cause::NotForwarded);
        let npm = verdict(Outcome::ChildrenKilled, Cause::PartiallyForwarded);
        let graceful = verdict(Outcome::Graceful, Cause::None);
        let took = |millis| Some(Duration::from_millis(millis));
        vec![
            Row::new("sh -c wrapper", &wrapper, &wrapper, took(2_010)),
            Row::new("exec form", &graceful, &graceful, took(12)),
            Row::new("npm start", &npm, &graceful, took(530)),
            Row::new("\u{1b}[2J", "forced", "forced", None),
        ]
    }

    fn text(rows: &[Row], style: Style) -> String {
        let mut out = String::new();
        write_cases(&mut out, rows, &style).unwrap();
        out
    }

    #[test]
    fn cases_compared() {
        let tables = [
            text(&rows(Charset::Unicode), Style::new(110, Charset::Unicode, Colors::Plain)),
            text(&rows(Charset::Unicode), Style::new(80, Charset::Unicode, Colors::Ansi)),
            text(&rows(Charset::Ascii)[..2], Style::new(60, Charset::Ascii, Colors::Plain)),
        ];
        insta::assert_snapshot!(tables.join("\n"));
    }

    #[test]
    fn one_difference_is_enough_to_say_so() {
        let style = Style::new(100, Charset::Unicode, Colors::Plain);
        assert!(text(&rows(Charset::Unicode), style).ends_with("1 of 4 cases not as expected\n"));
        assert!(text(&rows(Charset::Unicode)[..2], style).ends_with("2 cases: all as expected\n"));
    }

    #[test]
    fn tables_keep_to_the_width() {
        for width in [40, 60, 80, 120] {
            let text = text(&rows(Charset::Unicode), Style::new(width, Charset::Unicode, Colors::Plain));
            assert!(text.lines().all(|line| line.width() <= width), "{width}:\n{text}");
        }
    }
}
