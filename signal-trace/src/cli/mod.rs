//! The command line: what can be typed, and what runs then.

pub mod app;
pub mod demo;

use clap::{Parser, Subcommand};

/// Tells why a container did not shut down gracefully, from what the kernel saw.
#[derive(Debug, Parser)]
#[command(name = "signal-trace", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// A small program to stop.
    #[command(hide = true)]
    App(app::App),
}

/// Runs what was typed.
///
/// # Errors
///
/// What the subcommand could not do.
pub fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::App(app) => match app.run()? {},
    }
}
