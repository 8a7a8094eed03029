//! Whose a container is: from the id in its cgroup's path to its pod, and back to the judge as a [`Spec`].
//!
//! Pure: time comes in as an argument, and there is no I/O. News of pods and of cgroups comes in any order; a container
//! that is found before its pod is known waits for it, a pod whose object is gone is kept until its containers are, and
//! for minutes after. What a verdict still lacks when it falls is told by [`Attribution::resolve`]; what was learnt
//! since is put into it by [`Attribution::amend`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::containers::{Cgroup, Runtime};
use crate::event::{CgroupId, KernelTime};
use crate::judge::Spec;
use crate::judge::shutdown::{ContainerFacts, PodFacts, Trigger, Workload};
use crate::kube::Moment;
use crate::kube::annotations::Fault;
use crate::kube::owners;
use crate::kube::pod::{ContainerId, ContainerRecord, Deletion, OwnerRef, PodChange, PodRecord, RuntimeClass};
use crate::kube::termination;
pub use resolve::{About, Resolution};

mod resolve;

/// How long names are kept after a pod's object, or a container's cgroup, is gone.
const KEEP: Duration = Duration::from_secs(600);
/// How often the kept are looked through for what may go.
const SWEEP_EVERY: Duration = Duration::from_secs(10);
/// Pods that are kept, the gone ones included.
pub(super) const MAX_PODS: usize = 4096;
/// Containers that are kept, the gone ones included.
const MAX_CONTAINERS: usize = 16_384;

/// Containers of one pod that are kept, the gone ones and those that its containers run included.
const MAX_OF_ONE_POD: usize = 256;
/// How often it is asked what a pod's owner belongs to, if no answer comes.
const ASK_EVERY: Duration = Duration::from_secs(300);

/// What follows from a piece of news.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update {
    /// For the judge.
    Spec(CgroupId, Spec),
    /// Find out what this owner belongs to, and come back with [`Attribution::owned_by`].
    Owner {
        /// Its namespace.
        namespace: Box<str>,
        /// The owner.
        owner: OwnerRef,
    },
    /// Tell whoever runs the agent, once.
    Fault {
        /// `NAMESPACE/NAME` of the pod.
        pod: String,
        /// What is wrong with it.
        fault: Fault,
    },
}

/// The index.
#[derive(Debug, Default)]
pub struct Attribution {
    /// By uid.
    pods: HashMap<Arc<str>, Box<Pod>>,
    /// Uids by what the paths of static pods have instead.
    static_pods: HashMap<Box<str>, Arc<str>>,
    containers: HashMap<CgroupId, Box<Tracked>>,
    /// Containers by the pod's uid in their path.
    of_pod: HashMap<Box<str>, Vec<CgroupId>>,
    in_touch: bool,
    swept: KernelTime,
    refused: u64,
}

#[derive(Debug)]
struct Pod {
    record: PodRecord,
    /// What its owner belongs to, once that is known.
    workload: Option<Arc<Workload>>,
    asked: KernelTime,
    /// How its deletion was asked for.
    deletion: Option<Deletion>,
    /// When its deletion was asked for; none also where it went unseen.
    terminating_since: Option<KernelTime>,
    /// The same, as late as it can be: that was before what came later.
    asked_by: Option<KernelTime>,
    /// When the record came.
    updated: KernelTime,
    /// When its object was found gone.
    gone: Option<KernelTime>,
    /// Its wrong annotations were told; once is enough, however often its author changes them.
    complained: bool,
}

/// A container by its cgroup.
#[derive(Debug)]
struct Tracked {
    id: ContainerId,
    /// All that is known by now; the judge has the same.
    facts: Arc<ContainerFacts>,
    pod_uid: Option<Box<str>>,
    found: KernelTime,
    gone: Option<KernelTime>,
    binding: Binding,
    sent: Option<Spec>,
}

