//! From the bytes of one record to an event.
//!
//! Pure, and the only file that knows how the wire and the domain correspond. A record of another version, of an
//! unknown kind or of another length than its kind has is refused with a reason, and so is one with a number in it
//! that means nothing: the caller counts it. No bytes make it panic.

use signal_trace_ebpf::{
    self as wire, CgroupRecord, Header, Kind, LEVEL_UNKNOWN, ProcessRecord, SIGNAL_GROUP_COREDUMP, SIGNAL_GROUP_EXIT,
    SIGNAL_UNKILLABLE, SignalRecord, WIRE_VERSION,
};

use crate::event::{
    CgroupId, Comm, Event, EventKind, ExitEvent, ExitStatus, Generated, Handler, KernelTime, Mask, Pid, ProcessEvent,
    ProcessKey, Signal, SignalEvent, StartTick, Task,
};

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Fewer or more bytes than a record of that kind has.
    #[error("a record of {found} bytes where {expected} belong")]
    Length {
        /// Bytes that were there.
        found: usize,
        /// Bytes that a header, or a record of that kind, has.
        expected: usize,
    },
    /// A layout that this daemon was not built with.
    #[error("a record of wire version {0}: the programs and the daemon are not from the same build")]
    Version(u16),
    /// A kind that this daemon does not know.
    #[error("a record of unknown kind {0}")]
    Kind(u16),
    /// A member whose value means nothing.
    #[error("a record whose {member} is {value}, which means nothing")]
    Value {
        /// The member.
        member: &'static str,
        /// What it held.
        value: u32,
    },
}

/// Reads one record.
///
/// # Errors
///
/// When the bytes are not exactly one record of this version.
pub fn decode(bytes: &[u8]) -> Result<Event, DecodeError> {
    let header: Header = read(bytes.get(..size_of::<Header>()).unwrap_or(bytes))?;
    if header.version != WIRE_VERSION {
        return Err(DecodeError::Version(header.version));
    }
    let kind = match header.kind {
        k if k == Kind::Signal as u16 => EventKind::Signal(signal(&read(bytes)?)?),
        k if k == Kind::Fork as u16 => EventKind::Fork(process(&read(bytes)?)),
        k if k == Kind::Exit as u16 => EventKind::Exit(exit(&read(bytes)?)),
        k if k == Kind::Move as u16 => EventKind::Move(process(&read(bytes)?)),
        k if k == Kind::OomMark as u16 => EventKind::OomMark(Pid(read::<ProcessRecord>(bytes)?.task.tgid)),
        k if k == Kind::CgroupMade as u16 => {
            let made: CgroupRecord = read(bytes)?;
            EventKind::CgroupMade { id: CgroupId(made.id), parent: CgroupId(made.parent) }
        }
        k if k == Kind::CgroupGone as u16 => EventKind::CgroupGone(CgroupId(read::<CgroupRecord>(bytes)?.id)),
        unknown => return Err(DecodeError::Kind(unknown)),
    };
    Ok(Event { time: KernelTime(header.time_ns), kind })
}

fn signal(record: &SignalRecord) -> Result<SignalEvent, DecodeError> {
    let unknown = |member, value| DecodeError::Value { member, value };
    let signal = Signal::from_number(record.signal).ok_or(unknown("signal", record.signal))?;
    Ok(SignalEvent {
        signal,
        sender: task(&record.sender),
        target: task(&record.target),
        kernel_made: match record.origin {
            o if o == wire::Origin::Process as u32 => false,
            o if o == wire::Origin::Kernel as u32 => true,
            other => return Err(unknown("origin", other)),
        },
        result: match record.result {
            0 => Generated::Delivered,
            1 => Generated::Ignored,
            2 => Generated::AlreadyPending,
            3 | 4 => Generated::Overflow,
            other => return Err(unknown("result", other)),
        },
        handler: match record.handler {
            h if h == wire::Handler::Unknown as u32 => Handler::Unknown,
            h if h == wire::Handler::Default as u32 => Handler::Default,
            h if h == wire::Handler::Ignore as u32 => Handler::Ignore,
            h if h == wire::Handler::Function as u32 => Handler::Function,
            other => return Err(unknown("handler", other)),
        },
        mask: mask(record.blocked, record.real_blocked, signal),
        pending: record.pending,
        to_group: record.group != 0,
        traced: record.traced != 0,
    })
}

