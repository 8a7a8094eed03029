//! `e2e`: the agent on a real Kubernetes node, against cases that say what it must and must not say.
//!
//! `programs` builds what a node consists of, `node` brings one up apart from the machine, `case` is the form of the
//! cases below `xtask/e2e/cases/`, `runner` plays them and `check` judges the agent; `faults` are what goes wrong around
//! it and cannot be said in a file. Building is done as whoever asks for
//! it, all the rest as root.

mod agent;
mod audit;
mod board;
mod case;
mod chaos;
mod chart;
mod check;
mod churn;
mod cluster;
mod definitions;
mod faults;
mod guest;
mod images;
mod installed;
mod metrics;
mod node;
mod pattern;
mod pki;
mod process;
mod programs;
mod proxy;
mod runner;
mod signals;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::Value;

use crate::setup::Voice;
use crate::{build, child, helm, machine, packages, setup, table};
use board::Board;
use case::Case;
use cluster::{Cluster, Validation};
use faults::{Fault, Lab, Needs};
use installed::Installed;
use node::Node;
use runner::{Bed, Outcome};
use signals::Interrupt;

/// Cases that are played at the same time. More would start and stop more slowly than their graces allow for.
const AT_A_TIME: usize = 10;

/// Lines of the agent's that are shown where it fails: of a guest nothing else is left.
const LAST_WORDS: usize = 8;

/// How it is run.
#[derive(Args, Debug, Default)]
pub(crate) struct Options {
    /// Keep the node up after the cases, until Ctrl-C, and say how to use it.
    #[arg(long)]
    keep: bool,
    /// Use the node that another `e2e --keep` holds, by the kubeconfig that it named; or any cluster in which the chart is
    /// installed, but for the cases that change its nodes.
    #[arg(long, value_name = "FILE", conflicts_with = "keep")]
    kubeconfig: Option<PathBuf>,
    /// What the pods run in such a cluster: an image that its nodes can pull, with busybox, bash and tini.
    #[arg(long, value_name = "REF", requires = "kubeconfig")]
    image: Option<String>,
    /// The agent is installed by the chart, in its pod, instead of being started by hand.
    #[arg(long, conflicts_with_all = ["kubeconfig", "churn", "v2_vm"])]
    chart: bool,
    /// Only these, with `*` for any text; without any: all.
    #[arg(long, value_name = "NAME")]
    case: Vec<String>,
    /// Only the cases that are marked as quick.
    #[arg(long)]
    quick: bool,
    /// Instead of the cases: what the agent takes while 300 containers and 60 pods are replaced in each of so many minutes.
    #[arg(long, value_name = "MINUTES", conflicts_with_all = ["keep", "kubeconfig", "case", "quick", "v2_vm"])]
    churn: Option<usize>,
    /// Instead of the cases: so many minutes in which all goes wrong that can, out of this seed.
    #[arg(long, hide = true, num_args = 2, value_names = ["MINUTES", "SEED"], conflicts_with_all = ["keep", "kubeconfig", "case", "quick", "churn", "v2_vm"])]
    chaos: Vec<u64>,
    /// Then hold an audit of the agent's records against one of a Prometheus that scraped it, in every format.
    #[arg(long, conflicts_with_all = ["kubeconfig", "chart", "churn", "v2_vm"])]
    audit: bool,
    /// The API server is away for ten minutes instead of one.
    #[arg(long)]
    long: bool,
    /// In a virtual machine with cgroups of version 2 alone instead of on this machine: the quick cases, unless some are
    /// named. Takes about ten minutes.
    #[arg(long, conflicts_with_all = ["keep", "kubeconfig"])]
    v2_vm: bool,
    /// We run in that machine: everything takes longer.
    #[arg(long, hide = true)]
    guest: bool,
    /// The product, built by whoever became root to run this.
    #[arg(long, hide = true, value_name = "FILE")]
    built: Option<PathBuf>,
}

impl Options {
    /// All cases and faults, with outages of their full length.
    pub(crate) fn all() -> Self {
        Self { long: true, ..Self::default() }
    }

    /// The quick cases, and an audit of what they left.
    pub(crate) fn audit() -> Self {
        Self { audit: true, quick: true, ..Self::default() }
    }

    /// Chaos for so many minutes.
    pub(crate) fn chaos(minutes: u64, seed: u64) -> Self {
        Self { chaos: vec![minutes, seed], ..Self::default() }
    }

    /// The quick cases with the agent that the chart installs.
    pub(crate) fn chart() -> Self {
        Self { chart: true, quick: true, ..Self::default() }
    }

    /// The quick cases in a machine with cgroups of version 2 alone.
    pub(crate) fn emulated() -> Self {
        Self { v2_vm: true, ..Self::default() }
    }

