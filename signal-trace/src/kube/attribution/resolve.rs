//! What is known of a shutdown's container when the verdict has fallen, and what is then put into it.
//!
//! Names, trigger and grace are often complete only after the end: the kubelet tells why it evicted a pod, or that it
//! restarts a container, when all is over. Each wait has a bound, and what is not known by then is said to be unknown.

use std::sync::Arc;
use std::time::Duration;

use super::{Attribution, Binding, Pod, Tracked};
use crate::event::{CgroupId, KernelTime};
use crate::judge::shutdown::{Finding, Outcome, Shutdown, Trigger};
use crate::kube::annotations::Annotations;
use crate::kube::pod::{ContainerRecord, Deletion, Kind, RuntimeClass};
use crate::kube::termination::{self, Stop};
use crate::report::metrics::Unattributed;

/// How long a verdict waits for its pod to appear.
const POD_WAIT: Duration = Duration::from_secs(10);
/// How long a verdict waits for the kubelet to tell its container's id.
const ID_WAIT: Duration = Duration::from_secs(30);
/// How long after a pod's object is gone its last news may still be on its way.
const LAST_NEWS: Duration = Duration::from_secs(2);
/// How long a verdict waits for what tells why it came to the stop.
const TRIGGER_WAIT: Duration = Duration::from_secs(10);
/// How long a verdict waits for the name of its workload.
const OWNER_WAIT: Duration = Duration::from_secs(5);

/// A record that came this long after a container was found would name it, if it were one of the pod's.
const SURELY_TOLD: Duration = Duration::from_secs(10);
/// The same when nothing more will come.
const PROBABLY_TOLD: Duration = Duration::from_secs(3);
/// How far apart the news of a deletion and the stop signal may be in the wrong order.
const ORDER: Duration = Duration::from_secs(1);
/// What every runtime's sandbox runs.
const SANDBOX_INIT: &[u8] = b"pause";
/// An end this soon after the stop signal is early: others learn later that nothing may be sent any more.
const EARLY: Duration = Duration::from_secs(1);

/// What is known about a shutdown's container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// All that there is to know: amend the shutdown and tell it.
    Known,
    /// Ask again when something changes, and at this instant at the latest.
    Wait(KernelTime),
    /// A pod's sandbox: no container, and no shutdown.
    Sandbox,
    /// It will not be known.
    Unattributed(Unattributed),
}

/// What is known of a container and no part of any verdict.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// What the pod's author wishes.
    pub annotations: &'a Annotations,
    /// Kind of the container.
    pub kind: Kind,
    /// Its pod has the labels that were asked for.
    pub selected: bool,
    /// The workload that it is said to be of is the last word: nobody is being asked what that one belongs to.
    pub settled: bool,
    /// Its cgroup is there.
    pub live: bool,
    /// What the pod's spec says of its grace period.
    pub grace: Option<Duration>,
}

impl Attribution {
    /// What is known about the container of this shutdown.
    pub fn resolve(&self, shutdown: &Shutdown, now: KernelTime) -> Resolution {
        let Some(tracked) = self.containers.get(&shutdown.container.cgroup) else {
            return Resolution::Unattributed(Unattributed::Expired);
        };
        if tracked.pod_uid.is_none() {
            return Resolution::Known;
        }
        match &tracked.binding {
            Binding::Sandbox => Resolution::Sandbox,
            Binding::Nested => Resolution::Known,
            Binding::Named { name, .. } => self.resolve_named(tracked, name, shutdown, now),
            Binding::Pending => self.resolve_pending(tracked, shutdown, now),
        }
    }

    /// Puts into a finished shutdown what was learnt since its verdict fell, and what only now can be told: its names,
    /// why it came, which grace was in force, what the hook took, and whether it ended too early. Not the verdict.
    pub fn amend(&self, shutdown: &mut Shutdown) {
        let Some(tracked) = self.containers.get(&shutdown.container.cgroup) else { return };
        if tracked.pod_uid.is_none() {
            return;
        }
        let pod = self.pod_of(tracked);
        shutdown.container = Arc::clone(&tracked.facts);
        let trigger = pod.and_then(|pod| trigger(tracked, pod, shutdown));
        // Whoever stops a container that another one runs is not the kubelet.
        let otherwise = if tracked.binding == Binding::Nested { Trigger::RuntimeStop } else { Trigger::Unknown };
        shutdown.trigger = trigger.unwrap_or(otherwise);
        let Some(pod) = pod else { return };
        let deletion = deletion_before(pod, shutdown);
        shutdown.prestop =
            deletion.filter(|_| shutdown.stop_signal.is_some()).map(|(since, _)| shutdown.opened.since(since));
        let Binding::Named { name, started } = &tracked.binding else { return };
        let Some(container) = pod.record.container(name) else { return };
        if !container.has_pre_stop && container.kind != Kind::Sidecar {
            // What passes before a stop that nothing holds up is the kubelet's own time: no hook's, and out of no grace.
            shutdown.prestop = shutdown.prestop.map(|_| Duration::ZERO);
        }
        let stop = Stop {
            trigger: shutdown.trigger,
            deletion: deletion.and_then(|(_, deletion)| deletion),
            started: *started,
            killed_after: shutdown.stop_to_kill,
        };
        shutdown.grace = termination::grace(&pod.record, container, stop);
        if deletion.is_some() && ended_early(shutdown, container) && !shutdown.findings.contains(&Finding::EarlyExit) {
            shutdown.findings.push(Finding::EarlyExit);
        }
    }

