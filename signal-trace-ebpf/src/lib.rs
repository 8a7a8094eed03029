//! The wire: every byte that crosses the boundary between the kernel programs and the daemon.
//!
//! Both sides compile this file, so a layout cannot drift between them. Every struct is `repr(C)`, has no implicit
//! padding (asserted below) and only fields for which every bit pattern is valid. It knows nothing of aya on either
//! side, and decides nothing: a record says what the kernel said.
#![no_std]

/// Version of the layout below, the first four bytes of every record: a record of another version is refused.
pub const WIRE_VERSION: u16 = 1;

/// Signals that stop something, and `SIGKILL`: the programs drop every other signal first thing, before any lookup.
///
/// HUP INT QUIT KILL USR1 USR2 TERM CONT WINCH PWR and the real-time signals 34..=64. `SIGCONT` is there because it is
/// a stop signal in some images. Left out on purpose: the floods (CHLD, URG, PROF, ALRM, VTALRM, IO) and the faults.
pub const WANTED_SIGNALS: u64 =
    bit(1) | bit(2) | bit(3) | bit(9) | bit(10) | bit(12) | bit(15) | bit(18) | bit(28) | bit(30) | (u64::MAX << 33);

/// Of these, the ones that open a shutdown when they come to init: the terminating family. `SIGKILL` has a rule of its
/// own, and `SIGCONT` opens only where user space says that a container is stopped by it.
pub const OPENING_SIGNALS: u64 = WANTED_SIGNALS & !bit(SIGKILL) & !bit(18);

/// The signal that no process can handle.
pub const SIGKILL: u32 = 9;

/// The bit of a signal number in a kernel `sigset_t` of one word.
pub const fn bit(signal: u32) -> u64 {
    1 << (signal - 1)
}

/// `signal->flags`: the process is exiting as a group (include/linux/sched/signal.h).
pub const SIGNAL_GROUP_EXIT: u32 = 0x4;

/// `signal->flags` bit: a core dump is under way. Before Linux 5.17, whose dumps have [`SIGNAL_GROUP_EXIT`]; unused since.
pub const SIGNAL_GROUP_COREDUMP: u32 = 0x8;
/// `signal->flags`: init of a pid namespace, from whose point of view unhandled signals are dropped.
pub const SIGNAL_UNKILLABLE: u32 = 0x40;

/// Cgroups that can be tracked at once: containers, and what they make below themselves.
pub const MAX_TRACKED: u32 = 16_384;
/// Shutdowns that can be in progress at once.
pub const MAX_WINDOWS: u32 = 4_096;
/// Size of the ring of init-directed stop signals, kills and init exits, unless the daemon asks for another.
pub const INIT_RING_BYTES: u32 = 512 << 10;
/// Size of the ring of all other records, unless the daemon asks for another.
pub const BULK_RING_BYTES: u32 = 4 << 20;
/// Signals of one open window that may go to the init ring. What a flood sends beyond that goes to the bulk ring, so
/// that one container cannot push out the stop signals of another.
pub const INIT_RECORDS_PER_WINDOW: u64 = 64;

/// Marks a namespace level that this kernel's programs cannot read (a sender's, before 5.11).
pub const LEVEL_UNKNOWN: u32 = u32::MAX;

/// What a record is: the second half of [`Header`].
#[repr(u16)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// [`SignalRecord`], from `signal_generate`.
    Signal = 1,
    /// [`ProcessRecord`], from `sched_process_fork`: a new process (never a thread) in a tracked cgroup.
    Fork = 2,
    /// [`ProcessRecord`], from `sched_process_exit` of a group's last thread.
    Exit = 3,
    /// [`ProcessRecord`], from `cgroup_attach_task`: a process was moved to `task.cgroup`.
    Move = 4,
    /// [`ProcessRecord`], from `mark_victim`; before 6.9 only `task.tgid` is known, the rest is zero.
    OomMark = 5,
    /// [`CgroupRecord`], from `cgroup_mkdir`.
    CgroupMade = 6,
    /// [`CgroupRecord`], from `cgroup_rmdir`: `cgroup_release` can come hours later, when the last page is uncharged.
    CgroupGone = 7,
}

/// The first bytes of every record.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// [`WIRE_VERSION`].
    pub version: u16,
    /// A [`Kind`] as its number.
    pub kind: u16,
    /// Zero.
    pub reserved: u32,
    /// `bpf_ktime_get_boot_ns()` (before 5.8 and so never here: monotonic) when the program ran.
    pub time_ns: u64,
}

