//! One command of an engine that runs beside us: waited for without blocking, killed when dropped.
//!
//! It knows nothing of what it asks for.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;

use crate::sandbox::Capture;

/// The rest of what it said comes with its end; somebody may hold its pipe for longer.
const REST_WITHIN: Duration = Duration::from_secs(1);

/// A command that was started.
#[derive(Debug)]
pub struct Call {
    child: Child,
    /// Told whenever a child of ours has ended.
    ends: Signal,
    said: Option<Capture>,
    complained: Option<Capture>,
    name: String,
}

impl Call {
    /// Starts it in a process group of its own, so that Ctrl-C is ours to handle, and keeps what it says.
    ///
    /// # Errors
    ///
    /// There is no such program.
    pub fn start(command: &mut Command) -> anyhow::Result<Self> {
        Self::start_with(command.stdout(Stdio::piped()).stderr(Stdio::piped()))
    }

    /// The same, with its output going where it says.
    ///
    /// # Errors
    ///
    /// There is no such program.
    pub fn start_with(command: &mut Command) -> anyhow::Result<Self> {
        let name = name(command);
        let program = command.get_program().to_string_lossy().into_owned();
        let ends = signal(SignalKind::child()).context("cannot wait for SIGCHLD")?;
        let child = command.stdin(Stdio::null()).process_group(0).spawn();
        let mut child = match child {
            Err(error) if error.kind() == io::ErrorKind::NotFound => bail!("{program} is not installed"),
            other => other.with_context(|| format!("{program} does not start"))?,
        };
        let said = child.stdout.take().map(Capture::start).transpose()?;
        let complained = child.stderr.take().map(Capture::start).transpose()?;
        Ok(Self { child, ends, said, complained, name })
    }

    /// What it printed, once it succeeded.
    ///
    /// # Errors
    ///
    /// It failed, with its own words; or it takes too long, and is killed.
    pub async fn done(mut self, within: Duration) -> anyhow::Result<String> {
        let Ok(ended) = timeout(within, self.ended()).await else {
            bail!("{} did not end within {within:?}", self.name);
        };
        let status = ended?;
        for capture in self.captures() {
            capture.wait_for_end(REST_WITHIN);
        }
        if status.success() {
            return Ok(self.said.as_ref().map(|said| said.text().trim().to_owned()).unwrap_or_default());
        }
        bail!("{}: {}", self.name, self.complaint().unwrap_or_else(|| status.to_string()))
    }

    /// Completes with its end.
    ///
    /// # Errors
    ///
    /// It cannot be waited for.
    pub async fn ended(&mut self) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            self.ends.recv().await;
        }
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    ///
    /// It cannot be waited for.
    pub fn has_ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// What it says, as far as that is kept here.
    pub fn captures(&self) -> impl Iterator<Item = &Capture> {
        self.said.iter().chain(&self.complained)
    }

    /// The last line of its standard error, on which a program says why it failed.
    fn complaint(&self) -> Option<String> {
        let text = self.complained.as_ref()?.text();
        let line = text.lines().rev().find(|line| !line.trim().is_empty())?;
        Some(line.trim().trim_start_matches("Error: ").escape_debug().to_string())
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        // One that has ended only has its entry collected.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `podman image inspect`: the program and its verb.
fn name(command: &Command) -> String {
    let program = command.get_program().to_string_lossy().into_owned();
    let words = command.get_args().map(|word| word.to_string_lossy());
    let verbs = words.filter(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase())).take(2);
    verbs.fold(program, |name, verb| format!("{name} {verb}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block_on<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
    }

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn what_a_command_says_is_its_answer_and_its_last_complaint_the_error() {
        block_on(async {
            let soon = Duration::from_secs(30);
            let said = Call::start(&mut shell("echo one; echo two")).unwrap().done(soon).await;
            assert_eq!(said.unwrap(), "one\ntwo");
            let failed = Call::start(&mut shell("echo first >&2; echo 'Error: no such thing' >&2; exit 3")).unwrap();
            assert_eq!(failed.done(soon).await.unwrap_err().to_string(), "/bin/sh: no such thing");
            let silent = Call::start(&mut shell("exit 3")).unwrap();
            assert_eq!(silent.done(soon).await.unwrap_err().to_string(), "/bin/sh: exit status: 3");
            let missing = Call::start(&mut Command::new("/nowhere/podman")).unwrap_err();
            assert_eq!(missing.to_string(), "/nowhere/podman is not installed");
        });
    }

    #[test]
    fn who_takes_too_long_is_killed() {
        block_on(async {
            let call = Call::start(&mut shell("exec sleep 1000")).unwrap();
            let pid = call.child.id();
            let error = call.done(Duration::from_millis(50)).await.unwrap_err();
            assert_eq!(error.to_string(), "/bin/sh did not end within 50ms");
            assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
        });
    }

    #[test]
    fn a_command_is_called_by_its_verbs() {
        let mut command = Command::new("ctr");
        command.args(["--namespace", "k8s.io", "images", "pull", "docker.io/library/busybox:1"]);
        assert_eq!(name(&command), "ctr images pull");
    }
}
