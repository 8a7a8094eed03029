//! `vm`: the demo on stock Debian kernels, oldest to newest, each also locked down as tightly as Linux can.
//!
//! The machines are emulated in software, so that they boot the same everywhere, also inside another virtual machine, and
//! also those of another architecture: `archive` and `kernels` fetch, `guest` packs what boots and reads what it said, and
//! this file decides which, how many at a time, and whether the whole went well.

mod archive;
pub(crate) mod cpio;
pub(crate) mod guest;
pub(crate) mod kernels;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::architecture::Architecture;
use crate::setup::Voice;
use crate::{build, child, image, machine, packages, pool, setup, table};
use guest::{Lockdown, Report, Shells};
use kernels::Kernel;

pub(crate) use archive::Mirrors;

/// What is booted.
#[derive(Args, Default)]
pub(crate) struct Options {
    /// Kernel series such as 6.1, or `newest`; without any: 5.10, 6.1, 6.12 and the newest that Debian has
    #[arg(value_name = "VERSION")]
    series: Vec<Series>,

    /// Image of a kernel of your own, as `/boot` holds it, instead of Debian's
    #[arg(long, value_name = "FILE", conflicts_with = "series")]
    kernel: Vec<PathBuf>,

    /// Machines of another architecture than this one, with the binary of its image
    #[arg(long, value_name = "ARCH")]
    arch: Option<Architecture>,

    /// Keep the serial console of each machine, also where all went well
    #[arg(long)]
    keep_log: bool,
}

/// Which kernels, as Debian's newest package of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Series {
    /// The newest that there is.
    Newest,
    /// The newest whose version starts with these numbers.
    Of(Vec<u32>),
}

/// Machines that run at the same time. Each has two processors of its own, so more would only slow each other down.
pub(crate) const AT_A_TIME: usize = 2;

/// A machine that has not switched itself off by then has hung: twenty times what a boot takes with nothing else to do.
const BOUND: Duration = Duration::from_secs(300);

/// One machine: booted, watched, and read.
struct Boot<'a> {
    architecture: Architecture,
    kernel: &'a Kernel,
    lockdown: Lockdown,
    log: PathBuf,
}

/// What came of a boot.
struct Outcome {
    seconds: f64,
    report: Report,
    /// What to show where it went wrong: what the demo said, or how the console ends if the demo did not.
    evidence: String,
    /// Why it does not count as good; none where it does.
    fault: Option<String>,
}

/// Boots the matrix, prints its table, and fails if one machine did.
pub(crate) fn run(options: &Options) -> Result<()> {
    machine::require_linux()?;
    ensure!(
        cfg!(target_arch = "x86_64"),
        "the emulators and what boots in them are those of an x86_64 machine: run this on such a one"
    );
    let toolchain = setup::run(Voice::OnlyWork)?;
    let architecture = options.arch.unwrap_or(Architecture::Amd64);
    let directory = machine::workspace().join("target/vm");
    let shells = match architecture {
        Architecture::Amd64 => {
            packages::provide(&packages::MACHINES)?;
            Shells::of_this_machine()
        }
        Architecture::Arm64 => {
            packages::provide(&packages::ARM_MACHINES)?;
            Shells::fetched(architecture, &directory)?
        }
    };
    let kernels = match &options.kernel[..] {
        [] => matrix(architecture, &options.series, &directory)?,
        images => images.iter().map(|image| Kernel::of_file(architecture, image)).collect::<Result<_>>()?,
    };
    let product = match architecture {
        Architecture::Amd64 => build::product(&toolchain)?,
        Architecture::Arm64 => image::binary(&toolchain, architecture)?,
    };
    let initramfs = directory.join(format!("initramfs-{}", architecture.name()));
    std::fs::write(&initramfs, guest::initramfs(&product, &shells)?)
        .context("cannot write the initramfs below target/vm")?;
    std::fs::create_dir_all(directory.join("log"))?;

    let boots: Vec<_> = kernels
        .iter()
        .flat_map(|kernel| {
            Lockdown::BOTH.map(|lockdown| {
                let log = directory.join(format!("log/{}-{lockdown}.log", kernel.release()));
                Boot { architecture, kernel, lockdown, log }
            })
        })
        .collect();
    let outcomes: Result<Vec<_>> = pool::each(AT_A_TIME, &boots, |boot| one(boot, &initramfs)).into_iter().collect();
    let outcomes = outcomes?;
    close(&boots, &outcomes, options.keep_log)
}

/// Oldest to newest. Of 5.10 for arm64, the archives list newer builds than this one and no longer have them.
fn usual(architecture: Architecture) -> [Series; 4] {
    let oldest = match architecture {
        Architecture::Amd64 => vec![5, 10],
        Architecture::Arm64 => vec![5, 10, 223],
    };
    [Series::Of(oldest), Series::Of(vec![6, 1]), Series::Of(vec![6, 12]), Series::Newest]
}

/// The kernels of these series, or of the whole matrix where none is named.
pub(crate) fn matrix(architecture: Architecture, series: &[Series], directory: &Path) -> Result<Vec<Kernel>> {
    let usual = usual(architecture);
    kernels::provide(architecture, if series.is_empty() { &usual } else { series }, directory)
}

