//! `signal-trace audit`: which workloads of a fleet shut down gracefully, as a report that a pipeline can fail on.
//!
//! Standard output is the report's alone; what is worth knowing on the way goes to standard error.

mod prometheus;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{ArgGroup, Args};
use jiff::Timestamp;

use crate::audit::assess;
use crate::audit::baseline;
use crate::audit::render::visible_json;
use crate::audit::report::{Finding, Level, Period, Report, schema_text};
use crate::audit::source::records::Records;
use crate::audit::source::{Window, compressed};
use crate::audit::tally::{Gap, Tallies};
use crate::audit::write::{Output, ensure_apart, write_all};
use crate::policy::file::Policy;
use crate::report::json::Time;
use crate::report::style::Style;

/// What is asked of Prometheus where nothing else was asked for.
const USUAL_PERIOD: jiff::SignedDuration = jiff::SignedDuration::from_hours(30 * 24);

const USAGE: u8 = 2;
const FINDINGS: u8 = 3;
const SCORE: u8 = 4;
const COVERAGE: u8 = 5;

/// Say which workloads shut down gracefully, which do not, who is at fault and what it costs.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("source").required(true).multiple(true), after_help = EXIT_CODES)]
pub struct Audit {
    /// Records that `watch --json` or the agent's log wrote, plain, gzip or zstd; - reads standard input. CLUSTER=FILE
    /// says whose they are. Repeatable
    #[arg(long, value_name = "[CLUSTER=]FILE", group = "source")]
    records: Vec<String>,

    #[command(flatten)]
    prometheus: prometheus::Servers,

    /// The time up to now, for example 30d or 12h; 30d where Prometheus is asked
    #[arg(long, value_name = "TIME", value_parser = span, conflicts_with = "from")]
    since: Option<jiff::SignedDuration>,

    /// The begin of the period, for example 2026-10-01 or 2026-10-01T08:00Z
    #[arg(long, value_name = "TIME", value_parser = instant)]
    from: Option<Timestamp>,

    /// The end of the period; now, if it is not given
    #[arg(long, value_name = "TIME", value_parser = instant)]
    to: Option<Timestamp>,

    /// Nodes that there are, where the source does not tell: Prometheus does by `kube_node_info` of kube-state-metrics
    #[arg(long, value_name = "N")]
    nodes: Option<u64>,

    /// Rules to judge by, in YAML: docs/policy.md has every key and its default
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,

    /// An earlier audit in JSON: findings that it does not have are new
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,

    /// Fail by new findings alone
    #[arg(long, requires = "baseline")]
    only_new: bool,

    /// Fail by warnings too
    #[arg(long)]
    strict: bool,

    /// Fail below this score, from 0 to 100
    #[arg(long, value_name = "SCORE", value_parser = score)]
    min_score: Option<f64>,

    /// Give no score, and fail, below this share of watched node-hours, from 0 to 1; 0.8 if not given, where the nodes
    /// are known
    #[arg(long, value_name = "SHARE", value_parser = share)]
    min_coverage: Option<f64>,

    /// Shutdowns below which a workload has insufficient data
    #[arg(long, value_name = "N")]
    min_shutdowns: Option<u64>,

    /// How, and into which file: table, json, csv, markdown, html, junit, sarif, openreports or policyreport. Repeatable
    #[arg(long, value_name = "FORMAT[=FILE]", default_value = "table")]
    output: Vec<Output>,

    /// Push the finished report as JSON to this address; env:VARIABLE or file:PATH, where the address is a secret
    #[arg(long, value_name = "URL")]
    webhook: Option<String>,

    /// A header of that push, as in "Authorization: env:TOKEN"; its value may be env:VARIABLE or file:PATH. Repeatable
    #[arg(long, value_name = "NAME: VALUE", requires = "webhook")]
    webhook_header: Vec<String>,

    /// Print the queries that would be asked, and how many they are, instead of asking them
    #[arg(long, requires = "prometheus")]
    explain: bool,

    /// Print the JSON schema of a report instead
    #[arg(long, group = "source", exclusive = true)]
    schema: bool,
}

