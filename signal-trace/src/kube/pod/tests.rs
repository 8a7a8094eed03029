use serde_json::json;

use super::*;
use crate::kube::testing::{cart, cart_with, id_of, record, set};

#[test]
fn a_pod_of_a_real_cluster() {
    let mut pod = record(&cart());
    assert_eq!((&*pod.namespace, &*pod.name), ("shop", "cart-5b8fb75c8-rmmgn"));
    assert_eq!(pod.revision.as_deref(), Some("5b8fb75c8"));
    assert_eq!(pod.direct_workload(), Workload { kind: "ReplicaSet".into(), name: "cart-5b8fb75c8".into() });
    assert_eq!((pod.grace_seconds, pod.deletion, pod.finished), (Some(4), None, false));
    assert_eq!(pod.annotations.owner(), Some("#shop-oncall"));
    assert_eq!(*pod.faults, []);
    let app = pod.container("app").unwrap();
    let expected = ContainerRecord {
        name: "app".into(),
        image: "onenode.local/tiny:1".into(),
        kind: Kind::Main,
        id: Some(ContainerId::new(&id_of("app"))),
        last_id: None,
        runtime: Runtime::Containerd,
        state: State::Running,
        restart_count: 0,
        stop_signal: Some(Signal::USR1),
        started: true,
        has_pre_stop: false,
        declares_ports: true,
        liveness: Some(ProbeRecord { grace_seconds: Some(3) }),
        startup: None,
    };
    assert_eq!(*app, expected);
    let rest = ["proxy", "migrate"].map(|name| pod.container(name).map(|c| (c.kind, c.state, c.stop_signal)).unwrap());
    let expected =
        [(Kind::Sidecar, State::Running, Some(Signal::TERM)), (Kind::Init, State::Terminated, Some(Signal::TERM))];
    assert_eq!(rest, expected);
    assert!(pod.ids_are_complete() && pod.ids_are_final());
    pod.containers[0].id = None;
    assert!(!pod.ids_are_complete() && !pod.ids_are_final(), "a running container that has told no id");
}

#[test]
fn what_may_be_secret_is_dropped_before_anything_is_stored() {
    let mut pod: api::Pod = serde_json::from_value(cart()).unwrap();
    strip(&mut pod);
    let (before, left) = (cart().to_string(), serde_json::to_string(&pod).unwrap());
    for word in ["PASSWORD", r#""secret""#, "managedFields", "serviceAccountToken"] {
        assert!(before.contains(word) && !left.contains(word), "{word}");
    }
    assert_eq!(PodRecord::from(&pod), record(&cart()), "and nothing is lost that a record keeps");
    assert!(!format!("{:?}", record(&cart())).contains("prometheus.io"), "other annotations");
}

#[test]
fn ids_are_told_by_their_scheme() {
    let id = id_of("app");
    for (text, runtime) in [
        (format!("containerd://{id}"), Runtime::Containerd),
        (format!("cri-o://{id}"), Runtime::Crio),
        (format!("docker://{id}"), Runtime::Docker),
        (format!("other://{id}"), Runtime::Unknown),
    ] {
        assert_eq!(ContainerId::from_status(&text), Some((runtime, ContainerId::new(&id))));
    }
    for nothing in ["", "containerd://", &id] {
        assert_eq!(ContainerId::from_status(nothing), None, "{nothing}");
    }
    assert_ne!(ContainerId::new(&id), ContainerId::new(&id.to_ascii_uppercase()));
    assert_ne!(ContainerId::new(&"0".repeat(64)), ContainerId::new(&format!("{}1", "0".repeat(63))));
    assert_ne!(ContainerId::new(&"a1".repeat(32)), ContainerId::new(&"1a".repeat(32)));
}

#[test]
fn a_restarted_container_is_known_by_both_its_ids() {
    let (old, new) = (id_of("app"), "f".repeat(64));
    let pod = cart_with(&[
        ("/status/containerStatuses/0/containerID", json!(format!("containerd://{new}"))),
        (
            "/status/containerStatuses/0/lastState",
            json!({ "terminated": { "containerID": format!("containerd://{old}"), "exitCode": 137 } }),
        ),
        ("/status/containerStatuses/0/restartCount", json!(1)),
    ]);
    for id in [&old, &new] {
        assert_eq!(pod.container_of(&ContainerId::new(id)).map(|c| &*c.name), Some("app"));
    }
    assert_eq!(pod.container_of(&ContainerId::new(&"e".repeat(64))), None);
}

