//! `demo`: the tool at work on this machine, from nothing.

use anyhow::Result;

use crate::setup::Voice;
use crate::{build, child, machine, setup};

/// Builds the product and runs its demo as root; fails as the demo fails.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    machine::require_linux()?;
    machine::require_tracing()?;
    let toolchain = setup::run(Voice::OnlyWork)?;
    let product = build::product(&toolchain)?;
    child::show(machine::as_root(product)?.arg("demo").args(arguments))
}
