//! `signal-trace man [COMMAND]`: the manual pages, made from what `--help` says.

use std::io::{self, Write as _};

use anyhow::Context as _;
use clap::{Args, CommandFactory as _};

use super::Cli;

/// Print a manual page: `signal-trace man | man -l -`
#[derive(Debug, Args)]
pub struct Man {
    /// Of which subcommand; of the program itself without it
    command: Option<String>,
}

impl Man {
    /// Prints it.
    ///
    /// # Errors
    ///
    /// There is no such subcommand, or standard output cannot be written.
    pub fn run(&self) -> anyhow::Result<()> {
        let page = self.page()?;
        io::stdout().write_all(&page).context("cannot write the manual page")
    }

    fn page(&self) -> anyhow::Result<Vec<u8>> {
        let mut program = Cli::command();
        // Each subcommand is called by its whole name then, as its page is.
        program.build();
        let command = match &self.command {
            None => program,
            Some(name) => program
                .find_subcommand(name)
                .filter(|command| !command.is_hide_set())
                .cloned()
                .with_context(|| format!("`{name}` is no subcommand: `signal-trace --help` lists them"))?,
        };
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page).context("cannot make the manual page")?;
        Ok(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(command: Option<&str>) -> anyhow::Result<String> {
        let man = Man { command: command.map(str::to_owned) };
        Ok(String::from_utf8(man.page()?).unwrap())
    }

    #[test]
    fn the_program_and_each_subcommand_have_a_page() {
        let program = page(None).unwrap();
        for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            let name = command.get_name();
            assert!(program.contains(&format!("signal\\-trace\\-{name}(1)")), "{name}: {program}");
            assert!(page(Some(name)).unwrap().contains("OPTIONS"), "{name}");
        }
        assert!(page(Some("watch")).unwrap().contains(".TH signal-trace-watch 1"));
    }

    #[test]
    fn what_is_no_subcommand_is_named() {
        let error = page(Some("wacth")).unwrap_err().to_string();
        assert!(error.contains("`wacth` is no subcommand"), "{error}");
        assert!(page(Some("app")).is_err(), "it is hidden");
    }
}
