//! A task of the kernel, read in place: the only file that loads kernel memory.
//!
//! A load goes straight through the pointer that the tracepoint handed over, at an offset that the verifier knows to
//! be constant because it comes from a frozen global; it then types the result and checks the next load. No helper
//! reads memory here, so neither lockdown nor a missing tracefs is in the way. What a value means is not decided here.
#![expect(unsafe_code, reason = "kernel structures are read through raw pointers, which the verifier checks")]

use core::ptr;

use aya_ebpf::helpers::generated::{
    bpf_get_current_cgroup_id, bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_current_task_btf,
    bpf_get_ns_current_pid_tgid,
};
use aya_ebpf::{bindings::bpf_pidns_info, programs::BtfTracePointContext};
use signal_trace_ebpf::{self as wire, Handler, LEVEL_UNKNOWN, Offsets, SIGNAL_GROUP_EXIT, SIGNAL_UNKILLABLE, Tracked};

/// Filled by the loader before the map that holds it is frozen.
#[unsafe(no_mangle)]
// SAFETY: numbers, for which zero is a value.
static OFFSETS: Offsets = unsafe { core::mem::zeroed() };

/// One member of [`OFFSETS`]. The read is volatile, or the compiler would fold the zero that it sees here.
macro_rules! offset {
    ($member:ident) => {
        // SAFETY: an aligned, initialised member of a static.
        unsafe { ptr::read_volatile(&raw const OFFSETS.$member) }
    };
}

/// Bytes in the bulk ring after which its reader is woken, 0 for never.
#[inline(always)]
pub(crate) fn bulk_wakeup_bytes() -> u64 {
    offset!(bulk_wakeup_bytes).into()
}

/// Whether `sched_process_exit` says itself that the last thread of a group exits.
#[inline(always)]
pub(crate) fn exit_has_group_dead() -> bool {
    offset!(exit_has_group_dead) != 0
}

/// Whether `mark_victim` names its victim by task.
#[inline(always)]
pub(crate) fn victim_is_task() -> bool {
    offset!(victim_is_task) != 0
}

/// A pointer into the kernel that the verifier knows the type of.
#[derive(Clone, Copy)]
struct Pointer(*const u8);

impl Pointer {
    /// The value at an offset.
    #[inline(always)]
    fn load<T: Copy>(self, offset: u32) -> T {
        // SAFETY: the verifier refuses the program unless `offset` is that of a member of the pointer's type, of this
        // size; a fault (the object was freed meanwhile) reads as zero.
        unsafe { ptr::read_volatile(self.0.add(offset as usize).cast::<T>()) }
    }

    /// The pointer at an offset.
    #[inline(always)]
    fn follow(self, offset: u32) -> Self {
        Self(self.load(offset))
    }
}

/// A `struct task_struct *`.
#[derive(Clone, Copy)]
pub(crate) struct Task(Pointer);

impl Task {
    /// The tracepoint's argument of that index, which must be a task.
    #[inline(always)]
    pub(crate) fn argument(ctx: &BtfTracePointContext, index: usize) -> Self {
        Self(Pointer(ctx.arg(index)))
    }

    /// `task->tgid`.
    #[inline(always)]
    pub(crate) fn tgid(self) -> u32 {
        self.0.load(offset!(task_tgid))
    }

    /// `task->real_parent`.
    #[inline(always)]
    pub(crate) fn real_parent(self) -> Self {
        Self(self.0.follow(offset!(task_real_parent)))
    }

    /// Its cgroup of the v2 hierarchy.
    #[inline(always)]
    pub(crate) fn cgroup(self) -> u64 {
        Cgroup(self.0.follow(offset!(task_cgroups)).follow(offset!(css_set_dfl_cgrp))).id()
    }

    /// `group_leader->start_boottime`.
    #[inline(always)]
    pub(crate) fn start_ns(self) -> u64 {
        self.leader().load(offset!(task_start_boottime))
    }

    /// Depth of its pid namespace.
    #[inline(always)]
    pub(crate) fn level(self) -> u32 {
        self.leader().follow(offset!(task_thread_pid)).load(offset!(pid_level))
    }

