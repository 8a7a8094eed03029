//! What this machine lacks to run the programs, found out before anything is loaded.
//!
//! Files are read below roots that come in as parameters, so what is said can be tested without being root and without
//! such a machine. It knows what the programs need; how they are loaded is `load.rs`.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use signal_trace_ebpf::Offsets;

use super::btf;
use super::error::LoadError;

/// The oldest kernel whose verifier is known to take the programs.
const OLDEST: Release = Release { major: 5, minor: 10 };
/// From here on maps are charged to the memory cgroup, not against the limit on locked memory.
const MAPS_ARE_NOT_LOCKED: Release = Release { major: 5, minor: 11 };

/// Where a machine shows itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Where sysfs is mounted.
    pub sys: PathBuf,
    /// Where procfs is mounted.
    pub proc: PathBuf,
}

impl Default for Host {
    fn default() -> Self {
        Self { sys: "/sys".into(), proc: "/proc".into() }
    }
}

/// What was found out.
#[derive(Debug)]
pub struct Examination {
    /// The kernel's release, where it could be read.
    pub release: Option<Release>,
    /// The lockdown mode, if there is one: no obstacle in itself, but a reason for a refusal.
    pub lockdown: Option<String>,
    /// Where the kernel's members lie; `bulk_wakeup_bytes` is not set.
    pub offsets: Option<Offsets>,
    /// Whether the limit on locked memory is in the way and may be raised.
    pub(super) raise_memlock: bool,
    /// What is in the way, gravest first; with nothing here the programs can be loaded.
    pub lacks: Vec<LoadError>,
}

/// Looks at everything, so that all that is missing can be told at once.
pub fn examine(host: &Host, locked_bytes: u64) -> Examination {
    let mut lacks = Vec::new();
    let release = note(release(host), &mut lacks);
    if let Some(release) = release.filter(|release| *release < OLDEST) {
        lacks.push(LoadError::TooOld { release, oldest: OLDEST });
    }
    let capabilities = note(capabilities(host), &mut lacks);
    if let Some(missing) = capabilities.and_then(Capabilities::missing) {
        lacks.push(LoadError::Capabilities { missing });
    }
    let mut raise_memlock = false;
    if release.is_some_and(|release| release < MAPS_ARE_NOT_LOCKED) {
        let limit = note(memlock(host), &mut lacks).unwrap_or(u64::MAX);
        raise_memlock = limit < locked_bytes;
        if raise_memlock && !capabilities.is_some_and(|held| held.has(Capabilities::SYS_RESOURCE)) {
            lacks.push(LoadError::Memlock { limit, needed: locked_bytes });
        }
    }
    let offsets = note(offsets(host), &mut lacks);
    Examination { release, lockdown: lockdown(host), offsets, raise_memlock, lacks }
}

/// The first two numbers of a kernel's release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release {
    /// The first.
    pub major: u32,
    /// The second.
    pub minor: u32,
}

impl Release {
    /// From `6.1.0-13-amd64`, `5.10.223+` and the like.
    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.trim().split(|c: char| !c.is_ascii_digit());
        Some(Self { major: numbers.next()?.parse().ok()?, minor: numbers.next()?.parse().ok()? })
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

fn release(host: &Host) -> Result<Release, LoadError> {
    let path = host.proc.join("sys/kernel/osrelease");
    let text = read(&path)?;
    Release::parse(&text).ok_or(LoadError::Unintelligible { path })
}

/// The effective capabilities of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Capabilities(u64);

impl Capabilities {
    const SYS_ADMIN: u32 = 21;
    const SYS_RESOURCE: u32 = 24;
    const PERFMON: u32 = 38;
    const BPF: u32 = 39;

    fn has(self, capability: u32) -> bool {
        self.0 & 1 << capability != 0
    }

