//! What holds for any input: no damage makes the reader panic, and the order and nesting of types change nothing.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::blob::Word::{Name, Number, Type};
use super::blob::{OFFSETS, kernel};
use super::resolve;
use super::types::Kind;

/// Whatever is said of an input fits in a log line: names in it are cut.
fn survives(input: &[u8]) {
    if let Err(error) = resolve(input) {
        assert!(error.to_string().len() < 600, "{error}");
    }
}

#[test]
fn a_blob_that_is_cut_off_anywhere_is_refused() {
    let blob = kernel().encode();
    for length in 0..blob.len() {
        assert!(resolve(&blob[..length]).is_err(), "{length} of {} bytes", blob.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_survived(bytes in vec(any::<u8>(), 0..512)) {
        survives(&bytes);
    }

    #[test]
    fn any_words_after_a_good_beginning_are_survived(words in vec(prop_oneof![0..64_u32, any::<u32>()], 0..64)) {
        let beginning = kernel().encode()[..4].to_vec();
        survives(&words.iter().fold(beginning, |mut blob, word| {
            blob.extend(word.to_ne_bytes());
            blob
        }));
    }

    #[test]
    fn damaged_bytes_are_survived(damage in vec((any::<Index>(), any::<u8>()), 1..8)) {
        let mut blob = kernel().encode();
        for (place, byte) in damage {
            *place.get_mut(&mut blob) = byte;
        }
        survives(&blob);
    }

    #[test]
    fn damaged_words_are_survived(
        damage in vec((any::<Index>(), prop_oneof![0..256_u32, any::<u32>()]), 1..4),
    ) {
        let mut blob = kernel().encode();
        for (place, word) in damage {
            let (words, _) = blob.as_chunks_mut();
            *place.get_mut(words) = word.to_ne_bytes();
        }
        survives(&blob);
    }

    #[test]
    fn the_order_of_types_changes_nothing(order in Just((0..kernel().records.len()).collect::<Vec<_>>()).prop_shuffle()) {
        prop_assert_eq!(resolve(&kernel().encode_in(order)), Ok(OFFSETS));
    }

    /// Wraps `tgid` into so many anonymous structs, each at its own place, and unions, each behind another name.
    #[test]
    fn anonymous_nesting_adds_up(wraps in vec((any::<bool>(), 0..4_u32, 0..6_usize), 0..30)) {
        let mut blob = kernel();
        let (mut id, mut bytes, mut place) = (blob.id(Kind::UNION, ""), 8, 0);
        for (is_union, words, other_name) in wraps {
            let (kind, at) = if is_union { (Kind::UNION, 0) } else { (Kind::STRUCT, words * 4) };
            (bytes, place) = (bytes + at, place + at);
            id = blob.aggregate(kind, "", bytes, &[("", id, at)]);
            let names = [Kind::TYPEDEF, Kind::VOLATILE, Kind::CONST, Kind::RESTRICT, Kind::TYPE_TAG];
            if let Some(&kind) = names.get(other_name) {
                id = blob.other_name(kind, "", id);
            }
        }
        let task = blob.record(Kind::STRUCT, "task_struct");
        task.word = Number(128 + bytes);
        // Last, so that it is searched for what it holds alone, which saves time here.
        task.tail[2 * 3..].rotate_left(3);
        *blob.member("task_struct", "") = [Name(""), Type(id), Number(128 * 8)];
        let mut expected = OFFSETS;
        expected.task_tgid = 128 + place;
        prop_assert_eq!(resolve(&blob.encode()), Ok(expected));
    }
}
