//! What is kept of a Pod: names, ids, and what decides how its containers are stopped. All else is dropped at the door.
//!
//! Pure values and one conversion. The API server has validated most of what comes in, but a field is a stranger's text
//! until proven otherwise: everything is cut to a bound, so that a cached pod costs less than 2 KiB whatever it holds.

use k8s_openapi::api::core::v1 as api;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use crate::containers::Runtime;
use crate::event::Signal;
use crate::judge::shutdown::Workload;
use crate::kube::annotations::{Annotations, Fault};

/// Containers of one pod that are kept; the API server has no limit of its own below the size of an object.
const MAX_CONTAINERS: usize = 64;
/// Longest name of anything (`DNS subdomain`).
const MAX_NAME: usize = 253;
/// Longest image reference that is kept whole.
const MAX_IMAGE: usize = 512;
/// The annotation of a static pod's mirror that holds what the kubelet uses as its uid in cgroup paths.
const STATIC_HASH: &str = "kubernetes.io/config.hash";

/// What the API server said about the pods of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodChange {
    /// A pod is there, or changed.
    Applied(Box<PodRecord>),
    /// A pod's object is gone; its processes may not be.
    Deleted(Box<PodRecord>),
    /// These are all; the news is complete and current from here on.
    Relisted(Vec<PodRecord>),
    /// The API server is out of reach: what is known may be out of date until the next of the above.
    OutOfTouch,
}

/// What is kept of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodRecord {
    /// `metadata.namespace`.
    pub namespace: Box<str>,
    /// `metadata.name`.
    pub name: Box<str>,
    /// `metadata.uid`.
    pub uid: Box<str>,
    /// What a static pod's cgroups are named by instead of the uid.
    pub static_hash: Option<Box<str>>,
    /// Which generation of its workload it is.
    pub revision: Option<Box<str>>,
    /// Its controller.
    pub owner: Option<OwnerRef>,
    /// `spec.terminationGracePeriodSeconds`.
    pub grace_seconds: Option<u32>,
    /// Set once its end was asked for.
    pub deletion: Option<Deletion>,
    /// Why it is being disrupted, by its condition `DisruptionTarget`.
    pub disruption: Option<Disruption>,
    /// Why the kubelet ended it.
    pub ended_by: Option<KubeletReason>,
    /// All of its containers have ended for good.
    pub finished: bool,
    /// The containers, at most 64 of them.
    pub containers: Box<[ContainerRecord]>,
    /// Containers that the bound cut: the list is not complete then.
    pub containers_cut: u32,
    /// It lives in the host's pid namespace.
    pub host_pid: bool,
    /// Its containers live in one pid namespace, and pid 1 is the sandbox's.
    pub shared_pid_namespace: bool,
    /// What isolates its containers.
    pub runtime_class: RuntimeClass,
    /// What its author wishes.
    pub annotations: Annotations,
    /// Wishes that were not understood.
    pub faults: Box<[Fault]>,
    /// It has the labels that were asked for.
    pub selected: bool,
}

/// The controller of a pod, as its owner reference says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerRef {
    /// `apps/v1`.
    pub api_version: Box<str>,
    /// `ReplicaSet`.
    pub kind: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// Its uid.
    pub uid: Box<str>,
}

/// That the API was asked to delete a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// `deletionTimestamp`, in seconds of the API server's wall clock: when it will have gone, not when it was asked to.
    pub timestamp: i64,
    /// `deletionGracePeriodSeconds`.
    pub grace_seconds: Option<u32>,
}

/// Reasons of the condition `DisruptionTarget`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disruption {
    /// `PreemptionByScheduler`.
    Preemption,
    /// `DeletionByTaintManager`.
    Taint,
    /// `EvictionByEvictionAPI`.
    EvictionApi,
    /// `DeletionByPodGC`.
    PodGc,
    /// `TerminationByKubelet`: under pressure, for a more important pod, or with the node.
    Kubelet,
}

