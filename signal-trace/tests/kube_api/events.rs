//! Events as the API server takes them, or not.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use signal_trace::judge::shutdown::Workload;
use signal_trace::kube::events;
use signal_trace::kube::events::notice::Notice;
use signal_trace::kube::labels::Labels;
use signal_trace::kube::pod::{Kind, PodChange};
use signal_trace::kube::watch::PodWatch;
use signal_trace::report::metrics::KubeEvent;
use tokio::time::timeout;

use crate::owners::{ask, owner};
use crate::{PATIENCE, clients, clients_of, create, in_namespace, node};

fn notice(namespace: &str, pod: &str) -> Notice {
    Notice {
        namespace: namespace.into(),
        pod: pod.into(),
        pod_uid: "0b1c6a5e-2f0e-4f3c-9d55-0d7a5c1f0001".into(),
        container: "app".into(),
        kind: Kind::Main,
        reason: "StopSignalNotForwarded",
        note: "Container app was killed 30 s after SIGTERM.".into(),
        at: Timestamp::now(),
        workload: Some(("apps/v1", Workload { kind: "Deployment".into(), name: "cart".into() })),
        seed: 1,
    }
}

/// Offers events one after the other, and tells what became of them.
async fn offer(client: Client, notices: impl IntoIterator<Item = Notice>) -> Vec<KubeEvent> {
    let counted = Arc::new(Mutex::new(Vec::new()));
    let counter = Arc::clone(&counted);
    let count = Arc::new(move |result| counter.lock().unwrap().push(result));
    let (writer, worker) = events::writer(client, &"n".repeat(253), count);
    let worker = tokio::spawn(worker.run());
    for notice in notices {
        writer.offer(Box::new(notice));
    }
    drop(writer);
    worker.await.unwrap();
    let counted = counted.lock().unwrap();
    counted.clone()
}

async fn written(client: &Client, namespace: &str) -> Vec<Event> {
    let events: Api<Event> = Api::namespaced(client.clone(), namespace);
    events.list(&ListParams::default()).await.unwrap().items
}

#[tokio::test]
async fn an_event_about_a_pod_that_is_gone_is_taken() {
    in_namespace("gone", |namespace| async move {
        let client = clients().await.requests;
        assert_eq!(offer(client.clone(), [notice(&namespace, "cart-7d9f-x2k")]).await, [KubeEvent::Written]);
        let event = written(&client, &namespace).await.pop().unwrap();
        let regarding = event.regarding.unwrap();
        assert_eq!(regarding.field_path.as_deref(), Some("spec.containers{app}"));
        assert_eq!((regarding.kind.as_deref(), regarding.name.as_deref()), (Some("Pod"), Some("cart-7d9f-x2k")));
        assert_eq!(event.related.unwrap().kind.as_deref(), Some("Deployment"));
        assert_eq!(event.reporting_controller.as_deref(), Some("signal-trace.dev/agent"));
        assert_eq!(event.action.as_deref(), Some("TerminatingContainer"));
        assert_eq!((event.series, event.deprecated_count), (None, None));
    })
    .await;
}

#[tokio::test]
async fn the_longest_name_and_the_longest_note_are_taken_and_no_longer_ones() {
    in_namespace("long", |namespace| async move {
        let client = clients().await.requests;
        let long = Notice { note: "ü".repeat(512), ..notice(&namespace, &"a".repeat(253)) };
        assert_eq!(offer(client.clone(), [long]).await, [KubeEvent::Written]);
        let event = written(&client, &namespace).await.pop().unwrap();
        assert_eq!((event.metadata.name.unwrap().len(), event.note.unwrap().len()), (253, 1024));
        // Cut wherever: in a row of hyphens, after a dot.
        for shift in 0..4 {
            let name = format!("{}{}z", "a".repeat(shift + 1), "b--.".repeat(62).replace("-.", "-c."));
            let cut = offer(client.clone(), [notice(&namespace, &name[..name.floor_char_boundary(253)])]).await;
            assert_eq!(cut, [KubeEvent::Written], "{name}");
        }
        let too_long = Notice { note: "ü".repeat(513), ..notice(&namespace, "cart") };
        assert_eq!(offer(client, [too_long]).await, [KubeEvent::Rejected]);
    })
    .await;
}

