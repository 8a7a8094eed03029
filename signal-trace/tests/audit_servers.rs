//! `signal-trace audit --prometheus` against servers that answer badly, slowly, or with what strangers wrote: a clear
//! message, the right exit code, and no half of a report.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

type Answer = dyn Fn(usize, &str) -> Vec<u8> + Send + Sync;

/// A server whose answers are made by a function of the request's number and text; an answer without end is kept open.
struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(answer: impl Fn(usize, &str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let answer: Arc<Answer> = Arc::new(answer);
        let seen = Arc::clone(&requests);
        // Ends with the test's process: it waits for nobody.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (answer, seen) = (Arc::clone(&answer), Arc::clone(&seen));
                std::thread::spawn(move || serve(stream, &answer, &seen));
            }
        });
        Self { address, requests }
    }

    /// One that gives this answer to everything.
    fn always(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self::start(move |_, _| bytes.clone())
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn serve(mut stream: impl Read + Write, answer: &Arc<Answer>, seen: &Mutex<Vec<String>>) {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer).unwrap_or(0);
        text.push_str(&String::from_utf8_lossy(&buffer[..read]));
        let whole = text.split_once("\r\n\r\n").is_some_and(|(head, body)| body.len() >= length(head));
        if whole || read == 0 {
            break;
        }
    }
    let number = {
        let mut seen = seen.lock().unwrap();
        seen.push(text.clone());
        seen.len()
    };
    drop(stream.write_all(&answer(number, &text)));
    let is_open = String::from_utf8_lossy(&answer(number, &text)).contains("chunked");
    while is_open && stream.write_all(b"1\r\n \r\n").is_ok() {
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn length(head: &str) -> usize {
    let line =
        head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:").map(str::to_owned));
    line.map_or(0, |length| length.trim().parse().unwrap())
}

fn reply(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len())
        .into_bytes()
}

/// A good answer with these series.
fn good(series: &Value) -> Vec<u8> {
    let body = json!({ "status": "success", "data": { "resultType": "vector", "result": series } });
    reply("200 OK", "", &body.to_string())
}

fn sample(workload: &str, outcome: &str, count: &str) -> Value {
    json!({ "metric": { "namespace": "shop", "workload": workload, "workload_type": "deployment", "container": "app",
        "outcome": outcome, "cause": "none" }, "value": [1_795_348_800.0, count] })
}

/// Answers the question about shutdowns with these, and every other with nothing.
fn shutdowns(series: Value) -> impl Fn(usize, &str) -> Vec<u8> {
    move |_, request| {
        if asks_for_shutdowns(request) { good(&series) } else { good(&json!([])) }
    }
}

/// Of the period itself, at one time.
fn asks_for_shutdowns(request: &str) -> bool {
    request.contains("outcome%2C+cause") && !request.contains("build_info") && !is_before(request)
}

/// The period before ends where the period begins.
fn is_before(request: &str) -> bool {
    request.contains("time=1795327200")
}