    /// The names of those that loading needs and that are not there.
    fn missing(self) -> Option<&'static str> {
        if self.has(Self::SYS_ADMIN) {
            return None;
        }
        match (self.has(Self::BPF), self.has(Self::PERFMON)) {
            (true, true) => None,
            (true, false) => Some("CAP_PERFMON"),
            (false, true) => Some("CAP_BPF"),
            (false, false) => Some("CAP_BPF and CAP_PERFMON"),
        }
    }
}

fn capabilities(host: &Host) -> Result<Capabilities, LoadError> {
    let path = host.proc.join("self/status");
    let text = read(&path)?;
    let line = text.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = line.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    bits.map(Capabilities).ok_or(LoadError::Unintelligible { path })
}

/// The soft limit on locked memory, in bytes.
fn memlock(host: &Host) -> Result<u64, LoadError> {
    let path = host.proc.join("self/limits");
    let text = read(&path)?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max locked memory"));
    match line.and_then(|limits| limits.split_whitespace().next()) {
        Some("unlimited") => Ok(u64::MAX),
        Some(limit) => limit.parse().map_err(|_| LoadError::Unintelligible { path }),
        None => Err(LoadError::Unintelligible { path }),
    }
}

/// The mode between brackets; none where the kernel has no lockdown or is not locked down.
fn lockdown(host: &Host) -> Option<String> {
    let text = fs::read_to_string(host.sys.join("kernel/security/lockdown")).ok()?;
    let (_, rest) = text.split_once('[')?;
    let (mode, _) = rest.split_once(']')?;
    (mode != "none").then(|| mode.to_owned())
}

/// Reads the kernel's types, five megabytes of them, and lets go of them again.
fn offsets(host: &Host) -> Result<Offsets, LoadError> {
    let path = host.sys.join("kernel/btf/vmlinux");
    let types = fs::read(&path).map_err(|source| LoadError::NoBtf { path, source })?;
    Ok(btf::resolve(&types)?)
}

fn read(path: &Path) -> Result<String, LoadError> {
    fs::read_to_string(path).map_err(|source| LoadError::Unreadable { path: path.to_owned(), source })
}

