//! Container runtimes, each started by us on sockets and folders of its own, and gone when dropped.
//!
//! An engine turns what the keeper wants into command lines; whatever of it outlives the commands is its own to end.

mod containerd;
mod docker;
mod podman;
mod systemd;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use super::case::Runtime;
use crate::{child, machine};

/// A container that is to be run.
pub(crate) struct Plan<'a> {
    /// Unique on this machine.
    pub(crate) name: &'a str,
    pub(crate) command: &'a [String],
    pub(crate) environment: Vec<(&'a str, &'a str)>,
    /// The root file system, its own alone.
    pub(crate) root: &'a Path,
    pub(crate) stop_signal: &'a str,
    /// Between the stop signal and SIGKILL, for a runtime that is told so at the start.
    pub(crate) grace: Duration,
    pub(crate) options: Vec<String>,
    pub(crate) terminal: bool,
}

/// What a runtime says of a container that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The id that its cgroup is named by.
    pub(crate) id: String,
    /// Host pid of its init.
    pub(crate) init: u32,
}

/// A runtime. What is not said otherwise is what Docker's client is asked, and podman's, which takes the same words.
pub(crate) trait Engine: Sync {
    /// Its own client, to be asked anything.
    fn client(&self) -> Command;

    /// Runs a container in the foreground: the command ends when the container has.
    fn run(&self, plan: &Plan<'_>) -> Command;

    /// Once it runs.
    fn facts(&self, name: &str) -> Option<Facts> {
        parse_facts(&ask(self.client().args(["container", "inspect", "--format", "{{.Id}} {{.State.Pid}}", name]))?)
    }

    /// Sends its init a signal.
    fn signal(&self, name: &str, signal: &str) -> Command {
        with(self.client(), ["kill", "--signal", signal, name])
    }

    /// Enters it, in the foreground; none where there is no such thing.
    fn exec(&self, name: &str, _session: &str, command: &[String]) -> Option<Command> {
        Some(with(with(self.client(), ["exec", name]), command))
    }

    /// Stops it as a user does, in these words if any are given; none where that is the keeper's work: the signal, the
    /// wait, SIGKILL.
    fn stop(&self, name: &str, grace: Duration, words: Option<&[String]>) -> Option<Command> {
        let stop = match words {
            Some(words) => with(self.client(), words),
            None => with(self.client(), ["stop", "--time", &grace.as_secs().to_string()]),
        };
        Some(with(stop, [name]))
    }

    /// Leaves nothing of it.
    fn discard(&self, name: &str);
}

/// Where engines are started: a scratch directory, and what every container's root is made of.
pub(crate) struct Ground<'a> {
    pub(crate) scratch: &'a Path,
    /// The Debian system.
    pub(crate) system: &'a Path,
    /// The folder that is `/zoo` in every container.
    pub(crate) files: &'a Path,
}

/// Starts a runtime.
pub(crate) fn start(runtime: Runtime, ground: &Ground<'_>) -> Result<Box<dyn Engine>> {
    let directory = ground.scratch.join(runtime.name());
    fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    Ok(match runtime {
        Runtime::Containerd => Box::new(containerd::Containerd::start(directory, "runc")?),
        Runtime::Podman => Box::new(podman::Podman::start(directory)?),
        Runtime::Docker => Box::new(docker::Docker::start(directory, ground)?),
        Runtime::Crun => Box::new(containerd::Containerd::start(directory, "crun")?),
        Runtime::Systemd => Box::new(systemd::Systemd::start(ground)?),
    })
}

/// A daemon, and what it leaves behind, ended when dropped.
struct Daemon {
    process: Child,
    /// Everything that it starts and that outlives it names this folder in its arguments.
    directory: PathBuf,
}

impl Daemon {
    fn spawn(command: &mut Command, directory: &Path) -> Result<Self> {
        let log = File::create(directory.join("log")).context("cannot make a log")?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        child::echo(command);
        let process = command.spawn().with_context(|| format!("{:?} does not start", command.get_program()))?;
        Ok(Self { process, directory: directory.to_owned() })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Asked first: a daemon of Docker ends the containerd that it started.
        let _ = quiet(Command::new("kill").arg(self.process.id().to_string()));
        let ended = super::wait::within(Duration::from_secs(10), || Ok(self.process.try_wait()?));
        if !matches!(ended, Ok(Some(_))) {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
        for left in processes_that_mention(&self.directory) {
            let _ = quiet(Command::new("kill").args(["-KILL", &left]));
        }
    }
}

/// Whether this command succeeds, without a word.
fn quiet(command: &mut Command) -> bool {
    let silent = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    silent.status().is_ok_and(|status| status.success())
}

/// This command with more arguments.
fn with<A: AsRef<OsStr>>(mut command: Command, arguments: impl IntoIterator<Item = A>) -> Command {
    command.args(arguments);
    command
}

/// What this command prints, if it succeeds.
fn ask(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// `ID PID`, as engines are asked to print it; a container that does not run has the pid 0.
fn parse_facts(text: &str) -> Option<Facts> {
    let (id, pid) = text.split_once(' ')?;
    let init = pid.parse().ok().filter(|pid| *pid != 0)?;
    Some(Facts { id: id.to_owned(), init })
}

/// Pids of the processes with this path among their arguments, ourselves excepted.
fn processes_that_mention(path: &Path) -> Vec<String> {
    let path = path.to_string_lossy();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let pids = pids.filter(|pid| pid.parse::<u32>().is_ok_and(|pid| pid != std::process::id()));
    let mentions = |pid: &String| {
        fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| String::from_utf8_lossy(&line).contains(&*path))
    };
    pids.filter(mentions).collect()
}

/// A group in every hierarchy, and what is below it; only what is empty can be removed.
fn remove_group(path: &str) {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    for fields in fields.filter(|fields| fields.get(2).is_some_and(|kind| kind.starts_with("cgroup"))) {
        remove_directories(&Path::new(fields[1]).join(path));
    }
}

fn remove_directories(group: &Path) {
    let below = fs::read_dir(group).into_iter().flatten().flatten();
    below
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .for_each(|entry| remove_directories(&entry.path()));
    let _ = fs::remove_dir(group);
}

/// PATH, and the directories where Debian keeps runtimes.
fn path_with_system_programs() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

/// A program of Debian's, by its place: another of the same name may come first in PATH.
fn debian(program: &str) -> PathBuf {
    let places = ["/usr/bin", "/usr/sbin"].map(|directory| Path::new(directory).join(program));
    places.into_iter().find(|file| file.is_file()).or_else(|| machine::find(program)).unwrap_or_else(|| program.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_without_a_process_has_no_facts_yet() {
        assert_eq!(parse_facts("5bd7 4711"), Some(Facts { id: "5bd7".into(), init: 4711 }));
        assert_eq!(parse_facts("5bd7 0"), None);
        assert_eq!(parse_facts(""), None);
    }
}
