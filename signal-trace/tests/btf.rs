//! The reader against the BTF of the kernel this runs on, where it has one.

use std::fs;

use signal_trace::kernel::btf::{BtfError, resolve};
use signal_trace_ebpf::Offsets;

const PATH: &str = "/sys/kernel/btf/vmlinux";

/// None on a kernel that was built without BTF, of which there is nothing to say here.
fn vmlinux() -> Option<Vec<u8>> {
    fs::read(PATH).ok()
}

#[test]
fn this_kernel_has_everything_where_it_can_be() {
    let Some(btf) = vmlinux() else { return };
    let o = resolve(&btf).unwrap();

    let handlers = [
        (1, o.handler_hup),
        (2, o.handler_int),
        (3, o.handler_quit),
        (10, o.handler_usr1),
        (12, o.handler_usr2),
        (15, o.handler_term),
        (18, o.handler_cont),
        (28, o.handler_winch),
        (30, o.handler_pwr),
        (37, o.handler_rtmin_3),
    ];
    let stride = o.handler_int - o.handler_hup;
    assert!(stride >= 24, "a handler, flags and a mask are at least so long: {stride}");
    for (signal, offset) in handlers {
        assert_eq!(offset, o.handler_hup + (signal - 1) * stride, "handler of signal {signal}");
    }

    all_apart(&task_members(&o));
    all_apart(&[(o.signal_live, 4), (o.signal_flags, 4), (o.signal_group_exit_code, 4), (o.signal_shared_pending, 8)]);
    all_apart(&[(o.cgroup_kn, 8), (o.cgroup_root, 8), (o.cgroup_self_parent, 8)]);
    assert_eq!(o.task_real_blocked, o.task_blocked + 8, "declared one after the other in every kernel so far");
    assert_eq!((o.bulk_wakeup_bytes, o.reserved), (0, 0), "not the kernel's to say");
}

fn task_members(o: &Offsets) -> [(u32, u32); 13] {
    [
        (o.task_tgid, 4),
        (o.task_group_leader, 8),
        (o.task_real_parent, 8),
        (o.task_comm, 16),
        (o.task_start_boottime, 8),
        (o.task_thread_pid, 8),
        (o.task_exit_code, 4),
        (o.task_ptrace, 4),
        (o.task_blocked, 8),
        (o.task_real_blocked, 8),
        (o.task_signal, 8),
        (o.task_sighand, 8),
        (o.task_cgroups, 8),
    ]
}

/// Members of one struct, by offset and size: aligned, and none over another.
fn all_apart(members: &[(u32, u32)]) {
    for (index, &(offset, size)) in members.iter().enumerate() {
        assert_eq!(offset % size.min(8), 0, "{offset} is no place for {size} bytes");
        let overlaps = |&&(other, other_size): &&(u32, u32)| other < offset + size && offset < other + other_size;
        assert_eq!(members[index + 1..].iter().find(overlaps), None, "over {size} bytes at {offset}");
    }
}

#[test]
fn this_kernel_has_what_its_version_came_with() {
    let Some(btf) = vmlinux() else { return };
    let o = resolve(&btf).unwrap();
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse::<u32>().unwrap());
    let version = (numbers.next().unwrap(), numbers.next().unwrap());
    // One way only: an older version may have had a newer shape brought back to it.
    for (since, what, has) in [
        ((5, 11), "bpf_get_current_task_btf", o.has_current_task_btf),
        ((6, 9), "mark_victim of a task", o.victim_is_task),
        ((6, 16), "sched_process_exit with group_dead", o.exit_has_group_dead),
    ] {
        assert!(has == 1 || version < since, "{what} is missing in {release}");
    }
}

#[test]
fn a_part_of_this_kernels_btf_is_refused() {
    let Some(mut btf) = vmlinux() else { return };
    for sixteenth in (0..16).rev() {
        btf.truncate(btf.len() * sixteenth / (sixteenth + 1));
        let error = resolve(&btf).unwrap_err();
        assert!(matches!(error, BtfError::Truncated { .. }), "{error}");
    }
}
