//! A server on a port of its own, and a client that speaks as little HTTP as can be.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use signal_trace::event::KernelTime;
use signal_trace::report::http::{Access, Limits, Question, Readiness, Recent, Server, Sources, Tls};
use signal_trace::report::metrics::{Metrics, Settings};
use tokio::sync::{mpsc, oneshot};

/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server that runs until it is dropped.
pub(crate) struct Site {
    pub(crate) address: SocketAddr,
    pub(crate) metrics: Metrics,
    pub(crate) readiness: Readiness,
    pub(crate) recent: Recent,
    pub(crate) questions: mpsc::Receiver<Question>,
    sources: Sources,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Site {
    /// On this address, with port 0 for any.
    pub(crate) fn start(listen: &str, access: Access, limits: Limits) -> Self {
        Self::start_over(listen, access, limits, None)
    }

    /// The same over TLS.
    pub(crate) fn start_over(listen: &str, access: Access, limits: Limits, tls: Option<Tls>) -> Self {
        let metrics = super::metrics(Settings::default());
        let readiness = Readiness::lacking(["kernel programs are not attached"]);
        let recent = Recent::default();
        let (ask, questions) = mpsc::channel(1);
        let sources = Sources {
            metrics: metrics.clone(),
            readiness: readiness.clone(),
            recent: recent.clone(),
            questions: ask,
            clock,
        };
        let listen = listen.parse().unwrap();
        let for_server = sources.clone();
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let server = Server::bind(listen, access, for_server, limits).await.unwrap();
                let server = match tls {
                    Some(tls) => server.over(tls),
                    None => server,
                };
                tell.send(server.address()).unwrap();
                server.serve(async { drop(stopped.await) }).await;
            });
        });
        let address = told.recv().unwrap();
        Self { address, metrics, readiness, recent, questions, sources, stop: Some(stop), thread: Some(thread) }
    }

    /// What it serves.
    pub(crate) fn sources(&self) -> Sources {
        self.sources.clone()
    }

    /// The same server by another of the machine's addresses.
    pub(crate) fn by(&self, address: IpAddr) -> SocketAddr {
        SocketAddr::new(address, self.address.port())
    }

    /// Stops it and waits until it has.
    pub(crate) fn stop(&mut self) {
        if let (Some(stop), Some(thread)) = (self.stop.take(), self.thread.take()) {
            drop(stop);
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking());
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The clock of the kernel's records.
pub(crate) fn clock() -> KernelTime {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap());
    KernelTime::default().after(seconds)
}

/// A connection that does not wait for ever.
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// What comes back for these bytes: head and body.
pub(crate) fn exchange(address: SocketAddr, request: &[u8]) -> (String, Vec<u8>) {
    let mut stream = connect(address);
    stream.write_all(request).unwrap();
    let mut response = Vec::new();
    stream.read_to_end(&mut response).unwrap();
    let end = response.windows(4).position(|window| window == b"\r\n\r\n").expect("a head ends");
    (String::from_utf8(response[..end + 2].to_vec()).unwrap(), response[end + 4..].to_vec())
}

/// A GET with more header lines, each with its end.
pub(crate) fn get_with(address: SocketAddr, path: &str, headers: &str) -> (u16, String, Vec<u8>) {
    let request = format!("GET {path} HTTP/1.0\r\nHost: test\r\n{headers}\r\n");
    let (head, body) = exchange(address, request.as_bytes());
    (status(&head), head, body)
}

/// A GET: status and text.
pub(crate) fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let (status, _, body) = get_with(address, path, "");
    (status, String::from_utf8(body).unwrap())
}

/// The number in the first line.
pub(crate) fn status(head: &str) -> u16 {
    head.split(' ').nth(1).unwrap().parse().unwrap()
}
