//! Writes BTF blobs, for the tests: any types, also impossible ones, and a kernel in miniature.
//!
//! Shares nothing with the reader but the numbers of the kinds, so that the two cannot be wrong together.

use signal_trace_ebpf::Offsets;

use super::types::Kind;
use super::{BtfError, resolve};

/// Four bytes of a record, by what they mean: so that types can change their order and still refer to each other.
#[derive(Clone, Copy, Debug)]
pub(in crate::kernel::btf) enum Word {
    Number(u32),
    Type(u32),
    Name(&'static str),
}

use Word::{Name, Number, Type};

#[derive(Clone, Debug)]
pub(in crate::kernel::btf) struct Record {
    pub(in crate::kernel::btf) kind: Kind,
    pub(in crate::kernel::btf) flag: bool,
    pub(in crate::kernel::btf) name: Word,
    pub(in crate::kernel::btf) word: Word,
    pub(in crate::kernel::btf) tail: Vec<Word>,
}

/// Types in order; the id of each is its place, counted from 1.
#[derive(Clone, Debug, Default)]
pub(in crate::kernel::btf) struct Blob {
    pub(in crate::kernel::btf) records: Vec<Record>,
    /// Lengths of the kinds of records, in a section of its own between types and names where there are any.
    pub(in crate::kernel::btf) layout: Vec<[u8; 4]>,
}

impl Blob {
    pub(in crate::kernel::btf) fn add(&mut self, kind: Kind, name: &'static str, word: Word, tail: Vec<Word>) -> u32 {
        self.records.push(Record { kind, flag: false, name: Name(name), word, tail });
        self.records.len().try_into().unwrap()
    }

    pub(in crate::kernel::btf) fn int(&mut self, name: &'static str, bytes: u32) -> u32 {
        self.add(Kind::INT, name, Number(bytes), vec![Number(bytes * 8)])
    }

    pub(in crate::kernel::btf) fn pointer(&mut self, to: u32) -> u32 {
        self.add(Kind::PTR, "", Type(to), vec![])
    }

    /// A typedef, a qualifier or a tag.
    pub(in crate::kernel::btf) fn other_name(&mut self, kind: Kind, name: &'static str, of: u32) -> u32 {
        self.add(kind, name, Type(of), vec![])
    }

    pub(in crate::kernel::btf) fn array(&mut self, of: u32, length: u32) -> u32 {
        self.add(Kind::ARRAY, "", Number(0), vec![Type(of), Number(0), Number(length)])
    }

