//! What holds for every timeline: a record that comes twice changes nothing, one that is lost never makes a wrong
//! verdict, another container never matters, and nothing whatever makes the judge panic or leak.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use proptest::prelude::*;

use super::TIMELINES;
use super::timeline::{parse, play};
use crate::event::{CgroupId, Event, EventKind, KernelTime, Pid, ProcessEvent, SeenProcess, Snapshot};
use crate::judge::shutdown::{Cause, Outcome, Shutdown, Verdict};
use crate::judge::{CgroupChange, Input, Judge, Loss};

type Inputs = Vec<(KernelTime, Input)>;

/// Every timeline's inputs, and what the judge makes of them.
static PARSED: LazyLock<Vec<(&str, Inputs, Vec<Shutdown>)>> = LazyLock::new(|| {
    let parsed = TIMELINES.iter().map(|(name, text)| (*name, parse(text.split_once("\n---\n").unwrap().0)));
    parsed.map(|(name, inputs)| (name, inputs.clone(), play(&inputs))).collect()
});

/// In doubt by a single record, on one of whom nothing else is known. Without that one they are told with the certainty
/// that is left.
const IN_DOUBT_BY_ONE: [&str; 2] = ["killed_by_a_signal_that_was_lost", "oom_may_have_killed_one_whose_birth_was_lost"];

/// In doubt by what a loss may have hidden long before: a process that went elsewhere and did not end, or a stop signal
/// hours ago. No loss is held against a container for that long.
const IN_DOUBT_FOR_LONG: [&str; 3] =
    ["child_in_another_cgroup", "child_in_another_cgroup_graceful", "killed_after_a_long_stop_that_was_given_up"];

fn timelines() -> impl Iterator<Item = (&'static str, Inputs)> {
    PARSED.iter().map(|(name, inputs, _)| (*name, inputs.clone()))
}

