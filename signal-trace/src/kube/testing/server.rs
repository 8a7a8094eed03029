//! An API server for tests: it gives the answers it was told to give, and remembers what it was asked.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use ::kube::Client;
use ::kube::client::{Body, ClientBuilder};
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::Frame;
use serde_json::{Value, json};
use tokio::time::{Instant, Sleep, sleep};
use tower::Service;

use crate::kube::client::RetryAfter;

/// An API server that gives its answers in order, and after the last one is silent.
#[derive(Clone)]
pub(in crate::kube) struct Server(Arc<Mutex<Script>>);

struct Script {
    answers: VecDeque<Response<Said>>,
    asked: Vec<Asked>,
    started: Instant,
}

/// A request that came.
#[derive(Clone, Debug)]
pub(in crate::kube) struct Asked {
    /// After how much of the test's time.
    pub(in crate::kube) at: Duration,
    /// `GET`, `POST`, `PATCH`.
    pub(in crate::kube) method: Method,
    /// Path and query.
    pub(in crate::kube) uri: String,
    /// What was sent.
    pub(in crate::kube) body: Value,
}

impl Server {
    /// With these answers.
    pub(in crate::kube) fn new(answers: impl IntoIterator<Item = Response<Said>>) -> Self {
        let answers = answers.into_iter().collect();
        Self(Arc::new(Mutex::new(Script { answers, asked: Vec::new(), started: Instant::now() })))
    }

    /// A client of it, and what it is told about trying again.
    pub(in crate::kube) fn client(&self) -> (Client, RetryAfter) {
        let retry_after = RetryAfter::default();
        let client = ClientBuilder::new(self.clone(), "default").with_layer(&retry_after).build();
        (client, retry_after)
    }

    /// What it was asked.
    pub(in crate::kube) fn asked(&self) -> Vec<Asked> {
        self.0.lock().unwrap().asked.clone()
    }
}

impl Service<Request<Body>> for Server {
    type Response = Response<Said>;
    type Error = std::convert::Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Said>, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let script = Arc::clone(&self.0);
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect_bytes().await.unwrap_or_default();
            let answer = {
                let mut script = script.lock().unwrap();
                let (at, uri) = (script.started.elapsed(), parts.uri.to_string());
                let body = serde_json::from_slice(&body).unwrap_or_default();
                script.asked.push(Asked { at, method: parts.method, uri, body });
                script.answers.pop_front()
            };
            match answer {
                Some(answer) => Ok(answer),
                None => std::future::pending().await,
            }
        })
    }
}

/// The body of an answer: its text, and how it goes on.
pub(in crate::kube) struct Said {
    text: Option<Bytes>,
    then: Then,
}

enum Then {
    End,
    Silence,
    Break(Pin<Box<Sleep>>),
}

impl Said {
    /// All of it.
    pub(in crate::kube) fn whole(text: String) -> Self {
        Self { text: Some(text.into()), then: Then::End }
    }

    /// Its start; the rest never comes.
    pub(in crate::kube) fn start(text: String) -> Self {
        Self { text: Some(text.into()), then: Then::Silence }
    }

    /// Its start; after this long the connection breaks.
    pub(in crate::kube) fn breaks(text: String, after: Duration) -> Self {
        Self { text: Some(text.into()), then: Then::Break(Box::pin(sleep(after))) }
    }
}

impl http_body::Body for Said {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let said = self.get_mut();
        if let Some(text) = said.text.take() {
            return Poll::Ready(Some(Ok(Frame::data(text))));
        }
        match &mut said.then {
            Then::End => Poll::Ready(None),
            Then::Silence => Poll::Pending,
            Then::Break(at) => {
                at.as_mut().poll(context).map(|()| Some(Err(std::io::ErrorKind::ConnectionReset.into())))
            }
        }
    }
}

/// An answer.
pub(in crate::kube) fn answer(status: u16, body: &Value) -> Response<Said> {
    Response::builder().status(status).body(Said::whole(body.to_string())).unwrap()
}

/// A refusal of the API server.
pub(in crate::kube) fn refusal(status: u16, reason: &str) -> Response<Said> {
    let body = json!({ "kind": "Status", "status": "Failure", "reason": reason, "message": reason, "code": status });
    answer(status, &body)
}

/// Too busy, with the time to come back after, and no body that means anything.
pub(in crate::kube) fn busy(retry_after: u64) -> Response<Said> {
    let body = Said::whole("Too many requests, please try again later.\n".into());
    Response::builder().status(429).header("Retry-After", retry_after).body(body).unwrap()
}
