//! Helpers of this directory's tests: pods as a real API server gave them, and shutdowns to go with them.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::containers::{Cgroup, Identity, Runtime};
use crate::event::{CgroupId, Comm, ExitStatus, KernelTime, Pid, Signal};
use crate::judge::shutdown::{
    Cause, Confidence, ContainerFacts, Counts, Grace, GraceSource, InitDisposition, Named, Outcome, PodFacts, Shutdown,
    Trigger, Verdict, Workload,
};
use crate::kube::Moment;
use crate::kube::pod::PodRecord;

pub(super) mod server;

/// The uid of [`cart`].
pub(crate) const UID: &str = "998fc7cc-1991-4264-a0df-4470304b1685";
/// The wall clock at second 0 of every test.
pub(crate) const START: &str = "2026-11-22T21:30:00Z";

/// A pod of a Deployment with an init container, a sidecar and a main container, as the API server of a running cluster
/// gave it, managed fields and all.
pub(crate) fn cart() -> Value {
    CART.clone()
}

static CART: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(include_str!("pod/cart.json")).unwrap());

/// Sets what is at a JSON pointer; its parent must be there.
pub(crate) fn set(pod: &mut Value, pointer: &str, value: Value) {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = pod.pointer_mut(parent).unwrap_or_else(|| panic!("no {parent}"));
    match parent.as_array_mut() {
        Some(items) => items[key.parse::<usize>().unwrap()] = value,
        None => parent[key.replace("~1", "/")] = value,
    }
}

/// [`cart`] with changes.
pub(crate) fn cart_with(changes: &[(&str, Value)]) -> PodRecord {
    let mut pod = cart();
    for (pointer, value) in changes {
        set(&mut pod, pointer, value.clone());
    }
    record(&pod)
}

/// The record of a pod.
pub(crate) fn record(pod: &Value) -> PodRecord {
    PodRecord::from(&serde_json::from_value(pod.clone()).unwrap())
}

/// A deletion asked for at this second of the test.
pub(crate) fn deletion(at: i64, grace: i64) -> [(&'static str, Value); 2] {
    let timestamp = wall(0.0).as_second() + at + grace;
    let timestamp = Timestamp::from_second(timestamp).unwrap().to_string();
    [("/metadata/deletionTimestamp", json!(timestamp)), ("/metadata/deletionGracePeriodSeconds", json!(grace))]
}

/// The runtime's id of a container of [`cart`].
pub(crate) fn id_of(container: &str) -> String {
    let statuses = ["/status/containerStatuses", "/status/initContainerStatuses"].map(|p| CART.pointer(p).unwrap());
    let mut all = statuses.iter().flat_map(|s| s.as_array().unwrap());
    let id = all.find(|s| s["name"] == container).unwrap()["containerID"].as_str().unwrap();
    id.strip_prefix("containerd://").unwrap().to_owned()
}

/// A second of the test on both clocks.
pub(crate) fn moment(seconds: f64) -> Moment {
    Moment { kernel: kernel(seconds), wall: wall(seconds) }
}

/// A second of the test on the kernel's clock.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds of a test are small and positive")]
pub(crate) fn kernel(seconds: f64) -> KernelTime {
    KernelTime(1_000_000_000_000 + (seconds * 1e9).round() as u64)
}

fn wall(seconds: f64) -> Timestamp {
    let start: Timestamp = START.parse().unwrap();
    start.checked_add(Duration::from_secs_f64(seconds)).unwrap()
}

/// The cgroup of a container of [`cart`]'s.
pub(crate) fn cgroup(number: u64, id: &str) -> Cgroup {
    let identity = Identity { runtime: Runtime::Unknown, id: id.into(), pod_uid: Some(UID.into()) };
    let path = format!("/kubepods/besteffort/pod{UID}/{id}");
    Cgroup { id: CgroupId(number), parent: CgroupId(1), path, container: Some(identity) }
}

/// A container that opened its window at a second of the test and was killed after its grace, as the judge tells it
/// before anything is known of its pod.
pub(crate) fn shutdown(number: u64, id: &str, opened: f64, lasted: f64) -> Shutdown {
    let lasted = Duration::from_secs_f64(lasted);
    let opened = kernel(opened);
    Shutdown {
        container: Arc::new(ContainerFacts {
            cgroup: CgroupId(number),
            cgroup_path: cgroup(number, id).path,
            runtime: Runtime::Unknown,
            id: id.into(),
            name: None,
            image: None,
            pod: None,
        }),
        verdict: Verdict { outcome: Outcome::GraceExceeded, cause: Cause::NotForwarded },
        confidence: Confidence::Proven,
        trigger: Trigger::RuntimeStop,
        stop_signal: Some(Signal::TERM),
        init_disposition: InitDisposition::NoHandler,
        grace: Grace { period: None, source: GraceSource::Unknown },
        prestop: None,
        opened,
        ended: opened.after(lasted),
        stop_to_kill: Some(lasted),
        stop_to_exit: Some(lasted),
        kill_to_exit: Some(Duration::from_micros(200)),
        avoidable_wait: Some(lasted),
        init: Some(Named { pid: Pid(13895), ns_pid: Some(Pid(1)), comm: Comm::new(b"sh") }),
        exit: Some(ExitStatus::Signal(Signal::KILL)),
        processes: Counts { at_stop: 1, leaves: 1, told: 0, killed: 1 },
        killed_by: None,
        killed: [0; 5],
        missed: Vec::new(),
        findings: Vec::new(),
        advice: "Start sleep with exec.".into(),
        timeline: Vec::new(),
        timeline_cut: 0,
    }
}

/// The same once its names are known.
pub(crate) fn named_shutdown(container: &str) -> Shutdown {
    let mut shutdown = shutdown(4711, &id_of("app"), 100.0, 30.0);
    let mut facts = (*shutdown.container).clone();
    facts.name = Some(container.into());
    facts.pod = Some(PodFacts {
        namespace: "shop".into(),
        name: "cart-5b8fb75c8-rmmgn".into(),
        uid: UID.into(),
        revision: Some("5b8fb75c8".into()),
        workload: Some(Workload { kind: "Deployment".into(), name: "cart".into() }),
    });
    shutdown.container = Arc::new(facts);
    shutdown.trigger = Trigger::Delete;
    shutdown.grace = Grace { period: Some(Duration::from_secs(30)), source: GraceSource::Deletion };
    shutdown
}
