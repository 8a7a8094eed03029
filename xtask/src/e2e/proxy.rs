//! A way to the API server that can be spoilt: between the agent and `kubectl proxy`, it passes requests on, refuses
//! watches, leaves them without an answer, or lets connections fall silent without ending them.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Where the agent is sent.
pub(crate) const ADDRESS: &str = "127.0.0.1:8479";
/// Where `kubectl proxy` listens.
pub(crate) const UPSTREAM: &str = "127.0.0.1:8478";
/// How often a connection looks what became of it.
const LOOK: Duration = Duration::from_millis(50);
/// The longest head of a request that is understood.
const MAX_HEAD: usize = 64 * 1024;

/// What becomes of the next watch on pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It is passed on.
    Pass,
    /// It is answered with this status.
    Refuse(u16),
    /// It is never answered.
    Hold,
}

/// A running proxy.
pub(crate) struct Proxy {
    shared: Arc<Shared>,
    listening: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    stop: AtomicBool,
}

struct State {
    mode: Mode,
    /// When watches on pods were asked for since the mode was set.
    watches: Vec<Instant>,
    connections: Vec<Arc<AtomicU8>>,
}

const OPEN: u8 = 0;
const SILENT: u8 = 1;
const CUT: u8 = 2;

impl Proxy {
    /// Starts it.
    pub(crate) fn start() -> Result<Self> {
        let listener = TcpListener::bind(ADDRESS).with_context(|| format!("{ADDRESS} is taken"))?;
        listener.set_nonblocking(true)?;
        let state = State { mode: Mode::Pass, watches: Vec::new(), connections: Vec::new() };
        let shared = Arc::new(Shared { state: Mutex::new(state), stop: AtomicBool::new(false) });
        let ours = shared.clone();
        let listening = std::thread::spawn(move || {
            while !ours.stop.load(Ordering::Relaxed) {
                let Ok((client, _)) = listener.accept() else {
                    std::thread::sleep(LOOK);
                    continue;
                };
                let ours = ours.clone();
                // A connection that breaks is what this is for.
                std::thread::spawn(move || drop(ours.serve(client)));
            }
        });
        Ok(Self { shared, listening: Some(listening) })
    }

    /// From now on; what is connected goes on as it was.
    pub(crate) fn set(&self, mode: Mode) {
        let mut state = self.shared.state();
        state.mode = mode;
        state.watches.clear();
    }

    /// Ends every connection that there is.
    pub(crate) fn cut(&self) {
        self.shared.mark(CUT);
    }

    /// Lets every connection that there is fall silent, for ever.
    pub(crate) fn silence(&self) {
        self.shared.mark(SILENT);
    }

