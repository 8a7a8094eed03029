//! `signal-trace check`: stops a command, an image or a pod's containers as a runtime would, and says whether they shut
//! down well.
//!
//! Where it cannot trace or judge it fails and says why: it never passes what it has not seen.

mod hook;
mod image;
mod load;
mod manifest;
mod network;
mod outputs;
mod pod;
mod ready;
mod sandboxed;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{ArgGroup, Args};
use tokio::signal::unix::{SignalKind, signal};

use self::load::Load;
use self::outputs::{Files, Form, Target};
use self::ready::{Ready, Subject};
use super::audit::read_policy;
use super::output::wall_clock;
use super::{duration, runtime};
use crate::audit::source::records::only_helpers_killed;
use crate::audit::write::ensure_apart;
use crate::containers::path::Forms;
use crate::daemon::Daemon;
use crate::engine::Kind;
use crate::event::Signal;
use crate::judge::shutdown::Shutdown;
use crate::kernel::Settings;
use crate::policy::file::Policy;
use crate::policy::{Compliance, Killed};
use crate::report::json::Record;
use crate::sandbox::Capture;

/// The verdict fails the policy.
const FAILS: u8 = 3;
/// No verdict that counts.
const NOT_JUDGED: u8 = 1;
/// Of a stop that nobody gave another.
const USUAL_GRACE: Duration = Duration::from_secs(10);
/// A program is up by then; what takes longer says so by a condition.
const USUAL_START: Duration = Duration::from_millis(500);

const EXIT_CODES: &str = "Exit codes: 0 all verdicts pass (or warn, without --strict), 1 something could not be run, traced \
                          or judged, 2 wrong usage, 3 a verdict fails";

/// Run a command or an image in a container, stop it, and judge how it shut down.
///
/// A command runs as PID 1 of a container of its own, made without an engine. An image runs as podman, Docker or containerd
/// runs it, with its own entrypoint, user and environment, and is stopped by that engine with its own STOPSIGNAL.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("subject").required(true).multiple(true).args(["image", "in_kubernetes", "command"]), after_help = EXIT_CODES)]
#[command(group = ArgGroup::new("engined").args(["image", "in_kubernetes"]))]
pub struct Check {
    /// An image to run: a name, an archive that `docker save` or `podman save` wrote, or the folder of a root file system.
    /// What an archive brings is removed afterwards
    #[arg(long, value_name = "REF|ARCHIVE|FOLDER")]
    image: Option<String>,

    /// A manifest of a Pod, or of a Deployment, StatefulSet, DaemonSet, Job or CronJob: each of its containers is run by
    /// itself with its image, command, environment, readiness probe, preStop hook, stop signal and grace period. What of it
    /// an engine cannot do is said
    #[arg(long, value_name = "FILE", conflicts_with_all = ["image", "command"])]
    in_kubernetes: Option<PathBuf>,

    /// What runs images; the first of podman, docker and containerd that has it, or else that is there
    #[arg(long, value_name = "ENGINE", requires = "engined")]
    engine: Option<Kind>,

    /// Time between the stop signal and SIGKILL [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    grace: Option<Duration>,

    /// The stop signal, by name or number [default: the image's STOPSIGNAL, or TERM]
    #[arg(long, value_name = "SIGNAL", value_parser = stop_signal)]
    signal: Option<Signal>,

    /// When it counts as started: sleep:500ms, tcp:8080, http:8080/healthz, or log:REGEX for a line of its output. Ports
    /// are those of its own network [default: sleep:500ms]
    #[arg(long, value_name = "CONDITION")]
    ready: Option<Ready>,

    /// How long to wait for that
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    ready_within: Duration,

    /// A shell command that keeps it busy while it is stopped, run here but in its network; killed afterwards
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

    /// How, and into which file: text, json (a record a line), junit, sarif, markdown,
    /// html, or github (annotations of a change). Repeatable
    #[arg(long, value_name = "FORMAT[=FILE]", default_value = "text")]
    output: Vec<Target>,

