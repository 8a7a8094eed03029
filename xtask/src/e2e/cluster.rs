//! The API server, through `kubectl`: what is done to the cluster, and the watches that keep the board up to date.

use std::io::BufReader;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::board::{Board, Seen};
use super::node;
use crate::child;

/// Between the end of a watch and the next try: the API server may be down on purpose.
const AGAIN: Duration = Duration::from_millis(500);

/// Who the events that are watched come from.
const REPORTER: &str = "signal-trace.dev/agent";

/// A label of every namespace that is made: of which run it is.
const RUN: &str = "e2e.signal-trace.dev/run";

/// Speaks to the API server with all rights.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    /// The programs of our own node.
    pub(crate) bin: PathBuf,
    /// Somebody else's cluster, which is not reached by our node's `kubectl` but by that of this machine.
    pub(crate) foreign: Option<PathBuf>,
    /// How what is created is held against the API's own description first. An emulated server takes longer to make that
    /// description than `kubectl` waits for it.
    pub(crate) validation: Validation,
}

/// Of what is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Validation {
    /// What the API does not know is an error.
    Strict,
    /// Only the API server's own checks.
    Ignore,
}

impl Validation {
    fn flag(self) -> &'static str {
        match self {
            Self::Strict => "--validate=strict",
            Self::Ignore => "--validate=ignore",
        }
    }
}

/// What is kept up to date.
#[derive(Clone, Copy)]
enum Kind {
    Pods,
    Events,
}

/// Keeps the board up to date until it is dropped.
pub(crate) struct Watches {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Cluster {
    /// `kubectl`, ready for its arguments.
    pub(crate) fn kubectl(&self) -> Command {
        let Some(kubeconfig) = &self.foreign else { return node::kubectl(&self.bin, &node::admin()) };
        let mut command = Command::new("kubectl");
        command.arg("--kubeconfig").arg(kubeconfig);
        command
    }

    /// Runs `kubectl` with these words, and returns what it printed.
    pub(crate) fn ask(&self, words: &str) -> Result<String> {
        child::read(self.kubectl().args(words.split(' ')))
    }

    /// Creates a namespace and these objects in it.
    pub(crate) fn create(&self, namespace: &str, objects: &[Value]) -> Result<()> {
        let labels = json!({ RUN: std::process::id().to_string() });
        let metadata = json!({ "name": namespace, "labels": labels });
        let own = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata });
        self.send(&["create", self.validation.flag(), "-f", "-"], &own)?;
        if objects.is_empty() {
            return Ok(());
        }
        // No pod is admitted before there is an account for it to run under; after an outage its controller takes minutes.
        self.ask(&format!("wait --for=create serviceaccount/default --namespace {namespace} --timeout=180s"))?;
        self.add(namespace, objects)
    }

    /// Creates these objects, in that namespace where they belong to one.
    pub(crate) fn add(&self, namespace: &str, objects: &[Value]) -> Result<()> {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        self.send(&["create", self.validation.flag(), "--namespace", namespace, "-f", "-"], &list)
    }

    /// Deletes every namespace that was made in this run, without waiting for it.
    pub(crate) fn remove_run(&self) {
        drop(self.ask(&format!("delete namespaces --selector {RUN}={} --wait=false", std::process::id())));
    }

    /// Posts an object to a path of the API server.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Result<()> {
        self.send(&["create", "--raw", path, "-f", "-"], body)
    }

    /// Applies a manifest as it is written.
    pub(crate) fn apply(&self, manifest: &str) -> Result<()> {
        self.feed(&["create", self.validation.flag(), "-f", "-"], manifest)
    }

    /// Starts to keep `board` up to date.
    pub(crate) fn watch(&self, board: &Board) -> Watches {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = [Kind::Pods, Kind::Events].map(|kind| {
            let (cluster, board, stop) = (self.clone(), board.clone(), stop.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    cluster.follow(kind, &board, &stop);
                    std::thread::sleep(AGAIN);
                }
            })
        });
        Watches { stop, threads: threads.into() }
    }

    /// One watch, from its list to its end.
    fn follow(&self, kind: Kind, board: &Board, stop: &AtomicBool) {
        let what = match kind {
            Kind::Pods => "pods",
            Kind::Events => "events.v1.events.k8s.io",
        };
        let mut command = self.kubectl();
        command.args(["get", what, "--all-namespaces", "--watch", "--output-watch-events", "-o", "json"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let Ok(mut child) = command.spawn() else { return };
        let Some(stdout) = child.stdout.take() else { return };
        // It starts with a list of what is there: what is gone by now must not stay.
        board.tell(|seen| kind.forget(seen));
        let ender = Ender { child: &mut child };
        for change in serde_json::Deserializer::from_reader(BufReader::new(stdout)).into_iter::<Value>() {
            let Ok(change) = change else { break };
            if stop.load(Ordering::Relaxed) {
                break;
            }
            board.tell(|seen| kind.note(seen, &change));
        }
        drop(ender);
    }

    fn send(&self, arguments: &[&str], body: &Value) -> Result<()> {
        self.feed(arguments, &body.to_string())
    }

    fn feed(&self, arguments: &[&str], text: &str) -> Result<()> {
        use std::io::Write;
        let mut command = self.kubectl();
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().context("kubectl could not be started")?;
        child.stdin.take().context("kubectl has no stdin")?.write_all(text.as_bytes())?;
        let output = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "`kubectl {}`: {}", arguments.join(" "), said.trim());
        Ok(())
    }
}

/// Ends the process when its output is no longer read.
struct Ender<'a> {
    child: &'a mut Child,
}

impl Drop for Ender<'_> {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Kind {
    fn forget(self, seen: &mut Seen) {
        match self {
            Self::Pods => seen.pods.clear(),
            // Events outlive what they are about; one that was written is not unwritten.
            Self::Events => {}
        }
    }

    fn note(self, seen: &mut Seen, change: &Value) {
        let object = &change["object"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        match self {
            Self::Pods => {
                let key = (text(&object["metadata"]["namespace"]), text(&object["metadata"]["name"]));
                if change["type"] == "DELETED" {
                    seen.pods.remove(&key);
                } else {
                    seen.pods.insert(key, object.clone());
                }
            }
            Self::Events => {
                if object["reportingController"] == REPORTER && change["type"] != "DELETED" {
                    seen.events.insert(text(&object["metadata"]["uid"]), object.clone());
                }
            }
        }
    }
}

impl Drop for Watches {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // They sit in a read that only a change ends; the programs that they read from end with us.
        self.threads.clear();
    }
}
