//! `signal-trace completions SHELL`: what a shell needs to complete the words of this program.

use std::io::{self, Write as _};

use anyhow::Context as _;
use clap::{Args, Command, CommandFactory as _};
use clap_complete::Shell;

use super::Cli;

/// Print what a shell completes the words of this program with
#[derive(Debug, Args)]
pub struct Completions {
    /// For which; `bash` reads it from ~/.local/share/bash-completion/completions/signal-trace
    shell: Shell,
}

impl Completions {
    /// Prints it.
    ///
    /// # Errors
    ///
    /// Standard output cannot be written.
    pub fn run(&self) -> anyhow::Result<()> {
        io::stdout().write_all(&self.script()).context("cannot write the completions")
    }

    fn script(&self) -> Vec<u8> {
        // Some shells would be told of what is hidden.
        let program = Cli::command();
        let visible = program.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
        let mut shown = Command::new("signal-trace")
            .version(env!("CARGO_PKG_VERSION"))
            .args(program.get_arguments().cloned())
            .subcommands(visible);
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut shown, "signal-trace", &mut script);
        script
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn every_shell_knows_every_subcommand_and_not_what_is_hidden() {
        for shell in Shell::value_variants() {
            let script = String::from_utf8(Completions { shell: *shell }.script()).unwrap();
            for name in ["watch", "check", "agent", "audit", "doctor", "explain", "replay", "top", "events"] {
                assert!(script.contains(name), "{shell}: {name}");
            }
            assert!(script.contains("version") && !script.contains("A small program to stop"), "{shell}");
        }
    }
}