    /// The same as a command line; how a guest is asked for is not part of it.
    fn words(&self) -> Vec<OsString> {
        let flag = |set: bool, name: &str| set.then(|| name.into());
        let mut words: Vec<OsString> = self.case.iter().flat_map(|case| ["--case".into(), case.into()]).collect();
        words.extend(flag(self.keep, "--keep"));
        words.extend(flag(self.chart, "--chart"));
        words.extend(flag(self.quick, "--quick"));
        words.extend(flag(self.audit, "--audit"));
        words.extend(flag(self.long, "--long"));
        words.extend(self.kubeconfig.iter().flat_map(|file| ["--kubeconfig".into(), file.into()]));
        words.extend(self.churn.iter().flat_map(|minutes| ["--churn".into(), minutes.to_string().into()]));
        words.extend((!self.chaos.is_empty()).then(|| "--chaos".into()));
        words.extend(self.chaos.iter().map(|number| number.to_string().into()));
        words
    }
}

/// Builds, brings the node up, plays the cases, and fails if one of them does.
pub(crate) fn run(options: &Options) -> Result<()> {
    machine::require_linux()?;
    let cases = chosen(options)?;
    if let Some(kubeconfig) = options.kubeconfig.as_ref().filter(|file| **file != node::admin()) {
        return elsewhere(options, kubeconfig, cases);
    }
    machine::require_tracing()?;
    let given = options.built.as_deref();
    let Some(product) = given.filter(|_| !options.v2_vm) else {
        packages::provide(&packages::NODE)?;
        let bin = programs::provide()?;
        let toolchain = setup::run(Voice::OnlyWork)?;
        if options.chart {
            helm::provide()?;
        }
        if options.audit {
            packages::provide(&packages::METRICS)?;
        }
        if !options.chaos.is_empty() {
            packages::provide(&packages::LISTERS)?;
        }
        let product = given.map_or_else(|| build::product(&toolchain), |product| Ok(product.to_owned()))?;
        if options.v2_vm {
            return guest::run(&toolchain, &product, &bin, &inside(options));
        }
        // The same again, as root.
        let mut ourselves = machine::as_root(std::env::current_exe()?)?;
        return child::show(ourselves.arg("e2e").args(options.words()).arg("--built").arg(product));
    };
    let interrupt = Interrupt::note()?;
    let directory = machine::workspace().join("target/e2e");
    let bin = directory.join("bin");
    let started = Instant::now();
    let mut node = match &options.kubeconfig {
        Some(_) => {
            node::enter()?;
            None
        }
        None => Some(Node::up(&bin, &directory.join("log"), &interrupt)?),
    };
    anstream::eprintln!("{0}node ready after {1:.1} s{0:#}", child::GOOD, started.elapsed().as_secs_f64());
    let validation = if options.guest { Validation::Ignore } else { Validation::Strict };
    let cluster = Cluster { bin, foreign: None, validation };
    if options.chart {
        chart::install(&cluster, product)?;
        let result = by_installed(&cluster, &interrupt, &cases, None);
        if options.keep {
            keep(&cluster, &interrupt);
        }
        return result;
    }
    let mut faults = faults::chosen(&options.case, there(options));
    if options.quick {
        // In the guest, what only it can play.
        faults.retain(|fault| options.guest && fault.needs == Needs::OwnMachine);
    }
    let plan = Plan {
        cases: &cases,
        faults: &faults,
        product,
        directory: &directory,
        at_a_time: if options.guest { 2 } else { AT_A_TIME },
        audit: options.audit,
        churn: options.churn,
        chaos: &options.chaos,
        outage: if options.long { faults::LONG_OUTAGE } else { faults::OUTAGE },
    };
    let result = play(&plan, &cluster, node.as_mut(), &interrupt);
    if options.kubeconfig.is_some() {
        // What is left of this run would be in the way of the next.
        cluster.remove_run();
    }
    if options.keep {
        keep(&cluster, &interrupt);
    }
    drop(node);
    result
}

/// Plays them in a cluster that is not ours, with the agents that are installed there.
fn elsewhere(options: &Options, kubeconfig: &Path, mut cases: Vec<Case>) -> Result<()> {
    ensure!(machine::find("kubectl").is_some(), "there is no kubectl here: install one that fits the cluster");
    cases.retain(|case| !case.is_for_our_node());
    ensure!(!cases.is_empty(), "all of these cases change the node: they are played without --kubeconfig");
    let interrupt = Interrupt::note()?;
    let directory = machine::workspace().join("target/e2e");
    fs::create_dir_all(&directory)?;
    let foreign = Some(kubeconfig.to_owned());
    let cluster = Cluster { bin: directory.join("bin"), foreign, validation: Validation::Strict };
    by_installed(&cluster, &interrupt, &cases, options.image.as_deref())
}

