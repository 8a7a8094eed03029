//! `fleet`: one audit of a large fleet, timed, against a real Prometheus that was given the fleet's month.
//!
//! What it counts is known, because the samples are made here: a fast answer that is wrong is a failure as well. They lie
//! far apart; a server that scraped as often as it usually does answers the same questions from more of them.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::Value;

use crate::prometheus::Prometheus;
use crate::setup::Voice;
use crate::{build, child, machine, packages, setup, table};

/// 2026-11-01T00:00:00Z
const END: u64 = 1_793_491_200;
const DAY: u64 = 24 * 3600;
/// Between two samples of a series.
const EVERY: u64 = DAY / 2;
/// Longer than that: a series is there between its samples.
const LOOKBACK: &str = "13h";
/// The upper bounds of the agent's histogram, but for the last.
const BUCKETS: [&str; 17] = [
    "0.1", "0.25", "0.5", "1.0", "2.5", "5.0", "10.0", "11.0", "15.0", "20.0", "25.0", "30.0", "31.0", "60.0", "61.0",
    "120.0", "300.0",
];
/// Whose durations are in which: those of workloads that end well, and of those that wait out 30 seconds.
const WELL: usize = 4;
const BADLY: usize = 12;
/// Between two shutdowns of a workload, in samples.
const PACE: u64 = 3;
const LOOK: Duration = Duration::from_millis(20);

/// What an audit may take.
const SECONDS: f64 = 60.0;
const RESIDENT_MIB: f64 = 300.0;

/// The size of the fleet.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Workloads, of one container each.
    #[arg(long, default_value_t = Self::default().workloads, value_parser = clap::value_parser!(u64).range(1..))]
    workloads: u64,
    /// Nodes with an agent, among which the workloads are spread evenly.
    #[arg(long, default_value_t = Self::default().nodes, value_parser = clap::value_parser!(u64).range(1..))]
    nodes: u64,
    /// Length of the period.
    #[arg(long, default_value_t = Self::default().days, value_parser = clap::value_parser!(u64).range(1..))]
    days: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { workloads: 10_000, nodes: 1_000, days: 30 }
    }
}

/// Makes the fleet, audits it, and fails where a limit is missed or a shutdown miscounted.
pub(crate) fn run(options: &Options) -> Result<()> {
    packages::provide(&packages::METRICS)?;
    let toolchain = setup::run(Voice::OnlyWork)?;
    let product = build::product(&toolchain)?;
    let directory = machine::workspace().join("target/fleet");
    drop(fs::remove_dir_all(&directory));
    fs::create_dir_all(&directory)?;
    let series = samples(options, &directory)?;
    let lookback = format!("--query.lookback-delta={LOOKBACK}");
    let server = Prometheus::start(&directory, "", &[&lookback])?;
    let audited = audit(&product, &server.url, options)?;
    drop(server);
    fs::remove_dir_all(&directory)?;
    let told = audited.report["workloads"].as_array().map_or(&[][..], Vec::as_slice);
    let shutdowns: u64 = told.iter().filter_map(|workload| workload["shutdowns"]["all"].as_u64()).sum();
    let (seconds, mib) = (audited.took.as_secs_f64(), audited.resident_mib);
    let right = shutdowns == options.shutdowns() && told.len() as u64 == options.workloads;
    let line = |what: &str, measured: String, limit: String, good: bool| {
        [what.to_owned(), measured, limit, if good { "ok" } else { "missed" }.to_owned()]
    };
    let rows = [
        line("series on the server", series.to_string(), String::new(), true),
        line(
            "workloads",
            told.len().to_string(),
            options.workloads.to_string(),
            told.len() as u64 == options.workloads,
        ),
        line("shutdowns", shutdowns.to_string(), options.shutdowns().to_string(), right),
        line("questions asked", audited.queries.to_string(), String::new(), true),
        line("seconds", format!("{seconds:.1}"), format!("at most {SECONDS}"), seconds <= SECONDS),
        line("resident at its peak, MiB", format!("{mib:.0}"), format!("at most {RESIDENT_MIB}"), mib <= RESIDENT_MIB),
    ];
    print!("\n{}", table::render(["audit of a fleet", "measured", "wanted", "result"], &rows));
    ensure!(rows.iter().all(|row| row[3] == "ok"), "a limit was missed");
    Ok(())
}

impl Options {
    fn begin(&self) -> u64 {
        END - self.days * DAY
    }

    /// Of one workload in the period.
    fn shutdowns_of_one(&self) -> u64 {
        (END - self.begin()) / EVERY / PACE
    }

    fn shutdowns(&self) -> u64 {
        self.workloads * self.shutdowns_of_one()
    }
}

