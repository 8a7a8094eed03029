//! What the agent takes in memory: by how many containers there are, a minute after its start.

use std::time::Duration;

use anyhow::Result;

use crate::api::Api;
use crate::figure::{Figure, Limit};
use crate::node::{self, Agent};
use crate::stage::Tree;

const NAME: &str = "memory";
const SIZES: [usize; 4] = [10, 100, 500, 2000];
/// How long after the start: what it took for the start alone has been given back by then.
const STEADY: Duration = Duration::from_secs(60);
/// The size that has a limit, and the limit.
const BOUNDED: usize = 500;
const BOUND_MIB: f64 = 16.0;

pub(crate) fn run() -> Result<()> {
    let mut curve = Vec::new();
    for size in SIZES {
        let tree = Tree::new()?;
        let _containers = node::containers(&tree, size)?;
        let api = Api::start(size)?;
        let agent = Agent::start(&api)?;
        agent.follows(size)?;
        std::thread::sleep(STEADY);
        let memory = agent.memory()?;
        let mib = |bytes: f64| bytes / f64::from(1 << 20);
        let total = mib(memory.resident + memory.kernel);
        curve.push((size as f64, total));
        let parts = format!(
            "{:.1} of the program's own, {:.1} of its file, {:.1} in the kernel; {:.1} resident at most during the start",
            mib(memory.own),
            mib(memory.resident - memory.own),
            mib(memory.kernel),
            mib(memory.peak)
        );
        let figure = Figure::one(NAME, format!("resident and maps, {size} containers"), "MiB", total).remark(parts);
        if size == BOUNDED { figure.limit(Limit::AtMost(BOUND_MIB)) } else { figure }.print()?;
    }
    let each = |(from, to): ((f64, f64), (f64, f64))| (to.1 - from.1) / (to.0 - from.0) * 1024.0;
    Figure::one(NAME, "each container more", "KiB", each((curve[0], curve[SIZES.len() - 1])))
        .curve("containers", curve)
        .print()
}
