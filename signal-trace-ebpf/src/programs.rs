//! The programs, one entry for each hook: filter, choose a ring, have the record filled.
//!
//! They run inside other people's system calls, `signal_generate` even with interrupts off, so what is of no interest
//! returns first thing. They say what the kernel said; whose fault it is, and what a shutdown is, is decided elsewhere.
#![expect(clippy::needless_pass_by_value, reason = "the entry that the attribute makes hands the context over")]
#![expect(unsafe_code, reason = "symbols and sections are part of what a loader of programs reads")]

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use signal_trace_ebpf::{
    CgroupRecord, Kind, OPENING_SIGNALS, Origin, ProcessRecord, SIGKILL, SignalRecord, Tracked, WANTED_SIGNALS, bit,
};

use crate::emit::{self, Opening, Route};
use crate::task::{self, Cgroup, Current, Task};

/// `SEND_SIG_PRIV`, the raw value of `info` for a signal that the kernel made.
const SEND_SIG_PRIV: u64 = 1;
/// `TRACE_SIGNAL_DELIVERED`.
const DELIVERED: u32 = 0;

/// `signal_generate(sig, info, task, group, result)`, as fired at the end of `__send_signal_locked()`.
#[btf_tracepoint(function = "signal_generate")]
pub(crate) fn signal_generate(ctx: BtfTracePointContext) -> i32 {
    let Some(signal) = Signal::wanted(ctx.arg(0)) else { return 0 };
    let target = Task::argument(&ctx, 2);
    let cgroup = target.cgroup();
    let Some(tracked) = emit::tracked(cgroup) else { return 0 };
    let sent = Sent {
        signal,
        target,
        cgroup,
        sender: Current::get(),
        container: emit::container(cgroup, tracked),
        kernel_made: ctx.arg::<u64>(1) == SEND_SIG_PRIV,
        result: ctx.arg(4),
    };
    if let Some(route) = sent.route() {
        let group = ctx.arg(3);
        emit::emit(route, Kind::Signal, |record| sent.write(record, group));
    }
    0
}

/// `sched_process_fork(parent, child)`, where `parent` is `current` and not always the child's parent.
#[btf_tracepoint(function = "sched_process_fork")]
pub(crate) fn sched_process_fork(ctx: BtfTracePointContext) -> i32 {
    let child = Task::argument(&ctx, 1);
    if child.tgid() == Task::argument(&ctx, 0).tgid() {
        return 0;
    }
    let cgroup = child.cgroup();
    if emit::tracked(cgroup).is_some() {
        emit::emit(Route::Bulk, Kind::Fork, |record| write_process(record, child, cgroup));
    }
    0
}

/// `sched_process_exit(task)`, once for each thread; from 6.16 with `group_dead`.
#[btf_tracepoint(function = "sched_process_exit")]
pub(crate) fn sched_process_exit(ctx: BtfTracePointContext) -> i32 {
    let task = Task::argument(&ctx, 0);
    let last = if task::exit_has_group_dead() { ctx.arg::<u8>(1) != 0 } else { task.is_last_of_group() };
    if !last {
        return 0;
    }
    let cgroup = task.cgroup();
    let Some(tracked) = emit::tracked(cgroup) else { return 0 };
    let container = emit::container(cgroup, tracked);
    let route = if is_exiting_init(task, &container) { Route::InitAwake } else { Route::Bulk };
    emit::emit(route, Kind::Exit, |record: &mut ProcessRecord| {
        write_process(record, task, cgroup);
        record.task.ns_tgid = task::current_pid_in(&container);
        record.exit_code = task.exit_code();
        record.pending = task.pending();
    });
    if container.init == task.tgid() {
        emit::forget_init(container.root);
    }
    0
}

/// `cgroup_attach_task(dst_cgrp, path, leader, threadgroup)`, after the move.
#[btf_tracepoint(function = "cgroup_attach_task")]
pub(crate) fn cgroup_attach_task(ctx: BtfTracePointContext) -> i32 {
    let Some(destination) = Cgroup::argument(&ctx, 0) else { return 0 };
    // A single thread cannot leave its process's threaded subtree, so it stays in the container.
    if ctx.arg::<u8>(3) == 0 {
        return 0;
    }
    let leader = Task::argument(&ctx, 2);
    emit::emit(Route::Bulk, Kind::Move, |record| write_process(record, leader, destination.id()));
    0
}

/// `mark_victim(task, uid)`, before 6.9 `mark_victim(pid)`: the OOM killer has already sent its SIGKILL.
#[btf_tracepoint(function = "mark_victim")]
pub(crate) fn mark_victim(ctx: BtfTracePointContext) -> i32 {
    if task::victim_is_task() {
        let victim = Task::argument(&ctx, 0);
        let cgroup = victim.cgroup();
        if emit::tracked(cgroup).is_some() {
            emit::emit(Route::Bulk, Kind::OomMark, |record| write_process(record, victim, cgroup));
        }
    } else {
        emit::emit(Route::Bulk, Kind::OomMark, |record: &mut ProcessRecord| write_victim(record, ctx.arg(0)));
    }
    0
}

/// `cgroup_mkdir(cgrp, path)`, before the directory can be seen: no process is in it yet.
#[btf_tracepoint(function = "cgroup_mkdir")]
pub(crate) fn cgroup_mkdir(ctx: BtfTracePointContext) -> i32 {
    let Some(cgroup) = Cgroup::argument(&ctx, 0) else { return 0 };
    let (id, parent) = (cgroup.id(), cgroup.parent_id());
    if let Some(tracked) = emit::tracked(parent) {
        emit::inherit(id, tracked);
    }
    emit::emit(Route::BulkAwake, Kind::CgroupMade, |record| write_cgroup(record, id, parent));
    0
}

