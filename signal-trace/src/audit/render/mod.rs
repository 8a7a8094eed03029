//! One report, many formats. Pure: a report goes in, bytes come out.
//!
//! Every name in a report was chosen by a stranger; each format escapes in its own way, and none lets a name become
//! markup, a formula, a terminal's command or another line.

mod csv;
mod html;
mod json;
mod junit;
mod markdown;
mod policy_report;
mod sarif;
mod table;
pub(crate) mod words;

pub(crate) use self::table::workloads as write_workloads;

use super::report::Report;
use crate::report::style::{Charset, Colors, Style};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// How a report can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For a terminal.
    Table,
    /// The published shape.
    Json,
    /// For a spreadsheet: a workload a line.
    Csv,
    /// For a comment on a change.
    Markdown,
    /// One page for a browser.
    Html,
    /// For the test view of a CI system.
    Junit,
    /// For the code scanning view.
    Sarif,
    /// Objects of `openreports.io/v1alpha1`.
    OpenReports,
    /// Objects of `wgpolicyk8s.io/v1alpha2`.
    PolicyReport,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Table,
        Self::Json,
        Self::Csv,
        Self::Markdown,
        Self::Html,
        Self::Junit,
        Self::Sarif,
        Self::OpenReports,
        Self::PolicyReport,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Markdown => "markdown",
            Self::Html => "html",
            Self::Junit => "junit",
            Self::Sarif => "sarif",
            Self::OpenReports => "openreports",
            Self::PolicyReport => "policyreport",
        }
    }
}

/// The report in that format; `style` is for people's eyes alone.
///
/// # Errors
///
/// What the format's own writer says.
pub fn render(report: &Report, format: Format, style: &Style) -> Result<Vec<u8>, Error> {
    match format {
        Format::Table => table::render(report, style),
        Format::Json => json::render(report),
        Format::Csv => csv::render(report),
        Format::Markdown => Ok(markdown::render(report)?.into_bytes()),
        Format::Html => html::render(report),
        Format::Junit => junit::render(report),
        Format::Sarif => sarif::render(report),
        Format::OpenReports => policy_report::render(report, policy_report::Flavour::OpenReports),
        Format::PolicyReport => policy_report::render(report, policy_report::Flavour::PolicyReport),
    }
}

/// For what goes to a file: nobody's terminal.
pub fn file_style() -> Style {
    Style::new(Style::WIDEST, Charset::Unicode, Colors::Plain)
}

/// JSON in which no character hides: what a terminal would obey is written as an escape.
pub(crate) fn visible_json(value: &impl serde::Serialize) -> Result<Vec<u8>, Error> {
    let text = serde_json::to_string_pretty(value)?;
    let mut out = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        // Beyond ASCII there are only strings; what is ASCII and hidden is escaped already, or lays the text out.
        if !c.is_ascii() && crate::report::escape::is_hidden(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            out.push(c);
        }
    }
    out.push('\n');
    Ok(out.into_bytes())
}

#[cfg(test)]
mod tests;
