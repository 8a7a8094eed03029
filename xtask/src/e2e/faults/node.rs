//! Parts of the node killed, and its clock set, while containers are being stopped.

use anyhow::Result;
use rustix::time::{ClockId, clock_gettime, clock_settime};
use serde_json::{Value, json};

use super::{Lab, must, wrapper};
use crate::e2e::case::State;
use crate::e2e::node::{Node, Part};

const GRACE: u32 = 8;
const HOUR: i64 = 3600;

/// Who waits for the container to end forgets that it does.
pub(super) fn containerd_killed(lab: &mut Lab<'_>) -> Result<()> {
    let record = interrupted_by(lab, "containerd", Part::Containerd)?;
    // The grace may start anew, with another stop signal: there is one shutdown all the same.
    must(&json!({"stop_to_kill_seconds": "7.9..40"}), &record)
}

/// Who decided to stop it forgets when.
pub(super) fn kubelet_killed(lab: &mut Lab<'_>) -> Result<()> {
    let record = interrupted_by(lab, "kubelet", Part::Kubelet)?;
    must(&json!({"stop_to_kill_seconds": "1.9..40"}), &record)
}

/// Durations are the kernel's, and none of them is of the clock on the wall.
pub(super) fn clock_set(lab: &mut Lab<'_>) -> Result<()> {
    let agent = lab.agent()?;
    for (name, seconds) in [("forward", HOUR), ("back", -HOUR)] {
        let namespace = lab.namespace(name);
        lab.pods(&namespace, &[wrapper("stubborn", GRACE)])?;
        lab.known(&namespace)?;
        lab.delete(&namespace, "stubborn")?;
        lab.metrics("the shutdown is open", |metrics| metrics.total("signal_trace_open_shutdowns") >= 1.0)?;
        let mut time = clock_gettime(ClockId::Realtime);
        time.tv_sec += seconds;
        clock_settime(ClockId::Realtime, time)?;
        must(
            &json!({"outcome": "grace_exceeded", "cause": "not_forwarded", "trigger": "delete",
                "stop_to_kill_seconds": "7.9..40", "pod": {"name": "stubborn"}, "container": {"name": "app"}}),
            &lab.records(&namespace, 1)?[0],
        )?;
        lab.event(&namespace, "StopSignalNotForwarded")?;
    }
    agent.end()
}

/// The record of a shutdown inside which a part of the node was killed.
fn interrupted_by(lab: &mut Lab<'_>, name: &str, part: Part) -> Result<Value> {
    let agent = lab.agent()?;
    let namespace = lab.namespace(name);
    lab.pods(&namespace, &[wrapper("stubborn", GRACE)])?;
    lab.delete(&namespace, "stubborn")?;
    lab.metrics("the shutdown is open", |metrics| metrics.total("signal_trace_open_shutdowns") >= 1.0)?;
    lab.node()?.kill(part)?;
    lab.node()?.start(part)?;
    let interrupt = lab.board.interrupt.clone();
    let records = lab.records(&namespace, 1)?;
    lab.until(&namespace, "stubborn", 1, State::Gone)?;
    lab.node()?.until("the node is ready", &interrupt, Node::is_ready)?;
    lab.heals(&lab.namespace(&format!("{name}-after")))?;
    let record = lab.records(&namespace, 1)?.remove(0);
    must(
        &json!({"outcome": "grace_exceeded", "cause": "not_forwarded", "trigger": "delete",
            "pod": {"name": "stubborn"}, "container": {"name": "app"}}),
        &records[0],
    )?;
    agent.end()?;
    Ok(record)
}
