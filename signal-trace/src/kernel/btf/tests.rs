//! What is read of blobs that are right, and what is said of those that are not.

use super::blob::Word::{Name, Number, Type};
use super::blob::{Blob, OFFSETS, accepted, kernel, kernel_with, refused};
use super::types::Kind;
use super::{BtfError, resolve};

fn missing(what: &str) -> BtfError {
    BtfError::Missing { what: what.to_owned() }
}

fn shape(what: &str, wanted: &'static str) -> BtfError {
    BtfError::Shape { what: what.to_owned(), wanted }
}

fn size(what: &str, found: u32, wanted: u32) -> BtfError {
    BtfError::Size { what: what.to_owned(), found, wanted }
}

#[test]
fn every_offset_is_found() {
    accepted(|_| {});
}

#[test]
fn a_missing_member_is_named() {
    let members = [
        ("task_struct", "group_leader", ""),
        ("task_struct", "real_parent", ""),
        ("task_struct", "comm", ""),
        ("task_struct", "start_boottime", ""),
        ("task_struct", "thread_pid", ""),
        ("task_struct", "exit_code", ""),
        ("task_struct", "ptrace", ""),
        ("task_struct", "blocked", ".sig"),
        ("task_struct", "real_blocked", ".sig"),
        ("task_struct", "signal", ""),
        ("task_struct", "sighand", ""),
        ("task_struct", "cgroups", ""),
        ("signal_struct", "flags", ""),
        ("signal_struct", "group_exit_code", ""),
        ("signal_struct", "live", ".counter"),
        ("signal_struct", "shared_pending", ".signal.sig"),
        ("pid", "level", ""),
        ("css_set", "dfl_cgrp", ""),
        ("cgroup", "kn", ""),
        ("cgroup", "root", ""),
        ("cgroup", "self", ".parent"),
        ("cgroup_subsys_state", "cgroup", ""),
        ("cgroup_root", "hierarchy_id", ""),
        ("kernfs_node", "id", ""),
        ("sighand_struct", "action", ".sa.sa_handler"),
    ];
    for (holder, member, rest) in members {
        let refusal = refused(|b| b.member(holder, member)[0] = Name("another"));
        assert_eq!(refusal, missing(&format!("{holder}.{member}{rest}")));
    }
}

#[test]
fn a_member_that_is_missing_further_in_is_named_by_its_path_from_the_struct_that_is_pointed_to() {
    for (holder, member, what) in [
        ("sigpending", "signal", "signal_struct.shared_pending.signal.sig"),
        ("k_sigaction", "sa", "sighand_struct.action.sa.sa_handler"),
        ("sigaction", "sa_handler", "sighand_struct.action.sa.sa_handler"),
        ("cgroup_subsys_state", "parent", "cgroup.self.parent"),
    ] {
        assert_eq!(refused(|b| b.member(holder, member)[0] = Name("another")), missing(what));
    }
    assert_eq!(refused(|b| b.record(Kind::UNION, "").tail[0] = Name("another")), missing("task_struct.tgid"));
}

#[test]
fn the_message_names_the_member_and_the_way_out() {
    assert_eq!(
        refused(|b| b.member("task_struct", "start_boottime")[0] = Name("start_time")).to_string(),
        "the kernel's BTF has no task_struct.start_boottime: signal-trace needs Linux 5.10 or later; on a later one \
         update signal-trace, and if that does not help report the output of `uname -r`"
    );
}

#[test]
fn a_name_that_is_no_identifier_is_escaped_and_cut_in_the_message() {
    let holder = |name| {
        refused(|b| {
            b.member("pid", "level")[0] = Name("another");
            b.record(Kind::STRUCT, "pid").name = Name(name);
        })
    };
    assert_eq!(holder("\x1b[2Jpid\n"), missing("\\x1b[2Jpid\\n.level"));
    assert_eq!(holder(""), missing("(anonymous).level"));
    let long = "0123456789_123456789_123456789_123456789_123456789_123456789_123456789";
    assert_eq!(holder(long), missing(&format!("{}.level", &long[..64])));
}

