//! The agent killed, kept from its port, and asked by clients that mean ill.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Lab, must, wrapper};
use crate::child;
use crate::e2e::agent::{self as tested, Setup};
use crate::e2e::check;
use crate::e2e::process::tied;

/// What a page may take while others are held up.
const PROMPT: Duration = Duration::from_secs(3);
/// More than a server that means well would have at a time.
const CLIENTS: usize = 200;

/// One that comes after the stop signal knows only what it saw itself.
pub(super) fn killed(lab: &mut Lab<'_>) -> Result<()> {
    let agent = lab.agent()?;
    let namespace = lab.namespace("killed");
    lab.pods(&namespace, &[wrapper("stubborn", 10)])?;
    lab.delete(&namespace, "stubborn")?;
    lab.metrics("the shutdown is open", |metrics| metrics.total("signal_trace_open_shutdowns") >= 1.0)?;
    agent.kill()?;
    let agent = lab.agent()?;
    let records = lab.records(&namespace, 1)?;
    let verdict = check::verdict(&records[0]);
    // What it saw is a kill of a container that still lived, of a pod that is being deleted.
    ensure!(
        ["unknown", "grace_exceeded/unknown", "grace_exceeded/not_forwarded"].contains(&&*verdict),
        "the kill alone was judged {verdict}"
    );
    must(&json!({"confidence": "partial", "pod": {"name": "stubborn"}, "container": {"name": "app"}}), &records[0])?;
    lab.heals(&lab.namespace("killed-after"))?;
    lab.records(&namespace, 1)?;
    agent.end()
}

/// What it says of others holds for itself.
pub(super) fn stopped(lab: &mut Lab<'_>) -> Result<()> {
    let Setup { program, kubeconfig, .. } = &lab.setup;
    let mut check = tied(program);
    check.args(["check", "--json", "--quiet", "--ready", "log:^ready: ", "--"]).arg(program).args(tested::ARGUMENTS);
    let record: Value = serde_json::from_str(&child::read(check.env("KUBECONFIG", kubeconfig))?)?;
    must(
        &json!({"outcome": "graceful", "cause": "none", "init_disposition": "handled", "stop_to_exit_seconds": "0..1"}),
        &record,
    )
}

/// Somebody else listens there.
pub(super) fn port_taken(lab: &mut Lab<'_>) -> Result<()> {
    let listener = TcpListener::bind(tested::LISTEN).context("the port is taken by somebody else")?;
    let mut agent = lab.setup.start(lab.board)?;
    let status = agent.wait(PROMPT * 10)?.context("it goes on without its pages")?;
    drop(listener);
    ensure!(status.code() == Some(1), "it ended with {status}");
    let said = agent.said();
    ensure!(said.contains("9469") && said.contains("--listen"), "it does not say what to do: {said}");
    Ok(())
}

/// Connections that are opened and never used to the end.
pub(super) fn hostile_clients(lab: &mut Lab<'_>) -> Result<()> {
    let agent = lab.agent()?;
    let hostile = (0..CLIENTS).map(|number| {
        let mut stream = TcpStream::connect(tested::LISTEN)?;
        let words: &[u8] = match number % 4 {
            0 => b"",
            1 => b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-",
            // Asked for many pages, and reads none.
            2 => &b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(64),
            _ => b"\x16\x03\x01 no HTTP at all\r\n\r\n",
        };
        // It may have been shown the door already.
        drop(stream.write_all(words));
        Ok(stream)
    });
    let hostile = hostile.collect::<std::io::Result<Vec<_>>>()?;
    lab.eventually("a scrape is answered soon", || {
        let asked = Instant::now();
        Ok(tested::scrape().is_ok() && asked.elapsed() < PROMPT)
    })?;
    lab.heals(&lab.namespace("hostile"))?;
    drop(hostile);
    agent.end()
}
