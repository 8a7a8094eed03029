//! The HTTP endpoints over real connections: what they answer, and what they do not put up with.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use signal_trace::judge::shutdown::{Cause, Outcome};
use signal_trace::report::http::{Access, Limits, Server, Tls, Token};
use signal_trace::report::metrics::format::Format;
use support::http::{Site, clock, connect, exchange, get, get_with, status};
use support::{ALICE, container, lines, page, stop, waited_in_vain};

const LOOPBACK: &str = "127.0.0.1:0";

#[test]
fn pages_answer() {
    let site = local(Limits::default());
    let (code, index) = get(site.address, "/");
    assert_eq!(code, 200);
    for path in lines(&index, "/").into_iter().filter_map(|line| line.split(' ').next()) {
        assert_ne!(get(site.address, path).0, 404, "{path}");
    }
    assert_eq!(get(site.address, "/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(get(site.address, "/nowhere").0, 404);
    assert_eq!(get(site.address, "/metrics/").0, 404);
}

#[test]
fn ready_is_when_nothing_is_lacking() {
    let site = local(Limits::default());
    let reasons = "{\"ready\":false,\"reasons\":[\"kernel programs are not attached\"]}\n";
    assert_eq!(get(site.address, "/readyz"), (503, reasons.to_owned()));
    site.readiness.gained("kernel programs are not attached");
    assert_eq!(get(site.address, "/readyz"), (200, "{\"ready\":true,\"reasons\":[]}\n".to_owned()));
}

#[test]
fn scrapers_get_the_format_they_ask_for() {
    let site = local(Limits::default());
    let scrape = |accept: &str| get_with(site.address, "/metrics", accept);
    let (code, head, body) = scrape("");
    assert!(code == 200 && head.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{head}");
    assert!(String::from_utf8(body).unwrap().contains("\n# TYPE signal_trace_build_info gauge\n"));

    let (_, head, body) = scrape("Accept: application/openmetrics-text;version=1.0.0\r\nAccept: text/plain;q=0.5\r\n");
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"), "{head}");
    assert!(body.ends_with(b"\n# EOF\n"));

    let accept = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
    let (_, head, body) = scrape(&format!("Accept: {accept},text/plain;q=0.5\r\n"));
    assert!(head.contains("content-type: application/vnd.google.protobuf; proto="), "{head}");
    assert!(support::families(&body).iter().any(|family| family.name == "signal_trace_build_info"));
}

#[test]
fn only_get_and_head_are_served() {
    let site = local(Limits::default());
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"] {
        for path in ["/", "/metrics", "/shutdowns", "/readyz"] {
            let request = format!("{method} {path} HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello");
            let (head, _) = exchange(site.address, request.as_bytes());
            assert_eq!(status(&head), 405, "{method} {path}");
            assert!(head.to_lowercase().contains("allow: get,head\r\n"), "{head}");
        }
    }
    let (head, body) = exchange(site.address, b"HEAD /metrics HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!((status(&head), body.len()), (200, 0));
    let mut stream = connect(site.address);
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    assert!(closed(&mut stream), "HTTP/2 is not spoken");
}

#[test]
fn a_connection_serves_one_request() {
    let site = local(Limits::default());
    let two = b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\nGET /healthz HTTP/1.1\r\nHost: test\r\n\r\n";
    let (head, body) = exchange(site.address, two);
    assert!(head.contains("connection: close\r\n"), "{head}");
    assert_eq!(body, b"ok\n");
}

#[test]
fn a_head_that_never_ends_is_cut_off() {
    let site = local(Limits { header: Duration::from_millis(300), ..Limits::default() });
    for start in ["", "G", "GET /metrics HTTP/1.1\r\nX: "] {
        let mut stream = connect(site.address);
        stream.write_all(start.as_bytes()).unwrap();
        let began = Instant::now();
        assert!(drip(&mut stream), "after {start:?}");
        assert!(began.elapsed() >= Duration::from_millis(250), "{:?} after {start:?}", began.elapsed());
    }
    assert_eq!(get(site.address, "/healthz").0, 200);
}

#[test]
fn a_huge_head_is_refused() {
    let site = local(Limits::default());
    let request = format!("GET / HTTP/1.1\r\nHost: test\r\nX-Long: {}\r\n\r\n", "x".repeat(64 * 1024));
    assert_eq!(status(&exchange(site.address, request.as_bytes()).0), 431);
    let request = format!("GET /{} HTTP/1.1\r\nHost: test\r\n\r\n", "x".repeat(64 * 1024));
    assert!(matches!(status(&exchange(site.address, request.as_bytes()).0), 414 | 431));
    let request = format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(500));
    assert_eq!(status(&exchange(site.address, request.as_bytes()).0), 431);
    assert_eq!(status(&exchange(site.address, b"nonsense\r\n\r\n").0), 400);
}

#[test]
fn connections_above_the_limit_are_closed_and_counted() {
    let site = local(Limits { connections: 3, ..Limits::default() });
    let idle: Vec<TcpStream> = (0..3).map(|_| connect(site.address)).collect();
    assert!(closed(&mut connect(site.address)));
    assert!(closed(&mut connect(site.address)));
    drop(idle);
    for _ in 0..2 {
        let (_, ticket) = page(&site.metrics, ALICE, clock(), Format::Text);
        site.metrics.scraped(&ticket);
    }
    let (page, _) = page(&site.metrics, ALICE, clock(), Format::Text);
    let page = String::from_utf8(page).unwrap();
    assert_eq!(lines(&page, "signal_trace_connections_refused_total"), ["signal_trace_connections_refused_total 2"]);
    let deadline = Instant::now() + Duration::from_secs(10);
    while closed_early(&site) {
        assert!(Instant::now() < deadline, "the places of those who left stay taken");
    }
}

#[test]
fn without_a_token_what_names_processes_is_for_this_host() {
    let mut site = Site::start("0.0.0.0:0", Access::Loopback, Limits::default());
    site.recent.push("{\"outcome\":\"graceful\"}");
    let near = site.by("127.0.0.1".parse().unwrap());
    let far = site.by(another_address());
    assert_eq!(get(near, "/shutdowns"), (200, "{\"outcome\":\"graceful\"}\n".to_owned()));
    for path in ["/shutdowns", "/debug/containers"] {
        let (code, _, body) = get_with(far, path, "Authorization: Bearer anything\r\nX-Forwarded-For: 127.0.0.1\r\n");
        assert_eq!(code, 403, "{path}");
        assert!(!String::from_utf8(body).unwrap().contains("graceful"));
    }
    assert!(site.questions.try_recv().is_err(), "nobody was bothered");
    for path in ["/metrics", "/healthz", "/"] {
        assert_eq!(get(far, path).0, 200, "{path}");
    }
}

#[test]
fn with_a_token_what_names_processes_is_for_its_bearer() {
    let access = Access::Bearer(Token::new("s3cret").unwrap());
    let site = Site::start("0.0.0.0:0", access, Limits::default());
    site.recent.push("{}");
    for address in [site.by("127.0.0.1".parse().unwrap()), site.by(another_address())] {
        for wrong in ["", "Authorization: Bearer s3cret2\r\n", "Authorization: Basic s3cret\r\n"] {
            let (code, head, _) = get_with(address, "/shutdowns", wrong);
            assert!(code == 401 && head.contains("www-authenticate: Bearer\r\n"), "{wrong}: {head}");
        }
        let (code, _, body) = get_with(address, "/shutdowns", "Authorization: Bearer s3cret\r\n");
        assert_eq!((code, body.as_slice()), (200, b"{}\n".as_slice()));
        assert_eq!(get(address, "/metrics").0, 200);
    }
}

#[test]
fn with_a_token_for_all_only_probes_are_answered_without() {
    let access = Access::BearerForAll(Token::new("s3cret").unwrap());
    let site = Site::start(LOOPBACK, access, Limits::default());
    for path in ["/metrics", "/shutdowns", "/debug/containers"] {
        let (code, head, body) = get_with(site.address, path, "Authorization: Bearer wrong\r\n");
        assert!(code == 401 && head.contains("www-authenticate: Bearer\r\n"), "{path}: {head}");
        assert!(!String::from_utf8(body).unwrap().contains("signal_trace_"), "{path}");
    }
    assert_eq!(get_with(site.address, "/metrics", "Authorization: Bearer s3cret\r\n").0, 200);
    assert_eq!(get(site.address, "/healthz").0, 200);
    assert_eq!(get(site.address, "/readyz").0, 503);
}

#[test]
fn over_tls_pages_answer_and_scrapes_count() {
    let (folder, tls) = certificate();
    let site = Site::start_over(LOOPBACK, Access::Loopback, Limits { pages: 1, ..Limits::default() }, Some(tls));
    let get = |path: &str| {
        let mut stream = over_tls(folder.path(), connect(site.address));
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    assert!(get("/healthz").ends_with("\r\n\r\nok\n"));
    site.metrics.shutdown(&waited_in_vain(&container("cart", 1)), clock());
    let counted = |page: &str| page.contains("cause=\"not_forwarded\"} 1\n");
    assert!(!counted(&get("/metrics")));
    assert!(counted(&get("/metrics")), "that page arrived, so its zeros were seen");
    let mut clear = connect(site.address);
    clear.write_all(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = clear.read_to_end(&mut answer);
    assert!(answer.len() < 16 && !answer.starts_with(b"HTTP"), "nothing is told in the clear: {answer:?}");
}

#[test]
fn a_handshake_that_never_ends_is_cut_off() {
    let (_folder, tls) = certificate();
    let limits = Limits { header: Duration::from_millis(300), ..Limits::default() };
    let site = Site::start_over(LOOPBACK, Access::Loopback, limits, Some(tls));
    // The beginning of a record that is long.
    let mut stream = connect(site.address);
    stream.write_all(&[0x16, 0x03, 0x01, 0x20, 0x00]).unwrap();
    assert!(drip(&mut stream));
}

#[test]
fn a_certificate_without_its_key_is_named() {
    let (folder, _) = certificate();
    let (certificate, other) = (folder.path().join("tls.crt"), folder.path().join("other.key"));
    openssl(&format!("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out {}", other.display()));
    let unfit = Tls::new(certificate.clone(), other).unwrap_err().to_string();
    assert!(unfit.contains("do not go together"), "{unfit}");
    let none = Tls::new(certificate.clone(), certificate).unwrap_err().to_string();
    assert!(none.starts_with("cannot read the private key in "), "{none}");
}

#[test]
fn a_flood_of_heads_leaves_room_for_who_comes_after_it() {
    let limits = Limits { connections: 8, header: Duration::from_millis(300), ..Limits::default() };
    let site = local(limits);
    let flood: Vec<_> = (0..100)
        .map(|_| {
            let mut stream = TcpStream::connect(site.address).unwrap();
            // Those that found no place are closed already.
            let _ = stream.write_all(format!("GET / HTTP/1.1\r\n{}", "X: y\r\n".repeat(80)).as_bytes());
            stream
        })
        .collect();
    let deadline = Instant::now() + Duration::from_secs(10);
    while closed_early(&site) {
        assert!(Instant::now() < deadline, "the flood has the places for ever");
    }
    // It still holds on; more of it may come first, as long as it has not been heard.
    drop(flood);
}

#[test]
fn the_event_loop_answers_what_is_tracked() {
    let mut site = local(Limits::default());
    let address = site.address;
    let asking = std::thread::spawn(move || get(address, "/debug/containers"));
    site.questions.blocking_recv().unwrap().send("{\"containers\":[]}\n".to_owned()).unwrap();
    assert_eq!(asking.join().unwrap(), (200, "{\"containers\":[]}\n".to_owned()));
    site.questions.close();
    assert_eq!(get(address, "/debug/containers").0, 503);
    for _ in 0..2 {
        get(address, "/metrics");
    }
    let (_, page) = get(address, "/metrics");
    assert!(page.contains("\nsignal_trace_refused_total{what=\"page_questions\"} 1\n"), "{page}");
}

#[test]
fn a_page_that_nobody_reads_is_given_up_and_was_not_seen() {
    let limits = Limits { stall: Duration::from_millis(300), pages: 1, ..Limits::default() };
    let site = local(limits);
    for n in 0..900 {
        let name = format!("{}{n}", "w".repeat(200));
        site.metrics.shutdown(&stop(&container(&name, n), Outcome::Graceful, Cause::None), clock());
    }
    let mut lazy = connect(site.address);
    lazy.write_all(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    let mut first = [0; 12];
    lazy.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    site.metrics.shutdown(&waited_in_vain(&container("cart", 1)), clock());

    // There is one place for a page, so this one is written after the other was given up.
    let (code, page) = get(site.address, "/metrics");
    assert_eq!(code, 200);
    let counted = |page: &str| {
        let samples = lines(page, "signal_trace_shutdowns_total").into_iter();
        samples.filter(|sample| !sample.ends_with(" 0")).count()
    };
    assert_eq!(counted(&page), 0, "held back, because the lazy one has not seen the zeros");
    assert_eq!(counted(&get(site.address, "/metrics").1), 901);

    let mut rest = Vec::new();
    let ended = lazy.read_to_end(&mut rest);
    assert!(ended.is_err() || rest.len() < page.len(), "{} of {} bytes", rest.len(), page.len());
}

#[test]
fn a_head_request_is_no_scrape() {
    // With one place for a page, the next is written when it is known what became of the last.
    let site = local(Limits { pages: 1, ..Limits::default() });
    site.metrics.shutdown(&waited_in_vain(&container("cart", 1)), clock());
    exchange(site.address, b"HEAD /metrics HTTP/1.1\r\nHost: test\r\n\r\n");
    let counted = |page: &str| page.contains("cause=\"not_forwarded\"} 1\n");
    assert!(!counted(&get(site.address, "/metrics").1));
    assert!(counted(&get(site.address, "/metrics").1));
}

#[test]
fn stopping_closes_the_idle_and_cuts_off_the_slow() {
    let long = Duration::from_secs(60);
    let drain = Duration::from_millis(500);
    let mut site = local(Limits { header: long, stall: long, total: long, drain, ..Limits::default() });
    let mut idle = connect(site.address);
    for _ in 0..1000 {
        site.recent.push(&"x".repeat(4000));
    }
    let mut slow = connect(site.address);
    slow.write_all(b"GET /shutdowns HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    let mut first = [0; 12];
    slow.read_exact(&mut first).unwrap();
    let began = Instant::now();
    site.stop();
    let took = began.elapsed();
    assert!(took >= drain, "{took:?}: the slow one had not been served yet");
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert!(closed(&mut idle));
    assert!(TcpStream::connect(site.address).is_err());
}

#[test]
fn an_address_that_is_taken_is_named() {
    let site = local(Limits::default());
    let taken = site.address;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let sources = site.sources();
    let bound = runtime.block_on(Server::bind(taken, Access::Loopback, sources, Limits::default()));
    let message = bound.unwrap_err().to_string();
    assert!(
        message.starts_with(&format!("cannot listen on {taken}: choose another address with --listen")),
        "{message}"
    );
}

fn local(limits: Limits) -> Site {
    Site::start(LOOPBACK, Access::Loopback, limits)
}

/// A certificate for `localhost` in a folder, and what serves it.
fn certificate() -> (tempfile::TempDir, Tls) {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    openssl(&format!(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
         -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE \
         -keyout {} -out {}",
        key.display(),
        certificate.display()
    ));
    let tls = Tls::new(certificate, key).unwrap();
    (folder, tls)
}

fn openssl(words: &str) {
    let output = Command::new("openssl").args(words.split_ascii_whitespace()).output().unwrap();
    assert!(output.status.success(), "openssl {words}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The client's side of TLS, which trusts that certificate alone.
fn over_tls(folder: &Path, stream: TcpStream) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.join("tls.crt")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = builder.with_root_certificates(roots).with_no_client_auth();
    let connection = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    StreamOwned::new(connection, stream)
}

/// Whether the peer closes while it is fed a byte now and then.
fn drip(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    (0..400).any(|_| {
        let gone = stream.write_all(b"x").is_err();
        gone || closed(stream)
    })
}

/// Whether the peer has closed, or closes before the stream's patience is over.
fn closed(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 64]) {
        Ok(read) => read == 0,
        Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}

/// Whether a request finds no place.
fn closed_early(site: &Site) -> bool {
    let mut stream = connect(site.address);
    let asked = stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n");
    asked.is_err() || closed(&mut stream)
}

/// An address of this machine that is not its loopback.
fn another_address() -> IpAddr {
    let table = std::fs::read_to_string("/proc/net/fib_trie").unwrap();
    let mut last = "";
    let mut own = table.lines().filter_map(|line| {
        let local = line.trim() == "/32 host LOCAL";
        let address = last.trim().strip_prefix("|-- ");
        last = line;
        address.filter(|_| local)?.parse::<IpAddr>().ok()
    });
    own.find(|address| !address.is_loopback()).expect("this machine has no address but its loopback's: give it one")
}
