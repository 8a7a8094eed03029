//! The command line: what can be typed, and what runs then.

pub mod agent;
pub mod app;
pub mod audit;
pub mod check;
mod cluster;
mod completions;
pub mod demo;
pub mod doctor;
pub mod events;
pub mod explain;
mod filter;
mod man;
mod names;
mod output;
pub mod replay;
mod stopping;
pub mod top;
pub mod watch;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use crate::daemon::Daemon;
use crate::event::ExitStatus;

/// Tells why a container did not shut down gracefully, from what the kernel saw.
#[derive(Debug, Parser)]
#[command(name = "signal-trace", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,

    /// What to log on standard error: off, error, warn, info, debug, trace, or a filter such as signal_trace=debug
    /// [default: warn, of the agent info]
    #[arg(long, global = true, env = "SIGNAL_TRACE_LOG", value_name = "LEVEL")]
    log: Option<String>,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Follow every container on this machine and say how each one shut down
    Watch(watch::Watch),
    /// Follow every pod of a Kubernetes node: metrics, Kubernetes events, one JSON record a line
    Agent(Box<agent::Agent>),
    /// Run a command as PID 1 of a container of its own, stop it, and judge how it shut down
    Check(check::Check),
    /// Stop six containers of our own and show what each did with the signal
    Demo(demo::Demo),
    /// Judge again what `watch --record` has recorded
    Replay(replay::Replay),
    /// Say whether this machine, or this pod, is fit to trace, and what to do where it is not
    Doctor(doctor::Doctor),
    /// Say which workloads of a fleet shut down gracefully, which do not, and who is at fault
    Audit(Box<audit::Audit>),
    /// Show the workloads of a cluster that shut down worst, from the agents' logs
    Top(top::Top),
    /// Show the Kubernetes events of shutdowns that did not go well
    Events(events::Events),
    /// Say what a verdict means, how it comes about and how to mend it
    Explain(explain::Explain),
    /// Print what a shell completes the words of this program with
    Completions(completions::Completions),
    /// Print a manual page
    Man(man::Man),
    /// A small program to stop
    #[command(hide = true)]
    App(app::App),
}

/// Which workloads shut down gracefully, and which do not: over the current context of kubectl.
#[derive(Debug, Parser)]
#[command(name = PLUGIN, bin_name = "kubectl signal-trace", version, max_term_width = 100)]
struct Plugin {
    #[command(subcommand)]
    command: PluginCommand,
}

/// What makes sense beside kubectl.
#[derive(Debug, Subcommand)]
enum PluginCommand {
    /// Say which workloads of a fleet shut down gracefully, which do not, and who is at fault
    Audit(Box<audit::Audit>),
    /// Show the Kubernetes events of shutdowns that did not go well
    Events(events::Events),
    /// Show the workloads of a cluster that shut down worst, from the agents' logs
    Top(top::Top),
}

/// As kubectl finds it: `kubectl signal-trace`.
const PLUGIN: &str = "kubectl-signal_trace";

impl Cli {
    /// What was typed, to this program or to kubectl. Ends with the help, or with what is wrong, as clap does.
    pub fn from_command_line() -> Self {
        let mut words = std::env::args_os();
        let name = words.next().map(PathBuf::from);
        if name.as_deref().and_then(Path::file_name) != Some(OsStr::new(PLUGIN)) {
            return Self::parse();
        }
        let command = match Plugin::parse().command {
            PluginCommand::Audit(audit) => Command::Audit(audit),
            PluginCommand::Events(events) => Command::Events(events),
            PluginCommand::Top(top) => Command::Top(top),
        };
        Self { command, log: std::env::var("SIGNAL_TRACE_LOG").ok() }
    }

    /// Sets up logging, then runs what was typed.
    ///
    /// # Errors
    ///
    /// What the subcommand could not do.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        // Its signal dispositions are what it is for: nothing else may have touched them.
        if let Command::App(app) = &self.command {
            match app.run()? {}
        }
        let default = if matches!(self.command, Command::Agent(_)) { "info" } else { "warn" };
        let log = self.log.as_deref().unwrap_or(default);
        let filter = tracing_subscriber::EnvFilter::try_new(format!("{TOLD_BY_US},{log}"))
            .with_context(|| format!("`{log}` is no log filter: use a level such as debug"))?;
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).init();
        match self.command {
            Command::Agent(agent) => agent.run().map(|()| ExitCode::SUCCESS),
            Command::Watch(watch) => watch.run().map(|()| ExitCode::SUCCESS),
            Command::Check(check) => check.run(),
            Command::Demo(demo) => demo.run(),
            Command::Replay(replay) => replay.run().map(|()| ExitCode::SUCCESS),
            Command::Doctor(doctor) => doctor.run(),
            Command::Audit(audit) => audit.run(),
            Command::Top(top) => top.run(),
            Command::Events(events) => events.run(),
            Command::Explain(explain) => explain.run().map(|()| ExitCode::SUCCESS),
            Command::Completions(completions) => completions.run().map(|()| ExitCode::SUCCESS),
            Command::Man(man) => man.run().map(|()| ExitCode::SUCCESS),
            Command::App(_) => unreachable!("it has run above"),
        }
    }
}

/// What these libraries say of an API server in trouble is said once by whoever uses them.
const TOLD_BY_US: &str = "kube_client=error,kube_runtime=error";

/// What is attached and followed, for people.
fn ready_line(daemon: &Daemon) -> String {
    let tracked = daemon.tracked();
    let plural = if tracked == 1 { "" } else { "s" };
    let attached = daemon.kernel().attached();
    format!(
        "ready: {} programs attached ({}), {tracked} container{plural} tracked",
        attached.len(),
        attached.join(", ")
    )
}

/// One thread is enough: the work is in the kernel and in the judge, which waits for nothing.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the event loop")
}

/// `500ms`, `30s`, `5m`.
fn duration(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration =
        text.parse().map_err(|_| format!("`{text}` is no duration: use for example 500ms, 30s or 5m"))?;
    span.try_into().map_err(|_| format!("`{text}` is before it begins: use a duration that is not negative"))
}

/// How a process ended, in words.
fn status_text(status: ExitStatus) -> String {
    match status {
        ExitStatus::Code(code) => format!("exit status {code}"),
        ExitStatus::Signal(signal) => format!("killed by {signal}"),
    }
}
