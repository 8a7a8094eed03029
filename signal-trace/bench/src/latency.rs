//! How soon it is said what the kernel saw: as a line of JSON, and in the metrics.
//!
//! The agent follows a node of containers, which are stopped one after the other; half of them have a second process,
//! which dies with its init. A lag begins with the last thing that the kernel says of a container. It ends when the
//! line was read here, and when a page was read here that counts it: whoever scrapes less often sees it later. The load
//! is two processes that compute, on top of ten thousand records a second of another container.

use std::io::Read as _;
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use signal_trace::event::{KernelTime, Signal};
use signal_trace::kernel::boot_time;

use crate::api::Api;
use crate::figure::{Figure, Limit, percentile};
use crate::node::Agent;
use crate::stage::{self, Container, PATIENCE, Tree};

const NAME: &str = "latency";
const CONTAINERS: usize = 500;
/// Stopped in each of the two parts.
const STOPS: usize = 200;
/// Processes that compute.
const BUSY: usize = 2;
/// Between two looks at the metrics.
const ASK: Duration = Duration::from_millis(2);
const LIMIT: Limit = Limit::AtMost(50.0);

pub(crate) fn run() -> Result<()> {
    let tree = Tree::new()?;
    let api = Api::start(CONTAINERS)?;
    let containers = (0..CONTAINERS).map(|number| container(&tree, number)).collect::<Result<Vec<_>>>()?;
    let agent = Agent::start(&api)?;
    agent.follows(CONTAINERS)?;
    let (noisy, rest) = containers.split_first().context("containers")?;
    let (settle, rest) = rest.split_first().context("containers")?;
    for container in rest.iter().chain([settle]) {
        api.delete(container.number)?;
    }
    // News comes in order: when the last deletion is known, all are.
    let record = stop(&agent, settle)?.record;
    ensure!(record["trigger"] == "delete", "the agent did not hear of a deletion: {record}");

    let (idle, loaded) = (&rest[..STOPS], &rest[STOPS..2 * STOPS]);
    lags("", &agent, idle)?;
    let load = Load::start(noisy)?;
    let lagged = lags(", under load", &agent, loaded);
    drop(load);
    lagged?;
    let lost = agent.total("signal_trace_kernel_events_lost_total")?;
    Figure::one(NAME, "records lost meanwhile", "records", lost).limit(Limit::AtMost(0.0)).print()
}

/// One that ends well at SIGTERM; every other has a child that does not outlive it. The first one makes noise when told.
fn container(tree: &Tree, number: usize) -> Result<Container> {
    if number == 0 {
        return tree.container(0, || {
            stage::ignore(Signal::TERM);
            stage::sleep()
        });
    }
    let with_child = number % 2 == 1;
    let (mut ready, mark) = std::io::pipe()?;
    let container = tree.container(number, || {
        if with_child {
            stage::child(|| stage::sleep());
        }
        stage::block(Signal::TERM);
        stage::mark(mark.as_raw_fd());
        stage::end_at(Signal::TERM)
    })?;
    ready.read_exact(&mut [0])?;
    Ok(container)
}

/// What came of one stop, and after how many milliseconds each.
struct Stopped {
    record: Value,
    line: f64,
    metric: f64,
}

/// Stops a container and waits until it was told both ways.
fn stop(agent: &Agent, container: &Container) -> Result<Stopped> {
    const COUNTED: &str = "signal_trace_shutdowns_total";
    let before = agent.total(COUNTED)?;
    let told = boot_time();
    container.signal(Signal::TERM);
    let deadline = Instant::now() + PATIENCE;
    while agent.total(COUNTED)? <= before {
        ensure!(Instant::now() < deadline, "a stop was never counted");
        std::thread::sleep(ASK);
    }
    let counted = boot_time();
    container.reap();
    container.remove()?;
    let (read, record) = loop {
        let (at, line) = agent.records.recv_timeout(PATIENCE).context("a stop was never recorded")?;
        let record: Value = serde_json::from_str(&line)?;
        if record["container"]["cgroup_id"] == container.cgroup.0 {
            break (at, record);
        }
    };
    let last = record["timeline"].as_array().and_then(|moments| moments.last()?["at_seconds"].as_f64());
    let end = told.after(Duration::from_secs_f64(last.context("a record's timeline")?));
    let since = |at: KernelTime| at.since(end).as_secs_f64() * 1e3;
    Ok(Stopped { record, line: since(read), metric: since(counted) })
}

fn lags(when: &str, agent: &Agent, containers: &[Container]) -> Result<()> {
    let stopped = containers.iter().map(|container| stop(agent, container)).collect::<Result<Vec<_>>>()?;
    for (what, of) in [("a line of JSON", (|s| s.line) as fn(&Stopped) -> f64), ("a metric", |s| s.metric)] {
        let lags: Vec<_> = stopped.iter().map(of).collect();
        let p99 = percentile(&lags, 99);
        Figure::of(NAME, format!("kernel to {what}{when}"), "ms", &lags)
            .limit_for(p99, LIMIT)
            .remark(format!("the limit is for 99 of 100: {p99:.1} ms"))
            .print()?;
    }
    Ok(())
}

/// Processes that keep the machine busy; dropping it ends them.
struct Load(Vec<i32>);

impl Load {
    fn start(noisy: &Container) -> Result<Self> {
        let mut load = Self(Vec::new());
        for _ in 0..BUSY {
            load.0.push(stage::spawn(0, None, || {
                loop {
                    std::hint::spin_loop();
                }
            })?);
        }
        let init = noisy.init;
        load.0.push(stage::spawn(0, None, || {
            loop {
                // Init ignores it, so nothing piles up; the first one opens a window, in which all of them are recorded.
                for _ in 0..10 {
                    stage::send(init, Signal::TERM);
                }
                stage::rest(Duration::from_millis(1));
            }
        })?);
        Ok(load)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for pid in &self.0 {
            stage::send(*pid, Signal::KILL);
            stage::reap(*pid);
        }
    }
}