const EXIT_CODES: &str = "Exit codes: 0 nothing fails, 1 a source or a file could not be read or written, 2 wrong usage, \
                          3 findings, 4 the score is too low, 5 too little was watched";

impl Audit {
    /// Reads, judges and writes.
    ///
    /// # Errors
    ///
    /// A source gave nothing, a policy cannot be used, or the report could not be written.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        if self.schema {
            print!("{}", schema_text());
            return Ok(ExitCode::SUCCESS);
        }
        let now = Timestamp::now();
        let window = match self.check_outputs().and_then(|()| self.window(now)) {
            Ok(window) => window,
            Err(wrong) => {
                eprintln!("signal-trace: {wrong}");
                return Ok(ExitCode::from(USAGE));
            }
        };
        // What is wrong with it is said before the work, not after it.
        let webhook =
            self.webhook.as_deref().map(|url| self.prometheus.webhook(url, &self.webhook_header)).transpose()?;
        let policy = self.policy()?;
        let baseline = self.baseline.as_deref().map(read_baseline).transpose()?;
        let mut tallies = Tallies::default();
        if !self.prometheus.is_empty() {
            let endpoints = self.prometheus.endpoints()?;
            let question = self.prometheus.question(window, self.nodes)?;
            if self.explain {
                print!("{}", question.explain(&endpoints));
                return Ok(ExitCode::SUCCESS);
            }
            prometheus::ask(&question, &endpoints, &mut tallies)?;
        }
        if !self.records.is_empty() {
            self.read_records(&policy, window, &mut tallies)?;
        }
        self.set_nodes(&mut tallies)?;
        tallies.gaps.sort();

        let period = Period { from: window.from.map(Time), to: window.to.map(Time) };
        let mut report = assess(&tallies, &policy, period, now);
        if let Some(baseline) = &baseline {
            baseline::compare(&mut report, baseline);
        }
        write_all(&report, &self.output, &Style::of(&io::stdout()))?;
        if let Some(webhook) = webhook {
            let Ok(document) = visible_json(&report) else { bail!("cannot write the report") };
            crate::cli::runtime()?.block_on(webhook.push(document)).map_err(anyhow::Error::msg)?;
        }
        Ok(self.code(&report))
    }

    /// Each report has a place of its own, and an input is read once.
    fn check_outputs(&self) -> Result<(), String> {
        if self.records.iter().filter(|argument| whose(argument).1 == "-").count() > 1 {
            return Err("standard input can be read once: give - once".to_owned());
        }
        ensure_apart(self.output.iter().map(|output| output.file.as_deref()), "json=audit.json")
    }

    fn policy(&self) -> anyhow::Result<Policy> {
        let mut policy = read_policy(self.policy.as_deref())?;
        policy.min_score = self.min_score.or(policy.min_score);
        policy.min_coverage = self.min_coverage.or(policy.min_coverage);
        policy.min_shutdowns = self.min_shutdowns.unwrap_or(policy.min_shutdowns);
        Ok(policy)
    }

    fn window(&self, now: Timestamp) -> Result<Window, String> {
        let to = self.to.unwrap_or(now);
        let from = match self.since {
            Some(span) => {
                Some(to.checked_sub(span).map_err(|_| "--since reaches back beyond the calendar".to_owned())?)
            }
            None if self.from.is_none() && !self.prometheus.is_empty() => to.checked_sub(USUAL_PERIOD).ok(),
            None => self.from,
        };
        if let Some(from) = from
            && from >= to
        {
            return Err(format!("the period ends at {to}, before it begins at {from}"));
        }
        // Without a begin all there is counts, and what a clock that is ahead wrote too.
        Ok(Window { from, to: from.map(|_| to).or(self.to) })
    }

    fn read_records(&self, policy: &Policy, window: Window, tallies: &mut Tallies) -> anyhow::Result<()> {
        let mut records = Records::new(policy, window);
        for argument in &self.records {
            let (cluster, file) = whose(argument);
            let stream: Box<dyn Read> = match file {
                "-" => Box::new(io::stdin()),
                file => Box::new(File::open(file).with_context(|| format!("cannot read {file}"))?),
            };
            let name = if file == "-" { "standard input" } else { file };
            let mut plain = compressed::plain(stream).with_context(|| format!("cannot read {name}"))?;
            records.read(cluster, name, &mut *plain, tallies);
        }
        let counts = records.counts();
        tracing::info!(?counts, "records read");
        if counts.records == 0 && counts.broken == 0 {
            let others = counts.other;
            if counts.outside > 0 {
                eprintln!("signal-trace: all records are of another time ({others} other lines)");
            } else {
                // An empty log is no proof of anything, and most often the wrong file.
                let message = format!("no record in {} ({others} other lines)", self.records.join(", "));
                eprintln!("signal-trace: {message}");
                tallies.gaps.push(Gap { cluster: None, message });
            }
        }
        Ok(())
    }

    fn set_nodes(&self, tallies: &mut Tallies) -> anyhow::Result<()> {
        let Some(nodes) = self.nodes else { return Ok(()) };
        let mut clusters = tallies.watched.values_mut();
        match (clusters.next(), clusters.next()) {
            (Some(only), None) => only.nodes = Some(nodes),
            _ => bail!("--nodes is for one cluster: leave it out, or audit one at a time"),
        }
        Ok(())
    }

    fn code(&self, report: &Report) -> ExitCode {
        let fails = |finding: &&Finding| {
            let grave = finding.level == Level::Fail || (self.strict && finding.level == Level::Warn);
            grave && finding.waiver.is_none() && (!self.only_new || finding.is_new != Some(false))
        };
        let asked = report.rules.min_coverage;
        if !report.complete {
            ExitCode::FAILURE
        } else if asked.is_some_and(|min| min > 0.0) && report.coverage.enough != Some(true) {
            ExitCode::from(COVERAGE)
        } else if report.findings.iter().any(|finding| fails(&finding)) {
            ExitCode::from(FINDINGS)
        } else if report.rules.min_score.is_some_and(|min| report.score.is_none_or(|score| score < min)) {
            ExitCode::from(SCORE)
        } else {
            ExitCode::SUCCESS
        }
    }
}