/// A thread group as the kernel showed it at the instant of a record.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task {
    /// `task->cgroups->dfl_cgrp->kn->id`: cgroup v2 id, unique within a boot.
    pub cgroup: u64,
    /// `task->group_leader->start_boottime`.
    pub start_ns: u64,
    /// `task->group_leader->comm`; cut at the first NUL, what follows is garbage on old kernels.
    pub comm: [u8; 16],
    /// `task->tgid` as the host sees it.
    pub tgid: u32,
    /// `task->group_leader->thread_pid->level`: depth of its pid namespace, 0 is the host, or [`LEVEL_UNKNOWN`].
    pub level: u32,
    /// Pid inside the container's pid namespace (`bpf_get_ns_current_pid_tgid`), 0 where that could not be asked:
    /// the helper answers for `current` only, so for senders and exiting processes.
    pub ns_tgid: u32,
    /// `signal->flags`.
    pub signal_flags: u32,
}

/// Who made a signal, from the raw value of `info`.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `SEND_SIG_NOINFO` or a `siginfo`: a process, named by `current`.
    Process = 0,
    /// `SEND_SIG_PRIV`: the kernel (teardown, OOM, tty, timers). `current` is merely whoever was running.
    Kernel = 1,
}

/// What the target would do with the signal, from `sighand->action[n-1].sa.sa_handler`.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handler {
    /// The offset of this signal's handler is not one the programs know.
    Unknown = 0,
    /// `SIG_DFL`.
    Default = 1,
    /// `SIG_IGN`.
    Ignore = 2,
    /// An address in user space.
    Function = 3,
}

/// One `signal_generate`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignalRecord {
    /// Kind [`Kind::Signal`].
    pub header: Header,
    /// `current`: the sender, unless `origin` is [`Origin::Kernel`].
    pub sender: Task,
    /// The task the signal was generated for.
    pub target: Task,
    /// `signal->shared_pending.signal.sig[0]` of the target, after this signal was queued.
    pub pending: u64,
    /// `task->blocked.sig[0]` of the target.
    pub blocked: u64,
    /// `task->real_blocked.sig[0]`: the mask that `sigtimedwait`/`sigwait` parked.
    pub real_blocked: u64,
    /// Signal number, 1..=64.
    pub signal: u32,
    /// 0 delivered, 1 ignored, 2 already pending, 3 overflow, 4 lost info (`TRACE_SIGNAL_*`).
    pub result: u32,
    /// 1 when sent to the thread group, 0 to one thread.
    pub group: u32,
    /// An [`Origin`] as its number.
    pub origin: u32,
    /// A [`Handler`] as its number.
    pub handler: u32,
    /// `signal->group_exit_code` of the target.
    pub group_exit_code: u32,
    /// `task->ptrace` of the target is not 0: a debugger stands between the signal and the process.
    pub traced: u32,
    /// Zero.
    pub reserved: u32,
}

/// A process that was born, moved, died or was chosen by the OOM killer.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessRecord {
    /// Any of the kinds that name this record.
    pub header: Header,
    /// The process itself.
    pub task: Task,
    /// `task->real_parent`'s cgroup v2 id: for a fork, the parent at birth.
    pub parent_cgroup: u64,
    /// `task->real_parent->group_leader->start_boottime`.
    pub parent_start_ns: u64,
    /// `task->real_parent->tgid`.
    pub parent_tgid: u32,
    /// Exit only: `group_exit_code` where the group exits as one, else `exit_code`, as `wait(2)` encodes it.
    pub exit_code: u32,
    /// Exit only: `signal->shared_pending.signal.sig[0]`, what it never read.
    pub pending: u64,
}

/// A cgroup of the v2 hierarchy that came or went.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CgroupRecord {
    /// [`Kind::CgroupMade`] or [`Kind::CgroupGone`].
    pub header: Header,
    /// `cgrp->kn->id`.
    pub id: u64,
    /// The parent's id, 0 where it has none.
    pub parent: u64,
}

/// What user space says of a tracked cgroup: the value of the `TRACKED` map, keyed by cgroup id.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tracked {
    /// The id of the container's own cgroup: equal to the key, or an ancestor of it.
    pub root: u64,
    /// Inode of the container's own pid namespace, 0 where it has none or none is known yet.
    pub pid_ns_inode: u64,
    /// Kernel-internal `dev_t` (major << 20 | minor) of nsfs.
    pub pid_ns_device: u32,
    /// Host pid of the container's init, 0 while not known: then the namespace flag decides.
    pub init: u32,
}

