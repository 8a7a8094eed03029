//! Headers, lengths and references: what makes a blob one that can be read at all.

use super::super::blob::Word::{Name, Number, Type};
use super::super::blob::{Blob, OFFSETS, accepted, kernel, refused};
use super::super::{BtfError, resolve};
use super::Kind;

/// What is said of the miniature kernel with other bytes at a place of its header.
fn refused_header(at: usize, bytes: &[u8]) -> BtfError {
    let mut blob = kernel().encode();
    blob[at..at + bytes.len()].copy_from_slice(bytes);
    resolve(&blob).unwrap_err()
}

#[test]
fn what_is_no_btf_is_refused() {
    let found = u16::from_ne_bytes([0x7f, b'E']);
    assert_eq!(resolve(b"\x7fELF"), Err(BtfError::Magic { found }));
    assert_eq!(resolve(b""), Err(BtfError::Truncated { section: "header", needed: 24, have: 0 }));
}

#[test]
fn the_byte_order_of_another_machine_is_named() {
    let error = refused_header(0, &0xeb9f_u16.swap_bytes().to_ne_bytes());
    assert_eq!(error, BtfError::ForeignEndian);
    assert!(error.to_string().contains("byte order of another machine"), "{error}");
}

#[test]
fn another_version_and_unknown_flags_are_refused() {
    assert_eq!(refused_header(2, &[2]), BtfError::Format { version: 2, flags: 0 });
    assert_eq!(refused_header(3, &[1]), BtfError::Format { version: 1, flags: 1 });
}

#[test]
fn a_header_of_an_impossible_length_is_refused() {
    let truncated = |needed, have| BtfError::Truncated { section: "header", needed, have };
    let whole = kernel().encode().len();
    assert_eq!(refused_header(4, &23_u32.to_ne_bytes()), truncated(24, 23));
    assert_eq!(refused_header(4, &u32::MAX.to_ne_bytes()), truncated(u32::MAX as usize, whole));
}

#[test]
fn a_section_that_reaches_past_the_end_is_refused() {
    let cut = |at| {
        let error = refused_header(at, &u32::MAX.to_ne_bytes());
        let BtfError::Truncated { section, needed, have } = error else { panic!("{error}") };
        assert!(needed > have);
        section
    };
    // Where types begin, how long they are, and the same of the names.
    assert_eq!([8, 12, 16, 20].map(cut), ["types", "types", "names", "names"]);
}

#[test]
fn a_record_that_is_cut_off_by_its_section_is_refused() {
    let blob = kernel().encode();
    let bytes = u32::from_ne_bytes(blob[12..16].try_into().unwrap());
    // The last record has a head of 12 bytes and two rows of 8.
    for missing in 1..28 {
        let error = refused_header(12, &(bytes - missing).to_ne_bytes());
        assert!(matches!(error, BtfError::Truncated { section: "last type", .. }), "{error}");
    }
}

#[test]
fn a_kind_of_tomorrow_is_stepped_over_where_the_blob_tells_its_length() {
    let tomorrow = |b: &mut Blob| b.add(Kind(20), "", Number(0), vec![Number(0); 3]);
    let layout = |once, per_row| {
        move |b: &mut Blob| {
            tomorrow(b);
            b.layout = vec![[0; 4]; 20];
            b.layout.push([once, per_row, 0, 0]);
        }
    };
    let id = u32::try_from(kernel().records.len()).unwrap() + 1;
    assert_eq!(refused(|b| _ = tomorrow(b)), BtfError::UnknownKind { id, kind: 20 });
    // Its record has no rows, so that their length does not matter.
    accepted(layout(12, 0));
    accepted(layout(12, 255));
    assert_eq!(refused(layout(16, 0)), BtfError::Truncated { section: "last type", needed: 28, have: 24 });
}

#[test]
fn a_kind_that_is_none_is_refused_whatever_the_blob_says_of_its_length() {
    let id = u32::try_from(kernel().records.len()).unwrap() + 1;
    let none = |b: &mut Blob| {
        b.add(Kind::VOID, "", Number(0), vec![]);
        b.layout = vec![[0; 4]];
    };
    assert_eq!(refused(none), BtfError::UnknownKind { id, kind: 0 });
}

