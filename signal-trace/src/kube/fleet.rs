//! What the agents of a cluster say, asked by a person: their records, from their logs, and the events that they wrote.
//!
//! The logs come through the API server, which passes on to the kubelet whoever may `get pods/log`, and nothing else of the
//! agent. Its own page of records answers the loopback alone: a tunnel to it would need `create pods/portforward`, which
//! opens every port of those pods, and would give the last thousand records at most.

use std::error::Error as _;
use std::time::Duration;

use ::kube::api::{ListParams, LogParams};
use ::kube::{Api, Client};
use futures_util::stream::{self, StreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::jiff::Timestamp;
use thiserror::Error;

use crate::kube::events::api::REPORTER;

/// The container of an agent's pod.
const CONTAINER: &str = "agent";
/// Agents that are asked at a time.
const AT_A_TIME: usize = 8;
/// Bytes of a log that are read; a record is some kilobytes.
const LOG_BYTES: i64 = 64 << 20;
/// Objects a page.
const PAGE: u32 = 500;

/// What one agent said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Its node.
    pub node: String,
    /// The lines of its log, or why there are none.
    pub log: Result<String, String>,
}

/// One event of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// When it happened last.
    pub at: Option<Timestamp>,
    /// How often.
    pub count: i32,
    /// Whose it is.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// The container of it.
    pub container: String,
    /// What owns the pod: `deployment/cart`.
    pub workload: Option<String>,
    /// Why.
    pub reason: String,
    /// The verdict in one line, with the advice.
    pub note: String,
}

/// The API server refuses, or does not answer.
#[derive(Debug, Error)]
#[error("cannot {what}: {problem}")]
pub struct FleetError {
    what: String,
    problem: String,
}

/// The logs of all agents in a namespace, as far back as asked for. One that cannot be read is named, and hides no other.
pub async fn logs(client: &Client, namespace: &str, selector: &str, since: Duration) -> Result<Vec<Said>, FleetError> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let what = || format!("list the agents' pods in namespace {namespace}");
    let found = pods.list(&ListParams::default().labels(selector)).await.map_err(|error| failed(what(), &error))?;
    let since_seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    let asked = found.items.into_iter().map(|pod| {
        let pods = pods.clone();
        async move {
            let name = pod.metadata.name.clone().unwrap_or_default();
            let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_else(|| name.clone());
            if let Some(why) = not_running(&pod) {
                return Said { node, log: Err(why) };
            }
            let parameters = LogParams {
                container: Some(CONTAINER.to_owned()),
                since_seconds: Some(since_seconds),
                limit_bytes: Some(LOG_BYTES),
                ..LogParams::default()
            };
            let log = pods.logs(&name, &parameters).await.map_err(|error| text(&error));
            Said { node, log }
        }
    });
    let mut said: Vec<Said> = stream::iter(asked).buffer_unordered(AT_A_TIME).collect().await;
    said.sort_by(|a, b| a.node.cmp(&b.node));
    Ok(said)
}

/// The events that agents wrote, of one namespace or of all, the latest last.
pub async fn events(client: &Client, namespace: Option<&str>) -> Result<Vec<Told>, FleetError> {
    let events: Api<Event> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let whose = || namespace.map_or_else(|| "all namespaces".to_owned(), |namespace| format!("namespace {namespace}"));
    let mut parameters = ListParams::default().fields(&format!("reportingController={REPORTER}")).limit(PAGE);
    let mut told = Vec::new();
    loop {
        let page = events.list(&parameters).await;
        let page = page.map_err(|error| failed(format!("list the events of {}", whose()), &error))?;
        told.extend(page.items.iter().map(as_told));
        parameters.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
        if parameters.continue_token.is_none() {
            break;
        }
    }
    told.sort_by_key(|event| event.at);
    Ok(told)
}

fn not_running(pod: &Pod) -> Option<String> {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Unknown");
    (phase != "Running").then(|| format!("its agent does not run ({phase})"))
}

