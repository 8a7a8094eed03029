//! Why a container of a pod is stopped and how long that may take: the kubelet's rules, read off a pod's record.
//!
//! Pure, and without memory: what was known when is for [`super::attribution`].

use std::time::Duration;

use crate::event::KernelTime;
use crate::judge::shutdown::{Grace, GraceSource, Trigger};
use crate::kube::Moment;
use crate::kube::pod::{
    ContainerId, ContainerRecord, Deletion, Disruption, Kind, KubeletReason, PodRecord, ProbeRecord,
};

/// What the kubelet gives at least, after everything else was taken off.
const FLOOR: Duration = Duration::from_secs(2);
/// The API server writes whole seconds.
const WRITTEN_PRECISION: Duration = Duration::from_secs(1);
/// News of a deletion that is later than this came over a watch that was stalled or not there.
const LATE_NEWS: Duration = Duration::from_secs(2);
/// A kill this much before the grace was over shows that another one was in force.
const GRACE_TOLERANCE: Duration = Duration::from_secs(1);

/// When a deletion was asked for, from news that came `now`.
///
/// Two clues, each wrong in its own way. `deletionTimestamp - deletionGracePeriodSeconds` is cut to whole seconds (up to
/// 1 s early) and on another machine's clock. The arrival of the news is exact but for the watch's delay, and much too
/// late if the watch was not there. The instant cannot be after the arrival; so the arrival counts, unless the written
/// time says that it came seconds late. Being early by up to a second then is the lesser evil: too long a hook is shown
/// to be a second longer, where too short a hook would leave the blame with the program.
pub fn asked_for(deletion: Deletion, now: Moment) -> KernelTime {
    let written = written(deletion, now);
    if now.kernel <= written.after(WRITTEN_PRECISION + LATE_NEWS) { now.kernel } else { written }
}

/// The earlier of the clues: it was asked for at most [`WRITTEN_PRECISION`] after that.
fn written(deletion: Deletion, now: Moment) -> KernelTime {
    let asked = deletion.timestamp.saturating_sub(i64::from(deletion.grace_seconds.unwrap_or(0)));
    jiff::Timestamp::from_second(asked).map_or(now.kernel, |asked| now.kernel_time_of(asked))
}

/// The latest instant at which a deletion can have been asked for, from news that came `now`: for the order of events.
pub fn asked_by(deletion: Deletion, now: Moment) -> KernelTime {
    written(deletion, now).after(WRITTEN_PRECISION).min(now.kernel)
}

/// What is configured for every stop that nothing overrides.
pub fn configured_grace(pod: &PodRecord) -> Grace {
    floored(pod.grace_seconds, GraceSource::Spec)
}

/// The deletion that is in force after a new record, given the one before.
///
/// A second deletion can shorten the grace. But the kubelet's own last one, which removes the object with a grace of 0
/// when every container has ended, says nothing about how they were stopped; and who deletes the mirror of a static pod
/// stops nothing.
pub fn deletion_in_force(before: Option<Deletion>, record: &PodRecord) -> Option<Deletion> {
    let shorter = |new: &Deletion| before.is_none_or(|old| new.grace_seconds < old.grace_seconds);
    let counts = |new: &Deletion| !record.has_ended() && record.static_hash.is_none() && shorter(new);
    record.deletion.filter(counts).or(before)
}

/// Why the whole pod ends; none while nothing says that it does. `deleted` is whether the API was asked to.
pub fn pod_trigger(pod: &PodRecord, deleted: bool) -> Option<Trigger> {
    match (pod.ended_by, pod.disruption) {
        (Some(KubeletReason::Evicted), _) => Some(Trigger::Eviction),
        (Some(KubeletReason::Preempting), _) => Some(Trigger::Preemption),
        (Some(KubeletReason::NodeShutdown), _) => Some(Trigger::NodeShutdown),
        (Some(KubeletReason::Other) | None, Some(Disruption::Kubelet)) => Some(Trigger::Eviction),
        // The scheduler and its like mark a pod first and may fail to delete it.
        (Some(KubeletReason::Other) | None, Some(disruption)) if deleted => Some(match disruption {
            Disruption::Preemption => Trigger::Preemption,
            Disruption::Taint => Trigger::Taint,
            Disruption::EvictionApi | Disruption::Kubelet => Trigger::Eviction,
            Disruption::PodGc => Trigger::PodGc,
        }),
        (Some(KubeletReason::Other) | None, Some(_) | None) if deleted => Some(Trigger::Delete),
        // A deadline, or a reason that has no name here.
        (Some(KubeletReason::Other), Some(_) | None) => Some(Trigger::Unknown),
        (None, Some(_) | None) => None,
    }
}

