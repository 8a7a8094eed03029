//! One connection: one request, one response, and then it is closed.
//!
//! Connections are not kept alive. A scraper comes every 15 seconds and a probe every 10, so there is nothing to save,
//! and much to gain: every wait has its bound, and the end of the connection tells whether the page arrived. That is
//! known when the whole page was written, the stream was shut, and the peer shut its end too, which it does when it has
//! read everything; had it left anything unread, its kernel would have answered with a reset.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::Limits;
use super::patient::Patient;
use crate::report::metrics::{Metrics, Ticket};

/// The least buffer that hyper takes.
const MIN_BUFFER: usize = 8192;

/// What a request's handler and its connection know of each other.
#[derive(Debug)]
pub(super) struct Visit {
    /// Who is there.
    pub(super) peer: IpAddr,
    kept: Mutex<Kept>,
}

/// What a connection holds until its end.
#[derive(Debug, Default)]
struct Kept {
    permit: Option<OwnedSemaphorePermit>,
    scrape: Option<Ticket>,
}

/// A page of metrics on its way.
#[derive(Debug)]
pub(super) struct Page {
    rest: Option<(Bytes, Ticket)>,
    visit: Arc<Visit>,
}

/// What one connection is served with.
pub(super) struct Connection {
    pub(super) peer: IpAddr,
    pub(super) router: Router,
    pub(super) metrics: Metrics,
    pub(super) limits: Limits,
    pub(super) stopping: watch::Receiver<()>,
}

impl Connection {
    /// Serves it, and says so if it was a scrape and its page arrived.
    pub(super) async fn serve(self, stream: TcpStream, tls: Option<TlsAcceptor>) {
        let visit = Arc::new(Visit { peer: self.peer, kept: Mutex::default() });
        let (metrics, limits) = (self.metrics.clone(), self.limits);
        let whole = async {
            let Some(tls) = tls else { return self.attend(stream, &visit).await };
            // Until there is a head to wait for, the handshake has its time.
            match timeout(limits.header, tls.accept(stream)).await {
                Ok(Ok(stream)) => self.attend(stream, &visit).await,
                Ok(Err(_)) | Err(_) => false,
            }
        };
        let arrived = timeout(limits.total, whole).await.unwrap_or(false);
        if let Some(ticket) = &visit.kept().scrape
            && arrived
        {
            metrics.scraped(ticket);
        }
    }

    /// Whether a request came, and its response went out whole and was read.
    async fn attend(self, stream: impl AsyncRead + AsyncWrite + Unpin, visit: &Arc<Visit>) -> bool {
        let limits = self.limits;
        let mut stream = Patient::new(stream, limits.stall);
        let written = self.converse(&mut stream, visit).await;
        let closed = close(stream.into_inner(), limits).await;
        written && closed
    }

    /// Whether a request came, and its response went out whole.
    async fn converse<S>(mut self, stream: &mut Patient<S>, visit: &Arc<Visit>) -> bool
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let router = TowerToHyperService::new(self.router);
        let service = service_fn(|mut request: hyper::Request<_>| {
            request.extensions_mut().insert(Arc::clone(visit));
            router.call(request)
        });
        let mut connection = pin!(
            http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(self.limits.header)
                .max_buf_size(self.limits.header_bytes.max(MIN_BUFFER))
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service)
        );
        let outcome = tokio::select! {
            outcome = connection.as_mut() => outcome,
            _ = self.stopping.changed() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = &outcome {
            tracing::debug!(peer = %visit.peer, %error, "connection failed");
        }
        outcome.is_ok()
    }
}

/// Shuts our end and waits a moment for the peer to shut its own. Closing at once would reset the connection if the
/// peer had sent something that was not read, and take the response with it. False is for a peer that complains; one
/// that stays silent has had everything that could be given.
async fn close(mut stream: impl AsyncRead + AsyncWrite + Unpin, limits: Limits) -> bool {
    let farewell = async {
        let shut = stream.shutdown().await;
        let mut scrap = [0; 1024];
        let ended = loop {
            match stream.read(&mut scrap).await {
                Ok(0) => break true,
                Ok(_) => {}
                // Many end TLS by ending the connection.
                Err(error) => break error.kind() == std::io::ErrorKind::UnexpectedEof,
            }
        };
        shut.is_ok() && ended
    };
    timeout(limits.farewell, farewell).await.unwrap_or(true)
}

impl Visit {
    /// Keeps a permit until the connection ends. That is what bounds the pages in memory.
    pub(super) fn keep(&self, permit: OwnedSemaphorePermit) {
        self.kept().permit = Some(permit);
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Page {
    /// A page, and the scrape that it is for.
    pub(super) fn new(bytes: Vec<u8>, scrape: Ticket, visit: Arc<Visit>) -> Self {
        Self { rest: Some((Bytes::from(bytes), scrape)), visit }
    }
}

impl Body for Page {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some((bytes, scrape)) = self.rest.take() else { return Poll::Ready(None) };
        self.visit.kept().scrape = Some(scrape);
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let bytes = self.rest.as_ref().map_or(0, |(bytes, _)| bytes.len());
        SizeHint::with_exact(u64::try_from(bytes).unwrap_or(u64::MAX))
    }
}
