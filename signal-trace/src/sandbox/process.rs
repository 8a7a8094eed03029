//! One process in a sandbox's cgroup and namespaces, and the thread that keeps it.
//!
//! Namespaces belong to threads and the parent-death signal to the thread that forked, so each process has a thread of its
//! own: it enters the namespaces, forks, and stays until the process ended. What happens between fork and exec is in
//! `Setup`: system calls only. Nothing here knows how a container is stopped.

#![expect(unsafe_code, reason = "unshare, a hook between fork and exec, and realtime signals have no safe interface")]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{ChildStderr, ChildStdin, ChildStdout, Command};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{PidfdFlags, getpid, pidfd_open, pidfd_send_signal, set_parent_process_death_signal, setsid};
use rustix::thread::{ThreadNameSpaceType, UnshareFlags, move_into_thread_name_spaces, unshare_unsafe};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::SandboxError;
use crate::disposition;
use crate::event::{ExitStatus, Pid, Signal};

/// How long a killed process may take to be gone before its thread is left to wait alone.
const GONE_WITHIN: Duration = Duration::from_secs(5);

/// Where a process is to live.
#[derive(Debug)]
pub(super) enum Namespaces {
    /// As pid 1 of a new pid namespace, in a new mount namespace with a `/proc` of its own.
    New,
    /// In those of this pidfd's process.
    Of(OwnedFd),
}

/// A process in a sandbox: its init, or what entered later. Dropping it kills it.
///
/// As a file descriptor it is a pidfd: readable once the process ended.
#[derive(Debug)]
pub struct Process {
    pid: Pid,
    pidfd: OwnedFd,
    state: State,
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
}

#[derive(Debug)]
enum State {
    Running(JoinHandle<io::Result<ExitStatus>>),
    Ended(ExitStatus),
    /// Its thread failed, which was reported then.
    Lost,
}

/// What the keeping thread says once the exec succeeded.
struct Started {
    pid: Pid,
    pidfd: OwnedFd,
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
}

impl Process {
    pub(super) fn start(command: Command, cgroup: OwnedFd, namespaces: Namespaces) -> Result<Self, SandboxError> {
        let (tell, told) = sync_channel(1);
        let keep = move || keep(command, cgroup, &namespaces, &tell);
        let keeper = thread::Builder::new().name("sandbox".into()).spawn(keep).map_err(SandboxError::Thread)?;
        match told.recv() {
            Ok(Ok(Started { pid, pidfd, stdin, stdout, stderr })) => {
                Ok(Self { pid, pidfd, state: State::Running(keeper), stdin, stdout, stderr })
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(SandboxError::Thread(io::Error::other("it ended before it had started anything"))),
        }
    }

    /// Its pid in the caller's pid namespace.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Sends `signal` to it, as a runtime does: from outside, through its pidfd.
    ///
    /// # Errors
    ///
    /// `ESRCH` if it has ended; `EINVAL` for the two numbers that the C library keeps for itself.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let number = signal.number();
        if matches!(number, 32 | 33) {
            return Err(Errno::INVAL.into());
        }
        // SAFETY: 1..=64 without those that the C library reserves.
        let signal = unsafe { rustix::process::Signal::from_raw_unchecked(number.into()) };
        Ok(pidfd_send_signal(&self.pidfd, signal)?)
    }

