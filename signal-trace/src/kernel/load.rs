//! Loads and attaches the programs, and says in one sentence why it cannot.
//!
//! The object is part of this executable. Nothing is pinned: when the process ends, the kernel lets go of everything.

use std::io;

use aya::maps::MapError;
use aya::programs::{BtfTracePoint, ProgramError};
use aya::{Btf, Ebpf, EbpfError, EbpfLoader, Endianness};
use aya_log::{EbpfLogger, Level as LogLevel};
use rustix::process::{Resource, Rlimit, setrlimit};
use signal_trace_ebpf::{BULK_RING_BYTES, INIT_RING_BYTES, Offsets};

use super::error::{Forbidder, LoadError};
use super::preflight::{Examination, Host, examine};
use crate::memory;

/// The programs, each named after the tracepoint that it runs on. Attached in this order: what makes and ends cgroups
/// before what happens in them.
pub(super) const PROGRAMS: [&str; 7] =
    ["cgroup_mkdir", "cgroup_rmdir", "cgroup_attach_task", LIVES[0], LIVES[1], "mark_victim", SIGNALS];

/// The ones that see births and ends.
pub(super) const LIVES: [&str; 2] = ["sched_process_fork", "sched_process_exit"];

/// The one that sees signals.
pub(super) const SIGNALS: &str = "signal_generate";

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/signal-trace-programs"));

/// Memory that the tables take in the kernel besides the rings, rounded up.
const TABLE_BYTES: u64 = 4 << 20;

/// Lines of a verifier's log that are shown: the last ones hold the reason.
const LOG_LINES: usize = 8;

/// How the programs are to be loaded.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the machine shows itself.
    pub host: Host,
    /// Size of the ring of init-directed stop signals, kills and init exits: a power of two of pages.
    pub init_ring_bytes: u32,
    /// Size of the ring of all other records: a power of two of pages.
    pub bulk_ring_bytes: u32,
    /// What the programs may log of what they refuse; nothing, unless someone looks for a fault.
    pub log_level: Option<LogLevel>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            host: Host::default(),
            init_ring_bytes: INIT_RING_BYTES,
            bulk_ring_bytes: BULK_RING_BYTES,
            log_level: None,
        }
    }
}

impl Settings {
    /// Kernel memory that the maps take, for the limit that kernels before 5.11 hold against it.
    pub fn locked_bytes(&self) -> u64 {
        TABLE_BYTES + u64::from(self.init_ring_bytes) + u64::from(self.bulk_ring_bytes)
    }
}

/// Loads the object and attaches every program.
pub(super) fn load(settings: &Settings) -> Result<Ebpf, LoadError> {
    let Examination { lockdown, offsets, raise_memlock, lacks, .. } = examine(&settings.host, settings.locked_bytes());
    if let Some(gravest) = lacks.into_iter().next() {
        return Err(gravest);
    }
    let by = lockdown.map_or(Forbidder::Unknown, Forbidder::Lockdown);
    if raise_memlock {
        let unlimited = Rlimit { current: None, maximum: None };
        setrlimit(Resource::Memlock, unlimited).map_err(|e| LoadError::RaiseMemlock(e.into()))?;
    }
    let offsets = Offsets { bulk_wakeup_bytes: settings.bulk_ring_bytes / 4, ..offsets.unwrap_or_default() };
    let mut ebpf = prepare(settings, offsets, &by)?;
    let types = settings.host.sys.join("kernel/btf/vmlinux");
    let types = Btf::parse_file(types, Endianness::default()).map_err(LoadError::Types)?;
    for program in PROGRAMS {
        attach(&mut ebpf, program, &types, &by)?;
    }
    drop(types);
    memory::give_back();
    Ok(ebpf)
}

/// What passes the programs' log on to the logger of this process.
pub(super) fn logger(ebpf: &mut Ebpf) -> Result<Box<dyn FnMut() + Send>, LoadError> {
    let mut logger = EbpfLogger::init(ebpf).map_err(LoadError::Log)?;
    Ok(Box::new(move || logger.flush()))
}

/// Makes the maps.
fn prepare(settings: &Settings, offsets: Offsets, by: &Forbidder) -> Result<Ebpf, LoadError> {
    let offsets = Global(offsets);
    let log_level = settings.log_level.map_or(0, u8::from);
    let mut loader = EbpfLoader::new();
    loader
        .btf(None)
        .override_global("OFFSETS", &offsets, true)
        .override_global(aya_log::LEVEL, &log_level, true)
        .map_max_entries("INIT_RECORDS", settings.init_ring_bytes)
        .map_max_entries("BULK_RECORDS", settings.bulk_ring_bytes);
    if log_level == 0 {
        loader.map_max_entries("AYA_LOGS", 1);
    }
    loader.load(OBJECT).map_err(|error| {
        if let EbpfError::MapError(MapError::CreateError { name, io_error }) = &error
            && io_error.kind() == io::ErrorKind::PermissionDenied
        {
            let what = format!("the map {name}");
            return LoadError::Forbidden { what, by: by.clone(), source: Box::new(error) };
        }
        LoadError::Object(Box::new(error))
    })
}