/// `sigtimedwait` parks the whole mask in `real_blocked` and unblocks what it waits for: still blocked is not awaited.
fn mask(blocked: u64, real_blocked: u64, signal: Signal) -> Mask {
    let bit = wire::bit(u32::from(signal.number()));
    if blocked & bit != 0 {
        Mask::Blocked
    } else if real_blocked & bit != 0 {
        Mask::Awaited
    } else {
        Mask::Open
    }
}

fn process(record: &ProcessRecord) -> ProcessEvent {
    ProcessEvent {
        task: task(&record.task),
        parent: key(record.parent_tgid, record.parent_start_ns),
        parent_cgroup: CgroupId(record.parent_cgroup),
    }
}

fn exit(record: &ProcessRecord) -> ExitEvent {
    ExitEvent { task: task(&record.task), status: ExitStatus::from_wait(record.exit_code), pending: record.pending }
}

fn task(task: &wire::Task) -> Task {
    Task {
        key: key(task.tgid, task.start_ns),
        cgroup: CgroupId(task.cgroup),
        comm: Comm::new(&task.comm),
        level: (task.level != LEVEL_UNKNOWN).then_some(task.level),
        ns_pid: (task.ns_tgid != 0).then_some(Pid(task.ns_tgid)),
        unkillable: task.signal_flags & SIGNAL_UNKILLABLE != 0,
        dying: task.signal_flags & (SIGNAL_GROUP_EXIT | SIGNAL_GROUP_COREDUMP) != 0,
    }
}

fn key(tgid: u32, start_ns: u64) -> ProcessKey {
    ProcessKey { pid: Pid(tgid), start: StartTick::from_nanos(start_ns) }
}

/// A struct of the wire that any bytes of its length are a value of.
///
/// # Safety
///
/// The struct is `repr(C)`, has no padding, and every bit pattern is valid for each of its fields.
#[expect(unsafe_code, reason = "the promise that `read` rests on")]
unsafe trait Wire: Copy {}

// SAFETY: numbers and arrays of bytes only, without padding, as the wire asserts of them.
#[expect(unsafe_code, reason = "see above")]
unsafe impl Wire for Header {}
// SAFETY: as above.
#[expect(unsafe_code, reason = "see above")]
unsafe impl Wire for SignalRecord {}
// SAFETY: as above.
#[expect(unsafe_code, reason = "see above")]
unsafe impl Wire for ProcessRecord {}
// SAFETY: as above.
#[expect(unsafe_code, reason = "see above")]
unsafe impl Wire for CgroupRecord {}