    /// A struct or union, of members at byte offsets.
    pub(in crate::kernel::btf) fn aggregate(
        &mut self,
        kind: Kind,
        name: &'static str,
        bytes: u32,
        members: &[(&'static str, u32, u32)],
    ) -> u32 {
        let rows = members.iter().flat_map(|&(name, ty, byte)| [Name(name), Type(ty), Number(byte * 8)]);
        self.add(kind, name, Number(bytes), rows.collect())
    }

    /// The typedef of a tracepoint with these arguments after `void *__data`.
    pub(in crate::kernel::btf) fn tracepoint(&mut self, name: &'static str, arguments: &[u32]) -> u32 {
        let data = self.pointer(0);
        let rows = [data].iter().chain(arguments).flat_map(|&ty| [Name(""), Type(ty)]).collect();
        let function = self.add(Kind::FUNC_PROTO, "", Number(0), rows);
        let pointer = self.pointer(function);
        self.other_name(Kind::TYPEDEF, name, pointer)
    }

    /// Keeps the id of a type that others point to before it is described.
    pub(in crate::kernel::btf) fn reserve(&mut self) -> u32 {
        self.add(Kind::FWD, "reserved", Number(0), vec![])
    }

    /// Gives the type that was added last a reserved id.
    pub(in crate::kernel::btf) fn settle(&mut self, id: u32) {
        self.records.swap_remove(id as usize - 1);
    }

    /// The first record of a kind and name.
    pub(in crate::kernel::btf) fn record(&mut self, kind: Kind, name: &str) -> &mut Record {
        let id = self.id(kind, name);
        &mut self.records[id as usize - 1]
    }

    /// The id of the first record of a kind and name.
    pub(in crate::kernel::btf) fn id(&self, kind: Kind, name: &str) -> u32 {
        let is_it = |record: &Record| record.kind == kind && matches!(record.name, Name(its) if its == name);
        let place = self.records.iter().position(is_it).unwrap();
        u32::try_from(place).unwrap() + 1
    }

    /// The words of a struct's member: its name, type and place in bits.
    pub(in crate::kernel::btf) fn member(&mut self, holder: &str, name: &str) -> &mut [Word; 3] {
        let (rows, _) = self.record(Kind::STRUCT, holder).tail.as_chunks_mut();
        rows.iter_mut().find(|row| matches!(row[0], Name(its) if its == name)).unwrap()
    }

    /// These types, then those of another blob.
    pub(in crate::kernel::btf) fn then(mut self, mut other: Self) -> Self {
        let shift = u32::try_from(self.records.len()).unwrap();
        for record in &mut other.records {
            for word in [&mut record.word].into_iter().chain(&mut record.tail) {
                if let Type(id @ 1..) = word {
                    *id += shift;
                }
            }
        }
        self.records.append(&mut other.records);
        self
    }

    pub(in crate::kernel::btf) fn encode(&self) -> Vec<u8> {
        self.encode_in((0..self.records.len()).collect())
    }

    /// Writes the record `order[i]` in place `i`.
    pub(in crate::kernel::btf) fn encode_in(&self, order: Vec<usize>) -> Vec<u8> {
        let mut ids = vec![0_u32; self.records.len() + 1];
        for (id, &place) in (1..).zip(&order) {
            ids[place + 1] = id;
        }
        let mut names = vec![0_u8];
        let mut types = Vec::new();
        for place in order {
            let record = &self.records[place];
            let rows = record.tail.len() / record.row_words();
            let info = u32::from(record.flag) << 31 | u32::from(record.kind.0) << 24 | u32::try_from(rows).unwrap();
            for word in [record.name, Number(info), record.word].iter().chain(&record.tail) {
                let value = match *word {
                    Number(value) => value,
                    // An id that no record has is written as it is.
                    Type(id) => *ids.get(id as usize).unwrap_or(&id),
                    Name(name) => intern(&mut names, name),
                };
                types.extend(value.to_ne_bytes());
            }
        }
        let layout = self.layout.concat();
        let [types_bytes, layout_bytes, names_bytes] =
            [&types, &layout, &names].map(|section| u32::try_from(section.len()).unwrap());
        let header = [0, types_bytes, types_bytes + layout_bytes, names_bytes, types_bytes, layout_bytes];
        let header = if layout.is_empty() { &header[..4] } else { &header };
        let mut blob = [0xeb9f_u16.to_ne_bytes(), [1, 0]].concat();
        blob.extend((8 + 4 * u32::try_from(header.len()).unwrap()).to_ne_bytes());
        blob.extend(header.iter().copied().flat_map(u32::to_ne_bytes));
        [blob, types, layout, names].concat()
    }
}

impl Record {
    fn row_words(&self) -> usize {
        match self.kind {
            Kind::STRUCT | Kind::UNION | Kind::DATASEC | Kind::ENUM64 => 3,
            Kind::ENUM | Kind::FUNC_PROTO => 2,
            _ => usize::MAX,
        }
    }
}

fn intern(names: &mut Vec<u8>, name: &str) -> u32 {
    let entry = [&[0], name.as_bytes(), &[0]].concat();
    let at = if name.is_empty() { Some(0) } else { names.windows(entry.len()).position(|at| at == entry) };
    let at = at.map_or(names.len(), |before| before + usize::from(!name.is_empty()));
    if at == names.len() {
        names.extend(&entry[1..]);
    }
    at.try_into().unwrap()
}

/// A kernel with nothing but what is read of it, and with every detour that kernels make about it.
pub(in crate::kernel::btf) fn kernel() -> Blob {
    let mut b = Blob::default();
    let task = b.reserve();
    let int = b.int("int", 4);
    let uint = b.int("unsigned int", 4);
    let ulong = b.int("long unsigned int", 8);
    let char = b.int("char", 1);
    let bool = b.int("_Bool", 1);
    let u64 = b.other_name(Kind::TYPEDEF, "u64", ulong);
    let words = b.array(ulong, 1);
    let sigset = b.aggregate(Kind::STRUCT, "", 8, &[("sig", words, 0)]);
    let sigset = b.other_name(Kind::TYPEDEF, "sigset_t", sigset);
    let pid = b.aggregate(Kind::STRUCT, "pid", 16, &[("count", int, 0), ("level", uint, 4)]);

    let signal = signal_struct(&mut b, int, uint, sigset);
    let sighand = sighand_struct(&mut b, ulong);
    let css_set = css_set(&mut b, int, u64);

    let [task_pointer, pid, signal, sighand, css_set] = [task, pid, signal, sighand, css_set].map(|ty| b.pointer(ty));
    let rcu = b.other_name(Kind::TYPE_TAG, "rcu", css_set);
    let constant = b.other_name(Kind::CONST, "", task_pointer);
    let volatile = b.other_name(Kind::VOLATILE, "", int);
    let pid_t = b.other_name(Kind::TYPEDEF, "pid_t", int);
    let comm = b.array(char, 16);
    // What randomised layouts look like: a struct without a name, with a union without a name in it.
    let ids = b.aggregate(Kind::UNION, "", 8, &[("tgid", pid_t, 0), ("both", ulong, 0)]);
    let ids = b.aggregate(Kind::STRUCT, "", 16, &[("pid", pid_t, 0), ("", ids, 8)]);
    let ids = b.other_name(Kind::CONST, "", ids);
    let members = [
        ("__state", uint, 0),
        ("ptrace", uint, 4),
        ("", ids, 8),
        ("exit_code", volatile, 24),
        ("real_parent", task_pointer, 32),
        ("group_leader", constant, 40),
        ("thread_pid", pid, 48),
        ("start_boottime", u64, 56),
        ("comm", comm, 64),
        ("signal", signal, 80),
        ("sighand", sighand, 88),
        ("blocked", sigset, 96),
        ("real_blocked", sigset, 104),
        ("cgroups", rcu, 112),
    ];
    b.aggregate(Kind::STRUCT, "task_struct", 128, &members);
    b.settle(task);

    b.tracepoint("btf_trace_sched_process_exit", &[task_pointer, bool]);
    b.tracepoint("btf_trace_mark_victim", &[task_pointer, uint]);
    let helpers = vec![Name("BPF_FUNC_unspec"), Number(0), Name("BPF_FUNC_get_current_task_btf"), Number(158)];
    b.add(Kind::ENUM, "bpf_func_id", Number(4), helpers);
    b
}

fn signal_struct(b: &mut Blob, int: u32, uint: u32, sigset: u32) -> u32 {
    let atomic = b.aggregate(Kind::STRUCT, "", 4, &[("counter", int, 0)]);
    let atomic = b.other_name(Kind::TYPEDEF, "atomic_t", atomic);
    let list = b.int("__int128", 16);
    let pending = b.aggregate(Kind::STRUCT, "sigpending", 24, &[("list", list, 0), ("signal", sigset, 16)]);
    let bits = b.aggregate(
        Kind::STRUCT,
        "signal_struct",
        48,
        &[
            ("sigcnt", int, 0),
            ("live", atomic, 4),
            ("group_exit_code", int, 8),
            ("flags", uint, 12),
            ("is_child_subreaper", uint, 16),
            ("shared_pending", pending, 24),
        ],
    );
    // A struct with any bit field says of every member how many bits it has, 0 for all of them.
    let record = b.record(Kind::STRUCT, "signal_struct");
    record.flag = true;
    record.tail[4 * 3 + 2] = Number((1 << 24) + 16 * 8);
    bits
}

fn sighand_struct(b: &mut Blob, ulong: u32) -> u32 {
    let function = b.add(Kind::FUNC_PROTO, "", Number(0), vec![]);
    let function = b.pointer(function);
    let function = b.other_name(Kind::TYPEDEF, "__sighandler_t", function);
    let members = [("sa_flags", ulong, 0), ("sa_handler", function, 8)];
    let sigaction = b.aggregate(Kind::STRUCT, "sigaction", 24, &members);
    let k_sigaction = b.aggregate(Kind::STRUCT, "k_sigaction", 32, &[("sa", sigaction, 0)]);
    let action = b.array(k_sigaction, 64);
    b.aggregate(Kind::STRUCT, "sighand_struct", 2064, &[("siglock", ulong, 0), ("action", action, 16)])
}

fn css_set(b: &mut Blob, int: u32, u64: u32) -> u32 {
    let cgroup = b.reserve();
    let cgroup_pointer = b.pointer(cgroup);
    let css = b.reserve();
    let css_pointer = b.pointer(css);
    let members = [("cgroup", cgroup_pointer, 0), ("parent", css_pointer, 8)];
    b.aggregate(Kind::STRUCT, "cgroup_subsys_state", 16, &members);
    b.settle(css);
    let kernfs_node = b.aggregate(Kind::STRUCT, "kernfs_node", 16, &[("id", u64, 8)]);
    let kernfs_node = b.pointer(kernfs_node);
    let root = b.aggregate(Kind::STRUCT, "cgroup_root", 8, &[("hierarchy_id", int, 4)]);
    let root = b.pointer(root);
    b.aggregate(
        Kind::STRUCT,
        "cgroup",
        40,
        &[("flags", u64, 0), ("self", css, 8), ("kn", kernfs_node, 24), ("root", root, 32)],
    );
    b.settle(cgroup);
    b.aggregate(Kind::STRUCT, "css_set", 16, &[("dfl_cgrp", cgroup_pointer, 8)])
}

/// [`kernel`], changed.
pub(in crate::kernel::btf) fn kernel_with(edit: impl FnOnce(&mut Blob)) -> Blob {
    let mut blob = kernel();
    edit(&mut blob);
    blob
}

/// The changed kernel has everything where [`kernel`] has it.
#[track_caller]
pub(in crate::kernel::btf) fn accepted(edit: impl FnOnce(&mut Blob)) {
    assert_eq!(resolve(&kernel_with(edit).encode()), Ok(OFFSETS));
}

/// What is said of the changed kernel.
#[track_caller]
pub(in crate::kernel::btf) fn refused(edit: impl FnOnce(&mut Blob)) -> BtfError {
    resolve(&kernel_with(edit).encode()).unwrap_err()
}

/// Where [`kernel`] has everything.
pub(in crate::kernel::btf) const OFFSETS: Offsets = Offsets {
    task_tgid: 16,
    task_group_leader: 40,
    task_real_parent: 32,
    task_comm: 64,
    task_start_boottime: 56,
    task_thread_pid: 48,
    task_exit_code: 24,
    task_ptrace: 4,
    task_blocked: 96,
    task_real_blocked: 104,
    task_signal: 80,
    task_sighand: 88,
    task_cgroups: 112,
    signal_flags: 12,
    signal_group_exit_code: 8,
    signal_live: 4,
    signal_shared_pending: 40,
    pid_level: 4,
    css_set_dfl_cgrp: 8,
    cgroup_kn: 24,
    cgroup_root: 32,
    cgroup_self_parent: 16,
    css_cgroup: 0,
    root_hierarchy_id: 4,
    kn_id: 8,
    handler_hup: 24,
    handler_int: 56,
    handler_quit: 88,
    handler_usr1: 312,
    handler_usr2: 376,
    handler_term: 472,
    handler_cont: 568,
    handler_winch: 888,
    handler_pwr: 952,
    handler_rtmin_3: 1176,
    has_current_task_btf: 1,
    exit_has_group_dead: 1,
    victim_is_task: 1,
    bulk_wakeup_bytes: 0,
    reserved: 0,
};