/// Values of `status.reason` that say why the kubelet ended a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KubeletReason {
    /// `Evicted`.
    Evicted,
    /// `Preempting`: a critical pod needed the room.
    Preempting,
    /// `Terminated`, `NodeShutdown` or `Shutdown`: with the node.
    NodeShutdown,
    /// `DeadlineExceeded` and what else there may be.
    Other,
}

/// What `runtimeClassName` tells about who can see the container's processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuntimeClass {
    /// None is set.
    Default,
    /// One of that name; most change nothing that matters here.
    Named,
    /// Its name is that of a runtime with a kernel of its own: this kernel sees a monitor, not the container.
    Isolated,
}

/// What is kept of one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerRecord {
    /// Its name.
    pub name: Box<str>,
    /// Its image as the spec names it.
    pub image: Box<str>,
    /// What kind of container.
    pub kind: Kind,
    /// The instance that its status speaks of.
    pub id: Option<ContainerId>,
    /// The instance before that one.
    pub last_id: Option<ContainerId>,
    /// The runtime by the scheme of its id.
    pub runtime: Runtime,
    /// What its status says.
    pub state: State,
    /// How often it was restarted.
    pub restart_count: u32,
    /// The effective stop signal, where the kubelet or the spec tells.
    pub stop_signal: Option<Signal>,
    /// It has started: from here on failures are the liveness probe's, before it the startup probe's.
    pub started: bool,
    /// It has a preStop hook.
    pub has_pre_stop: bool,
    /// It declares ports, so something may be sent to it.
    pub declares_ports: bool,
    /// Its liveness probe.
    pub liveness: Option<ProbeRecord>,
    /// Its startup probe.
    pub startup: Option<ProbeRecord>,
}

/// What is kept of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeRecord {
    /// Its own `terminationGracePeriodSeconds`.
    pub grace_seconds: Option<u32>,
}

/// Kinds of containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `spec.containers`.
    Main,
    /// `spec.initContainers`, to run to their end.
    Init,
    /// `spec.initContainers` that are restarted: they run beside the main ones and are stopped after them.
    Sidecar,
    /// `spec.ephemeralContainers`.
    Ephemeral,
}

/// What a container's status says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing, or that it waits.
    Waiting,
    /// It runs.
    Running,
    /// It has ended.
    Terminated,
}

/// A runtime's id of a container instance: mostly 64 hexadecimal digits, then kept in half the space.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ContainerId(Repr);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Repr {
    Hex([u8; 32]),
    Text(Box<str>),
}

impl ContainerId {
    /// From the id alone, as a cgroup path or a status after its scheme has it.
    pub fn new(id: &str) -> Self {
        let mut bytes = [0; 32];
        let hex = id.len() == 64 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !hex {
            return Self(Repr::Text(cut(id, MAX_NAME)));
        }
        for (byte, pair) in bytes.iter_mut().zip(id.as_bytes().chunks_exact(2)) {
            let value = |digit: u8| if digit > b'9' { digit - b'a' + 10 } else { digit - b'0' };
            *byte = pair.iter().fold(0, |byte, digit| (byte << 4) | value(*digit));
        }
        Self(Repr::Hex(bytes))
    }

    /// From `containerd://5bd7…`: the runtime that the scheme names, and the id. None for an empty one.
    pub fn from_status(text: &str) -> Option<(Runtime, Self)> {
        let (scheme, id) = text.split_once("://")?;
        let runtime = match scheme {
            "containerd" => Runtime::Containerd,
            "cri-o" => Runtime::Crio,
            "docker" => Runtime::Docker,
            _ => Runtime::Unknown,
        };
        (!id.is_empty()).then(|| (runtime, Self::new(id)))
    }
}

