//! The command: parses, runs, and says how it went.

use std::process::ExitCode;

use clap::Parser;
use signal_trace::cli::{Cli, run};

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            anstream::eprintln!("signal-trace: {error:#}");
            ExitCode::FAILURE
        }
    }
}
