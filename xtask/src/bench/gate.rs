//! What must not get slower unnoticed: instructions and ratios, because times differ from machine to machine.
//!
//! The instructions are those that valgrind counts for a container's life in the judge, the ratios those of the kernel
//! programs to empty ones in the same run. They are held against `xtask/bench/gate.json`, which `bench --write` writes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use super::figure::Figure;
use super::{kept, measure, program, read};
use crate::setup::Toolchain;
use crate::{child, machine, packages};

const FILE: &str = "gate.json";
/// Two sizes of the same work: what differs between them is the work alone.
const SIZES: [u64; 2] = [200, 400];
/// How much more it may be: the count differs by the order of hash tables, a ratio by whatever else the machine does. That
/// only ever makes it larger, so the best of a run is held against what was usual.
const MORE_INSTRUCTIONS: f64 = 1.05;
const MORE_RATIO: f64 = 1.5;

/// What is held against what.
#[derive(Debug, Deserialize, Serialize)]
struct Gate {
    /// Of the judge for one container with four processes, from its start to its verdict.
    instructions_per_container: f64,
    /// Of the kernel programs to empty ones, by the figure's name.
    ratios: BTreeMap<String, f64>,
}

/// Measures both, and fails where there is more of either than there was, or nothing to hold it against.
pub(crate) fn hold(toolchain: &Toolchain) -> Result<()> {
    let stored: Gate = serde_json::from_value(read(&kept(FILE))?)?;
    let now = Gate::measure(toolchain, Figure::best)?;
    for line in now.lines(&stored) {
        println!("{line}");
    }
    let unmatched = now.unmatched(&stored);
    ensure!(
        unmatched.is_empty(),
        "not to be compared: {}; if that is meant, `cargo xtask bench filtered --write`",
        unmatched.join("; ")
    );
    let more = now.more_than(&stored);
    ensure!(
        more.is_empty(),
        "more than it was: {}; if that is meant, `cargo xtask bench filtered --write`",
        more.join("; ")
    );
    Ok(())
}

/// Writes them down as they are now.
pub(super) fn keep(toolchain: &Toolchain) -> Result<()> {
    let gate = Gate::measure(toolchain, Figure::usual)?;
    let path = kept(FILE);
    fs::write(&path, serde_json::to_string_pretty(&gate)? + "\n")
        .with_context(|| format!("cannot write {}", path.display()))
}

impl Gate {
    fn measure(toolchain: &Toolchain, which: fn(&Figure) -> f64) -> Result<Self> {
        packages::provide(&packages::COUNTERS)?;
        let program = program(toolchain)?;
        let [fewer, more] = SIZES;
        let work = instructions(&program, more)? - instructions(&program, fewer)?;
        let figures = measure(toolchain, &["filtered".to_owned()])?;
        Ok(Self { instructions_per_container: work / (more - fewer) as f64, ratios: ratios(&figures, which) })
    }

    fn lines(&self, stored: &Self) -> Vec<String> {
        let line = |what: &str, now: f64, was: Option<&f64>| match was {
            Some(was) => format!("{what}: {now:.2}, was {was:.2}"),
            None => format!("{what}: {now:.2}, was not stored"),
        };
        let what = "instructions of the judge for a container";
        let instructions = line(what, self.instructions_per_container, Some(&stored.instructions_per_container));
        let ratios = self.ratios.iter().map(|(what, now)| line(what, *now, stored.ratios.get(what)));
        std::iter::once(instructions).chain(ratios).collect()
    }

    /// What only one of them has, so that nothing is held against it.
    fn unmatched(&self, stored: &Self) -> Vec<String> {
        let lacks = |gate: &Self, what: &String| !gate.ratios.contains_key(what);
        let gone = stored.ratios.keys().filter(|what| lacks(self, what)).map(|what| format!("{what} was not measured"));
        let new = self.ratios.keys().filter(|what| lacks(stored, what)).map(|what| format!("{what} was not stored"));
        gone.chain(new).collect()
    }

    /// What is beyond the noise.
    fn more_than(&self, stored: &Self) -> Vec<String> {
        let mut more = Vec::new();
        if self.instructions_per_container > stored.instructions_per_container * MORE_INSTRUCTIONS {
            more.push("instructions of the judge".to_owned());
        }
        let larger =
            |(what, now): &(&String, &f64)| stored.ratios.get(*what).is_some_and(|was| **now > was * MORE_RATIO);
        more.extend(self.ratios.iter().filter(larger).map(|(what, _)| what.clone()));
        more
    }
}

fn ratios(figures: &[Figure], which: fn(&Figure) -> f64) -> BTreeMap<String, f64> {
    figures.iter().filter(|figure| figure.unit == "×").map(|figure| (figure.what.clone(), which(figure))).collect()
}

fn instructions(program: &Path, containers: u64) -> Result<f64> {
    let valgrind = machine::find("valgrind").context("no valgrind")?;
    let mut command = std::process::Command::new(valgrind);
    command.args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null", "--log-fd=1"]);
    let said = child::read(command.arg(program).args(["work", &containers.to_string()]))?;
    counted(&said).with_context(|| format!("valgrind counted nothing: {said}"))
}

/// From `==7== I   refs:      1,234,567`.
fn counted(said: &str) -> Option<f64> {
    let line = said.lines().find(|line| line.contains("refs:"))?;
    line.rsplit_once("refs:")?.1.trim().replace(',', "").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(instructions_per_container: f64, ratio: f64) -> Gate {
        Gate { instructions_per_container, ratios: BTreeMap::from([("a signal".to_owned(), ratio)]) }
    }

    #[test]
    fn more_than_the_noise_is_named() {
        let stored = gate(1000.0, 1.0);
        assert!(gate(1049.0, 1.49).more_than(&stored).is_empty());
        assert_eq!(gate(1051.0, 1.0).more_than(&stored), ["instructions of the judge"]);
        assert_eq!(gate(900.0, 1.51).more_than(&stored), ["a signal"]);
    }

    #[test]
    fn what_has_nothing_to_be_held_against_is_named() {
        let stored = gate(1000.0, 1.0);
        assert!(gate(900.0, 1.51).unmatched(&stored).is_empty());
        let another = Gate { ratios: BTreeMap::from([("a birth".to_owned(), 1.0)]), ..gate(900.0, 1.0) };
        assert_eq!(another.unmatched(&stored), ["a signal was not measured", "a birth was not stored"]);
        assert_eq!(
            another.lines(&stored),
            ["instructions of the judge for a container: 900.00, was 1000.00", "a birth: 1.00, was not stored"]
        );
    }

    #[test]
    fn valgrind_is_understood() {
        assert_eq!(counted("==7== Cachegrind\n==7== \n==7== I   refs:      1,234,567\n"), Some(1_234_567.0));
        assert_eq!(counted("valgrind: no such file"), None);
    }
}
