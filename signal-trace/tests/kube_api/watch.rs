//! The pods of a node as the watch tells them, through outages and silence.

use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::{Value, json};
use signal_trace::containers::{Cgroup, Identity, Runtime};
use signal_trace::event::{CgroupId, KernelTime};
use signal_trace::judge::Spec;
use signal_trace::judge::shutdown::{GraceSource, Trigger};
use signal_trace::kube::Moment;
use signal_trace::kube::attribution::{Attribution, Update};
use signal_trace::kube::client::Clients;
use signal_trace::kube::labels::Labels;
use signal_trace::kube::pod::{PodChange, PodRecord};
use signal_trace::kube::termination;
use signal_trace::kube::watch::PodWatch;
use tokio::time::timeout;

use crate::wire::{Wire, clients_over};
use crate::{PATIENCE, clients, create, image, in_namespace, node};

/// A watch on the node, and an index that hears of it.
struct Agent {
    watch: PodWatch,
    index: Attribution,
    started: std::time::Instant,
    namespace: String,
}

impl Agent {
    async fn start(clients: Clients, namespace: &str) -> Self {
        let watch = PodWatch::new(clients.watch, clients.watch_retry_after, &node().await, Labels::default());
        let started = std::time::Instant::now();
        Self { watch, index: Attribution::default(), started, namespace: namespace.to_owned() }
    }

    fn now(&self) -> Moment {
        let since = u64::try_from(self.started.elapsed().as_nanos()).unwrap();
        Moment { kernel: KernelTime(1_000_000_000_000 + since), wall: Timestamp::now() }
    }

    /// The next news of a pod that is wanted; everything goes to the index.
    async fn news(
        &mut self,
        what: &str,
        mut wanted: impl FnMut(&PodChange) -> bool,
    ) -> (PodChange, Vec<(CgroupId, Spec)>) {
        let mut specs = Vec::new();
        let found = async {
            loop {
                let change = self.watch.next().await;
                let mut updates = Vec::new();
                self.index.handle(change.clone(), self.now(), &mut updates);
                specs.extend(updates.into_iter().filter_map(|update| match update {
                    Update::Spec(id, spec) => Some((id, spec)),
                    Update::Owner { .. } | Update::Fault { .. } => None,
                }));
                if wanted(&change) {
                    return change;
                }
            }
        };
        let change = timeout(PATIENCE * 3, found).await.unwrap_or_else(|_| panic!("no {what} in time"));
        (change, specs)
    }

    async fn pod(
        &mut self,
        what: &str,
        wanted: impl Fn(&PodRecord) -> bool,
    ) -> (Box<PodRecord>, Vec<(CgroupId, Spec)>) {
        let namespace = self.namespace.clone();
        let is_it = |pod: &PodRecord| *pod.namespace == namespace && wanted(pod);
        match self.news(what, |change| matches!(change, PodChange::Applied(pod) if is_it(pod))).await {
            (PodChange::Applied(pod), specs) => (pod, specs),
            other => panic!("{other:?}"),
        }
    }
}

fn pod(name: &str) -> Value {
    json!({
        "metadata": { "name": name },
        "spec": {
            "terminationGracePeriodSeconds": 5,
            "restartPolicy": "Never",
            "containers": [{ "name": "app", "image": image(), "lifecycle": { "preStop": { "sleep": { "seconds": 2 } } } }],
        },
    })
}

fn cgroup_of(record: &PodRecord, id: &str) -> Cgroup {
    let identity = Identity { runtime: Runtime::Unknown, id: id.into(), pod_uid: Some(record.uid.to_string()) };
    let path = format!("/kubepods/besteffort/pod{}/{id}", record.uid);
    Cgroup { id: CgroupId(7), parent: CgroupId(1), path, container: Some(identity) }
}

#[tokio::test]
async fn a_pods_life_reaches_the_index() {
    in_namespace("life", |namespace| async move {
        let clients = clients().await;
        let pods: Api<Pod> = Api::namespaced(clients.requests.clone(), &namespace);
        let mut agent = Agent::start(clients, &namespace).await;
        agent.news("list", |change| matches!(change, PodChange::Relisted(_))).await;
        assert!(agent.watch.synced().get());
        create(&pods, pod("cart")).await;
        let (record, _) = agent.pod("running pod", PodRecord::ids_are_complete).await;
        let status = pods.get("cart").await.unwrap().status.unwrap().container_statuses.unwrap().remove(0);
        let id = status.container_id.unwrap();
        let mut updates = Vec::new();
        agent.index.container_found(&cgroup_of(&record, id.split_once("://").unwrap().1), agent.now(), &mut updates);
        let Some(Update::Spec(CgroupId(7), spec)) = updates.pop() else { panic!("{updates:?}") };
        assert_eq!(spec.facts.unwrap().name.as_deref(), Some("app"));
        assert_eq!((spec.grace.period, spec.trigger), (Some(Duration::from_secs(5)), Trigger::Unknown));
        assert_eq!(spec.stop_signal.map(|s| s.to_string()), status.stop_signal);
        let (asked, before) = (agent.now().kernel, std::time::Instant::now());
        pods.delete("cart", &DeleteParams { grace_period_seconds: Some(4), ..DeleteParams::default() }).await.unwrap();
        let (_, specs) = agent.pod("deletion", |pod| pod.deletion.is_some()).await;
        let (_, spec) = specs.last().expect("the judge is told");
        assert_eq!(spec.trigger, Trigger::Delete);
        assert_eq!((spec.grace.period, spec.grace.source), (Some(Duration::from_secs(4)), GraceSource::Deletion));
        let since = spec.terminating_since.unwrap();
        assert!(since >= asked && since.since(asked) <= before.elapsed(), "asked {asked:?}, said {since:?}");
        let gone = |change: &PodChange| matches!(change, PodChange::Deleted(pod) if *pod.namespace == namespace);
        let (last, specs) = agent.news("removal", gone).await;
        let PodChange::Deleted(last) = last else { panic!("{last:?}") };
        assert_eq!(last.deletion.unwrap().grace_seconds, Some(0), "the kubelet's own last word");
        assert_eq!(specs, [], "which changes nothing for the judge");
    })
    .await;
}

