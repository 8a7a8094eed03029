//! What `check` writes: each verdict as it comes, or a report of all of them when the runs are over.

use std::io;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context as _, bail};

use crate::audit::assess;
use crate::audit::render::{Format, file_style, render};
use crate::audit::report::{Period, Report};
use crate::audit::source::Window;
use crate::audit::source::records::Records;
use crate::audit::tally::Tallies;
use crate::audit::write::{format_and_file, put_all};
use crate::cli::output::{Output, node_name, wall_clock};
use crate::judge::shutdown::Shutdown;
use crate::policy::Compliance;
use crate::policy::file::Policy;
use crate::report::json::{Record, write_line};
use crate::report::style::{Charset, Style};
use crate::report::text::{verdict_name, write_block};

/// One thing that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) form: Form,
    pub(super) file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A block for each verdict.
    Text,
    /// A record a line.
    Records,
    /// A line for each verdict that does not pass, as GitHub's runners mark a change with.
    Annotations,
    /// As an audit writes it.
    Report(Format),
}

impl Form {
    const ALL: [(&'static str, Self); 7] = [
        ("text", Self::Text),
        ("json", Self::Records),
        ("github", Self::Annotations),
        ("junit", Self::Report(Format::Junit)),
        ("sarif", Self::Report(Format::Sarif)),
        ("markdown", Self::Report(Format::Markdown)),
        ("html", Self::Report(Format::Html)),
    ];
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (form, file) = format_and_file(text, &Form::ALL)?;
        Ok(Self { form, file })
    }
}

impl Target {
    /// What goes to standard output as text or records is shown as it comes.
    pub(super) fn show(&self, shutdown: &Shutdown) -> anyhow::Result<()> {
        let mut output = match (&self.file, self.form) {
            (None, Form::Text) => Output::text(),
            (None, Form::Records) => Output::json(node_name()),
            (None, Form::Annotations | Form::Report(_)) | (Some(_), _) => return Ok(()),
        };
        output.write(shutdown, wall_clock()).context("cannot write the verdict")
    }
}

/// What is written when all runs are over.
#[derive(Default)]
pub(super) struct Files {
    text: String,
    lines: Vec<u8>,
    annotations: String,
    records: Vec<Record>,
}

impl Files {
    pub(super) fn add(&mut self, shutdown: &Shutdown, name: String, worth: Compliance) -> anyhow::Result<()> {
        let mut record = Record::new(shutdown, &node_name(), wall_clock());
        write_line(&mut self.lines, &record)?;
        write_block(&mut self.text, shutdown, wall_clock(), &file_style())?;
        self.text.push('\n');
        let name = record.container.name.get_or_insert(name);
        let verdict = verdict_name(shutdown.verdict, Charset::Unicode);
        self.annotations.extend(annotation(worth, name, &verdict, &record.advice));
        self.records.push(record);
        Ok(())
    }

    pub(super) fn write(&self, targets: &[Target], policy: &Policy) -> anyhow::Result<()> {
        let report = self.report(policy);
        let mut parts = Vec::new();
        for Target { form, file } in targets {
            let text = match form {
                Form::Text | Form::Records if file.is_none() => continue,
                Form::Text => self.text.clone().into_bytes(),
                Form::Records => self.lines.clone(),
                Form::Annotations => self.annotations.clone().into_bytes(),
                Form::Report(format) => {
                    let style = if file.is_none() { Style::of(&io::stdout()) } else { file_style() };
                    let Ok(text) = render(&report, *format, &style) else { bail!("cannot write the report") };
                    text
                }
            };
            parts.push((file.clone(), text));
        }
        Ok(put_all(parts)?)
    }

    /// As an audit of these runs alone: each of them counts.
    fn report(&self, policy: &Policy) -> Report {
        let policy = Policy { min_shutdowns: 1, min_coverage: Some(0.0), ..policy.clone() };
        let mut tallies = Tallies::default();
        let mut reader = Records::new(&policy, Window::default());
        for record in &self.records {
            reader.take("", record, &mut tallies.containers);
        }
        assess(&tallies, &policy, Period { from: None, to: None }, jiff::Timestamp::now())
    }
}

/// A command of GitHub's runners, in which names and advice stay text.
fn annotation(worth: Compliance, name: &str, verdict: &str, advice: &str) -> Option<String> {
    let level = match worth {
        Compliance::Pass => return None,
        Compliance::Warn => "warning",
        Compliance::Fail | Compliance::NotCounted => "error",
    };
    let text = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let title = text(&format!("{name} does not shut down well")).replace(':', "%3A").replace(',', "%2C");
    Some(format!("::{level} title={title}::{}\n", text(&format!("{verdict}: {advice}"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_may_have_a_file() {
        let target = |text: &str| text.parse::<Target>();
        assert_eq!(target("json"), Ok(Target { form: Form::Records, file: None }));
        let junit = Target { form: Form::Report(Format::Junit), file: Some("a=b.xml".into()) };
        assert_eq!(target("junit=a=b.xml"), Ok(junit));
        assert!(target("junit=").unwrap_err().contains("names no file"));
        assert!(target("csv").unwrap_err().starts_with("there is no format `csv`"));
    }

    #[test]
    fn an_annotation_marks_what_does_not_pass_and_no_name_becomes_a_command() {
        let line = annotation(Compliance::Fail, "a,b::c\n::stop", "grace_exceeded", "100 % of it\r\n::error::x");
        let expected = "::error title=a%2Cb%3A%3Ac%0A%3A%3Astop does not shut down well::grace_exceeded: 100 %25 of it\
                        %0D%0A::error::x\n";
        assert_eq!(line.as_deref(), Some(expected));
        assert!(annotation(Compliance::Warn, "a", "v", "").is_some_and(|line| line.starts_with("::warning ")));
        assert_eq!(annotation(Compliance::Pass, "a", "v", ""), None);
    }
}