    /// When watches were asked for since the mode was set.
    pub(crate) fn watches(&self) -> Vec<Instant> {
        self.shared.state().watches.clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.cut();
        // The port is free for the next one when this is over.
        drop(self.listening.take().map(JoinHandle::join));
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mark(&self, fate: u8) {
        let mut state = self.state();
        for connection in state.connections.drain(..) {
            connection.store(fate, Ordering::Relaxed);
        }
    }

    /// One connection, which carries one request.
    fn serve(&self, mut client: TcpStream) -> Result<()> {
        client.set_nonblocking(false)?;
        client.set_read_timeout(Some(LOOK))?;
        let fate = Arc::new(AtomicU8::new(OPEN));
        let Some(head) = read_head(&mut client, &fate)? else { return Ok(()) };
        let mode = {
            let mut state = self.state();
            state.connections.push(fate.clone());
            if is_watch(&head) {
                state.watches.push(Instant::now());
                state.mode
            } else {
                Mode::Pass
            }
        };
        match mode {
            Mode::Pass => pass(client, &head, &fate),
            Mode::Refuse(status) => {
                client.write_all(refusal(status).as_bytes())?;
                Ok(client.shutdown(Shutdown::Write)?)
            }
            Mode::Hold => {
                while fate.load(Ordering::Relaxed) != CUT && !self.stop.load(Ordering::Relaxed) {
                    std::thread::sleep(LOOK);
                }
                Ok(())
            }
        }
    }
}

/// Reads up to the empty line; none where the client leaves before.
fn read_head(client: &mut TcpStream, fate: &AtomicU8) -> Result<Option<Vec<u8>>> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && head.len() < MAX_HEAD {
        match client.read(&mut byte) {
            Ok(0) => return Ok(None),
            Ok(_) => head.push(byte[0]),
            Err(error) if is_early(&error) && fate.load(Ordering::Relaxed) == OPEN => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Some(head))
}

fn pass(client: TcpStream, head: &[u8], fate: &Arc<AtomicU8>) -> Result<()> {
    let mut server = TcpStream::connect(UPSTREAM)?;
    server.set_read_timeout(Some(LOOK))?;
    server.write_all(&closing(head))?;
    let (from, to, ours) = (client.try_clone()?, server.try_clone()?, fate.clone());
    std::thread::spawn(move || copy(from, to, &ours));
    copy(server, client, fate);
    // Nobody reads on either side any more.
    fate.store(CUT, Ordering::Relaxed);
    Ok(())
}

/// Copies until one side ends or the connection is cut.
fn copy(mut from: TcpStream, mut to: TcpStream, fate: &AtomicU8) {
    let mut buffer = [0; 16 * 1024];
    loop {
        match fate.load(Ordering::Relaxed) {
            CUT => break,
            SILENT => {
                std::thread::sleep(LOOK);
                continue;
            }
            _ => {}
        }
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) if to.write_all(&buffer[..length]).is_ok() => {}
            Err(error) if is_early(&error) => {}
            Ok(_) | Err(_) => break,
        }
    }
    drop(to.shutdown(Shutdown::Write));
}

fn is_early(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// Whether it asks for a watch on pods.
fn is_watch(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head);
    let line = text.lines().next().unwrap_or_default();
    line.starts_with("GET /api/v1/pods?") && line.contains("watch=")
}

/// The same head, of a request after which the connection ends: one request is all that is understood here.
fn closing(head: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(head);
    let lines = text.trim_end().split("\r\n").filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
    let mut kept: String = lines.map(|line| format!("{line}\r\n")).collect();
    kept.push_str("Connection: close\r\n\r\n");
    kept.into_bytes()
}

/// What an API server answers when it refuses.
fn refusal(status: u16) -> String {
    let (reason, more) = match status {
        410 => ("Expired", ""),
        403 => ("Forbidden", ""),
        429 => ("TooManyRequests", "Retry-After: 3\r\n"),
        _ => ("InternalError", ""),
    };
    let body = format!(
        r#"{{"kind":"Status","apiVersion":"v1","metadata":{{}},"status":"Failure","message":"spoilt on purpose","reason":"{reason}","code":{status}}}"#
    );
    format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\n{more}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_on_pods_is_told_from_other_requests() {
        assert!(is_watch(b"GET /api/v1/pods?watch=true&fieldSelector=x HTTP/1.1\r\n\r\n"));
        assert!(is_watch(b"GET /api/v1/pods?&sendInitialEvents=true&watch=1 HTTP/1.1\r\n\r\n"));
        assert!(!is_watch(b"GET /api/v1/pods?limit=500 HTTP/1.1\r\nX: watch=1\r\n\r\n"));
        assert!(!is_watch(b"POST /apis/events.k8s.io/v1/namespaces/x/events HTTP/1.1\r\n\r\n"));
    }

    #[test]
    fn a_connection_carries_one_request() {
        let head = closing(b"GET / HTTP/1.1\r\nHost: x\r\nconnection: keep-alive\r\n\r\n");
        assert_eq!(String::from_utf8(head).unwrap(), "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    }

    #[test]
    fn a_refusal_is_a_whole_answer() {
        let answer = refusal(429);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("\r\nRetry-After: 3\r\n"), "{head}");
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
        assert!(!refusal(410).contains("Retry-After"));
    }
}