/// Why this instance of a container ended in a pod that goes on; none until the kubelet has shown that it restarts it.
///
/// "Terminated" alone shows nothing: so stands a container of a pod that the kubelet evicts, until the last of its
/// containers has ended and the reason is told.
pub fn restart_trigger(pod: &PodRecord, container: &ContainerRecord, instance: &ContainerId) -> Option<Trigger> {
    let probed = container.liveness.is_some() || container.startup.is_some();
    // A sidecar is stopped when the others are done.
    let outlasts = container.kind == Kind::Sidecar;
    if container.last_id.as_ref() == Some(instance) {
        Some(if probed { Trigger::Probe } else { Trigger::Restart })
    } else if pod.finished {
        Some(if probed && !outlasts { Trigger::Probe } else { Trigger::Unknown })
    } else {
        None
    }
}

/// What is known of one stop, afterwards.
#[derive(Clone, Copy, Debug)]
pub struct Stop {
    /// Why it came.
    pub trigger: Trigger,
    /// The deletion that it followed, if it followed one.
    pub deletion: Option<Deletion>,
    /// The container had started, so that a failed probe was the liveness probe.
    pub started: bool,
    /// From the stop signal to SIGKILL, if it came.
    pub killed_after: Option<Duration>,
}

/// The grace that was in force for a stop.
pub fn grace(pod: &PodRecord, container: &ContainerRecord, stop: Stop) -> Grace {
    let spec = configured_grace(pod);
    if let Some(deletion) = stop.deletion {
        // The kubelet no longer hears of a deletion that is forced while the grace of another runs.
        return unless_outlived(floored(deletion.grace_seconds, GraceSource::Deletion), spec, stop.killed_after);
    }
    match stop.trigger {
        // A probe's own grace is for restarts: where none follows, the pod ends, and has its own.
        Trigger::Probe => own_grace(probe_that_failed(container, stop.started))
            .map_or(spec, |probe| unless_outlived(probe, spec, stop.killed_after)),
        Trigger::Eviction | Trigger::Preemption | Trigger::NodeShutdown => overridden(spec, stop.killed_after),
        Trigger::Unknown if stop.killed_after.is_some() => overridden(spec, stop.killed_after),
        Trigger::Delete
        | Trigger::Taint
        | Trigger::PodGc
        | Trigger::Restart
        | Trigger::RuntimeStop
        | Trigger::Unknown => spec,
    }
}

/// The grace to reckon with while nobody knows why the container will be stopped: the longest that can be in force, so
/// that no window is given up early.
pub fn longest_grace(pod: &PodRecord, container: &ContainerRecord, deletion: Option<Deletion>) -> Grace {
    if let Some(deletion) = deletion {
        return floored(deletion.grace_seconds, GraceSource::Deletion);
    }
    let spec = configured_grace(pod);
    let probes = [container.liveness, container.startup].into_iter().filter_map(own_grace);
    probes.fold(spec, |longest, probe| if probe.period > longest.period { probe } else { longest })
}

/// The grace that was asked for, unless the kill came so much later that only the pod's own explains it.
fn unless_outlived(asked: Grace, spec: Grace, killed_after: Option<Duration>) -> Grace {
    let within = |grace: Grace, after| grace.period.is_none_or(|period| after <= period + GRACE_TOLERANCE);
    match killed_after {
        Some(after) if !within(asked, after) && within(spec, after) => spec,
        Some(_) | None => asked,
    }
}

/// The probe whose failure ended the container: until it has started, only the startup probe runs.
fn probe_that_failed(container: &ContainerRecord, started: bool) -> Option<ProbeRecord> {
    match (container.startup, container.liveness) {
        (Some(startup), Some(liveness)) => Some(if started { liveness } else { startup }),
        (startup, liveness) => startup.or(liveness),
    }
}

fn own_grace(probe: Option<ProbeRecord>) -> Option<Grace> {
    probe.and_then(|p| p.grace_seconds).map(|s| floored(Some(s), GraceSource::Probe))
}

/// The kubelet ends pods by settings of its own that no object shows: pressure, its node's shutdown. What was in force
/// is told by the kill, if one came.
fn overridden(spec: Grace, killed_after: Option<Duration>) -> Grace {
    match (killed_after, spec.period) {
        (Some(after), Some(period)) if after + GRACE_TOLERANCE >= period => spec,
        (Some(after), _) if after <= FLOOR + GRACE_TOLERANCE => {
            Grace { period: Some(FLOOR), source: GraceSource::Floor }
        }
        (Some(_) | None, _) => Grace { period: None, source: GraceSource::Unknown },
    }
}

fn floored(seconds: Option<u32>, source: GraceSource) -> Grace {
    let period = Duration::from_secs(u64::from(seconds.unwrap_or(0)));
    if period < FLOOR {
        Grace { period: Some(FLOOR), source: GraceSource::Floor }
    } else {
        Grace { period: Some(period), source }
    }
}
