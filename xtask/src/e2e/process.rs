//! Long-running parts of the node: started with a log each, ended by their own pid, and never outliving us.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal};

/// How long a part may take to end once it was asked to.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(20);

/// A running program.
#[derive(Debug)]
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

/// `program` as a command that is killed when the thread that starts it ends, however that comes about.
pub(crate) fn tied(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(program);
    command
}

impl Process {
    /// Starts `command`, whose stdout and stderr go to `NAME.log` in `logs`.
    pub(crate) fn start(name: &'static str, mut command: Command, logs: &Path) -> Result<Self> {
        let log = logs.join(format!("{name}.log"));
        // A part that is started again goes on in the same file.
        let file = File::options().create(true).append(true).open(&log);
        let file = file.with_context(|| format!("cannot write {}", log.display()))?;
        command.stdout(file.try_clone()?);
        Self::start_with(name, command.stderr(file), log)
    }

    /// The same for a command whose outputs were decided.
    pub(crate) fn start_with(name: &'static str, command: &mut Command, log: PathBuf) -> Result<Self> {
        use std::os::unix::process::CommandExt;
        // In a process group of its own: Ctrl-C at the terminal is for us, and we end the parts in their order.
        let child = command.stdin(Stdio::null()).process_group(0).spawn();
        let child = child.with_context(|| format!("{name} could not be started"))?;
        Ok(Self { name, child, log })
    }

    /// Fails if it has ended, with the end of its log.
    pub(crate) fn alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended with {status}: {}", self.name, tail(&self.log, 5)),
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        rustix::process::kill_process(self.pid()?, signal)
            .with_context(|| format!("{} cannot be sent a signal", self.name))
    }

    /// What it prints to, where that is a pipe.
    pub(crate) fn stdout(&mut self) -> Option<std::process::ChildStdout> {
        self.child.stdout.take()
    }

    /// Asks it to end and waits; a part that takes too long is killed. Its status, if it ended by itself.
    pub(crate) fn end(&mut self) -> Result<Option<ExitStatus>> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(Some(status));
        }
        self.signal(Signal::TERM)?;
        if let Some(status) = self.wait(PATIENCE)? {
            return Ok(Some(status));
        }
        self.kill()?;
        Ok(None)
    }

    /// Its status, if it ends within `patience`.
    pub(crate) fn wait(&mut self, patience: Duration) -> Result<Option<ExitStatus>> {
        let deadline = Instant::now() + patience;
        loop {
            match self.child.try_wait()? {
                Some(status) => return Ok(Some(status)),
                None if Instant::now() >= deadline => return Ok(None),
                None => std::thread::sleep(LOOK),
            }
        }
    }

    /// Ends it without asking.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    fn pid(&self) -> Result<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("a process without an id")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Whoever gave up half-way must not leave it behind.
        drop(self.kill());
    }
}

/// The last lines of a log, in one.
pub(crate) fn tail(log: &Path, lines: usize) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<_> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
