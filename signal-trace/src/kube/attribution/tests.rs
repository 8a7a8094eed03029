use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::containers::Identity;
use crate::event::{Comm, Signal};
use crate::judge::shutdown::{Cause, Finding, Grace, GraceSource, Outcome, Shutdown, Verdict};
use crate::kube::held::{Held, Released};
use crate::kube::testing::{UID, cart, cart_with, cgroup, deletion, id_of, kernel, moment, record, shutdown};
use crate::report::metrics::Unattributed;

const APP: u64 = 10;
const PAUSE: u64 = 11;

/// An index, with what came out of it.
#[derive(Default)]
struct World {
    index: Attribution,
    out: Vec<Update>,
}

impl World {
    /// [`cart`] is there, its main container and its sandbox were found, and its owner is known.
    fn settled() -> Self {
        let mut world = Self::default();
        world.found(0.0, APP, &id_of("app"));
        world.found(0.0, PAUSE, &"0".repeat(64));
        world.applied(2.0, record(&cart()));
        world.owned("Deployment", "cart");
        world
    }

    fn found(&mut self, at: f64, number: u64, id: &str) {
        self.index.container_found(&cgroup(number, id), moment(at), &mut self.out);
    }

    fn applied(&mut self, at: f64, record: PodRecord) {
        self.index.apply(record, moment(at), &mut self.out);
    }

    fn deleted(&mut self, at: f64, record: PodRecord) {
        self.index.delete(record, moment(at), &mut self.out);
    }

    fn owned(&mut self, kind: &str, name: &str) {
        let workload = Arc::new(Workload { kind: kind.into(), name: name.into() });
        self.index.owned_by("e870ab49-b126-4382-af63-be03ae464ef3", &workload, &mut self.out);
    }

    /// The specs that came out since the last look.
    fn specs(&mut self) -> Vec<(u64, Spec)> {
        self.out
            .drain(..)
            .filter_map(|update| match update {
                Update::Spec(id, spec) => Some((id.0, spec)),
                Update::Owner { .. } | Update::Fault { .. } => None,
            })
            .collect()
    }

    fn spec(&mut self) -> Spec {
        let specs = self.specs();
        assert_eq!(specs.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [APP], "{specs:#?}");
        specs.into_iter().next().unwrap().1
    }

    /// What becomes of the verdict on the main container, which was stopped at this second and ended after `lasted`.
    fn app(&self, opened: f64, lasted: f64, now: f64) -> (Resolution, Shutdown) {
        let mut shutdown = shutdown(APP, &id_of("app"), opened, lasted);
        let resolution = self.index.resolve(&shutdown, kernel(now));
        self.index.amend(&mut shutdown);
        (resolution, shutdown)
    }

    fn pause(&self, ended: f64, now: f64) -> Resolution {
        self.index.resolve(&shutdown(PAUSE, &"0".repeat(64), ended, 0.0), kernel(now))
    }
}

/// What the kubelet says after it has restarted the main container of [`cart`].
fn restarted() -> Vec<(&'static str, Value)> {
    let old = format!("containerd://{}", id_of("app"));
    vec![
        ("/status/containerStatuses/0/containerID", json!(format!("containerd://{}", "f".repeat(64)))),
        ("/status/containerStatuses/0/lastState", json!({ "terminated": { "containerID": old, "exitCode": 137 } })),
    ]
}

/// What the kubelet says when all containers have ended.
fn ended() -> Vec<(&'static str, Value)> {
    let terminated = json!({ "terminated": { "exitCode": 137 } });
    vec![
        ("/status/phase", json!("Failed")),
        ("/status/containerStatuses/0/state", terminated.clone()),
        ("/status/containerStatuses/0/started", json!(false)),
        ("/status/initContainerStatuses/1/state", terminated),
    ]
}

