//! `previews`: pictures of the dashboards, from a real Prometheus with a made day in it, and of the audit's report, by a
//! browser without a window. What is drawn is the product's own tests; here is only what they need and where the pictures
//! go.

use std::path::Path;

use anyhow::Result;

use crate::{child, machine, packages};

/// Those that the readme shows.
const KEPT: &str = "docs/images";
/// Those that are only looked at by the tests.
const TRIED: &str = "target/previews";

/// Draws the pictures that are kept.
pub(crate) fn write() -> Result<()> {
    draw(KEPT)
}

/// Draws them beside those that are kept: another browser or font draws the same a little differently.
pub(crate) fn check() -> Result<()> {
    draw(TRIED)
}

fn draw(directory: &str) -> Result<()> {
    packages::provide(packages::METRICS.iter().chain(&packages::BROWSER))?;
    let pictures = machine::workspace().join(Path::new(directory));
    let mut cargo = machine::cargo();
    cargo.env("PREVIEWS", &pictures).args(["test", "--quiet", "--workspace", "--exclude", "signal-trace-ebpf"]);
    cargo.args(["--test", "dashboards", "--test", "page", "--", "every_panel_has_a_day_to_draw"]);
    child::show(cargo.arg("the_page_can_be_read_by_everybody"))?;
    anstream::println!("{0}drawn{0:#} {1}", child::GOOD, pictures.display());
    Ok(())
}
