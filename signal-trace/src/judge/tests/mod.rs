//! Timelines: what was seen, line by line, and the verdict that is true.

mod properties;
mod recorded;
mod timeline;
mod traps;

use crate::event::{EventKind, StartTick};
use crate::judge::Input;
use timeline::{check, parse, play};

macro_rules! timelines {
    ($($name:ident),* $(,)?) => {
        $(#[test] fn $name() { check(include_str!(concat!("timelines/", stringify!($name), ".txt"))); })*

        /// Every timeline, by name.
        const TIMELINES: &[(&str, &str)] =
            &[$((stringify!($name), include_str!(concat!("timelines/", stringify!($name), ".txt")))),*];
    };
}
include!("list.rs");

#[test]
fn every_timeline_is_a_test() {
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/judge/tests/timelines")).unwrap();
    for file in files {
        let name = file.unwrap().file_name().into_string().unwrap();
        let stem = name.strip_suffix(".txt").expect("a timeline ends in .txt");
        assert!(TIMELINES.iter().any(|(listed, _)| *listed == stem), "{name} is not in the list");
    }
}

/// Before Linux 5.11 the kernel does not say when a sender started: it is the same sender all the same.
#[test]
fn every_timeline_holds_without_the_starts_of_senders() {
    for (name, text) in TIMELINES {
        let inputs = parse(text.split_once("\n---\n").unwrap().0);
        let mut older = inputs.clone();
        for (_, input) in &mut older {
            if let Input::Event(event) = input
                && let EventKind::Signal(signal) = &mut event.kind
            {
                signal.sender.key.start = StartTick::default();
            }
        }
        assert_eq!(play(&older), play(&inputs), "{name}");
    }
}
