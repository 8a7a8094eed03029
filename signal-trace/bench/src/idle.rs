//! What the agent takes while nothing happens, and what it takes to start.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::api::Api;
use crate::figure::{Figure, Limit};
use crate::node::{self, Agent};
use crate::stage::Tree;

const CONTAINERS: usize = 500;
/// After the start, until what it set in motion has come to rest.
const SETTLED: Duration = Duration::from_secs(10);
/// Parts that are measured one after the other, and how long each is.
const PARTS: usize = 5;
const PART: Duration = Duration::from_secs(10);
const STARTS: usize = 7;

/// Processor and wake-ups of an agent that has nothing to do.
pub(crate) fn run() -> Result<()> {
    const NAME: &str = "idle";
    let tree = Tree::new()?;
    let _containers = node::containers(&tree, CONTAINERS)?;
    let api = Api::start(CONTAINERS)?;
    let agent = Agent::start(&api)?;
    agent.follows(CONTAINERS)?;
    std::thread::sleep(SETTLED);
    let (mut share, mut wakeups) = (Vec::new(), Vec::new());
    for _ in 0..PARTS {
        let (begun, time, woken) = (Instant::now(), agent.processor()?, agent.wakeups()?);
        std::thread::sleep(PART);
        let wall = begun.elapsed().as_secs_f64();
        share.push(100.0 * (agent.processor()? - time).as_secs_f64() / wall);
        wakeups.push((agent.wakeups()? - woken) as f64 / wall);
    }
    Figure::of(NAME, format!("processor, {CONTAINERS} containers"), "% of a core", &share)
        .limit(Limit::AtMost(0.1))
        .print()?;
    Figure::of(NAME, format!("wake-ups, {CONTAINERS} containers"), "a second", &wakeups)
        .limit(Limit::AtMost(2.0))
        .print()
}

/// From exec to attached, and to ready.
pub(crate) fn start() -> Result<()> {
    const NAME: &str = "start";
    let tree = Tree::new()?;
    let _containers = node::containers(&tree, CONTAINERS)?;
    let api = Api::start(CONTAINERS)?;
    let (mut attached, mut ready, mut spent) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let agent = Agent::start(&api)?;
        attached.push(agent.attached.as_secs_f64() * 1e3);
        ready.push(agent.ready.as_secs_f64() * 1e3);
        spent.push(agent.processor()?.as_secs_f64() * 1e3);
    }
    Figure::of(NAME, "exec to attached", "ms", &attached).limit(Limit::AtMost(500.0)).print()?;
    Figure::of(NAME, format!("exec to ready, {CONTAINERS} containers"), "ms", &ready).print()?;
    Figure::of(NAME, "processor until then", "ms", &spent).print()
}
