//! `fuzz`: feeds what reads bytes of strangers with bytes that nobody would think of, with libFuzzer on the pinned compiler.
//!
//! `cargo fuzz` asks for a nightly toolchain, for the address sanitiser. Here is hardly any unsafe code to find with that,
//! and coverage, which finds the rest, is a pass of LLVM that every compiler has. What is found is kept, and run first from
//! then on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::setup::{Toolchain, Voice};
use crate::{child, machine, setup, table};

/// What makes a program tell libFuzzer where it has been. `fuzzing` opens the few inner doors that targets need.
const FLAGS: [&str; 6] = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];
/// An input for which one takes longer than this hangs.
const SECONDS_EACH: u32 = 10;
/// More memory than this is a leak, or grows with what a stranger says.
const MEGABYTES: u32 = 1024;
/// Longest input, for those whose bound is not their own.
const LONGEST: u32 = 16 * 1024;

/// What is fuzzed, and for how long.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Targets of `signal-trace/fuzz/fuzz_targets`; all of them if none is named.
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    /// Minutes for each target.
    #[arg(long, value_name = "N", default_value_t = 10)]
    minutes: u32,
    /// Keep only what is needed for the same coverage, instead of looking for more.
    #[arg(long, conflicts_with = "minutes")]
    minimise: bool,
}

impl Options {
    /// Every target for a minute: for a test run.
    pub(crate) fn short() -> Self {
        Self { targets: Vec::new(), minutes: 1, minimise: false }
    }
}

/// Runs one target after the other; the first that crashes ends it.
pub(crate) fn run(options: &Options) -> Result<()> {
    machine::require_linux()?;
    let toolchain = setup::run(Voice::OnlyWork)?;
    let known = targets()?;
    for target in &options.targets {
        ensure!(known.contains(target), "there is no fuzz target {target}: there are {}", known.join(", "));
    }
    let chosen = if options.targets.is_empty() { &known } else { &options.targets };
    let programs = build(&toolchain)?;
    let mut rows = Vec::new();
    for target in chosen {
        let program = programs.join(target);
        if options.minimise {
            minimise(&program, target)?;
            continue;
        }
        replay(&program, target)?;
        rows.push(search(&program, target, options.minutes)?);
    }
    if !rows.is_empty() {
        print!("{}", table::render(["target", "seconds", "inputs"], &rows));
    }
    Ok(())
}

fn folder() -> PathBuf {
    machine::workspace().join("signal-trace/fuzz")
}

/// By the files that there are.
fn targets() -> Result<Vec<String>> {
    let folder = folder().join("fuzz_targets");
    let files = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut names: Vec<_> =
        files.flatten().filter_map(|file| Some(file.path().file_stem()?.to_str()?.to_owned())).collect();
    names.sort();
    Ok(names)
}

/// Builds all of them; where they are.
fn build(toolchain: &Toolchain) -> Result<PathBuf> {
    let out = machine::workspace().join("target/fuzz");
    let mut cargo = machine::cargo();
    cargo.args(["build", "--release", "--locked", "--manifest-path"]).arg(folder().join("Cargo.toml"));
    // A named target keeps the flags away from build scripts and macros, which run here and not there.
    cargo.args(["--bins", "--target", &toolchain.host, "--target-dir"]).arg(&out);
    cargo.env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\u{1f}"));
    child::show(&mut cargo).context("the fuzz targets cannot be built")?;
    Ok(out.join(&toolchain.host).join("release"))
}

/// What was found once must never come again.
fn replay(program: &Path, target: &str) -> Result<()> {
    let crashes = folder().join("crashes").join(target);
    if !crashes.is_dir() {
        return Ok(());
    }
    let mut command = bounded(program);
    child::show(command.arg("-runs=0").arg(&crashes)).with_context(|| format!("{target}: a fault is back"))
}

/// Looks for more; a row of the table.
fn search(program: &Path, target: &str, minutes: u32) -> Result<[String; 3]> {
    let found = machine::workspace().join("target/fuzz/found").join(target);
    let artifacts = machine::workspace().join("target/fuzz/crashes").join(target);
    for folder in [&found, &artifacts] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let started = Instant::now();
    let mut command = bounded(program);
    command.args([format!("-max_total_time={}", minutes * 60), "-print_final_stats=1".to_owned()]);
    command.arg(format!("-artifact_prefix={}/", artifacts.display()));
    // It writes to the first and only reads from the others.
    command.arg(&found).args(kept(target));
    if let Err(error) = child::show(&mut command) {
        bail!(
            "{target}: {error}; the input is in {0}, and `{1} {0}/FILE` replays it. Once it is mended, keep the file in \
             signal-trace/fuzz/crashes/{target}",
            artifacts.display(),
            program.display()
        );
    }
    let inputs = fs::read_dir(&found)?.count();
    Ok([target.to_owned(), format!("{:>7}", started.elapsed().as_secs()), format!("{inputs:>6}")])
}

/// Writes the smallest set of all that is known with the same coverage into the repository.
fn minimise(program: &Path, target: &str) -> Result<()> {
    let corpus = folder().join("corpus").join(target);
    let before = corpus.with_extension("before");
    fs::create_dir_all(&corpus)?;
    if before.exists() {
        fs::remove_dir_all(&before)?;
    }
    fs::rename(&corpus, &before)?;
    fs::create_dir_all(&corpus)?;
    let found = machine::workspace().join("target/fuzz/found").join(target);
    let sources = [before.clone(), found].into_iter().filter(|folder| folder.is_dir());
    child::show(bounded(program).arg("-merge=1").arg(&corpus).args(sources))?;
    fs::remove_dir_all(&before)?;
    Ok(())
}

fn bounded(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(machine::workspace());
    command.args([
        format!("-timeout={SECONDS_EACH}"),
        format!("-rss_limit_mb={MEGABYTES}"),
        format!("-max_len={LONGEST}"),
        "-verbosity=1".to_owned(),
    ]);
    command
}

/// What the repository has to start from.
fn kept(target: &str) -> Vec<PathBuf> {
    let folders = ["seeds", "corpus"].map(|kind| folder().join(kind).join(target));
    folders.into_iter().filter(|folder| folder.is_dir()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_has_something_to_start_from_and_an_entry_in_the_manifest() {
        let manifest = fs::read_to_string(folder().join("Cargo.toml")).unwrap();
        let targets = targets().unwrap();
        assert!(targets.len() >= 8, "{targets:?}");
        for target in targets {
            assert!(!kept(&target).is_empty(), "{target} has no corpus");
            assert!(manifest.contains(&format!("path = \"fuzz_targets/{target}.rs\"")), "{target} is not built");
        }
    }

    #[test]
    fn the_corpora_stay_small() {
        let bytes = |kind: &str| -> u64 {
            let folders = fs::read_dir(folder().join(kind)).into_iter().flatten().flatten();
            let files = folders.flat_map(|folder| fs::read_dir(folder.path()).into_iter().flatten().flatten());
            files.map(|file| file.metadata().unwrap().len()).sum()
        };
        let all = ["seeds", "corpus", "crashes"].map(bytes).iter().sum::<u64>();
        assert!(all < 500_000, "{all} bytes");
    }
}
