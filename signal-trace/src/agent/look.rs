//! `/debug/containers`: what the agent follows at this moment, and what it knows that it cannot see.
//!
//! For people who ask why a shutdown was not told. The document is for them and may change at any time.

use serde::Serialize;

use crate::daemon::Daemon;
use crate::judge::shutdown::ContainerFacts;
use crate::kube::attribution::Attribution;

#[derive(Serialize)]
struct Document<'a> {
    node: &'a str,
    containers: Vec<Container<'a>>,
    open_shutdowns: usize,
    waiting_for_names: usize,
    unseen_pods: Vec<Unseen<'a>>,
}

#[derive(Serialize)]
struct Container<'a> {
    namespace: Option<&'a str>,
    pod: Option<&'a str>,
    name: Option<&'a str>,
    runtime: Option<&'static str>,
    id: &'a str,
    cgroup: &'a str,
    cgroup_id: u64,
}

#[derive(Serialize)]
struct Unseen<'a> {
    namespace: &'a str,
    pod: &'a str,
    why: &'static str,
}

/// The document.
pub(super) fn document(node: &str, daemon: &Daemon, names: &Attribution, waiting_for_names: usize) -> String {
    let mut containers: Vec<_> = daemon.containers().map(|facts| container(facts)).collect();
    containers.sort_by_key(|c| (c.namespace, c.pod, c.name, c.cgroup_id));
    let why = "its containers run on a kernel of their own";
    let unseen_pods = names.unseen().map(|pod| Unseen { namespace: &pod.namespace, pod: &pod.name, why }).collect();
    let document = Document { node, containers, open_shutdowns: daemon.open_windows(), waiting_for_names, unseen_pods };
    serde_json::to_string_pretty(&document).unwrap_or_else(|error| format!("{{\"error\": \"{error}\"}}"))
}

fn container(facts: &ContainerFacts) -> Container<'_> {
    Container {
        namespace: facts.pod.as_ref().map(|pod| pod.namespace.as_str()),
        pod: facts.pod.as_ref().map(|pod| pod.name.as_str()),
        name: facts.name.as_deref(),
        runtime: facts.runtime.name(),
        id: &facts.id,
        cgroup: &facts.cgroup_path,
        cgroup_id: facts.cgroup.0,
    }
}