    /// `signal->flags & SIGNAL_UNKILLABLE`: init of a pid namespace, unharmed.
    #[inline(always)]
    pub(crate) fn is_unkillable(self) -> bool {
        self.signal_flags() & SIGNAL_UNKILLABLE != 0
    }

    /// `signal->live == 0`: no other thread of its group is left. Two that exit at once may both see it.
    #[inline(always)]
    pub(crate) fn is_last_of_group(self) -> bool {
        self.signal().load::<u32>(offset!(signal_live)) == 0
    }

    /// As `wait(2)` will report it: the group's code where it exits as one, else the leader's own.
    #[inline(always)]
    pub(crate) fn exit_code(self) -> u32 {
        if self.signal_flags() & SIGNAL_GROUP_EXIT != 0 {
            self.group_exit_code()
        } else {
            self.leader().load(offset!(task_exit_code))
        }
    }

    /// `signal->group_exit_code`.
    #[inline(always)]
    pub(crate) fn group_exit_code(self) -> u32 {
        self.signal().load(offset!(signal_group_exit_code))
    }

    /// The first word of `signal->shared_pending`.
    #[inline(always)]
    pub(crate) fn pending(self) -> u64 {
        self.signal().load(offset!(signal_shared_pending))
    }

    /// `task->blocked`.
    #[inline(always)]
    pub(crate) fn blocked(self) -> u64 {
        self.0.load(offset!(task_blocked))
    }

    /// `task->real_blocked`.
    #[inline(always)]
    pub(crate) fn real_blocked(self) -> u64 {
        self.0.load(offset!(task_real_blocked))
    }

    /// `task->ptrace`.
    #[inline(always)]
    pub(crate) fn ptrace(self) -> u32 {
        self.0.load(offset!(task_ptrace))
    }

    /// What is installed for a signal.
    ///
    /// One named offset for each signal: an offset that is computed is no constant, and refused.
    #[inline(always)]
    pub(crate) fn handler(self, signal: u32) -> Handler {
        let actions = self.0.follow(offset!(task_sighand));
        let address: u64 = match signal {
            1 => actions.load(offset!(handler_hup)),
            2 => actions.load(offset!(handler_int)),
            3 => actions.load(offset!(handler_quit)),
            10 => actions.load(offset!(handler_usr1)),
            12 => actions.load(offset!(handler_usr2)),
            15 => actions.load(offset!(handler_term)),
            18 => actions.load(offset!(handler_cont)),
            28 => actions.load(offset!(handler_winch)),
            30 => actions.load(offset!(handler_pwr)),
            37 => actions.load(offset!(handler_rtmin_3)),
            _ => return Handler::Unknown,
        };
        match address {
            0 => Handler::Default,
            1 => Handler::Ignore,
            _ => Handler::Function,
        }
    }

    /// Writes the task as a record holds it, with `cgroup` for its cgroup and no pid of its own namespace.
    ///
    /// Writes to `*to` member by member: the record is ring memory, and a copy on the stack would not fit 512 bytes.
    #[inline(always)]
    pub(crate) fn write(self, to: &mut wire::Task, cgroup: u64) {
        to.cgroup = cgroup;
        to.start_ns = self.start_ns();
        to.comm = self.comm();
        to.tgid = self.tgid();
        to.level = self.level();
        to.ns_tgid = 0;
        to.signal_flags = self.signal_flags();
    }

    #[inline(always)]
    fn comm(self) -> [u8; 16] {
        let comm = offset!(task_comm);
        let leader = self.leader();
        let words: [u64; 2] = [leader.load(comm), leader.load(comm + 8)];
        // SAFETY: two words are sixteen bytes, and every byte is a valid one.
        unsafe { core::mem::transmute::<[u64; 2], [u8; 16]>(words) }
    }

    #[inline(always)]
    fn signal_flags(self) -> u32 {
        self.signal().load(offset!(signal_flags))
    }

    #[inline(always)]
    fn signal(self) -> Pointer {
        self.0.follow(offset!(task_signal))
    }