fn audit(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_signal-trace"));
    command.env("LC_ALL", "C.UTF-8").stdin(Stdio::null()).arg("audit");
    command.args(["--from", "2026-11-22T06:00Z", "--to", "2026-11-22T12:00Z"]).args(arguments).output().unwrap()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn what_a_server_does_wrong_is_said() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let page = "<!DOCTYPE html><html><title>Sign in</title>";
    let bad_query = r#"{"status":"error","errorType":"bad_data","error":"parse error: \u001b[2J unexpected"}"#;
    let cut = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"status\":\"success\"".to_vec();
    let endless = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let login = reply("302 Found", "Location: https://sso.example/login?secret=1\r\n", "");
    let servers = [
        (Server::always(reply("200 OK", "Content-Type: text/html\r\n", page)), "login page"),
        (Server::always(reply("502 Bad Gateway", "Retry-After: 0\r\n", page)), "status 502"),
        (Server::always(login), "redirects to sso.example"),
        (Server::always(reply("401 Unauthorized", "", "no")), "has the token expired?"),
        (Server::always(reply("404 Not Found", "", "404 page not found")), "has no Prometheus API there"),
        (Server::always(reply("400 Bad Request", "", bad_query)), "refuses the query (bad_data): parse error"),
        (Server::always(reply("200 OK", "", "{\"status\":\"succ")), "ends in the middle"),
        (Server::always(reply("200 OK", "", "{}")), "gave no answer of Prometheus"),
        (Server::always(cut), "ends in the middle"),
        (Server::always(endless), "did not answer within 1 s"),
    ];
    let cases = servers.iter().map(|(server, says)| (server.url(), *says));
    for (url, says) in cases.chain([(format!("http://{closed}"), "cannot be reached")]) {
        let directory = tempfile::tempdir().unwrap();
        let file = format!("json={}", directory.path().join("audit.json").display());
        let output = audit(&["--prometheus", &url, "--timeout", "1s", "--output", &file]);
        let errors = errors(&output);
        assert_eq!(output.status.code(), Some(1), "{says}: {errors}");
        assert!(errors.contains(says), "{says}: {errors}");
        assert!(!errors.contains("secret") && !errors.contains('\u{1b}'), "{errors}");
        assert!(output.stdout.is_empty() && std::fs::read_dir(directory.path()).unwrap().count() == 0);
    }
    for wrong in ["prometheus:9090", "ftp://x", ""] {
        let output = audit(&["--prometheus", wrong]);
        assert!(errors(&output).contains("is no address"), "{wrong}: {}", errors(&output));
        assert_eq!(output.status.code(), Some(1));
    }
}

#[test]
fn one_cluster_that_fails_is_on_the_first_line() {
    let eu = Server::start(shutdowns(json!([sample("cart", "graceful", "5")])));
    let (eu_url, us_url) =
        (format!("eu={}", eu.url()), format!("us={}", Server::always(reply("401 No", "", "")).url()));
    let output = audit(&["--prometheus", &eu_url, "--prometheus", &us_url]);
    let table = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    let first = table.lines().next().unwrap();
    assert_eq!(first, "INCOMPLETE: 1 of 2 clusters could not be read whole (us)");
    assert!(table.contains("eu/shop/cart"), "{table}");
}

#[test]
fn a_number_of_nodes_is_for_one_cluster() {
    let [one, other] = [(); 2].map(|()| Server::start(shutdowns(json!([sample("cart", "graceful", "5")]))));
    let ask = |other_name: &str| {
        let (one, other) = (format!("eu={}", one.url()), format!("{other_name}={}", other.url()));
        audit(&["--prometheus", &one, "--prometheus", &other, "--nodes", "1"])
    };
    let output = ask("us");
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty() && errors(&output).contains("--nodes is for one cluster"), "{}", errors(&output));
    // Replicas are one; it is not watched.
    assert_eq!(ask("eu").status.code(), Some(5));
}