/// What a container's id was found to be.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Binding {
    /// Not known yet.
    Pending,
    /// The container of that name; whether it had started when its id was last told.
    Named { name: Box<str>, started: bool },
    /// A container that a container of the pod runs.
    Nested,
    /// The pod's sandbox, as its bundle says.
    Sandbox,
}

impl Attribution {
    /// Takes what the watch says.
    pub fn handle(&mut self, change: PodChange, now: Moment, out: &mut Vec<Update>) {
        match change {
            PodChange::Applied(record) => self.apply(*record, now, out),
            PodChange::Deleted(record) => self.delete(*record, now, out),
            PodChange::Relisted(records) => self.relist(records, now, out),
            PodChange::OutOfTouch => self.in_touch = false,
        }
    }

    /// A pod is there, or changed.
    pub fn apply(&mut self, record: PodRecord, now: Moment, out: &mut Vec<Update>) {
        self.in_touch = true;
        self.sweep(now.kernel);
        let uid = Arc::<str>::from(&*record.uid);
        if !self.pods.contains_key(&uid) {
            // Nodes keep finished pods by the thousand: one that has nothing here will have nothing to tell.
            if record.finished && !self.has_containers(&record) {
                return;
            }
            if !self.make_room_for_pod() {
                self.refused += 1;
                return;
            }
        }
        let before = self.pods.remove(&uid);
        let asked = before.as_ref().map(|pod| pod.asked);
        let complained = before.as_ref().is_some_and(|pod| pod.complained);
        if !complained {
            let pod = format!("{}/{}", record.namespace, record.name);
            out.extend(record.faults.iter().map(|fault| Update::Fault { pod: pod.clone(), fault: fault.clone() }));
        }
        let answered = before.as_ref().is_some_and(|pod| pod.workload.is_some());
        let ask = !answered && asked.is_none_or(|at| now.kernel.since(at) >= ASK_EVERY);
        if ask && let Some(owner) = record.owner.clone().filter(owners::is_owned_itself) {
            out.push(Update::Owner { namespace: record.namespace.clone(), owner });
        }
        let known = before.as_ref().and_then(|pod| pod.terminating_since);
        let deletion = termination::deletion_in_force(before.as_ref().and_then(|pod| pod.deletion), &record);
        let terminating_since = known.or_else(|| deletion.map(|d| termination::asked_for(d, now)));
        let asked_by = before.as_ref().and_then(|pod| pod.asked_by);
        let asked_by = asked_by.or_else(|| deletion.map(|d| termination::asked_by(d, now)));
        if let Some(hash) = &record.static_hash {
            self.static_pods.insert(hash.clone(), Arc::clone(&uid));
        }
        let workload = before.and_then(|pod| pod.workload);
        let asked = asked.filter(|_| !ask).unwrap_or(now.kernel);
        let (updated, complained) = (now.kernel, complained || !record.faults.is_empty());
        let pod =
            Pod { record, workload, asked, deletion, terminating_since, asked_by, updated, gone: None, complained };
        self.pods.insert(Arc::clone(&uid), Box::new(pod));
        self.refresh(&uid, out);
    }

    /// A pod's object is gone, and this is what it last said: its processes may live on.
    pub fn delete(&mut self, record: PodRecord, now: Moment, out: &mut Vec<Update>) {
        let uid = Arc::<str>::from(&*record.uid);
        self.apply(record, now, out);
        if let Some(pod) = self.pods.get_mut(&uid)
            && !pod.record.has_ended()
            && pod.record.static_hash.is_none()
        {
            // Removed with no deletion before: that was it.
            pod.terminating_since.get_or_insert(now.kernel);
        }
        self.mark_gone(&uid, now.kernel, out);
    }

