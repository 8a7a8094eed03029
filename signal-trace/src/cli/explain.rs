//! `signal-trace explain [NAME]`: what a verdict means, how it comes about, how to mend it.

use anyhow::Context as _;
use clap::Args;

use crate::report::explain::{look_up, write_entries, write_list};
use crate::report::json::schema_text;
use crate::report::style::Style;

/// Say what a verdict means, how it comes about and how to mend it.
#[derive(Debug, Args)]
pub struct Explain {
    /// An outcome, a cause, an init_disposition or a finding; all of them are listed without it
    name: Option<String>,

    /// Print the JSON schema of a record instead
    #[arg(long, conflicts_with = "name")]
    schema: bool,
}

impl Explain {
    /// Prints it.
    ///
    /// # Errors
    ///
    /// There is no such name.
    pub fn run(self) -> anyhow::Result<()> {
        let style = Style::of(&std::io::stdout());
        let mut text = String::new();
        match self.name {
            _ if self.schema => text = schema_text(),
            None => write_list(&mut text, &style).context("cannot print the list")?,
            Some(name) => write_entries(&mut text, &look_up(&name)?, &style).context("cannot print the entry")?,
        }
        print!("{text}");
        Ok(())
    }
}
