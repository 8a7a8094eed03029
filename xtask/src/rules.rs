//! The recording rules and alerts below `deploy/`, as Prometheus itself reads them: their form, and of every alert when it
//! fires, that it stays quiet on the near miss, and that it resolves.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{child, machine};

/// The rules, as they are shipped.
const RULES: &str = "deploy/chart/rules";
/// What they have to do, in promtool's form.
const TESTS: &str = "deploy/tests/rules";

/// Checks and tests them.
pub(crate) fn run() -> Result<()> {
    promtool(&["check", "rules", "--lint=all", "--lint-fatal"], RULES)?;
    promtool(&["test", "rules"], TESTS)
}

fn promtool(words: &[&str], directory: &str) -> Result<()> {
    let mut command = Command::new("promtool");
    child::show(command.current_dir(machine::workspace()).args(words).args(files(Path::new(directory))?))
}

/// The files of a directory of the workspace, by names that hold from there.
fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(machine::workspace().join(directory));
    let entries = entries.with_context(|| format!("cannot read {}", directory.display()))?;
    let names = entries.map(|entry| Ok(directory.join(entry?.file_name()))).collect::<Result<Vec<_>>>();
    let mut names = names?;
    names.sort();
    ensure!(!names.is_empty(), "there is nothing in {}", directory.display());
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_alert_is_tested_and_every_test_is_of_an_alert() {
        let alerts = values(RULES, "- alert: ");
        assert!(alerts.len() > 10, "{alerts:?}");
        assert_eq!(values(TESTS, "alertname: "), alerts);
    }

    #[test]
    fn every_test_of_an_alert_has_a_time_at_which_it_is_quiet() {
        for file in files(Path::new(TESTS)).unwrap() {
            let text = std::fs::read_to_string(machine::workspace().join(file)).unwrap();
            for test in text.split("\n  - name: ").skip(1) {
                assert!(test.contains("exp_alerts: []"), "{test}");
            }
        }
    }

    fn values(directory: &str, key: &str) -> BTreeSet<String> {
        let mut values = BTreeSet::new();
        for file in files(Path::new(directory)).unwrap() {
            let text = std::fs::read_to_string(machine::workspace().join(file)).unwrap();
            values.extend(text.lines().filter_map(|line| line.trim().strip_prefix(key)).map(str::to_owned));
        }
        values
    }
}
