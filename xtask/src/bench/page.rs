//! `BENCHMARKS.md` and its pictures: the figures that were kept, benchmark by benchmark, each with where it was measured.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::figure::Figure;
use super::{kept, picture, read};
use crate::machine;

const FILE: &str = "measured.json";
const PAGE: &str = "BENCHMARKS.md";
const PICTURES: &str = "docs/images";

/// The figures of one benchmark, and where they are from.
#[derive(Debug, Deserialize, Serialize)]
struct Kept {
    machine: String,
    kernel: String,
    figures: Vec<Figure>,
}

/// What is said of a benchmark beside its figures, in the order of the page: its name, its title, how it is done, and
/// why a limit is missed where one is.
const WORDS: [(&str, &str, &str); 12] = [
    (
        "filtered",
        "What is of no interest, in the kernel",
        "Mean time of a program's run by the kernel's statistics, clock reads included, against an empty program on the same \
         tracepoint in the same run. A signal is dropped by its number. Births and ends have no number: the program follows \
         the task to its cgroup, four loads deep, and looks that up in a table, which is more than an empty program by \
         nature; what that is of a whole fork, exit and wait is below.",
    ),
    (
        "recorded",
        "What is recorded, in the kernel",
        "The same for what happens in a container that is being stopped: each is a record in a ring.",
    ),
    (
        "sender",
        "What a program notices",
        "A million signals to oneself and a hundred thousand processes, by turns with nothing attached, with the empty \
         programs and with the real ones.",
    ),
    (
        "burst",
        "Floods",
        "A container signals itself a hundred thousand times a second for ten seconds while forty others are stopped, half of \
         them by SIGKILL; then one with twenty thousand processes goes at once. What a verdict hangs on has a ring of its own. \
         What the other ring refuses is counted, and a verdict that it could have touched is `unknown`. Twenty thousand \
         processes that die are twenty thousand that want a processor: the reader gets its turn when most of them are gone, and \
         their 5.6 MB of records do not fit into a ring of 4 MiB until then.",
    ),
    (
        "latency",
        "From the kernel to who reads",
        "The agent follows 500 containers; 400 of them are stopped, half of those with a second process that dies with its \
         init. The load is two processes that compute on two processors, and ten thousand records a second besides. A page of \
         metrics is asked for all the time, so that the time to a metric has up to two whole pages in it: one that had begun, \
         and the one that counts. On processors that are taken, a page waits for its turn like everybody.",
    ),
    (
        "memory",
        "Memory",
        "The agent one minute after its start, with its API server in the measuring program: its resident pages without the \
         rings, and all maps and programs in the kernel, rings included once. Rings are 4.5 MiB of it and tables 1.8 MiB, \
         whatever the node. Pages of its file that only the start needed are let go. What is its own differs by some MiB from \
         start to start with the same containers, 1.6 to 4.6 MiB with ten of them, which is not explained yet.",
    ),
    (
        "churn",
        "A day of churn",
        "A million shutdowns by a clock that is made up, through the judge, the names, the numbers with a scraper every \
         minute, and the last records, with 500 containers at a time and workloads that come and go.",
    ),
    ("idle", "Doing nothing", "The agent with 500 containers in which nothing happens, in five parts of ten seconds."),
    (
        "start",
        "Starting",
        "From exec on. More than half of the processor's time is the kernel's verifier, which looks for the name of a type \
         among all of its types at every pointer that the programs follow (`btf_find_by_name_kind`).",
    ),
    (
        "judge",
        "The judge",
        "The pure core alone, by the processor's time of its thread. The product is built for size.",
    ),
    (
        "scale",
        "Growth",
        "Cost against size as a power: 1 is linear. Minimum, median and maximum are those between neighbouring sizes; the limit \
         is for the three largest.",
    ),
    (
        "peers",
        "Beside others",
        "The same work under tracers that Debian has packages of, by turns in the same run: a process that signals itself, \
         each signal recorded, without a pause and ten a millisecond. What a sender waits at that pace is the run of the \
         program: 570 ns in the mean, by the kernel's statistics, where it is 320 while caches are hot (a recorded signal, \
         above). Tetragon and Inspektor Gadget are in no Debian package.",
    ),
];

