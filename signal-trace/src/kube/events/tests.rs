use std::sync::Mutex;

use http::{Method, Response};
use serde_json::json;
use tokio::task::JoinHandle;

use super::*;
use crate::kube::events::notice::tests::notice;
use crate::kube::testing::server::{Asked, Said, Server, answer, busy, refusal};

/// A running writer.
struct Run {
    writer: EventWriter,
    worker: JoinHandle<()>,
    counted: Arc<Mutex<Vec<KubeEvent>>>,
    server: Server,
}

impl Run {
    fn new(answers: impl IntoIterator<Item = Response<Said>>) -> Self {
        let server = Server::new(answers);
        let counted = Arc::new(Mutex::new(Vec::new()));
        let counter = Arc::clone(&counted);
        let count = Arc::new(move |result| counter.lock().unwrap().push(result));
        let (writer, worker) = writer(server.client().0, "worker-1", count);
        Self { writer, worker: tokio::spawn(worker.run()), counted, server }
    }

    /// Ends the writer and gives what was counted, and what the server was asked.
    async fn end(self) -> (Vec<KubeEvent>, Vec<Asked>) {
        drop(self.writer);
        self.worker.await.unwrap();
        (self.counted.lock().unwrap().clone(), self.server.asked())
    }
}

fn done() -> Response<Said> {
    answer(201, &json!({}))
}

/// What one event comes to with these answers.
async fn one(answers: impl IntoIterator<Item = Response<Said>>) -> (KubeEvent, usize) {
    let run = Run::new(answers);
    run.writer.offer(notice("app", "NoSignalHandler"));
    let (counted, asked) = run.end().await;
    assert_eq!(counted.len(), 1, "exactly one result: {counted:?}");
    (counted[0], asked.len())
}

#[tokio::test(start_paused = true)]
async fn each_answer_is_one_result() {
    assert_eq!(one([done()]).await, (KubeEvent::Written, 1));
    assert_eq!(one([refusal(404, "NotFound")]).await, (KubeEvent::DroppedNamespaceGone, 1));
    assert_eq!(one([refusal(422, "Invalid")]).await, (KubeEvent::Rejected, 1));
    assert_eq!(one([refusal(403, "Forbidden")]).await, (KubeEvent::Failed, 1));
    assert_eq!(one([refusal(409, "AlreadyExists"), done()]).await, (KubeEvent::Written, 2));
    assert_eq!(one([refusal(503, ""), busy(3), done()]).await, (KubeEvent::Written, 3));
    let down = (0..9).map(|_| refusal(500, "InternalError"));
    assert_eq!(one(down).await, (KubeEvent::Failed, 4));
    let taken = (0..9).map(|_| refusal(409, "AlreadyExists"));
    assert_eq!(one(taken).await, (KubeEvent::Failed, 5));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_answers_is_given_up() {
    assert_eq!(one([]).await, (KubeEvent::Failed, 4));
}

#[tokio::test(start_paused = true)]
async fn the_server_says_when_to_try_again() {
    let run = Run::new([busy(17), done()]);
    run.writer.offer(notice("app", "NoSignalHandler"));
    let (_, asked) = run.end().await;
    assert_eq!(asked[1].at.as_secs(), 17);
    assert_eq!(asked[0].body, asked[1].body, "the same event under the same name");
}

#[tokio::test(start_paused = true)]
async fn a_taken_name_is_not_tried_again() {
    let run = Run::new([refusal(409, "AlreadyExists"), done()]);
    run.writer.offer(notice("app", "NoSignalHandler"));
    let (_, asked) = run.end().await;
    assert_ne!(asked[0].body["metadata"]["name"], asked[1].body["metadata"]["name"]);
}

#[tokio::test(start_paused = true)]
async fn repeats_are_counted_in_the_event_that_is_there() {
    let run = Run::new([done(), answer(200, &json!({})), answer(200, &json!({}))]);
    for _ in 0..5 {
        run.writer.offer(notice("app", "NoSignalHandler"));
    }
    tokio::time::sleep(Duration::from_secs(31)).await;
    run.writer.offer(notice("app", "NoSignalHandler"));
    let (counted, asked) = run.end().await;
    assert_eq!(counted, [KubeEvent::Written, KubeEvent::Updated, KubeEvent::Updated]);
    let name = asked[0].body["metadata"]["name"].as_str().unwrap();
    assert_eq!((&asked[1].method, asked[1].at.as_secs()), (&Method::PATCH, 30));
    assert!(asked[1].uri.contains(&format!("/apis/events.k8s.io/v1/namespaces/shop/events/{name}")), "{asked:?}");
    let series =
        |count: i32| json!({ "series": { "count": count, "lastObservedTime": "2026-11-22T21:32:10.000000Z" } });
    assert_eq!((&asked[1].body, &asked[2].body), (&series(5), &series(6)), "nothing but the series");
}

#[tokio::test(start_paused = true)]
async fn a_repeat_of_an_event_that_has_expired_is_written_anew() {
    let run = Run::new([done(), refusal(404, "NotFound"), done()]);
    for _ in 0..2 {
        run.writer.offer(notice("app", "NoSignalHandler"));
    }
    let (counted, asked) = run.end().await;
    assert_eq!(counted, [KubeEvent::Written, KubeEvent::Written]);
    assert_eq!(asked.iter().map(|a| &a.method).collect::<Vec<_>>(), [Method::POST, Method::PATCH, Method::POST]);
}

#[tokio::test(start_paused = true)]
async fn more_than_the_queue_holds_is_dropped_and_counted() {
    let run = Run::new([]);
    tokio::task::yield_now().await;
    for n in 0..QUEUE + 10 {
        run.writer.offer(notice(&format!("c{n}"), "NoSignalHandler"));
    }
    let dropped = run.counted.lock().unwrap().iter().filter(|r| **r == KubeEvent::DroppedQueue).count();
    assert_eq!(dropped, 10);
    run.worker.abort();
}

#[tokio::test(start_paused = true)]
async fn what_may_not_be_written_now_is_dropped_and_counted() {
    let run = Run::new((0..100).map(|_| done()));
    for n in 0..15 {
        run.writer.offer(notice(&format!("c{n}"), "NoSignalHandler"));
    }
    let (counted, asked) = run.end().await;
    assert_eq!(counted.iter().filter(|r| **r == KubeEvent::Written).count(), 10);
    assert_eq!(counted.iter().filter(|r| **r == KubeEvent::DroppedRate).count(), 5);
    assert_eq!(asked.len(), 10);
}