#[test]
fn what_a_server_warns_of_makes_the_report_incomplete() {
    let body = r#"{"status":"success","warnings":["store gateway is down"],"data":{"resultType":"vector","result":[{"metric":{"workload":"cart"},"value":[1,"3"]}]}}"#;
    let output = audit(&["--prometheus", &Server::always(reply("200 OK", "", body)).url()]);
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.starts_with("INCOMPLETE: ") && table.contains("store gateway is down"), "{table}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn nothing_about_us_is_no_good_news() {
    let output = audit(&["--prometheus", &Server::always(good(&json!([]))).url()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(errors(&output).contains("has no series of signal-trace in that period"), "{}", errors(&output));
}

#[test]
fn a_busy_server_is_asked_again() {
    let calm = shutdowns(json!([sample("cart", "graceful", "5")]));
    let server = Server::start(move |number, request| {
        if number == 1 { reply("429 Too Many Requests", "Retry-After: 1\r\n", "") } else { calm(number, request) }
    });
    let output = audit(&["--prometheus", &server.url()]);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    assert_eq!(server.requests().len(), 14);
}

#[test]
fn what_is_too_much_at_once_is_asked_in_parts() {
    let server = Server::start(|_, request| {
        let is_first = asks_for_shutdowns(request);
        if is_first && request.contains("21600s") {
            let error = json!({ "status": "error", "errorType": "execution",
                "error": "query processing would load too many samples into memory in query execution" });
            return reply("422 Unprocessable Entity", "", &error.to_string());
        }
        good(&if is_first { json!([sample("cart", "graceful", "5")]) } else { json!([]) })
    });
    let output = audit(&["--prometheus", &server.url(), "--output", "json"]);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    // Half of the shutdowns in each half of the period, and the period before in one.
    assert_eq!(report["totals"]["shutdowns"]["all"], 10);
}

#[test]
fn credentials_go_to_the_server_that_they_are_for() {
    let [eu, us] = [(); 2].map(|()| Server::start(shutdowns(json!([sample("cart", "graceful", "5")]))));
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    std::fs::write(&token, "eu-only\n").unwrap();
    let (token, user) = (format!("eu={}", token.display()), format!("us=me:{}", token.display()));
    let (eu_url, us_url) = (format!("eu={}", eu.url()), format!("us={}", us.url()));
    let secrets = ["--bearer-token-file", &token, "--basic-auth", &user, "--header", "X-Scope-OrgID: a|b"];
    let output = audit(&[&["--prometheus", &eu_url, "--prometheus", &us_url], &secrets[..]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    for (server, has, has_not) in [(&eu, "Bearer eu-only", "Basic"), (&us, "Basic bWU6ZXUtb25seQ==", "Bearer")] {
        for request in server.requests() {
            let head = request.split("\r\n\r\n").next().unwrap();
            assert!(head.starts_with("POST /api/v1/query"), "{head}");
            assert!(head.contains(has) && !head.contains(has_not), "{head}");
            assert!(head.to_ascii_lowercase().contains("x-scope-orgid: a|b"), "{head}");
            assert!(request.contains("partial_response=false") && request.contains("dedup=true"), "{request}");
        }
    }
    assert!(!String::from_utf8_lossy(&output.stdout).contains("eu-only"));
}

#[test]
fn labels_of_strangers_are_only_names() {
    let names = ["\u{1b}[2Jx", "=cmd()", "<script>alert(1)</script>", "a|b`c`", "line\nline", "\u{202e}gnp.exe"];
    let series: Vec<Value> = names.iter().map(|name| sample(name, "crashed", "9")).collect();
    let server = Server::start(shutdowns(Value::Array(series)));
    for format in ["table", "json", "csv", "markdown", "html", "junit", "sarif", "openreports", "policyreport"] {
        let output = audit(&["--prometheus", &server.url(), "--output", format]);
        assert_eq!(output.status.code(), Some(3), "{format}: {}", errors(&output));
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(!text.contains(['\u{1b}', '\u{202e}']), "{format}");
        let is_markup = ["html", "markdown", "junit"].contains(&format);
        assert!(!is_markup || !text.contains("<script>alert"), "{format}");
        assert!(!text.contains("line\nline"), "{format}");
    }
}

#[test]
fn the_queries_can_be_seen_before_they_are_asked() {
    let server = Server::always(good(&json!([])));
    let output = audit(&["--prometheus", &server.url(), "--explain"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("13 queries to each of 1 servers: 13 in all"), "{text}");
    assert_eq!(text.matches("\n# ").count(), 13);
    assert!(server.requests().is_empty());
}

#[test]
fn a_finished_report_is_pushed_with_patience_and_without_others_secrets() {
    let source = Server::start(shutdowns(json!([sample("cart", "graceful", "5")])));
    let hook = Server::start(|number, _| match number {
        1 => reply("503 Service Unavailable", "Retry-After: 1\r\n", ""),
        _ => reply("202 Accepted", "", ""),
    });
    let directory = tempfile::tempdir().unwrap();
    let secret = directory.path().join("hook");
    std::fs::write(&secret, format!("{}/services/s3cret?token=t\n", hook.url())).unwrap();
    let address = format!("file:{}", secret.display());
    let push = ["--webhook", &address, "--webhook-header", "X-From: audit", "--header", "X-Scope-OrgID: mine"];
    let output = audit(&[&["--prometheus", &source.url(), "--output", "table"], &push[..]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let pushed = hook.requests();
    assert_eq!(pushed.len(), 2, "it is tried again");
    let (head, body) = pushed[1].split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /services/s3cret?token=t HTTP/1.1"), "{head}");
    assert!(head.to_ascii_lowercase().contains("x-from: audit") && !head.contains("mine"), "{head}");
    let report: Value = serde_json::from_str(body).unwrap();
    assert_eq!(
        (&report["schema"], &report["totals"]["shutdowns"]["all"]),
        (&"signal-trace.dev/audit/v1".into(), &5.into())
    );

    let refuses = Server::always(reply("403 Forbidden", "", ""));
    std::fs::write(&secret, format!("{}/services/s3cret", refuses.url())).unwrap();
    let output = audit(&["--prometheus", &source.url(), "--webhook", &address]);
    assert_eq!(output.status.code(), Some(1));
    let said = errors(&output);
    assert!(said.contains("does not take the report: status 403") && !said.contains("s3cret"), "{said}");
    let output = audit(&["--prometheus", &source.url(), "--webhook", "nowhere"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty(), "a wrong address is told before the work");
}

/// Certificates of an authority, a server and a client, made by `openssl`.
struct Certificates(tempfile::TempDir);

impl Certificates {
    fn make() -> Self {
        let certificates = Self(tempfile::tempdir().unwrap());
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2";
        let signed = "-CA ca.crt -CAkey ca.key";
        certificates.openssl(&format!("req -x509 {key} -keyout ca.key -subj /CN=authority -out ca.crt"));
        for (name, extensions) in [
            ("server", "-addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE"),
            ("client", "-addext extendedKeyUsage=clientAuth -addext basicConstraints=critical,CA:FALSE"),
        ] {
            certificates.openssl(&format!(
                "req -x509 {key} -keyout {name}.key -subj /CN={name} {signed} {extensions} -out {name}.crt"
            ));
        }
        certificates
    }

    fn openssl(&self, words: &str) {
        let mut command = Command::new("openssl");
        let output = command.current_dir(self.0.path()).args(words.split(' ')).output().unwrap();
        assert!(output.status.success(), "openssl {words}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    /// A server with its certificate, which demands one of the client.
    fn server(&self) -> rustls::ServerConfig {
        use rustls::pki_types::pem::PemObject as _;
        use rustls::pki_types::{CertificateDer, PrivateKeyDer};
        let certificate = |name: &str| CertificateDer::from_pem_file(self.path(name)).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate("ca.crt")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
        let builder =
            rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let key = PrivateKeyDer::from_pem_file(self.path("server.key")).unwrap();
        let builder = builder.with_client_cert_verifier(verifier.unwrap());
        builder.with_single_cert(vec![certificate("server.crt")], key).unwrap()
    }
}

#[test]
fn both_sides_show_their_certificates() {
    let certificates = Certificates::make();
    let config = Arc::new(certificates.server());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    // Ends with the test's process: it waits for nobody.
    std::thread::spawn(move || {
        let answer: Arc<Answer> = Arc::new(shutdowns(json!([sample("cart", "graceful", "5")])));
        for stream in listener.incoming().map_while(Result::ok) {
            let (config, answer) = (Arc::clone(&config), Arc::clone(&answer));
            std::thread::spawn(move || {
                let session = rustls::ServerConnection::new(config).unwrap();
                serve(rustls::StreamOwned::new(session, stream), &answer, &Mutex::default());
            });
        }
    });
    let ca = certificates.path("ca.crt");
    let (certificate, key) = (certificates.path("client.crt"), certificates.path("client.key"));
    let source = ["--prometheus", &url];
    let own = ["--client-cert", &certificate, "--client-key", &key];
    let output = audit(&[&source[..], &["--ca", &ca], &own].concat());
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let without_ours = audit(&[&source[..], &["--ca", &ca]].concat());
    assert_eq!(without_ours.status.code(), Some(1));
    assert!(errors(&without_ours).contains("--client-cert"), "{}", errors(&without_ours));
    let without_theirs = audit(&[&source[..], &own].concat());
    assert_eq!(without_theirs.status.code(), Some(1));
    assert!(errors(&without_theirs).contains("--ca"), "{}", errors(&without_theirs));
}