    /// Keep its output to yourself; the last lines are shown if it cannot be judged
    #[arg(long)]
    quiet: bool,

    /// The command and its arguments; with --image, in place of the image's CMD
    #[arg(last = true, value_name = "CMD")]
    command: Vec<OsString>,
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
    /// Something could not be judged.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let targets = self.targets();
        if let Err(wrong) = ensure_apart(targets.iter().map(|target| target.file.as_deref()), "junit=check.xml") {
            eprintln!("signal-trace: {wrong}");
            return Ok(ExitCode::from(2));
        }
        let policy = read_policy(self.policy.as_deref())?;
        runtime()?.block_on(self.run_until_told(&policy, &targets))
    }

    /// Whatever was started or loaded goes with the work that is dropped.
    async fn run_until_told(self, policy: &Policy, targets: &[Target]) -> anyhow::Result<ExitCode> {
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
        let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
        tokio::select! {
            code = self.judge_all(policy, targets) => code,
            _ = interrupt.recv() => Err(anyhow::anyhow!("interrupted before the verdict")),
            _ = terminate.recv() => Err(anyhow::anyhow!("terminated before the verdict")),
        }
    }

    async fn judge_all(&self, policy: &Policy, targets: &[Target]) -> anyhow::Result<ExitCode> {
        // What cannot be traced needs no image.
        let mut daemon = Daemon::start(&Settings::default(), Forms::default())?;
        let trials = self.trials(&mut daemon).await?;
        let mut files = Files::default();
        let mut worst = Compliance::Pass;
        for trial in &trials {
            for run in 1..=self.repeat {
                let which = || format!("{}run {run} of {}", trial.title(), self.repeat);
                let shutdown = trial.judge(self, &mut daemon).await.with_context(which)?;
                let worth = self.worth(&shutdown, policy);
                worst = worse(worst, worth);
                for target in targets {
                    target.show(&shutdown)?;
                }
                files.add(&shutdown, self.name(), worth)?;
            }
        }
        files.write(targets, policy)?;
        Ok(self.code(worst))
    }

    fn targets(&self) -> Vec<Target> {
        if self.json { vec![Target { form: Form::Records, file: None }] } else { self.output.clone() }
    }

    fn grace(&self) -> Duration {
        self.grace.unwrap_or(USUAL_GRACE)
    }

    fn stop_signal(&self) -> Signal {
        self.signal.unwrap_or(Signal::TERM)
    }

    fn ready(&self) -> Ready {
        self.ready.clone().unwrap_or(Ready::Sleep(USUAL_START))
    }

    fn keeps_output(&self) -> bool {
        self.quiet || self.ready.as_ref().is_some_and(Ready::reads_output)
    }

    async fn load(&self, subject: &dyn Subject) -> anyhow::Result<Option<Load>> {
        match &self.load {
            Some(command) => Load::start(command, subject.network()?).await.map(Some),
            None => Ok(None),
        }
    }

    /// What a command is called in a report.
    fn name(&self) -> String {
        let program = self.command.first().map(|program| program.to_string_lossy().into_owned()).unwrap_or_default();
        program.rsplit('/').next().unwrap_or_default().to_owned()
    }

    fn worth(&self, shutdown: &Shutdown, policy: &Policy) -> Compliance {
        let record = Record::new(shutdown, "", wall_clock());
        let killed = if only_helpers_killed(&record, policy) { Killed::Helpers } else { Killed::Others };
        let namespace = shutdown.container.pod.as_ref().map(|pod| pod.namespace.as_str()).unwrap_or_default();
        policy.worth(namespace, shutdown.verdict, killed)
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

/// The last lines of what was kept back.
fn show_end<'c>(captured: impl IntoIterator<Item = &'c Capture>) {
    const LINES: usize = 20;
    for capture in captured {
        let text = capture.text();
        let lines: Vec<_> = text.lines().collect();
        for line in &lines[lines.len().saturating_sub(LINES)..] {
            eprintln!("  | {}", line.escape_debug());
        }
    }
}
