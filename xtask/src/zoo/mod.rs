//! `zoo`: real programs under real runtimes, each with a verdict that is known to be true, judged by one `watch`.
//!
//! An animal is a file in `xtask/zoo/cases` (`case`); a `keeper` runs and stops it under an `engine`, several at a time,
//! because most of the time is grace periods; `truth` holds the records against the files. What is wrong is saved as a
//! recording that `signal-trace replay` judges again. `guest` does all of it on other kernels.

mod case;
mod clock;
mod engine;
mod guest;
mod keeper;
mod report;
mod system;
mod truth;
mod wait;
mod watch;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::setup::Voice;
use crate::vm::Series;
use crate::{build, child, machine, packages, pool, setup};
use case::{Case, Expect, Place, Runtime};
use engine::{Engine, Ground};
use keeper::Keeper;
use report::Saved;
use watch::{Follow, Watch};

/// A verdict is there when the container is empty, or given up a few seconds after its init is gone.
const VERDICT_WITHIN: Duration = Duration::from_secs(15);

/// What is run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only under these runtimes.
    #[arg(long, value_enum)]
    runtime: Vec<Runtime>,
    /// Only these cases: a name, or how names begin and a `*`.
    #[arg(long)]
    case: Vec<String>,
    /// Only the two minutes that are part of `test`.
    #[arg(long)]
    quick: bool,
    /// How many cases at a time.
    #[arg(long, value_name = "N", default_value_t = 8)]
    jobs: usize,
    /// Keep the recording of every case, not only of those that are judged wrong.
    #[arg(long)]
    keep_recordings: bool,
    /// Judge with this signal-trace instead of building one.
    #[arg(long, value_name = "FILE")]
    with: Option<PathBuf>,
    /// In virtual machines with stock Debian kernels and cgroups of version 2 alone: the cases for all kernels, crun and
    /// systemd's services. Kernel series such as 6.1, or `newest`; without any: 5.10, 6.1, 6.12 and the newest.
    #[arg(long, value_name = "KERNEL", num_args = 0..)]
    vm: Option<Vec<Series>>,
    /// All is prepared, and the mounts are ours alone.
    #[arg(long, hide = true)]
    prepared: bool,
    /// This program, as it runs in a virtual machine.
    #[arg(long, hide = true)]
    runner: Option<PathBuf>,
    /// This is the virtual machine, and containers are made of this system.
    #[arg(long, hide = true)]
    system: Option<PathBuf>,
}

impl Options {
    /// The short run with all runtimes.
    pub(crate) fn quick() -> Self {
        Self {
            runtime: Vec::new(),
            case: Vec::new(),
            quick: true,
            jobs: 8,
            keep_recordings: false,
            with: None,
            vm: None,
            prepared: false,
            runner: None,
            system: None,
        }
    }

    /// Every case under each runtime that it names.
    pub(crate) fn all() -> Self {
        Self { quick: false, ..Self::quick() }
    }

    /// All of them in the machines of the kernel matrix.
    pub(crate) fn guests() -> Self {
        Self { vm: Some(Vec::new()), ..Self::all() }
    }

    fn place(&self) -> Place {
        if self.vm.is_some() || self.system.is_some() { Place::Guest } else { Place::Here }
    }

    fn chosen(&self, name: &str) -> bool {
        let matches = |pattern: &String| match pattern.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == pattern,
        };
        self.case.is_empty() || self.case.iter().any(matches)
    }
}

/// A case under a runtime.
struct Visit<'a> {
    case: &'a Case,
    runtime: Runtime,
}

/// What came of a visit: the container's id, or why there is none.
struct Outcome<'a> {
    visit: &'a Visit<'a>,
    seconds: f64,
    container: Result<String>,
}