/// The policy in a file, or the default one.
pub(super) fn read_policy(path: Option<&Path>) -> anyhow::Result<Policy> {
    let Some(path) = path else { return Ok(Policy::default()) };
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Policy::parse(&text).with_context(|| format!("{} is no policy", path.display()))
}

fn read_baseline(path: &Path) -> anyhow::Result<Report> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    baseline::parse(&text).with_context(|| format!("{} is no baseline", path.display()))
}

/// `eu=FILE`; a file whose own name has an equals sign is meant as it is.
fn whose(argument: &str) -> (&str, &str) {
    match argument.split_once('=') {
        Some((cluster, file)) if !cluster.contains('/') && !Path::new(argument).exists() => (cluster, file),
        _ => ("", argument),
    }
}

/// `30d`, `12h`: a day is 24 hours.
fn span(text: &str) -> Result<jiff::SignedDuration, String> {
    let wrong = || format!("`{text}` is no time span: use for example 30d, 2w or 12h");
    let span: jiff::Span = text.parse().map_err(|_| wrong())?;
    let length = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    if length.is_positive() { Ok(length) } else { Err(wrong()) }
}

/// An instant, or the begin of a day, UTC.
fn instant(text: &str) -> Result<Timestamp, String> {
    let as_day = || {
        let day: jiff::civil::Date = text.parse().ok()?;
        day.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
    };
    text.parse()
        .ok()
        .or_else(as_day)
        .ok_or_else(|| format!("`{text}` is no time: use for example 2026-10-01 or 2026-10-01T08:00Z"))
}

fn score(text: &str) -> Result<f64, String> {
    bounded(text, 100.0)
}

fn share(text: &str) -> Result<f64, String> {
    bounded(text, 1.0)
}

fn bounded(text: &str, high: f64) -> Result<f64, String> {
    let number: Option<f64> = text.parse().ok().filter(|number| (0.0..=high).contains(number));
    number.ok_or_else(|| format!("`{text}` is no number from 0 to {high}"))
}
