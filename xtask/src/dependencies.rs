//! `dependencies`: what `deny.toml` says of licences, sources and duplicates holds, and no crate has a known weakness.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{child, machine};

/// The version of cargo-deny that looks.
const VERSION: &str = "0.20.2";

/// Looks at every crate of the lock file.
pub(crate) fn run() -> Result<()> {
    let program = provide()?;
    let deny = |words: &str| {
        let mut command = Command::new(&program);
        command.current_dir(machine::workspace()).args(words.split(' '));
        command
    };
    child::show(&mut deny("check licenses bans sources"))?;
    // Where the network ends before the database, the one that was fetched last has to do.
    let advisories = match child::show(&mut deny("fetch db")) {
        Ok(()) => "check advisories",
        Err(error) => {
            anstream::eprintln!("{0}{error:#}{0:#}: the database that was fetched last is used", child::QUIET);
            "--offline check advisories"
        }
    };
    child::show(&mut deny(advisories)).context("known weaknesses, or there is no database of them here")
}

/// Builds cargo-deny, unless it is there.
fn provide() -> Result<PathBuf> {
    let tools = machine::workspace().join("target/tools/deny");
    let program = tools.join(format!("cargo-deny-{VERSION}"));
    if program.exists() {
        return Ok(program);
    }
    anstream::eprintln!("building cargo-deny {VERSION}: some five minutes, once");
    let build = tools.join("build");
    let mut cargo = machine::cargo();
    cargo.args(["install", "cargo-deny", "--version", VERSION, "--locked", "--force", "--no-default-features"]);
    // It looks once at a few hundred crates: optimising it would take longer than it ever runs.
    cargo.arg("--debug").env("CARGO_PROFILE_DEV_DEBUG", "false");
    child::show(cargo.arg("--root").arg(&tools).arg("--target-dir").arg(&build))
        .context("cargo-deny could not be built: its sources come over the network, check that")?;
    std::fs::rename(tools.join("bin/cargo-deny"), &program).context("cargo did not make cargo-deny")?;
    std::fs::remove_dir_all(&build)?;
    Ok(program)
}