    /// These are all pods: the others went while nobody looked.
    pub fn relist(&mut self, records: Vec<PodRecord>, now: Moment, out: &mut Vec<Update>) {
        let there: std::collections::HashSet<Box<str>> = records.iter().map(|r| r.uid.clone()).collect();
        for record in records {
            self.apply(record, now, out);
        }
        self.in_touch = true;
        let ghosts: Vec<_> = self.pods.keys().filter(|uid| !there.contains(&***uid)).map(Arc::clone).collect();
        for uid in ghosts {
            self.mark_gone(&uid, now.kernel, out);
        }
    }

    /// A container's cgroup was found or made.
    pub fn container_found(&mut self, cgroup: &Cgroup, now: Moment, out: &mut Vec<Update>) {
        self.sweep(now.kernel);
        let Some(identity) = &cgroup.container else { return };
        if self.containers.contains_key(&cgroup.id) {
            return;
        }
        if !self.make_room_for_container(identity.pod_uid.as_deref()) {
            self.refused += 1;
            return;
        }
        let facts = ContainerFacts {
            cgroup: cgroup.id,
            cgroup_path: cgroup.path.clone(),
            runtime: identity.runtime,
            id: identity.id.clone(),
            name: None,
            image: None,
            pod: None,
        };
        let pod_uid = identity.pod_uid.as_deref().map(Box::<str>::from);
        if let Some(uid) = &pod_uid {
            self.of_pod.entry(uid.clone()).or_default().push(cgroup.id);
        }
        let tracked = Tracked {
            id: ContainerId::new(&identity.id),
            facts: Arc::new(facts),
            pod_uid: pod_uid.clone(),
            found: now.kernel,
            gone: None,
            binding: Binding::Pending,
            sent: None,
        };
        self.containers.insert(cgroup.id, Box::new(tracked));
        if let Some(uid) = pod_uid.and_then(|uid| self.uid_of(&uid)) {
            self.refresh(&uid, out);
        }
    }

    /// A container's cgroup is gone; its verdict may still be on its way.
    pub fn container_gone(&mut self, id: CgroupId, now: Moment) {
        if let Some(tracked) = self.containers.get_mut(&id) {
            tracked.gone.get_or_insert(now.kernel);
        }
        self.sweep(now.kernel);
    }

    /// Its bundle says what it is called: good until the API says more.
    pub fn named_by_bundle(&mut self, facts: ContainerFacts) {
        if let Some(tracked) = self.containers.get_mut(&facts.cgroup)
            && tracked.binding == Binding::Pending
            && tracked.facts.pod.is_none()
        {
            tracked.facts = Arc::new(facts);
        }
    }

    /// Its bundle says that this is a pod's sandbox.
    pub fn sandbox_found(&mut self, id: CgroupId) {
        if let Some(tracked) = self.containers.get_mut(&id) {
            tracked.binding = Binding::Sandbox;
        }
    }

    /// What the pods of this owner belong to in the end.
    pub fn owned_by(&mut self, owner_uid: &str, workload: &Arc<Workload>, out: &mut Vec<Update>) {
        let is_owner = |pod: &Pod| pod.record.owner.as_ref().is_some_and(|o| *o.uid == *owner_uid);
        let uids: Vec<_> = self.pods.iter().filter(|(_, pod)| is_owner(pod)).map(|(uid, _)| Arc::clone(uid)).collect();
        for uid in uids {
            if let Some(pod) = self.pods.get_mut(&uid) {
                pod.workload = Some(Arc::clone(workload));
            }
            self.refresh(&uid, out);
        }
    }

    /// Pods that are kept.
    pub fn pods(&self) -> usize {
        self.pods.len()
    }

    /// Pods whose containers run on a kernel of their own, where nothing of them can be seen.
    pub fn unseen(&self) -> impl Iterator<Item = &PodRecord> {
        let there = self.pods.values().filter(|pod| pod.gone.is_none()).map(|pod| &pod.record);
        there.filter(|record| record.runtime_class == RuntimeClass::Isolated)
    }

