//! Any bytes at all, sent to the agent's port: it answers or closes, and never tells what only the token's bearer may know.
#![no_main]

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use signal_trace::event::KernelTime;
use signal_trace::report::http::{Access, Limits, Readiness, Recent, Server, Sources, Token};
use signal_trace::report::metrics::{Build, Metrics, Settings};

const SECRET: &str = "what-names-processes";

static PORT: LazyLock<u16> = LazyLock::new(|| {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("an event loop");
        runtime.block_on(async {
            let recent = Recent::default();
            recent.push(SECRET);
            let (questions, _answered_by_nobody) = tokio::sync::mpsc::channel(1);
            let sources = Sources {
                metrics: Metrics::new(Settings::default(), Build::default(), KernelTime(0)),
                readiness: Readiness::lacking([]),
                recent,
                questions,
                clock: || KernelTime(0),
            };
            let token = Token::new("f0b1c7f94be74c02aa0c5d9d2b0e6d59").expect("a token");
            let limits = Limits { header: Duration::from_secs(1), ..Limits::default() };
            let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
            let server = Server::bind(any, Access::Bearer(token), sources, limits).await.expect("a port");
            tell.send(server.address().port()).expect("who asked waits");
            server.serve(std::future::pending()).await;
        });
    });
    told.recv().expect("it starts")
});

fuzz_target!(|input: &[u8]| {
    // Another address of this machine each time: none is used again while the last connection to it is remembered.
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let host = NEXT.fetch_add(1, Ordering::Relaxed) % 0x00ff_fffe + 1;
    let address = SocketAddr::from((Ipv4Addr::from(0x7f00_0000 | host), *PORT));
    let mut stream = TcpStream::connect(address).expect("it takes connections");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket");
    // It may have seen enough before all was sent.
    let _ = stream.write_all(input).and_then(|()| stream.shutdown(Shutdown::Write));
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "it neither answers nor closes");
    }
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."), "{}", String::from_utf8_lossy(&answer));
    assert!(!answer.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()));
});
