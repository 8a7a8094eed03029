//! `test`: what a change must pass, from the format to foreign kernels, as one list of steps.
//!
//! The steps that touch a kernel run as root. Nothing is skipped: a step that cannot run is a failure. The first failure
//! ends the usual list; the long one is for a night, and goes on to tell all that is wrong.

use std::ffi::OsStr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::setup::{Toolchain, Voice};
use crate::{
    bench, build, child, dependencies, deploy, e2e, fleet, fuzz, machine, packages, previews, rules, setup, table, vm,
    zoo,
};

/// How much is tested.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// What every change must pass.
    Usual,
    /// Also what takes longer.
    All,
}

/// The integration tests that need a container runtime or an engine, and are steps of their own.
const CONTAINERD: &str = "containerd";
const ENGINE: &str = "check_image";
/// The one that needs a cluster.
const CLUSTER: &str = "kube_api";
/// The one that needs a browser.
const BROWSER: &str = "page";

type Work = fn(&Toolchain) -> Result<()>;

/// One step, and how long it took and how it ended once it did.
struct Step {
    name: &'static str,
    work: Work,
    done: Option<(Duration, Result<()>)>,
}

/// Runs the steps and closes with a table of them.
pub(crate) fn run(scope: Scope) -> Result<()> {
    machine::require_linux()?;
    machine::require_tracing()?;
    let toolchain = setup::run(Voice::OnlyWork)?;
    let mut steps: Vec<_> = steps(scope).into_iter().map(|(name, work)| Step { name, work, done: None }).collect();
    for step in &mut steps {
        anstream::eprintln!("\n{0}== {1}{0:#}", child::GOOD, step.name);
        let started = Instant::now();
        let result = (step.work)(&toolchain);
        let failed = result.is_err();
        step.done = Some((started.elapsed(), result));
        if failed && scope == Scope::Usual {
            break;
        }
    }
    print!("\n{}", summary(&steps));
    let failed = steps.into_iter().filter_map(|step| Some(format!("{}: {:#}", step.name, step.done?.1.err()?)));
    let failed: Vec<_> = failed.collect();
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(())
}

fn steps(scope: Scope) -> Vec<(&'static str, Work)> {
    let usual: [(_, Work); 15] = [
        ("format", |_| cargo("fmt --all --check")),
        ("lock files", |_| locked()),
        ("packages", |_| {
            packages::provide(packages::CONTAINERS.iter().chain(&packages::MACHINES).chain(&packages::METRICS))
        }),
        ("lints", |_| cargo("clippy --locked --workspace --all-targets -- -Dwarnings")),
        ("lints of the kernel programs", |_| lint_programs()),
        ("unit tests", |_| cargo("test --workspace --exclude signal-trace-ebpf --lib --bins")),
        ("alerts and rules", |_| rules::run()),
        ("chart and manifests", |_| deploy::check()),
        ("tests on this kernel", on_this_kernel),
        ("tests with containerd and runc", |toolchain| integration(toolchain, &[CONTAINERD.to_owned()])),
        ("check of images with podman", |toolchain| {
            packages::provide(&packages::ENGINES)?;
            integration(toolchain, &[ENGINE.to_owned()])
        }),
        ("zoo, the short run", |_| zoo::run(&zoo::Options::quick())),
        ("demo on this kernel", |toolchain| child::show(machine::as_root(build::product(toolchain)?)?.arg("demo"))),
        ("costs against those that are stored", bench::hold),
        ("demo on Debian's kernels", |_| vm::run(&vm::Options::default())),
    ];
    let longer: [(_, Work); 13] = [
        ("examples in the documentation", |_| cargo("test --workspace --doc")),
        ("documentation", |_| {
            let mut command = machine::cargo();
            child::show(command.env("RUSTDOCFLAGS", "-Dwarnings").args([
                "doc",
                "--workspace",
                "--no-deps",
                "--document-private-items",
            ]))
        }),
        ("dependencies", |_| dependencies::run()),
        ("zoo, all of it", |_| zoo::run(&zoo::Options::all())),
        ("zoo on Debian's kernels", |_| zoo::run(&zoo::Options::guests())),
        ("Kubernetes, all cases and faults", |_| e2e::run(&e2e::Options::all())),
        ("Kubernetes, with cgroup v2 only", |_| e2e::run(&e2e::Options::emulated())),
        ("Kubernetes, with an audit", |_| e2e::run(&e2e::Options::audit())),
        ("Kubernetes, with the chart", |_| e2e::run(&e2e::Options::chart())),
        ("pictures of the dashboards and the report", |_| previews::check()),
        ("audit of a large fleet", |_| fleet::run(&fleet::Options::default())),
        ("fuzzing, a minute each", |_| fuzz::run(&fuzz::Options::short())),
        ("Kubernetes, everything at once", |_| e2e::run(&e2e::Options::chaos(10, 1))),
    ];
    match scope {
        Scope::Usual => usual.into(),
        Scope::All => usual.into_iter().chain(longer).collect(),
    }
}

