//! The two requests that events take, and what the server's answers mean.
//!
//! The answers are judged by [`judge`], which knows nothing of connections; [`Api`] sends, once, and waits no longer than a
//! bound. Trying again is the caller's.

use std::time::Duration;

use ::kube::Client;
use ::kube::api::{Patch, PatchParams, PostParams, Resource};
use ::kube::client::Body;
use ::kube::core::{Request as Requests, Status};
use http::{HeaderMap, Request, StatusCode};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};

use crate::kube::client::retry_after;
use crate::kube::events::notice::{Notice, cut};
use crate::kube::events::series::Flush;

/// Who writes our events.
pub const REPORTER: &str = "signal-trace.dev/agent";
/// One request, answer included, takes no longer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest `reportingInstance`, in bytes.
const MAX_INSTANCE: usize = 128;
/// How much of the server's words is repeated.
const MAX_MESSAGE: usize = 512;

/// What the server said, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Done.
    Done,
    /// An event of this name is there.
    NameTaken,
    /// No such namespace, or for an update no such event.
    Gone,
    /// The namespace takes nothing new.
    NamespaceTerminating,
    /// Not a valid event, and why.
    Malformed(String),
    /// Not allowed, and why.
    Refused(String),
    /// Not now; perhaps after this long.
    Later(Option<Duration>),
}

/// A way to the server.
pub struct Api {
    client: Client,
    node: String,
}

impl Api {
    /// In the name of a node.
    pub fn new(client: Client, node: &str) -> Self {
        Self { client, node: node.to_owned() }
    }

    /// Writes an event under the name that it has at the `attempt`th attempt.
    pub async fn create(&self, notice: &Notice, attempt: u32) -> Answer {
        let event = event(notice, &self.node, attempt);
        match serde_json::to_vec(&event) {
            Ok(body) => self.send(requests(&notice.namespace).create(&PostParams::default(), body)).await,
            Err(error) => Answer::Malformed(error.to_string()),
        }
    }

    /// Raises the count of an event.
    pub async fn update(&self, flush: &Flush) -> Answer {
        let last = MicroTime(flush.last);
        let patch = serde_json::json!({ "series": { "count": flush.count, "lastObservedTime": last } });
        let requests = requests(&flush.notice.namespace);
        self.send(requests.patch(&flush.event, &PatchParams::default(), &Patch::Merge(&patch))).await
    }

    async fn send(&self, request: Result<Request<Vec<u8>>, ::kube::core::request::Error>) -> Answer {
        let request = match request {
            Ok(request) => request.map(Body::from),
            Err(error) => return Answer::Malformed(error.to_string()),
        };
        let answer = async {
            let response = self.client.send(request).await?;
            let (status, headers) = (response.status(), response.headers().clone());
            let body = response.into_body().collect_bytes().await?;
            Ok::<_, ::kube::Error>(judge(status, &headers, &body))
        };
        match tokio::time::timeout(TIMEOUT, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                tracing::debug!(%error, "an event could not be sent");
                Answer::Later(None)
            }
            Err(_elapsed) => Answer::Later(None),
        }
    }
}

fn requests(namespace: &str) -> Requests {
    Requests::new(Event::url_path(&(), Some(namespace)))
}