impl PodRecord {
    /// The container whose current or previous instance has this id.
    pub fn container_of(&self, id: &ContainerId) -> Option<&ContainerRecord> {
        let is = |of: &Option<ContainerId>| of.as_ref() == Some(id);
        let current = self.containers.iter().find(|c| is(&c.id));
        current.or_else(|| self.containers.iter().find(|c| is(&c.last_id)))
    }

    /// The container of that name.
    pub fn container(&self, name: &str) -> Option<&ContainerRecord> {
        self.containers.iter().find(|c| *c.name == *name)
    }

    /// What the paths of its cgroups may have for its uid.
    pub fn uids_in_paths(&self) -> impl Iterator<Item = &str> {
        [Some(&*self.uid), self.static_hash.as_deref()].into_iter().flatten()
    }

    /// The workload as the pod itself tells: its controller, or, for a pod that nobody controls, the pod.
    ///
    /// A static pod's mirror is controlled by its Node and named `NAME-NODE`: what is the same on every node is `NAME`,
    /// and its kind stays that of a pod.
    pub fn direct_workload(&self) -> Workload {
        let pod = |name: &str| Workload { kind: "Pod".into(), name: name.into() };
        match &self.owner {
            None => pod(&self.name),
            Some(owner) if &*owner.kind == "Node" => {
                let base = self.name.strip_suffix(&*owner.name).and_then(|n| n.strip_suffix('-'));
                pod(base.filter(|n| !n.is_empty()).unwrap_or(&self.name))
            }
            Some(owner) => Workload { kind: owner.kind.to_string(), name: owner.name.to_string() },
        }
    }

    /// None of its containers runs any more, nor will.
    pub fn has_ended(&self) -> bool {
        let all = !self.containers.is_empty() && self.containers.iter().all(|c| c.state == State::Terminated);
        self.finished || all
    }

    /// Every container has told its id, so that an id which is not here is no container's.
    pub fn ids_are_complete(&self) -> bool {
        self.containers_cut == 0 && !self.containers.is_empty() && self.containers.iter().all(|c| c.id.is_some())
    }

    /// The same once nothing more will be told: what still waits never ran.
    pub fn ids_are_final(&self) -> bool {
        let told = |c: &ContainerRecord| c.id.is_some() || c.state == State::Waiting;
        self.containers_cut == 0 && self.containers.iter().all(told)
    }
}

/// Drops what no record keeps from an object before anybody stores it: secrets in the environment first of all.
pub fn strip(pod: &mut api::Pod) {
    pod.metadata.managed_fields = None;
    if let Some(spec) = &mut pod.spec {
        spec.volumes = None;
        for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
            (container.env, container.env_from) = (None, None);
        }
        for container in spec.ephemeral_containers.iter_mut().flatten() {
            (container.env, container.env_from) = (None, None);
        }
    }
}

impl From<&api::Pod> for PodRecord {
    fn from(pod: &api::Pod) -> Self {
        let metadata = &pod.metadata;
        let label = |key: &str| metadata.labels.as_ref()?.get(key).map(|v| cut(v, MAX_NAME));
        let status = pod.status.as_ref();
        let (containers, containers_cut) = containers(pod);
        let names: Vec<&str> = containers.iter().map(|c| &*c.name).collect();
        let none = std::collections::BTreeMap::new();
        let all = metadata.annotations.as_ref().unwrap_or(&none);
        let (annotations, faults) = Annotations::read(all, &names);
        let spec = pod.spec.as_ref();
        Self {
            namespace: name(metadata.namespace.as_deref()),
            name: name(metadata.name.as_deref()),
            uid: name(metadata.uid.as_deref()),
            static_hash: all.get(STATIC_HASH).map(|hash| cut(hash, MAX_NAME)),
            revision: label("pod-template-hash").or_else(|| label("controller-revision-hash")),
            owner: metadata.owner_references.iter().flatten().find(|o| o.controller == Some(true)).map(OwnerRef::from),
            grace_seconds: spec.and_then(|s| s.termination_grace_period_seconds).map(seconds),
            deletion: metadata.deletion_timestamp.as_ref().map(|at| Deletion {
                timestamp: at.0.as_second(),
                grace_seconds: metadata.deletion_grace_period_seconds.map(seconds),
            }),
            disruption: status.and_then(disruption),
            ended_by: status.and_then(|s| s.reason.as_deref()).filter(|r| !r.is_empty()).map(KubeletReason::new),
            finished: status.and_then(|s| s.phase.as_deref()).is_some_and(|p| matches!(p, "Succeeded" | "Failed")),
            containers,
            containers_cut,
            host_pid: spec.and_then(|s| s.host_pid).unwrap_or(false),
            shared_pid_namespace: spec.and_then(|s| s.share_process_namespace).unwrap_or(false),
            runtime_class: RuntimeClass::new(spec.and_then(|s| s.runtime_class_name.as_deref())),
            annotations,
            faults: faults.into(),
            selected: true,
        }
    }
}