    /// Pods and containers that found no room.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    fn has_containers(&self, record: &PodRecord) -> bool {
        record.uids_in_paths().any(|uid| self.of_pod.contains_key(uid))
    }

    fn uid_of(&self, in_path: &str) -> Option<Arc<str>> {
        match self.pods.get_key_value(in_path) {
            Some((uid, _)) => Some(Arc::clone(uid)),
            None => self.static_pods.get(in_path).map(Arc::clone),
        }
    }

    fn pod_of(&self, tracked: &Tracked) -> Option<&Pod> {
        self.pods.get(&self.uid_of(tracked.pod_uid.as_deref()?)?).map(Box::as_ref)
    }

    fn mark_gone(&mut self, uid: &Arc<str>, now: KernelTime, out: &mut Vec<Update>) {
        if let Some(pod) = self.pods.get_mut(uid)
            && pod.gone.is_none()
        {
            pod.gone = Some(now);
            self.refresh(uid, out);
        }
    }

    /// Brings the containers of a pod in step with what is known of it.
    fn refresh(&mut self, uid: &Arc<str>, out: &mut Vec<Update>) {
        let Some(pod) = self.pods.get(uid) else { return };
        let ids: Vec<_> =
            pod.record.uids_in_paths().filter_map(|uid| self.of_pod.get(uid)).flatten().copied().collect();
        for id in &ids {
            if let Some(tracked) = self.containers.get_mut(id) {
                tracked.bind(&pod.record);
            }
        }
        let outer: Vec<_> = ids.iter().filter_map(|id| self.containers.get(id)?.path_if_named()).collect();
        for id in &ids {
            let Some(tracked) = self.containers.get_mut(id) else { continue };
            let path = &tracked.facts.cgroup_path;
            if tracked.binding == Binding::Pending && outer.iter().any(|outer| path.starts_with(outer)) {
                tracked.binding = Binding::Nested;
            }
            let facts = facts(tracked, pod);
            if facts != *tracked.facts {
                tracked.facts = Arc::new(facts);
            }
            if let Some(spec) = spec(tracked, pod)
                && tracked.sent.as_ref() != Some(&spec)
            {
                tracked.sent = Some(spec.clone());
                out.push(Update::Spec(*id, spec));
            }
        }
    }

    /// Forgets what has been gone for long enough.
    fn sweep(&mut self, now: KernelTime) {
        if now.since(self.swept) < SWEEP_EVERY {
            return;
        }
        self.swept = now;
        let over = |gone: Option<KernelTime>| gone.is_some_and(|at| now.since(at) > KEEP);
        let ids: Vec<_> = self.containers.iter().filter(|(_, t)| over(t.gone)).map(|(id, _)| *id).collect();
        for id in ids {
            self.forget_container(id);
        }
        let done = |pod: &Pod| over(pod.gone.or(pod.record.finished.then_some(pod.updated)));
        let may_go = |pod: &Pod| done(pod) && !self.has_containers(&pod.record);
        let uids: Vec<_> = self.pods.iter().filter(|(_, p)| may_go(p)).map(|(uid, _)| Arc::clone(uid)).collect();
        for uid in uids {
            self.forget_pod(&uid);
        }
    }

    fn make_room_for_pod(&mut self) -> bool {
        if self.pods.len() < MAX_PODS {
            return true;
        }
        let oldest = self.pods.iter().filter_map(|(uid, pod)| Some((pod.gone?, uid))).min().map(|(_, u)| Arc::clone(u));
        oldest.is_some_and(|uid| {
            self.forget_pod(&uid);
            true
        })
    }

    fn make_room_for_container(&mut self, pod_uid: Option<&str>) -> bool {
        let siblings = pod_uid.and_then(|uid| self.of_pod.get(uid)).map(Vec::as_slice).unwrap_or_default();
        let gone = |id: &CgroupId| Some((self.containers.get(id)?.gone?, *id));
        let oldest = if siblings.len() >= MAX_OF_ONE_POD {
            siblings.iter().filter_map(gone).min()
        } else if self.containers.len() >= MAX_CONTAINERS {
            self.containers.keys().filter_map(gone).min()
        } else {
            return true;
        };
        oldest.is_some_and(|(_, id)| {
            self.forget_container(id);
            true
        })
    }

    fn forget_container(&mut self, id: CgroupId) {
        let uid = self.containers.remove(&id).and_then(|tracked| tracked.pod_uid);
        if let Some(uid) = uid
            && let Some(ids) = self.of_pod.get_mut(&uid)
        {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.of_pod.remove(&uid);
            }
        }
    }

    fn forget_pod(&mut self, uid: &Arc<str>) {
        let hash = self.pods.remove(uid).and_then(|pod| pod.record.static_hash);
        if let Some(hash) = hash
            && self.static_pods.get(&hash) == Some(uid)
        {
            self.static_pods.remove(&hash);
        }
    }
}

