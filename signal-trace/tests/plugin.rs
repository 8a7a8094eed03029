//! `kubectl signal-trace`: the same program under the name that kubectl looks for, against an API server that this test
//! plays: what is asked of it, and what is made of its answers.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A cluster, and the plug-in with a kubeconfig of it.
struct Cluster {
    directory: TempDir,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Cluster {
    /// One whose server answers by the path of the request.
    fn new(answer: impl Fn(&str) -> (u16, String) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        // Ends with the test's process: it waits for nobody.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                serve(stream, &answer, &seen);
            }
        });
        let directory = tempfile::tempdir().unwrap();
        symlink(env!("CARGO_BIN_EXE_signal-trace"), directory.path().join("kubectl-signal_trace")).unwrap();
        let context = |name: &str, server: &str| {
            (
                json!({"name": name, "cluster": {"server": server}}),
                json!({"name": name, "context": {"cluster": name, "user": "me"}}),
            )
        };
        let (here, elsewhere) = (context("here", &server), context("elsewhere", "http://127.0.0.1:1"));
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "elsewhere",
            "clusters": [here.0, elsewhere.0], "contexts": [here.1, elsewhere.1], "users": [{"name": "me", "user": {}}],
        });
        fs::write(directory.path().join("config"), kubeconfig.to_string()).unwrap();
        Self { directory, requests }
    }

    fn plugin(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let mut command = Command::new(self.directory.path().join("kubectl-signal_trace"));
        command.env("KUBECONFIG", self.directory.path().join("config")).env("LC_ALL", "C.UTF-8");
        said(&command.args(arguments).stdin(Stdio::null()).output().unwrap())
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn serve(mut stream: TcpStream, answer: &impl Fn(&str) -> (u16, String), seen: &Mutex<Vec<String>>) {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !text.contains("\r\n\r\n") {
        let read = stream.read(&mut buffer).unwrap_or(0);
        if read == 0 {
            return;
        }
        text.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
    let path = text.split(' ').nth(1).unwrap().to_owned();
    let (status, body) = answer(&path);
    seen.lock().unwrap().push(path);
    let head = format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    drop(stream.write_all((head + &body).as_bytes()));
}

fn list(items: &Value) -> String {
    json!({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": items}).to_string()
}

fn refusal(message: &str) -> String {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Forbidden", "code": 403, "message": message})
        .to_string()
}

fn pod(name: &str, phase: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"nodeName": format!("node-of-{name}"), "containers": []},
        "status": {"phase": phase}})
}

/// A record of now, of a workload in `shop`.
fn record(workload: &str, outcome: &str, cause: &str) -> String {
    let time = jiff::Timestamp::now();
    format!(
        r#"{{"schema":"signal-trace.dev/shutdown/v1","time":"{time:.6}","node":"n","container":{{"id":"c","name":"app","runtime":"containerd","image":null,"cgroup":"/x","cgroup_id":1}},"pod":{{"namespace":"shop","name":"p","uid":"u","revision":null,"workload":{{"kind":"Deployment","name":"{workload}"}}}},"outcome":"{outcome}","cause":"{cause}","confidence":"proven","trigger":"delete","stop_signal":"SIGTERM","init_disposition":"no_handler","grace":{{"seconds":30.0,"source":"spec"}},"prestop_seconds":null,"stop_to_kill_seconds":null,"stop_to_exit_seconds":1.0,"kill_to_exit_seconds":null,"avoidable_wait_seconds":null,"init":null,"exit":null,"processes":{{"at_stop":0,"leaves":0,"told":0,"killed":0}},"killed_by":null,"missed":[],"findings":[],"advice":"","timeline":[],"timeline_cut":0}}"#
    )
}

#[test]
fn top_reads_the_agents_logs_and_names_who_is_silent() {
    let cluster = Cluster::new(|path| match path {
        _ if path.contains("/pods/good/log") => {
            let lines = [
                "ready: 6 programs attached".to_owned(),
                record("till", "graceful", "none"),
                record("cart", "grace_exceeded", "not_forwarded"),
            ];
            (200, lines.join("\n") + "\n")
        }
        _ if path.contains("/pods/shy/log") => (403, refusal("you may not read logs")),
        _ => (200, list(&json!([pod("good", "Running"), pod("shy", "Running"), pod("late", "Pending")]))),
    });
    let (code, output, errors) = cluster.plugin(&["top", "--context", "here", "--since", "2h"]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(output.contains("node-of-late did not answer: its agent does not run (Pending)\n"), "{output}");
    assert!(output.contains("node-of-shy did not answer: you may not read logs (403)\n"), "{output}");
    assert!(output.contains("Last 2h: 2 shutdowns of 2 workloads; 1 of 3 agents answered\n"), "{output}");
    let place = |name: &str| output.find(name).unwrap_or_else(|| panic!("{output}"));
    assert!(place("shop/cart") < place("shop/till"), "the worst is on top: {output}");
    // The rights that it takes, and no more.
    for path in cluster.requests() {
        assert!(path.starts_with("/api/v1/namespaces/signal-trace/pods"), "{path}");
        let is_log = path.contains("/log?") && path.contains("sinceSeconds=7200") && path.contains("container=agent");
        assert!(is_log || path.contains("labelSelector=app.kubernetes.io%2Fname%3Dsignal-trace"), "{path}");
    }
    let (code, output, _) = cluster.plugin(&["top", "--context", "here", "--json", "--namespace", "shop"]);
    let report: Value = serde_json::from_str(&output).unwrap();
    assert_eq!((code, &report["schema"]), (Some(0), &"signal-trace.dev/audit/v1".into()));
    assert_eq!(report["complete"], false, "nodes are missing");
}

#[test]
fn no_agents_and_no_answers_are_no_good_news() {
    let nobody = Cluster::new(|_| (200, list(&json!([]))));
    let (code, _, errors) = nobody.plugin(&["top", "--context", "here", "--agents", "elsewhere"]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("no agent in namespace elsewhere: name theirs by --agents"), "{errors}");
    let refused = Cluster::new(|_| (403, refusal("pods is forbidden")));
    let (code, _, errors) = refused.plugin(&["top", "--context", "here"]);
    assert_eq!(code, Some(1));
    assert!(
        errors.contains("cannot list the agents' pods in namespace signal-trace: pods is forbidden (403)"),
        "{errors}"
    );
    let (code, _, errors) = refused.plugin(&["top", "--context", "unheard-of"]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("unheard-of"), "{errors}");
    // The current context's server is not there.
    let (code, _, errors) = refused.plugin(&["top"]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("no answer of the API server: Connection refused"), "{errors}");
}

#[test]
fn events_are_those_of_the_agents_page_by_page() {
    let event = |name: &str, reason: &str| {
        json!({"metadata": {"name": name, "namespace": "shop"}, "eventTime": "2026-11-22T10:00:00.000000Z",
            "reason": reason, "note": "said of it", "regarding": {"kind": "Pod", "name": name},
            "related": {"kind": "Deployment", "name": "cart"}})
    };
    let (first, second) = (event("cart-1", "StopSignalIgnored"), event("till-1", "ChildrenKilled"));
    let cluster = Cluster::new(move |path| {
        let page = |items: Value, next: &str| json!({"metadata": {"continue": next}, "items": items}).to_string();
        (200, if path.contains("continue=more") { page(json!([second]), "") } else { page(json!([first]), "more") })
    });
    let (code, output, errors) = cluster.plugin(&["events", "--context", "here", "--namespace", "shop"]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(output.contains("StopSignalIgnored: said of it") && output.contains("ChildrenKilled"), "{output}");
    for path in cluster.requests() {
        assert!(path.starts_with("/apis/events.k8s.io/v1/namespaces/shop/events?"), "{path}");
        assert!(path.contains("fieldSelector=reportingController%3Dsignal-trace.dev%2Fagent"), "{path}");
    }
    let (_, output, _) = cluster.plugin(&["events", "--context", "here", "--workload", "nobody"]);
    assert!(output.starts_with("No events"), "{output}");
}

#[test]
fn the_plug_in_has_what_makes_sense_beside_kubectl() {
    let cluster = Cluster::new(|_| (404, String::new()));
    let (code, output, _) = cluster.plugin(&["--help"]);
    assert_eq!(code, Some(0));
    assert!(output.contains("Usage: kubectl signal-trace <COMMAND>"), "{output}");
    for (command, there) in [("audit", true), ("events", true), ("top", true), ("watch", false), ("agent", false)] {
        assert_eq!(output.lines().any(|line| line.trim_start().starts_with(command)), there, "{output}");
    }
    assert_eq!(cluster.plugin(&["watch"]).0, Some(2));
}
