//! The cgroup of one sandbox: a directory that this process made, holds by a lock, and removes.
//!
//! Who holds the lock is alive: that, and not the pid in the name, tells what a killed owner left behind from what is in
//! use, also across pid namespaces and when pids come again. Nothing here knows what runs in it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::SandboxError;
use crate::containers::{Cgroup, Identity, Runtime};
use crate::event::CgroupId;

/// Below the mount of the hierarchy; removed with the last sandbox in it.
const PARENT: &str = "signal-trace";

/// What a statfs of the v2 hierarchy says.
const CGROUP2_MAGIC: i64 = 0x6367_7270;

/// How long the killed may take to be gone.
const EMPTY_WITHIN: Duration = Duration::from_secs(5);

/// The longest look away from a directory that would not go.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// How many names are tried: another pid namespace may hold the same ones.
const NAMES: usize = 64;

/// A cgroup of our own; dropping it kills who lives there and removes it.
#[derive(Debug)]
pub(super) struct HeldCgroup {
    known_as: Cgroup,
    directory: PathBuf,
    _lock: OwnedFd,
}

impl HeldCgroup {
    /// Makes `<root>/signal-trace/<label>-<pid>-<n>`, after removing what dead owners left there.
    pub(super) fn make(root: &Path, label: &str) -> Result<Self, SandboxError> {
        let is_v2 = rustix::fs::statfs(root).is_ok_and(|stat| stat.f_type == CGROUP2_MAGIC);
        if !is_v2 {
            return Err(SandboxError::NoCgroup2(root.into()));
        }
        let parent = root.join(PARENT);
        if parent.is_dir() {
            sweep(&parent);
        }
        for _ in 0..NAMES {
            make_directory(&parent).map_err(|error| refused(&parent, error))?;
            let id = next_name(label);
            let directory = parent.join(&id);
            match claim(&directory) {
                Ok(Some(lock)) => {
                    let known_as = identify(&parent, &id).map_err(|error| refused(&directory, error))?;
                    return Ok(Self { known_as, directory, _lock: lock });
                }
                Ok(None) => {}
                Err(error) => return Err(refused(&directory, error)),
            }
        }
        Err(refused(&parent, io::ErrorKind::AlreadyExists.into()))
    }

    /// Id and path, as the rest of the program knows cgroups.
    pub(super) fn known_as(&self) -> &Cgroup {
        &self.known_as
    }

    /// Who writes `0` to it is in.
    pub(super) fn entrance(&self) -> Result<OwnedFd, SandboxError> {
        let procs = self.directory.join("cgroup.procs");
        match OpenOptions::new().write(true).open(&procs) {
            Ok(file) => Ok(file.into()),
            Err(error) => Err(refused(&procs, error)),
        }
    }
}

impl Drop for HeldCgroup {
    fn drop(&mut self) {
        if let Err(error) = empty_and_remove(&self.directory) {
            tracing::warn!(cgroup = %self.directory.display(), %error, "the cgroup of a sandbox stays behind");
        }
        if let Some(parent) = self.directory.parent() {
            // Others may live there: then it stays, and the last one takes it along.
            let _ = fs::remove_dir(parent);
        }
    }
}

/// Removes the sandboxes below `parent` whose owner is gone; what cannot be removed is for the next one to try.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_name().to_str().is_some_and(is_name)) {
        let directory = entry.path();
        if let Ok(Some(_lock)) = lock(&directory)
            && let Err(error) = empty_and_remove(&directory)
        {
            tracing::warn!(cgroup = %directory.display(), %error, "the cgroup of a dead sandbox stays behind");
        }
    }
}

