//! A wire to the API server that can be cut or fall silent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use signal_trace::kube::client::Clients;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use crate::config;

/// What stands between the agent and the API server, and can be cut or hold its breath.
#[derive(Clone, Default)]
pub(crate) struct Wire {
    /// Every connection ends, and no new one comes about.
    pub(crate) cut: Arc<AtomicBool>,
    /// Connections that are there hear nothing any more; new ones do.
    pub(crate) silent: Arc<AtomicBool>,
    /// How many there were.
    pub(crate) connections: Arc<AtomicUsize>,
}

impl Wire {
    /// A port here that leads to the server.
    async fn to(&self, server: String) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let wire = self.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                wire.connections.fetch_add(1, Ordering::Relaxed);
                let (wire, server) = (wire.clone(), server.clone());
                tokio::spawn(async move {
                    if let Ok(far) = TcpStream::connect(server).await {
                        wire.carry(near, far).await;
                    }
                });
            }
        });
        port
    }

    async fn carry(&self, near: TcpStream, far: TcpStream) {
        let silent_from_here = self.silent.load(Ordering::Relaxed);
        let mut buffer = vec![0; 65_536];
        while !self.cut.load(Ordering::Relaxed) {
            let moved =
                pass(&near, &far, &mut buffer) | (self.hears(silent_from_here) && pass(&far, &near, &mut buffer));
            if !moved {
                sleep(Duration::from_millis(5)).await;
            }
        }
    }

    /// A connection that was there when the silence began hears nothing any more; nor does it end.
    fn hears(&self, since_silence: bool) -> bool {
        since_silence || !self.silent.load(Ordering::Relaxed)
    }
}

fn pass(from: &TcpStream, to: &TcpStream, buffer: &mut [u8]) -> bool {
    let Ok(read @ 1..) = from.try_read(buffer) else { return false };
    let mut rest = &buffer[..read];
    while !rest.is_empty() {
        match to.try_write(rest) {
            Ok(written) => rest = &rest[written..],
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => std::thread::yield_now(),
            Err(_) => return false,
        }
    }
    true
}

/// Clients whose connections go over this wire.
pub(crate) async fn clients_over(wire: &Wire) -> Clients {
    let mut config = config().await;
    let host = config.cluster_url.host().unwrap().to_owned();
    let port = config.cluster_url.port_u16().unwrap_or(443);
    let here = wire.to(format!("{host}:{port}")).await;
    config.tls_server_name = Some(host);
    config.cluster_url = format!("https://127.0.0.1:{here}").parse().unwrap();
    Clients::new(config).unwrap()
}