fn with(parts: &[&[(&'static str, Value)]]) -> PodRecord {
    cart_with(&parts.concat())
}

fn seconds(period: u64, source: GraceSource) -> Grace {
    Grace { period: Some(Duration::from_secs(period)), source }
}

#[test]
fn a_container_gets_its_names_whichever_comes_first() {
    let mut first = World::default();
    first.found(0.0, APP, &id_of("app"));
    assert_eq!(first.out, []);
    first.applied(1.0, record(&cart()));
    let mut second = World::default();
    second.applied(0.0, record(&cart()));
    second.found(1.0, APP, &id_of("app"));
    let spec = first.spec();
    assert_eq!(spec, second.spec());
    let facts = spec.facts.unwrap();
    let pod = facts.pod.clone().unwrap();
    assert_eq!((facts.name.as_deref(), facts.image.as_deref()), (Some("app"), Some("onenode.local/tiny:1")));
    assert_eq!((facts.runtime, facts.cgroup), (Runtime::Containerd, CgroupId(APP)));
    assert_eq!((pod.namespace.as_str(), pod.uid.as_str(), pod.revision.as_deref()), ("shop", UID, Some("5b8fb75c8")));
    assert_eq!(pod.workload, Some(Workload { kind: "ReplicaSet".into(), name: "cart-5b8fb75c8".into() }));
    assert_eq!(spec.stop_signal, Some(Signal::USR1));
    assert_eq!(spec.grace, seconds(4, GraceSource::Spec));
    assert_eq!((spec.terminating_since, spec.trigger), (None, Trigger::Unknown));
}

#[test]
fn a_container_whose_id_comes_late_is_named_then() {
    let mut world = World::default();
    world.found(0.0, APP, &id_of("app"));
    let creating = json!([{ "name": "app", "state": { "waiting": { "reason": "ContainerCreating" } },
        "image": "", "imageID": "", "ready": false, "restartCount": 0 }]);
    world.applied(0.5, cart_with(&[("/status/containerStatuses", creating)]));
    assert_eq!(world.specs(), []);
    world.applied(1.0, record(&cart()));
    assert_eq!(world.spec().facts.unwrap().name.as_deref(), Some("app"));
}

#[test]
fn nothing_is_sent_twice() {
    let mut world = World::settled();
    world.specs();
    world.applied(3.0, record(&cart()));
    world.found(3.0, APP, &id_of("app"));
    assert_eq!(world.out, []);
}

#[test]
fn the_owner_is_asked_for_once_and_its_answer_reaches_the_containers() {
    let mut world = World::default();
    world.found(0.0, APP, &id_of("app"));
    world.applied(1.0, record(&cart()));
    world.applied(2.0, cart_with(&deletion(2, 4)));
    let asked: Vec<_> = world.out.iter().filter(|u| matches!(u, Update::Owner { .. })).collect();
    assert_eq!(asked.len(), 1);
    assert!(
        matches!(asked[0], Update::Owner { namespace, owner } if &**namespace == "shop" && &*owner.kind == "ReplicaSet")
    );
    let waits = Resolution::Wait(kernel(12.0));
    assert_eq!(world.app(3.0, 4.0, 7.0).0, waits, "a verdict waits for it, but not for ever");
    assert_eq!(world.app(3.0, 4.0, 12.0).0, Resolution::Known);
    world.specs();
    world.owned("Deployment", "cart");
    let workload = world.spec().facts.unwrap().pod.clone().unwrap().workload;
    assert_eq!(workload, Some(Workload { kind: "Deployment".into(), name: "cart".into() }));
    assert_eq!(world.app(3.0, 4.0, 7.0).0, Resolution::Known);
}

#[test]
fn a_deleted_pod() {
    let mut world = World::settled();
    world.specs();
    world.applied(100.3, cart_with(&deletion(100, 30)));
    let spec = world.spec();
    assert_eq!(spec.grace, seconds(30, GraceSource::Deletion));
    assert_eq!((spec.terminating_since, spec.trigger), (Some(kernel(100.3)), Trigger::Delete));
    let (resolution, shutdown) = world.app(106.3, 24.0, 130.3);
    assert_eq!(resolution, Resolution::Known, "no wait");
    assert_eq!(shutdown.trigger, Trigger::Delete);
    assert_eq!(shutdown.prestop, Some(Duration::ZERO), "there is no hook: the kubelet was slow");
    assert_eq!(shutdown.container.pod.as_ref().unwrap().workload.as_ref().unwrap().kind, "Deployment");
}

#[test]
fn a_hook_takes_the_time_from_the_deletion_to_the_stop() {
    let hook = ("/spec/containers/0/lifecycle", json!({ "preStop": { "exec": { "command": ["sleep", "6"] } } }));
    let mut world = World::settled();
    world.applied(100.3, with(&[&[hook], &deletion(100, 30)]));
    assert_eq!(world.app(106.3, 24.0, 130.3).1.prestop, Some(Duration::from_secs(6)));
}

#[test]
fn the_kubelets_own_last_deletion_changes_nothing() {
    let mut world = World::settled();
    world.applied(100.0, cart_with(&deletion(100, 4)));
    world.specs();
    world.applied(104.6, with(&[&ended(), &deletion(100, 4)]));
    world.applied(105.0, with(&[&ended(), &deletion(105, 0)]));
    world.deleted(105.0, with(&[&ended(), &deletion(105, 0)]));
    assert_eq!(world.specs(), []);
    let (_, shutdown) = world.app(100.2, 4.0, 105.0);
    assert_eq!(shutdown.grace, seconds(4, GraceSource::Deletion));
    assert_eq!(shutdown.prestop, Some(Duration::ZERO));
}

#[test]
fn a_second_deletion_can_shorten_the_grace() {
    let mut world = World::settled();
    world.applied(100.0, cart_with(&deletion(100, 600)));
    world.specs();
    world.applied(110.0, cart_with(&deletion(100, 20)));
    let spec = world.spec();
    assert_eq!(spec.grace, seconds(20, GraceSource::Deletion));
    assert_eq!(spec.terminating_since, Some(kernel(100.0)));
}

#[test]
fn a_forced_deletion_gets_the_floor_from_an_object_that_is_gone() {
    let mut world = World::settled();
    world.specs();
    world.applied(100.0, cart_with(&deletion(100, 0)));
    world.deleted(100.0, cart_with(&deletion(100, 0)));
    assert_eq!(world.spec().grace, seconds(2, GraceSource::Floor));
    let (resolution, shutdown) = world.app(100.1, 2.0, 102.1);
    assert_eq!((resolution, shutdown.trigger), (Resolution::Known, Trigger::Delete));
    assert_eq!(shutdown.grace, seconds(2, GraceSource::Floor));
    assert_eq!(shutdown.container.name.as_deref(), Some("app"));
}

#[test]
fn a_deletion_that_is_forced_while_another_runs_shortens_nothing() {
    let mut world = World::settled();
    world.applied(100.0, cart_with(&deletion(100, 4)));
    world.applied(101.0, cart_with(&deletion(101, 0)));
    world.deleted(101.0, cart_with(&deletion(101, 0)));
    assert_eq!(world.app(100.1, 4.0, 104.2).1.grace, seconds(4, GraceSource::Spec), "which is what the first one had");
    assert_eq!(world.app(100.1, 2.0, 104.2).1.grace, seconds(2, GraceSource::Floor));
    assert_eq!(world.app(100.1, 60.0, 161.0).1.grace, seconds(2, GraceSource::Floor), "nothing explains that");
}

#[test]
fn a_probes_own_grace_is_for_restarts() {
    let mut world = World::settled();
    world.applied(54.0, with(&[&restarted()]));
    assert_eq!(world.app(50.0, 3.0, 54.0).1.grace, seconds(3, GraceSource::Probe));
    assert_eq!(world.app(50.0, 4.0, 54.0).1.grace, seconds(3, GraceSource::Probe));
    let pod_ended = world.app(45.0, 4.5, 54.0).1;
    assert_eq!(pod_ended.grace, seconds(4, GraceSource::Spec));
}

#[test]
fn the_news_of_a_deletion_and_the_time_that_is_written_in_it() {
    let since = |arrives: f64, asked: i64| {
        let mut world = World::settled();
        world.specs();
        world.applied(arrives, cart_with(&deletion(asked, 30)));
        world.spec().terminating_since
    };
    assert_eq!(since(100.98, 100), Some(kernel(100.98)), "cut to the second: the arrival is exact");
    assert_eq!(since(102.5, 100), Some(kernel(102.5)), "a slow watch, or clocks that differ");
    assert_eq!(since(100.0, 107), Some(kernel(100.0)), "the server's clock is ahead: it cannot be after its news");
    assert_eq!(since(160.0, 100), Some(kernel(100.0)), "the watch was not there");
}

#[test]
fn a_sandbox_is_known_by_its_id_once_the_ids_of_all_containers_are() {
    let mut world = World::settled();
    assert!(world.specs().iter().all(|(id, _)| *id == APP));
    assert_eq!(world.pause(5.0, 5.0), Resolution::Wait(kernel(35.0)), "just made: its id may still come");
    world.applied(100.0, cart_with(&deletion(100, 4)));
    assert_eq!(world.pause(104.2, 104.3), Resolution::Sandbox);
}

#[test]
fn the_sandbox_of_a_pod_that_lived_for_a_moment() {
    let mut world = World::default();
    world.found(0.0, PAUSE, &"0".repeat(64));
    world.found(0.4, APP, &id_of("app"));
    world.applied(1.0, record(&cart()));
    world.deleted(1.2, cart_with(&deletion(1, 0)));
    assert_eq!(world.pause(1.5, 1.5), Resolution::Sandbox, "made before all else");
    world.found(1.6, 12, &"1".repeat(64));
    let later = shutdown(12, &"1".repeat(64), 1.7, 0.0);
    assert_ne!(world.index.resolve(&later, kernel(60.0)), Resolution::Sandbox, "the sandbox was before it");
}

#[test]
fn the_sandbox_of_a_pod_that_never_got_to_run() {
    let mut world = World::default();
    world.found(0.0, PAUSE, &"0".repeat(64));
    let waiting = json!([{ "name": "app", "state": { "waiting": { "reason": "ImagePullBackOff" } },
        "image": "", "imageID": "", "ready": false, "restartCount": 0 }]);
    let pod = |more: &[(&'static str, Value)]| {
        with(&[&[("/status/containerStatuses", waiting.clone()), ("/status/initContainerStatuses", json!([]))], more])
    };
    world.applied(5.0, pod(&[]));
    assert_eq!(world.pause(60.0, 60.0), Resolution::Wait(kernel(90.0)));
    world.deleted(61.0, pod(&deletion(59, 0)));
    assert_eq!(world.pause(60.0, 62.0), Resolution::Wait(kernel(63.0)));
    assert_eq!(world.pause(60.0, 63.0), Resolution::Sandbox);
}

#[test]
fn the_sandbox_of_a_pod_that_nobody_tells_of() {
    let end = |first: u64, comm: &str, now: f64| {
        let mut world = World::default();
        world.found(0.0, first, &"0".repeat(64));
        world.found(0.4, PAUSE + APP - first, &id_of("app"));
        let mut shutdown = shutdown(PAUSE, &"0".repeat(64), 5.0, 0.0);
        shutdown.init.as_mut().unwrap().comm = Comm::new(comm.as_bytes());
        world.index.resolve(&shutdown, kernel(now))
    };
    assert_eq!(end(PAUSE, "pause", 6.0), Resolution::Wait(kernel(15.0)), "somebody may still tell");
    assert_eq!(end(PAUSE, "pause", 15.0), Resolution::Sandbox, "first of its pod, and by its name");
    let nobody_told = Resolution::Unattributed(Unattributed::MetadataLate);
    assert_eq!(end(PAUSE, "sh", 15.0), nobody_told, "a pod may have no sandbox");
    assert_eq!(end(APP, "pause", 15.0), nobody_told, "anybody may have that name");
}

#[test]
fn an_id_that_may_still_come_is_no_sandbox() {
    // A container that started right before its pod was removed by force: nobody ever tells its id.
    let mut world = World::settled();
    world.found(100.0, 12, &"1".repeat(64));
    world.deleted(100.5, cart_with(&deletion(100, 0)));
    let shutdown = shutdown(12, &"1".repeat(64), 100.6, 2.0);
    let at = |now| world.index.resolve(&shutdown, kernel(now));
    assert_eq!(at(102.6), Resolution::Unattributed(Unattributed::NoContainerId));
    assert_eq!(at(102.4), Resolution::Wait(kernel(102.5)));
}

#[test]
fn a_bundle_tells_a_sandbox_at_once() {
    let mut world = World::default();
    world.found(0.0, PAUSE, &"0".repeat(64));
    world.index.sandbox_found(CgroupId(PAUSE));
    assert_eq!(world.pause(0.5, 0.5), Resolution::Sandbox);
}

#[test]
fn a_probe_restarts_a_container_in_its_pod() {
    let mut world = World::settled();
    assert_eq!(world.app(50.0, 3.0, 53.0).0, Resolution::Wait(kernel(63.0)), "nothing has told why");
    world.applied(54.0, with(&[&restarted()]));
    let (resolution, shutdown) = world.app(50.0, 3.0, 54.0);
    assert_eq!((resolution, shutdown.trigger), (Resolution::Known, Trigger::Probe));
    assert_eq!(shutdown.grace, seconds(3, GraceSource::Probe));
    assert_eq!(shutdown.prestop, None);
    assert_eq!(shutdown.container.name.as_deref(), Some("app"), "though the status speaks of another instance by now");
}

#[test]
fn which_probe_it_was_is_told_by_whether_the_container_had_started() {
    let probes = [("/spec/containers/0/startupProbe", json!({ "terminationGracePeriodSeconds": 7 }))];
    let not_started = [("/status/containerStatuses/0/started", json!(false))];
    for (before, grace) in [(&[][..], 3), (&not_started[..], 7)] {
        let mut world = World::default();
        world.found(0.0, APP, &id_of("app"));
        world.applied(1.0, with(&[&probes, before]));
        world.applied(54.0, with(&[&probes, &restarted(), &not_started]));
        assert_eq!(world.app(50.0, 3.0, 54.0).1.grace, seconds(grace, GraceSource::Probe));
    }
}

#[test]
fn a_container_without_probes_is_restarted_for_another_reason() {
    let no_probe = [("/spec/containers/0/livenessProbe", json!(null))];
    let mut world = World::default();
    world.found(0.0, APP, &id_of("app"));
    world.applied(54.0, with(&[&no_probe, &restarted()]));
    let (_, shutdown) = world.app(50.0, 4.0, 54.0);
    assert_eq!((shutdown.trigger, shutdown.grace), (Trigger::Restart, seconds(4, GraceSource::Spec)));
}

#[test]
fn until_it_is_known_why_the_longest_grace_counts() {
    let long = [("/spec/containers/0/livenessProbe/terminationGracePeriodSeconds", json!(600))];
    let mut world = World::default();
    world.found(0.0, APP, &id_of("app"));
    world.applied(1.0, with(&[&long]));
    assert_eq!(world.spec().grace, seconds(600, GraceSource::Probe));
    world.applied(2.0, with(&[&long, &deletion(2, 4)]));
    assert_eq!(world.spec().grace, seconds(4, GraceSource::Deletion));
}

#[test]
fn whoever_disrupts_a_pod_is_named_by_its_condition() {
    for (reason, trigger) in [
        ("PreemptionByScheduler", Trigger::Preemption),
        ("DeletionByTaintManager", Trigger::Taint),
        ("EvictionByEvictionAPI", Trigger::Eviction),
        ("DeletionByPodGC", Trigger::PodGc),
    ] {
        let condition = json!([{ "type": "DisruptionTarget", "status": "True", "reason": reason }]);
        let condition = [("/status/conditions", condition)];
        let mut world = World::settled();
        world.specs();
        world.applied(99.0, with(&[&condition]));
        assert_eq!(world.specs(), [], "{reason}: marked, and not deleted");
        world.applied(100.0, with(&[&condition, &deletion(100, 3)]));
        assert_eq!(world.spec().trigger, trigger);
        assert_eq!(world.app(100.2, 3.0, 103.2).1.trigger, trigger);
    }
}

#[test]
fn the_kubelet_tells_its_reason_only_when_all_is_over() {
    for (reason, trigger) in [
        ("Evicted", Trigger::Eviction),
        ("Preempting", Trigger::Preemption),
        ("Terminated", Trigger::NodeShutdown),
        ("DeadlineExceeded", Trigger::Unknown),
    ] {
        let mut world = World::settled();
        let one_ended = [("/status/containerStatuses/0/state", json!({ "terminated": { "exitCode": 137 } }))];
        world.applied(102.5, with(&[&one_ended]));
        assert_eq!(world.app(100.0, 2.0, 103.0).0, Resolution::Wait(kernel(112.0)), "{reason}: no restart yet");
        world.applied(106.0, with(&[&ended(), &[("/status/reason", json!(reason))]]));
        let (resolution, shutdown) = world.app(100.0, 2.0, 106.0);
        assert_eq!((resolution, shutdown.trigger), (Resolution::Known, trigger), "{reason}");
        assert_eq!(shutdown.grace, seconds(2, GraceSource::Floor), "what the kill shows was in force");
    }
}

#[test]
fn a_grace_that_nothing_shows_is_unknown() {
    let grace = |killed_after: f64| {
        let mut world = World::settled();
        world.applied(
            190.0,
            with(&[
                &ended(),
                &[("/status/reason", json!("Terminated")), ("/spec/terminationGracePeriodSeconds", json!(60))],
            ]),
        );
        world.app(100.0, killed_after, 190.0).1.grace
    };
    assert_eq!(grace(60.0), seconds(60, GraceSource::Spec));
    assert_eq!(grace(20.0), Grace { period: None, source: GraceSource::Unknown });
}

#[test]
fn what_is_never_told_is_unknown_and_not_guessed() {
    let mut world = World::settled();
    world.applied(60.0, record(&cart()));
    let (resolution, shutdown) = world.app(50.0, 4.0, 64.0);
    assert_eq!((resolution, shutdown.trigger), (Resolution::Known, Trigger::Unknown));
    assert_eq!(shutdown.grace, seconds(4, GraceSource::Spec));
}

#[test]
fn a_deletion_whose_news_is_late_is_the_reason_all_the_same() {
    let mut world = World::settled();
    // Asked for at 100, stopped at 100.2; the watch was being made anew.
    world.applied(102.6, cart_with(&deletion(100, 30)));
    let (_, shutdown) = world.app(100.2, 2.0, 103.0);
    assert_eq!(shutdown.trigger, Trigger::Delete);
    assert_eq!(shutdown.grace, seconds(30, GraceSource::Deletion));
    assert_eq!(shutdown.prestop, Some(Duration::ZERO));
}

#[test]
fn what_is_gone_is_not_seen_again_whatever_is_said_of_its_pod() {
    let mut world = World::settled();
    assert!(world.index.about(CgroupId(APP)).unwrap().live);
    world.index.container_gone(CgroupId(APP), moment(50.0));
    world.deleted(60.0, cart_with(&deletion(60, 4)));
    assert!(!world.index.about(CgroupId(APP)).unwrap().live);
}

#[test]
fn a_deletion_that_comes_after_the_stop_is_not_its_reason() {
    let mut world = World::settled();
    world.applied(55.0, with(&[&deletion(55, 30)]));
    let (resolution, shutdown) = world.app(50.0, 6.0, 56.0);
    assert_eq!(resolution, Resolution::Wait(kernel(66.0)));
    assert_eq!((shutdown.trigger, shutdown.prestop), (Trigger::Unknown, None));
    world.applied(57.0, with(&[&deletion(55, 30), &restarted()]));
    assert_eq!(world.app(50.0, 6.0, 57.0).1.trigger, Trigger::Probe);
}

#[test]
fn an_early_exit_is_found_where_somebody_may_still_send() {
    let early = |changes: &[(&'static str, Value)], lasted: f64, outcome| {
        let mut world = World::settled();
        world.applied(100.0, with(&[changes, &deletion(100, 30)]));
        let mut shutdown = shutdown(APP, &id_of("app"), 100.2, lasted);
        shutdown.verdict = Verdict { outcome, cause: Cause::None };
        world.index.amend(&mut shutdown);
        world.index.amend(&mut shutdown);
        shutdown.findings
    };
    assert_eq!(early(&[], 0.4, Outcome::Graceful), [Finding::EarlyExit]);
    assert_eq!(early(&[], 1.4, Outcome::Graceful), []);
    assert_eq!(early(&[], 0.4, Outcome::DiedOnSignal), []);
    assert_eq!(early(&[("/spec/containers/0/ports", json!([]))], 0.4, Outcome::Graceful), []);
    let hook = json!({ "preStop": { "sleep": { "seconds": 5 } } });
    assert_eq!(early(&[("/spec/containers/0/lifecycle", hook)], 0.4, Outcome::Graceful), []);
    let mut restart = World::settled();
    restart.applied(54.0, with(&[&restarted()]));
    assert_eq!(restart.app(50.0, 0.4, 54.0).1.findings, [], "a restart is not the end of the pod");
}

#[test]
fn a_static_pod_is_found_by_its_hash_and_not_stopped_by_its_mirror() {
    let hash = "9f3b9c1bcb1a6c2d3e4f5a6b7c8d9e0f";
    let owner = json!([{ "apiVersion": "v1", "kind": "Node", "name": "onenode", "uid": "n", "controller": true }]);
    let pod = |more: &[(&'static str, Value)]| {
        let mirror = [
            ("/metadata/annotations/kubernetes.io~1config.hash", json!(hash)),
            ("/metadata/ownerReferences", owner.clone()),
            ("/metadata/name", json!("etcd-onenode")),
        ];
        with(&[&mirror, more])
    };
    let mut world = World::default();
    let identity = Identity { runtime: Runtime::Unknown, id: id_of("app"), pod_uid: Some(hash.into()) };
    let cgroup = Cgroup { container: Some(identity), ..cgroup(APP, &id_of("app")) };
    world.index.container_found(&cgroup, moment(0.0), &mut world.out);
    world.applied(1.0, pod(&[]));
    let pod_facts = world.spec().facts.unwrap().pod.clone().unwrap();
    assert_eq!(pod_facts.workload, Some(Workload { kind: "Pod".into(), name: "etcd".into() }));
    assert_eq!(pod_facts.uid, UID, "the API's uid, by which an event finds it");
    world.applied(2.0, pod(&deletion(2, 30)));
    assert_eq!(world.specs(), [], "who deletes the mirror stops nothing");
    world.deleted(3.0, pod(&deletion(2, 0)));
    assert_eq!(world.app(2.5, 4.0, 6.5).1.trigger, Trigger::Delete, "but without its manifest the pod ends");
}

#[test]
fn a_container_that_a_container_runs() {
    let mut world = World::settled();
    let mut inner = cgroup(12, &"1".repeat(64));
    inner.path = format!("{}/docker/{}", cgroup(APP, &id_of("app")).path, "1".repeat(64));
    world.specs();
    world.index.container_found(&inner, moment(10.0), &mut world.out);
    let (id, spec) = world.specs().pop().unwrap();
    let facts = spec.facts.unwrap();
    assert_eq!(
        (id, facts.name.as_deref(), facts.pod.as_ref().unwrap().name.as_str()),
        (12, None, "cart-5b8fb75c8-rmmgn")
    );
    assert_eq!(spec.grace.period, None, "the pod's grace is not its own");
    let mut shutdown = shutdown(12, &"1".repeat(64), 20.0, 1.0);
    assert_eq!(world.index.resolve(&shutdown, kernel(21.0)), Resolution::Known);
    world.index.amend(&mut shutdown);
    assert_eq!(shutdown.trigger, Trigger::RuntimeStop);
}

#[test]
fn containers_of_no_pod_are_left_alone() {
    let mut world = World::default();
    let identity = Identity { runtime: Runtime::Docker, id: "d".repeat(64), pod_uid: None };
    let docker = Cgroup { container: Some(identity), path: "/docker/d".into(), ..cgroup(12, "") };
    world.index.container_found(&docker, moment(0.0), &mut world.out);
    let before = shutdown(12, &"d".repeat(64), 1.0, 10.0);
    let mut after = before.clone();
    assert_eq!(world.index.resolve(&after, kernel(11.0)), Resolution::Known);
    world.index.amend(&mut after);
    assert_eq!(after, before);
}

#[test]
fn isolated_runtimes_are_unattributed_and_never_graceful() {
    let class = |name: &str, comm: &str| {
        let mut world = World::default();
        world.found(0.0, APP, &id_of("app"));
        world.applied(1.0, with(&[&[("/spec/runtimeClassName", json!(name))], &deletion(1, 4)]));
        world.owned("Deployment", "cart");
        let mut shutdown = shutdown(APP, &id_of("app"), 1.2, 4.0);
        shutdown.init.as_mut().unwrap().comm = Comm::new(comm.as_bytes());
        world.index.resolve(&shutdown, kernel(6.0))
    };
    let unsupported = Resolution::Unattributed(Unattributed::UnsupportedRuntime);
    assert_eq!(class("gvisor", "exe"), unsupported);
    assert_eq!(class("secure", "qemu-system-x86_64"), unsupported);
    assert_eq!(class("nvidia", "python3"), Resolution::Known);
}

#[test]
fn a_pod_that_nobody_tells_of() {
    let mut world = World::default();
    world.found(0.0, APP, &id_of("app"));
    let at = |world: &World, now| world.app(1.0, 4.0, now).0;
    assert_eq!(at(&world, 5.0), Resolution::Wait(kernel(15.0)));
    assert_eq!(at(&world, 15.0), Resolution::Unattributed(Unattributed::MetadataLate));
    world.index.handle(PodChange::Relisted(Vec::new()), moment(6.0), &mut world.out);
    assert_eq!(at(&world, 15.0), Resolution::Unattributed(Unattributed::NoPod));
    world.index.handle(PodChange::OutOfTouch, moment(7.0), &mut world.out);
    assert_eq!(at(&world, 15.0), Resolution::Unattributed(Unattributed::MetadataLate));
    assert_eq!(world.app(1.0, 4.0, 15.0).1.trigger, Trigger::Unknown, "in a pod it was not just somebody");
}

#[test]
fn names_outlive_their_pod_by_minutes() {
    let mut world = World::settled();
    world.deleted(100.0, with(&[&deletion(100, 0)]));
    world.index.container_gone(CgroupId(APP), moment(102.0));
    world.index.container_gone(CgroupId(PAUSE), moment(102.0));
    let known = |world: &World| world.app(100.1, 2.0, 700.0).0;
    world.applied(700.0, other_pod(1));
    assert_eq!(known(&world), Resolution::Known);
    world.applied(720.0, other_pod(1));
    assert_eq!(known(&world), Resolution::Unattributed(Unattributed::Expired));
    assert_eq!(world.index.pods(), 1);
    assert_eq!((world.index.containers.len(), world.index.of_pod.len()), (0, 0));
}

#[test]
fn a_pod_is_kept_while_its_containers_live() {
    let mut world = World::settled();
    world.deleted(100.0, with(&[&deletion(100, 0)]));
    world.applied(5000.0, other_pod(1));
    assert_eq!(world.app(5000.0, 2.0, 5002.0).0, Resolution::Known);
}

#[test]
fn pods_that_are_long_finished_take_no_room() {
    let mut world = World::default();
    world.applied(1.0, with(&[&ended()]));
    assert_eq!(world.index.pods(), 0, "it has nothing here");
    let mut world = World::settled();
    world.applied(100.0, with(&[&ended()]));
    world.index.container_gone(CgroupId(APP), moment(100.0));
    world.index.container_gone(CgroupId(PAUSE), moment(100.0));
    world.applied(650.0, other_pod(1));
    assert_eq!(world.index.pods(), 2);
    world.applied(750.0, other_pod(1));
    assert_eq!(world.index.pods(), 1, "its object may stay for days");
}

#[test]
fn pods_that_went_while_nobody_looked_were_deleted() {
    let mut world = World::settled();
    world.index.handle(PodChange::OutOfTouch, moment(90.0), &mut world.out);
    assert_eq!(world.app(100.0, 4.0, 104.0).0, Resolution::Wait(kernel(114.0)));
    world.index.handle(PodChange::Relisted(vec![other_pod(1)]), moment(106.0), &mut world.out);
    let (resolution, shutdown) = world.app(100.0, 4.0, 106.0);
    assert_eq!((resolution, shutdown.trigger), (Resolution::Known, Trigger::Delete));
    assert_eq!(shutdown.prestop, None, "when it was asked for is not known");
}

#[test]
fn a_wrong_annotation_is_told_once() {
    let mut world = World::default();
    for (at, value) in [(0.0, "slow"), (1.0, "slow"), (2.0, "slower")] {
        world.applied(at, cart_with(&[("/metadata/annotations/signal-trace.dev~1expect", json!(value))]));
    }
    let faults: Vec<_> = world
        .out
        .iter()
        .filter_map(|u| match u {
            Update::Fault { pod, fault } => Some(format!("{pod}: {fault}")),
            Update::Owner { .. } | Update::Spec(..) => None,
        })
        .collect();
    let expected = "shop/cart-5b8fb75c8-rmmgn: annotation signal-trace.dev/expect=\"slow\" names no outcome and no cause: \
        see `signal-trace explain`";
    assert_eq!(faults, [expected]);
}

#[test]
fn there_is_room_for_so_many_and_no_more() {
    let mut world = World::default();
    for n in 0..MAX_PODS + 10 {
        world.applied(1.0, other_pod(n));
    }
    assert_eq!((world.index.pods(), world.index.refused()), (MAX_PODS, 10));
    world.deleted(2.0, other_pod(7));
    world.applied(3.0, record(&cart()));
    assert_eq!((world.index.pods(), world.index.refused()), (MAX_PODS, 10), "a gone one makes room");
    assert!(!world.index.pods.contains_key("uid-7") && world.index.pods.contains_key(UID));
}

#[test]
fn containers_by_the_thousand_take_the_room_of_their_pod_only() {
    let mut world = World::settled();
    for n in 0..1_000 {
        world.found(4.0, 1000 + n, &format!("{n}"));
    }
    assert_eq!((world.index.containers.len(), world.index.refused()), (MAX_OF_ONE_POD, 1_002 - 256));
    world.index.container_gone(CgroupId(1000), moment(5.0));
    world.found(6.0, 12, "new");
    assert!(world.index.containers.contains_key(&CgroupId(12)), "a gone one makes room");
    assert!(!world.index.containers.contains_key(&CgroupId(1000)));
    for n in 0..MAX_CONTAINERS as u64 + 10 {
        let identity = Identity { runtime: Runtime::Docker, id: n.to_string(), pod_uid: None };
        let other = Cgroup { container: Some(identity), ..cgroup(100_000 + n, "") };
        world.index.container_found(&other, moment(7.0), &mut world.out);
    }
    assert_eq!(world.index.containers.len(), MAX_CONTAINERS);
}

#[test]
fn verdicts_are_held_until_they_can_be_told() {
    let mut world = World::settled();
    let (mut held, mut out) = (Held::default(), Vec::new());
    let verdict = |opened| Box::new(shutdown(APP, &id_of("app"), opened, 3.0));
    held.take(verdict(50.0), &world.index, kernel(53.0), &mut out);
    assert_eq!((out.len(), held.next_deadline()), (0, Some(kernel(63.0))));
    held.release(&world.index, kernel(53.5), &mut out);
    assert_eq!((out.len(), held.len()), (0, 1));
    world.applied(54.0, with(&[&restarted()]));
    held.release(&world.index, kernel(54.0), &mut out);
    assert!(matches!(&out[..], [Released::Attributed(s)] if s.trigger == Trigger::Probe), "{out:?}");
    assert_eq!((held.len(), held.next_deadline()), (0, None));
    out.clear();
    held.take(Box::new(shutdown(PAUSE, &"0".repeat(64), 60.0, 0.0)), &world.index, kernel(60.0), &mut out);
    assert_eq!((held.len(), &out[..]), (0, &[][..]), "a sandbox is no container");
}

#[test]
fn no_more_verdicts_are_held_than_there_is_room_for_and_none_is_lost() {
    let mut world = World::default();
    world.found(0.0, APP, &id_of("app"));
    let (mut held, mut out) = (Held::default(), Vec::new());
    for _ in 0..1030 {
        held.take(Box::new(shutdown(APP, &id_of("app"), 1.0, 4.0)), &world.index, kernel(5.0), &mut out);
    }
    assert_eq!((held.len(), out.len()), (1024, 6));
    held.flush(&world.index, &mut out);
    assert_eq!((held.len(), out.len()), (0, 1030));
    assert!(out.iter().all(|r| matches!(r, Released::Unattributed(_, Unattributed::MetadataLate))));
}

fn other_pod(n: usize) -> PodRecord {
    PodRecord { uid: format!("uid-{n}").into(), name: format!("other-{n}").into(), ..NEWS[1].clone() }
}

/// The news that a deleted pod makes, in the order in which it makes it.
static NEWS: LazyLock<Vec<PodRecord>> = LazyLock::new(|| {
    vec![
        cart_with(&[("/status/containerStatuses", json!([]))]),
        record(&cart()),
        cart_with(&deletion(100, 30)),
        with(&[&ended(), &deletion(100, 30)]),
        with(&[&ended(), &deletion(131, 0)]),
    ]
});

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// However the finding of a container and the news of its pod mix, in the end its names and its grace are the same.
    #[test]
    fn the_order_of_news_and_containers_does_not_matter(found in 0usize..5, relisted in 0usize..5, repeat in 0usize..5) {
        let mut world = World::default();
        for (n, record) in NEWS.iter().cloned().enumerate() {
            let at = 100.0 + f64::from(u32::try_from(n).unwrap()) * 0.1;
            if n == found {
                world.found(at, APP, &id_of("app"));
            }
            if n == relisted {
                world.index.handle(PodChange::Relisted(vec![record.clone()]), moment(at), &mut world.out);
            }
            if n >= repeat {
                world.applied(at, record.clone());
            }
            world.applied(at, record);
        }
        let (resolution, shutdown) = world.app(100.4, 30.0, 200.0);
        prop_assert_eq!(resolution, Resolution::Known);
        prop_assert_eq!(shutdown.container.name.as_deref(), Some("app"));
        prop_assert_eq!((shutdown.trigger, shutdown.grace), (Trigger::Delete, seconds(30, GraceSource::Deletion)));
    }

    /// Any news in any order: no panic, nothing beyond the bounds, and nothing left when all is gone for long.
    #[test]
    fn nothing_makes_it_panic_or_leak(steps in prop::collection::vec((0usize..7, 0usize..6, 0u64..4, 0.0f64..400.0), 0..60)) {
        let mut world = World::default();
        let mut at = 1.0;
        for (what, which, number, gap) in steps {
            at += gap;
            let now = moment(at);
            let pod = if which == 5 { other_pod(1) } else { NEWS[which].clone() };
            match what {
                0 => world.found(at, number, &id_of("app")),
                1 => world.found(at, number, &"0".repeat(64)),
                2 => world.index.container_gone(CgroupId(number), now),
                3 => world.deleted(at, pod),
                4 => world.index.handle(PodChange::Relisted(vec![pod]), now, &mut world.out),
                5 => world.index.handle(PodChange::OutOfTouch, now, &mut world.out),
                _ => world.applied(at, pod),
            }
            let _ = world.app(at - 1.0, 0.5, at);
            let _ = world.pause(at, at);
        }
        world.index.handle(PodChange::Relisted(Vec::new()), moment(at), &mut world.out);
        for number in 0..4 {
            world.index.container_gone(CgroupId(number), moment(at));
        }
        world.index.container_gone(CgroupId(0), moment(at + 601.0));
        world.index.container_gone(CgroupId(0), moment(at + 1202.0));
        prop_assert_eq!((world.index.pods(), world.index.containers.len(), world.index.of_pod.len()), (0, 0, 0));
        prop_assert!(world.index.static_pods.is_empty());
    }
}
