//! The maps, and the way of a record into a ring: what is tracked, which windows are open, what was refused.
//!
//! Two rings, so that no flood of forks or of signals among the tracked can push out what opens and ends a shutdown.
//! A wake-up costs a hundred times the record itself, so only a few records carry one. Nothing here reads a task, and
//! nothing here knows grace or blame.
#![expect(
    unsafe_code,
    reason = "map values and ring memory are reached through raw pointers, which the verifier checks"
)]

use aya_ebpf::bindings::{BPF_ANY, BPF_NOEXIST, BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP};
use aya_ebpf::helpers::bpf_ktime_get_boot_ns;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, PerCpuArray, RingBuf};
use aya_log_ebpf::{debug, warn};
use signal_trace_ebpf::{
    BULK_RING_BYTES, CgroupRecord, Header, INIT_RECORDS_PER_WINDOW, INIT_RING_BYTES, Kind, LOST_COUNTERS, Lost,
    MAX_TRACKED, MAX_WINDOWS, ProcessRecord, SignalRecord, Tracked, WIRE_VERSION, Window,
};

use crate::task::bulk_wakeup_bytes;

/// Cgroups of containers, by id. User space adds a container's own, `cgroup_mkdir` those below it.
#[map]
static TRACKED: HashMap<u64, Tracked> = HashMap::with_max_entries(MAX_TRACKED, 0);

/// Shutdowns in progress, by the id of the container's own cgroup. User space removes them.
#[map]
static OPEN: HashMap<u64, Window> = HashMap::with_max_entries(MAX_WINDOWS, 0);

/// Bits of signals that user space wants beyond the fixed set, because a container is stopped by one of them.
#[map]
static EXTRA_SIGNALS: Array<u64> = Array::with_max_entries(1, 0);

/// Init-directed stop signals, kills and the exits of inits.
#[map]
static INIT_RECORDS: RingBuf = RingBuf::with_byte_size(INIT_RING_BYTES, 0);

/// Everything else.
#[map]
static BULK_RECORDS: RingBuf = RingBuf::with_byte_size(BULK_RING_BYTES, 0);

/// What was refused, by [`Lost`].
#[map]
static LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(LOST_COUNTERS, 0);

/// Records whose bytes the crossing of the wake-up threshold may hide behind when several CPUs reserve at once.
const RACING_RECORDS: u64 = 4;

/// Where a record goes, and whether its reader is woken for it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// The ring of what a shutdown hangs on.
    Init,
    /// The same, and now.
    InitAwake,
    /// The ring of everything else; its reader is woken when enough lies there.
    Bulk,
    /// The same, and now.
    BulkAwake,
}

/// What became of the attempt to open a window.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opening {
    /// It is open now, and was not before.
    Opened,
    /// It was open, and its share of the init ring is not used up.
    WasOpen,
    /// It was open, and its share of the init ring is used up.
    Spent,
    /// There is no room for it.
    Refused,
}

/// Whether user space asked for that signal.
#[inline(always)]
pub(crate) fn is_extra(bit: u64) -> bool {
    EXTRA_SIGNALS.get(0).is_some_and(|extra| extra & bit != 0)
}

/// What is known of a cgroup, if it is tracked.
#[inline(always)]
pub(crate) fn tracked(cgroup: u64) -> Option<Tracked> {
    // SAFETY: the copy may mix two values if the entry is replaced meanwhile; every mix is a value.
    unsafe { TRACKED.get(cgroup) }.copied()
}

/// The entry of the container that a tracked cgroup belongs to.
#[inline(always)]
pub(crate) fn container(cgroup: u64, tracked: Tracked) -> Tracked {
    if tracked.root == cgroup { tracked } else { self::tracked(tracked.root).unwrap_or(tracked) }
}

/// Tracks a new cgroup as a part of the container that its parent is a part of.
#[inline(always)]
pub(crate) fn inherit(child: u64, parent: Tracked) {
    let entry = Tracked { root: parent.root, pid_ns_inode: 0, pid_ns_device: 0, init: 0 };
    if TRACKED.insert(child, entry, BPF_ANY.into()).is_err() {
        refused(Lost::MapFull, child);
    }
}

/// Forgets who is init of a container: it has ended, and user space is to say who is next.
#[inline(always)]
pub(crate) fn forget_init(root: u64) {
    if let Some(entry) = TRACKED.get_ptr_mut(root) {
        // SAFETY: the value stays mapped while the program runs, and whoever reads it meanwhile finds either pid.
        unsafe { (*entry).init = 0 };
    }
}

