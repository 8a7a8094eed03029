//! What holds for every timeline: a record that comes twice changes nothing, one that is lost never makes a wrong
//! verdict, another container never matters, and nothing whatever makes the judge panic or leak.

use proptest::prelude::*;

use super::TIMELINES;
use super::timeline::{parse, play};
use crate::event::KernelTime;
use crate::judge::shutdown::{Cause, Confidence, Outcome, Shutdown, Verdict};
use crate::judge::{CgroupChange, Input, Judge, Loss};

type Inputs = Vec<(KernelTime, Input)>;

fn timelines() -> impl Iterator<Item = (&'static str, Inputs)> {
    TIMELINES.iter().map(|(name, text)| (*name, parse(text.split_once("\n---\n").unwrap().0)))
}

fn verdicts(shutdowns: &[Shutdown]) -> Vec<(String, Verdict)> {
    let mut verdicts: Vec<_> = shutdowns.iter().map(|s| (s.container.id.clone(), s.verdict)).collect();
    verdicts.sort();
    verdicts
}

fn is_event(input: &Input) -> bool {
    matches!(input, Input::Event(_))
}

#[test]
fn a_record_that_comes_twice_changes_nothing() {
    for (name, inputs) in timelines() {
        let reference = verdicts(&play(&inputs));
        for twice in (0..inputs.len()).filter(|i| is_event(&inputs[*i].1)) {
            let mut inputs = inputs.clone();
            inputs.insert(twice, inputs[twice].clone());
            assert_eq!(verdicts(&play(&inputs)), reference, "{name}: record {twice} twice");
        }
    }
}

/// A loss is said together with the next batch that was read: before the records that follow the lost one.
#[test]
fn a_lost_record_never_makes_a_wrong_verdict() {
    for (name, inputs) in timelines() {
        let reference = play(&inputs);
        for lost in (0..inputs.len()).filter(|i| is_event(&inputs[*i].1)) {
            let mut inputs = inputs.clone();
            let (at, _) = inputs[lost];
            inputs[lost] = (at, Input::Lost(Loss::Init));
            inputs.insert(lost, (at, Input::Lost(Loss::Bulk)));
            for got in play(&inputs) {
                let truth = reference.iter().find(|s| s.container.id == got.container.id);
                assert!(is_right_or_unknown(&got, truth), "{name}: record {lost} lost: {got:#?}");
            }
        }
    }
}

fn is_right_or_unknown(got: &Shutdown, truth: Option<&Shutdown>) -> bool {
    let outcome = got.verdict.outcome;
    let cause = got.verdict.cause;
    outcome == Outcome::Unknown
        || truth.is_some_and(|t| outcome == t.verdict.outcome && (cause == Cause::Unknown || cause == t.verdict.cause))
}

#[test]
fn another_container_never_matters() {
    let other = TIMELINES.iter().find(|(name, _)| *name == "wrapper_sh_c").unwrap().1;
    let other = other.replace("app", "other");
    // A loss is everybody's.
    for (name, text) in TIMELINES.iter().filter(|(_, text)| !text.contains(" lost ")) {
        let (script, _) = text.split_once("\n---\n").unwrap();
        let alone = verdicts(&play(&parse(script)));
        let mut lines: Vec<_> = script.lines().chain(other.split_once("\n---\n").unwrap().0.lines()).collect();
        lines.sort_by(|a, b| time_of(a).total_cmp(&time_of(b)));
        let both = verdicts(&play(&parse(&lines.join("\n"))));
        let (mine, theirs): (Vec<_>, Vec<_>) = both.into_iter().partition(|(id, _)| id != "other");
        assert_eq!(mine, alone, "{name}");
        assert_eq!(theirs[0].1, Verdict { outcome: Outcome::GraceExceeded, cause: Cause::NotForwarded }, "{name}");
    }
}

fn time_of(line: &str) -> f64 {
    line.split_whitespace().next().and_then(|w| w.parse().ok()).unwrap_or(-1.0)
}

fn all_inputs() -> Vec<Input> {
    timelines().flat_map(|(_, inputs)| inputs.into_iter().map(|(_, input)| input)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any inputs in any order: no panic, never more than one verdict for an init, and nothing is left at the end.
    #[test]
    fn nothing_makes_it_panic_or_leak(picks in prop::collection::vec((0usize..100_000, 0u64..2_000_000_000), 0..200)) {
        let inputs = all_inputs();
        let mut judge = Judge::default();
        let mut out = Vec::new();
        let mut now = KernelTime(1_000_000_000_000);
        for (pick, step) in picks {
            now = KernelTime(now.0 + step);
            judge.handle(inputs[pick % inputs.len()].clone(), now, &mut out);
        }
        for id in 100..110 {
            judge.handle(Input::Cgroup(CgroupChange::Gone(crate::event::CgroupId(id))), now, &mut out);
        }
        prop_assert_eq!(judge.containers().count(), 0);
        prop_assert_eq!(judge.open_windows(), 0);
        prop_assert_eq!(judge.next_deadline(), None);
    }

    /// Records of one batch that are out of order by less than the drain's slack end in the same verdict, or in doubt.
    #[test]
    fn equal_times_in_any_order(which in 0usize..1000, seed in any::<u64>()) {
        let all: Vec<_> = timelines().collect();
        let (name, mut inputs) = all[which % all.len()].clone();
        let reference = play(&inputs);
        let mut random = seed;
        for i in 1..inputs.len() {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let same_time = inputs[i].0 == inputs[i - 1].0 && is_event(&inputs[i].1) && is_event(&inputs[i - 1].1);
            if same_time && random >> 63 == 1 {
                inputs.swap(i, i - 1);
            }
        }
        for got in play(&inputs) {
            let truth = reference.iter().find(|s| s.container.id == got.container.id);
            prop_assert!(is_right_or_unknown(&got, truth), "{}: {:?} {:?}", name, got.verdict, Confidence::Partial);
        }
    }
}
