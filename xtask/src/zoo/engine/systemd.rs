//! Services of the machine's own systemd: no container and no root of their own, but a cgroup, a stop signal and a time.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Engine, Facts, Ground, Plan, ask, parse_facts};

/// Where the animals are, in services as in containers.
const FILES: &str = "/zoo";

pub(super) struct Systemd;

impl Systemd {
    pub(super) fn start(ground: &Ground<'_>) -> Result<Self> {
        symlink(ground.files, FILES).context("cannot make /zoo for services")?;
        Ok(Self)
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        let _ = fs::remove_file(FILES);
    }
}

fn unit(name: &str) -> String {
    format!("{name}.service")
}

fn systemctl(words: &[&str], name: &str) -> Command {
    let mut command = Command::new("systemctl");
    command.args(words).arg(unit(name));
    command
}

impl Engine for Systemd {
    fn client(&self) -> Command {
        Command::new("systemctl")
    }

    fn run(&self, plan: &Plan<'_>) -> Command {
        let mut command = Command::new("systemd-run");
        // What it ends with is what the case is about.
        command.args(["--quiet", "--pipe", "--wait", "--collect", "--unit", &unit(plan.name)]);
        let property = |name: &str, value: &str| format!("--property={name}={value}");
        command.arg(property("KillSignal", &format!("SIG{}", plan.stop_signal)));
        command.arg(property("TimeoutStopSec", &format!("{}ms", plan.grace.as_millis())));
        for (name, value) in &plan.environment {
            command.arg(format!("--setenv={name}={value}"));
        }
        command.args(&plan.options).arg("--").args(plan.command);
        command
    }

    fn facts(&self, name: &str) -> Option<Facts> {
        let pid = ask(&mut systemctl(&["show", "--property=MainPID", "--value"], name))?;
        parse_facts(&format!("{} {pid}", unit(name)))
    }

    fn signal(&self, name: &str, signal: &str) -> Command {
        systemctl(&["kill", "--kill-whom=main", "--signal", signal], name)
    }

    fn exec(&self, _: &str, _: &str, _: &[String]) -> Option<Command> {
        None
    }

    fn stop(&self, name: &str, _: Duration, with: Option<&[String]>) -> Option<Command> {
        let words: Vec<_> = with.map_or(vec!["stop"], |words| words.iter().map(String::as_str).collect());
        Some(systemctl(&words, name))
    }

    /// Whatever a service leaves behind is what the case is about, and goes with the virtual machine.
    fn discard(&self, _: &str) {}
}
