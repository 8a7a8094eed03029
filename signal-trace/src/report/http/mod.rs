//! The agent's HTTP endpoints: metrics for scrapers, probes for the kubelet, and a look inside for people.
//!
//! HTTP/1 on the runtime of whoever calls. It is on every node and anybody in the cluster can reach it, so every
//! connection, byte and wait has a bound, and what the bound refuses is counted. It knows pages and who may read them;
//! what is on them comes from [`metrics`](super::metrics), and from the event loop as finished text.

mod access;
mod connection;
mod patient;
mod readiness;
mod recent;
mod routes;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};

pub use self::access::{Access, Token, TokenError};
use self::connection::Connection;
pub use self::readiness::Readiness;
pub use self::recent::Recent;
use self::routes::{Site, router};
pub use self::tls::{Tls, TlsError};
use super::metrics::Metrics;
use crate::event::KernelTime;

/// How long to wait after the system had no descriptor or memory for a connection.
const EXHAUSTED: Duration = Duration::from_secs(1);

/// `/debug/containers` was asked for: the event loop answers with a JSON document.
pub type Question = oneshot::Sender<String>;

/// What the pages are made of.
#[derive(Clone, Debug)]
pub struct Sources {
    /// `/metrics`.
    pub metrics: Metrics,
    /// `/readyz`.
    pub readiness: Readiness,
    /// `/shutdowns`.
    pub recent: Recent,
    /// `/debug/containers`: whoever owns the state gets the questions. When the queue is full, the page says so.
    pub questions: mpsc::Sender<Question>,
    /// The time since boot.
    pub clock: fn() -> KernelTime,
}

/// The bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once; what is above is closed, and counted.
    pub connections: usize,
    /// Pages of metrics or of records in memory at once; who comes above that waits.
    pub pages: usize,
    /// Bytes of a request's head; at least 8 KiB.
    pub header_bytes: usize,
    /// Until a request's head is complete.
    pub header: Duration,
    /// Without progress while a response is written.
    pub stall: Duration,
    /// For the peer to shut its end.
    pub farewell: Duration,
    /// For all of that together.
    pub total: Duration,
    /// For what is under way when the server stops.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            pages: 4,
            header_bytes: 16 * 1024,
            header: Duration::from_secs(5),
            stall: Duration::from_secs(5),
            farewell: Duration::from_secs(1),
            total: Duration::from_secs(30),
            drain: Duration::from_secs(2),
        }
    }
}

/// The address cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: choose another address with --listen, or end who has it")]
pub struct ListenError {
    address: SocketAddr,
    source: io::Error,
}

/// A server that has its address and serves nobody yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    metrics: Metrics,
    router: Router,
    limits: Limits,
    tls: Option<Tls>,
}

impl Server {
    /// Takes the address; port 0 is any that is free.
    pub async fn bind(
        address: SocketAddr,
        access: Access,
        sources: Sources,
        limits: Limits,
    ) -> Result<Self, ListenError> {
        let fail = |source| ListenError { address, source };
        let listener = TcpListener::bind(address).await.map_err(fail)?;
        let address = listener.local_addr().map_err(fail)?;
        let Sources { metrics, readiness, recent, questions, clock } = sources;
        let pages = Arc::new(Semaphore::new(limits.pages));
        let site = Site { metrics: metrics.clone(), readiness, recent, questions, access, clock, pages };
        Ok(Self { listener, address, metrics, router: router(Arc::new(site)), limits, tls: None })
    }

    /// The same, over TLS alone.
    #[must_use]
    pub fn over(self, tls: Tls) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// The address that it has.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until told to stop, and then for a bounded while those who are being served.
    pub async fn serve(self, stop: impl Future<Output = ()>) {
        let Self { listener, metrics, router, limits, mut tls, .. } = self;
        let (stopping, stopped) = watch::channel(());
        let mut connections = JoinSet::new();
        let mut stop = std::pin::pin!(stop);
        loop {
            tokio::select! {
                // The ended are taken off first, so that they do not count against the limit.
                biased;
                () = stop.as_mut() => break,
                Some(ended) = connections.join_next() => conclude(ended),
                (stream, peer) = accept(&listener) => {
                    if connections.len() < limits.connections {
                        let peer = peer.ip().to_canonical();
                        let (router, metrics) = (router.clone(), metrics.clone());
                        let acceptor = tls.as_mut().map(Tls::acceptor);
                        let connection = Connection { peer, router, metrics, limits, stopping: stopped.clone() };
                        connections.spawn(connection.serve(stream, acceptor));
                    } else {
                        metrics.connection_refused();
                    }
                }
            }
        }
        drop((listener, stopping));
        let drained = async {
            while let Some(ended) = connections.join_next().await {
                conclude(ended);
            }
        };
        // What is left after that is cut off, as the set is dropped.
        if timeout(limits.drain, drained).await.is_err() {
            tracing::debug!("connections were cut off");
        }
    }
}

fn conclude(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection ended early");
    }
}

/// The next connection. May be dropped and called again.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            // That connection is gone before it began; the next may be fine.
            Err(error) if is_of_one_connection(error.kind()) => {}
            Err(error) => {
                tracing::warn!(%error, "no more connections for now");
                sleep(EXHAUSTED).await;
            }
        }
    }
}

fn is_of_one_connection(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(kind, ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
