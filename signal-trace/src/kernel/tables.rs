//! The maps that the programs and the daemon share, but for the rings: what is tracked, what is open, what was lost.
//!
//! It knows the layout of keys and values, and that a table can be full. What belongs into it is decided elsewhere.

use std::io;

use aya::Ebpf;
use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray};
use signal_trace_ebpf::{Lost, MAX_TRACKED, MAX_WINDOWS, OPENING_SIGNALS, SIGKILL, Tracked, Window, bit};

use super::error::LoadError;
use crate::event::{CgroupId, KernelTime, Signal};

/// Records that never came, by reason; totals since the programs were loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// No room in the ring of bulk records.
    pub ring_full: u64,
    /// No room in the ring of init-directed stop signals, kills and init exits.
    pub init_ring_full: u64,
    /// No room in the table of tracked cgroups or of open windows.
    pub map_full: u64,
    /// Bytes that were no record of this version.
    pub short_record: u64,
    /// Times that the kernel skipped a program, as of the last time that it was asked.
    pub program_skipped: u64,
}

impl Losses {
    /// Each reason by its name in every output, with its total.
    pub fn by_reason(self) -> [(&'static str, u64); 5] {
        [
            ("ring_full", self.ring_full),
            ("init_ring_full", self.init_ring_full),
            ("map_full", self.map_full),
            ("short_record", self.short_record),
            ("program_skipped", self.program_skipped),
        ]
    }
}

/// Why a table could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// It is full.
    #[error("no room among the {capacity} {what}")]
    Full {
        /// What it holds.
        what: &'static str,
        /// How many of them.
        capacity: u32,
    },
    /// The kernel refused the call.
    #[error("cannot access the table of {what}")]
    Access {
        /// What it holds.
        what: &'static str,
        /// What the kernel said.
        source: MapError,
    },
}

/// Handles of the tables.
pub(super) struct Tables {
    tracked: HashMap<MapData, u64, Entry>,
    open: HashMap<MapData, u64, OpenEntry>,
    extra_signals: Array<MapData, u64>,
    lost: PerCpuArray<MapData, u64>,
    /// Entries that were refused to the daemon itself: the programs count their own.
    refused: u64,
}

const TRACKED: &str = "tracked cgroups";
const OPEN: &str = "open windows";
const EXTRA: &str = "additional signals";
const LOST: &str = "losses";

impl Tables {
    /// Takes them out of the loaded object.
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, LoadError> {
        Ok(Self {
            tracked: take(ebpf, "TRACKED")?,
            open: take(ebpf, "OPEN")?,
            extra_signals: take(ebpf, "EXTRA_SIGNALS")?,
            lost: take(ebpf, "LOST")?,
            refused: 0,
        })
    }

    pub(super) fn track(&mut self, cgroup: CgroupId, entry: Tracked) -> Result<(), TableError> {
        let inserted = self.tracked.insert(cgroup.0, Entry(entry), 0);
        self.checked(inserted, TRACKED, MAX_TRACKED)
    }

    pub(super) fn untrack(&mut self, cgroup: CgroupId) -> Result<(), TableError> {
        absent_is_fine(self.tracked.remove(&cgroup.0), TRACKED)
    }

    pub(super) fn tracked(&self, cgroup: CgroupId) -> Result<Option<Tracked>, TableError> {
        Ok(found(self.tracked.get(&cgroup.0, 0), TRACKED)?.map(|Entry(entry)| entry))
    }

    pub(super) fn open_window(&mut self, cgroup: CgroupId, now: KernelTime) -> Result<(), TableError> {
        let window = OpenEntry(Window { opened_ns: now.0, init_records: 0 });
        let inserted = self.open.insert(cgroup.0, window, 0);
        self.checked(inserted, OPEN, MAX_WINDOWS)
    }

    pub(super) fn close_window(&mut self, cgroup: CgroupId) -> Result<(), TableError> {
        absent_is_fine(self.open.remove(&cgroup.0), OPEN)
    }

    pub(super) fn window(&self, cgroup: CgroupId) -> Result<Option<KernelTime>, TableError> {
        Ok(found(self.open.get(&cgroup.0, 0), OPEN)?.map(|OpenEntry(window)| KernelTime(window.opened_ns)))
    }

    pub(super) fn watch_signal(&mut self, signal: Signal) -> Result<(), TableError> {
        let bit = bit(u32::from(signal.number()));
        if bit & (OPENING_SIGNALS | self::bit(SIGKILL)) != 0 {
            return Ok(());
        }
        let access = |source| TableError::Access { what: EXTRA, source };
        let watched = self.extra_signals.get(&0, 0).map_err(access)?;
        if watched & bit != 0 { Ok(()) } else { self.extra_signals.set(0, watched | bit, 0).map_err(access) }
    }

    /// What the programs and the daemon's own inserts lost.
    pub(super) fn losses(&self) -> Result<Losses, TableError> {
        Ok(Losses {
            ring_full: self.lost(Lost::RingFull)?,
            init_ring_full: self.lost(Lost::InitRingFull)?,
            map_full: self.lost(Lost::MapFull)? + self.refused,
            short_record: 0,
            program_skipped: 0,
        })
    }

    fn lost(&self, reason: Lost) -> Result<u64, TableError> {
        let counts = self.lost.get(&(reason as u32), 0).map_err(|source| TableError::Access { what: LOST, source })?;
        Ok(counts.iter().sum())
    }

    fn checked(&mut self, inserted: Result<(), MapError>, what: &'static str, capacity: u32) -> Result<(), TableError> {
        inserted.map_err(|source| {
            self.refused += 1;
            if is_full(&source) { TableError::Full { what, capacity } } else { TableError::Access { what, source } }
        })
    }
}

/// A map of the object by name, as the type that the caller wants it to be.
pub(super) fn take<M: TryFrom<Map, Error = MapError>>(ebpf: &mut Ebpf, name: &'static str) -> Result<M, LoadError> {
    let failed = |source| LoadError::Map { map: name, source: Box::new(source) };
    let map = ebpf.take_map(name).ok_or_else(|| failed(MapError::InvalidName { name: name.to_owned() }))?;
    map.try_into().map_err(failed)
}

fn found<T>(result: Result<T, MapError>, what: &'static str) -> Result<Option<T>, TableError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(source) if is_absent(&source) => Ok(None),
        Err(source) => Err(TableError::Access { what, source }),
    }
}

fn absent_is_fine(result: Result<(), MapError>, what: &'static str) -> Result<(), TableError> {
    found(result, what).map(|_| ())
}

fn is_absent(error: &MapError) -> bool {
    matches!(error, MapError::KeyNotFound) || system_error(error).is_some_and(|e| e.kind() == io::ErrorKind::NotFound)
}

fn is_full(error: &MapError) -> bool {
    system_error(error).is_some_and(|e| e.kind() == io::ErrorKind::ArgumentListTooLong)
}

fn system_error(error: &MapError) -> Option<&io::Error> {
    if let MapError::SyscallError(call) = error { Some(&call.io_error) } else { None }
}

/// A value of `TRACKED`, as the library wants to be told that it is plain bytes.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Entry(Tracked);

// SAFETY: a `repr(C)` struct of numbers without padding, which the wire asserts.
#[expect(unsafe_code, reason = "the promise that the value is plain bytes")]
unsafe impl aya::Pod for Entry {}

/// A value of `OPEN`.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct OpenEntry(Window);

// SAFETY: as above.
#[expect(unsafe_code, reason = "the promise that the value is plain bytes")]
unsafe impl aya::Pod for OpenEntry {}
