//! Agents that somebody installed in a cluster which is not ours, as the chart does: their records come from their logs,
//! their metrics through the API server. Nothing is started and nothing is installed.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::board::Board;
use super::cluster::Cluster;
use super::metrics::Metrics;
use crate::child;

/// How the chart labels its pods.
const LABEL: &str = "app.kubernetes.io/name=signal-trace";

/// The agents of a cluster, followed until this is dropped.
pub(crate) struct Installed<'a> {
    cluster: &'a Cluster,
    agents: Vec<Pod>,
    readers: Vec<Child>,
}

/// One node's.
#[derive(Debug, PartialEq, Eq)]
struct Pod {
    namespace: String,
    name: String,
    port: u64,
}

impl<'a> Installed<'a> {
    /// Finds them, and has `board` told of what they say from now on.
    pub(crate) fn follow(cluster: &'a Cluster, board: &Board) -> Result<Self> {
        let list = cluster.ask(&format!("get pods --all-namespaces --selector {LABEL} -o json"))?;
        let agents = agents(&serde_json::from_str(&list)?)?;
        let mut installed = Self { cluster, agents, readers: Vec::new() };
        for Pod { namespace, name, .. } in &installed.agents {
            let mut logs = cluster.kubectl();
            logs.args(["logs", "--follow", "--since", "1s", "--namespace", namespace, name]);
            let mut child = logs.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
            let stdout = child.stdout.take().context("kubectl has no stdout")?;
            installed.readers.push(child);
            let board = board.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    // A pod's log holds both outputs; what is no record is the agent's words about itself.
                    if let Ok(record) = serde_json::from_str::<Value>(&line) {
                        board.tell(|seen| seen.records.push(record));
                    }
                }
            });
        }
        Ok(installed)
    }

    /// The metrics of all of them.
    pub(crate) fn scrape(&self) -> Result<Metrics> {
        let pages = self.agents.iter().map(|Pod { namespace, name, port }| {
            let path = format!("/api/v1/namespaces/{namespace}/pods/{name}:{port}/proxy/metrics");
            child::read(self.cluster.kubectl().args(["get", "--raw", &path]))
        });
        Ok(Metrics::parse(&pages.collect::<Result<Vec<_>>>()?.join("\n")))
    }
}

impl Drop for Installed<'_> {
    fn drop(&mut self) {
        for reader in &mut self.readers {
            drop(reader.kill());
            drop(reader.wait());
        }
    }
}

/// The pods in a list, all of which must be ready.
fn agents(list: &Value) -> Result<Vec<Pod>> {
    let items = list["items"].as_array().context("kubectl gave no list of pods")?;
    ensure!(!items.is_empty(), "no pod is labelled {LABEL}: install the chart of deploy/ in that cluster first");
    let pod = |item: &Value| {
        let text = |field: &str| item["metadata"][field].as_str().unwrap_or_default().to_owned();
        let (namespace, name) = (text("namespace"), text("name"));
        let ready =
            item["status"]["containerStatuses"].as_array().is_some_and(|all| all.iter().all(|c| c["ready"] == true));
        if !ready {
            bail!("the agent {namespace}/{name} is not ready: look at its log");
        }
        let port = item["spec"]["containers"][0]["ports"][0]["containerPort"].as_u64();
        Ok(Pod { port: port.with_context(|| format!("{namespace}/{name} names no port"))?, namespace, name })
    };
    items.iter().map(pod).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn agents_are_found_and_have_to_be_ready() {
        let list = |ready: bool| {
            json!({"items": [{"metadata": {"namespace": "st", "name": "a-1"},
                "spec": {"containers": [{"ports": [{"containerPort": 9469}]}]},
                "status": {"containerStatuses": [{"ready": ready}]}}]})
        };
        let found = Pod { namespace: "st".into(), name: "a-1".into(), port: 9469 };
        assert_eq!(agents(&list(true)).unwrap(), [found]);
        assert!(agents(&list(false)).unwrap_err().to_string().contains("st/a-1 is not ready"));
        assert!(agents(&json!({"items": []})).unwrap_err().to_string().contains("install the chart"));
    }
}