/// What an answer means.
pub fn judge(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Answer {
    let said = || serde_json::from_slice::<Status>(body).unwrap_or_default();
    let message = |status: &Status| cut(&status.message, MAX_MESSAGE);
    match status.as_u16() {
        200..=299 => Answer::Done,
        404 => Answer::Gone,
        409 => {
            if said().reason == "AlreadyExists" {
                Answer::NameTaken
            } else {
                Answer::Later(None)
            }
        }
        401 | 403 => {
            let status = said();
            let mut causes = status.details.iter().flat_map(|d| &d.causes);
            if causes.any(|cause| cause.reason == "NamespaceTerminating") {
                Answer::NamespaceTerminating
            } else {
                Answer::Refused(message(&status))
            }
        }
        429 => Answer::Later(retry_after(headers)),
        400..=499 => Answer::Malformed(message(&said())),
        _ => Answer::Later(retry_after(headers)),
    }
}

/// The object that is sent.
pub fn event(notice: &Notice, node: &str, attempt: u32) -> Event {
    let metadata = ObjectMeta {
        name: Some(notice.event_name(attempt)),
        namespace: Some(notice.namespace.to_string()),
        ..ObjectMeta::default()
    };
    let related = match &notice.workload {
        Some((api_version, workload)) => ObjectReference {
            api_version: Some((*api_version).to_owned()),
            kind: Some(workload.kind.clone()),
            name: Some(workload.name.clone()),
            namespace: Some(notice.namespace.to_string()),
            ..ObjectReference::default()
        },
        None => ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Node".into()),
            name: Some(node.to_owned()),
            ..ObjectReference::default()
        },
    };
    Event {
        metadata,
        event_time: Some(MicroTime(notice.at)),
        type_: Some("Warning".into()),
        reason: Some(notice.reason.to_owned()),
        action: Some("TerminatingContainer".into()),
        note: Some(notice.note.clone()),
        reporting_controller: Some(REPORTER.into()),
        reporting_instance: Some(node[..node.floor_char_boundary(MAX_INSTANCE)].to_owned()),
        regarding: Some(ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Pod".into()),
            name: Some(notice.pod.to_string()),
            namespace: Some(notice.namespace.to_string()),
            uid: Some(notice.pod_uid.to_string()),
            field_path: Some(notice.field_path()),
            ..ObjectReference::default()
        }),
        related: Some(related),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use http::header;

    use super::*;
    use crate::kube::events::notice::tests::notice;

    fn said(status: u16, body: &serde_json::Value) -> Answer {
        judge(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body.to_string().as_bytes())
    }

    #[test]
    fn answers_of_a_server() {
        let status = |reason: &str, causes: serde_json::Value| {
            serde_json::json!({
                "kind": "Status", "status": "Failure", "message": "no", "reason": reason, "details": { "causes": causes },
            })
        };
        let none = serde_json::json!([]);
        let terminating = serde_json::json!([{ "reason": "NamespaceTerminating", "message": "", "field": "" }]);
        assert_eq!(said(201, &serde_json::json!({})), Answer::Done);
        assert_eq!(said(409, &status("AlreadyExists", none.clone())), Answer::NameTaken);
        assert_eq!(said(409, &status("Conflict", none.clone())), Answer::Later(None));
        assert_eq!(said(404, &status("NotFound", none.clone())), Answer::Gone);
        assert_eq!(said(403, &status("Forbidden", terminating)), Answer::NamespaceTerminating);
        assert_eq!(said(403, &status("Forbidden", none.clone())), Answer::Refused("no".into()));
        assert_eq!(said(401, &status("Unauthorized", none.clone())), Answer::Refused("no".into()));
        assert_eq!(said(422, &status("Invalid", none.clone())), Answer::Malformed("no".into()));
        assert_eq!(said(400, &status("BadRequest", none.clone())), Answer::Malformed("no".into()));
        assert_eq!(said(503, &status("ServiceUnavailable", none)), Answer::Later(None));
    }

    #[test]
    fn answers_that_are_no_status_are_judged_by_their_code() {
        let headers = HeaderMap::from_iter([(header::RETRY_AFTER, "3".parse().unwrap())]);
        let busy = judge(StatusCode::TOO_MANY_REQUESTS, &headers, b"Too many requests, please try again later.\n");
        assert_eq!(busy, Answer::Later(Some(Duration::from_secs(3))));
        assert_eq!(judge(StatusCode::FORBIDDEN, &headers, b"\xff\xfe"), Answer::Refused(String::new()));
        assert_eq!(judge(StatusCode::BAD_GATEWAY, &HeaderMap::new(), b"<html>"), Answer::Later(None));
    }

    #[test]
    fn an_event_has_what_the_server_demands_and_nothing_that_it_forbids() {
        let event = event(&notice("app", "StopSignalIgnored"), &"n".repeat(253), 0);
        insta::assert_json_snapshot!(event);
    }
}