    /// What is known of a container besides its names.
    pub fn about(&self, container: CgroupId) -> Option<About<'_>> {
        let tracked = self.containers.get(&container)?;
        let pod = self.pod_of(tracked)?;
        let kind = tracked.container(pod).map_or(Kind::Main, |c| c.kind);
        let record = &pod.record;
        let settled = !pod.awaits_owner();
        let (live, grace) = (tracked.gone.is_none(), termination::configured_grace(record).period);
        Some(About { annotations: &record.annotations, kind, selected: record.selected, settled, live, grace })
    }

    fn resolve_named(&self, tracked: &Tracked, name: &str, shutdown: &Shutdown, now: KernelTime) -> Resolution {
        let Some(pod) = self.pod_of(tracked) else { return Resolution::Known };
        if is_monitor(pod, shutdown) {
            return Resolution::Unattributed(Unattributed::UnsupportedRuntime);
        }
        let untold = pod.record.container(name).is_some() && trigger(tracked, pod, shutdown).is_none();
        [(untold, TRIGGER_WAIT), (pod.awaits_owner(), OWNER_WAIT)]
            .into_iter()
            .filter(|(lacks, _)| *lacks)
            .map(|(_, wait)| shutdown.ended.after(wait))
            .filter(|until| now < *until)
            .max()
            .map_or(Resolution::Known, Resolution::Wait)
    }

    fn resolve_pending(&self, tracked: &Tracked, shutdown: &Shutdown, now: KernelTime) -> Resolution {
        let Some(pod) = self.pod_of(tracked) else {
            let until = shutdown.ended.after(POD_WAIT);
            let reason = if self.in_touch { Unattributed::NoPod } else { Unattributed::MetadataLate };
            return match now < until {
                true => Resolution::Wait(until),
                false if self.looks_like_sandbox(tracked, shutdown) => Resolution::Sandbox,
                false => Resolution::Unattributed(reason),
            };
        };
        if is_monitor(pod, shutdown) {
            return Resolution::Unattributed(Unattributed::UnsupportedRuntime);
        }
        let told = pod.updated >= tracked.found.after(SURELY_TOLD) || self.came_first(tracked);
        if pod.record.ids_are_complete() && told {
            return Resolution::Sandbox;
        }
        let until = shutdown.ended.after(ID_WAIT);
        let until = pod.gone.map_or(until, |gone| until.min(gone.after(LAST_NEWS)));
        if now < until {
            Resolution::Wait(until)
        } else if pod.record.ids_are_final() && pod.updated >= tracked.found.after(PROBABLY_TOLD)
            || self.looks_like_sandbox(tracked, shutdown)
        {
            Resolution::Sandbox
        } else if self.in_touch || pod.gone.is_some() {
            Resolution::Unattributed(Unattributed::NoContainerId)
        } else {
            Resolution::Unattributed(Unattributed::MetadataLate)
        }
    }

    /// It is a sandbox by all that the node shows. Its first place alone is no proof: a runtime may make pods without one.
    fn looks_like_sandbox(&self, tracked: &Tracked, shutdown: &Shutdown) -> bool {
        let named = shutdown.init.is_some_and(|init| init.comm.as_bytes() == SANDBOX_INIT);
        named && self.came_first(tracked)
    }

    /// It was made before everything else of its pod, as the sandbox is: pods that live for a moment have no other sign.
    /// What was there before this program came was found in no order.
    fn came_first(&self, tracked: &Tracked) -> bool {
        let siblings = tracked.pod_uid.as_ref().and_then(|uid| self.of_pod.get(uid)).into_iter().flatten();
        let mut others = siblings.filter_map(|id| self.containers.get(id)).filter(|other| other.id != tracked.id);
        others.next().is_some_and(|other| other.found > tracked.found)
            && others.all(|other| other.found > tracked.found)
    }
}

/// Why the shutdown came, once that can be told.
fn trigger(tracked: &Tracked, pod: &Pod, shutdown: &Shutdown) -> Option<Trigger> {
    let went_unseen = pod.gone.is_some() && pod.terminating_since.is_none();
    let deleted_before = went_unseen || deletion_before(pod, shutdown).is_some();
    let ended = pod.trigger();
    match ended {
        Some(_) if deleted_before => ended,
        // The deletion came later: what had stopped the container before was something else.
        Some(Trigger::Delete | Trigger::Taint | Trigger::PodGc) | None => {
            termination::restart_trigger(&pod.record, tracked.container(pod)?, &tracked.id)
        }
        Some(_) => ended,
    }
}

/// The deletion that the stop followed: since when, and what the record says of it.
fn deletion_before(pod: &Pod, shutdown: &Shutdown) -> Option<(KernelTime, Option<Deletion>)> {
    let since = pod.terminating_since?;
    let asked_by = pod.asked_by.map_or(since, |asked_by| asked_by.min(since));
    (asked_by <= shutdown.opened.after(ORDER)).then_some((since, pod.deletion))
}

/// The container runs on a kernel of its own, and what ended here is what runs that kernel.
fn is_monitor(pod: &Pod, shutdown: &Shutdown) -> bool {
    const MONITORS: [&[u8]; 5] = [b"qemu-system", b"cloud-hyperviso", b"firecracker", b"runsc", b"exe"];
    match pod.record.runtime_class {
        RuntimeClass::Default => false,
        RuntimeClass::Isolated => true,
        RuntimeClass::Named => {
            shutdown.init.is_some_and(|init| MONITORS.iter().any(|m| init.comm.as_bytes().starts_with(m)))
        }
    }
}

fn ended_early(shutdown: &Shutdown, container: &ContainerRecord) -> bool {
    shutdown.verdict.outcome == Outcome::Graceful
        && shutdown.stop_to_exit.is_some_and(|after| after < EARLY)
        && container.declares_ports
        && !container.has_pre_stop
}