fn one(boot: &Boot, initramfs: &Path) -> Result<Outcome> {
    let started = Instant::now();
    let (kernel, lockdown) = (&*boot.kernel.image, boot.lockdown);
    let architecture = boot.architecture;
    let machine = guest::Machine { architecture, kernel, initramfs, lockdown, memory: "1G", disks: &[], bound: BOUND };
    let ended = machine.boot(&boot.log)?;
    let seconds = started.elapsed().as_secs_f64();
    let console = std::fs::read(&boot.log).with_context(|| format!("cannot read {}", boot.log.display()))?;
    let console = String::from_utf8_lossy(&console);
    let report = guest::parse(&console);
    let evidence = if report.demo_seconds.is_some() { report.said.join("\n") } else { ending(&console) };
    let fault = ended.err().map(|error| format!("{error:#}")).or_else(|| report.fault(boot.lockdown));
    let word = if fault.is_none() { "ok" } else { "failed" };
    anstream::eprintln!(
        "{0}{1}, lockdown {2}: {word} after {seconds:.0} s{0:#}",
        child::QUIET,
        boot.kernel,
        boot.lockdown
    );
    Ok(Outcome { seconds, report, evidence, fault })
}

fn close(boots: &[Boot], outcomes: &[Outcome], keep_log: bool) -> Result<()> {
    let rows: Vec<_> = boots.iter().zip(outcomes).map(|(boot, outcome)| row(boot, outcome)).collect();
    print!(
        "\n{}",
        table::render(["kernel", "package version", "lockdown", "verdicts", "demo s", "total s", "result"], &rows)
    );
    print!("\n{}", verdicts(boots, outcomes));
    let mut failed = 0;
    for (boot, outcome) in boots.iter().zip(outcomes) {
        if let Some(fault) = &outcome.fault {
            failed += 1;
            anstream::eprintln!("\n{0}{1}, lockdown {2}:{0:#} {fault}", child::ERROR, boot.kernel, boot.lockdown);
            anstream::eprintln!("{}\nserial console: {}", outcome.evidence, boot.log.display());
        } else if keep_log {
            anstream::eprintln!("serial console: {}", boot.log.display());
        } else {
            std::fs::remove_file(&boot.log)?;
        }
    }
    ensure!(failed == 0, "{failed} of {} virtual machines failed", boots.len());
    Ok(())
}

fn row(boot: &Boot, outcome: &Outcome) -> [String; 7] {
    let report = &outcome.report;
    let demo = report.demo_seconds.map_or(String::new(), |seconds| format!("{seconds:.1}"));
    [
        report.kernel.clone().unwrap_or_else(|| boot.kernel.release().to_owned()),
        boot.kernel.version().to_owned(),
        report.lockdown.clone().unwrap_or_else(|| "?".into()),
        format!("{:>8}", report.verdicts.len()),
        format!("{demo:>6}"),
        format!("{:>7.1}", outcome.seconds),
        if outcome.fault.is_none() { "ok" } else { "failed" }.into(),
    ]
}

/// The verdicts themselves: one list if all machines agree, else the list of each.
fn verdicts(boots: &[Boot], outcomes: &[Outcome]) -> String {
    let list =
        |outcome: &Outcome| outcome.report.verdicts.iter().map(|verdict| format!("  {verdict}\n")).collect::<String>();
    match outcomes {
        [first, rest @ ..] if rest.iter().all(|outcome| outcome.report.verdicts == first.report.verdicts) => {
            format!("verdicts of every machine:\n{}", list(first))
        }
        _ => boots
            .iter()
            .zip(outcomes)
            .map(|(boot, outcome)| {
                format!("verdicts of {}, lockdown {}:\n{}", boot.kernel, boot.lockdown, list(outcome))
            })
            .collect(),
    }
}

/// The last lines of a console: there the kernel says why it gave up.
pub(crate) fn ending(console: &str) -> String {
    let lines: Vec<_> = console.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

impl FromStr for Series {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "newest" {
            return Ok(Self::Newest);
        }
        let numbers: Result<_, _> = text.split('.').map(str::parse).collect();
        numbers.map(Self::Of).map_err(|_| "not a kernel series: write 6.1, 7 or newest".into())
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newest => f.write_str("newest"),
            Self::Of(numbers) => f.write_str(&numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(".")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_console_ends_with_its_last_lines() {
        let console = (1..=30).map(|n| format!("line {n}\r\n\r\n")).collect::<String>();
        let ending = ending(&console);
        assert!(ending.starts_with("line 11\n") && ending.ends_with("\nline 30"), "{ending}");
        assert_eq!(super::ending("one"), "one");
        assert_eq!(super::ending(""), "");
    }

    #[test]
    fn a_series_is_numbers_or_the_newest() {
        assert_eq!("newest".parse(), Ok(Series::Newest));
        assert_eq!("6.12".parse(), Ok(Series::Of(vec![6, 12])));
        for wrong in ["", "6.", "6.x", "oldest", "-1"] {
            assert!(wrong.parse::<Series>().is_err(), "{wrong:?}");
        }
        assert_eq!(Series::Of(vec![5, 10]).to_string(), "5.10");
    }
}
