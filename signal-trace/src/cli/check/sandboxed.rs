//! A command in a container of our own: no engine, no image.

use std::io;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;

use super::ready::Subject;
use super::{Check, Form, show_end};
use crate::cli::status_text;
use crate::cli::stopping::{Plan, stop_and_judge};
use crate::daemon::Daemon;
use crate::event::Pid;
use crate::judge::shutdown::{GraceSource, Shutdown};
use crate::sandbox::{Capture, Running, Sandbox};

/// A container of our own, and what is kept of its output.
struct Own<'a> {
    running: &'a mut Running,
    captured: &'a [Capture],
}

impl Subject for Own<'_> {
    fn has_ended(&mut self) -> anyhow::Result<Option<String>> {
        Ok(self.running.init_mut().wait_within(Duration::ZERO)?.map(status_text))
    }

    fn output(&self) -> Vec<String> {
        self.captured.iter().map(Capture::text).collect()
    }

    /// It has ours.
    fn network(&self) -> io::Result<Option<Pid>> {
        Ok(None)
    }
}

impl Check {
    /// Starts the command, stops it, and judges.
    pub(super) async fn judge_command(&self, daemon: &mut Daemon) -> anyhow::Result<Shutdown> {
        let sandbox = Sandbox::create(daemon.hierarchy().mount(), "check")?;
        let plan = Plan { signal: self.stop_signal(), grace: self.grace(), source: GraceSource::Flag };
        daemon.adopt(sandbox.cgroup().clone(), plan.spec());
        let mut running = sandbox.start(self.own_command())?;
        let captured = capture(&mut running)?;
        let stopped = self.stop_command(daemon, &mut running, &captured, plan).await;
        stopped.inspect_err(|_| show_end(&captured))
    }

    fn own_command(&self) -> Command {
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]).stdin(Stdio::null());
        if self.keeps_output() {
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
        } else if self.targets().iter().any(|target| target.file.is_none() && target.form != Form::Text) {
            // Standard output is the report's.
            command.stdout(io::stderr());
        }
        command
    }

    async fn stop_command(
        &self,
        daemon: &mut Daemon,
        running: &mut Running,
        captured: &[Capture],
        plan: Plan,
    ) -> anyhow::Result<Shutdown> {
        let command = || format!("`{}`", self.command[0].to_string_lossy().escape_debug());
        let mut own = Own { running, captured };
        self.ready().wait(daemon, &mut own, self.ready_within).await.with_context(command)?;
        let _load = self.load(&own).await?;
        stop_and_judge(daemon, running, plan).await
    }
}

fn capture(running: &mut Running) -> anyhow::Result<Vec<Capture>> {
    let mut captured = Vec::new();
    if let Some(stream) = running.init_mut().take_stdout() {
        captured.push(Capture::start(stream)?);
    }
    if let Some(stream) = running.init_mut().take_stderr() {
        captured.push(Capture::start(stream)?);
    }
    Ok(captured)
}