fn next_name(label: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{label}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// `<label>-<pid>-<n>`: the names that are ours to sweep.
fn is_name(name: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let mut parts = name.rsplitn(3, '-');
    let (number, pid, label) = (parts.next(), parts.next(), parts.next());
    number.is_some_and(is_number) && pid.is_some_and(is_number) && label.is_some_and(|label| !label.is_empty())
}

fn make_directory(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// Makes `directory` and takes its lock; none if the name is taken, or a sweeper was faster.
fn claim(directory: &Path) -> io::Result<Option<OwnedFd>> {
    match fs::create_dir(directory) {
        Ok(()) => lock(directory),
        // Not found: the parent was somebody's last, and went between its making and this.
        Err(error) if matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The lock of `directory`; none if somebody holds it, or the directory is gone.
fn lock(directory: &Path) -> io::Result<Option<OwnedFd>> {
    let flags = (OFlags::DIRECTORY | OFlags::NOFOLLOW).bits().cast_signed();
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(directory) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    // Between open and lock another one may have removed it: then this is the lock of nothing.
    let is_there =
        fs::metadata(directory).is_ok_and(|there| file.metadata().is_ok_and(|here| here.ino() == there.ino()));
    Ok(is_there.then(|| file.into()))
}

fn identify(parent: &Path, id: &str) -> io::Result<Cgroup> {
    Ok(Cgroup {
        id: CgroupId(fs::metadata(parent.join(id))?.ino()),
        parent: CgroupId(fs::metadata(parent)?.ino()),
        path: format!("/{PARENT}/{id}"),
        container: Some(Identity { runtime: Runtime::SignalTrace, id: id.into(), pod_uid: None }),
    })
}

fn refused(path: &Path, error: io::Error) -> SandboxError {
    match Errno::from_io_error(&error) {
        Some(Errno::ROFS) => SandboxError::ReadOnlyCgroup(path.into()),
        Some(Errno::ACCESS | Errno::PERM) => SandboxError::NotPrivileged,
        _ => SandboxError::Cgroup { path: path.into(), source: error },
    }
}

/// Kills who lives in `directory` or below it and removes all of it, within a bound.
fn empty_and_remove(directory: &Path) -> io::Result<()> {
    let deadline = Instant::now() + EMPTY_WITHIN;
    loop {
        let events = match File::open(directory.join("cgroup.events")) {
            Ok(events) => events,
            Err(error) if is_gone(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        // Read before the try, so that what changes after it wakes the poll below.
        let tried = is_populated(&events)
            .and_then(|populated| if populated { kill_all(directory) } else { Ok(()) })
            .and_then(|()| remove_tree(directory));
        match tried {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() >= deadline => return Err(error),
            Err(error) if is_gone(&error) => {}
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => wait_for_change(&events)?,
            Err(error) => return Err(error),
        }
    }
}

/// The directory that was to be read, or the file of it, went meanwhile: a container may remove what it made.
fn is_gone(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOENT | Errno::NODEV))
}

fn wait_for_change(events: &File) -> io::Result<()> {
    let at_most = Timespec::try_from(LOOK_AGAIN).map_err(io::Error::other)?;
    match poll(&mut [PollFd::new(events, PollFlags::PRI)], Some(&at_most)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn is_populated(mut events: &File) -> io::Result<bool> {
    let mut text = String::new();
    events.read_to_string(&mut text)?;
    Ok(text.lines().any(|line| line == "populated 1"))
}

fn kill_all(directory: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).open(directory.join("cgroup.kill")) {
        Ok(mut kill) => io::Write::write_all(&mut kill, b"1"),
        // Before Linux 5.14. Who forks meanwhile is met by the caller's next round.
        Err(error) if error.kind() == io::ErrorKind::NotFound => kill_each(directory),
        Err(error) => Err(error),
    }
}

fn kill_each(directory: &Path) -> io::Result<()> {
    for child in child_directories(directory)? {
        kill_each(&child)?;
    }
    let members = || fs::read_to_string(directory.join("cgroup.procs"));
    // A zero stands for a process of a pid namespace that is not below ours.
    for pid in members()?.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)) {
        let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
        // The pid may have come again between the list and the descriptor: who stands in the list now is who is meant.
        if members()?.lines().any(|line| line == pid.as_raw_nonzero().to_string()) {
            let _ = pidfd_send_signal(&pidfd, Signal::KILL);
        }
    }
    Ok(())
}

/// Removes `directory` and the cgroups that its processes may have made below it.
fn remove_tree(directory: &Path) -> io::Result<()> {
    for child in child_directories(directory)? {
        remove_tree(&child)?;
    }
    fs::remove_dir(directory)
}

fn child_directories(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut children = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            children.push(entry.path());
        }
    }
    Ok(children)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_names_are_swept() {
        for ours in ["check-1-0", "self-test-4194304-12", &next_name("demo")] {
            assert!(is_name(ours), "{ours}");
        }
        for other in ["", "check", "check-1", "-1-0", "check-1-", "check--0", "check-x-0", "check-1-0.scope", "1-0"] {
            assert!(!is_name(other), "{other}");
        }
    }

    #[test]
    fn a_lock_has_one_holder_at_a_time() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = scratch.path().join("check-1-0");
        let held = claim(&directory).unwrap();
        assert!(held.is_some());
        assert!(claim(&directory).unwrap().is_none(), "the name is taken");
        assert!(lock(&directory).unwrap().is_none(), "the owner lives");
        drop(held);
        assert!(lock(&directory).unwrap().is_some(), "the owner is gone");
        fs::remove_dir(&directory).unwrap();
        assert!(lock(&directory).unwrap().is_none(), "nothing to hold");
    }
}