#[test]
fn a_missing_type_is_named_with_its_kind() {
    for (kind, name, what) in [
        (Kind::STRUCT, "task_struct", "struct task_struct"),
        (Kind::TYPEDEF, "btf_trace_sched_process_exit", "typedef btf_trace_sched_process_exit"),
        (Kind::TYPEDEF, "btf_trace_mark_victim", "typedef btf_trace_mark_victim"),
        (Kind::ENUM, "bpf_func_id", "enum bpf_func_id"),
    ] {
        assert_eq!(refused(|b| b.record(kind, name).name = Name("another")), missing(what));
    }
    assert_eq!(refused(|b| b.record(Kind::STRUCT, "task_struct").kind = Kind::UNION), missing("struct task_struct"));
}

#[test]
fn a_name_that_only_begins_or_ends_as_the_one_that_is_meant_is_another() {
    for name in ["task_struct_old", "my_task_struct", "task_struc", ""] {
        let refusal = refused(|b| b.record(Kind::STRUCT, "task_struct").name = Name(name));
        assert_eq!(refusal, missing("struct task_struct"));
    }
}

#[test]
fn what_has_the_name_and_is_no_full_struct_is_passed_over() {
    let mut others = Blob::default();
    others.add(Kind::FWD, "task_struct", Number(0), vec![]);
    others.add(Kind::TYPEDEF, "task_struct", Number(0), vec![]);
    others.aggregate(Kind::STRUCT, "task_struct", 0, &[]);
    let long = others.int("long", 8);
    others.aggregate(Kind::STRUCT, "task_struct", 8, &[("tgid", long, 0)]);
    assert_eq!(resolve(&others.clone().then(kernel()).encode()), Ok(OFFSETS));
    assert_eq!(resolve(&kernel().then(others).encode()), Ok(OFFSETS));
}

#[test]
fn where_no_struct_of_the_name_is_complete_the_first_says_what_is_missing() {
    let one = kernel_with(|b| b.member("task_struct", "ptrace")[0] = Name("another"));
    let other = kernel_with(|b| b.member("pid", "level")[0] = Name("another"));
    assert_eq!(resolve(&one.clone().then(other.clone()).encode()), Err(missing("task_struct.ptrace")));
    assert_eq!(resolve(&other.then(one).encode()), Err(missing("pid.level")));
}

#[test]
fn complete_types_of_one_name_must_agree() {
    assert_eq!(resolve(&kernel().then(kernel()).encode()), Ok(OFFSETS));
    let moved = kernel_with(|b| b.member("pid", "level")[2] = Number(0));
    assert_eq!(resolve(&kernel().then(moved).encode()), Err(BtfError::Ambiguous { name: "task_struct" }));
    let fewer = kernel_with(|b| b.record(Kind::ENUM, "bpf_func_id").tail.truncate(2));
    assert_eq!(resolve(&kernel().then(fewer).encode()), Err(BtfError::Ambiguous { name: "bpf_func_id" }));
}

#[test]
fn more_types_of_one_name_than_any_build_leaves_are_refused() {
    let empty = |b: &mut Blob, times| {
        for _ in 0..times {
            b.aggregate(Kind::STRUCT, "task_struct", 0, &[]);
        }
    };
    accepted(|b| empty(b, 63));
    assert_eq!(refused(|b| empty(b, 64)), BtfError::TooMany { name: "task_struct", limit: 64 });
}

#[test]
fn a_damaged_type_is_refused_even_where_another_of_its_name_is_whole() {
    let damaged = kernel_with(|b| b.member("task_struct", "cgroups")[1] = Type(9999));
    let both = kernel().then(damaged);
    let count = both.records.len().try_into().unwrap();
    let id = 9999 + count / 2;
    assert_eq!(resolve(&both.encode()), Err(BtfError::TypeId { id, count }));
}

#[test]
fn a_bit_field_is_refused() {
    let bit_field = |what: &str| BtfError::BitField { what: what.to_owned() };
    // By its width, which members of a struct with bit fields say; and by a place between bytes.
    for place in [(1 << 24) + 12 * 8, (32 << 24) + 12 * 8, 12 * 8 + 1] {
        let refusal = refused(|b| b.member("signal_struct", "flags")[2] = Number(place));
        assert_eq!(refusal, bit_field("signal_struct.flags"));
    }
    // By the integer's own width or shift, as the oldest encoders put it.
    for data in [31, (1 << 16) + 32] {
        let refusal = refused(|b| b.record(Kind::INT, "unsigned int").tail[0] = Number(data));
        assert_eq!(refusal, bit_field("task_struct.ptrace"));
    }
    // By the place of the anonymous struct around it.
    let refusal = refused(|b| b.member("task_struct", "")[2] = Number(8 * 8 + 4));
    assert_eq!(refusal, bit_field("task_struct.tgid"));
}

