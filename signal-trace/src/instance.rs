//! One instance of a role on a machine: two would load the same programs twice and count every shutdown twice.
//!
//! A lock on a file, which the kernel gives back however the holder ends. What is in the file is for people: the pid of
//! the holder, as the holder knows it. Nothing here knows what an instance does.

use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::event::Pid;

/// Where the lock is, in order: the second for a container whose root, `/run` included, is read-only.
const DIRECTORIES: [&str; 2] = ["/run/signal-trace", "/dev/shm/signal-trace"];

/// What there may be one of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `signal-trace watch`.
    Watch,
    /// `signal-trace agent`.
    Agent,
}

impl Role {
    /// The subcommand.
    pub fn name(self) -> &'static str {
        match self {
            Self::Watch => "watch",
            Self::Agent => "agent",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The right to be the one; given back when dropped.
#[derive(Debug)]
pub struct Instance {
    _lock: File,
}

impl Instance {
    /// Takes the role on this machine, or says who has it.
    ///
    /// # Errors
    ///
    /// See [`InstanceError`].
    pub fn acquire(role: Role) -> Result<Self, InstanceError> {
        Self::acquire_in(&DIRECTORIES.map(Path::new), role)
    }

    /// As [`Instance::acquire`], in the first of `directories` that can hold the lock. It is made if only that is missing.
    ///
    /// # Errors
    ///
    /// See [`InstanceError`].
    pub fn acquire_in(directories: &[&Path], role: Role) -> Result<Self, InstanceError> {
        let mut refusals = Vec::new();
        for directory in directories {
            match open(directory, role) {
                Ok(file) => return lock(file, role),
                Err(error) => refusals.push(format!("{}: {error}", directory.display())),
            }
        }
        Err(InstanceError::NoPlace { role, refusals: refusals.join(", ") })
    }
}

/// Why the role is not ours.
#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    /// Another process has it.
    #[error("signal-trace {role} already runs {}", holder_and_way_out(*.holder))]
    Held {
        /// Which role.
        role: Role,
        /// Who has it; none if it had not said so yet.
        holder: Option<Pid>,
    },
    /// No directory could hold the lock.
    #[error("no place for the lock of signal-trace {role} ({refusals}): run as root, and make one of them writable")]
    NoPlace {
        /// Which role.
        role: Role,
        /// Each directory with its reason.
        refusals: String,
    },
    /// The kernel refuses to lock.
    #[error("the lock of signal-trace {role} cannot be taken")]
    Lock {
        /// Which role.
        role: Role,
        /// Why.
        source: io::Error,
    },
}

fn holder_and_way_out(holder: Option<Pid>) -> String {
    match holder {
        Some(Pid(pid)) => format!("with pid {pid}: stop that one first (kill {pid})"),
        None => "as a process that just started: stop that one first".into(),
    }
}

/// The file of the lock, in a directory that nobody else could have put there.
fn open(directory: &Path, role: Role) -> io::Result<File> {
    match DirBuilder::new().mode(0o755).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    // In a directory that others may write to, as /dev/shm, anybody can be first.
    let found = directory.symlink_metadata()?;
    if !found.is_dir() || found.uid() != geteuid().as_raw() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "somebody else's"));
    }
    let no_link = OFlags::NOFOLLOW.bits().cast_signed();
    let path: PathBuf = directory.join(format!("{role}.lock"));
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o644).custom_flags(no_link).open(path)
}

fn lock(mut file: File, role: Role) -> Result<Instance, InstanceError> {
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {
            // The file is never removed: who opened it and waits would lock what nobody else can see.
            sign(&mut file).map_err(|source| InstanceError::Lock { role, source })?;
            Ok(Instance { _lock: file })
        }
        Err(Errno::WOULDBLOCK) => {
            let mut text = String::new();
            let read = file.read_to_string(&mut text);
            let holder = read.ok().and_then(|_| text.trim().parse().ok()).map(Pid);
            Err(InstanceError::Held { role, holder })
        }
        Err(error) => Err(InstanceError::Lock { role, source: error.into() }),
    }
}

fn sign(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_is_the_first() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = scratch.path().join("signal-trace");
        let first = Instance::acquire_in(&[&directory], Role::Watch).unwrap();
        let second = Instance::acquire_in(&[&directory], Role::Watch).unwrap_err();
        let me = std::process::id();
        assert_eq!(
            second.to_string(),
            format!("signal-trace watch already runs with pid {me}: stop that one first (kill {me})")
        );
        Instance::acquire_in(&[&directory], Role::Agent).expect("another role is another lock");
        drop(first);
        Instance::acquire_in(&[&directory], Role::Watch).expect("given back");
    }

    #[test]
    fn what_a_dead_holder_left_is_overwritten() {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::write(scratch.path().join("agent.lock"), "4194304999\n").unwrap();
        let _held = Instance::acquire_in(&[scratch.path()], Role::Agent).unwrap();
        let text = std::fs::read_to_string(scratch.path().join("agent.lock")).unwrap();
        assert_eq!(text, format!("{}\n", std::process::id()));
    }

    #[test]
    fn the_next_place_is_taken_where_the_first_cannot_be() {
        let scratch = tempfile::tempdir().unwrap();
        let (missing, usable) = (scratch.path().join("not/there"), scratch.path().join("usable"));
        let _held = Instance::acquire_in(&[&missing, &usable], Role::Agent).unwrap();
        assert!(usable.join("agent.lock").is_file());
        let nowhere = Instance::acquire_in(&[&missing], Role::Agent).unwrap_err().to_string();
        assert!(nowhere.contains("not/there: No such file") && nowhere.contains("writable"), "{nowhere}");
    }

    #[test]
    fn links_are_not_followed() {
        let scratch = tempfile::tempdir().unwrap();
        let (elsewhere, link) = (scratch.path().join("elsewhere"), scratch.path().join("link"));
        std::fs::create_dir(&elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &link).unwrap();
        assert!(Instance::acquire_in(&[&link], Role::Watch).is_err(), "a directory that is a link");
        std::os::unix::fs::symlink(scratch.path().join("victim"), elsewhere.join("watch.lock")).unwrap();
        assert!(Instance::acquire_in(&[&elsewhere], Role::Watch).is_err(), "a file that is a link");
        assert!(!scratch.path().join("victim").exists());
    }
}
