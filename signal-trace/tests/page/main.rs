//! The report for people, `audit --output html`, in a real browser: light and dark, wide and narrow, without scripts, and
//! printed. `PREVIEWS` names a directory for pictures of it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "../support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use signal_trace::judge::shutdown::{Cause, Outcome, Shutdown};
use signal_trace::report::clock::WallClock;
use signal_trace::report::json::{Record, write_line};
use support::browser::Browser;
use support::{container, stop, waited_in_vain};

/// Lets a page look into frames with files of its own directory.
const FILES: &str = "--allow-file-access-from-files";
/// What a browser calls a dark preference.
const DARK: &str = "--blink-settings=preferredColorScheme=0";
/// The least contrast of text that people with weak sight can read, by WCAG 2.2, level AA.
const CONTRAST: f64 = 4.5;
const WORKLOADS: [&str; 4] =
    ["cart", "checkout", "a-workload-whose-name-is-as-long-as-names-of-deployments-may-be", "<b>x"];

#[test]
fn the_page_can_be_read_by_everybody() {
    let directory = tempfile::tempdir().unwrap();
    let report = report(directory.path());
    std::fs::write(directory.path().join("look.html"), include_str!("look.html")).unwrap();
    let look = format!("file://{}", directory.path().join("look.html").display());
    for (flags, bright) in [(&[FILES][..], true), (&[FILES, DARK], false)] {
        let title = Browser::new((1400, 3000), flags).title(&look);
        for seen in decoded(&title) {
            let width = &seen["width"];
            assert_eq!(seen["bright"], bright, "{width}");
            assert_eq!(seen["overflow"], 0, "{width} pixels are too few for it");
            assert!(seen["contrast"].as_f64().unwrap() >= CONTRAST, "{width}: {}", seen["contrast"]);
            assert_eq!(seen["headings"][0], "Graceful shutdowns");
            let text = seen["text"].as_str().unwrap();
            assert!(WORKLOADS.iter().all(|workload| text.contains(workload)), "{width}: {text}");
        }
    }
    let page = format!("file://{}", report.display());
    let printed = directory.path().join("report.pdf");
    Browser::new((1200, 900), &[]).print(&page, &printed);
    let printed = std::fs::read(printed).unwrap();
    assert!(printed.starts_with(b"%PDF-") && printed.len() > 10_000, "{} bytes", printed.len());
    if let Some(pictures) = std::env::var_os("PREVIEWS") {
        let pictures = Path::new(&pictures);
        std::fs::create_dir_all(pictures).unwrap();
        Browser::new((1200, 1000), &[]).draw(&page, &pictures.join("report.png"));
        Browser::new((1200, 1000), &[DARK]).draw(&page, &pictures.join("report-dark.png"));
        Browser::new((500, 1000), &[]).draw(&page, &pictures.join("report-narrow.png"));
    }
}

/// A report of a few workloads that end in different ways.
fn report(directory: &Path) -> PathBuf {
    let mut records = Vec::new();
    for (cgroup, workload) in (1..).zip(WORKLOADS) {
        let container = container(workload, cgroup);
        let ends: Vec<Shutdown> = match cgroup {
            1 => vec![waited_in_vain(&container); 12],
            2 => vec![stop(&container, Outcome::Graceful, Cause::None); 30],
            3 => [Outcome::ChildrenKilled, Outcome::Graceful]
                .map(|end| stop(&container, end, Cause::NotAwaited))
                .to_vec(),
            _ => vec![stop(&container, Outcome::DiedOnSignal, Cause::NoHandler); 9],
        };
        for (second, end) in (0..).zip(ends) {
            let clock = WallClock::new(support::at(0), jiff::Timestamp::from_second(1_795_262_400 + second).unwrap());
            write_line(&mut records, &Record::new(&end, "node-1", clock)).unwrap();
        }
    }
    std::fs::write(directory.join("records.jsonl"), records).unwrap();
    let path = directory.join("report.html");
    let output = Command::new(env!("CARGO_BIN_EXE_signal-trace"))
        .current_dir(directory)
        .args(["audit", "--records", "records.jsonl", "--output", "html=report.html"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(path.exists(), "{}", String::from_utf8_lossy(&output.stderr));
    path
}

/// What the page that looks put into its title.
fn decoded(title: &str) -> Vec<Value> {
    let (name, json) = form_urlencoded::parse(title.as_bytes()).next().unwrap();
    assert_eq!(name, "seen", "{title}");
    serde_json::from_str(&json).unwrap()
}