/// Keeps the figures in the place of older ones of the same benchmarks, and writes the page.
pub(super) fn keep(figures: &[Figure]) -> Result<()> {
    let path = kept(FILE);
    let mut all: BTreeMap<String, Kept> =
        if path.exists() { serde_json::from_value(read(&path)?)? } else { BTreeMap::new() };
    let mut new: BTreeMap<String, Kept> = BTreeMap::new();
    for figure in figures {
        let place =
            || -> Result<Kept> { Ok(Kept { machine: machine_in_words()?, kernel: kernel()?, figures: Vec::new() }) };
        let kept = match new.remove(&figure.benchmark) {
            Some(kept) => kept,
            None => place()?,
        };
        let figures = kept.figures.into_iter().chain([figure.clone()]).collect();
        new.insert(figure.benchmark.clone(), Kept { figures, ..kept });
    }
    all.extend(new);
    fs::write(&path, serde_json::to_string_pretty(&all)? + "\n")
        .with_context(|| format!("cannot write {}", path.display()))?;
    for (name, text) in files(&all) {
        let path = machine::workspace().join(&name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// The page and its pictures, by their paths.
fn files(all: &BTreeMap<String, Kept>) -> Vec<(String, String)> {
    let mut page = "# Benchmarks\n\nMeasured with `cargo xtask bench`, written by `cargo xtask bench --write`; `--json` prints the \
                    same. Every figure is held against a reference of its own run; a section that was written alone \
                    is from a run of its own. A ratio means more than a time: the machine is virtual and shared, so take times \
                    as upper bounds. A limit that is missed is printed as \
                    missed.\n"
        .to_owned();
    let mut files = Vec::new();
    for (name, title, about) in WORDS {
        let Some(kept) = all.get(name) else { continue };
        let _ = write!(
            page,
            "\n## {title}\n\n{about}\n\n`cargo xtask bench {name}` on {}, Linux {}\n\n",
            kept.machine, kept.kernel
        );
        page.push_str(
            "| figure | min | median | max | unit | against | limit | result |\n|---|---|---|---|---|---|---|---|\n",
        );
        for figure in &kept.figures {
            let [min, median, max] = figure.values();
            let (what, unit, reference, limit, result) =
                (&figure.what, &figure.unit, figure.reference(), figure.limit(), figure.result());
            let _ = writeln!(page, "| {what} | {min} | {median} | {max} | {unit} | {reference} | {limit} | {result} |");
        }
        let remarks: Vec<_> = kept.figures.iter().filter_map(|f| Some((&f.what, f.remark.as_ref()?))).collect();
        if !remarks.is_empty() {
            page.push('\n');
        }
        for (what, remark) in remarks {
            let _ = writeln!(page, "- {what}: {remark}.");
        }
        // Powers have no picture: they are their own summary.
        for figure in kept.figures.iter().filter(|figure| !figure.unit.is_empty()) {
            if let Some(curve) = &figure.curve {
                let path = format!("{PICTURES}/bench-{name}.svg");
                let _ = write!(page, "\n![{title}, by {}]({path})\n", curve.by);
                files.push((path, picture::draw(curve, title, "MiB")));
            }
        }
    }
    files.push((PAGE.to_owned(), page));
    files
}

fn machine_in_words() -> Result<String> {
    let info = fs::read_to_string("/proc/cpuinfo").context("no /proc/cpuinfo")?;
    Ok(described(&info))
}

/// The processor and how many there are; virtual where a hypervisor says so.
fn described(info: &str) -> String {
    let field =
        |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.split_once(": ")).map(|(_, value)| value);
    let count = info.lines().filter(|line| line.starts_with("processor")).count();
    let model = field("model name").unwrap_or("unknown processors");
    let shared = field("flags").is_some_and(|flags| flags.contains("hypervisor"));
    format!("{count} × {model}{}", if shared { " (virtual and shared)" } else { "" })
}

fn kernel() -> Result<String> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").context("no release of the kernel")?;
    Ok(release.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::figure::tests::figure;

    #[test]
    fn the_page_and_its_pictures_are_those_of_the_kept_figures() {
        let all: BTreeMap<String, Kept> = serde_json::from_value(read(&kept(FILE)).unwrap()).unwrap();
        for (path, expected) in files(&all) {
            let written = fs::read_to_string(machine::workspace().join(&path)).unwrap();
            assert!(written == expected, "{path} is not as it is written: run `cargo xtask bench judge --write`");
        }
        assert_eq!(all.len(), all.keys().filter(|name| WORDS.iter().any(|words| words.0 == *name)).count());
    }

    #[test]
    fn a_figure_is_a_row_with_its_result() {
        let kept = Kept { machine: "a machine".into(), kernel: "6.1".into(), figures: vec![figure("judge", "x", 2.0)] };
        let files = files(&BTreeMap::from([("judge".to_owned(), kept)]));
        let page = &files[0].1;
        assert!(page.contains("`cargo xtask bench judge` on a machine, Linux 6.1"), "{page}");
        assert!(page.contains("| x | 1 | 2 | 1234 | ns | an empty program: 55.2 | ≤ 1.10 | missed |"), "{page}");
    }

    #[test]
    fn a_machine_is_described_without_its_name() {
        let info = "processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: fpu hypervisor\nprocessor\t: 1\nmodel name\t: Some CPU\n";
        assert_eq!(described(info), "2 × Some CPU (virtual and shared)");
        assert_eq!(described("processor\t: 0\nmodel name\t: Some CPU\n"), "1 × Some CPU");
    }
}