#[test]
fn a_size_that_is_not_the_one_loaded_is_refused() {
    let short = |b: &mut Blob| {
        let short = b.int("short", 2);
        b.member("signal_struct", "group_exit_code")[1] = Type(short);
    };
    assert_eq!(refused(short), size("signal_struct.group_exit_code", 2, 4));
    let int = |b: &mut Blob| b.member("task_struct", "start_boottime")[1] = Type(b.id(Kind::INT, "int"));
    assert_eq!(refused(int), size("task_struct.start_boottime", 4, 8));
    let of_32_bits = |b: &mut Blob| {
        let word = b.array(b.id(Kind::INT, "int"), 2);
        *b.member("", "sig") = [Name("sig"), Type(word), Number(0)];
    };
    assert_eq!(refused(of_32_bits), size("task_struct.blocked.sig", 4, 8));
}

#[test]
fn a_name_may_have_more_characters_than_are_loaded_but_not_fewer() {
    let comm = |length| {
        move |b: &mut Blob| {
            let comm = b.array(b.id(Kind::INT, "char"), length);
            b.member("task_struct", "comm")[1] = Type(comm);
        }
    };
    accepted(comm(24));
    assert_eq!(refused(comm(15)), size("task_struct.comm", 15, 16));
}

#[test]
fn another_shape_is_refused() {
    let other = |holder, member, ty: fn(&mut Blob) -> u32| {
        refused(|b| {
            let ty = ty(b);
            b.member(holder, member)[1] = Type(ty);
        })
    };
    let int = |b: &mut Blob| b.id(Kind::INT, "int");
    let address = |b: &mut Blob| b.pointer(0);
    let ints = |b: &mut Blob| b.array(b.id(Kind::INT, "int"), 4);
    let handlers = |b: &mut Blob| b.array(b.id(Kind::STRUCT, "k_sigaction"), 36);
    assert_eq!(other("task_struct", "group_leader", int), shape("task_struct.group_leader", "a pointer"));
    assert_eq!(other("kernfs_node", "id", address), shape("kernfs_node.id", "a number"));
    assert_eq!(other("task_struct", "comm", int), shape("task_struct.comm", "an array of characters"));
    assert_eq!(other("task_struct", "comm", ints), shape("task_struct.comm", "an array of characters"));
    let what = "sighand_struct.action.sa.sa_handler";
    assert_eq!(other("sigaction", "sa_handler", int), shape(what, "a pointer"));
    assert_eq!(other("sighand_struct", "action", int), shape(what, "an array of that many elements"));
    assert_eq!(other("sighand_struct", "action", handlers), shape(what, "an array of that many elements"));
}

#[test]
fn a_pointer_to_a_struct_that_is_only_declared_is_refused() {
    let declared = |b: &mut Blob| {
        let css_set = b.add(Kind::FWD, "css_set", Number(0), vec![]);
        let pointer = b.pointer(css_set);
        b.member("task_struct", "cgroups")[1] = Type(pointer);
    };
    assert_eq!(refused(declared), shape("task_struct.cgroups", "a pointer to a struct with members"));
}

#[test]
fn what_reaches_out_of_its_struct_is_refused() {
    let outside = |what: &str| BtfError::Outside { what: what.to_owned() };
    let member = |holder, member, place| refused(|b| b.member(holder, member)[2] = Number(place));
    assert_eq!(member("pid", "level", 13 * 8), outside("pid.level"));
    assert_eq!(member("pid", "level", u32::MAX - 7), outside("pid.level"));
    assert_eq!(member("task_struct", "", 113 * 8), outside("task_struct.tgid"));
    assert_eq!(member("task_struct", "signal", 121 * 8), outside("task_struct.signal"));
    let enormous = |b: &mut Blob| {
        let actions = b.array(b.id(Kind::STRUCT, "k_sigaction"), 1 << 31);
        b.member("sighand_struct", "action")[1] = Type(actions);
    };
    assert_eq!(refused(enormous), outside("sighand_struct.action.sa.sa_handler"));
    let void = refused(|b| b.member("task_struct", "ptrace")[1] = Type(0));
    assert_eq!(void, outside("task_struct.ptrace"));
}

