//! The command: parses, runs, and says how it went.

use std::process::ExitCode;

use signal_trace::cli::Cli;

fn main() -> ExitCode {
    Cli::from_command_line().run().unwrap_or_else(|error| {
        anstream::eprintln!("signal-trace: {error:#}");
        ExitCode::FAILURE
    })
}