    /// Waits until it ended.
    ///
    /// # Errors
    ///
    /// It cannot be waited for, because this process ignores SIGCHLD.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        match std::mem::replace(&mut self.state, State::Lost) {
            State::Running(keeper) => {
                let status = keeper.join().map_err(|_| io::Error::other("the thread of a sandbox panicked"))??;
                self.state = State::Ended(status);
                Ok(status)
            }
            State::Ended(status) => {
                self.state = State::Ended(status);
                Ok(status)
            }
            State::Lost => Err(io::Error::other("how it ended was not seen")),
        }
    }

    /// Waits until it ended, `within` at most: none if it still lives then. Zero only looks.
    ///
    /// # Errors
    ///
    /// As [`Process::wait`].
    pub fn wait_within(&mut self, within: Duration) -> io::Result<Option<ExitStatus>> {
        if is_readable(self.pidfd.as_fd(), within)? { self.wait().map(Some) } else { Ok(None) }
    }

    /// Completes once it has ended; [`Process::wait`] does not block from then on. Needs a tokio reactor.
    ///
    /// # Errors
    ///
    /// The reactor takes no more descriptors.
    pub async fn ended(&self) -> io::Result<()> {
        // SAFETY: the pidfd is open for as long as `self`, which the future borrows.
        let end = unsafe { AsyncFd::register_with_interest(self.pidfd.as_fd(), Interest::READABLE) }?;
        end.readable().await?.retain_ready();
        Ok(())
    }

    /// The writing end of its standard input, if it was piped.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.stdin.take()
    }

    /// The reading end of its standard output, if it was piped: read it, or the process will wait for you.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.stdout.take()
    }

    /// The reading end of its standard error, if it was piped: read it, or the process will wait for you.
    pub fn take_stderr(&mut self) -> Option<ChildStderr> {
        self.stderr.take()
    }
}

impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.state, State::Running(_)) {
            // Refused only when it has ended.
            let _ = self.signal(Signal::KILL);
            if !matches!(self.wait_within(GONE_WITHIN), Ok(Some(_))) {
                tracing::warn!(pid = self.pid.0, "a killed process of a sandbox has not ended");
            }
        }
    }
}

/// The life of the keeping thread.
fn keep(
    mut command: Command,
    cgroup: OwnedFd,
    namespaces: &Namespaces,
    tell: &SyncSender<Result<Started, SandboxError>>,
) -> io::Result<ExitStatus> {
    let started = enter(namespaces).and_then(|()| spawn(&mut command, cgroup, namespaces));
    // Its pipes and descriptors are the child's now; a second holder would keep them open.
    drop(command);
    match started {
        Ok((mut child, pidfd)) => {
            let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
            let told = tell.send(Ok(Started { pid: Pid(child.id()), pidfd, stdin, stdout, stderr }));
            debug_assert!(told.is_ok(), "who started the thread waits for this");
            Ok(ExitStatus::from_wait(child.wait()?.into_raw().cast_unsigned()))
        }
        Err(error) => {
            let told = tell.send(Err(error));
            debug_assert!(told.is_ok(), "who started the thread waits for this");
            Err(io::Error::other("nothing was started"))
        }
    }
}

/// Moves this thread, so that its next child is born where it belongs.
fn enter(namespaces: &Namespaces) -> Result<(), SandboxError> {
    let refused = |error: Errno| match error {
        Errno::PERM => SandboxError::NotPrivileged,
        // Only a pidfd's process can be missing.
        Errno::SRCH => SandboxError::Ended,
        other => SandboxError::Namespaces(other.into()),
    };
    match namespaces {
        Namespaces::New => {
            // SAFETY: the table of file descriptors stays shared.
            unsafe { unshare_unsafe(UnshareFlags::NEWPID | UnshareFlags::NEWNS) }.map_err(refused)?;
            // The host must not see the /proc that comes.
            let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
            mount_change(c"/", private).map_err(refused)
        }
        Namespaces::Of(pidfd) => {
            // A mount namespace can be entered only by who shares root and working directory with nobody.
            // SAFETY: the table of file descriptors stays shared.
            unsafe { unshare_unsafe(UnshareFlags::FS) }.map_err(refused)?;
            let both = ThreadNameSpaceType::PROCESS_ID | ThreadNameSpaceType::MOUNT;
            move_into_thread_name_spaces(pidfd.as_fd(), both).map_err(refused)
        }
    }
}