impl From<&OwnerReference> for OwnerRef {
    fn from(owner: &OwnerReference) -> Self {
        Self {
            api_version: cut(&owner.api_version, MAX_NAME),
            kind: cut(&owner.kind, MAX_NAME),
            name: cut(&owner.name, MAX_NAME),
            uid: cut(&owner.uid, MAX_NAME),
        }
    }
}

impl KubeletReason {
    fn new(reason: &str) -> Self {
        match reason {
            "Evicted" => Self::Evicted,
            "Preempting" => Self::Preempting,
            "Terminated" | "NodeShutdown" | "Shutdown" => Self::NodeShutdown,
            _ => Self::Other,
        }
    }
}

impl RuntimeClass {
    fn new(name: Option<&str>) -> Self {
        const ISOLATED: [&str; 6] = ["kata", "gvisor", "runsc", "firecracker", "cloud-hypervisor", "qemu"];
        match name.map(str::to_ascii_lowercase) {
            None => Self::Default,
            Some(name) if ISOLATED.iter().any(|i| name.contains(i)) => Self::Isolated,
            Some(_) => Self::Named,
        }
    }
}

fn disruption(status: &api::PodStatus) -> Option<Disruption> {
    let conditions = status.conditions.as_ref()?;
    let condition = conditions.iter().find(|c| c.type_ == "DisruptionTarget" && c.status == "True")?;
    match condition.reason.as_deref()? {
        "PreemptionByScheduler" | "PreemptionByKubeScheduler" => Some(Disruption::Preemption),
        "DeletionByTaintManager" => Some(Disruption::Taint),
        "EvictionByEvictionAPI" => Some(Disruption::EvictionApi),
        "DeletionByPodGC" => Some(Disruption::PodGc),
        "TerminationByKubelet" => Some(Disruption::Kubelet),
        _ => None,
    }
}

/// The parts of a container's spec that matter, of whichever kind it is.
struct Parts<'a> {
    name: &'a str,
    image: Option<&'a str>,
    kind: Kind,
    lifecycle: Option<&'a api::Lifecycle>,
    ports: bool,
    liveness: Option<&'a api::Probe>,
    startup: Option<&'a api::Probe>,
}

impl<'a> Parts<'a> {
    fn new(c: &'a api::Container, kind: Kind) -> Self {
        Self {
            name: &c.name,
            image: c.image.as_deref(),
            kind,
            lifecycle: c.lifecycle.as_ref(),
            ports: c.ports.as_ref().is_some_and(|p| !p.is_empty()),
            liveness: c.liveness_probe.as_ref(),
            startup: c.startup_probe.as_ref(),
        }
    }

    fn init(c: &'a api::Container) -> Self {
        let sidecar = c.restart_policy.as_deref() == Some("Always");
        Self::new(c, if sidecar { Kind::Sidecar } else { Kind::Init })
    }