#[test]
fn a_group_dead_argument_is_seen_in_the_prototype() {
    let exit = |arguments: fn(&mut Blob) -> Vec<u32>| {
        let blob = kernel_with(|b| {
            b.record(Kind::TYPEDEF, "btf_trace_sched_process_exit").name = Name("another");
            let arguments = arguments(b);
            b.tracepoint("btf_trace_sched_process_exit", &arguments);
        });
        resolve(&blob.encode()).map(|offsets| offsets.exit_has_group_dead)
    };
    let unknown = shape("btf_trace_sched_process_exit", "a function of a task_struct, or of it and a bool");
    assert_eq!(exit(|b| vec![task(b)]), Ok(0));
    assert_eq!(exit(|b| vec![task(b), b.id(Kind::INT, "_Bool")]), Ok(1));
    assert_eq!(exit(|b| vec![task(b), b.id(Kind::INT, "_Bool"), 0]), Ok(1));
    assert_eq!(exit(|b| vec![task(b), b.id(Kind::INT, "int")]), Err(unknown.clone()));
    assert_eq!(exit(|b| vec![b.id(Kind::INT, "int")]), Err(unknown.clone()));
    assert_eq!(exit(|_| vec![]), Err(unknown));
}

#[test]
fn the_argument_of_mark_victim_is_seen_in_the_prototype() {
    let victim = |argument: fn(&mut Blob) -> u32| {
        let blob = kernel_with(|b| {
            b.record(Kind::TYPEDEF, "btf_trace_mark_victim").name = Name("another");
            let argument = argument(b);
            b.tracepoint("btf_trace_mark_victim", &[argument]);
        });
        resolve(&blob.encode()).map(|offsets| offsets.victim_is_task)
    };
    let unknown = Err(shape("btf_trace_mark_victim", "a function of a pid or of a task_struct"));
    assert_eq!(victim(task), Ok(1));
    assert_eq!(victim(|b| b.id(Kind::TYPEDEF, "pid_t")), Ok(0));
    assert_eq!(victim(|b| b.id(Kind::INT, "long unsigned int")), unknown);
    assert_eq!(victim(|b| b.id(Kind::STRUCT, "task_struct")), unknown);
    let to_another = |b: &mut Blob| {
        let signal = b.id(Kind::STRUCT, "signal_struct");
        b.pointer(signal)
    };
    assert_eq!(victim(to_another), unknown);
    let to_declared = |b: &mut Blob| {
        let declared = b.add(Kind::FWD, "task_struct", Number(0), vec![]);
        b.pointer(declared)
    };
    assert_eq!(victim(to_declared), unknown);
    // An enumeration has the same rows as a function.
    let no_function = refused(|b| {
        let rows = vec![Name(""), Number(0), Name(""), Type(task(b))];
        let lookalike = b.add(Kind::ENUM, "", Number(4), rows);
        let pointer = b.pointer(lookalike);
        b.record(Kind::TYPEDEF, "btf_trace_mark_victim").word = Type(pointer);
    });
    assert_eq!(Err(no_function), unknown);
}

fn task(blob: &mut Blob) -> u32 {
    let task = blob.id(Kind::STRUCT, "task_struct");
    blob.pointer(task)
}

#[test]
fn the_helper_is_there_under_the_number_it_is_called_by_or_not_at_all() {
    let helper = |name, number| {
        let blob = kernel_with(|b| b.record(Kind::ENUM, "bpf_func_id").tail[2..].copy_from_slice(&[name, number]));
        resolve(&blob.encode()).map(|offsets| offsets.has_current_task_btf)
    };
    assert_eq!(helper(Name("BPF_FUNC_get_current_task_btf"), Number(158)), Ok(1));
    assert_eq!(helper(Name("BPF_FUNC_get_current_task_btf"), Number(159)), Ok(0));
    assert_eq!(helper(Name("BPF_FUNC_bprm_opts_set"), Number(158)), Ok(0));
}
