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
use crate::audit::write::put_all;
use crate::cli::output::{Output, node_name, wall_clock};
use crate::judge::shutdown::Shutdown;
use crate::policy::file::Policy;
use crate::report::json::{Record, write_line};
use crate::report::style::Style;
use crate::report::text::write_block;

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
    /// As an audit writes it.
    Report(Format),
}

impl Form {
    const ALL: [(&'static str, Self); 6] = [
        ("text", Self::Text),
        ("json", Self::Records),
        ("junit", Self::Report(Format::Junit)),
        ("sarif", Self::Report(Format::Sarif)),
        ("markdown", Self::Report(Format::Markdown)),
        ("html", Self::Report(Format::Html)),
    ];
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, file) = text.split_once('=').map_or((text, None), |(name, file)| (name, Some(PathBuf::from(file))));
        let known = Form::ALL.into_iter().find(|(known, _)| *known == name);
        let names = || Form::ALL.map(|(name, _)| name).join(", ");
        let (_, form) = known.ok_or_else(|| format!("there is no format `{name}`: use {}", names()))?;
        Ok(Self { form, file })
    }
}

impl Target {
    /// What goes to standard output as text or records is shown as it comes.
    pub(super) fn show(&self, shutdown: &Shutdown) -> anyhow::Result<()> {
        let mut output = match (&self.file, self.form) {
            (None, Form::Text) => Output::text(),
            (None, Form::Records) => Output::json(node_name()),
            (None, Form::Report(_)) | (Some(_), _) => return Ok(()),
        };
        output.write(shutdown, wall_clock()).context("cannot write the verdict")
    }
}

/// What is written when all runs are over.
#[derive(Default)]
pub(super) struct Files {
    text: String,
    lines: Vec<u8>,
    records: Vec<Record>,
}

impl Files {
    pub(super) fn add(&mut self, shutdown: &Shutdown, name: String) -> anyhow::Result<()> {
        let mut record = Record::new(shutdown, &node_name(), wall_clock());
        write_line(&mut self.lines, &record)?;
        write_block(&mut self.text, shutdown, wall_clock(), &file_style())?;
        self.text.push('\n');
        record.container.name.get_or_insert(name);
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
