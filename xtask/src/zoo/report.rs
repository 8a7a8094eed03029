//! What came of a run, for people and, as rows, for the machine that booted this one.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use super::case::Case;
use super::clock::Stamps;
use super::watch::{self, Said};
use super::{Outcome, Visit, truth};
use crate::{child, table};

/// The rows' file among the results.
pub(super) const ROWS: &str = "rows.json";

/// Stands between the table and what is wrong.
const DETAILS: &str = "wrong:";

/// What came of one visit.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Row {
    case: String,
    runtime: String,
    expected: String,
    got: String,
    pub(super) right: bool,
    seconds: f64,
}

/// Where evidence is found and put.
pub(super) struct Saved<'a> {
    pub(super) product: &'a Path,
    pub(super) recording: &'a Path,
    pub(super) directory: &'a Path,
    pub(super) all: bool,
}

impl Row {
    /// What it is about: the case, the runtime, and what is true of them.
    pub(super) fn key(&self) -> (&str, &str, &str) {
        (&self.case, &self.runtime, &self.expected)
    }

    /// What was said, where it is not what had to be.
    pub(super) fn got(&self) -> &str {
        if self.right { "as expected" } else { &self.got }
    }
}

/// Says how it went, and fails if something is wrong.
pub(super) fn report(outcomes: &[Outcome<'_>], said: &Said, saved: &Saved<'_>, seconds: f64) -> Result<()> {
    let stamps = Stamps::read(saved.recording)?;
    let mut rows = Vec::new();
    let mut details = String::new();
    for outcome in outcomes {
        let (row, detail) = judge(outcome, said, &stamps, saved)?;
        rows.push(row);
        details.push_str(&detail);
    }
    let wrong = rows.iter().filter(|row| !row.right).count();
    let cells: Vec<_> = rows
        .iter()
        .map(|row| {
            [&row.case, &row.runtime, &row.expected, row.got(), &format!("{:>5.1}", row.seconds)].map(str::to_owned)
        })
        .collect();
    let table = table::render(["case", "runtime", "expected", "got", "seconds"], &cells);
    let total = format!("{} of {} right, in {seconds:.0} s", rows.len() - wrong, rows.len());
    fs::write(saved.directory.join("table.txt"), format!("{table}{total}\n"))?;
    fs::write(saved.directory.join(ROWS), serde_json::to_vec(&rows)?)?;
    let details = if details.is_empty() { details } else { format!("\n{DETAILS}\n{details}") };
    print!(
        "\n{table}{details}\n{total}\n{}",
        said.closing.lines().last().map(|l| format!("{l}\n")).unwrap_or_default()
    );
    if let Some(line) = truth::unclean(&said.raw) {
        anyhow::bail!("watch wrote bytes that a terminal would obey: {line}");
    }
    ensure!(wrong == 0, "{wrong} of {} are wrong: the recordings are in {}", rows.len(), saved.directory.display());
    Ok(())
}

/// What is wrong, out of everything that a run said.
pub(super) fn details(said: &str) -> &str {
    said.split_once(&format!("\n{DETAILS}\n")).map_or(said, |(_, details)| details)
}

/// A visit's row, and what there is to say if it is wrong.
fn judge(outcome: &Outcome<'_>, said: &Said, stamps: &Stamps, saved: &Saved<'_>) -> Result<(Row, String)> {
    let Visit { case, runtime } = *outcome.visit;
    let (got, faults) = match &outcome.container {
        Err(error) => ("not run".to_owned(), vec![format!("{error:#}")]),
        Ok(id) => {
            let records: Vec<_> = said.records.iter().filter(|record| record["container"]["id"] == **id).collect();
            let mut faults = truth::faults(case, runtime, &records);
            faults.extend(records.iter().flat_map(|record| stamps.faults(record)));
            (truth::got(&records), faults)
        }
    };
    let name = format!("{}-{}", case.name, runtime.name());
    let file = saved.directory.join(format!("{name}.jsonl"));
    if let Ok(id) = &outcome.container
        && (saved.all || !faults.is_empty())
    {
        fs::write(&file, watch::excerpt(saved.recording, id)?)?;
    }
    let row = Row {
        case: case.name.clone(),
        runtime: runtime.name().to_owned(),
        expected: truth::expected(case, runtime),
        got,
        right: faults.is_empty(),
        seconds: outcome.seconds,
    };
    if faults.is_empty() {
        return Ok((row, String::new()));
    }
    let evidence = if outcome.container.is_ok() { replayed(saved.product, &file) } else { String::new() };
    Ok((row, wrong(&name, case, &faults) + &evidence))
}

fn wrong(name: &str, case: &Case, faults: &[String]) -> String {
    format!("\n{name}: {}\n  {}\n", case.about.trim(), faults.join("\n  "))
}

/// What the verdict was made of, for people.
fn replayed(product: &Path, file: &Path) -> String {
    let block = child::read(Command::new(product).arg("replay").arg(file));
    let block = block.unwrap_or_else(|error| format!("{error:#}\n"));
    let block = block.lines().map(|line| format!("  | {line}\n")).collect::<String>();
    format!("{block}  signal-trace replay {}\n", file.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_what_follows_the_table() {
        assert_eq!(details("case  got\na     b\n\nwrong:\n\na: about\n"), "\na: about\n");
        assert_eq!(details("it did not start"), "it did not start");
    }
}
