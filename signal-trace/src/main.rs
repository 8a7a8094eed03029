//! The command: parses, runs, and says how it went.

use std::process::ExitCode;

use clap::Parser;
use signal_trace::cli::Cli;

fn main() -> ExitCode {
    Cli::parse().run().unwrap_or_else(|error| {
        anstream::eprintln!("signal-trace: {error:#}");
        ExitCode::FAILURE
    })
}