#[tokio::test]
async fn a_forced_removal_reaches_the_index() {
    in_namespace("forced", |namespace| async move {
        let clients = clients().await;
        let pods: Api<Pod> = Api::namespaced(clients.requests.clone(), &namespace);
        let mut agent = Agent::start(clients, &namespace).await;
        create(&pods, pod("cart")).await;
        let (record, _) = agent.pod("running pod", PodRecord::ids_are_complete).await;
        let status = pods.get("cart").await.unwrap().status.unwrap().container_statuses.unwrap().remove(0);
        let id = status.container_id.unwrap();
        agent.index.container_found(&cgroup_of(&record, id.split_once("://").unwrap().1), agent.now(), &mut Vec::new());
        pods.delete("cart", &DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() }).await.unwrap();
        let gone = |change: &PodChange| matches!(change, PodChange::Deleted(pod) if *pod.namespace == namespace);
        let (_, specs) = agent.news("removal", gone).await;
        let (_, spec) = specs.last().expect("the judge is told");
        assert_eq!((spec.grace.period, spec.grace.source), (Some(Duration::from_secs(2)), GraceSource::Floor));
        assert_eq!(spec.trigger, Trigger::Delete);
        assert!(spec.terminating_since.is_some());
    })
    .await;
}

#[tokio::test]
async fn a_restart_by_a_probe_is_told_by_both_ids() {
    in_namespace("probe", |namespace| async move {
        let clients = clients().await;
        let pods: Api<Pod> = Api::namespaced(clients.requests.clone(), &namespace);
        let mut agent = Agent::start(clients, &namespace).await;
        let mut failing = pod("cart");
        failing["spec"]["restartPolicy"] = json!("Always");
        failing["spec"]["containers"][0]["livenessProbe"] = json!({
            "httpGet": { "port": 1 }, "initialDelaySeconds": 3, "periodSeconds": 1, "failureThreshold": 1,
            "terminationGracePeriodSeconds": 3,
        });
        create(&pods, failing).await;
        let (first, _) = agent.pod("running pod", PodRecord::ids_are_complete).await;
        let first = first.container("app").unwrap().id.clone();
        let (then, _) = agent.pod("restart", |pod| pod.containers[0].restart_count > 0).await;
        let app = then.container("app").unwrap();
        assert_eq!(app.last_id, first);
        assert_ne!(app.id, first);
        assert_eq!(app.liveness.unwrap().grace_seconds, Some(3));
        assert_eq!(then.deletion, None);
        assert_eq!(termination::restart_trigger(&then, app, &first.unwrap()), Some(Trigger::Probe));
    })
    .await;
}

#[tokio::test]
async fn an_outage_is_told_once_and_what_was_missed_is_known_afterwards() {
    in_namespace("outage", |namespace| async move {
        let wire = Wire::default();
        let pods: Api<Pod> = Api::namespaced(clients().await.requests, &namespace);
        let mut agent = Agent::start(clients_over(&wire).await, &namespace).await;
        agent.news("list", |change| matches!(change, PodChange::Relisted(_))).await;
        wire.cut.store(true, Ordering::Relaxed);
        agent.news("outage", |change| matches!(change, PodChange::OutOfTouch)).await;
        assert!(!agent.watch.synced().get());
        create(&pods, pod("cart")).await;
        let silence = timeout(Duration::from_secs(10), agent.watch.next()).await;
        assert!(silence.is_err(), "told once: {silence:?}");
        wire.cut.store(false, Ordering::Relaxed);
        let (list, _) = agent.news("list", |change| matches!(change, PodChange::Relisted(_))).await;
        assert!(matches!(list, PodChange::Relisted(pods) if pods.iter().any(|pod| *pod.namespace == namespace)));
        assert!(agent.watch.synced().get());
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_went_silent_is_replaced_and_a_quiet_one_is_not() {
    in_namespace("silence", |namespace| async move {
        let wire = Wire::default();
        let pods: Api<Pod> = Api::namespaced(clients().await.requests, &namespace);
        let mut agent = Agent::start(clients_over(&wire).await, &namespace).await;
        agent.news("list", |change| matches!(change, PodChange::Relisted(_))).await;
        let before = wire.connections.load(Ordering::Relaxed);
        // Nothing happens to this node's pods but what other tests do; the server's bookmarks keep the connection.
        let quiet = timeout(Duration::from_secs(130), agent.news("nothing", |_| false)).await;
        assert!(quiet.is_err());
        assert_eq!(wire.connections.load(Ordering::Relaxed), before, "a quiet connection is no dead one");
        wire.silent.store(true, Ordering::Relaxed);
        create(&pods, pod("cart")).await;
        agent.pod("pod over a new connection", |pod| &*pod.name == "cart").await;
        assert!(wire.connections.load(Ordering::Relaxed) > before);
        assert!(agent.watch.synced().get(), "and it was no outage");
    })
    .await;
}
