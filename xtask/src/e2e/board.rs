//! What is known of the cluster and of the agent at this moment: pods, events and records, as they come. Who waits for
//! something is woken by every change.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::Value;

use super::case::{State, Until};
use super::pattern;
use super::signals::Interrupt;

/// How often somebody who waits looks whether we were interrupted.
const LOOK: Duration = Duration::from_millis(200);

/// Shared by all that look and all that tell.
#[derive(Clone, Debug)]
pub(crate) struct Board {
    seen: Arc<(Mutex<Seen>, Condvar)>,
    pub(crate) interrupt: Interrupt,
}

/// What was seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// By namespace and name.
    pub(crate) pods: BTreeMap<(String, String), Value>,
    /// Kubernetes events of the agent, by their uid.
    pub(crate) events: BTreeMap<String, Value>,
    /// What the agent printed, in its order.
    pub(crate) records: Vec<Value>,
}

impl Board {
    pub(crate) fn new(interrupt: Interrupt) -> Self {
        Self { seen: Arc::default(), interrupt }
    }

    pub(crate) fn look(&self) -> MutexGuard<'_, Seen> {
        self.seen.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is seen, and wakes everybody who waits.
    pub(crate) fn tell(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.look());
        self.seen.1.notify_all();
    }

    /// The first answer that is there, or none at the deadline.
    pub(crate) fn wait<T>(&self, deadline: Instant, answer: impl Fn(&Seen) -> Option<T>) -> Result<Option<T>> {
        let mut seen = self.look();
        loop {
            self.interrupt.check()?;
            if let Some(answer) = answer(&seen) {
                return Ok(Some(answer));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            seen = self.seen.1.wait_timeout(seen, left.min(LOOK)).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for pods of a namespace.
    pub(crate) fn until(&self, namespace: &str, until: &Until, deadline: Instant) -> Result<()> {
        if self.wait(deadline, |seen| seen.reached(namespace, until).then_some(()))?.is_none() {
            let pods = self.look().pods_of(namespace).map(describe).collect::<Vec<_>>().join("; ");
            bail!("not {} x {} {:?}; there is: {pods}", until.count, until.pods, until.are);
        }
        Ok(())
    }
}

impl Seen {
    /// A namespace's.
    pub(crate) fn pods_of<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Value> {
        self.pods.iter().filter(move |((of, _), _)| of == namespace).map(|(_, pod)| pod)
    }

    /// Records of a namespace's pods.
    pub(crate) fn records_of<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Value> {
        self.records.iter().filter(move |record| record["pod"]["namespace"] == namespace)
    }

    fn reached(&self, namespace: &str, until: &Until) -> bool {
        let named = |pod: &&Value| pattern::text_matches(&until.pods, pod["metadata"]["name"].as_str().unwrap_or(""));
        let pods: Vec<_> = self.pods_of(namespace).filter(named).collect();
        if until.are == State::Gone {
            return pods.is_empty();
        }
        pods.iter().filter(|pod| is(pod, until.are)).count() == until.count
    }
}

/// The id that containerd knows a container by.
pub(crate) fn container_id(pod: &Value, container: &str) -> Option<String> {
    let of = |kind: &str| pod["status"][kind].as_array().cloned().unwrap_or_default();
    let mut all = ["containerStatuses", "initContainerStatuses"].into_iter().flat_map(of);
    let status = all.find(|status| status["name"] == container)?;
    Some(status["containerID"].as_str()?.strip_prefix("containerd://")?.to_owned())
}

/// Whether a pod is in that state.
pub(crate) fn is(pod: &Value, state: State) -> bool {
    let phase = pod["status"]["phase"].as_str().unwrap_or_default();
    let containers = pod["status"]["containerStatuses"].as_array();
    let every = |field: &str| containers.is_some_and(|all| !all.is_empty() && all.iter().all(|c| c[field] == true));
    match state {
        State::Ready => every("ready"),
        State::Running => phase == "Running",
        State::Succeeded => phase == "Succeeded",
        State::Failed => phase == "Failed",
        State::Terminating => pod["metadata"]["deletionTimestamp"].is_string(),
        State::Restarted => {
            let again = |c: &Value| c["restartCount"].as_u64().is_some_and(|count| count > 0);
            every("ready") && containers.is_some_and(|all| all.iter().any(again))
        }
        State::Gone => false,
    }
}

fn describe(pod: &Value) -> String {
    let states = pod["status"]["containerStatuses"].as_array().cloned().unwrap_or_default();
    let states: Vec<_> = states.iter().map(|c| format!("{}: {}", c["name"], c["state"])).collect();
    format!("{} {} {}", pod["metadata"]["name"], pod["status"]["phase"], states.join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn seen() -> Seen {
        let pod = |name: &str, ready: bool, restarts: u64| {
            let status = json!({"phase": "Running", "containerStatuses": [
                {"name": "app", "ready": ready, "restartCount": restarts, "containerID": "containerd://5bd7"}]});
            (("shop".to_owned(), name.to_owned()), json!({"metadata": {"name": name}, "status": status}))
        };
        Seen { pods: [pod("web-1", true, 0), pod("web-2", false, 1)].into(), ..Seen::default() }
    }

    #[test]
    fn pods_are_counted_by_name_and_state() {
        let seen = seen();
        let reached = |pods: &str, count, are| seen.reached("shop", &Until { pods: pods.into(), count, are });
        assert!(reached("web-*", 1, State::Ready));
        assert!(!reached("web-*", 2, State::Ready));
        assert!(reached("web-*", 2, State::Running));
        assert!(!reached("web-2", 1, State::Restarted), "it is not ready");
        assert!(reached("db-*", 1, State::Gone));
        assert!(!reached("web-*", 0, State::Gone));
        assert!(!seen.reached("other", &Until { pods: "*".into(), count: 1, are: State::Ready }));
    }

    #[test]
    fn a_container_is_found_by_its_name() {
        let seen = seen();
        let pod = seen.pods_of("shop").next().unwrap();
        assert_eq!(container_id(pod, "app").as_deref(), Some("5bd7"));
        assert_eq!(container_id(pod, "sidecar"), None);
    }
}
