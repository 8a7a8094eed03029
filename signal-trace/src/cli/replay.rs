//! `signal-trace replay FILE`: the verdicts of a recording that `watch --record` made.
//!
//! Needs no kernel and no rights: the judge sees again what it saw then. What it printed then is printed again, by the
//! same renderers, with the node and the clock of the recording.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use super::doctor::bundle::recording_in;
use super::filter::Filter;
use super::output::Output;
use crate::judge::{self, Judge};
use crate::recording::Recording;

/// Judge again what `watch --record` has recorded.
#[derive(Debug, Args)]
pub struct Replay {
    /// The recording, or a support bundle of `doctor`
    file: PathBuf,

    /// One JSON object a line instead of text
    #[arg(long)]
    json: bool,

    /// Only what matches, as for `watch`
    #[arg(long, value_name = "FILTER")]
    filter: Vec<Filter>,
}

impl Replay {
    /// Prints the verdicts.
    ///
    /// # Errors
    ///
    /// The file is no recording, or a line of it is wrong: what came before that is printed.
    pub fn run(&self) -> anyhow::Result<()> {
        let name = self.file.display().to_string().escape_debug().to_string();
        let file = File::open(&self.file).with_context(|| format!("cannot open {name}"))?;
        let recording = lines_of(BufReader::new(file)).with_context(|| name.clone())?;
        let recording = Recording::open(recording).with_context(|| name.clone())?;
        let clock = recording.header().clock();
        let mut output = if self.json { Output::json(recording.header().node.clone()) } else { Output::text() };
        let (mut judge, mut out) = (Judge::default(), Vec::new());
        let mut shutdowns = 0_u64;
        for line in recording {
            let (now, input) = line.with_context(|| name.clone())?;
            judge.handle(input, now, &mut out);
            for shutdown in out.drain(..).filter_map(judge::Output::into_shutdown) {
                shutdowns += 1;
                if self.filter.iter().all(|f| f.matches(&shutdown)) {
                    match output.write(&shutdown, clock) {
                        // Whoever reads has seen enough.
                        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                        other => other.context("cannot write a verdict")?,
                    }
                }
            }
        }
        eprintln!("{}", closing_line(shutdowns, judge.open_windows()));
        Ok(())
    }
}

/// The lines of a recording: the file's own, or those in a support bundle, which is one document of many lines.
fn lines_of(mut file: BufReader<File>) -> anyhow::Result<Box<dyn BufRead>> {
    let start = file.fill_buf().context("cannot read it")?;
    let first = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if first.trim_ascii() != b"{" {
        return Ok(Box::new(file));
    }
    Ok(Box::new(Cursor::new(recording_in(file)?)))
}

fn closing_line(shutdowns: u64, open: usize) -> String {
    let counted = |count: u64| if count == 1 { "1 shutdown".to_owned() } else { format!("{count} shutdowns") };
    let open = u64::try_from(open).unwrap_or(u64::MAX);
    let unfinished =
        if open == 0 { String::new() } else { format!(", and {} that it does not see end", counted(open)) };
    format!("replayed: {}{unfinished}", counted(shutdowns))
}

#[cfg(test)]
mod tests {
    use super::closing_line;

    #[test]
    fn what_did_not_end_is_counted_apart() {
        assert_eq!(closing_line(1, 0), "replayed: 1 shutdown");
        assert_eq!(closing_line(0, 2), "replayed: 0 shutdowns, and 2 shutdowns that it does not see end");
    }
}
