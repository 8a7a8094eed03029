//! Questions to a container's ports from where it listens: our own network, or the one of a process.
//!
//! A network namespace belongs to a thread, so each question has a thread of its own, which ends with the answer.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::os::fd::AsFd as _;
use std::thread;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::sync::oneshot;

use crate::event::Pid;

/// For one connection.
const CONNECTED_WITHIN: Duration = Duration::from_secs(1);

/// Whether the port takes connections.
pub(super) async fn connects(address: &str, network: Option<Pid>) -> bool {
    let address = address.to_owned();
    inside(network, move || connect(&address)).await.is_ok()
}

/// The status of the answer to a GET, each part of which may take so long.
pub(super) async fn get(address: &str, path: &str, network: Option<Pid>, within: Duration) -> io::Result<u16> {
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nUser-Agent: signal-trace\r\n\r\n");
    let address = address.to_owned();
    inside(network, move || {
        let mut stream = connect(&address)?;
        stream.set_read_timeout(Some(within))?;
        stream.write_all(request.as_bytes())?;
        // `HTTP/1.1 200`
        let mut start = [0; 12];
        stream.read_exact(&mut start)?;
        let status = std::str::from_utf8(&start).ok().and_then(|start| start.strip_prefix("HTTP/1."));
        let status = status.and_then(|rest| rest.get(2..)?.parse().ok());
        status.ok_or_else(|| io::Error::other("this is no answer of HTTP"))
    })
    .await
}

/// Does it in a thread with that network.
///
/// # Errors
///
/// There is no thread, the network cannot be entered, or the work fails.
pub(super) async fn inside<T: Send + 'static>(
    network: Option<Pid>,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (tell, told) = oneshot::channel();
    thread::Builder::new().name("network".into()).spawn(move || {
        let result = network.map_or(Ok(()), enter).and_then(|()| work());
        // Nobody waits any more if the check was interrupted.
        drop(tell.send(result));
    })?;
    told.await.unwrap_or_else(|_| Err(io::Error::other("the thread in the container's network panicked")))
}

fn enter(pid: Pid) -> io::Result<()> {
    let network = File::open(format!("/proc/{}/ns/net", pid.0))?;
    Ok(move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?)
}

fn connect(address: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::other("it has no address");
    for place in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&place, CONNECTED_WITHIN) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn block_on<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
    }

    #[test]
    fn an_answer_has_a_status_or_is_none() {
        for (answer, status) in [("HTTP/1.1 204 No Content\r\n\r\n", Some(204)), ("SSH-2.0-OpenSSH_9\r\n", None)] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap().to_string();
            let server = thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 4];
                stream.read_exact(&mut request).unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
            });
            assert_eq!(block_on(get(&address, "/", None, CONNECTED_WITHIN)).ok(), status);
            server.join().unwrap();
            assert!(!block_on(connects(&address, None)), "nobody listens there any more");
        }
    }
}
