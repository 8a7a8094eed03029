//! An API server that knows the pods of one node: it lists them by a watch, tells what changes, and takes events.
//!
//! As much HTTP as the agent's client speaks, one thread for each connection, and nothing is checked: it stands for a
//! server that is healthy and near.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use serde_json::{Value, json};

use crate::stage;

/// Pods that share a workload, and with it their series.
const REPLICAS: usize = 5;
pub(crate) const NODE: &str = "bench";

/// The server; it ends with this process.
pub(crate) struct Api {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct State {
    pods: usize,
    watches: Vec<TcpStream>,
}

impl Api {
    /// One that knows the pods 0 to `pods`, all of them running.
    pub(crate) fn start(pods: usize) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State { pods, watches: Vec::new() }));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || drop(serve(stream, &shared)));
            }
        });
        Ok(Self { address, state })
    }

    /// A kubeconfig that leads to it.
    pub(crate) fn kubeconfig(&self) -> String {
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "bench",
            "clusters": [{"name": "bench", "cluster": {"server": format!("http://{}", self.address)}}],
            "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
            "users": [{"name": "bench", "user": {}}],
        })
        .to_string()
    }

    /// Somebody deletes that pod.
    pub(crate) fn delete(&self, number: usize) -> Result<()> {
        let mut object = pod(number);
        object["metadata"]["deletionTimestamp"] = json!(jiff::Timestamp::now().to_string());
        object["metadata"]["deletionGracePeriodSeconds"] = json!(30);
        let line = line(&json!({"type": "MODIFIED", "object": object}));
        for watch in &mut lock(&self.state).watches {
            watch.write_all(line.as_bytes())?;
        }
        Ok(())
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The requests of one connection.
fn serve(stream: TcpStream, state: &Mutex<State>) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut answers = stream.try_clone()?;
    let mut requests = BufReader::new(stream);
    loop {
        let (mut first, mut length) = (String::new(), 0);
        if requests.read_line(&mut first)? == 0 {
            return Ok(());
        }
        loop {
            let mut header = String::new();
            requests.read_line(&mut header)?;
            if header.trim().is_empty() {
                break;
            }
            if let Some((name, value)) = header.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse()?;
            }
        }
        let mut body = vec![0; length];
        requests.read_exact(&mut body)?;
        let path = first.split(' ').nth(1).unwrap_or_default();
        if path.contains("/pods?") && path.contains("watch=true") {
            return watch(answers, state);
        }
        // An event that is taken is given back.
        let (status, body) = if first.starts_with("POST ") { (201, body) } else { (404, b"{}".to_vec()) };
        let head =
            format!("HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
        answers.write_all(&[head.as_bytes(), &body].concat())?;
    }
}

/// All pods, and the mark that these were all; changes follow as they come.
fn watch(mut stream: TcpStream, state: &Mutex<State>) -> Result<()> {
    let mut state = lock(state);
    let mut text = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
    for number in 0..state.pods {
        text += &line(&json!({"type": "ADDED", "object": pod(number)}));
    }
    let all = json!({"kind": "Pod", "apiVersion": "v1", "spec": {"containers": []}, "metadata": {
        "resourceVersion": "2", "annotations": {"k8s.io/initial-events-end": "true"}}});
    text += &line(&json!({"type": "BOOKMARK", "object": all}));
    stream.write_all(text.as_bytes())?;
    state.watches.push(stream);
    Ok(())
}

/// One event, as a chunk of its own.
fn line(event: &Value) -> String {
    let event = event.to_string();
    format!("{:x}\r\n{event}\n\r\n", event.len() + 1)
}

/// A pod as a server tells it, with what an agent asks for and some of what it does not.
pub(crate) fn pod(number: usize) -> Value {
    let workload = format!("checkout-{}", number / REPLICAS);
    let image = "registry.example/shop/checkout:2026.11.22-4a5d3f1c";
    let labels = json!({"app.kubernetes.io/name": workload, "app.kubernetes.io/part-of": "shop"});
    let owner = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": workload, "controller": true,
        "uid": format!("e870ab49-b126-4382-af63-{:012}", number / REPLICAS)});
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": "shop", "name": format!("{workload}-{}", number % REPLICAS), "uid": stage::uid(number),
            "resourceVersion": "1", "creationTimestamp": "2026-11-22T21:26:16Z", "labels": labels, "ownerReferences": [owner]},
        "spec": {"nodeName": NODE, "terminationGracePeriodSeconds": 30, "restartPolicy": "Always",
            "containers": [{"name": "app", "image": image, "ports": [{"containerPort": 8080}],
                "env": [{"name": "A", "value": "b"}]}]},
        "status": {"phase": "Running", "qosClass": "BestEffort", "containerStatuses": [{"name": "app", "image": image,
            "imageID": "", "ready": true, "started": true, "restartCount": 0,
            "containerID": format!("containerd://{}", stage::id(number)),
            "state": {"running": {"startedAt": "2026-11-22T21:26:18Z"}}}]},
    })
}
