//! What this process gives up once the programs run: it can then read what it has to, and do nothing to anybody.
//!
//! Loading takes privileges that following does not. So they are given up for good right after it, before the first
//! request is answered and the first name from a stranger is read: capabilities, files beyond a list, system calls
//! beyond a list. What is given up belongs to a thread, and threads inherit it: there must be one thread only. Nothing
//! here knows what is traced.

mod calls;
mod capabilities;
mod files;

use std::fmt;
use std::io;
use std::path::PathBuf;

use rustix::io::Errno;
use rustix::thread::{CapabilitySet, set_no_new_privs};

pub use self::calls::CallsError;
pub use self::files::FilesError;

/// How much is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All that is not needed.
    All,
    /// Capabilities alone: for who has to start programs that need the rest.
    Capabilities,
}

/// What is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confined {
    /// Capabilities that are still held.
    pub capabilities: CapabilitySet,
    /// Whether the kernel holds files against the list.
    pub files: bool,
    /// Whether the kernel holds system calls against the list.
    pub calls: bool,
}

/// Why nothing is certain: whoever asked for it should end.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// What they hold would stay theirs.
    #[error("cannot give up privileges: {0} threads run already, and only one can be confined")]
    Threads(usize),
    /// The kernel refuses.
    #[error("cannot give up {what}: start with --confine=false to keep all privileges")]
    Refused {
        /// What should have been given up.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// Files.
    #[error("cannot give up files: start with --confine=false to keep all privileges")]
    Files(#[from] FilesError),
    /// System calls.
    #[error("cannot give up system calls: start with --confine=false to keep all privileges")]
    Calls(#[from] CallsError),
}

/// Gives up all that is not needed to follow, for good. `reads` are the files and folders that are read beside the
/// kernel's own; `tables_answer` says whether the programs' tables can be read with what is left at that moment.
///
/// # Errors
///
/// See [`ConfineError`]. A kernel without Landlock is none: system calls that write are refused anyway.
pub fn confine(extent: Extent, reads: &[PathBuf], tables_answer: impl Fn() -> bool) -> Result<Confined, ConfineError> {
    let threads = refused("threads", std::fs::read_dir("/proc/self/task"))?.count();
    if threads != 1 {
        return Err(ConfineError::Threads(threads));
    }
    let capabilities = capabilities::give_up(tables_answer).map_err(of_kernel("capabilities"))?;
    if extent == Extent::Capabilities {
        return Ok(Confined { capabilities, files: false, calls: false });
    }
    set_no_new_privs(true).map_err(of_kernel("new privileges"))?;
    // Landlock takes away what SYS_PTRACE is held for: to look which pid namespace a process is in.
    let files = !capabilities.contains(CapabilitySet::SYS_PTRACE) && files::read_only(reads)?;
    calls::list()?;
    Ok(Confined { capabilities, files, calls: true })
}

fn refused<T>(what: &'static str, result: io::Result<T>) -> Result<T, ConfineError> {
    result.map_err(|source| ConfineError::Refused { what, source })
}

fn of_kernel(what: &'static str) -> impl Fn(Errno) -> ConfineError {
    move |error| ConfineError::Refused { what, source: error.into() }
}

impl fmt::Display for Confined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept: Vec<&str> = self.capabilities.iter_names().map(|(name, _)| name).collect();
        let kept = if kept.is_empty() { "none".to_owned() } else { kept.join(", ") };
        write!(f, "capabilities: {kept}; files: ")?;
        f.write_str(if self.files { "a list, read-only" } else { "not listed" })?;
        f.write_str("; system calls: ")?;
        f.write_str(if self.calls { "a list, none that signals, writes or starts" } else { "all" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_said_in_a_line() {
        let none = Confined { capabilities: CapabilitySet::empty(), files: true, calls: true };
        assert_eq!(
            none.to_string(),
            "capabilities: none; files: a list, read-only; system calls: a list, none that signals, writes or starts"
        );
        let capabilities = CapabilitySet::BPF | CapabilitySet::SYS_PTRACE;
        let some = Confined { capabilities, files: false, calls: false };
        assert_eq!(some.to_string(), "capabilities: SYS_PTRACE, BPF; files: not listed; system calls: all");
    }

    #[test]
    fn nothing_is_given_up_by_one_thread_of_many() {
        // The test itself is a thread beside the main one.
        let refused = confine(Extent::All, &[], || true).unwrap_err();
        assert!(matches!(refused, ConfineError::Threads(2..)), "{refused}");
    }
}
