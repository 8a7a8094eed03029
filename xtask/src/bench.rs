//! `bench`: what tracing costs on this machine's kernel.

use anyhow::Result;

use crate::setup::Voice;
use crate::{child, machine, setup};

/// Runs these benchmarks of the product as root and lets their tables through.
pub(crate) fn run(benchmarks: &[String]) -> Result<()> {
    machine::require_linux()?;
    machine::require_tracing()?;
    let toolchain = setup::run(Voice::OnlyWork)?;
    let mut cargo = machine::cargo_as_root(&toolchain.host)?;
    cargo.args(["bench", "--package", "signal-trace"]);
    child::show(cargo.args(benchmarks.iter().flat_map(|name| ["--bench", name])))
}
