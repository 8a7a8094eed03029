//! What an agent holds of the machine: threads, files, memory, and objects of the kernel.

use std::fmt::{self, Display};
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::child;

const LOOK: Duration = Duration::from_millis(200);
/// Connections to the API server come and go.
const MORE_FILES: usize = 4;
const MORE_THREADS: usize = 1;
/// The chart's request, far below its limit.
const MEMORY_MIB: f64 = 24.0;

/// What one process holds.
#[derive(Clone, Debug)]
pub(super) struct Held {
    threads: usize,
    files: usize,
    memory_mib: f64,
}

impl Held {
    pub(super) fn of(pid: u32) -> Result<Self> {
        let count = |what| anyhow::Ok(fs::read_dir(format!("/proc/{pid}/{what}"))?.count());
        let memory = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let kib =
            memory.lines().find_map(|line| line.strip_prefix("Pss:")?.split_whitespace().next()?.parse::<f64>().ok());
        Ok(Self {
            threads: count("task")?,
            files: count("fd")?,
            memory_mib: kib.context("no size in smaps_rollup")? / 1024.0,
        })
    }

    /// What is more than it should be.
    pub(super) fn grown_to(&self, last: &Self) -> Option<String> {
        let grown = last.threads > self.threads + MORE_THREADS
            || last.files > self.files + MORE_FILES
            || last.memory_mib > MEMORY_MIB;
        grown.then(|| format!("{self} at first, {last} at last"))
    }
}

impl Display for Held {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} threads, {} files, {:.1} MiB", self.threads, self.files, self.memory_mib)
    }
}

/// Programs, maps and links that are loaded on this machine.
pub(super) fn kernel_objects() -> Result<usize> {
    let mut count = 0;
    for kind in ["prog", "map", "link"] {
        let listed = child::read(Command::new("bpftool").args(["--json", kind, "show"]))?;
        let listed: Vec<serde_json::Value> = serde_json::from_str(&listed).context("what bpftool says")?;
        count += listed.len();
    }
    Ok(count)
}

/// The same once it is no more than `before`, or at the deadline: the kernel frees them a little later.
pub(super) fn kernel_objects_settled(before: usize, deadline: Instant) -> Result<usize> {
    loop {
        let count = kernel_objects()?;
        if count <= before || Instant::now() >= deadline {
            return Ok(count);
        }
        std::thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_told() {
        let held = |threads, files, memory_mib| Held { threads, files, memory_mib };
        let first = held(3, 40, 12.0);
        assert_eq!(first.grown_to(&held(3, 42, 15.0)), None);
        assert!(first.grown_to(&held(3, 60, 15.0)).is_some());
        assert!(first.grown_to(&held(9, 40, 15.0)).is_some());
        assert!(first.grown_to(&held(3, 40, 30.0)).is_some());
    }
}