/// Plays them with the agents that are installed.
fn by_installed(cluster: &Cluster, interrupt: &Interrupt, cases: &[Case], image: Option<&str>) -> Result<()> {
    let directory = machine::workspace().join("target/e2e");
    let board = Board::new(interrupt.clone());
    let watches = cluster.watch(&board);
    let agents = Installed::follow(cluster, &board)?;
    let started = Instant::now();
    let bed = Bed {
        cluster,
        board: &board,
        run: std::process::id().to_string(),
        at_a_time: AT_A_TIME,
        scrape: &|| agents.scrape(),
        image,
    };
    let mut outcomes = bed.run(cases);
    runner::close(&mut outcomes, &board.look());
    cluster.remove_run();
    let failed = report(&outcomes, &[], &board.look(), &directory, started.elapsed())?;
    drop(watches);
    ensure!(failed == 0, "{failed} of {} cases failed", cases.len());
    Ok(())
}

/// The command line in the guest.
fn inside(options: &Options) -> Vec<String> {
    let quick = options.quick || options.case.is_empty();
    let asked = Options { quick, case: options.case.clone(), ..Options::default() };
    let words = ["e2e", "--guest", "--built", "/bin/signal-trace"].map(str::to_owned).into_iter();
    words.chain(asked.words().iter().map(|word| word.to_string_lossy().into_owned())).collect()
}

fn chosen(options: &Options) -> Result<Vec<Case>> {
    let mut cases = Case::all(&machine::workspace().join("xtask/e2e/cases"))?;
    let named = |case: &Case| options.case.iter().any(|pattern| pattern::text_matches(pattern, &case.name));
    cases.retain(|case| (options.case.is_empty() || named(case)) && (case.quick || !options.quick));
    if options.guest {
        cases.retain(|case| !case.prompt);
        cases.iter_mut().for_each(|case| case.slow_down(guest::SLOWER));
    }
    let faults = faults::chosen(&options.case, there(options));
    ensure!(!cases.is_empty() || !faults.is_empty(), "there is no such case below xtask/e2e/cases");
    Ok(cases)
}

/// What faults can be played with.
fn there(options: &Options) -> Needs {
    match options.kubeconfig {
        _ if options.guest || options.v2_vm => Needs::OwnMachine,
        Some(_) => Needs::Cluster,
        None => Needs::OwnNode,
    }
}

/// What is played, with what.
struct Plan<'a> {
    cases: &'a [Case],
    faults: &'a [&'static Fault],
    product: &'a Path,
    directory: &'a Path,
    at_a_time: usize,
    audit: bool,
    churn: Option<usize>,
    chaos: &'a [u64],
    outage: Duration,
}

fn play(plan: &Plan<'_>, cluster: &Cluster, node: Option<&mut Node>, interrupt: &Interrupt) -> Result<()> {
    let Plan { cases, faults, directory, .. } = *plan;
    let board = Board::new(interrupt.clone());
    for old in ["agent.log", "records.jsonl"] {
        drop(fs::remove_file(directory.join(old)));
    }
    let kubeconfig = rights(cluster)?;
    let setup = agent::Setup { program: plan.product.to_owned(), kubeconfig, directory: directory.to_owned() };
    let watches = cluster.watch(&board);
    let run = std::process::id().to_string();
    let mut lab = Lab { cluster, board: &board, setup, node, run, outage: plan.outage };
    if let [minutes, seed] = plan.chaos[..] {
        return chaos::run(&mut lab, minutes, seed);
    }
    if let Some(minutes) = plan.churn {
        return churn::run(&lab, minutes);
    }
    let started = Instant::now();
    let mut ended = Ok(());
    let mut outcomes = Vec::new();
    if !cases.is_empty() {
        let mut agent = lab.setup.start(&board)?;
        agent.ready(&board)?;
        anstream::eprintln!("{0}agent ready after {1:.1} s{0:#}", child::GOOD, started.elapsed().as_secs_f64());
        let scraping = plan.audit.then(|| audit::Scraping::start(directory)).transpose()?;
        let bed = Bed {
            cluster,
            board: &board,
            run: lab.run.clone(),
            at_a_time: plan.at_a_time,
            scrape: &agent::scrape,
            image: None,
        };
        outcomes = bed.run(cases);
        if let Some(scraping) = scraping {
            scraping.hold(plan.product, &directory.join("records.jsonl"), cluster)?;
        }
        ended = agent.end();
        runner::close(&mut outcomes, &board.look());
    }
    let strays: Vec<_> = strays(&board.look()).into_iter().cloned().collect();
    let endured = faults::run(faults, &mut lab)?;
    let failed = report(&outcomes, &endured, &board.look(), directory, started.elapsed())?;
    drop(watches);
    ended?;
    ensure!(strays.is_empty(), "records about containers of no pod: {strays:?}");
    let total = cases.len() + faults.len();
    ensure!(
        failed == 0,
        "{failed} of {total} cases failed; the agent's words are in {}",
        agent::log(directory).display()
    );
    Ok(())
}

