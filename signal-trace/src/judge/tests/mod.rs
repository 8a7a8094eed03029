//! Timelines: what was seen, line by line, and the verdict that is true.

mod properties;
mod recorded;
mod timeline;
mod traps;

use crate::event::{EventKind, StartTick};
use crate::judge::{Input, Judge};
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

/// What the loop around the judge asks it between inputs: how many are being stopped, whether one only waits for those that
/// its init left behind, and when something is due.
#[test]
fn what_is_due_is_told() {
    let inputs = parse(
        "0.0 container a grace=30s stop=TERM
         0.1 fork a/1 server parent=outside
         0.2 fork a/7 worker parent=1
         0.3 container b grace=30s stop=TERM
         0.4 fork b/1 server parent=outside
         0.5 container c grace=30s stop=TERM
         0.6 fork c/1 server parent=outside
         10.0 signal TERM outside(runc) -> a/1 delivered
         20.0 signal TERM outside(runc) -> b/1 delivered
         30.0 signal TERM outside(runc) -> c/1 delivered
         31.0 exit a/1 code=0
         36.5 tick
         171.0 tick
         181.0 tick",
    );
    let (mut judge, mut out) = (Judge::default(), Vec::new());
    let told = inputs.iter().map(|(now, input)| {
        judge.handle(input.clone(), *now, &mut out);
        let due = judge.next_deadline().map(|at| at.since(inputs[0].0).as_secs());
        (judge.open_windows(), judge.awaits_ends(), due)
    });
    let nothing = (0, false, None);
    let told: Vec<_> = told.skip_while(|told| *told == nothing).collect();
    let expected = [
        (1, false, Some(160)),
        (2, false, Some(160)),
        (3, false, Some(160)),
        (3, true, Some(36)),
        (2, false, Some(170)),
        (1, false, Some(180)),
        nothing,
    ];
    assert_eq!(told, expected);
}