    #[inline(always)]
    fn leader(self) -> Pointer {
        self.0.follow(offset!(task_group_leader))
    }
}

/// `current`, who raised the event: a task where the kernel hands it out (5.11), else what the older helpers tell.
#[derive(Clone, Copy)]
pub(crate) struct Current {
    /// Thread group.
    pub(crate) tgid: u32,
    /// Its cgroup of the v2 hierarchy.
    pub(crate) cgroup: u64,
}

impl Current {
    /// Asks for what the filters need.
    #[inline(always)]
    pub(crate) fn get() -> Self {
        if let Some(task) = Self::task() {
            return Self { tgid: task.tgid(), cgroup: task.cgroup() };
        }
        // SAFETY: these helpers take no argument.
        let (ids, cgroup) = unsafe { (bpf_get_current_pid_tgid(), bpf_get_current_cgroup_id()) };
        Self { tgid: (ids >> 32) as u32, cgroup }
    }

    /// Writes the task as a record holds it.
    #[inline(always)]
    pub(crate) fn write(self, to: &mut wire::Task) {
        if let Some(task) = Self::task() {
            task.write(to, self.cgroup);
            return;
        }
        to.cgroup = self.cgroup;
        to.start_ns = 0;
        // SAFETY: the helper writes as many bytes as it is told, and they are there.
        unsafe { bpf_get_current_comm(to.comm.as_mut_ptr().cast(), 16) };
        to.tgid = self.tgid;
        to.level = LEVEL_UNKNOWN;
        to.ns_tgid = 0;
        to.signal_flags = 0;
    }

    /// The verifier drops the branch, and the helper that it does not know, where the flag is 0.
    #[inline(always)]
    fn task() -> Option<Task> {
        if offset!(has_current_task_btf) == 0 {
            return None;
        }
        // SAFETY: the helper takes no argument.
        Some(Task(Pointer(unsafe { bpf_get_current_task_btf() }.cast())))
    }
}

const PIDNS_INFO_BYTES: u32 = 8;
const _: () = assert!(size_of::<bpf_pidns_info>() == PIDNS_INFO_BYTES as usize);

/// Pid of `current`'s group in the container's own pid namespace, 0 where it is not a member of that one itself.
#[inline(always)]
pub(crate) fn current_pid_in(container: &Tracked) -> u32 {
    if container.pid_ns_inode == 0 {
        return 0;
    }
    let mut ids = bpf_pidns_info { pid: 0, tgid: 0 };
    // SAFETY: the helper writes one `bpf_pidns_info`, or zeroes it and fails.
    unsafe {
        bpf_get_ns_current_pid_tgid(
            container.pid_ns_device.into(),
            container.pid_ns_inode,
            &raw mut ids,
            PIDNS_INFO_BYTES,
        )
    };
    ids.tgid
}

/// A `struct cgroup *`.
#[derive(Clone, Copy)]
pub(crate) struct Cgroup(Pointer);

impl Cgroup {
    /// The tracepoint's argument of that index, if it is a cgroup of the v2 hierarchy.
    ///
    /// Ids are unique within one hierarchy only: on a hybrid host a v1 cgroup may carry the id of a tracked one.
    #[inline(always)]
    pub(crate) fn argument(ctx: &BtfTracePointContext, index: usize) -> Option<Self> {
        let cgroup = Pointer(ctx.arg(index));
        let hierarchy: u32 = cgroup.follow(offset!(cgroup_root)).load(offset!(root_hierarchy_id));
        (hierarchy == 0).then_some(Self(cgroup))
    }

    /// `cgrp->kn->id`.
    #[inline(always)]
    pub(crate) fn id(self) -> u64 {
        self.0.follow(offset!(cgroup_kn)).load(offset!(kn_id))
    }

    /// The parent's id; the hierarchy's root, which has none, is never made and never goes.
    #[inline(always)]
    pub(crate) fn parent_id(self) -> u64 {
        Self(self.0.follow(offset!(cgroup_self_parent)).follow(offset!(css_cgroup))).id()
    }
}