fn note<T>(result: Result<T, LoadError>, lacks: &mut Vec<LoadError>) -> Option<T> {
    result.map_err(|lack| lacks.push(lack)).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    const ALL: &str = "000001ffffffffff";
    const BPF_AND_PERFMON: &str = "000000c000000000";

    #[test]
    fn a_machine_without_types_is_told_so_and_nothing_else() {
        let machine = Machine::new("6.1.0-13-amd64", BPF_AND_PERFMON, "8388608");
        let found = machine.examine();
        assert_eq!(found.release, Some(Release { major: 6, minor: 1 }));
        assert!(matches!(found.lacks[..], [LoadError::NoBtf { .. }]), "{:?}", found.lacks);
        assert!(found.lacks[0].to_string().contains("CONFIG_DEBUG_INFO_BTF=y"));
        assert!(found.offsets.is_none());
    }

    #[test]
    fn types_that_are_none_are_an_error_of_their_own() {
        let machine = Machine::new("6.1.0", ALL, "8388608");
        machine.write("sys/kernel/btf/vmlinux", "no types");
        assert!(matches!(machine.examine().lacks[..], [LoadError::Btf(_)]));
    }

    #[test]
    fn missing_capabilities_are_named() {
        for (bits, missing) in [
            ("0000000000000000", Some("CAP_BPF and CAP_PERFMON")),
            ("0000008000000000", Some("CAP_PERFMON")),
            ("0000004000000000", Some("CAP_BPF")),
            (BPF_AND_PERFMON, None),
            ("0000000000200000", None),
            (ALL, None),
        ] {
            let lacks = Machine::new("6.1.0", bits, "8388608").examine().lacks;
            let named = lacks
                .iter()
                .find_map(|lack| if let LoadError::Capabilities { missing } = lack { Some(*missing) } else { None });
            assert_eq!(named, missing, "{bits}");
        }
    }

    #[test]
    fn a_kernel_must_be_new_enough() {
        for (text, too_old) in
            [("5.9.16", true), ("4.19.0-26-amd64", true), ("5.10.223", false), ("5.10-rc1", false), ("10.0.1+", false)]
        {
            let lacks = Machine::new(text, ALL, "unlimited").examine().lacks;
            assert_eq!(lacks.iter().any(|lack| matches!(lack, LoadError::TooOld { .. })), too_old, "{text}");
        }
        let lacks = Machine::new("5.9.16", ALL, "unlimited").examine().lacks;
        assert_eq!(lacks[0].to_string(), "Linux 5.9 is too old: the programs need 5.10 or later");
    }

    #[test]
    fn the_limit_on_locked_memory_matters_before_5_11_to_those_who_may_not_raise_it() {
        for (release, capabilities, limit, lack, raise) in [
            ("5.10.0", BPF_AND_PERFMON, "65536", true, true),
            ("5.10.0", ALL, "65536", false, true),
            ("5.10.0", BPF_AND_PERFMON, "unlimited", false, false),
            ("5.10.0", BPF_AND_PERFMON, "1000000", false, false),
            ("5.11.0", BPF_AND_PERFMON, "65536", false, false),
        ] {
            let found = Machine::new(release, capabilities, limit).examine();
            let lacking = found.lacks.iter().any(|lack| matches!(lack, LoadError::Memlock { .. }));
            assert_eq!((lacking, found.raise_memlock), (lack, raise), "{release} {capabilities} {limit}");
        }
    }

    #[test]
    fn everything_that_is_missing_is_told_at_once() {
        let lacks = Machine::new("5.9.0", "0", "65536").examine().lacks;
        let [
            LoadError::TooOld { .. },
            LoadError::Capabilities { .. },
            LoadError::Memlock { .. },
            LoadError::NoBtf { .. },
        ] = &lacks[..]
        else {
            panic!("{lacks:?}");
        };
    }

    #[test]
    fn a_proc_that_is_not_there_or_not_linux_is_an_error() {
        let machine = Machine::new("not a release", "not bits", "neither");
        assert!(matches!(
            machine.examine().lacks[..],
            [LoadError::Unintelligible { .. }, LoadError::Unintelligible { .. }, LoadError::NoBtf { .. }]
        ));
        let nowhere = Host { sys: machine.root.join("nowhere"), proc: machine.root.join("nowhere") };
        assert!(matches!(
            examine(&nowhere, 0).lacks[..],
            [LoadError::Unreadable { .. }, LoadError::Unreadable { .. }, LoadError::NoBtf { .. }]
        ));
    }

    #[test]
    fn lockdown_is_a_mode_between_brackets() {
        let machine = Machine::new("6.1.0", ALL, "unlimited");
        for (text, mode) in [
            ("[none] integrity confidentiality\n", None),
            ("none [integrity] confidentiality\n", Some("integrity")),
            ("none integrity [confidentiality]\n", Some("confidentiality")),
            ("", None),
        ] {
            machine.write("sys/kernel/security/lockdown", text);
            assert_eq!(machine.examine().lockdown.as_deref(), mode, "{text}");
        }
    }

    /// A machine's files, in a directory that goes with it.
    struct Machine {
        root: PathBuf,
    }

    impl Machine {
        fn new(release: &str, capabilities: &str, memlock: &str) -> Self {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let name = format!("signal-trace-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
            let machine = Self { root: std::env::temp_dir().join(name) };
            machine.write("proc/sys/kernel/osrelease", &format!("{release}\n"));
            machine.write("proc/self/status", &format!("Name:\tx\nCapPrm:\t0\nCapEff:\t{capabilities}\n"));
            let limits = format!("Limit  Soft Limit  Hard Limit  Units\nMax locked memory     {memlock}   8   bytes\n");
            machine.write("proc/self/limits", &limits);
            machine
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn examine(&self) -> Examination {
            examine(&Host { sys: self.root.join("sys"), proc: self.root.join("proc") }, 1_000_000)
        }
    }

    impl Drop for Machine {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.root);
        }
    }
}
