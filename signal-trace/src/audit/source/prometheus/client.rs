//! Asks one server, over HTTP/1.1 and TLS: with credentials, a time limit, and patience where the server asks for it.
//!
//! A redirect is never followed: it would carry the credentials elsewhere. What comes back is bounded in size and in time.

use std::error::Error as _;
use std::io::Read as _;
use std::time::Duration;

use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::{HeaderMap, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client as Http, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use jiff::Timestamp;

use super::error::AskError;
use super::queries::{Query, Range, When};

/// The longest answer: a hundred thousand workloads fit.
const LIMIT_MIB: usize = 512;
/// Times that a question is asked when the server is busy.
const TRIES: u32 = 4;
/// The longest that a server may make us wait before it is asked again.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// One server.
#[derive(Debug)]
pub(super) struct Client {
    http: Http<HttpsConnector<HttpConnector>, Full<Bytes>>,
    base: String,
    headers: HeaderMap,
    timeout: Duration,
}

impl Client {
    pub(super) fn new(base: String, headers: HeaderMap, tls: rustls::ClientConfig, timeout: Duration) -> Self {
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
        Self { http: Http::builder(TokioExecutor::new()).build(connector), base, headers, timeout }
    }

    /// The status and the whole text of an answer, after as many tries as it takes, or is worth.
    pub(super) async fn ask(&self, query: &Query) -> Result<(u16, Vec<u8>), AskError> {
        self.patiently(|| self.request(query)).await
    }

    /// Brings a document of JSON to the address itself, with the same patience; the status of the answer.
    pub(super) async fn push(&self, document: &Bytes) -> Result<u16, AskError> {
        let request = || {
            let request = Request::post(&self.base).header(CONTENT_TYPE, "application/json");
            self.with_headers(request.body(Full::new(document.clone())))
        };
        self.patiently(request).await.map(|(status, _)| status)
    }

    async fn patiently(
        &self,
        request: impl Fn() -> Result<Request<Full<Bytes>>, AskError>,
    ) -> Result<(u16, Vec<u8>), AskError> {
        for again in 1..TRIES {
            match self.once(request()?).await {
                Ok((Reply::Busy(_, wait), ..)) => tokio::time::sleep(wait.unwrap_or(backoff(again))).await,
                Err(AskError::Unreachable { .. }) => tokio::time::sleep(backoff(again)).await,
                Ok((Reply::Whole(status), body)) => return Ok((status, body)),
                Err(error) => return Err(error),
            }
        }
        match self.once(request()?).await? {
            (Reply::Whole(status), body) => Ok((status, body)),
            (Reply::Busy(status, _), _) => Err(AskError::Status { status }),
        }
    }

    async fn once(&self, request: Request<Full<Bytes>>) -> Result<(Reply, Vec<u8>), AskError> {
        let late = |_| AskError::TimedOut { seconds: self.timeout.as_secs() };
        tokio::time::timeout(self.timeout, self.exchange(request)).await.map_err(late)?
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<(Reply, Vec<u8>), AskError> {
        let response = self.http.request(request).await.map_err(|error| unreachable(&error))?;
        let status = response.status();
        if matches!(status.as_u16(), 429 | 502 | 503 | 504) {
            return Ok((Reply::Busy(status.as_u16(), retry_after(response.headers())), Vec::new()));
        }
        if status.is_redirection() {
            let to = response.headers().get(LOCATION).and_then(|to| to.to_str().ok()).map(host_of);
            return Err(AskError::Redirected { to });
        }
        Ok((Reply::Whole(status.as_u16()), body(response).await?))
    }

    fn request(&self, query: &Query) -> Result<Request<Full<Bytes>>, AskError> {
        // Thanos leaves out what it cannot reach unless it is told not to; other servers pass over what they do not know.
        let mut form =
            vec![("query", query.text.clone()), ("partial_response", "false".into()), ("dedup", "true".into())];
        form.push(("timeout", format!("{}s", self.timeout.as_secs().max(1))));
        let path = match query.when {
            When::At(time) => {
                form.push(("time", seconds(time)));
                "query"
            }
            When::Every { range: Range { from, to }, step } => {
                form.extend([("start", seconds(from)), ("end", seconds(to)), ("step", step.to_string())]);
                "query_range"
            }
        };
        let text = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = Request::post(format!("{}/api/v1/{path}", self.base))
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT_ENCODING, "gzip");
        self.with_headers(request.body(Full::new(Bytes::from(text))))
    }

    fn with_headers(&self, request: http::Result<Request<Full<Bytes>>>) -> Result<Request<Full<Bytes>>, AskError> {
        let mut request = request.map_err(|error| AskError::Unreachable { reason: error.to_string() })?;
        request.headers_mut().extend(self.headers.clone());
        Ok(request)
    }
}

enum Reply {
    Whole(u16),
    Busy(u16, Option<Duration>),
}

async fn body(response: Response<Incoming>) -> Result<Vec<u8>, AskError> {
    let is_gzip = response.headers().get(CONTENT_ENCODING).is_some_and(|encoding| encoding == "gzip");
    let limit = LIMIT_MIB << 20;
    let whole = Limited::new(response.into_body(), limit).collect().await.map_err(|error| {
        let is_long = error.downcast_ref::<http_body_util::LengthLimitError>().is_some();
        if is_long { AskError::TooLong { limit: LIMIT_MIB } } else { AskError::Truncated }
    })?;
    let bytes = whole.to_bytes();
    if !is_gzip {
        return Ok(bytes.into());
    }
    let mut plain = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX);
    let read = flate2::read::MultiGzDecoder::new(&*bytes).take(most + 1).read_to_end(&mut plain);
    read.map_err(|_| AskError::Truncated)?;
    if plain.len() > limit { Err(AskError::TooLong { limit: LIMIT_MIB }) } else { Ok(plain) }
}