/// Prepares as ourselves, then goes on as root, among mounts that are gone when we are.
pub(crate) fn run(options: &Options) -> Result<()> {
    if options.prepared {
        let product = options.with.as_deref().context("--prepared needs --with")?;
        return match (&options.vm, &options.runner) {
            (Some(series), Some(runner)) => guest::run(options, series, product, runner),
            (Some(_), None) => anyhow::bail!("--vm needs --runner once all is prepared"),
            (None, _) => visit(options, product),
        };
    }
    machine::require_linux()?;
    if options.place() == Place::Here {
        machine::require_tracing()?;
    }
    let cases = case::all()?;
    let visits = visits(&cases, options)?;
    packages::provide(&packages::DEBIAN)?;
    packages::provide(match options.place() {
        Place::Guest => packages::MACHINES.as_slice(),
        Place::Here => &packages::CONTAINERS,
    })?;
    if visits.iter().any(|visit| matches!(visit.runtime, Runtime::Podman | Runtime::Docker)) {
        packages::provide(&packages::ENGINES)?;
    }
    let toolchain = setup::run(Voice::OnlyWork)?;
    let product = match &options.with {
        Some(file) => file.clone(),
        None => build::product(&toolchain)?,
    };
    let mut command = machine::as_root("unshare")?;
    command.args(["--mount", "--propagation", "private"]).arg(std::env::current_exe()?);
    command.args(["zoo", "--prepared", "--with"]).arg(product.canonicalize()?);
    if let Some(series) = &options.vm {
        command.arg("--runner").arg(build::tasks(&toolchain)?).arg("--vm").args(series.iter().map(ToString::to_string));
    }
    // The same choice again.
    child::show(command.args(["--jobs", &options.jobs.to_string()]).args(options.choice()))
}

impl Options {
    /// What was chosen, as words.
    fn choice(&self) -> Vec<String> {
        let mut words = Vec::new();
        words.extend(self.runtime.iter().flat_map(|runtime| ["--runtime".to_owned(), runtime.name().to_owned()]));
        words.extend(self.case.iter().flat_map(|case| ["--case".to_owned(), case.clone()]));
        words.extend(self.quick.then(|| "--quick".to_owned()));
        words.extend(self.keep_recordings.then(|| "--keep-recordings".to_owned()));
        words
    }
}

/// Where what came of a run at a place is put.
fn results(place: Place) -> PathBuf {
    let name = match place {
        Place::Here => "last",
        Place::Guest => "last-vm",
    };
    machine::workspace().join("target/zoo").join(name)
}

/// The same, empty.
fn fresh_results(place: Place) -> Result<PathBuf> {
    let results = results(place);
    if results.exists() {
        fs::remove_dir_all(&results).context("cannot remove the results of the last run")?;
    }
    fs::create_dir_all(&results)?;
    Ok(results)
}

fn visits<'a>(cases: &'a [Case], options: &Options) -> Result<Vec<Visit<'a>>> {
    let runtimes = |case: &'a Case| case.runtimes.iter().map(move |runtime| Visit { case, runtime: *runtime });
    let chosen = cases.iter().filter(|case| options.chosen(&case.name) && (case.quick || !options.quick));
    let mut visits: Vec<_> = chosen
        .flat_map(runtimes)
        .filter(|visit| visit.case.runs(visit.runtime, options.place()))
        .filter(|visit| options.runtime.is_empty() || options.runtime.contains(&visit.runtime))
        .collect();
    ensure!(!visits.is_empty(), "no case in xtask/zoo/cases is called that and runs there");
    // The longest first, so that none is left alone at the end.
    visits.sort_by_key(|visit| Reverse(visit.case.grace()));
    Ok(visits)
}