fn as_told(event: &Event) -> Told {
    let at = event.series.as_ref().map(|series| series.last_observed_time.0).or(event.event_time.as_ref().map(|t| t.0));
    let regarding = event.regarding.as_ref();
    let path = regarding.and_then(|pod| pod.field_path.as_deref()).unwrap_or_default();
    // Of whichever of the pod's lists it is.
    let container = path.split_once('{').and_then(|(_, rest)| rest.strip_suffix('}')).unwrap_or_default();
    let owner = event.related.as_ref().filter(|related| related.kind.as_deref() != Some("Node"));
    let workload =
        owner.and_then(|owner| Some(format!("{}/{}", owner.kind.as_ref()?.to_lowercase(), owner.name.as_ref()?)));
    Told {
        at,
        count: event.series.as_ref().map_or(1, |series| series.count),
        namespace: event.metadata.namespace.clone().unwrap_or_default(),
        pod: regarding.and_then(|pod| pod.name.clone()).unwrap_or_default(),
        container: container.to_owned(),
        workload,
        reason: event.reason.clone().unwrap_or_default(),
        note: event.note.clone().unwrap_or_default(),
    }
}

fn failed(what: String, error: &::kube::Error) -> FleetError {
    FleetError { what, problem: text(error) }
}

/// What the server itself says, where it says something; else the reason below all that it was wrapped in.
fn text(error: &::kube::Error) -> String {
    if let ::kube::Error::Api(status) = error {
        return format!("{} ({})", status.message, status.code);
    }
    let below = std::iter::successors(error.source(), |inner| (*inner).source());
    below.last().map_or_else(|| error.to_string(), |reason| format!("no answer of the API server: {reason}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kube::events::api;
    use crate::kube::events::notice::Notice;
    use crate::kube::pod::Kind;
    use crate::kube::testing::{moment, named_shutdown};

    #[test]
    fn what_agents_write_of_any_kind_of_container_is_told() {
        let notice = Notice::of(&named_shutdown("app"), None, moment(131.0)).unwrap();
        for kind in [Kind::Main, Kind::Init, Kind::Sidecar, Kind::Ephemeral] {
            let told = as_told(&api::event(&Notice { kind, ..(*notice).clone() }, "node-1", 0));
            assert_eq!((&*told.container, &*told.pod), ("app", "cart-5b8fb75c8-rmmgn"), "{kind:?}");
        }
    }

    #[test]
    fn an_event_is_told_by_what_it_is_about() {
        let event = json!({
            "metadata": {"name": "cart-7d9f-x2k.1", "namespace": "shop"},
            "eventTime": "2026-11-22T10:00:00.000000Z",
            "series": {"count": 3, "lastObservedTime": "2026-11-22T10:05:00.000000Z"},
            "reason": "StopSignalNotForwarded",
            "note": "sh passed SIGTERM on to nobody",
            "regarding": {"kind": "Pod", "name": "cart-7d9f-x2k", "fieldPath": "spec.containers{app}"},
            "related": {"kind": "Deployment", "name": "cart"},
        });
        let mut event: Event = serde_json::from_value(event).unwrap();
        let expected = Told {
            at: Some("2026-11-22T10:05:00Z".parse().unwrap()),
            count: 3,
            namespace: "shop".into(),
            pod: "cart-7d9f-x2k".into(),
            container: "app".into(),
            workload: Some("deployment/cart".into()),
            reason: "StopSignalNotForwarded".into(),
            note: "sh passed SIGTERM on to nobody".into(),
        };
        assert_eq!(as_told(&event), expected);
        event.series = None;
        if let Some(related) = &mut event.related {
            related.kind = Some("Node".into());
        }
        let told = as_told(&event);
        assert_eq!((told.count, told.workload), (1, None), "a node owns no pod");
        assert_eq!(told.at, Some("2026-11-22T10:00:00Z".parse().unwrap()));
    }

    #[test]
    fn an_agent_that_does_not_run_is_not_asked() {
        let pod = |phase: &str| serde_json::from_value::<Pod>(json!({"status": {"phase": phase}})).unwrap();
        assert_eq!(not_running(&pod("Running")), None);
        assert_eq!(not_running(&pod("Pending")).unwrap(), "its agent does not run (Pending)");
        assert_eq!(not_running(&Pod::default()).unwrap(), "its agent does not run (Unknown)");
    }
}