fn any_timeline(which: prop::sample::Index) -> (&'static str, Inputs, &'static [Shutdown]) {
    let (name, inputs, reference) = &PARSED[which.index(PARSED.len())];
    (name, inputs.clone(), reference)
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
    for (name, inputs) in timelines().filter(|(name, _)| !IN_DOUBT_BY_ONE.contains(name)) {
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

/// What a ring had no room for is told with the next record, and a skip with one of those up to the next end. A look follows,
/// or fails, and may be ahead of the records that are read.
#[test]
fn a_loss_and_a_look_never_make_a_wrong_verdict() {
    let mut right = 0;
    let told = |text: &str| !text.contains(" lost ") && !text.contains(" unseeded");
    let all = TIMELINES.iter().filter(|(name, text)| told(text) && !IN_DOUBT_FOR_LONG.contains(name));
    for (name, text) in all {
        let inputs = parse(text.split_once("\n---\n").unwrap().0);
        let reference = play(&inputs);
        for (lost, loss) in (0..inputs.len()).flat_map(|i| losses(&inputs[i].1).iter().map(move |loss| (i, *loss))) {
            let is_end = |(_, input): &(_, Input)| {
                matches!(input, Input::Tick) || matches!(kind_of(input), Some(EventKind::Exit(_)))
            };
            let next_end = inputs[lost + 1..].iter().position(is_end).map(|next| lost + 1 + next);
            let last =
                if matches!(loss, Loss::Lives | Loss::Exits) { next_end.unwrap_or(inputs.len()) } else { lost + 1 };
            for told in lost + 1..=last.min(inputs.len()) {
                for ahead in [None, Some(0), Some(1), Some(3)] {
                    for got in play(&with_a_loss(&inputs, lost, loss, told, ahead)) {
                        let truth = reference.iter().find(|s| s.container.id == got.container.id);
                        let whom = format!("{name}: {loss:?}, record {lost}, told at {told}, look {ahead:?}");
                        assert!(is_right_or_unknown(&got, truth), "{whom}: {got:#?}");
                        right += usize::from(truth.is_some_and(|truth| got.verdict == truth.verdict));
                    }
                }
            }
        }
    }
    assert!(right > 3000, "a loss need not make everything unknown: {right}");
}

/// As what a record may be lost.
fn losses(input: &Input) -> &'static [Loss] {
    match kind_of(input) {
        Some(EventKind::Signal(_)) => &[Loss::Init],
        Some(EventKind::Fork(_)) => &[Loss::Lives, Loss::Bulk, Loss::Exits, Loss::Init],
        Some(EventKind::Exit(_)) => &[Loss::Lives, Loss::Exits, Loss::Init],
        Some(EventKind::Move(_) | EventKind::OomMark(_)) => &[Loss::Bulk, Loss::Exits, Loss::Init],
        Some(EventKind::CgroupMade { .. } | EventKind::CgroupGone(_)) | None => &[],
    }
}

fn kind_of(input: &Input) -> Option<&EventKind> {
    if let Input::Event(event) = input { Some(&event.kind) } else { None }
}

/// In doubt by what was long before, of which nothing is left to see: a process that went elsewhere, or a stop signal that
/// nobody enforced within its grace. And what the kernel's side of a tracer does, which is not there yet.
const IN_DOUBT_BY_THE_PAST: [&str; 15] = [
    "child_in_another_cgroup",
    "child_in_another_cgroup_graceful",
    "handler_that_is_good_for_once",
    "killed_after_a_long_stop_that_was_given_up",
    "killed_after_a_stop_that_was_given_up",
    "killed_after_a_stop_that_was_given_up_and_a_child_told",
    "real_time_stop_left_unread_after_one_that_was_told_on",
    "second_stop_is_left_unread",
    "shorter_grace_that_nobody_enforces",
    "stop_while_the_kernel_closes_its_window",
    "told_before_the_stop_and_ended_without_its_child",
    "told_by_a_hook_long_before_the_stop",
    "told_by_a_hook_whose_pod_is_not_known_to_end",
    "told_by_an_interrupt_before_the_stop",
    "told_in_a_stop_that_was_given_up",
];

/// Whoever comes late finds the containers that are there, and what `/proc` lists of them.
#[test]
fn to_come_late_never_makes_a_wrong_verdict() {
    let mut right = 0;
    // Timelines of what was not seen are no truth to hold it against.
    let seen = |text: &str| !["lost ", "unseen ", " unseeded"].iter().any(|word| text.contains(word));
    let all = TIMELINES.iter().filter(|(name, text)| seen(text) && !IN_DOUBT_BY_THE_PAST.contains(name));
    for (name, text) in all {
        let inputs = parse(text.split_once("\n---\n").unwrap().0);
        let reference = play(&inputs);
        for late in 1..inputs.len() {
            for got in play(&from(&inputs, late)) {
                let truth = reference.iter().find(|s| s.container.id == got.container.id);
                assert!(is_right_or_unknown(&got, truth), "{name}: from {late} on: {got:#?}");
                right += usize::from(truth.is_some_and(|truth| got.verdict == truth.verdict));
            }
        }
    }
    assert!(right > 500, "what is found in time need not be unknown: {right}");
}

/// What there is to be seen from the input `late` on.
fn from(inputs: &Inputs, late: usize) -> Inputs {
    let (before, after) = inputs.split_at(late);
    let now = before[late - 1].0;
    let mut specs = BTreeMap::new();
    let mut found = Vec::new();
    for (_, input) in before {
        match input {
            Input::Cgroup(CgroupChange::Made(cgroup) | CgroupChange::Present(cgroup)) => {
                found.push(Input::Cgroup(CgroupChange::Present(cgroup.clone())));
            }
            Input::Cgroup(CgroupChange::Gone(gone)) => found
                .retain(|input| !matches!(input, Input::Cgroup(CgroupChange::Present(cgroup)) if cgroup.id == *gone)),
            Input::Spec(id, spec) => drop(specs.insert(*id, spec.clone())),
            Input::Event(_) | Input::Processes(_) | Input::Lost(_) | Input::Tick => {}
        }
    }
    let found = found.into_iter().chain(specs.into_iter().map(|(id, spec)| Input::Spec(id, spec)));
    found.map(|input| (now, input)).chain(looks(before, now)).chain(after.iter().cloned()).collect()
}

/// The inputs without the record `lost`, which is told before the record `told`, together with a look that sees what is so
/// many records ahead. Nothing is left of the containers in the end.
fn with_a_loss(inputs: &Inputs, lost: usize, loss: Loss, told: usize, ahead: Option<usize>) -> Inputs {
    let seen = (told + ahead.unwrap_or_default()).min(inputs.len());
    let now = inputs[..seen].iter().map(|(at, _)| *at).max().unwrap_or_default();
    let mut result = inputs.clone();
    // What is ahead of a look is read after it.
    for (at, _) in &mut result[told..seen] {
        *at = now;
    }
    let looks = ahead.map(|_| looks(&inputs[..seen], now)).unwrap_or_default();
    result.splice(told..told, [(now, Input::Lost(loss))].into_iter().chain(looks));
    result.remove(lost);
    let end = result[result.len() - 1].0;
    result.extend((100..110).map(|id| (end, Input::Cgroup(CgroupChange::Gone(CgroupId(id))))));
    result
}

/// What `/proc` lists of each container after these inputs.
fn looks(inputs: &[(KernelTime, Input)], time: KernelTime) -> Vec<(KernelTime, Input)> {
    let (mut living, mut ended, mut reapers) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let mut containers = Vec::new();
    for (_, input) in inputs {
        match input {
            Input::Cgroup(CgroupChange::Made(cgroup) | CgroupChange::Present(cgroup)) => containers.push(cgroup.id),
            Input::Processes(snapshot) => living.extend(snapshot.processes.iter().map(|seen| (seen.key.pid, *seen))),
            Input::Event(Event { kind: EventKind::Fork(born) | EventKind::Move(born), .. }) => {
                let parent = living.get(&born.parent.pid).copied();
                living.insert(born.task.key.pid, seen(born, parent));
            }
            Input::Event(Event { kind: EventKind::Exit(exit), .. }) => {
                ended.extend(living.remove_entry(&exit.task.key.pid));
            }
            Input::Event(_) | Input::Cgroup(_) | Input::Spec(..) | Input::Lost(_) | Input::Tick => {}
        }
        let inits = living.values().filter(|seen| seen.ns_pid == Pid(1) && seen.level > 0);
        reapers.extend(inits.map(|init| (init.cgroup, init.key.pid)));
    }
    let looks = containers.into_iter().map(|container| {
        let mut processes: Vec<_> = living.values().filter(|seen| seen.cgroup == container).copied().collect();
        for orphan in processes.iter_mut().filter(|seen| ended.contains_key(&seen.parent)) {
            orphan.parent = reapers.get(&container).copied().unwrap_or(Pid(1));
        }
        (time, Input::Processes(Snapshot { container, time, processes }))
    });
    looks.collect()
}

/// A runtime starts a session for whatever it brings into a container.
fn seen(born: &ProcessEvent, parent: Option<SeenProcess>) -> SeenProcess {
    SeenProcess {
        key: born.task.key,
        cgroup: born.task.cgroup,
        comm: born.task.comm,
        parent: born.parent.pid,
        session: parent.map_or(Some(born.task.key.pid), |parent| parent.session),
        ns_pid: born.task.ns_pid.unwrap_or_default(),
        level: born.task.level.unwrap_or_default(),
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
        let both = verdicts(&play(&parse_both(script, other.split_once("\n---\n").unwrap().0)));
        let (mine, theirs): (Vec<_>, Vec<_>) = both.into_iter().partition(|(id, _)| id != "other");
        assert_eq!(mine, alone, "{name}");
        assert_eq!(theirs[0].1, Verdict { outcome: Outcome::GraceExceeded, cause: Cause::NotForwarded }, "{name}");
    }
}

fn time_of(line: &str) -> f64 {
    line.split_whitespace().next().and_then(|w| w.parse().ok()).unwrap_or(-1.0)
}

static ALL: LazyLock<Vec<Input>> =
    LazyLock::new(|| timelines().flat_map(|(_, inputs)| inputs.into_iter().map(|(_, input)| input)).collect());

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any inputs in any order: no panic, never more than one verdict for an init, and nothing is left at the end.
    #[test]
    fn nothing_makes_it_panic_or_leak(picks in prop::collection::vec((0usize..100_000, 0u64..2_000_000_000), 0..200)) {
        let inputs = &*ALL;
        let mut judge = Judge::default();
        let mut out = Vec::new();
        let mut now = KernelTime(1_000_000_000_000);
        for (pick, step) in picks {
            now = KernelTime(now.0 + step);
            judge.handle(inputs[pick % inputs.len()].clone(), now, &mut out);
        }
        for id in 100..110 {
            judge.handle(Input::Cgroup(CgroupChange::Gone(CgroupId(id))), now, &mut out);
        }
        prop_assert_eq!(judge.containers().count(), 0);
        prop_assert_eq!(judge.open_windows(), 0);
        prop_assert_eq!(judge.next_deadline(), None);
    }

    /// Records of one instant have no order: whatever it is, it ends in the same verdict, or in doubt.
    #[test]
    fn equal_times_in_any_order(which in any::<prop::sample::Index>(), mut keys in prop::collection::vec(any::<u32>(), 64)) {
        let (name, inputs, reference) = any_timeline(which);
        keys.resize(inputs.len(), 0);
        let mut shuffled: Inputs = Vec::new();
        // What is no event of the kernel stays where it is, between them.
        for group in inputs.chunk_by(|a, b| a.0 == b.0 && is_event(&a.1) && is_event(&b.1)) {
            let start = shuffled.len();
            let mut order: Vec<_> = (0..group.len()).collect();
            order.sort_by_key(|i| keys[start + i]);
            shuffled.extend(order.into_iter().map(|i| group[i].clone()));
        }
        for got in play(&shuffled) {
            let truth = reference.iter().find(|s| s.container.id == got.container.id);
            prop_assert!(is_right_or_unknown(&got, truth), "{}: {:?}", name, got.verdict);
        }
    }

    /// Two losses and any records twice: right, or in doubt.
    #[test]
    fn losses_and_repetitions_make_no_wrong_verdict(
        which in any::<prop::sample::Index>(),
        lost in prop::collection::vec(any::<prop::sample::Index>(), 1..3),
        twice in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let (name, mut inputs, reference) = any_timeline(which);
        prop_assume!(!IN_DOUBT_BY_ONE.contains(&name));
        for index in twice {
            let at = index.index(inputs.len());
            if is_event(&inputs[at].1) {
                inputs.insert(at, inputs[at].clone());
            }
        }
        for index in lost {
            let at = index.index(inputs.len());
            if is_event(&inputs[at].1) {
                // All of its copies.
                let (time, gone) = (inputs[at].0, format!("{:?}", inputs[at].1));
                inputs.retain(|(_, input)| format!("{input:?}") != gone);
                let at = inputs.iter().position(|(t, _)| *t >= time).unwrap_or(inputs.len());
                inputs.splice(at..at, [(time, Input::Lost(Loss::Init)), (time, Input::Lost(Loss::Bulk))]);
            }
        }
        for got in play(&inputs) {
            let truth = reference.iter().find(|s| s.container.id == got.container.id);
            prop_assert!(is_right_or_unknown(&got, truth), "{}: {:?}", name, got.verdict);
        }
    }

    /// Any two timelines at once, whenever the second begins: each ends as it does alone.
    #[test]
    fn two_at_once_are_as_each_alone(
        first in any::<prop::sample::Index>(),
        second in any::<prop::sample::Index>(),
        later in 0u32..20_000,
    ) {
        // A loss is everybody's.
        let all: Vec<_> = TIMELINES.iter().filter(|(_, text)| !text.contains(" lost ")).collect();
        let (one, two) = (all[first.index(all.len())], all[second.index(all.len())]);
        let script = |text: &str| text.split_once("\n---\n").unwrap().0.to_owned();
        let (one_script, two_script) = (script(one.1), renamed(&script(two.1), f64::from(later) / 1000.0));
        let mut alone = verdicts(&play(&parse(&one_script)));
        alone.extend(verdicts(&play(&parse(&two_script))));
        alone.sort();
        let both = parse_both(&one_script, &two_script);
        prop_assert_eq!(verdicts(&play(&both)), alone, "{} and {}", one.0, two.0);
    }
}