fn visit(options: &Options, product: &Path) -> Result<()> {
    let cases = case::all()?;
    let visits = visits(&cases, options)?;
    let results = fresh_results(options.place())?;
    let system = match &options.system {
        Some(root) => root.clone(),
        None => {
            let wanted = visits.iter().flat_map(|visit| visit.case.packages.iter().map(String::as_str));
            system::provide(system::CONTAINERS, wanted)?.root
        }
    };
    let scratch = Scratch::mount()?;
    let files = scratch.0.join("layer/zoo");
    system::animals(&files, product)?;
    let ground = Ground { scratch: &scratch.0, system: &system, files: &files };
    let mut engines = BTreeMap::new();
    for runtime in Runtime::ALL.into_iter().filter(|runtime| visits.iter().any(|visit| visit.runtime == *runtime)) {
        engines.insert(runtime, engine::start(runtime, &ground)?);
    }

    let started = Instant::now();
    let services = visits.iter().any(|visit| visit.runtime == Runtime::Systemd);
    let watch = Watch::start(product, &results, if services { Follow::Services } else { Follow::Containers })?;
    let (alone, together): (Vec<_>, Vec<_>) = visits.iter().partition(|visit| visit.case.alone);
    let mut outcomes = pool::each(options.jobs, &together, |visit| one(visit, &engines, &ground));
    outcomes.extend(pool::each(1, &alone, |visit| one(visit, &engines, &ground)));
    wait_for_verdicts(&watch, &outcomes)?;
    let recording = watch.recording.clone();
    let said = watch.finish()?;
    let seconds = started.elapsed().as_secs_f64();
    drop(engines);
    outcomes.sort_by(|a, b| (&a.visit.case.name, a.visit.runtime).cmp(&(&b.visit.case.name, b.visit.runtime)));
    let saved = Saved { product, recording: &recording, directory: &results, all: options.keep_recordings };
    report::report(&outcomes, &said, &saved, seconds)
}

/// A folder in memory for everything that a run makes; unmounted when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn mount() -> Result<Self> {
        let at = std::env::temp_dir().join(format!("signal-trace-zoo-{}", std::process::id()));
        fs::create_dir_all(&at).with_context(|| format!("cannot make {}", at.display()))?;
        let scratch = Self(at);
        child::read(Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&scratch.0))?;
        for part in ["roots", "output", "layer"] {
            fs::create_dir_all(scratch.0.join(part))?;
        }
        Ok(scratch)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What a killed daemon left mounted goes with our mount namespace.
        let _ = child::read(Command::new("umount").args(["--lazy", "--recursive"]).arg(&self.0));
        let _ = fs::remove_dir(&self.0);
    }
}

type Engines = BTreeMap<Runtime, Box<dyn Engine>>;

fn one<'a>(visit: &'a Visit<'a>, engines: &Engines, ground: &Ground<'_>) -> Outcome<'a> {
    let started = Instant::now();
    let engine = engines.get(&visit.runtime).context("this runtime was not started");
    let container = engine.and_then(|engine| Keeper::new(visit.case, visit.runtime, &**engine, ground).run());
    let seconds = started.elapsed().as_secs_f64();
    let (style, end) = if container.is_ok() { (child::QUIET, "ended") } else { (child::ERROR, "failed") };
    anstream::eprintln!(
        "{style}{} under {} {end} after {seconds:.1} s{style:#}",
        visit.case.name,
        visit.runtime.name()
    );
    Outcome { visit, seconds, container }
}

/// Until every container that is to have a verdict has one, or it is plain that it gets none.
fn wait_for_verdicts(watch: &Watch, outcomes: &[Outcome<'_>]) -> Result<()> {
    let due = |outcome: &&Outcome<'_>| matches!(outcome.visit.case.expect, Expect::Verdict(_));
    let ids: Vec<_> = outcomes.iter().filter(due).filter_map(|outcome| outcome.container.as_ref().ok()).collect();
    wait::within(VERDICT_WITHIN, || {
        let judged = watch.judged()?;
        Ok(ids.iter().all(|id| judged.contains(id)).then_some(()))
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_chosen_by_name_and_by_beginning() {
        let options =
            |cases: &[&str]| Options { case: cases.iter().map(|c| (*c).to_owned()).collect(), ..Options::quick() };
        assert!(options(&[]).chosen("tini"));
        assert!(options(&["tini"]).chosen("tini") && !options(&["tini"]).chosen("tini-g"));
        assert!(options(&["bash", "tini*"]).chosen("tini-g"));
    }

    #[test]
    fn the_short_run_has_every_runtime() {
        let cases = case::all().unwrap();
        let visits = visits(&cases, &Options::quick()).unwrap();
        for runtime in [Runtime::Containerd, Runtime::Podman, Runtime::Docker] {
            assert!(visits.iter().any(|visit| visit.runtime == runtime), "{}", runtime.name());
        }
    }
}