/// A shutdown in progress: the value of the `OPEN` map, keyed by the id of the container's own cgroup.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// `bpf_ktime_get_boot_ns()` when it opened.
    pub opened_ns: u64,
    /// Records that it has taken of [`INIT_RECORDS_PER_WINDOW`].
    pub init_records: u64,
}

/// Indices into the `LOST` per-CPU array of counters: why a record was refused.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// No room in the ring of bulk records.
    RingFull = 0,
    /// No room in the ring of init-directed stop signals, kills and init exits.
    InitRingFull = 1,
    /// A tracked-cgroup or open-window map had no room.
    MapFull = 2,
}

/// Number of counters in the `LOST` array.
pub const LOST_COUNTERS: u32 = 3;

/// Byte offsets of the kernel's struct members on this machine, resolved by the daemon from `/sys/kernel/btf/vmlinux`
/// and given to the programs as one frozen global: the verifier folds each into a constant field access.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offsets {
    /// `task_struct.tgid`
    pub task_tgid: u32,
    /// `task_struct.group_leader`
    pub task_group_leader: u32,
    /// `task_struct.real_parent`
    pub task_real_parent: u32,
    /// `task_struct.comm`
    pub task_comm: u32,
    /// `task_struct.start_boottime`
    pub task_start_boottime: u32,
    /// `task_struct.thread_pid`
    pub task_thread_pid: u32,
    /// `task_struct.exit_code`
    pub task_exit_code: u32,
    /// `task_struct.ptrace`
    pub task_ptrace: u32,
    /// `task_struct.blocked`
    pub task_blocked: u32,
    /// `task_struct.real_blocked`
    pub task_real_blocked: u32,
    /// `task_struct.signal`
    pub task_signal: u32,
    /// `task_struct.sighand`
    pub task_sighand: u32,
    /// `task_struct.cgroups`
    pub task_cgroups: u32,
    /// `signal_struct.flags`
    pub signal_flags: u32,
    /// `signal_struct.group_exit_code`
    pub signal_group_exit_code: u32,
    /// `signal_struct.live`
    pub signal_live: u32,
    /// `signal_struct.shared_pending.signal`
    pub signal_shared_pending: u32,
    /// `pid.level`
    pub pid_level: u32,
    /// `css_set.dfl_cgrp`
    pub css_set_dfl_cgrp: u32,
    /// `cgroup.kn`
    pub cgroup_kn: u32,
    /// `cgroup.root`
    pub cgroup_root: u32,
    /// `cgroup.self.parent`
    pub cgroup_self_parent: u32,
    /// `cgroup_subsys_state.cgroup`
    pub css_cgroup: u32,
    /// `cgroup_root.hierarchy_id`
    pub root_hierarchy_id: u32,
    /// `kernfs_node.id`
    pub kn_id: u32,
    /// `sighand_struct.action[SIGHUP - 1].sa.sa_handler`, and so on for the other signals that have a name here.
    pub handler_hup: u32,
    /// See `handler_hup`.
    pub handler_int: u32,
    /// See `handler_hup`.
    pub handler_quit: u32,
    /// See `handler_hup`.
    pub handler_usr1: u32,
    /// See `handler_hup`.
    pub handler_usr2: u32,
    /// See `handler_hup`.
    pub handler_term: u32,
    /// See `handler_hup`.
    pub handler_cont: u32,
    /// See `handler_hup`.
    pub handler_winch: u32,
    /// See `handler_hup`.
    pub handler_pwr: u32,
    /// See `handler_hup`: `SIGRTMIN+3` (37), which stops systemd in a container.
    pub handler_rtmin_3: u32,
    /// 1 where `bpf_get_current_task_btf` exists (5.11): the sender's level and start time are readable.
    pub has_current_task_btf: u32,
    /// 1 where `sched_process_exit` has the second argument `group_dead` (6.16).
    pub exit_has_group_dead: u32,
    /// 1 where `mark_victim` carries a `task_struct *` instead of a pid (6.9 and some stable series).
    pub victim_is_task: u32,
    /// Bytes in the bulk ring after which its reader is woken.
    pub bulk_wakeup_bytes: u32,
    /// Zero.
    pub reserved: u32,
}

const _: () = {
    assert!(size_of::<Header>() == 16);
    assert!(size_of::<Task>() == 48);
    assert!(size_of::<SignalRecord>() == 16 + 2 * 48 + 3 * 8 + 8 * 4);
    assert!(size_of::<ProcessRecord>() == 16 + 48 + 16 + 8 + 8);
    assert!(size_of::<CgroupRecord>() == 32);
    assert!(size_of::<Tracked>() == 24);
    assert!(size_of::<Window>() == 16);
    assert!(size_of::<Offsets>() == 40 * 4);
};
