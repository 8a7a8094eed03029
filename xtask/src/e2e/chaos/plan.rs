//! What happens when, out of a seed: the same number gives the same list. Pure; what becomes of a step is not known here.

use std::time::Duration;

use fastrand::Rng;

use super::workload::Kind;

/// Pods that live at a time.
pub(super) const ALIVE: usize = 16;
/// Between two ends of pods, at the least and at most.
const PACE: std::ops::Range<u64> = 2_500..4_500;
/// Between the end of one disturbance and the start of the next.
const CALM: std::ops::Range<u64> = 6_000..14_000;

/// One thing at its moment after the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) at: Duration,
    pub(super) what: What,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Create { pod: usize, kind: Kind, grace: u32 },
    End { pod: usize, how: How },
    Kill(Victim),
    Start(Victim),
    FillLogs,
    EmptyLogs,
    MakeCgroups(usize),
}

/// How a pod's end comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    Deleted,
    Evicted,
    ForceDeleted,
    /// SIGKILL through the runtime, with nothing before it.
    KilledByTheRuntime,
}

/// Who is killed, and started again later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Victim {
    Agent,
    ApiServer,
    Containerd,
    Kubelet,
}

/// All steps of that long a run, in their order.
pub(super) fn plan(seed: u64, length: Duration) -> Vec<Step> {
    let mut rng = Rng::with_seed(seed);
    let mut steps = Vec::new();
    let create = |rng: &mut Rng, pod| What::Create { pod, kind: Kind::any(rng), grace: rng.u32(2..7) };
    let mut alive: Vec<_> = (0..ALIVE).collect();
    let mut number = ALIVE;
    for &pod in &alive {
        steps.push(Step { at: Duration::ZERO, what: create(&mut rng, pod) });
    }
    let mut at = Duration::from_secs(8);
    while at < length {
        // One of the elder half: the others are hardly ready.
        let pod = alive.remove(rng.usize(0..ALIVE / 2));
        steps.push(Step { at, what: What::End { pod, how: how(&mut rng) } });
        steps.push(Step { at, what: create(&mut rng, number) });
        alive.push(number);
        number += 1;
        at += Duration::from_millis(rng.u64(PACE));
    }
    steps.extend(disturbances(&mut rng, length));
    steps.sort_by_key(|step| step.at);
    steps
}

fn how(rng: &mut Rng) -> How {
    match rng.u8(0..10) {
        0 => How::Evicted,
        1 => How::ForceDeleted,
        2 => How::KilledByTheRuntime,
        _ => How::Deleted,
    }
}

/// One after the other, each over before the next begins; the agent may also be killed while another is.
fn disturbances(rng: &mut Rng, length: Duration) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut at = Duration::from_secs(12);
    let mut away = |rng: &mut Rng, at, victim, most: u64| {
        let back = at + Duration::from_millis(rng.u64(200..most));
        steps.push(Step { at, what: What::Kill(victim) });
        steps.push(Step { at: back, what: What::Start(victim) });
        back
    };
    let mut others = Vec::new();
    while at < length {
        at = match rng.u8(0..7) {
            0 => away(rng, at, Victim::ApiServer, 20_000),
            1 => away(rng, at, Victim::Containerd, 3_000),
            2 => away(rng, at, Victim::Kubelet, 4_000),
            3 => away(rng, at, Victim::Agent, 4_000),
            4 => {
                let back = away(rng, at, Victim::ApiServer, 15_000).max(at + Duration::from_secs(2));
                let dead = at + Duration::from_secs(1);
                others.push(Step { at: dead, what: What::Kill(Victim::Agent) });
                others.push(Step { at: dead + Duration::from_millis(500), what: What::Start(Victim::Agent) });
                back
            }
            5 => {
                let back = at + Duration::from_millis(rng.u64(2_000..12_000));
                others.push(Step { at, what: What::FillLogs });
                others.push(Step { at: back, what: What::EmptyLogs });
                back
            }
            _ => {
                others.push(Step { at, what: What::MakeCgroups(rng.usize(50..400)) });
                at
            }
        } + Duration::from_millis(rng.u64(CALM));
    }
    steps.extend(others);
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Duration = Duration::from_secs(600);

    #[test]
    fn a_seed_is_a_plan() {
        assert_eq!(plan(7, LENGTH), plan(7, LENGTH));
        assert_ne!(plan(7, LENGTH), plan(8, LENGTH));
    }

    #[test]
    fn who_is_killed_is_started_again() {
        for seed in 0..50 {
            let plan = plan(seed, LENGTH);
            for victim in [Victim::Agent, Victim::ApiServer, Victim::Containerd, Victim::Kubelet] {
                let turns = [What::Kill(victim), What::Start(victim)];
                let of: Vec<_> = plan.iter().map(|step| step.what).filter(|what| turns.contains(what)).collect();
                assert!(of.chunks(2).all(|pair| pair == turns), "{victim:?} of {seed}: {of:?}");
            }
        }
    }

    #[test]
    fn a_pod_ends_once_and_after_it_was_made() {
        let plan = plan(1, LENGTH);
        let mut alive = std::collections::BTreeSet::new();
        for step in &plan {
            if let What::Create { pod, .. } = step.what {
                assert!(alive.insert(pod));
            } else if let What::End { pod, .. } = step.what {
                assert!(alive.remove(&pod));
            }
        }
        assert_eq!(alive.len(), ALIVE);
    }
}