fn spawn(
    command: &mut Command,
    cgroup: OwnedFd,
    namespaces: &Namespaces,
) -> Result<(std::process::Child, OwnedFd), SandboxError> {
    let no_descriptor = |error: Errno| SandboxError::Thread(error.into());
    let (progress, report) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).map_err(no_descriptor)?;
    let parent = pidfd_open(getpid(), PidfdFlags::empty()).map_err(no_descriptor)?;
    let setup = Setup { cgroup, parent, report, mounts_proc: matches!(namespaces, Namespaces::New) };
    // SAFETY: `Setup::run` makes system calls and nothing else: no allocation, no lock, nothing unwinds.
    // A hook also keeps the standard library from posix_spawn, which could not run it.
    unsafe { command.pre_exec(move || setup.run()) };
    let mut child = command.spawn().map_err(|source| {
        SandboxError::Start { step: Step::last_of(&progress), command: command.get_program().to_owned(), source }
            .sharpened()
    })?;
    // Nobody waits for the child before this thread does: the pid is still its own.
    match pidfd_open(rustix::process::Pid::from_child(&child), PidfdFlags::empty()) {
        Ok(pidfd) => Ok((child, pidfd)),
        Err(error) => {
            let _ = child.kill().and_then(|()| child.wait());
            Err(no_descriptor(error))
        }
    }
}

/// What the child does between fork and exec, and what it needs for it.
struct Setup {
    /// `cgroup.procs`, open for writing.
    cgroup: OwnedFd,
    /// Pidfd of the process that forks.
    parent: OwnedFd,
    /// Where the child says how far it came: one byte at each [`Step`].
    report: OwnedFd,
    mounts_proc: bool,
}

impl Setup {
    fn run(&self) -> io::Result<()> {
        self.at(Step::Signals)?;
        disposition::reset_all()?;
        self.at(Step::Parent)?;
        set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
        // It may have died before that: its threads leave their children in one go, before its pidfd tells.
        if is_readable(self.parent.as_fd(), Duration::ZERO)? {
            return Err(Errno::SRCH.into());
        }
        self.at(Step::Session)?;
        setsid()?;
        self.at(Step::Cgroup)?;
        rustix::io::write(&self.cgroup, b"0")?;
        if self.mounts_proc {
            self.at(Step::Proc)?;
            let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
            mount(c"proc", c"/proc", c"proc", flags, None)?;
        }
        self.at(Step::Exec)
    }

    fn at(&self, step: Step) -> io::Result<()> {
        rustix::io::write(&self.report, &[step as u8])?;
        Ok(())
    }
}

/// How far a process came on its way to its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Step {
    /// To be born, and given its standard streams, user and working directory.
    Fork,
    /// To set its signals to their defaults.
    Signals,
    /// To be killed with this process.
    Parent,
    /// To lead a session of its own.
    Session,
    /// To enter the cgroup.
    Cgroup,
    /// To mount its own `/proc`.
    Proc,
    /// To become the program.
    Exec,
}

impl Step {
    const AFTER_FORK: [Self; 6] = [Self::Signals, Self::Parent, Self::Session, Self::Cgroup, Self::Proc, Self::Exec];

    /// What it was about to do.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fork => "be forked, with its streams, user and working directory",
            Self::Signals => "reset its signals",
            Self::Parent => "ask to be killed with its parent",
            Self::Session => "lead a session",
            Self::Cgroup => "enter its cgroup",
            Self::Proc => "mount /proc",
            Self::Exec => "run",
        }
    }

    fn last_of(progress: &OwnedFd) -> Self {
        let mut bytes = [0; Self::AFTER_FORK.len()];
        let read = rustix::io::read(progress, &mut bytes).unwrap_or(0);
        let last = bytes[..read].last();
        last.and_then(|byte| Self::AFTER_FORK.into_iter().find(|step| *step as u8 == *byte)).unwrap_or(Self::Fork)
    }
}

/// Whether `fd` becomes readable `within` that time. Nothing but system calls: it also runs between fork and exec.
fn is_readable(fd: BorrowedFd<'_>, within: Duration) -> io::Result<bool> {
    let deadline = Instant::now().checked_add(within);
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        // Longer than the kernel can count is for ever.
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], left.as_ref()) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
