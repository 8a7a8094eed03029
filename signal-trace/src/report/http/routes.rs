//! The pages, and what each of them answers. Only GET and HEAD; whatever else is asked is refused by the router.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::access::{Access, Denied};
use super::connection::{Page, Visit};
use super::{Question, Readiness, Recent};
use crate::event::KernelTime;
use crate::report::metrics::format::Format;
use crate::report::metrics::{Metrics, Refused};

/// How long the event loop may take to answer.
const ANSWER: Duration = Duration::from_secs(2);
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

const INDEX: &str = "\
signal-trace: why containers do not shut down gracefully

/metrics           numbers for Prometheus: OpenMetrics, Prometheus text or protobuf, by Accept
/healthz           alive
/readyz            ready, or what is lacking
/shutdowns         the last records, one JSON object a line; from this host, or with the bearer token
/debug/containers  what is tracked, as JSON; from this host, or with the bearer token
";

/// What the pages are made of.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) metrics: Metrics,
    pub(super) readiness: Readiness,
    pub(super) recent: Recent,
    pub(super) questions: mpsc::Sender<Question>,
    pub(super) access: Access,
    pub(super) clock: fn() -> KernelTime,
    /// Large pages that may be in memory at once.
    pub(super) pages: Arc<Semaphore>,
}

pub(super) fn router(site: Arc<Site>) -> Router {
    let restricted = Router::new()
        .route("/shutdowns", get(shutdowns))
        .route("/debug/containers", get(containers))
        .route_layer(from_fn_with_state(Arc::clone(&site), only_permitted));
    Router::new()
        .route("/", get(|| async { answer(StatusCode::OK, TEXT, INDEX) }))
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { answer(StatusCode::OK, TEXT, "ok\n") }))
        .route("/readyz", get(readyz))
        .merge(restricted)
        .fallback(|| async { answer(StatusCode::NOT_FOUND, TEXT, "no such page; / lists those that are\n") })
        .with_state(site)
}

async fn metrics(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Arc<Visit>>,
    headers: HeaderMap,
) -> Response {
    if let Err(denied) = site.access.check_numbers(visit.peer, authorization(&headers)) {
        return refuse(denied);
    }
    wait_for_place(&site, &visit).await;
    let accept: Vec<&str> = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let format = Format::negotiate(&accept.join(","));
    let scrape = site.metrics.scrape(visit.peer, (site.clock)());
    // A page can be megabytes: it is written elsewhere, while events go on being read here.
    let error = match tokio::task::spawn_blocking(move || scrape.render(format)).await {
        Ok(Ok((page, ticket))) => {
            let page = Page::new(page, ticket, visit);
            return ([(header::CONTENT_TYPE, format.content_type())], Body::new(page)).into_response();
        }
        Ok(Err(error)) => error.to_string(),
        Err(error) => format!("writing the metrics ended early: {error}"),
    };
    tracing::error!(error, "no metrics");
    answer(StatusCode::INTERNAL_SERVER_ERROR, TEXT, error + "\n")
}

async fn readyz(State(site): State<Arc<Site>>) -> Response {
    let reasons = site.readiness.reasons();
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::json!({ "ready": reasons.is_empty(), "reasons": reasons });
    answer(status, JSON, format!("{body}\n"))
}

/// Answers only this host, or whoever has the bearer token.
async fn only_permitted(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Arc<Visit>>,
    request: Request,
    page: Next,
) -> Response {
    match site.access.check(visit.peer, authorization(request.headers())) {
        Ok(()) => page.run(request).await,
        Err(denied) => refuse(denied),
    }
}

async fn shutdowns(State(site): State<Arc<Site>>, Extension(visit): Extension<Arc<Visit>>) -> Response {
    wait_for_place(&site, &visit).await;
    answer(StatusCode::OK, "application/x-ndjson", site.recent.text())
}

async fn containers(State(site): State<Arc<Site>>) -> Response {
    let (question, reply) = oneshot::channel();
    // A question that finds no room is dropped, and that is an answer too.
    if site.questions.try_send(question).is_err() {
        site.metrics.refused(Refused::PageQuestions, 1);
    }
    match timeout(ANSWER, reply).await {
        Ok(Ok(document)) => answer(StatusCode::OK, JSON, document),
        Ok(Err(_)) | Err(_) => {
            answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, "the event loop has no time for this now\n")
        }
    }
}

/// A page of megabytes is not made before there is a place for it.
async fn wait_for_place(site: &Site, visit: &Visit) {
    // It is an error only once the semaphore is closed, which it never is.
    if let Ok(permit) = Arc::clone(&site.pages).acquire_owned().await {
        visit.keep(permit);
    }
}

fn authorization(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok())
}

fn refuse(denied: Denied) -> Response {
    match denied {
        Denied::NotLoopback => {
            let why =
                "by the loopback alone (kubectl port-forward will do): from elsewhere, configure a bearer token\n";
            answer(StatusCode::FORBIDDEN, TEXT, why)
        }
        Denied::WrongToken => {
            let mut response = answer(StatusCode::UNAUTHORIZED, TEXT, "send the configured bearer token\n");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
            response
        }
    }
}

fn answer(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response {
    (status, [(header::CONTENT_TYPE, content_type)], body.into()).into_response()
}
