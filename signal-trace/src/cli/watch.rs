//! `signal-trace watch`: every shutdown of a container on this machine, as it happens.
//!
//! Verdicts go to standard output and nothing else does: what is attached, what was lost and the closing counts go to
//! standard error, so that a pipe reads only records.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

use super::filter::Filter;
use super::names::{Known, Names};
use super::output::{Output, node_name, wall_clock};
use super::{duration, ready_line, runtime};
use crate::confine::Extent;
use crate::containers::path::{Forms, Services};
use crate::daemon::{Daemon, News};
use crate::instance::{Instance, Role};
use crate::kernel::{LogLevel, Settings, boot_time};
use crate::recording::{Header, Recorder};
use crate::report::style::Style;
use crate::report::summary::Summary;

/// Follow every container on this machine and say how each one shut down.
#[derive(Debug, Args)]
pub struct Watch {
    /// One JSON object a line instead of text
    #[arg(long)]
    json: bool,

    /// Only what matches: KEY=PATTERN with the keys id, name, namespace, pod, workload, image, runtime, cgroup, outcome,
    /// cause, and * for any text; a bare PATTERN may match any name. Repeat to narrow down
    #[arg(long, value_name = "FILTER")]
    filter: Vec<Filter>,

    /// Stop after this many shutdowns
    #[arg(long, value_name = "N")]
    once: Option<u64>,

    /// Stop after this long, for example 30s or 5m
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    period: Option<Duration>,

    /// Follow systemd's services too
    #[arg(long)]
    services: bool,

    /// Let the kernel programs log what they refuse: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", value_parser = kernel_log)]
    kernel_log: Option<LogLevel>,

    /// A cgroup whose children are containers, for a runtime that names them freely: /shop for `ctr -n shop`
    #[arg(long, value_name = "CGROUP")]
    root: Vec<String>,

    /// Where a runtime keeps its state, if not in a usual place: the folder with io.containerd.runtime.v2.task or
    /// overlay-containers in it
    #[arg(long, value_name = "FOLDER")]
    runtime_state: Vec<PathBuf>,

    /// Save what the verdicts are made of, of all containers, for `signal-trace replay`: names of processes and
    /// containers, no arguments, no environment
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,

    /// Whether privileges are given up once the programs are attached: capabilities, files and system calls; false to look
    /// for a fault
    #[arg(
        long,
        env = "SIGNAL_TRACE_CONFINE",
        value_name = "BOOL",
        num_args = 0..=1,
        default_value_t = true,
        default_missing_value = "true",
        action = clap::ArgAction::Set
    )]
    confine: bool,
}

impl Watch {
    /// Follows until stopped.
    ///
    /// # Errors
    ///
    /// Tracing cannot start, or the output cannot be written.
    pub fn run(self) -> anyhow::Result<()> {
        runtime()?.block_on(self.follow())
    }

    async fn follow(self) -> anyhow::Result<()> {
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
        let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
        let _instance = Instance::acquire(Role::Watch)?;
        let services = if self.services { Services::Follow } else { Services::Skip };
        let forms = Forms { services, roots: self.root.clone() };
        let settings = Settings { log_level: self.kernel_log, ..Settings::default() };
        let recorder = self.record.as_deref().map(start_recording).transpose()?;
        let mut daemon = Daemon::start_recording(&settings, forms, recorder)?;
        let mut output = if self.json { Output::json(node_name()) } else { Output::text() };
        let names = Names::new(&self.runtime_state);
        if self.confine {
            let confined = daemon.confine(Extent::All, names.folders())?;
            info!("privileges were given up; left are {confined}");
        }
        eprintln!("{}", ready_line(&daemon));

        let mut summary = Summary::default();
        let mut left = self.once;
        let period = self.period.unwrap_or(Duration::MAX);
        let over = tokio::time::sleep(period);
        tokio::pin!(over);
        while left != Some(0) {
            let news = tokio::select! {
                news = daemon.next() => news.context("cannot read the kernel's records")?,
                _ = interrupt.recv() => break,
                _ = terminate.recv() => break,
                () = &mut over => break,
            };
            let shutdown = match news {
                News::Found(cgroup) => {
                    match names.of(&cgroup) {
                        Known::Nothing => {}
                        Known::Spec(spec) => daemon.configure(cgroup.id, spec),
                        Known::Sandbox => daemon.disown(cgroup.id),
                    }
                    continue;
                }
                News::Gone(_) => continue,
                News::Shutdown(shutdown) => shutdown,
            };
            if !self.filter.iter().all(|f| f.matches(&shutdown)) {
                continue;
            }
            summary.count(&shutdown);
            left = left.map(|n| n - 1);
            match output.write(&shutdown, wall_clock()) {
                // Whoever reads has seen enough.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                other => other.context("cannot write a verdict")?,
            }
        }
        close(&daemon, summary)?;
        match (&self.record, daemon.recording_failure()) {
            (Some(file), Some(error)) => bail!("the recording in {} is not whole: {error}", file.display()),
            (_, None) | (None, _) => Ok(()),
        }
    }
}

pub(super) fn kernel_log(text: &str) -> Result<LogLevel, String> {
    match text {
        "error" => Ok(LogLevel::Error),
        "warn" => Ok(LogLevel::Warn),
        "info" => Ok(LogLevel::Info),
        "debug" => Ok(LogLevel::Debug),
        "trace" => Ok(LogLevel::Trace),
        _ => Err(format!("`{text}` is no level: use error, warn, info, debug or trace")),
    }
}

fn start_recording(file: &Path) -> anyhow::Result<Recorder> {
    let header = Header::new(node_name(), boot_time(), jiff::Timestamp::now());
    let create = || Recorder::start(BufWriter::new(File::create(file)?), &header);
    create()
        .with_context(|| format!("cannot record to {}: name a file in a folder that can be written to", file.display()))
}

fn close(daemon: &Daemon, mut summary: Summary) -> anyhow::Result<()> {
    let losses = daemon.losses();
    for (reason, count) in losses.by_reason() {
        summary.lose(reason, count);
    }
    let mut text = String::new();
    summary.write(&mut text, &Style::of(&io::stderr()))?;
    io::stderr().write_all(text.as_bytes()).context("cannot write the closing counts")
}
