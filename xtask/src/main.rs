//! `cargo xtask`: the project's own commands, one file each.
//!
//! This package is built before everything else and may not depend on the product: `setup` makes what the product's
//! build needs. A verb reads as the list of its steps; how a child process is run and what the machine must have is
//! in `child`, `machine` and `packages`.

mod architecture;
mod bench;
mod build;
mod child;
mod dashboards;
mod demo;
mod dependencies;
mod deploy;
mod e2e;
mod fleet;
mod fuzz;
mod helm;
mod image;
mod machine;
mod packages;
mod pool;
mod previews;
mod prometheus;
mod rules;
mod setup;
mod table;
mod test;
mod vm;
mod zoo;

use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory, Parser, Subcommand};

/// The commands of signal-trace, from a fresh clone to a tested change.
///
/// Start with `cargo xtask demo`: it builds the tool and lets it watch six containers stop.
/// `cargo xtask test` is what a change must pass.
#[derive(Parser)]
#[command(bin_name = "cargo xtask", disable_help_subcommand = true, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Subcommand)]
enum Verb {
    /// Install what the build needs, once: Rust components, the musl target and its C compiler, the linker of the kernel
    /// programs.
    ///
    /// Every other command does this by itself where it is missing.
    Setup,
    /// Build the tool, then trace this machine while six containers of its own are stopped, as root.
    Demo {
        /// Passed to `signal-trace demo`, for example `--json`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Check everything: format, lints, unit tests, this kernel, real containers, the demo, the kernel matrix.
    ///
    /// Installs the Debian packages that are missing and says which; needs root for the kernel. Stops at the first failure.
    Test {
        /// Also what takes longer: the whole zoo, Kubernetes, a large fleet, dependencies, fuzzing; some two hours, which
        /// no failure ends.
        #[arg(long)]
        all: bool,
    },
    /// Run the demo on stock Debian kernels under QEMU, each also with `lockdown=confidentiality`.
    Vm(vm::Options),
    /// Run the agent on a real Kubernetes node, made for it and removed again, and hold its verdicts against the cases.
    ///
    /// Builds Kubernetes and containerd from their Go modules the first time, which takes minutes and needs Go; brings the
    /// node up in a network namespace of its own, as root.
    E2e(e2e::Options),
    /// Let everything go wrong on a real Kubernetes node, and hold every verdict against an oracle of its own, as root.
    ///
    /// Pods end in every way while the API server, containerd, the kubelet and the agent are killed, its log's disk is full
    /// and cgroups come and go. The seed says when.
    Chaos {
        /// How long.
        #[arg(long, default_value_t = 10)]
        minutes: u64,
        /// What is done and when follows from it; by default it is drawn, and printed.
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Make what is generated below `deploy/` and `docs/` anew: manifests from the chart, runbooks and the reference of
    /// metrics from the code.
    Deploy,
    /// Draw pictures of the dashboards, from what a real Prometheus answers, and of the audit's report, with a browser.
    Previews,
    /// Make the container image, without a container engine: an OCI archive with one static binary, and a bill of
    /// materials.
    Image(image::Options),
    /// Stop real programs under real runtimes, and hold each verdict against the true one, as root.
    ///
    /// The programs are the files in `xtask/zoo/cases`; the Debian system that they are part of is made below `target`.
    Zoo(zoo::Options),
    /// Time one audit of a large fleet, against a real Prometheus that is given the fleet's month.
    Fleet(fleet::Options),
    /// Measure what it costs, in the kernel and beside it, against references of the same run: as root.
    ///
    /// All of it takes some ten minutes; a limit that is missed is a failure.
    Bench(bench::Options),
    /// Check the licences, sources and duplicates of all crates against `deny.toml`, and look for known weaknesses.
    Dependencies,
    /// Fuzz what reads bytes of strangers, with coverage, on the pinned compiler: every target for ten minutes.
    ///
    /// The first crash ends it; what it says replays that.
    Fuzz(fuzz::Options),
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            anstream::eprintln!("{0}error:{0:#} {error:#}", child::ERROR);
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<()> {
    match arguments.verb {
        None => Ok(Arguments::command().print_long_help()?),
        Some(Verb::Setup) => setup::run(setup::Voice::EveryStep).map(drop),
        Some(Verb::Demo { arguments }) => demo::run(&arguments),
        Some(Verb::Test { all: false }) => test::run(test::Scope::Usual),
        Some(Verb::Test { all: true }) => test::run(test::Scope::All),
        Some(Verb::Vm(options)) => vm::run(&options),
        Some(Verb::E2e(options)) => e2e::run(&options),
        Some(Verb::Chaos { minutes, seed }) => {
            e2e::run(&e2e::Options::chaos(minutes, seed.unwrap_or_else(|| fastrand::u64(0..1_000_000))))
        }
        Some(Verb::Deploy) => deploy::write(),
        Some(Verb::Previews) => previews::write(),
        Some(Verb::Image(options)) => image::run(&options),
        Some(Verb::Zoo(options)) => zoo::run(&options),
        Some(Verb::Fleet(options)) => fleet::run(&options),
        Some(Verb::Bench(options)) => bench::run(&options),
        Some(Verb::Dependencies) => dependencies::run(),
        Some(Verb::Fuzz(options)) => fuzz::run(&options),
    }
}

#[cfg(test)]
mod tests {
    use super::Arguments;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