#[test]
fn every_kind_of_today_is_stepped_over() {
    let mut others = Blob::default();
    for (kind, words) in [
        (Kind::INT, 1),
        (Kind::PTR, 0),
        (Kind::ARRAY, 3),
        (Kind::STRUCT, 6),
        (Kind::UNION, 6),
        (Kind::ENUM, 4),
        (Kind::FWD, 0),
        (Kind::TYPEDEF, 0),
        (Kind::VOLATILE, 0),
        (Kind::CONST, 0),
        (Kind::RESTRICT, 0),
        (Kind::FUNC, 0),
        (Kind::FUNC_PROTO, 4),
        (Kind::VAR, 1),
        (Kind::DATASEC, 6),
        (Kind::FLOAT, 0),
        (Kind::DECL_TAG, 1),
        (Kind::TYPE_TAG, 0),
        (Kind::ENUM64, 6),
    ] {
        others.add(kind, "", Number(0), vec![Number(0); words]);
    }
    assert_eq!(resolve(&others.then(kernel()).encode()), Ok(OFFSETS));
}

#[test]
fn types_that_lead_back_to_themselves_are_refused() {
    let typedef = |b: &mut Blob| {
        let id = b.id(Kind::TYPEDEF, "pid_t");
        b.record(Kind::TYPEDEF, "pid_t").word = Type(id);
    };
    assert!(matches!(refused(typedef), BtfError::Cycle { .. }));
    let anonymous = |b: &mut Blob| b.member("task_struct", "")[1] = Type(b.id(Kind::STRUCT, "task_struct"));
    assert!(matches!(refused(anonymous), BtfError::Cycle { .. }));
    let array = |b: &mut Blob| {
        let array = b.reserve();
        b.array(array, 1);
        b.settle(array);
        b.member("task_struct", "comm")[1] = Type(array);
    };
    assert!(matches!(refused(array), BtfError::Cycle { .. }));
}

#[test]
fn deep_nesting_is_followed_and_deeper_nesting_is_refused() {
    let nested = |depth| {
        move |b: &mut Blob| {
            let mut ids = b.id(Kind::UNION, "");
            for _ in 0..depth {
                ids = b.aggregate(Kind::STRUCT, "", 8, &[("", ids, 0)]);
            }
            *b.member("task_struct", "") = [Name(""), Type(ids), Number(16 * 8)];
        }
    };
    accepted(nested(31));
    assert!(matches!(refused(nested(32)), BtfError::Cycle { .. }));
}

#[test]
fn types_with_more_ways_through_them_than_can_be_tried_are_refused() {
    let doubled = |b: &mut Blob| {
        let mut maze = b.aggregate(Kind::UNION, "", 0, &[]);
        for _ in 0..30 {
            maze = b.aggregate(Kind::UNION, "", 0, &[("", maze, 0), ("", maze, 0)]);
        }
        b.aggregate(Kind::STRUCT, "task_struct", 0, &[("", maze, 0)]);
    };
    assert_eq!(refused(doubled), BtfError::Entangled);
    let squared = |b: &mut Blob| {
        let int = b.id(Kind::INT, "int");
        let wide = b.aggregate(Kind::UNION, "", 4, &[("another", int, 0); 2000]);
        b.aggregate(Kind::STRUCT, "task_struct", 4, &[("", wide, 0); 2000]);
    };
    assert_eq!(refused(squared), BtfError::Entangled);
}

#[test]
fn references_to_nowhere_are_refused() {
    let count = u32::try_from(kernel().records.len()).unwrap();
    for id in [count + 1, u32::MAX] {
        let refusal = refused(|b| b.member("task_struct", "signal")[1] = Type(id));
        assert_eq!(refusal, BtfError::TypeId { id, count });
    }
    let length = names_of(&kernel().encode()).len();
    for offset in [u32::try_from(length).unwrap(), u32::MAX] {
        let refusal = refused(|b| b.member("task_struct", "signal")[0] = Number(offset));
        assert_eq!(refusal, BtfError::NameOffset { offset, length });
    }
}

fn names_of(blob: &[u8]) -> &[u8] {
    let word = |at: usize| u32::from_ne_bytes(blob[at..at + 4].try_into().unwrap()) as usize;
    &blob[word(4) + word(16)..]
}

#[test]
fn a_struct_may_have_more_members_than_sixteen_bits_count() {
    accepted(|b| {
        let ptrace = *b.member("task_struct", "ptrace");
        b.member("task_struct", "ptrace")[0] = Name("padding");
        let padding = [Name("padding"), ptrace[1], Number(0)];
        let task = b.record(Kind::STRUCT, "task_struct");
        task.tail.extend(std::iter::repeat_n(padding, 70_000).chain([ptrace]).flatten());
    });
}
