//! Measures what signal-trace costs, and prints one line of JSON for each figure. `cargo xtask bench` runs it.
//!
//! Needs root. Its arguments are names of benchmarks; without any it runs all of them. A benchmark that cannot run ends
//! the program with an error; a limit that is missed does not: that is for who reads the figures.
#![expect(clippy::cast_precision_loss, reason = "figures are measured, and none is near 2^52")]

mod api;
mod burst;
mod churn;
#[path = "../../tests/kernel/clone.rs"]
mod clone;
mod figure;
mod heap;
mod idle;
mod judge;
mod kernel;
mod latency;
mod memory;
mod node;
mod peers;
mod stage;
mod world;

use anyhow::{Context as _, Result};

type Benchmark = (&'static str, fn() -> Result<()>);

const ALL: [Benchmark; 12] = [
    ("filtered", kernel::filtered),
    ("recorded", kernel::recorded),
    ("sender", kernel::to_the_end),
    ("burst", burst::run),
    ("latency", latency::run),
    ("memory", memory::run),
    ("churn", churn::run),
    ("idle", idle::run),
    ("start", idle::start),
    ("judge", judge::run),
    ("scale", judge::scale),
    ("peers", peers::run),
];

fn main() -> Result<()> {
    let names: Vec<_> = std::env::args().skip(1).collect();
    // For who counts instructions: the same piece of work each time, and nothing measured.
    if let [work, containers] = &*names
        && work == "work"
    {
        return judge::work(containers.parse()?);
    }
    let all = || ALL.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let known = |name: &String| ALL.iter().find(|(known, _)| known == name);
    let chosen =
        names.iter().map(|name| known(name).with_context(|| format!("no benchmark `{name}`: there are {}", all())));
    let chosen = chosen.collect::<Result<Vec<_>>>()?;
    for (name, run) in if names.is_empty() { ALL.iter().collect() } else { chosen } {
        eprintln!("{name}: measuring");
        run().with_context(|| format!("benchmark {name}"))?;
    }
    Ok(())
}
