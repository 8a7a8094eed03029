//! containerd with runc, or another like it, through its own client `ctr`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Daemon, Engine, Facts, Plan, debian, parse_facts, path_with_system_programs, quiet, remove_group};
use crate::zoo::wait::until;

/// The namespace: where `ctr` puts what it is not told to put elsewhere.
const NAMESPACE: &str = "default";

pub(super) struct Containerd {
    _daemon: Daemon,
    directory: PathBuf,
    runc: &'static str,
}

impl Containerd {
    /// With the runtime that this program is.
    pub(super) fn start(directory: PathBuf, runc: &'static str) -> Result<Self> {
        let at = directory.display();
        let configuration = format!(
            "version = 2\nroot = '{at}/root'\nstate = '{at}/state'\n\
             disabled_plugins = ['io.containerd.grpc.v1.cri', 'io.containerd.internal.v1.opt']\n\
             [grpc]\naddress = '{at}/socket'\n[ttrpc]\naddress = '{at}/ttrpc'\n"
        );
        let file = directory.join("config.toml");
        fs::write(&file, configuration).context("cannot write containerd's configuration")?;
        let mut command = Command::new(debian("containerd"));
        command.arg("--config").arg(file).env("PATH", path_with_system_programs());
        let containerd = Self { _daemon: Daemon::spawn(&mut command, &directory)?, directory, runc };
        until("containerd answers", || Ok(quiet(containerd.client().arg("version")).then_some(())))?;
        Ok(containerd)
    }

    fn pid_file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

impl Engine for Containerd {
    fn client(&self) -> Command {
        let mut command = Command::new(debian("ctr"));
        command.arg("--address").arg(self.directory.join("socket")).args(["--namespace", NAMESPACE]);
        command
    }

    fn run(&self, plan: &Plan<'_>) -> Command {
        let mut command = self.client();
        command.args(["run", "--rm", "--rootfs", "--allow-new-privs"]);
        command.arg("--fifo-dir").arg(self.directory.join("fifo"));
        command.arg("--runc-binary").arg(debian(self.runc)).arg("--runc-root").arg(self.directory.join("runc"));
        command.arg("--pid-file").arg(self.pid_file(plan.name));
        for (name, value) in &plan.environment {
            command.args(["--env", &format!("{name}={value}")]);
        }
        if plan.terminal {
            command.arg("--tty");
        }
        command.args(&plan.options).arg(plan.root).arg(plan.name).args(plan.command);
        command
    }

    fn facts(&self, name: &str) -> Option<Facts> {
        let pid = fs::read_to_string(self.pid_file(name)).ok()?;
        parse_facts(&format!("{name} {pid}"))
    }

    fn signal(&self, name: &str, signal: &str) -> Command {
        let mut command = self.client();
        command.args(["task", "kill", "--signal", signal, name]);
        command
    }

    fn exec(&self, name: &str, session: &str, exec: &[String]) -> Option<Command> {
        let mut command = self.client();
        command.args(["task", "exec", "--exec-id", session]);
        command.arg("--fifo-dir").arg(self.directory.join("fifo")).arg(name).args(exec);
        Some(command)
    }

    fn stop(&self, _: &str, _: Duration, _: Option<&[String]>) -> Option<Command> {
        None
    }

    fn discard(&self, name: &str) {
        quiet(self.client().args(["task", "delete", "--force", name]));
        quiet(self.client().args(["container", "delete", name]));
        remove_group(&format!("{NAMESPACE}/{name}"));
    }
}
