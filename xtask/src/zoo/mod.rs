//! `zoo`: real programs under real runtimes, each with a verdict that is known to be true, judged by one `watch`.
//!
//! An animal is a file in `xtask/zoo/cases` (`case`); a `keeper` runs and stops it under an `engine`, several at a time,
//! because most of the time is grace periods; `truth` holds the records against the files. What is wrong is saved as a
//! recording that `signal-trace replay` judges again.

mod case;
mod engine;
mod keeper;
mod system;
mod truth;
mod wait;
mod watch;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::setup::Voice;
use crate::{build, child, machine, packages, setup, table};
use case::{Case, Expect, Runtime};
use engine::{Engine, Ground};
use keeper::Keeper;
use watch::{Said, Watch};

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
    /// All is prepared, and the mounts are ours alone.
    #[arg(long, hide = true)]
    prepared: bool,
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
            prepared: false,
        }
    }

    /// Every case under each runtime that it names.
    pub(crate) fn all() -> Self {
        Self { quick: false, ..Self::quick() }
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
        return visit(options, product);
    }
    machine::require_linux()?;
    machine::require_tracing()?;
    let cases = case::all()?;
    let visits = visits(&cases, options)?;
    packages::provide(packages::CONTAINERS.iter().chain(&packages::DEBIAN).chain(
        if visits.iter().all(|visit| visit.runtime == Runtime::Containerd) {
            [].iter()
        } else {
            packages::ENGINES.iter()
        },
    ))?;
    let product = match &options.with {
        Some(file) => file.clone(),
        None => build::product(&setup::run(Voice::OnlyWork)?)?,
    };
    let mut command = machine::as_root("unshare")?;
    command.args(["--mount", "--propagation", "private"]).arg(std::env::current_exe()?);
    command.args(["zoo", "--prepared", "--with"]).arg(product.canonicalize()?);
    // The same choice again.
    child::show(command.args(options.words()))
}

impl Options {
    fn words(&self) -> Vec<String> {
        let mut words = vec!["--jobs".to_owned(), self.jobs.to_string()];
        words.extend(self.runtime.iter().flat_map(|runtime| ["--runtime".to_owned(), runtime.name().to_owned()]));
        words.extend(self.case.iter().flat_map(|case| ["--case".to_owned(), case.clone()]));
        words.extend(self.quick.then(|| "--quick".to_owned()));
        words.extend(self.keep_recordings.then(|| "--keep-recordings".to_owned()));
        words
    }
}

fn visits<'a>(cases: &'a [Case], options: &Options) -> Result<Vec<Visit<'a>>> {
    let runtimes = |case: &'a Case| case.runtimes.iter().map(move |runtime| Visit { case, runtime: *runtime });
    let chosen = cases.iter().filter(|case| options.chosen(&case.name) && (case.quick || !options.quick));
    let mut visits: Vec<_> = chosen
        .flat_map(runtimes)
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
    let results = machine::workspace().join("target/zoo/last");
    if results.exists() {
        fs::remove_dir_all(&results).context("cannot remove the results of the last run")?;
    }
    fs::create_dir_all(&results)?;
    let system = system::provide(visits.iter().flat_map(|visit| visit.case.packages.iter().map(String::as_str)))?;
    let scratch = Scratch::mount()?;
    let files = scratch.0.join("layer/zoo");
    system::animals(&files, product)?;
    let ground = Ground { scratch: &scratch.0, system: &system, files: &files };
    let mut engines = BTreeMap::new();
    for runtime in Runtime::ALL.into_iter().filter(|runtime| visits.iter().any(|visit| visit.runtime == *runtime)) {
        engines.insert(runtime, engine::start(runtime, &ground)?);
    }

    let started = Instant::now();
    let watch = Watch::start(product, &results)?;
    let (alone, together): (Vec<_>, Vec<_>) = visits.iter().partition(|visit| visit.case.alone);
    let mut outcomes = at_a_time(options.jobs, &together, &engines, &ground);
    outcomes.extend(at_a_time(1, &alone, &engines, &ground));
    wait_for_verdicts(&watch, &outcomes)?;
    let recording = watch.recording.clone();
    let said = watch.finish()?;
    let seconds = started.elapsed().as_secs_f64();
    drop(engines);
    outcomes.sort_by(|a, b| (&a.visit.case.name, a.visit.runtime).cmp(&(&b.visit.case.name, b.visit.runtime)));
    let saved = Saved { product, recording: &recording, directory: &results, all: options.keep_recordings };
    report(&outcomes, &said, &saved, seconds)
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

