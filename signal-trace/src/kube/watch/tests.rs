use http::{Method, Response};
use serde_json::{Value, json};

use super::*;
use crate::kube::testing::server::{Said, Server, answer, busy, refusal};
use crate::kube::testing::{cart, set};

const NODE: &str = "worker-1";

/// A watch's answer: these events, and then the end of the stream.
fn stream(events: &[Value]) -> Response<Said> {
    Response::new(Said::whole(lines(events)))
}

fn lines(events: &[Value]) -> String {
    events.iter().map(|event| format!("{event}\n")).collect()
}

fn pod(name: &str, version: u32) -> Value {
    let mut pod = cart();
    set(&mut pod, "/metadata/name", json!(name));
    set(&mut pod, "/metadata/resourceVersion", json!(version.to_string()));
    pod
}

fn event(kind: &str, name: &str, version: u32) -> Value {
    json!({ "type": kind, "object": pod(name, version) })
}

fn listed(version: u32) -> Value {
    let metadata =
        json!({ "resourceVersion": version.to_string(), "annotations": { "k8s.io/initial-events-end": "true" } });
    json!({ "type": "BOOKMARK", "object": { "apiVersion": "v1", "kind": "Pod", "metadata": metadata } })
}

fn list(names: &[&str], version: u32) -> Response<Said> {
    let items: Vec<_> = names.iter().map(|name| pod(name, version)).collect();
    let metadata = json!({ "resourceVersion": version.to_string() });
    answer(200, &json!({ "apiVersion": "v1", "kind": "PodList", "metadata": metadata, "items": items }))
}

fn gone() -> Value {
    json!({ "type": "ERROR", "object": { "kind": "Status", "code": 410, "reason": "Expired", "message": "too old" } })
}

fn watch(server: &Server) -> PodWatch {
    let (client, retry_after) = server.client();
    PodWatch::new(client, retry_after, NODE, Labels::default())
}

/// The next pieces of news, in short.
async fn news(watch: &mut PodWatch, count: usize) -> Vec<String> {
    let mut news = Vec::new();
    for _ in 0..count {
        news.push(match watch.next().await {
            PodChange::Applied(pod) => format!("applied {}", pod.name),
            PodChange::Deleted(pod) => format!("deleted {}", pod.name),
            PodChange::Relisted(pods) => {
                let names: Vec<_> = pods.iter().map(|pod| &*pod.name).collect();
                format!("listed {}", names.join(" "))
            }
            PodChange::OutOfTouch => "out of touch".into(),
        });
    }
    news
}

