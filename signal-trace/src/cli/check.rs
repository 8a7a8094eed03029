//! `signal-trace check -- CMD`: stops a command as a runtime would, and says whether it shut down well.
//!
//! Where it cannot trace or judge it fails and says why: it never passes what it has not seen.

mod load;
mod ready;

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use self::load::Load;
use self::ready::Ready;
use super::audit::read_policy;
use super::output::{Output, node_name, wall_clock};
use super::stopping::{Plan, stop_and_judge};
use super::{duration, runtime};
use crate::audit::assess;
use crate::audit::render::{Format, file_style, render};
use crate::audit::report::{Period, Report};
use crate::audit::source::Window;
use crate::audit::source::records::{Records, only_helpers_killed};
use crate::audit::tally::Tallies;
use crate::audit::write::put_all;
use crate::containers::path::Forms;
use crate::daemon::Daemon;
use crate::event::Signal;
use crate::judge::shutdown::{GraceSource, Shutdown};
use crate::kernel::Settings;
use crate::policy::file::Policy;
use crate::policy::{Compliance, Killed};
use crate::report::json::{Record, write_line};
use crate::report::style::Style;
use crate::report::text::write_block;
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

    /// When the command counts as started: sleep:500ms, tcp:8080, http:8080/healthz, or log:REGEX for a line of its output
    #[arg(long, value_name = "CONDITION", default_value = "sleep:500ms")]
    ready: Ready,

    /// How long to wait for that
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    ready_within: Duration,

    /// A shell command that keeps it busy while it is stopped; killed afterwards
    #[arg(long, value_name = "COMMAND")]
    load: Option<String>,

    /// Start and stop it this many times; the worst verdict decides
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    repeat: u32,

    /// Rules to judge by, in YAML, as for an audit
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,

    /// Fail on warnings too: children killed, or ended by the signal's default action
    #[arg(long)]
    strict: bool,

    /// One JSON object instead of text
    #[arg(long, conflicts_with = "output")]
    json: bool,

    /// How, and into which file: text, json (a record a line), junit, sarif, markdown or html. Repeatable
    #[arg(long, value_name = "FORMAT[=FILE]", default_value = "text")]
    output: Vec<Target>,

    /// Keep the command's output to yourself; its last lines are shown if it cannot be judged
    #[arg(long)]
    quiet: bool,

    /// The command and its arguments
    #[arg(required = true, last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// One thing that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    form: Form,
    file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
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
        let targets = self.targets();
        if targets.iter().filter(|target| target.file.is_none()).count() > 1 {
            eprintln!("signal-trace: two formats on standard output: give all but one a file, as in junit=check.xml");
            return Ok(ExitCode::from(2));
        }
        let policy = read_policy(self.policy.as_deref())?;
        runtime()?.block_on(self.judge_all(&policy, &targets))
    }

    fn targets(&self) -> Vec<Target> {
        if self.json { vec![Target { form: Form::Records, file: None }] } else { self.output.clone() }
    }

    async fn judge_all(self, policy: &Policy, targets: &[Target]) -> anyhow::Result<ExitCode> {
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
        let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
        let mut daemon = Daemon::start(&Settings::default(), Forms::default())?;
        let mut files = Files::default();
        let mut worst = Compliance::Pass;
        for run in 1..=self.repeat {
            let shutdown = tokio::select! {
                shutdown = self.judge_once(&mut daemon) => shutdown,
                _ = interrupt.recv() => Err(anyhow::anyhow!("interrupted before the verdict")),
                _ = terminate.recv() => Err(anyhow::anyhow!("terminated before the verdict")),
            };
            let shutdown = shutdown.with_context(|| format!("run {run} of {}", self.repeat))?;
            worst = worse(worst, self.worth(&shutdown, policy));
            // What goes to standard output as text or records is shown as it comes.
            for target in targets.iter().filter(|target| target.file.is_none()) {
                let mut output = match target.form {
                    Form::Text => Output::text(),
                    Form::Records => Output::json(node_name()),
                    Form::Report(_) => continue,
                };
                output.write(&shutdown, wall_clock()).context("cannot write the verdict")?;
            }
            files.add(&shutdown, self.name())?;
        }
        files.write(targets, policy)?;
        Ok(self.code(worst))
    }

    async fn judge_once(&self, daemon: &mut Daemon) -> anyhow::Result<Shutdown> {
        let sandbox = Sandbox::create(daemon.hierarchy().mount(), "check")?;
        let plan = Plan { signal: self.signal, grace: self.grace, source: GraceSource::Flag };
        daemon.adopt(sandbox.cgroup().clone(), plan.spec());
        let mut running = sandbox.start(self.command())?;
        let captured = self.capture(&mut running)?;
        let stopped = self.stop(daemon, &mut running, &captured, plan).await;
        stopped.inspect_err(|_| show_end(&captured))
    }

    /// What it is called in a report.
    fn name(&self) -> String {
        let program = self.command.first().map(|program| program.to_string_lossy().into_owned()).unwrap_or_default();
        program.rsplit('/').next().unwrap_or_default().to_owned()
    }

    fn worth(&self, shutdown: &Shutdown, policy: &Policy) -> Compliance {
        let record = Record::new(shutdown, "", wall_clock());
        let killed = if only_helpers_killed(&record, policy) { Killed::Helpers } else { Killed::Others };
        policy.worth("", shutdown.verdict, killed)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]).stdin(Stdio::null());
        if self.quiet || self.ready.reads_output() {
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
        } else if self.targets().iter().any(|target| target.file.is_none() && target.form != Form::Text) {
            // Standard output is the report's.
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

    async fn stop(
        &self,
        daemon: &mut Daemon,
        running: &mut Running,
        captured: &[Capture],
        plan: Plan,
    ) -> anyhow::Result<Shutdown> {
        let command = || format!("`{}`", self.command[0].to_string_lossy().escape_debug());
        self.ready.wait(daemon, running, captured, self.ready_within).await.with_context(command)?;
        let _load = self.load.as_deref().map(Load::start).transpose()?;
        stop_and_judge(daemon, running, plan).await
    }

    fn code(&self, worst: Compliance) -> ExitCode {
        match worst {
            Compliance::Pass => ExitCode::SUCCESS,
            Compliance::Warn if !self.strict => ExitCode::SUCCESS,
            Compliance::Warn | Compliance::Fail => ExitCode::from(FAILS),
            Compliance::NotCounted => ExitCode::from(NOT_JUDGED),
        }
    }
}

/// A failure outweighs all; what was not judged outweighs what passed.
fn worse(a: Compliance, b: Compliance) -> Compliance {
    let rank = |compliance| match compliance {
        Compliance::Pass => 0,
        Compliance::Warn => 1,
        Compliance::NotCounted => 2,
        Compliance::Fail => 3,
    };
    if rank(b) > rank(a) { b } else { a }
}

/// What is written when all runs are over.
#[derive(Default)]
struct Files {
    text: String,
    lines: Vec<u8>,
    records: Vec<Record>,
}

impl Files {
    fn add(&mut self, shutdown: &Shutdown, name: String) -> anyhow::Result<()> {
        let mut record = Record::new(shutdown, &node_name(), wall_clock());
        write_line(&mut self.lines, &record)?;
        write_block(&mut self.text, shutdown, wall_clock(), &file_style())?;
        self.text.push('\n');
        record.container.name.get_or_insert(name);
        self.records.push(record);
        Ok(())
    }

    fn write(&self, targets: &[Target], policy: &Policy) -> anyhow::Result<()> {
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