fn attach(ebpf: &mut Ebpf, name: &'static str, types: &Btf, by: &Forbidder) -> Result<(), LoadError> {
    let failed = |source| LoadError::Attach { program: name, source: Box::new(source) };
    let program: &mut BtfTracePoint = match ebpf.program_mut(name) {
        Some(program) => program.try_into().map_err(failed)?,
        None => return Err(failed(ProgramError::NotLoaded)),
    };
    program.load(name, types).map_err(|error| {
        let ProgramError::LoadError { io_error, verifier_log } = &error else { return failed(error) };
        let log = last_lines(&verifier_log.to_string());
        // Who refuses a program for what is in it explains why; who forbids the call does not.
        if log.is_empty() && io_error.kind() == io::ErrorKind::PermissionDenied {
            let what = format!("the program {name}");
            return LoadError::Forbidden { what, by: by.clone(), source: Box::new(error.into()) };
        }
        LoadError::Refused { program: name, log }
    })?;
    program.attach().map_err(failed)?;
    Ok(())
}

/// The end of a verifier's log, without its statistics.
fn last_lines(log: &str) -> String {
    let said: Vec<&str> = log.lines().filter(|line| !is_statistic(line)).collect();
    said[said.len().saturating_sub(LOG_LINES)..].join("\n")
}

fn is_statistic(line: &str) -> bool {
    line.trim().is_empty()
        || ["verification time", "stack depth", "processed "].iter().any(|start| line.starts_with(start))
}

/// The offsets as the loader takes them: plain bytes.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Global(Offsets);

// SAFETY: a `repr(C)` struct of 32-bit numbers only: it has no padding, and any bytes are a value of it.
#[expect(unsafe_code, reason = "the loader copies the value as bytes")]
unsafe impl aya::Pod for Global {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use aya_obj::{Object, ProgramSection};

    use super::*;

    #[test]
    fn the_object_holds_these_programs_and_no_others() {
        let object = Object::parse(OBJECT).unwrap();
        let named: BTreeSet<&str> = object.programs.keys().map(String::as_str).collect();
        assert_eq!(named, BTreeSet::from(PROGRAMS));
        assert!(object.programs.values().all(|program| matches!(program.section, ProgramSection::BtfTracePoint)));
        assert_eq!(object.license.to_str(), Ok("Dual MIT/GPL"));
    }

    #[test]
    fn the_programs_call_only_what_5_10_has_and_nothing_that_reads_memory() {
        const CALL: u8 = 0x85;
        /// `bpf_redirect_peer`, the last one of 5.10.
        const LAST_OF_5_10: i32 = 155;
        /// `bpf_get_current_task_btf`, behind a flag that is only set where it exists.
        const GUARDED: i32 = 158;
        /// All the `bpf_probe_read` and `bpf_probe_write` there are up to 5.10: lockdown refuses them.
        const PROBES: [i32; 8] = [4, 36, 45, 112, 113, 114, 115, 148];
        let object = Object::parse(OBJECT).unwrap();
        let instructions = object.functions.values().flat_map(|function| &function.instructions);
        let called: BTreeSet<i32> =
            instructions.filter(|i| i.code == CALL && i.src_reg() == 0).map(|i| i.imm).collect();
        assert!(called.contains(&131), "bpf_ringbuf_reserve is called: {called:?}");
        let newer: Vec<_> = called.iter().filter(|id| **id > LAST_OF_5_10).collect();
        assert_eq!(newer, [&GUARDED]);
        assert!(called.is_disjoint(&BTreeSet::from(PROBES)), "{called:?}");
    }

    #[test]
    fn the_end_of_a_verifiers_log_is_shown_without_its_statistics() {
        let log = "0: (b7) r0 = 0\n1: (61) r1 = *(u32 *)(r1 +4)\ninvalid access to it\n\
                   verification time 55 usec\nstack depth 0\nprocessed 2 insns (limit 1000000)\n\n";
        assert_eq!(last_lines(log), "0: (b7) r0 = 0\n1: (61) r1 = *(u32 *)(r1 +4)\ninvalid access to it");
        let long: Vec<String> = (0..100).map(|n| format!("line {n}")).collect();
        assert_eq!(last_lines(&long.join("\n")).lines().next(), Some("line 92"));
        assert_eq!(last_lines("processed 0 insns\n"), "");
    }

    #[test]
    fn what_the_maps_take_covers_their_tables() {
        let (tracked, open) = (u64::from(signal_trace_ebpf::MAX_TRACKED), u64::from(signal_trace_ebpf::MAX_WINDOWS));
        // An entry has a header of 48 bytes and an 8-byte key, a bucket 16; kernels round their number up by the next power of two.
        let tables = tracked * (48 + 8 + 24 + 16) + open * (48 + 8 + 16 + 16);
        assert!(tables < TABLE_BYTES, "{tables}");
        let settings = Settings { init_ring_bytes: 1 << 12, bulk_ring_bytes: 1 << 13, ..Settings::default() };
        assert_eq!(settings.locked_bytes(), TABLE_BYTES + (3 << 12));
    }
}