#[tokio::test]
async fn repeats_are_counted_in_the_event_that_is_there() {
    in_namespace("series", |namespace| async move {
        let client = clients().await.requests;
        let repeat = |seed| Notice { seed, at: Timestamp::now(), ..notice(&namespace, "cart") };
        let results = offer(client.clone(), (0..4).map(repeat)).await;
        assert_eq!(results, [KubeEvent::Written, KubeEvent::Updated]);
        let events = written(&client, &namespace).await;
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].series.as_ref().map(|s| s.count), Some(4));
    })
    .await;
}

#[tokio::test]
async fn a_name_that_is_taken_is_followed_by_the_next() {
    in_namespace("taken", |namespace| async move {
        let client = clients().await.requests;
        for events in 1..=3 {
            // A new agent that sees the same shutdown again.
            assert_eq!(offer(client.clone(), [notice(&namespace, "cart")]).await, [KubeEvent::Written]);
            assert_eq!(written(&client, &namespace).await.len(), events);
        }
    })
    .await;
}

#[tokio::test]
async fn a_namespace_that_is_on_its_way_out_or_gone_is_an_expected_drop() {
    in_namespace("terminating", |namespace| async move {
        let client = clients().await.requests;
        let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
        create(&maps, json!({ "metadata": { "name": "holds", "finalizers": ["signal-trace.dev/test"] } })).await;
        let namespaces: Api<Namespace> = Api::all(client.clone());
        namespaces.delete(&namespace, &DeleteParams::default()).await.unwrap();
        let result = offer(client.clone(), [notice(&namespace, "cart")]).await;
        let none = json!({ "metadata": { "finalizers": null } });
        maps.patch("holds", &PatchParams::default(), &Patch::Merge(none)).await.unwrap();
        assert_eq!(result, [KubeEvent::DroppedNamespaceGone]);
        let result = offer(client, [notice("signal-trace-was-never-there", "cart")]).await;
        assert_eq!(result, [KubeEvent::DroppedNamespaceGone]);
    })
    .await;
}

#[tokio::test]
async fn what_is_not_granted_fails_and_what_the_agent_asks_for_is_enough() {
    in_namespace("granted", |namespace| async move {
        let clients = clients().await;
        let user = format!("{namespace}-agent");
        let refused = offer(clients_of(&user).await.requests, [notice(&namespace, "cart")]).await;
        assert_eq!(refused, [KubeEvent::Failed]);
        let roles: Api<ClusterRole> = Api::all(clients.requests.clone());
        let bindings: Api<ClusterRoleBinding> = Api::all(clients.requests.clone());
        let rule = |group: &str, resources: Value, verbs: Value| {
            json!({ "apiGroups": [group], "resources": resources, "verbs": verbs })
        };
        create(&roles, json!({ "metadata": { "name": user }, "rules": [
            rule("", json!(["pods"]), json!(["list", "watch"])),
            rule("apps", json!(["replicasets"]), json!(["get"])),
            rule("batch", json!(["jobs"]), json!(["get"])),
            rule("events.k8s.io", json!(["events"]), json!(["create", "patch"])),
        ] }))
        .await;
        let role = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": user });
        let subject = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user });
        create(&bindings, json!({ "metadata": { "name": user }, "roleRef": role, "subjects": [subject] })).await;
        let granted = AssertUnwindSafe(with_the_agents_grants(&namespace, &user)).catch_unwind().await;
        let _ = bindings.delete(&user, &DeleteParams::default()).await;
        let _ = roles.delete(&user, &DeleteParams::default()).await;
        if let Err(panic) = granted {
            std::panic::resume_unwind(panic);
        }
    })
    .await;
}

async fn with_the_agents_grants(namespace: &str, user: &str) {
    let clients = clients_of(user).await;
    let twice = [notice(namespace, "cart"), notice(namespace, "cart")];
    assert_eq!(offer(clients.requests.clone(), twice).await, [KubeEvent::Written, KubeEvent::Updated]);
    let mut watch = PodWatch::new(clients.watch, clients.watch_retry_after, &node().await, Labels::default());
    assert!(matches!(timeout(PATIENCE, watch.next()).await, Ok(PodChange::Relisted(_))));
    let replica_set = owner("apps/v1", "ReplicaSet", "no-such", "u");
    assert_eq!(ask(clients.requests, namespace, replica_set).await.kind, "ReplicaSet");
}