/// `cgroup_rmdir(cgrp, path)`, which the kernel allows only when no process is left in it.
#[btf_tracepoint(function = "cgroup_rmdir")]
pub(crate) fn cgroup_rmdir(ctx: BtfTracePointContext) -> i32 {
    let Some(cgroup) = Cgroup::argument(&ctx, 0) else { return 0 };
    let id = cgroup.id();
    emit::forget(id);
    emit::emit(Route::BulkAwake, Kind::CgroupGone, |record| write_cgroup(record, id, cgroup.parent_id()));
    0
}

/// A signal that somebody may want to know of.
#[derive(Clone, Copy)]
struct Signal(u32);

impl Signal {
    /// The test that most signals of a host do not pass: two words and no lookup, but for what user space adds.
    #[inline(always)]
    fn wanted(number: u32) -> Option<Self> {
        if number.wrapping_sub(1) >= 64 {
            return None;
        }
        (WANTED_SIGNALS & bit(number) != 0 || emit::is_extra(bit(number))).then_some(Self(number))
    }

    /// It stops something, wherever it comes from.
    #[inline(always)]
    fn opens(self) -> bool {
        OPENING_SIGNALS & bit(self.0) != 0
    }

    /// Some container is stopped by it, says user space.
    #[inline(always)]
    fn is_extra(self) -> bool {
        emit::is_extra(bit(self.0))
    }

    #[inline(always)]
    fn is_kill(self) -> bool {
        self.0 == SIGKILL
    }
}

/// A wanted signal to a process of a tracked container.
struct Sent {
    signal: Signal,
    target: Task,
    cgroup: u64,
    sender: Current,
    container: Tracked,
    kernel_made: bool,
    result: u32,
}

impl Sent {
    /// Whether anybody needs to know, and how soon.
    #[inline(always)]
    fn route(&self) -> Option<Route> {
        if self.may_stop() && self.is_to_init() {
            return Some(match emit::open(self.container.root) {
                Opening::Opened => Route::InitAwake,
                // The kill that counts is the one to a process that was not dying: that wakes, a flood of them not.
                Opening::WasOpen if self.signal.is_kill() && self.result == DELIVERED => Route::InitAwake,
                Opening::WasOpen | Opening::Refused => Route::Init,
                Opening::Spent => Route::Bulk,
            });
        }
        emit::is_open(self.container.root).then_some(Route::Bulk)
    }

    /// Whether such a signal, sent to init, ends a container or is meant to.
    ///
    /// One that only user space asked for (it may be SIGCHLD) has to come from outside the container.
    #[inline(always)]
    fn may_stop(&self) -> bool {
        if self.signal.is_kill() {
            return true;
        }
        let by_process = !self.kernel_made && self.sender.tgid != self.target.tgid();
        by_process && (self.signal.opens() || (self.signal.is_extra() && !self.is_from_inside()))
    }

    /// Whether the target is the container's init. While user space does not know it: whether it looks like it.
    #[inline(always)]
    fn is_to_init(&self) -> bool {
        match self.container.init {
            0 => self.target.is_unkillable() || !self.is_from_inside(),
            init => init == self.target.tgid(),
        }
    }

    #[inline(always)]
    fn is_from_inside(&self) -> bool {
        self.sender.cgroup == self.cgroup
            || emit::tracked(self.sender.cgroup).is_some_and(|sender| sender.root == self.container.root)
    }

    #[inline(always)]
    fn write(&self, record: &mut SignalRecord, group: u32) {
        self.sender.write(&mut record.sender);
        record.sender.ns_tgid = task::current_pid_in(&self.container);
        self.target.write(&mut record.target, self.cgroup);
        record.pending = self.target.pending();
        record.blocked = self.target.blocked();
        record.real_blocked = self.target.real_blocked();
        record.signal = self.signal.0;
        record.result = self.result;
        record.group = group & 1;
        record.origin = if self.kernel_made { Origin::Kernel } else { Origin::Process } as u32;
        record.handler = self.target.handler(self.signal.0) as u32;
        record.group_exit_code = self.target.group_exit_code();
        record.traced = u32::from(self.target.ptrace() != 0);
        record.reserved = 0;
    }
}

/// Whether the exiting process is the container's init. Its namespace flag is gone by now, so while user space does not
/// know it, a process in a deeper pid namespace than its parent's is taken for it.
#[inline(always)]
fn is_exiting_init(task: Task, container: &Tracked) -> bool {
    match container.init {
        0 => task.level() > task.real_parent().level(),
        init => init == task.tgid(),
    }
}

#[inline(always)]
fn write_process(record: &mut ProcessRecord, task: Task, cgroup: u64) {
    let parent = task.real_parent();
    task.write(&mut record.task, cgroup);
    record.parent_cgroup = parent.cgroup();
    record.parent_start_ns = parent.start_ns();
    record.parent_tgid = parent.tgid();
    record.exit_code = 0;
    record.pending = 0;
}

/// A victim of whom only the pid is known.
#[inline(always)]
fn write_victim(record: &mut ProcessRecord, pid: u32) {
    record.task = signal_trace_ebpf::Task {
        cgroup: 0,
        start_ns: 0,
        comm: [0; 16],
        tgid: pid,
        level: 0,
        ns_tgid: 0,
        signal_flags: 0,
    };
    record.parent_cgroup = 0;
    record.parent_start_ns = 0;
    record.parent_tgid = 0;
    record.exit_code = 0;
    record.pending = 0;
}

#[inline(always)]
fn write_cgroup(record: &mut CgroupRecord, id: u64, parent: u64) {
    record.id = id;
    record.parent = parent;
}

/// Helpers that only GPL-compatible programs may call are among those used here.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