fn cargo(words: &str) -> Result<()> {
    child::show(machine::cargo().args(words.split(' ')))
}

/// The fuzz targets are a workspace of their own, which the usual steps do not build: its lock must follow the product's
/// dependencies all the same.
fn locked() -> Result<()> {
    let words = "metadata --locked --format-version 1 --manifest-path signal-trace/fuzz/Cargo.toml";
    child::read(machine::cargo().args(words.split(' '))).map(drop).context("the fuzz targets' lock is behind")
}

/// The programs again, as what they are: for the kernel's own virtual machine, with a `core` built for it.
///
/// In a directory of their own: some build scripts ask for `RUSTC_BOOTSTRAP`, and would have everything built anew, now
/// with it and then without.
fn lint_programs() -> Result<()> {
    let words = "clippy --package signal-trace-ebpf --target bpfel-unknown-none --target-dir target/programs \
                 -Zbuild-std=core -- -Dwarnings";
    child::show(machine::cargo().env("RUSTC_BOOTSTRAP", "1").args(words.split_ascii_whitespace()))
}

/// Every integration test but those that this machine alone is not enough for.
fn on_this_kernel(toolchain: &Toolchain) -> Result<()> {
    let directory = machine::workspace().join("signal-trace/tests");
    let files = std::fs::read_dir(&directory).with_context(|| format!("cannot read {}", directory.display()))?;
    let paths = files.map(|file| Ok(file?.path())).collect::<Result<Vec<_>>>()?;
    // As cargo finds them: a file each, or a directory with a `main.rs`.
    let tests = paths.iter().filter(|path| path.extension() == Some(OsStr::new("rs")) || path.join("main.rs").exists());
    let names = tests.filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned()));
    let mut names: Vec<_> = names.filter(|name| ![CONTAINERD, ENGINE, CLUSTER, BROWSER].contains(&&**name)).collect();
    names.sort();
    integration(toolchain, &names)
}

fn integration(toolchain: &Toolchain, names: &[String]) -> Result<()> {
    ensure!(!names.is_empty(), "there is no such test in signal-trace/tests");
    let mut cargo = machine::cargo_as_root(&toolchain.host)?;
    // The same packages as for the unit tests, so that what they are built from has the same features and is built once.
    cargo.args(["test", "--workspace", "--exclude", "signal-trace-ebpf"]);
    child::show(cargo.args(names.iter().flat_map(|name| ["--test", name])))
}

fn summary(steps: &[Step]) -> String {
    let rows: Vec<_> = steps
        .iter()
        .map(|step| {
            let (seconds, result) = match &step.done {
                Some((took, Ok(()))) => (format!("{:.1}", took.as_secs_f64()), "ok"),
                Some((took, Err(_))) => (format!("{:.1}", took.as_secs_f64()), "failed"),
                None => (String::new(), "not run"),
            };
            [step.name.to_owned(), format!("{seconds:>7}"), result.to_owned()]
        })
        .collect();
    table::render(["step", "seconds", "result"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[test]
    fn the_summary_tells_passed_failed_and_not_reached_apart() {
        let step = |name, done| Step { name, work: |_| Ok(()), done };
        let steps = [
            step("format", Some((Duration::from_millis(1_230), Ok(())))),
            step("lints", Some((Duration::from_secs(70), Err(anyhow!("broken"))))),
            step("unit tests", None),
        ];
        let lines = [
            "step        seconds  result",
            "format          1.2  ok",
            "lints          70.0  failed",
            "unit tests           not run",
            "",
        ];
        assert_eq!(summary(&steps), lines.join("\n"));
    }

    #[test]
    fn every_dependency_has_its_line_in_the_review() {
        let manifest = std::fs::read_to_string(machine::workspace().join("Cargo.toml")).unwrap();
        let section = manifest.split("[workspace.dependencies]\n").nth(1).unwrap();
        let section = section.split("\n[").next().unwrap();
        let mut named: Vec<_> = section.lines().filter_map(|line| Some(line.split_once(" = ")?.0)).collect();
        let review = std::fs::read_to_string(machine::workspace().join("docs/dependencies.md")).unwrap();
        let mut reviewed: Vec<_> =
            review.lines().filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0)).collect();
        named.sort_unstable();
        reviewed.sort_unstable();
        assert_eq!(named, reviewed);
    }

    #[test]
    fn all_is_the_usual_and_more() {
        let names = |scope| steps(scope).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert!(names(Scope::All).starts_with(&names(Scope::Usual)));
        assert!(names(Scope::All).len() > names(Scope::Usual).len());
    }
}