/// Forgets a cgroup that is gone, and its window: an id is never used again.
#[inline(always)]
pub(crate) fn forget(cgroup: u64) {
    let _ = TRACKED.remove(cgroup);
    let _ = OPEN.remove(cgroup);
}

/// Whether a container's window is open.
#[inline(always)]
pub(crate) fn is_open(root: u64) -> bool {
    OPEN.get_ptr(root).is_some()
}

/// Opens a container's window, or takes one record from its share of the init ring.
#[inline(always)]
pub(crate) fn open(root: u64) -> Opening {
    if let Some(window) = OPEN.get_ptr_mut(root) {
        // SAFETY: the value stays mapped while the program runs. CPUs that race may lose a count: it is a budget.
        let taken = unsafe { &mut (*window).init_records };
        if *taken >= INIT_RECORDS_PER_WINDOW {
            return Opening::Spent;
        }
        *taken += 1;
        return Opening::WasOpen;
    }
    let window = Window { opened_ns: now(), init_records: 1 };
    match OPEN.insert(root, window, BPF_NOEXIST.into()) {
        Ok(()) => Opening::Opened,
        Err(EEXIST) => Opening::WasOpen,
        Err(_) => {
            refused(Lost::MapFull, root);
            Opening::Refused
        }
    }
}

const EEXIST: i32 = -17;

/// A record that starts with a header: what may be written into a ring.
pub(crate) trait Record {
    /// Its header.
    fn header(&mut self) -> &mut Header;
}

impl Record for SignalRecord {
    #[inline(always)]
    fn header(&mut self) -> &mut Header {
        &mut self.header
    }
}

impl Record for ProcessRecord {
    #[inline(always)]
    fn header(&mut self) -> &mut Header {
        &mut self.header
    }
}

impl Record for CgroupRecord {
    #[inline(always)]
    fn header(&mut self) -> &mut Header {
        &mut self.header
    }
}

/// Reserves a record, has it filled in place, and submits it; counts it if there is no room.
#[inline(always)]
pub(crate) fn emit<R: Record + 'static>(route: Route, kind: Kind, fill: impl FnOnce(&mut R)) {
    let (ring, loss) = match route {
        Route::Init | Route::InitAwake => (&INIT_RECORDS, Lost::InitRingFull),
        Route::Bulk | Route::BulkAwake => (&BULK_RECORDS, Lost::RingFull),
    };
    let Some(mut entry) = ring.reserve::<R>(0) else {
        refused(loss, kind as u64);
        return;
    };
    // SAFETY: the ring handed out this many bytes, aligned to eight, and every bit pattern of them is a record.
    let record = unsafe { &mut *entry.as_mut_ptr() };
    *record.header() = Header { version: WIRE_VERSION, kind: kind as u16, reserved: 0, time_ns: now() };
    fill(record);
    let wake = match route {
        Route::Init => false,
        Route::InitAwake | Route::BulkAwake => true,
        Route::Bulk => crossed(size_of::<R>() as u64),
    };
    entry.submit(if wake { BPF_RB_FORCE_WAKEUP.into() } else { BPF_RB_NO_WAKEUP.into() });
}

/// Whether the unread bytes of the bulk ring passed a multiple of the threshold within the last few records.
///
/// Asked once per record, so one crossing is seen by that many records at most, and by all CPUs that reserved at the
/// same time or by none of them only if more of them raced than that: then the next multiple wakes the reader.
#[inline(always)]
fn crossed(record: u64) -> bool {
    let threshold = bulk_wakeup_bytes();
    if threshold == 0 {
        return false;
    }
    let unread = BULK_RECORDS.query(BPF_RB_AVAIL_DATA.into());
    unread >= threshold && unread % threshold < RACING_RECORDS * record
}

/// Counts what was refused, on this CPU, and says so where the loader asked for it.
///
/// `about` is the cgroup for which a table had no room, or the kind of the record for which a ring had none.
#[inline(never)]
fn refused(loss: Lost, about: u64) {
    if let Some(count) = LOST.get_ptr_mut(loss as u32) {
        // SAFETY: the value is this CPU's own and stays mapped.
        unsafe { *count += 1 };
    }
    match loss {
        Lost::RingFull => debug!((), "no room in the bulk ring for a record of kind {}", about),
        Lost::InitRingFull => warn!((), "no room in the init ring for a record of kind {}", about),
        Lost::MapFull => warn!((), "no room in a table for cgroup {}", about),
    }
}

#[inline(always)]
fn now() -> u64 {
    // SAFETY: the helper takes no argument.
    unsafe { bpf_ktime_get_boot_ns() }
}
