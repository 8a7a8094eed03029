//! `bench`: what signal-trace costs, on this machine's kernel.
//!
//! The figures are measured by a package of their own, which prints each as a line of JSON; here they are shown, kept for
//! `BENCHMARKS.md`, and held against earlier ones. A figure that misses its limit fails the command, after all are shown.

mod figure;
mod gate;
mod page;
mod picture;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use serde_json::Value;

use crate::setup::{Toolchain, Voice};
use crate::{build, child, machine, packages, setup, table};
use figure::Figure;
pub(crate) use gate::hold;

/// What to measure, and what to do with the figures.
#[derive(Args)]
pub(crate) struct Options {
    /// Which benchmarks: filtered, recorded, sender, burst, latency, memory, churn, idle, start, judge, scale, peers
    #[arg(value_name = "BENCHMARK")]
    names: Vec<String>,
    /// Print the figures as one JSON document instead of a table
    #[arg(long)]
    json: bool,
    /// Keep the figures, and write BENCHMARKS.md and its pictures anew
    #[arg(long)]
    write: bool,
}

/// Measures, and shows what came of it.
pub(crate) fn run(options: &Options) -> Result<()> {
    machine::require_linux()?;
    machine::require_tracing()?;
    let toolchain = setup::run(Voice::OnlyWork)?;
    let figures = measure(&toolchain, &options.names)?;
    if options.json {
        println!("{}", serde_json::to_string_pretty(&figures)?);
    } else {
        print!("{}", shown(&figures));
    }
    if options.write {
        page::keep(&figures)?;
        if options.names.is_empty() || options.names.iter().any(|name| name == "filtered") {
            gate::keep(&toolchain)?;
        }
    }
    let missed: Vec<_> = figures.iter().filter(|figure| figure.missed).map(|figure| &*figure.what).collect();
    ensure!(missed.is_empty(), "missed: {}", missed.join("; "));
    Ok(())
}

/// Builds what ships and what measures it, and measures as root.
fn measure(toolchain: &Toolchain, names: &[String]) -> Result<Vec<Figure>> {
    if names.is_empty() || names.iter().any(|name| name == "peers") {
        packages::provide(&packages::PEERS)?;
    }
    let program = program(toolchain)?;
    let mut command = machine::as_root(&program)?;
    let lines = child::show_and_read(command.args(names))?;
    lines.lines().map(|line| serde_json::from_str(line).with_context(|| format!("no figure: {line}"))).collect()
}

/// The program that measures, beside the product.
fn program(toolchain: &Toolchain) -> Result<PathBuf> {
    let product = build::product(toolchain)?;
    let mut cargo = machine::cargo();
    cargo.args(["build", "--release", "--package", "signal-trace-bench", "--target", &toolchain.musl_target()]);
    child::show(&mut cargo)?;
    let program = product.with_file_name("signal-trace-bench");
    ensure!(program.is_file(), "cargo did not put signal-trace-bench beside signal-trace");
    Ok(program)
}

fn shown(figures: &[Figure]) -> String {
    let rows: Vec<_> = figures
        .iter()
        .map(|figure| {
            let [min, median, max] = figure.values();
            [
                figure.benchmark.clone(),
                figure.what.clone(),
                min,
                median,
                max,
                figure.unit.clone(),
                figure.reference(),
                figure.limit(),
                figure.result().to_owned(),
            ]
        })
        .collect();
    let head = ["benchmark", "figure", "min", "median", "max", "unit", "against", "limit", "result"];
    let remarks = figures.iter().filter_map(|figure| Some(format!("{}: {}\n", figure.what, figure.remark.as_ref()?)));
    table::render(head, &rows) + "\n" + &remarks.collect::<String>()
}

/// What a file below this package holds, as JSON.
fn read(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no JSON", path.display()))
}

/// Where figures are kept.
fn kept(name: &str) -> PathBuf {
    machine::workspace().join("xtask/bench").join(name)
}
