//! The API server away, and unwilling to take events.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::{BOUND, Lab, good, must, wrapper};
use crate::e2e::agent as tested;
use crate::e2e::case::State;
use crate::e2e::node::{Node, Part};

/// Long enough that the server is down when the pods end.
const GRACE: u32 = 8;

/// Pods end while nobody can be asked about them.
pub(super) fn down(lab: &mut Lab<'_>) -> Result<()> {
    let agent = lab.agent()?;
    let namespace = lab.namespace("down");
    lab.pods(&namespace, &[wrapper("first", GRACE), wrapper("second", GRACE), good("third", GRACE)])?;
    lab.delete(&namespace, "first second")?;
    lab.until(&namespace, "*", 2, State::Terminating)?;
    lab.delete(&namespace, "third")?;
    lab.node()?.kill(Part::ApiServer)?;
    let since = Instant::now();
    let records = lab.records(&namespace, 3);
    let labels = [("namespace".to_owned(), namespace.clone())].into();
    let counted = lab.metrics("all are counted while the server is down", |metrics| {
        metrics.sum("signal_trace_shutdowns_total", &labels) == Some(3.0)
    });
    lab.endure(since + lab.outage)?;
    let alive = tested::get("/healthz");
    let interrupt = lab.board.interrupt.clone();
    lab.node()?.start(Part::ApiServer)?;
    lab.node()?.until("the API server is back", &interrupt, Node::is_ready)?;

    for record in records? {
        let good = record["pod"]["name"] == "third";
        let verdict = if good { ("graceful", "none") } else { ("grace_exceeded", "not_forwarded") };
        let workload = json!({"kind": "Pod", "name": record["pod"]["name"]});
        must(
            &json!({"outcome": verdict.0, "cause": verdict.1, "trigger": "delete", "container": {"name": "app"},
                "pod": {"workload": workload}, "grace": {"seconds": GRACE}}),
            &record,
        )?;
    }
    counted?;
    alive.context("while the server was down")?;
    lab.heals(&lab.namespace("down-after"))?;
    // Two of the first, one of the last: each written, or counted as what it became.
    lab.metrics("every event is accounted for", |metrics| metrics.total("signal_trace_kube_events_total") >= 3.0)?;
    agent.end()
}

/// The right to write events is taken away and given back.
pub(super) fn events_forbidden(lab: &mut Lab<'_>) -> Result<()> {
    lab.cluster.ask("delete clusterrolebinding signal-trace-agent-events")?;
    let forbidden = without_events(lab);
    lab.cluster.ask(
        "create clusterrolebinding signal-trace-agent-events --clusterrole=signal-trace-agent-events \
         --serviceaccount=signal-trace:agent",
    )?;
    forbidden
}

fn without_events(lab: &Lab<'_>) -> Result<()> {
    let agent = lab.agent()?;
    let namespace = lab.namespace("forbidden");
    lab.pods(&namespace, &[wrapper("first", 2), wrapper("second", 2)])?;
    lab.delete(&namespace, "first second")?;
    for record in lab.records(&namespace, 2)? {
        must(&json!({"outcome": "grace_exceeded", "cause": "not_forwarded"}), &record)?;
    }
    let failed = [("result".to_owned(), "failed".to_owned())].into();
    lab.metrics("both events are counted as failed", |metrics| {
        metrics.sum("signal_trace_kube_events_total", &failed) == Some(2.0)
    })?;
    let labels = [("namespace".to_owned(), namespace.clone())].into();
    lab.metrics("both shutdowns are counted", |metrics| {
        metrics.sum("signal_trace_shutdowns_total", &labels) == Some(2.0)
    })?;
    agent.end()?;
    let log = lab.log()?;
    let warnings: Vec<_> = log.lines().filter(|line| line.contains("not allowed to write events")).collect();
    ensure!(warnings.len() == 1, "it said so {} times in {} s:\n{log}", warnings.len(), BOUND.as_secs());
    ensure!(warnings[0].contains("events.k8s.io"), "the warning names no way out: {}", warnings[0]);
    Ok(())
}
