//! Where this kernel keeps what the programs load: the wire's [`Offsets`], read off its own type information.
//!
//! Pure over the bytes of `/sys/kernel/btf/vmlinux`: reading the file is the caller's. It fails closed. An offset that is
//! not exactly known is an error that names `struct.member`, since a program with a wrong one would load and lie.
//!
//! The bytes are not trusted: no input makes this panic, recurse deeper than a constant, or allocate more than a few
//! hundredths of its own size; one pass reads every record once, and what follows it is bounded by a constant.
//!
//! Which struct is meant, where several share a name: only `task_struct` is looked up by name, and every other struct is
//! the one its member points to, which is how the verifier types the same loads. Of several full `task_struct`s (forward
//! declarations are another kind of record) the first from which all paths below can be followed is taken; one that
//! also has them all and disagrees is an error, as nobody can tell which of the two the kernel means.

mod error;
mod path;
mod types;

#[cfg(test)]
mod blob;
#[cfg(test)]
mod properties;
#[cfg(all(test, target_endian = "little"))]
mod seeds;
#[cfg(test)]
mod tests;

use signal_trace_ebpf::Offsets;

pub use self::error::BtfError;
use self::path::{Load, Path};
use self::types::{Kind, Named, Type, Types};

/// Reads the offsets of the kernel whose `/sys/kernel/btf/vmlinux` this is.
///
/// `bulk_wakeup_bytes` is not the kernel's to say and stays 0.
///
/// # Errors
///
/// When the bytes are no BTF of this machine's byte order, are damaged, or when the kernel they describe lacks a member,
/// or has it in another shape than the programs load.
pub fn resolve(btf: &[u8]) -> Result<Offsets, BtfError> {
    let (mut types, [tasks, exits, victims, helpers]) = Types::index(btf, [TASK, EXIT, VICTIM, HELPERS])?;
    let mut offsets = agreed(TASK, &tasks, |id| members(&mut types, id))?;
    offsets.exit_has_group_dead = agreed(EXIT, &exits, |id| exit_has_group_dead(&mut types, id))?;
    offsets.victim_is_task = agreed(VICTIM, &victims, |id| victim_is_task(&mut types, id))?;
    offsets.has_current_task_btf = agreed(HELPERS, &helpers, |id| has_current_task_btf(&mut types, id))?;
    Ok(offsets)
}

/// Every member that the programs load, as C would write it from a `task_struct *`, and where it lies in its struct.
pub fn located(offsets: &Offsets) -> Vec<(&'static str, u32)> {
    let mut offsets = *offsets;
    LOADS.iter().map(|(path, target)| (path.text, *target(&mut offsets))).collect()
}

const TASK: Named = Named { kind: Kind::STRUCT, name: "task_struct" };
/// The prototype of a tracepoint's `tp_btf` program: `void *__data`, then the arguments of its `TP_PROTO`.
const EXIT: Named = Named { kind: Kind::TYPEDEF, name: "btf_trace_sched_process_exit" };
/// See [`EXIT`].
const VICTIM: Named = Named { kind: Kind::TYPEDEF, name: "btf_trace_mark_victim" };
/// The kernel's own list of the helpers it has (include/uapi/linux/bpf.h).
const HELPERS: Named = Named { kind: Kind::ENUM, name: "bpf_func_id" };

/// `bpf_get_current_task_btf`: its name in [`HELPERS`], and the number that the programs call.
const CURRENT_TASK_BTF: (&str, u32) = ("BPF_FUNC_get_current_task_btf", 158);

/// The offset of the wire that a path's goes to.
type Target = fn(&mut Offsets) -> &mut u32;

/// Every load of the programs, as C would write it from a `task_struct *`, and where its offset goes.
///
/// The offset is that of the part after the last arrow: each arrow is a load of its own, and has its own row above.
const LOADS: [(Path, Target); 35] = [
    (path("tgid", Load::Number(4)), |o| &mut o.task_tgid),
    (path("group_leader", Load::Pointer), |o| &mut o.task_group_leader),
    (path("real_parent", Load::Pointer), |o| &mut o.task_real_parent),
    (path("comm", Load::Text(16)), |o| &mut o.task_comm),
    (path("start_boottime", Load::Number(8)), |o| &mut o.task_start_boottime),
    (path("thread_pid", Load::Pointer), |o| &mut o.task_thread_pid),
    (path("exit_code", Load::Number(4)), |o| &mut o.task_exit_code),
    (path("ptrace", Load::Number(4)), |o| &mut o.task_ptrace),
    (path("blocked.sig[]", Load::Number(8)), |o| &mut o.task_blocked),
    (path("real_blocked.sig[]", Load::Number(8)), |o| &mut o.task_real_blocked),
    (path("signal", Load::Pointer), |o| &mut o.task_signal),
    (path("sighand", Load::Pointer), |o| &mut o.task_sighand),
    (path("cgroups", Load::Pointer), |o| &mut o.task_cgroups),
    (path("signal->flags", Load::Number(4)), |o| &mut o.signal_flags),
    (path("signal->group_exit_code", Load::Number(4)), |o| &mut o.signal_group_exit_code),
    (path("signal->live.counter", Load::Number(4)), |o| &mut o.signal_live),
    (path("signal->shared_pending.signal.sig[]", Load::Number(8)), |o| &mut o.signal_shared_pending),
    (path("thread_pid->level", Load::Number(4)), |o| &mut o.pid_level),
    (path("cgroups->dfl_cgrp", Load::Pointer), |o| &mut o.css_set_dfl_cgrp),
    (path("cgroups->dfl_cgrp->kn", Load::Pointer), |o| &mut o.cgroup_kn),
    (path("cgroups->dfl_cgrp->root", Load::Pointer), |o| &mut o.cgroup_root),
    (path("cgroups->dfl_cgrp->self.parent", Load::Pointer), |o| &mut o.cgroup_self_parent),
    (path("cgroups->dfl_cgrp->self.parent->cgroup", Load::Pointer), |o| &mut o.css_cgroup),
    (path("cgroups->dfl_cgrp->root->hierarchy_id", Load::Number(4)), |o| &mut o.root_hierarchy_id),
    (path("cgroups->dfl_cgrp->kn->id", Load::Number(8)), |o| &mut o.kn_id),
    (handler(1), |o| &mut o.handler_hup),
    (handler(2), |o| &mut o.handler_int),
    (handler(3), |o| &mut o.handler_quit),
    (handler(10), |o| &mut o.handler_usr1),
    (handler(12), |o| &mut o.handler_usr2),
    (handler(15), |o| &mut o.handler_term),
    (handler(18), |o| &mut o.handler_cont),
    (handler(28), |o| &mut o.handler_winch),
    (handler(30), |o| &mut o.handler_pwr),
    (handler(37), |o| &mut o.handler_rtmin_3),
];