fn at_a_time<'a>(jobs: usize, visits: &[&'a Visit<'a>], engines: &Engines, ground: &Ground<'_>) -> Vec<Outcome<'a>> {
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                while let Some(visit) = visits.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = one(visit, engines, ground);
                    outcomes.lock().unwrap_or_else(PoisonError::into_inner).push(outcome);
                }
            });
        }
    });
    outcomes.into_inner().unwrap_or_else(PoisonError::into_inner)
}

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

/// Where evidence is found and put.
struct Saved<'a> {
    product: &'a Path,
    recording: &'a Path,
    directory: &'a Path,
    all: bool,
}

fn report(outcomes: &[Outcome<'_>], said: &Said, saved: &Saved<'_>, seconds: f64) -> Result<()> {
    let mut rows = Vec::new();
    let mut details = String::new();
    let mut wrong = 0_usize;
    for outcome in outcomes {
        let Visit { case, runtime } = *outcome.visit;
        let (got, faults) = match &outcome.container {
            Err(error) => ("not run".to_owned(), vec![format!("{error:#}")]),
            Ok(id) => {
                let records: Vec<_> = said.records.iter().filter(|record| record["container"]["id"] == **id).collect();
                (truth::got(&records), truth::faults(case, runtime, &records))
            }
        };
        let name = format!("{}-{}", case.name, runtime.name());
        let file = saved.directory.join(format!("{name}.jsonl"));
        if let Ok(id) = &outcome.container
            && (saved.all || !faults.is_empty())
        {
            fs::write(&file, watch::excerpt(saved.recording, id)?)?;
        }
        if !faults.is_empty() {
            wrong += 1;
            details.push_str(&format!("\n{name}: {}\n  {}\n", case.about.trim(), faults.join("\n  ")));
            if outcome.container.is_ok() {
                details.push_str(&replayed(saved.product, &file));
            }
        }
        rows.push([
            case.name.clone(),
            runtime.name().to_owned(),
            truth::expected(case, runtime),
            if faults.is_empty() { "as expected".to_owned() } else { got },
            format!("{:>5.1}", outcome.seconds),
        ]);
    }
    let table = table::render(["case", "runtime", "expected", "got", "seconds"], &rows);
    let total = format!("{} of {} right, in {seconds:.0} s", outcomes.len() - wrong, outcomes.len());
    fs::write(saved.directory.join("table.txt"), format!("{table}{total}\n"))?;
    print!(
        "\n{table}{details}\n{total}\n{}",
        said.closing.lines().last().map(|l| format!("{l}\n")).unwrap_or_default()
    );
    if let Some(line) = truth::unclean(&said.raw) {
        anyhow::bail!("watch wrote bytes that a terminal would obey: {line}");
    }
    ensure!(wrong == 0, "{wrong} of {} are wrong: the recordings are in {}", outcomes.len(), saved.directory.display());
    Ok(())
}

/// What the verdict was made of, for people.
fn replayed(product: &Path, file: &Path) -> String {
    let block = child::read(Command::new(product).arg("replay").arg(file));
    let block = block.unwrap_or_else(|error| format!("{error:#}\n"));
    let block = block.lines().map(|line| format!("  | {line}\n")).collect::<String>();
    format!("{block}  signal-trace replay {}\n", file.display())
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
        for runtime in Runtime::ALL {
            assert!(visits.iter().any(|visit| visit.runtime == runtime), "{}", runtime.name());
        }
    }
}