    /// The API forbids hooks, ports and probes there.
    fn ephemeral(c: &'a api::EphemeralContainer) -> Self {
        let (name, image) = (&c.name, c.image.as_deref());
        Self { name, image, kind: Kind::Ephemeral, lifecycle: None, ports: false, liveness: None, startup: None }
    }

    fn record(&self, status: Option<&api::ContainerStatus>) -> ContainerRecord {
        let id = status.and_then(|s| ContainerId::from_status(s.container_id.as_deref()?));
        let last = status.and_then(|s| s.last_state.as_ref()?.terminated.as_ref()?.container_id.as_deref());
        let signal = status.and_then(|s| s.stop_signal.as_deref());
        let signal = signal.or_else(|| self.lifecycle.and_then(|l| l.stop_signal.as_deref()));
        let image = self.image.or_else(|| status.map(|s| s.image.as_str())).unwrap_or_default();
        ContainerRecord {
            name: cut(self.name, MAX_NAME),
            image: cut(image, MAX_IMAGE),
            kind: self.kind,
            runtime: id.as_ref().map_or(Runtime::Unknown, |(runtime, _)| *runtime),
            id: id.map(|(_, id)| id),
            last_id: last.and_then(ContainerId::from_status).map(|(_, id)| id),
            state: status.and_then(|s| s.state.as_ref()).map_or(State::Waiting, State::new),
            restart_count: status.map_or(0, |s| u32::try_from(s.restart_count).unwrap_or(0)),
            stop_signal: signal.and_then(Signal::parse),
            started: status.and_then(|s| s.started).unwrap_or(false),
            has_pre_stop: self.lifecycle.is_some_and(|l| l.pre_stop.is_some()),
            declares_ports: self.ports,
            liveness: self.liveness.map(ProbeRecord::from),
            startup: self.startup.map(ProbeRecord::from),
        }
    }
}

fn containers(pod: &api::Pod) -> (Box<[ContainerRecord]>, u32) {
    let Some(spec) = &pod.spec else { return (Box::default(), 0) };
    let status = pod.status.as_ref();
    let statuses = [
        status.and_then(|s| s.container_statuses.as_ref()),
        status.and_then(|s| s.init_container_statuses.as_ref()),
        status.and_then(|s| s.ephemeral_container_statuses.as_ref()),
    ];
    let main = spec.containers.iter().map(|c| Parts::new(c, Kind::Main));
    let init = spec.init_containers.iter().flatten().map(Parts::init);
    let ephemeral = spec.ephemeral_containers.iter().flatten().map(Parts::ephemeral);
    let all: Vec<_> = main.chain(init).chain(ephemeral).collect();
    // Names are unique over all kinds.
    let status_of = |name: &str| statuses.iter().flatten().flat_map(|s| s.iter()).find(|s| s.name == name);
    let records = all.iter().take(MAX_CONTAINERS).map(|c| c.record(status_of(c.name))).collect();
    (records, u32::try_from(all.len().saturating_sub(MAX_CONTAINERS)).unwrap_or(u32::MAX))
}

impl State {
    fn new(state: &api::ContainerState) -> Self {
        if state.running.is_some() {
            Self::Running
        } else if state.terminated.is_some() {
            Self::Terminated
        } else {
            Self::Waiting
        }
    }
}

impl From<&api::Probe> for ProbeRecord {
    fn from(probe: &api::Probe) -> Self {
        Self { grace_seconds: probe.termination_grace_period_seconds.map(seconds) }
    }
}

fn name(text: Option<&str>) -> Box<str> {
    cut(text.unwrap_or_default(), MAX_NAME)
}

/// Negative ones mean "at once" to the kubelet.
fn seconds(seconds: i64) -> u32 {
    u32::try_from(seconds.max(0)).unwrap_or(u32::MAX)
}

/// The start of a text, cut between characters.
fn cut(text: &str, limit: usize) -> Box<str> {
    text[..text.floor_char_boundary(limit)].into()
}

#[cfg(test)]
mod tests;
