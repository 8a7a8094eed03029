//! Clients of the API server, set up so that nothing waits for ever and nothing is tried again behind our back.
//!
//! `kube`'s own retries are off: they sleep for minutes unseen, and repeat writes. Whoever asks decides about trying
//! again; what the server says about when is kept for it in [`RetryAfter`].

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use ::kube::client::{Body, ClientBuilder};
use ::kube::config::{KubeConfigOptions, Kubeconfig};
use ::kube::{Client, Config};
use http::{HeaderMap, Request, Response, header};
use tower::{Layer, Service};

/// A connection that says nothing for this long is dead: a watch hears a bookmark about once a minute.
const WATCH_SILENCE: Duration = Duration::from_secs(100);
/// One request's answer must not take longer than this.
const REQUEST_SILENCE: Duration = Duration::from_secs(10);
/// Whatever a server says, it is asked again after this.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(120);

/// The clients of one agent.
#[derive(Clone)]
pub struct Clients {
    /// For [`super::watch`]: patient with silence.
    pub watch: Client,
    /// For everything else.
    pub requests: Client,
    /// What the server told the watch about trying again.
    pub watch_retry_after: RetryAfter,
    /// Files that are read again as credentials are renewed.
    pub reads: Vec<PathBuf>,
    /// Whether credentials come from a program, which is run again when they expire.
    pub runs_programs: bool,
}

/// Why there are no clients. What `kube` says of its errors holds their sources already: they are texts here.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig cannot be used.
    #[error("cannot use kubeconfig {path}: {problem}")]
    Kubeconfig {
        /// Which file.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// Neither kubeconfig nor service account.
    #[error("no way to the API server: give --kubeconfig, or run in a pod with a service account token ({0})")]
    Nothing(String),
    /// TLS or the address is unusable.
    #[error("cannot set up a client of the API server: {0}")]
    Client(String),
}

impl From<::kube::Error> for ConnectError {
    fn from(error: ::kube::Error) -> Self {
        Self::Client(error.to_string())
    }
}

impl Clients {
    /// From a kubeconfig, or from where `kubectl` and pods look for theirs. Does not talk to the server yet.
    pub async fn connect(kubeconfig: Option<&Path>) -> Result<Self, ConnectError> {
        Self::connect_to(kubeconfig, None).await
    }

    /// The same, with another context than the current one.
    pub async fn connect_to(kubeconfig: Option<&Path>, context: Option<&str>) -> Result<Self, ConnectError> {
        Self::new(config(kubeconfig, context).await?)
    }

    /// From settings that were read elsewhere; waits and retries are set here.
    pub fn new(mut config: Config) -> Result<Self, ConnectError> {
        let who = &config.auth_info;
        let runs_programs = who.exec.is_some() || who.auth_provider.is_some();
        // The folder, because a renewed file is a new one.
        let token = who.token_file.as_deref().and_then(|file| Path::new(file).parent());
        let reads = token.map(Path::to_owned).into_iter().collect();
        config.default_retry = false;
        config.reset_reader_on_write = true;
        let watch_retry_after = RetryAfter::default();
        config.read_timeout = Some(WATCH_SILENCE);
        let watch = ClientBuilder::try_from(config.clone())?.with_layer(&watch_retry_after).build();
        config.read_timeout = Some(REQUEST_SILENCE);
        let requests = Client::try_from(config)?;
        Ok(Self { watch, requests, watch_retry_after, reads, runs_programs })
    }
}

async fn config(kubeconfig: Option<&Path>, context: Option<&str>) -> Result<Config, ConnectError> {
    let file = match (kubeconfig, context) {
        (Some(path), _) => Kubeconfig::read_from(path),
        // A context is of a kubeconfig: there is none in a pod.
        (None, Some(_)) => Kubeconfig::read(),
        (None, None) => return Config::infer().await.map_err(|error| ConnectError::Nothing(error.to_string())),
    };
    let wrong = |error: ::kube::config::KubeconfigError| ConnectError::Kubeconfig {
        path: kubeconfig.map_or_else(|| "of kubectl".to_owned(), |path| path.display().to_string()),
        problem: error.to_string(),
    };
    let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    Config::from_custom_kubeconfig(file.map_err(wrong)?, &options).await.map_err(wrong)
}

/// How long the server asked to be left alone, in its last answer that did.
///
/// The header is lost in `kube`'s errors, so a layer of the client writes it down.
#[derive(Clone, Debug, Default)]
pub struct RetryAfter(Arc<AtomicU64>);

impl RetryAfter {
    /// What it said since this was asked last.
    pub fn take(&self) -> Option<Duration> {
        Some(Duration::from_secs(self.0.swap(0, Ordering::Relaxed))).filter(|wait| !wait.is_zero())
    }

    fn note(&self, headers: &HeaderMap) {
        if let Some(wait) = retry_after(headers) {
            self.0.store(wait.as_secs(), Ordering::Relaxed);
        }
    }
}

/// `Retry-After` in seconds, as API servers write it.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_RETRY_AFTER))
}

impl<S> Layer<S> for RetryAfter {
    type Service = Noted<S>;

    fn layer(&self, inner: S) -> Noted<S> {
        Noted { inner, retry_after: self.clone() }
    }
}

/// A service whose answers are looked through for `Retry-After`.
#[derive(Clone, Debug)]
pub struct Noted<S> {
    inner: S,
    retry_after: RetryAfter,
}

impl<S, B> Service<Request<Body>> for Noted<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let answer = self.inner.call(request);
        let retry_after = self.retry_after.clone();
        Box::pin(async move {
            let response = answer.await?;
            retry_after.note(response.headers());
            Ok(response)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_about_trying_again_is_bounded_and_taken_once() {
        let noted = RetryAfter::default();
        let said = |text: &str| HeaderMap::from_iter([(header::RETRY_AFTER, text.parse().unwrap())]);
        assert_eq!(noted.take(), None);
        noted.note(&said("7"));
        noted.note(&HeaderMap::new());
        assert_eq!(noted.take(), Some(Duration::from_secs(7)));
        assert_eq!(noted.take(), None);
        noted.note(&said("86400"));
        assert_eq!(noted.take(), Some(LONGEST_RETRY_AFTER));
        noted.note(&said("Wed, 21 Oct 2026 07:28:00 GMT"));
        assert_eq!(noted.take(), None);
    }
}
