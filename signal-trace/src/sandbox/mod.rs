//! Makes one container and stops it: a pid namespace, a mount namespace with its own `/proc`, and a cgroup.
//!
//! For `check`, `demo` and `doctor`'s self-test, which have to stop something without a container runtime. It does what a
//! runtime does and no more: it knows nothing of kernel programs or verdicts. The cgroup exists before the first process,
//! so that it can be tracked from its birth on, and everything goes away when the value is dropped: by a panic too, and,
//! if this process is killed, by the parent-death signal and the next [`Sandbox::create`].

mod capture;
mod cgroup;
mod process;

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::thread::{CapabilitySet, capabilities};

use self::cgroup::HeldCgroup;
use self::process::Namespaces;
use crate::containers::Cgroup;
use crate::event::{ExitStatus, Signal};

pub use self::capture::Capture;
pub use self::process::{Process, Step};

/// A container without a process yet.
#[derive(Debug)]
pub struct Sandbox {
    cgroup: HeldCgroup,
}

/// A container that runs. Dropping it kills what lives in it and removes its cgroup, within ten seconds at worst.
#[derive(Debug)]
pub struct Running {
    // Dropped in this order: with its init everything in the pid namespace is gone, and the cgroup is empty.
    init: Process,
    cgroup: HeldCgroup,
}

/// How a container was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// How its init ended.
    pub status: ExitStatus,
    /// From the stop signal to init's end.
    pub after: Duration,
    /// The grace was over and SIGKILL was sent.
    pub killed: bool,
}

impl Sandbox {
    /// Makes the cgroup `<cgroup_root>/signal-trace/<label>-<pid>-<n>`, and removes those that killed processes left
    /// behind. `cgroup_root` is where the v2 hierarchy is mounted; `label` is one word.
    ///
    /// # Errors
    ///
    /// See [`SandboxError`]; nothing is left behind.
    pub fn create(cgroup_root: &Path, label: &str) -> Result<Self, SandboxError> {
        let may = capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN));
        if !may {
            return Err(SandboxError::NotPrivileged);
        }
        Ok(Self { cgroup: HeldCgroup::make(cgroup_root, label)? })
    }

    /// Id and path of its cgroup.
    pub fn cgroup(&self) -> &Cgroup {
        self.cgroup.known_as()
    }

    /// Starts `command` as its init: pid 1 of the new pid namespace, with signals at their defaults, in a session of its
    /// own. It is in the cgroup before it becomes the program; its parent, this process, is not.
    ///
    /// Standard streams are as `command` says, inherited by default. Its own hooks run before these steps.
    ///
    /// # Errors
    ///
    /// See [`SandboxError`]; nothing is left behind.
    pub fn start(self, command: Command) -> Result<Running, SandboxError> {
        let init = Process::start(command, self.cgroup.entrance()?, Namespaces::New)?;
        Ok(Running { init, cgroup: self.cgroup })
    }
}

impl Running {
    /// Id and path of its cgroup.
    pub fn cgroup(&self) -> &Cgroup {
        self.cgroup.known_as()
    }

    /// Its pid 1.
    pub fn init(&self) -> &Process {
        &self.init
    }

    /// Its pid 1, to be waited for, or for its streams.
    pub fn init_mut(&mut self) -> &mut Process {
        &mut self.init
    }

    /// Starts `command` in the same cgroup and namespaces, as `docker exec` does: not below init, but beside it.
    ///
    /// # Errors
    ///
    /// See [`SandboxError`].
    pub fn exec(&self, command: Command) -> Result<Process, SandboxError> {
        let pidfd = self.init.as_fd().try_clone_to_owned().map_err(SandboxError::Thread)?;
        Process::start(command, self.cgroup.entrance()?, Namespaces::Of(pidfd))
    }

    /// Stops it as a runtime does: `signal` to init, SIGKILL to init if it still lives after `grace`. Blocks until then.
    ///
    /// # Errors
    ///
    /// The signal cannot be sent, or the end not waited for. An init that has ended already is no error.
    pub fn stop(&mut self, signal: Signal, grace: Duration) -> io::Result<Stopped> {
        let told = Instant::now();
        self.tell(signal)?;
        let (status, killed) = match self.init.wait_within(grace)? {
            Some(status) => (status, false),
            None => {
                self.tell(Signal::KILL)?;
                (self.init.wait()?, true)
            }
        };
        Ok(Stopped { status, after: told.elapsed(), killed })
    }

    fn tell(&self, signal: Signal) -> io::Result<()> {
        match self.init.signal(signal) {
            Err(error) if Errno::from_io_error(&error) == Some(Errno::SRCH) => Ok(()),
            other => other,
        }
    }
}

/// Why there is no container.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// Not root, or root without the capability.
    #[error("making a container needs CAP_SYS_ADMIN: run as root (sudo), or add that capability")]
    NotPrivileged,
    /// No v2 hierarchy.
    #[error(
        "no cgroup v2 hierarchy at {0}: name the place where it is mounted, or mount one: mount -t cgroup2 none {0}"
    )]
    NoCgroup2(PathBuf),
    /// It cannot be written to.
    #[error("{0} is read-only: run on the host, or in a container with a writable cgroup file system")]
    ReadOnlyCgroup(PathBuf),
    /// Another refusal of the cgroup file system.
    #[error("the cgroup file system refuses {path}")]
    Cgroup {
        /// Which file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No new namespace, or no way into one.
    #[error("the kernel gives no new pid and mount namespace: is user.max_pid_namespaces 0?")]
    Namespaces(#[source] io::Error),
    /// Its init has ended, and its namespaces with it.
    #[error("the container has ended: start another one")]
    Ended,
    /// No thread or descriptor.
    #[error("no thread or descriptor for a new process: raise its limits (ulimit -n, ulimit -u)")]
    Thread(#[source] io::Error),
    /// No such program.
    #[error(
        "command {0:?} not found: give its path, or install it; for a script, the interpreter of its first line too"
    )]
    NotFound(OsString),
    /// A file that is no program.
    #[error("command {0:?} is not executable: make it so (chmod +x), or start its interpreter with it")]
    NotExecutable(OsString),
    /// It failed on its way to the program.
    #[error("a process for {command:?} could not {}", step.name())]
    Start {
        /// How far it came.
        step: Step,
        /// The program.
        command: OsString,
        /// Why.
        source: io::Error,
    },
}

impl SandboxError {
    /// The variant that says what to do, where an exec or a mount failed for a well-known reason.
    fn sharpened(self) -> Self {
        let Self::Start { step, command, source } = self else { return self };
        match (step, Errno::from_io_error(&source)) {
            (Step::Exec, Some(Errno::NOENT)) => Self::NotFound(command),
            (Step::Exec, Some(Errno::ACCESS | Errno::NOEXEC | Errno::ISDIR)) => Self::NotExecutable(command),
            (Step::Proc, Some(Errno::PERM)) => Self::NotPrivileged,
            _ => Self::Start { step, command, source },
        }
    }
}
