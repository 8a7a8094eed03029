//! `signal-trace check -- CMD`: stops a command as a runtime would, and says whether it shut down well.

use std::ffi::OsString;
use std::io;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::output::{Output, node_name, wall_clock};
use super::stopping::{Plan, stop_and_judge};
use super::{duration, runtime};
use crate::containers::path::Forms;
use crate::daemon::Daemon;
use crate::event::Signal;
use crate::judge::shutdown::{GraceSource, Shutdown};
use crate::kernel::Settings;
use crate::policy::{Compliance, compliance};
use crate::sandbox::{Capture, Running, Sandbox};

/// The verdict fails the policy.
const FAILS: u8 = 3;
/// No verdict that counts.
const NOT_JUDGED: u8 = 1;

/// Run a command as PID 1 of a container of its own, stop it, and judge how it shut down.
#[derive(Debug, Args)]
pub struct Check {
    /// Time between the stop signal and SIGKILL
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    grace: Duration,

    /// The stop signal, by name or number
    #[arg(long, value_name = "SIGNAL", default_value = "TERM", value_parser = stop_signal)]
    signal: Signal,

    /// When the command counts as started
    #[arg(long, value_name = "sleep:TIME", default_value = "sleep:500ms")]
    ready: Ready,

    /// Fail on warnings too: children killed, or ended by the signal's default action
    #[arg(long)]
    strict: bool,

    /// One JSON object instead of text
    #[arg(long)]
    json: bool,

    /// Keep the command's output to yourself; its last lines are shown if it cannot be judged
    #[arg(long)]
    quiet: bool,

    /// The command and its arguments
    #[arg(required = true, last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// When a command counts as started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ready {
    /// After this time.
    Sleep(Duration),
}

impl std::str::FromStr for Ready {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("sleep", time)) => duration(time).map(Self::Sleep),
            _ => Err(format!("`{text}` is no condition: use sleep:TIME, for example sleep:500ms")),
        }
    }
}

fn stop_signal(text: &str) -> Result<Signal, String> {
    Signal::parse(text).ok_or_else(|| {
        format!("there is no signal `{text}`: use a name such as TERM, QUIT or RTMIN+3, or a number from 1 to 64")
    })
}

impl Check {
    /// Runs, stops and judges.
    ///
    /// # Errors
    ///
    /// The command could not be judged.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        runtime()?.block_on(self.judge())
    }

    async fn judge(self) -> anyhow::Result<ExitCode> {
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
        let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
        let mut daemon = Daemon::start(&Settings::default(), Forms::default())?;
        let sandbox = Sandbox::create(daemon.hierarchy().mount(), "check")?;
        let plan = Plan { signal: self.signal, grace: self.grace, source: GraceSource::Flag };
        daemon.adopt(sandbox.cgroup().clone(), plan.spec());

        let mut running = sandbox.start(self.command())?;
        let captured = self.capture(&mut running)?;
        let shutdown = tokio::select! {
            shutdown = self.stop(&mut daemon, &mut running, plan) => shutdown,
            _ = interrupt.recv() => Err(anyhow::anyhow!("interrupted before the verdict")),
            _ = terminate.recv() => Err(anyhow::anyhow!("terminated before the verdict")),
        };
        let shutdown = shutdown.inspect_err(|_| show_end(&captured))?;
        let mut output = if self.json { Output::json(node_name()) } else { Output::text() };
        output.write(&shutdown, wall_clock()).context("cannot write the verdict")?;
        Ok(self.code(&shutdown))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]).stdin(Stdio::null());
        if self.quiet {
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
        } else if self.json {
            // Standard output is the record's.
            command.stdout(io::stderr());
        }
        command
    }

    fn capture(&self, running: &mut Running) -> anyhow::Result<Vec<Capture>> {
        let mut captured = Vec::new();
        if let Some(stream) = running.init_mut().take_stdout() {
            captured.push(Capture::start(stream)?);
        }
        if let Some(stream) = running.init_mut().take_stderr() {
            captured.push(Capture::start(stream)?);
        }
        Ok(captured)
    }

    async fn stop(&self, daemon: &mut Daemon, running: &mut Running, plan: Plan) -> anyhow::Result<Shutdown> {
        let Ready::Sleep(settle) = self.ready;
        daemon.follow_for(settle).await?;
        if let Some(status) = running.init_mut().wait_within(Duration::ZERO)? {
            bail!(
                "`{}` ended before it was stopped ({}): give it something to do, or a shorter --ready sleep:TIME",
                self.command[0].to_string_lossy().escape_debug(),
                super::status_text(status)
            );
        }
        stop_and_judge(daemon, running, plan).await
    }

    fn code(&self, shutdown: &Shutdown) -> ExitCode {
        match compliance(shutdown) {
            Compliance::Pass => ExitCode::SUCCESS,
            Compliance::Warn if !self.strict => ExitCode::SUCCESS,
            Compliance::Warn | Compliance::Fail => ExitCode::from(FAILS),
            Compliance::NotCounted => ExitCode::from(NOT_JUDGED),
        }
    }
}

/// The last lines of what was kept back.
fn show_end(captured: &[Capture]) {
    const LINES: usize = 20;
    for capture in captured {
        let text = capture.text();
        let lines: Vec<_> = text.lines().collect();
        for line in &lines[lines.len().saturating_sub(LINES)..] {
            eprintln!("  | {}", line.escape_debug());
        }
    }
}