#[tokio::test(start_paused = true)]
async fn lists_by_the_watch_itself_and_goes_on_with_it() {
    let events = [
        event("ADDED", "a", 1),
        event("ADDED", "b", 2),
        listed(2),
        event("MODIFIED", "a", 3),
        event("DELETED", "b", 4),
    ];
    let server = Server::new([stream(&events)]);
    let mut watch = watch(&server);
    assert_eq!(news(&mut watch, 3).await, ["listed a b", "applied a", "deleted b"]);
    let asked = &server.asked()[0];
    assert_eq!((&asked.method, &asked.body), (&Method::GET, &Value::Null));
    let asked = &asked.uri;
    for part in
        ["/api/v1/pods?", "fieldSelector=spec.nodeName%3Dworker-1", "sendInitialEvents=true", "resourceVersion=0"]
    {
        assert!(asked.contains(part), "{part}: {asked}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_ends_is_taken_up_where_it_was() {
    let server = Server::new([stream(&[listed(7), event("ADDED", "a", 8)]), stream(&[event("MODIFIED", "a", 9)])]);
    let mut watch = watch(&server);
    assert_eq!(news(&mut watch, 3).await, ["listed ", "applied a", "applied a"]);
    let asked = server.asked();
    assert!(asked[1].uri.contains("resourceVersion=8") && !asked[1].uri.contains("sendInitialEvents"), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_place_in_history_that_is_gone_means_a_new_list() {
    let server = Server::new([stream(&[listed(7), gone()]), stream(&[event("ADDED", "a", 90), listed(91)])]);
    let mut watch = watch(&server);
    assert_eq!(news(&mut watch, 2).await, ["listed ", "listed a"]);
    assert!(server.asked()[1].at < Duration::from_secs(1), "at once, more or less");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_cannot_list_by_a_watch_lists_the_ordinary_way() {
    let server = Server::new([refusal(422, "Invalid"), list(&["a", "b"], 5), stream(&[event("DELETED", "b", 6)])]);
    let mut watch = watch(&server);
    assert_eq!(news(&mut watch, 2).await, ["listed a b", "deleted b"]);
    let asked = server.asked();
    assert!(asked[1].uri.contains("resourceVersion=0") && !asked[1].uri.contains("limit"), "{asked:?}");
    assert!(asked[2].uri.contains("resourceVersion=5"), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_ends_its_list_lists_the_ordinary_way() {
    let server = Server::new([Response::new(Said::start(lines(&[event("ADDED", "a", 1)]))), list(&["a"], 5)]);
    let mut watch = watch(&server);
    assert_eq!(news(&mut watch, 1).await, ["listed a"]);
    assert_eq!(server.asked()[1].at.as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_cut_off_again_and_again_is_not_asked_for_without_pause() {
    let cut = || stream(&[event("ADDED", "a", 1)]);
    let server = Server::new((0..1000).map(|_| cut()));
    let mut watch = watch(&server);
    let asked = tokio::time::timeout(Duration::from_secs(25), watch.next()).await;
    assert!(asked.is_err());
    assert!((3..=10).contains(&server.asked().len()), "{}", server.asked().len());
}

#[tokio::test(start_paused = true)]
async fn a_long_outage_is_told_once_and_ends_with_a_list() {
    let down = (0..40).map(|_| refusal(503, "ServiceUnavailable"));
    let answers = std::iter::once(stream(&[event("ADDED", "a", 1), listed(2)]))
        .chain(down)
        .chain([stream(&[listed(9)]), stream(&[event("ADDED", "b", 10)])]);
    let server = Server::new(answers);
    let mut watch = watch(&server);
    assert_eq!(news(&mut watch, 2).await, ["listed a", "out of touch"]);
    assert_eq!(news(&mut watch, 2).await, ["listed ", "applied b"]);
    let times: Vec<_> = server.asked().iter().map(|asked| asked.at).collect();
    let waits: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(times[40] > Duration::from_secs(600), "40 tries take more than 10 minutes: {:?}", times[40]);
    assert!(waits.iter().all(|wait| *wait <= LAST_WAIT), "{waits:?}");
    assert!(server.asked()[41].uri.contains("sendInitialEvents=true"), "what was missed is in a whole list");
}

#[tokio::test(start_paused = true)]
async fn one_failure_is_no_outage() {
    let answers = [stream(&[listed(2)]), refusal(500, "InternalError"), stream(&[event("ADDED", "a", 3)])];
    let server = Server::new(answers);
    let mut watch = watch(&server);
    assert_eq!(news(&mut watch, 2).await, ["listed ", "applied a"]);
    assert!(server.asked()[2].uri.contains("resourceVersion=2"), "and means no new list");
}

#[tokio::test(start_paused = true)]
async fn connections_that_break_every_half_minute_are_no_outage_as_long_as_new_ones_come() {
    let broken = (0..20).map(|n| {
        let events = if n == 0 { lines(&[listed(2)]) } else { String::new() };
        Response::new(Said::breaks(events, Duration::from_secs(30 * (n + 1))))
    });
    let server = Server::new(broken.chain([stream(&[event("ADDED", "a", 3)])]));
    let mut watch = watch(&server);
    assert_eq!(news(&mut watch, 2).await, ["listed ", "applied a"]);
    let asked = server.asked();
    assert_eq!(asked.len(), 21);
    assert!(asked[20].at > Duration::from_secs(590), "{:?}", asked[20].at);
}

#[tokio::test(start_paused = true)]
async fn a_busy_server_is_left_alone_for_as_long_as_it_asks() {
    let server = Server::new([busy(7), stream(&[listed(2)])]);
    let mut watch = watch(&server);
    assert_eq!(news(&mut watch, 1).await, ["listed "]);
    assert_eq!(server.asked()[1].at.as_secs(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_told_at_once_and_asked_again() {
    let server = Server::new([refusal(403, "Forbidden"), refusal(403, "Forbidden"), stream(&[listed(2)])]);
    let mut watch = watch(&server);
    assert_eq!(news(&mut watch, 2).await, ["out of touch", "listed "]);
}

#[tokio::test(start_paused = true)]
async fn asking_can_be_broken_off_at_any_time_and_nothing_is_lost() {
    let server = Server::new([refusal(503, ""), refusal(503, ""), stream(&[event("ADDED", "a", 1), listed(2)])]);
    let mut watch = watch(&server);
    let mut got = None;
    while got.is_none() {
        got = tokio::time::timeout(Duration::from_millis(3), watch.next()).await.ok();
    }
    assert!(matches!(got, Some(PodChange::Relisted(pods)) if pods.len() == 1));
    assert_eq!(server.asked().len(), 3, "no request twice");
}

#[test]
fn nodes_do_not_come_back_together() {
    let waits: Vec<_> = (0..100).map(|n| wait(3, &format!("worker-{n}"))).collect();
    assert!(waits.iter().all(|w| (Duration::from_secs(1)..=Duration::from_secs(2)).contains(w)), "{waits:?}");
    assert!(waits.iter().collect::<std::collections::HashSet<_>>().len() > 30);
    assert!(wait(u32::MAX, NODE) <= LAST_WAIT);
}