/// Writes the fleet's series, family by family, and makes blocks of them; how many series there are.
fn samples(options: &Options, directory: &Path) -> Result<u64> {
    let path = directory.join("samples");
    let mut out = Samples { file: BufWriter::new(File::create(&path)?), options, series: 0 };
    out.family("signal_trace_build_info", "gauge")?;
    for node in 0..options.nodes {
        out.series("signal_trace_build_info", &format!("{},version=\"0.1.0\"", agent(node)), |_| 1.0)?;
    }
    out.family("kube_node_info", "gauge")?;
    for node in 0..options.nodes {
        out.series("kube_node_info", &format!("node=\"node-{node}\""), |_| 1.0)?;
    }
    out.family("signal_trace_shutdowns", "counter")?;
    for n in 0..options.workloads {
        let bad = is_bad(n);
        for (outcome, cause, happens) in [("graceful", "none", !bad), ("grace_exceeded", "not_forwarded", bad)] {
            let labels = format!("{},outcome=\"{outcome}\",cause=\"{cause}\"", options.workload(n));
            out.series("signal_trace_shutdowns_total", &labels, |count| if happens { count } else { 0.0 })?;
        }
    }
    out.family("signal_trace_shutdown_duration_seconds", "histogram")?;
    for n in 0..options.workloads {
        let first = if is_bad(n) { BADLY } else { WELL };
        for (index, bound) in BUCKETS.iter().chain(&["+Inf"]).enumerate() {
            let labels = format!("{},le=\"{bound}\"", options.workload(n));
            let name = "signal_trace_shutdown_duration_seconds_bucket";
            out.series(name, &labels, |count| if index >= first { count } else { 0.0 })?;
        }
    }
    out.family("signal_trace_avoidable_wait_seconds", "counter")?;
    for n in 0..options.workloads {
        let each = if is_bad(n) { 30.0 } else { 0.0 };
        out.series("signal_trace_avoidable_wait_seconds_total", &options.workload(n), |count| each * count)?;
    }
    out.family("signal_trace_shutdown_grace_seconds", "gauge")?;
    for n in 0..options.workloads {
        out.series("signal_trace_shutdown_grace_seconds", &options.workload(n), |_| 30.0)?;
    }
    let series = out.series;
    writeln!(out.file, "# EOF")?;
    out.file.into_inner()?.sync_all()?;
    let mut promtool = Command::new("promtool");
    promtool.current_dir(directory).args(["tsdb", "create-blocks-from", "openmetrics", "--max-block-duration=1440h"]);
    child::read(promtool.args(["--quiet", "samples", "data"]))?;
    fs::remove_file(path)?;
    Ok(series)
}

/// One in ten waits out its grace.
fn is_bad(workload: u64) -> bool {
    workload.is_multiple_of(10)
}

fn agent(node: u64) -> String {
    format!(
        "job=\"signal-trace\",instance=\"10.{}.{}.{}:9469\",node=\"node-{node}\"",
        node >> 16,
        (node >> 8) & 255,
        node & 255
    )
}

impl Options {
    /// The labels of its series.
    fn workload(&self, n: u64) -> String {
        let (agent, team) = (agent(n % self.nodes), n % 100);
        format!(
            "{agent},namespace=\"team-{team}\",workload=\"service-{n}\",workload_type=\"deployment\",container=\"app\""
        )
    }
}

/// The text that `promtool` reads.
struct Samples<'a> {
    file: BufWriter<File>,
    options: &'a Options,
    series: u64,
}

impl Samples<'_> {
    fn family(&mut self, name: &str, kind: &str) -> Result<()> {
        Ok(writeln!(self.file, "# TYPE {name} {kind}")?)
    }

    /// From a day before the period to its end; `value` is given how many shutdowns there were by then.
    fn series(&mut self, name: &str, labels: &str, value: impl Fn(f64) -> f64) -> Result<()> {
        self.series += 1;
        let begin = self.options.begin();
        for time in (begin - DAY..=END).step_by(usize::try_from(EVERY)?) {
            let count = time.saturating_sub(begin) / EVERY / PACE;
            writeln!(self.file, "{name}{{{labels}}} {} {time}", value(count as f64))?;
        }
        Ok(())
    }
}

/// What an audit said, and took.
struct Audited {
    report: Value,
    queries: usize,
    took: Duration,
    resident_mib: f64,
}

fn audit(product: &Path, url: &str, options: &Options) -> Result<Audited> {
    let time = |seconds: u64| anyhow::Ok(jiff::Timestamp::from_second(seconds.try_into()?)?.to_string());
    let (from, to) = (time(options.begin())?, time(END)?);
    let period = ["--prometheus", url, "--from", &from, "--to", &to];
    let explained = child::read(Command::new(product).arg("audit").args(period).arg("--explain"))?;
    let report: PathBuf = machine::workspace().join("target/fleet/report.json");
    let started = Instant::now();
    let mut audit = Command::new(product)
        .arg("audit")
        .args(period)
        .arg("--output")
        .arg(format!("json={}", report.display()))
        .stdin(Stdio::null())
        .spawn()?;
    let mut resident_mib: f64 = 0.0;
    let status = loop {
        let said = fs::read_to_string(format!("/proc/{}/status", audit.id())).unwrap_or_default();
        let peak = said.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
        resident_mib = resident_mib.max(peak.unwrap_or(0.0) / 1024.0);
        match audit.try_wait()? {
            Some(status) => break status,
            None => std::thread::sleep(LOOK),
        }
    };
    let took = started.elapsed();
    let text = fs::read_to_string(&report).with_context(|| format!("the audit ended with {status} and no report"))?;
    let queries = explained.lines().filter(|line| line.starts_with("# ")).count();
    Ok(Audited { report: serde_json::from_str(&text)?, queries, took, resident_mib })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_has_a_shutdown_every_day_and_a_half() {
        let options = Options { workloads: 7, nodes: 2, days: 30 };
        assert_eq!((options.shutdowns_of_one(), options.shutdowns()), (20, 140));
        assert!(options.workload(3).contains("node=\"node-1\""));
    }

    #[test]
    fn addresses_differ() {
        assert_ne!(agent(1), agent(257));
    }
}
