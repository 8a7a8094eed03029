//! What a cached pod costs: counted by the allocator, not estimated.
#![expect(unsafe_code, reason = "an allocator is unsafe by its trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::Timestamp;
use serde_json::{Value, json};
use signal_trace::containers::{Cgroup, Identity, Runtime};
use signal_trace::event::{CgroupId, KernelTime};
use signal_trace::kube::Moment;
use signal_trace::kube::attribution::Attribution;
use signal_trace::kube::pod::PodRecord;

/// The system's allocator, with a count of what is allocated. Its own overhead, mostly 8 bytes each time, is added.
struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);
const OVERHEAD: usize = 8;

// SAFETY: everything is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size() + OVERHEAD, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size() + OVERHEAD, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const PODS: usize = 500;

/// A pod of a real cluster with an init container, a sidecar and a main one, made as long-winded as they come.
fn pod(template: &Value, n: usize) -> PodRecord {
    let mut pod = template.clone();
    let image = "europe-docker.pkg.dev/some-company-production/services/checkout-service:2026.11.22-4a5d3f1c";
    pod["metadata"]["uid"] = json!(format!("998fc7cc-1991-4264-a0df-{n:012}"));
    pod["metadata"]["namespace"] = json!("checkout-production");
    pod["metadata"]["name"] = json!(format!("checkout-service-primary-5b8fb75c8-{n:05}"));
    pod["metadata"]["ownerReferences"][0]["name"] = json!("checkout-service-primary-5b8fb75c8");
    pod["spec"]["containers"][0]["image"] = json!(image);
    pod["spec"]["initContainers"][0]["image"] = json!(image);
    let id = format!("containerd://{:064x}", n + 1);
    pod["status"]["containerStatuses"][0]["containerID"] = json!(id);
    pod["status"]["containerStatuses"][0]["lastState"] = json!({ "terminated": { "containerID": id, "exitCode": 1 } });
    PodRecord::from(&serde_json::from_value(pod).expect("a pod"))
}

fn now() -> Moment {
    Moment { kernel: KernelTime(1), wall: Timestamp::UNIX_EPOCH }
}

#[test]
fn a_cached_pod_costs_less_than_two_kibibytes() {
    let template: Value = serde_json::from_str(include_str!("../src/kube/pod/cart.json")).unwrap();
    let records: Vec<_> = (0..PODS).map(|n| pod(&template, n)).collect();
    let mut updates = Vec::new();
    let before = ALLOCATED.load(Ordering::Relaxed);
    let mut index = Attribution::default();
    for record in &records {
        index.apply(record.clone(), now(), &mut updates);
        updates.clear();
    }
    updates.shrink_to_fit();
    let pods = (ALLOCATED.load(Ordering::Relaxed) - before) / PODS;
    for (n, record) in records.iter().enumerate() {
        let id = format!("{:064x}", n + 1);
        let path = format!("/kubepods/burstable/pod{}/{id}", record.uid);
        let identity = Identity { runtime: Runtime::Unknown, id, pod_uid: Some(record.uid.to_string()) };
        let cgroup = Cgroup { id: CgroupId(n as u64), parent: CgroupId(1), path, container: Some(identity) };
        index.container_found(&cgroup, now(), &mut updates);
        assert_eq!(updates.len(), 1);
        updates.clear();
    }
    updates.shrink_to_fit();
    let containers = (ALLOCATED.load(Ordering::Relaxed) - before) / PODS - pods;
    println!("{pods} bytes a pod, {containers} more for each of its containers that runs here");
    assert_eq!(index.pods(), PODS);
    assert!(pods < 2048, "{pods} bytes a pod");
    assert!(containers < 2048, "{containers} bytes a container");
}