/// The same script with other containers, later.
fn renamed(script: &str, later: f64) -> String {
    let lines = script.lines().filter(|line| !line.trim_start().starts_with('#'));
    let lines = lines.filter(|line| !line.trim().is_empty()).map(|line| {
        let (time, rest) = line.trim_start().split_once(' ').unwrap();
        let rest = ["app", "side", "inner"].iter().fold(rest.to_owned(), |rest, name| {
            rest.replace(&format!("{name}/"), &format!("{name}2/"))
                .replace(&format!("container {name}"), &format!("container {name}2"))
                .replace(&format!("spec {name}"), &format!("spec {name}2"))
                .replace(&format!("gone {name}"), &format!("gone {name}2"))
                .replace(&format!("in={name}"), &format!("in={name}2"))
                .replace(&format!("to={name}"), &format!("to={name}2"))
                .replace("pod=p", "pod=q")
        });
        format!("{:.6} {rest}", time.parse::<f64>().unwrap() + later)
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Both scripts as one: each in its own order, and together by time.
fn parse_both(one: &str, two: &str) -> Inputs {
    let mut lines: Vec<(f64, &str)> = Vec::new();
    for script in [one, two] {
        // A record that comes late is told late.
        let mut told = f64::MIN;
        for line in script.lines().filter(|line| !line.trim_start().starts_with('#')) {
            told = told.max(time_of(line));
            lines.push((told, line));
        }
    }
    lines.sort_by(|a, b| a.0.total_cmp(&b.0));
    parse(&lines.into_iter().map(|(_, line)| line).collect::<Vec<_>>().join("\n"))
}