impl Pod {
    /// What its owner belongs to is still to be told.
    fn awaits_owner(&self) -> bool {
        self.workload.is_none() && self.record.owner.as_ref().is_some_and(owners::is_owned_itself)
    }

    /// Why all of it ends, if it does.
    fn trigger(&self) -> Option<Trigger> {
        termination::pod_trigger(&self.record, self.deletion.is_some() || self.gone.is_some())
    }
}

impl Tracked {
    fn bind(&mut self, record: &PodRecord) {
        let Some(container) = record.container_of(&self.id) else { return };
        match &mut self.binding {
            Binding::Sandbox => {}
            Binding::Named { started, .. } => *started |= container.started && container.id.as_ref() == Some(&self.id),
            Binding::Pending | Binding::Nested => {
                let started = container.started && container.id.as_ref() == Some(&self.id);
                self.binding = Binding::Named { name: container.name.clone(), started };
            }
        }
    }

    /// The start of the paths of everything below it.
    fn path_if_named(&self) -> Option<String> {
        matches!(self.binding, Binding::Named { .. }).then(|| format!("{}/", self.facts.cgroup_path))
    }

    fn container<'a>(&self, pod: &'a Pod) -> Option<&'a ContainerRecord> {
        match &self.binding {
            Binding::Named { name, .. } => pod.record.container(name),
            Binding::Pending | Binding::Nested | Binding::Sandbox => None,
        }
    }
}

/// What the judge has to know, as soon as there is something.
fn spec(tracked: &Tracked, pod: &Pod) -> Option<Spec> {
    let container = tracked.container(pod);
    if container.is_none() && tracked.binding != Binding::Nested {
        return None;
    }
    let facts = Some(Arc::clone(&tracked.facts));
    let trigger = pod.trigger().unwrap_or(Trigger::Unknown);
    let Some(container) = container else {
        return Some(Spec { facts, ..Spec::default() });
    };
    Some(Spec {
        facts,
        stop_signal: container.stop_signal,
        grace: termination::longest_grace(&pod.record, container, pod.deletion),
        terminating_since: pod.terminating_since,
        trigger,
    })
}

fn facts(tracked: &Tracked, pod: &Pod) -> ContainerFacts {
    let mut facts = ContainerFacts::clone(&tracked.facts);
    let record = &pod.record;
    if let Some(container) = tracked.container(pod) {
        facts.name = Some(container.name.to_string());
        facts.image = Some(container.image.to_string()).filter(|image| !image.is_empty());
        if facts.runtime == Runtime::Unknown {
            facts.runtime = container.runtime;
        }
    }
    let workload = pod.workload.as_ref().map_or_else(|| record.direct_workload(), |w| Workload::clone(w));
    facts.pod = Some(PodFacts {
        namespace: record.namespace.to_string(),
        name: record.name.to_string(),
        uid: record.uid.to_string(),
        revision: record.revision.as_ref().map(ToString::to_string),
        workload: Some(workload),
    });
    facts
}

#[cfg(test)]
mod tests;