const fn path(text: &'static str, load: Load) -> Path {
    Path { text, element: 0, load }
}

const fn handler(signal: u32) -> Path {
    Path { text: "sighand->action[].sa.sa_handler", element: signal - 1, load: Load::Pointer }
}

/// What the types of one name say: the first that has the shape that is asked for, provided no other contradicts it.
fn agreed<T: PartialEq>(
    named: Named,
    candidates: &[u32],
    mut read: impl FnMut(u32) -> Result<T, BtfError>,
) -> Result<T, BtfError> {
    let mut chosen = None;
    let mut refused = None;
    for &id in candidates {
        match read(id) {
            Ok(value) => match &chosen {
                None => chosen = Some(value),
                Some(first) if *first == value => {}
                Some(_) => return Err(BtfError::Ambiguous { name: named.name }),
            },
            Err(error) if error.is_of_shape() => refused = refused.or(Some(error)),
            Err(broken) => return Err(broken),
        }
    }
    chosen.ok_or_else(|| refused.unwrap_or_else(|| BtfError::Missing { what: named.to_string() }))
}

fn members(types: &mut Types<'_>, task: u32) -> Result<Offsets, BtfError> {
    let task = types.get(task)?;
    let mut offsets = Offsets::default();
    for (path, target) in &LOADS {
        *target(&mut offsets) = path::offset(types, task, path)?;
    }
    Ok(offsets)
}

/// 1 for `(task, bool group_dead)`, 0 for `(task)`.
fn exit_has_group_dead(types: &mut Types<'_>, typedef: u32) -> Result<u32, BtfError> {
    let unknown =
        BtfError::Shape { what: EXIT.name.into(), wanted: "a function of a task_struct, or of it and a bool" };
    let (Some(first), second) = arguments(types, typedef)? else { return Err(unknown) };
    if !points_to_task(types, first)? {
        return Err(unknown);
    }
    match second {
        None => Ok(0),
        Some(second) if second.is_number(1) => Ok(1),
        Some(_) => Err(unknown),
    }
}

/// 1 for `(task, ..)`, 0 for `(int pid)`.
fn victim_is_task(types: &mut Types<'_>, typedef: u32) -> Result<u32, BtfError> {
    match arguments(types, typedef)?.0 {
        Some(victim) if victim.is_number(4) => Ok(0),
        Some(victim) if points_to_task(types, victim)? => Ok(1),
        _ => Err(BtfError::Shape { what: VICTIM.name.into(), wanted: "a function of a pid or of a task_struct" }),
    }
}

/// 1 where the kernel lists the helper under the number that the programs call it by.
fn has_current_task_btf(types: &mut Types<'_>, helpers: u32) -> Result<u32, BtfError> {
    let (name, number) = CURRENT_TASK_BTF;
    let helpers = types.get(helpers)?;
    for [name_at, value] in helpers.rows() {
        if value == number && types.is_named(name_at, name)? {
            return Ok(1);
        }
    }
    Ok(0)
}

/// The first two arguments of a tracepoint: what follows `void *__data` in the function its typedef points to.
fn arguments<'a>(types: &mut Types<'a>, typedef: u32) -> Result<(Option<Type<'a>>, Option<Type<'a>>), BtfError> {
    let Some(function) = types.pointee(typedef)?.filter(|function| function.kind == Kind::FUNC_PROTO) else {
        return Ok((None, None));
    };
    let mut after_data = function.rows().skip(1).map(|[_name, id]| types.bare(id));
    Ok((after_data.next().transpose()?, after_data.next().transpose()?))
}

fn points_to_task(types: &mut Types<'_>, argument: Type<'_>) -> Result<bool, BtfError> {
    let Some(what) = types.pointee(argument.id)? else { return Ok(false) };
    Ok(what.kind == TASK.kind && types.is_named(what.name, TASK.name)?)
}
