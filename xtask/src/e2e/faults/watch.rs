//! The watch on pods refused, silent, and unanswered.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::{BOUND, Lab, good, must, wrapper};
use crate::e2e::agent::Setup;
use crate::e2e::board;
use crate::e2e::case::State;
use crate::e2e::pki;
use crate::e2e::process::{Process, tied};
use crate::e2e::proxy::{self, Mode, Proxy};

/// What the proxy asks for when it is busy.
const RETRY_AFTER: Duration = Duration::from_secs(3);
/// A watch hears from the server about once a minute; one that has not for this long is given up.
const SILENCE: Duration = Duration::from_secs(160);

/// The way to the API server that can be spoilt, and an agent's setup that uses it.
struct Way {
    proxy: Proxy,
    setup: Setup,
    /// Ended with the way.
    upstream: Process,
}

impl Way {
    fn open(lab: &Lab<'_>) -> Result<Self> {
        let proxy = Proxy::start()?;
        let mut command: Command = tied(&lab.cluster.bin.join("kubernetes"));
        // With the agent's own rights, and nothing added.
        command.arg("kubectl").arg("--kubeconfig").arg(&lab.setup.kubeconfig).arg("proxy");
        command.args(["--port", proxy::UPSTREAM.rsplit(':').next().unwrap_or_default()]);
        let upstream = Process::start("kubectl-proxy", command, &lab.setup.directory)?;
        let kubeconfig = lab.kubeconfig("spoilt");
        pki::write_kubeconfig(&kubeconfig, &format!("{{server: 'http://{}'}}", proxy::ADDRESS), "{}")?;
        let setup = Setup { kubeconfig, ..lab.setup.clone() };
        let way = Self { proxy, setup, upstream };
        lab.eventually("kubectl proxy answers", || Ok(std::net::TcpStream::connect(proxy::UPSTREAM).is_ok()))?;
        Ok(way)
    }

    fn close(mut self) -> Result<()> {
        drop(self.proxy);
        self.upstream.end()?;
        Ok(fs::remove_file(&self.setup.kubeconfig)?)
    }
}

/// Every refusal heals, and a busy server is left alone for as long as it asks.
pub(super) fn refused(lab: &mut Lab<'_>) -> Result<()> {
    let way = Way::open(lab)?;
    let agent = lab.agent_with(&way.setup)?;
    for status in [410, 403, 429] {
        way.proxy.set(Mode::Refuse(status));
        way.proxy.cut();
        lab.eventually("the watch is asked for again and again", || Ok(way.proxy.watches().len() >= 3))?;
        let asked = way.proxy.watches();
        let closest = asked.windows(2).map(|pair| pair[1] - pair[0]).min().unwrap_or_default();
        let least = if status == 429 { RETRY_AFTER } else { Duration::from_millis(100) };
        ensure!(closest >= least, "after {status} it asked again within {closest:?}");
        // What was cached before still is: the verdict of a pod that nobody tells about now has its name.
        way.proxy.set(Mode::Pass);
        lab.heals(&lab.namespace(&format!("refused-{status}")))?;
    }
    agent.end()?;
    way.close()
}

/// A connection that is dead, and nobody says so.
pub(super) fn silent(lab: &mut Lab<'_>) -> Result<()> {
    let way = Way::open(lab)?;
    let agent = lab.agent_with(&way.setup)?;
    let namespace = lab.namespace("silent");
    lab.pods(&namespace, &[wrapper("cached", 3)])?;
    lab.known(&namespace)?;
    way.proxy.set(Mode::Pass);
    way.proxy.silence();
    let since = Instant::now();
    lab.delete(&namespace, "cached")?;
    let records = lab.records(&namespace, 1)?;
    must(
        &json!({"outcome": "grace_exceeded", "cause": "not_forwarded", "container": {"name": "app"},
            "pod": {"name": "cached", "workload": {"kind": "Pod", "name": "cached"}}}),
        &records[0],
    )?;
    let again = |_: &board::Seen| way.proxy.watches().first().copied();
    let at = lab.board.wait(since + SILENCE, again)?;
    at.with_context(|| format!("no new watch within {} s of silence", SILENCE.as_secs()))?;
    lab.heals(&lab.namespace("silent-after"))?;
    agent.end()?;
    way.close()
}

/// Nothing was ever told about the pod.
pub(super) fn unseen(lab: &mut Lab<'_>) -> Result<()> {
    let way = Way::open(lab)?;
    let agent = lab.agent_with(&way.setup)?;
    way.proxy.set(Mode::Hold);
    way.proxy.cut();
    lab.eventually("the watch is asked for", || Ok(!way.proxy.watches().is_empty()))?;
    let namespace = lab.namespace("unseen");
    lab.pods(&namespace, &[good("ghost", 5)])?;
    let uid = lab.cluster.ask(&format!("get pod ghost --namespace {namespace} -o jsonpath={{.metadata.uid}}"))?;
    lab.delete(&namespace, "ghost")?;
    lab.until(&namespace, "ghost", 1, State::Gone)?;
    let nobodys = |seen: &board::Seen| {
        let of = |record: &&serde_json::Value| {
            record["container"]["cgroup"].as_str().is_some_and(|path| path.contains(&uid))
        };
        let records: Vec<_> = seen.records.iter().filter(of).cloned().collect();
        (!records.is_empty()).then_some(records)
    };
    let records = lab.board.wait(Instant::now() + BOUND, nobodys)?.context("no record of the unseen pod")?;
    ensure!(records.iter().all(|record| record["pod"].is_null()), "nobody can have told the pod's name");
    lab.metrics("it is counted as nobody's", |metrics| {
        metrics.total("signal_trace_unattributed_shutdowns_total") >= 1.0
    })?;
    way.proxy.set(Mode::Pass);
    way.proxy.cut();
    lab.heals(&lab.namespace("unseen-after"))?;
    agent.end()?;
    way.close()
}
