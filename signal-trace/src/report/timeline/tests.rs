//! What is told as one line, and what is not.

use super::*;
use crate::judge::shutdown::{StepKind, Where};
use crate::report::fixtures;

/// Lines as `sender signal target xN` or `process end xN`, without layout.
fn told(steps: &[Step]) -> Vec<String> {
    let rows = group(steps).into_iter().map(|group| {
        let (row, times) = (Row::new(&group, Charset::Unicode), group.steps.len());
        match row.middle {
            Middle::Arrow { signal, to, .. } => format!("{} {signal} {to} x{times}", row.left),
            Middle::Mark { words, .. } => format!("{} {words} x{times}", row.left),
        }
    });
    rows.collect()
}

fn exit(millis: u64, ns_pid: u32) -> Step {
    let what = StepKind::Exit { process: fixtures::inside(ns_pid, b"w"), status: ExitStatus::Code(0) };
    Step { at: Duration::from_millis(millis), what }
}

#[test]
fn two_are_told_one_by_one_and_three_at_once() {
    assert_eq!(told(&[exit(1, 2), exit(2, 3)]), ["w·2 exit code 0 x1", "w·3 exit code 0 x1"]);
    assert_eq!(told(&[exit(1, 2), exit(2, 3), exit(3, 4)]), ["3 processes exit code 0 x3"]);
}

#[test]
fn what_is_far_apart_is_not_told_as_one() {
    let apart = told(&[exit(1, 2), exit(100, 3), exit(200, 4)]);
    assert_eq!(apart.len(), 3, "{apart:?}");
}

#[test]
fn a_long_interplay_is_not_told_as_two_moments() {
    let sends = |millis, ns_pid| {
        let (from, to) = (fixtures::inside(1, b"m"), fixtures::inside(ns_pid, b"w"));
        let result = Delivery::Generated(Generated::Delivered);
        let what = StepKind::Signal { signal: Signal::TERM, from, origin: Where::Inside, to, result };
        Step { at: Duration::from_millis(millis), what }
    };
    let steps: Vec<Step> =
        (0..40).flat_map(|n| [sends(u64::from(n) * 6, 100 + n), exit(u64::from(n) * 6 + 3, 100 + n)]).collect();
    let groups = group(&steps);
    assert!(groups.len() > 8, "{groups:?}");
    for group in groups {
        assert!(group.last() - group.steps[0].1 <= Duration::from_millis(50), "{group:?}");
    }
}

#[test]
fn interleaved_bursts_are_sorted_out() {
    let steps = fixtures::thirty_children().timeline;
    assert_eq!(
        told(&steps),
        [
            "runc (outside) SIGTERM master·1 x1",
            "master·1 exit code 0 x1",
            "master·1 SIGKILL 30 processes x30",
            "30 processes killed by SIGKILL x30",
        ]
    );
}

#[test]
fn a_repeated_signal_is_one_line_however_long_it_takes() {
    let steps = fixtures::prestop_and_slow_death().timeline;
    assert_eq!(told(&steps)[1], "crio (outside) SIGKILL java·1 x8");
}

#[test]
fn no_step_is_left_out() {
    for (name, shutdown) in fixtures::all() {
        let steps: usize = group(&shutdown.timeline).iter().map(|group| group.steps.len()).sum();
        assert_eq!(steps, shutdown.timeline.len(), "{name}");
    }
}
