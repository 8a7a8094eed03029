//! Why the programs cannot run here, in words an operator can act on.

use std::fmt;
use std::io;
use std::path::PathBuf;

use aya::EbpfError;
use aya::maps::MapError;
use aya::programs::ProgramError;

use super::btf::BtfError;
use super::preflight::Release;

/// Why the programs cannot run here, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file of procfs could not be read.
    #[error("cannot read {}: mount procfs there", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file of procfs does not say what it should.
    #[error("{} does not have the form that Linux gives it", path.display())]
    Unintelligible {
        /// Which.
        path: PathBuf,
    },
    /// The kernel's verifier is older than any that the programs were tried with.
    #[error("Linux {release} is too old: the programs need {oldest} or later")]
    TooOld {
        /// This kernel.
        release: Release,
        /// What is needed.
        oldest: Release,
    },
    /// The process may not load programs.
    #[error("{missing} missing: run as root, or add the capabilities BPF and PERFMON to the container")]
    Capabilities {
        /// The names of those that are not there.
        missing: &'static str,
    },
    /// Kernels before 5.11 count maps against the limit on locked memory, and it is too low.
    #[error(
        "the limit on locked memory is {limit} bytes and the maps need {needed}: raise it (`ulimit -l unlimited`, \
         LimitMEMLOCK=infinity) or add the capability SYS_RESOURCE"
    )]
    Memlock {
        /// The limit.
        limit: u64,
        /// What is needed.
        needed: u64,
    },
    /// The limit on locked memory could not be raised though the capability is there.
    #[error("cannot raise the limit on locked memory: raise it before the start (`ulimit -l unlimited`)")]
    RaiseMemlock(#[source] io::Error),
    /// The kernel does not tell its types.
    #[error(
        "cannot read {}: the kernel must be built with CONFIG_DEBUG_INFO_BTF=y, and sysfs mounted there",
        path.display()
    )]
    NoBtf {
        /// Where they were looked for.
        path: PathBuf,
        /// Why they could not be read.
        source: io::Error,
    },
    /// The kernel's types lack something that the programs read.
    #[error(transparent)]
    Btf(#[from] BtfError),
    /// The types were readable, but not to the library that loads the programs.
    #[error("the kernel's types cannot be parsed")]
    Types(#[source] aya::BtfError),
    /// bpf(2) was forbidden although the capabilities are there.
    #[error("the kernel forbids {what} although the capabilities are there: {by}")]
    Forbidden {
        /// What it forbade.
        what: String,
        /// Who is likely to forbid it.
        by: Forbidder,
        /// The call that failed.
        source: Box<EbpfError>,
    },
    /// The object was not accepted as a whole.
    #[error("the programs cannot be prepared")]
    Object(#[source] Box<EbpfError>),
    /// The verifier refused a program.
    #[error(
        "the kernel's verifier refused the program {program}; report the kernel's version with these lines:\n{log}"
    )]
    Refused {
        /// Which.
        program: &'static str,
        /// The last lines of what the verifier said.
        log: String,
    },
    /// A program was accepted, but not on its tracepoint.
    #[error("the program {program} cannot be attached")]
    Attach {
        /// Which.
        program: &'static str,
        /// Why not.
        source: Box<ProgramError>,
    },
    /// A map of the object is not what this daemon takes it for.
    #[error("the map {map} is not usable")]
    Map {
        /// Which.
        map: &'static str,
        /// Why not.
        source: Box<MapError>,
    },
    /// The programs' log cannot be read.
    #[error("cannot read the programs' log")]
    Log(#[source] aya_log::Error),
    /// The rings cannot be waited for.
    #[error("cannot wait for the rings")]
    Poll(#[source] io::Error),
}

/// What forbids bpf(2) to a process that has the capabilities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forbidder {
    /// The kernel is locked down, in this mode, and its distributor extended that to programs.
    Lockdown(String),
    /// Something that does not show.
    Unknown,
}

impl fmt::Display for Forbidder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lockdown(mode) => {
                write!(
                    f,
                    "it is locked down ({mode}); boot with `lockdown=none`, or use a kernel that lets programs in"
                )
            }
            Self::Unknown => f.write_str(
                "a seccomp filter without bpf(2), an LSM's policy (AppArmor, SELinux), or a user namespace of its own",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_forbids_is_told_by_name_where_it_shows() {
        let error = LoadError::Forbidden {
            what: "the map OPEN".into(),
            by: Forbidder::Lockdown("integrity".into()),
            source: Box::new(EbpfError::NoBTF),
        };
        assert!(error.to_string().starts_with("the kernel forbids the map OPEN although the capabilities are there"));
        assert!(error.to_string().contains("locked down (integrity)"));
        assert!(Forbidder::Unknown.to_string().contains("seccomp"));
    }
}