/// Gives the agent its account, and returns its kubeconfig.
fn rights(cluster: &Cluster) -> Result<PathBuf> {
    if cluster.ask("get namespace signal-trace").is_err() {
        cluster.apply(include_str!("../e2e/config/agent.yaml"))?;
    }
    let token = cluster.ask("create token agent --namespace signal-trace --duration 24h")?;
    let file = Path::new(node::STATE).join("agent.kubeconfig");
    pki::Authority::existing(&node::pki()).token_kubeconfig(token.trim(), node::SERVER, &file)?;
    Ok(file)
}

/// Records that belong to no namespace and yet to this node.
fn strays(seen: &board::Seen) -> Vec<&Value> {
    let ours = |record: &&Value| record["container"]["cgroup"].as_str().is_none_or(|path| path.contains(node::NAME));
    seen.records.iter().filter(|record| record["pod"].is_null()).filter(ours).collect()
}

/// Prints the table and what is wrong; how many cases are.
fn report(
    outcomes: &[Outcome<'_>],
    faults: &[faults::Outcome],
    seen: &board::Seen,
    directory: &Path,
    took: Duration,
) -> Result<usize> {
    let mut rows: Vec<_> = outcomes
        .iter()
        .map(|outcome| {
            let expected = outcome.case.verdicts.iter().map(|expected| (&expected.record, expected.times));
            let got = seen.records_of(&outcome.namespace).map(|record| (record, 1));
            [
                outcome.case.name.clone(),
                runner::verdicts(expected),
                runner::verdicts(got),
                format!("{:>7.1}", outcome.seconds),
                if outcome.problems.is_empty() { "ok" } else { "failed" }.into(),
            ]
        })
        .collect();
    rows.extend(faults.iter().map(|outcome| {
        let seconds = format!("{:>7.1}", outcome.seconds);
        let result = if outcome.problem.is_none() { "ok" } else { "failed" };
        [outcome.fault.to_owned(), String::new(), String::new(), seconds, result.to_owned()]
    }));
    print!("\n{}", table::render(["case", "expected", "got", "seconds", "result"], &rows));
    let wrong: Vec<_> = outcomes.iter().filter(|outcome| !outcome.problems.is_empty()).collect();
    for outcome in &wrong {
        anstream::eprintln!("\n{0}{1}{0:#}: {2}", child::ERROR, outcome.case.name, outcome.case.about);
        for problem in &outcome.problems {
            anstream::eprintln!("  {problem}");
        }
        let file = directory.join(format!("{}.json", outcome.case.name));
        let records: Vec<_> = seen.records_of(&outcome.namespace).collect();
        fs::write(&file, serde_json::to_string_pretty(&records)?).context("cannot save the records")?;
        anstream::eprintln!("  its {} records: {}", records.len(), file.display());
    }
    let broken: Vec<_> = faults.iter().filter_map(|outcome| Some((outcome, outcome.problem.as_ref()?))).collect();
    for (outcome, problem) in &broken {
        anstream::eprintln!("\n{0}{1}{0:#}: {2}\n  {problem}", child::ERROR, outcome.fault, outcome.about);
        let words = directory.join(outcome.fault);
        anstream::eprintln!("  the agent's words: {}: {}", words.display(), process::tail(&words, LAST_WORDS));
    }
    let (all, failed) = (outcomes.len() + faults.len(), wrong.len() + broken.len());
    println!("{} of {all} cases right, in {:.0} s", all - failed, took.as_secs_f64());
    Ok(failed)
}

fn keep(cluster: &Cluster, interrupt: &Interrupt) {
    println!("\nthe node is kept; to use it:");
    println!(
        "  sudo nsenter --net=/run/netns/{} {}/kubernetes kubectl --kubeconfig {} get pods --all-namespaces",
        node::NAME,
        cluster.bin.display(),
        node::admin().display()
    );
    println!("  cargo xtask e2e --kubeconfig {} --case NAME", node::admin().display());
    println!("to end it: Ctrl-C here");
    while !interrupt.asked() {
        std::thread::sleep(Duration::from_millis(100));
    }
}