/// In the server's own words, down to the reason.
fn unreachable(error: &hyper_util::client::legacy::Error) -> AskError {
    let mut reasons = Vec::new();
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(tls) = tls_in(error) {
            return tls_error(tls);
        }
        reasons.push(error.to_string());
        source = error.source();
    }
    AskError::Unreachable { reason: reasons.pop().unwrap_or_else(|| error.to_string()) }
}

/// What TLS complains of, however often it was wrapped: an error of I/O does not count what it holds among its sources.
fn tls_in<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e rustls::Error> {
    error.downcast_ref().or_else(|| tls_in(error.downcast_ref::<std::io::Error>()?.get_ref()?))
}

/// Which of the two certificates it is about: an alert is the server's opinion of ours.
fn tls_error(error: &rustls::Error) -> AskError {
    let reason = error.to_string();
    if matches!(error, rustls::Error::AlertReceived(_)) {
        AskError::ClientCertificate { reason }
    } else {
        AskError::Certificate { reason }
    }
}

/// Seconds, or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?;
    let seconds = value.parse::<u64>().ok().map(Duration::from_secs);
    let until = || {
        let date = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
        Some(Duration::try_from(date.duration_since(Timestamp::now())).unwrap_or_default())
    };
    seconds.or_else(until).map(|wait| wait.min(LONGEST_WAIT))
}

fn backoff(again: u32) -> Duration {
    Duration::from_millis(250) * 2_u32.saturating_pow(again)
}

/// Where a redirect goes, without what may be secret in it.
fn host_of(location: &str) -> String {
    let uri: Option<Uri> = location.parse().ok();
    uri.and_then(|uri| uri.host().map(str::to_owned)).unwrap_or_else(|| "another path".to_owned())
}

fn seconds(time: Timestamp) -> String {
    format!("{}.{:03}", time.as_second(), time.subsec_millisecond())
}