#[expect(unsafe_code, reason = "bytes become a struct in one place")]
fn read<T: Wire>(bytes: &[u8]) -> Result<T, DecodeError> {
    if bytes.len() != size_of::<T>() {
        return Err(DecodeError::Length { found: bytes.len(), expected: size_of::<T>() });
    }
    // SAFETY: as many bytes are there as the struct has, any of them make a value, and the read needs no alignment.
    Ok(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KINDS: [(Kind, usize); 7] = [
        (Kind::Signal, size_of::<SignalRecord>()),
        (Kind::Fork, size_of::<ProcessRecord>()),
        (Kind::Exit, size_of::<ProcessRecord>()),
        (Kind::Move, size_of::<ProcessRecord>()),
        (Kind::OomMark, size_of::<ProcessRecord>()),
        (Kind::CgroupMade, size_of::<CgroupRecord>()),
        (Kind::CgroupGone, size_of::<CgroupRecord>()),
    ];

    #[test]
    fn a_core_dump_is_an_end_that_has_begun() {
        let flags = |signal_flags| {
            let (cgroup, start_ns, tgid, level, ns_tgid) = (1, 2, 3, 0, 0);
            task(&wire::Task { cgroup, start_ns, comm: [0; 16], tgid, level, ns_tgid, signal_flags })
        };
        assert_eq!([0x0, 0x4, 0x8, 0x40].map(|bits| flags(bits).dying), [false, true, true, false]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = decode(&bytes);
        }

        #[test]
        fn a_true_header_does_not_make_it_panic_either(
            kind in 0..9u16,
            mut bytes in proptest::collection::vec(any::<u8>(), 16..256),
        ) {
            bytes[..2].copy_from_slice(&WIRE_VERSION.to_ne_bytes());
            bytes[2..4].copy_from_slice(&kind.to_ne_bytes());
            let _ = decode(&bytes);
        }

        #[test]
        fn signals_survive_the_crossing(expected in a_signal(), time in any::<u64>()) {
            let bytes = bytes_of_signal(&expected, time);
            prop_assert_eq!(decode(&bytes), Ok(Event { time: KernelTime(time), kind: EventKind::Signal(expected) }));
        }

        #[test]
        fn processes_survive_the_crossing(
            task in a_task(), parent in a_key(), cgroup in any::<u64>(), code in 0..=0xffffu32,
            pending in any::<u64>(), time in any::<u64>(),
        ) {
            let born = ProcessEvent { task, parent, parent_cgroup: CgroupId(cgroup) };
            let status = ExitStatus::from_wait(code);
            for (kind, expected) in [
                (Kind::Fork, EventKind::Fork(born)),
                (Kind::Move, EventKind::Move(born)),
                (Kind::Exit, EventKind::Exit(ExitEvent { task, status, pending })),
                (Kind::OomMark, EventKind::OomMark(task.key.pid)),
            ] {
                let bytes = bytes_of_process(kind, &born, code, pending, time);
                prop_assert_eq!(decode(&bytes), Ok(Event { time: KernelTime(time), kind: expected }));
            }
        }

        #[test]
        fn cgroups_survive_the_crossing(id in any::<u64>(), parent in any::<u64>(), time in any::<u64>()) {
            for (kind, expected) in [
                (Kind::CgroupMade, EventKind::CgroupMade { id: CgroupId(id), parent: CgroupId(parent) }),
                (Kind::CgroupGone, EventKind::CgroupGone(CgroupId(id))),
            ] {
                let bytes = [header(kind, time), words(&[id, parent])].concat();
                prop_assert_eq!(decode(&bytes), Ok(Event { time: KernelTime(time), kind: expected }));
            }
        }
    }

    #[test]
    fn a_record_that_is_cut_or_too_long_is_refused() {
        for (kind, length) in KINDS {
            let mut whole = vec![0; length];
            whole[..16].copy_from_slice(&header(kind, 1));
            if kind == Kind::Signal {
                whole[136..140].copy_from_slice(&15u32.to_ne_bytes());
            }
            assert!(decode(&whole).is_ok(), "{kind:?}");
            for cut in 0..length {
                let expected = if cut < 16 { 16 } else { length };
                assert_eq!(decode(&whole[..cut]), Err(DecodeError::Length { found: cut, expected }), "{kind:?}");
            }
            whole.push(0);
            assert_eq!(decode(&whole), Err(DecodeError::Length { found: length + 1, expected: length }), "{kind:?}");
        }
    }

    #[test]
    fn what_this_build_does_not_know_is_refused() {
        let mut bytes = [header(Kind::CgroupGone, 1), words(&[1, 2])].concat();
        bytes[2..4].copy_from_slice(&8u16.to_ne_bytes());
        assert_eq!(decode(&bytes), Err(DecodeError::Kind(8)));
        bytes[2..4].copy_from_slice(&0u16.to_ne_bytes());
        assert_eq!(decode(&bytes), Err(DecodeError::Kind(0)));
        bytes[..2].copy_from_slice(&2u16.to_ne_bytes());
        assert_eq!(decode(&bytes), Err(DecodeError::Version(2)));
    }

    #[test]
    fn a_number_that_means_nothing_is_refused_by_name() {
        for (offset, member, value) in
            [(136, "signal", 0u32), (136, "signal", 65), (140, "result", 5), (148, "origin", 2), (152, "handler", 4)]
        {
            let mut bytes = vec![0; size_of::<SignalRecord>()];
            bytes[..16].copy_from_slice(&header(Kind::Signal, 1));
            bytes[136..140].copy_from_slice(&15u32.to_ne_bytes());
            bytes[offset..offset + 4].copy_from_slice(&value.to_ne_bytes());
            assert_eq!(decode(&bytes), Err(DecodeError::Value { member, value }));
        }
    }

    #[test]
    fn a_signal_that_is_parked_and_still_blocked_is_not_awaited() {
        let term = wire::bit(15);
        assert_eq!(mask(0, term, Signal::TERM), Mask::Awaited);
        assert_eq!(mask(term, term, Signal::TERM), Mask::Blocked);
        assert_eq!(mask(term, 0, Signal::TERM), Mask::Blocked);
        assert_eq!(mask(!term, !term, Signal::TERM), Mask::Open);
    }

    prop_compose! {
        fn a_key()(pid in any::<u32>(), tick in 0..u64::MAX / 10_000_000) -> ProcessKey {
            ProcessKey { pid: Pid(pid), start: StartTick(tick) }
        }
    }

    prop_compose! {
        fn a_task()(
            key in a_key(), cgroup in any::<u64>(), comm in any::<[u8; 15]>(), level in proptest::option::of(0..32u32),
            ns_pid in proptest::option::of(1..u32::MAX), unkillable in any::<bool>(), dying in any::<bool>(),
        ) -> Task {
            let ns_pid = ns_pid.map(Pid);
            Task { key, cgroup: CgroupId(cgroup), comm: Comm::new(&comm), level, ns_pid, unkillable, dying }
        }
    }

    prop_compose! {
        fn a_signal()(
            number in 1..=64u32, sender in a_task(), target in a_task(), kernel_made in any::<bool>(),
            result in proptest::sample::select(vec![
                Generated::Delivered, Generated::Ignored, Generated::AlreadyPending, Generated::Overflow,
            ]),
            handler in proptest::sample::select(vec![
                Handler::Unknown, Handler::Default, Handler::Ignore, Handler::Function,
            ]),
            mask in proptest::sample::select(vec![Mask::Open, Mask::Blocked, Mask::Awaited]),
            pending in any::<u64>(), to_group in any::<bool>(), traced in any::<bool>(),
        ) -> SignalEvent {
            let signal = Signal::from_number(number).unwrap();
            SignalEvent { signal, sender, target, kernel_made, result, handler, mask, pending, to_group, traced }
        }
    }

    // The layout, written down a second time and by hand: what the programs write must be what is read.

    fn header(kind: Kind, time: u64) -> Vec<u8> {
        [&WIRE_VERSION.to_ne_bytes()[..], &(kind as u16).to_ne_bytes(), &[0; 4], &time.to_ne_bytes()].concat()
    }

    fn words(words: &[u64]) -> Vec<u8> {
        words.iter().flat_map(|w| w.to_ne_bytes()).collect()
    }

    fn halves(halves: &[u32]) -> Vec<u8> {
        halves.iter().flat_map(|h| h.to_ne_bytes()).collect()
    }

    fn bytes_of_task(task: &Task) -> Vec<u8> {
        let mut comm = [0; 16];
        comm[..task.comm.as_bytes().len()].copy_from_slice(task.comm.as_bytes());
        let flags = u32::from(task.unkillable) * 0x40 + u32::from(task.dying) * 0x4;
        let ns_tgid = task.ns_pid.map_or(0, |pid| pid.0);
        let level = task.level.unwrap_or(u32::MAX);
        [
            words(&[task.cgroup.0, task.key.start.0 * 10_000_000]),
            comm.to_vec(),
            halves(&[task.key.pid.0, level, ns_tgid, flags]),
        ]
        .concat()
    }

    fn bytes_of_signal(event: &SignalEvent, time: u64) -> Vec<u8> {
        let bit = 1u64 << (event.signal.number() - 1);
        let (blocked, real_blocked) = match event.mask {
            Mask::Open => (!bit, !bit),
            Mask::Blocked => (bit, 0),
            Mask::Awaited => (0, bit),
        };
        [
            header(Kind::Signal, time),
            bytes_of_task(&event.sender),
            bytes_of_task(&event.target),
            words(&[event.pending, blocked, real_blocked]),
            halves(&[
                u32::from(event.signal.number()),
                event.result as u32,
                u32::from(event.to_group),
                u32::from(event.kernel_made),
                event.handler as u32,
                0,
                u32::from(event.traced),
                0,
            ]),
        ]
        .concat()
    }

    fn bytes_of_process(kind: Kind, event: &ProcessEvent, code: u32, pending: u64, time: u64) -> Vec<u8> {
        [
            header(kind, time),
            bytes_of_task(&event.task),
            words(&[event.parent_cgroup.0, event.parent.start.0 * 10_000_000]),
            halves(&[event.parent.pid.0, code]),
            words(&[pending]),
        ]
        .concat()
    }
}