#[test]
fn the_stop_signal_is_the_kubelets_word_or_else_the_specs() {
    let signal = |changes: &[_]| cart_with(changes).container("app").unwrap().stop_signal;
    assert_eq!(signal(&[("/status/containerStatuses/0/stopSignal", json!("SIGRTMIN+3"))]), Signal::from_number(37));
    let no_status = ("/status/containerStatuses/0/stopSignal", json!(null));
    assert_eq!(signal(std::slice::from_ref(&no_status)), Some(Signal::USR1));
    assert_eq!(signal(&[no_status, ("/spec/containers/0/lifecycle", json!(null))]), None);
    assert_eq!(signal(&[("/status/containerStatuses/0/stopSignal", json!("SIGNONSENSE"))]), None);
}

#[test]
fn why_a_pod_ends() {
    let condition = |reason: &str, status: &str| {
        let condition = json!({ "type": "DisruptionTarget", "status": status, "reason": reason });
        cart_with(&[("/status/conditions", json!([condition]))]).disruption
    };
    for (reason, disruption) in [
        ("PreemptionByScheduler", Disruption::Preemption),
        ("DeletionByTaintManager", Disruption::Taint),
        ("EvictionByEvictionAPI", Disruption::EvictionApi),
        ("DeletionByPodGC", Disruption::PodGc),
        ("TerminationByKubelet", Disruption::Kubelet),
    ] {
        assert_eq!(condition(reason, "True"), Some(disruption));
        assert_eq!(condition(reason, "False"), None);
    }
    let reason = |reason: &str| cart_with(&[("/status/reason", json!(reason))]).ended_by;
    assert_eq!(reason("Evicted"), Some(KubeletReason::Evicted));
    assert_eq!(reason("Terminated"), Some(KubeletReason::NodeShutdown));
    assert_eq!(reason("DeadlineExceeded"), Some(KubeletReason::Other));
    assert_eq!(reason(""), None);
}

#[test]
fn workloads_that_nobody_else_owns() {
    let owner = |kind: &str, name: &str| json!([{ "apiVersion": "v1", "kind": kind, "name": name, "uid": "u", "controller": true }]);
    let workload = |name: &str, owners| {
        let pod = cart_with(&[("/metadata/name", json!(name)), ("/metadata/ownerReferences", owners)]);
        let Workload { kind, name } = pod.direct_workload();
        format!("{kind}/{name}")
    };
    assert_eq!(workload("debug", json!([])), "Pod/debug");
    assert_eq!(workload("etcd-node-1", owner("Node", "node-1")), "Pod/etcd");
    assert_eq!(workload("etcd", owner("Node", "node-1")), "Pod/etcd");
    assert_eq!(workload("-node-1", owner("Node", "node-1")), "Pod/-node-1");
    assert_eq!(workload("cart-0", owner("StatefulSet", "cart")), "StatefulSet/cart");
    let mut not_controller = owner("ConfigMap", "x");
    set(&mut not_controller, "/0/controller", json!(false));
    assert_eq!(workload("debug", not_controller), "Pod/debug");
}

#[test]
fn what_a_stranger_wrote_is_bounded() {
    let many: Vec<_> = (0..500).map(|n| json!({ "name": format!("c{n}") })).collect();
    let pod = cart_with(&[
        ("/spec/containers", json!(many)),
        ("/spec/containers/0/image", json!("ü".repeat(10_000))),
        ("/metadata/labels/pod-template-hash", json!("x".repeat(10_000))),
        ("/metadata/deletionGracePeriodSeconds", json!(-5)),
        ("/spec/terminationGracePeriodSeconds", json!(i64::MAX)),
    ]);
    assert_eq!((pod.containers.len(), pod.containers_cut), (MAX_CONTAINERS, 502 - 64));
    assert_eq!(pod.containers[0].image.len(), 512);
    assert_eq!(pod.revision.unwrap().len(), MAX_NAME);
    assert_eq!(pod.grace_seconds, Some(u32::MAX));
}

#[test]
fn isolated_runtimes_are_told_by_their_class() {
    let class = |name: &str| cart_with(&[("/spec/runtimeClassName", json!(name))]).runtime_class;
    assert_eq!(record(&cart()).runtime_class, RuntimeClass::Default);
    assert_eq!(class("nvidia"), RuntimeClass::Named);
    for isolated in ["kata-qemu", "gVisor", "runsc"] {
        assert_eq!(class(isolated), RuntimeClass::Isolated, "{isolated}");
    }
}
