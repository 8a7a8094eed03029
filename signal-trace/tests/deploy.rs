//! What is below `deploy/` and `docs/` says what the product says: runbooks are the texts of `explain`, the reference of
//! metrics is a page of them, and the alerts are those that have a text.
//!
//! With `WRITE_FILES=1` in the environment, as `cargo xtask deploy` sets it, the files are written instead of compared.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use clap::Args as _;
use serde_json::Value;
use signal_trace::agent::options::Options;
use signal_trace::judge::shutdown::{Cause, KilledBy, Outcome};
use signal_trace::report::explain::{Alert, Axis, Entry, all, markdown};
use signal_trace::report::metrics::format::Format;
use signal_trace::report::metrics::{KernelEvent, KubeEvent, LossReason, Refused, Settings, Unattributed};
use support::{at, container, lines, metrics, text, waited_in_vain};

const RUNBOOKS: &str = "deploy/runbooks";
const RULES: &str = "deploy/chart/rules";
/// Where alerts send their readers.
const PUBLISHED: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/deploy/runbooks");

#[test]
fn every_verdict_and_every_alert_has_its_runbook() {
    let entries: Vec<_> = all().into_iter().filter(|entry| runbook(entry).is_some()).collect();
    let mut files = BTreeMap::new();
    for entry in &entries {
        let mut page = String::new();
        markdown(&mut page, *entry, 1).unwrap();
        files.insert(runbook(entry).unwrap(), page);
    }
    files.insert("README.md".to_owned(), index(&entries));
    for (name, page) in &files {
        in_step(&format!("{RUNBOOKS}/{name}"), page);
    }
    assert_eq!(files_below(&root().join(RUNBOOKS)), files.into_keys().collect::<Vec<_>>());
}

#[test]
fn the_alerts_are_those_of_explain_and_lead_to_their_runbooks() {
    let mut names = Vec::new();
    for file in files_below(&root().join(RULES)) {
        let rules = std::fs::read_to_string(root().join(RULES).join(file)).unwrap();
        for rule in rules.split("- alert: ").skip(1) {
            let name = rule.lines().next().unwrap();
            assert!(rule.contains(&format!("runbook_url: {PUBLISHED}/{name}.md\n")), "{rule}");
            for part in ["summary: ", "description: ", "severity: "] {
                assert!(rule.contains(part), "{name} has no {part}");
            }
            names.push(name.to_owned());
        }
    }
    names.sort();
    names.dedup();
    let mut expected = Alert::ALL.map(Alert::name);
    expected.sort_unstable();
    assert_eq!(names, expected);
}

#[test]
fn the_reference_of_metrics_is_a_page_of_them() {
    let metrics = metrics(Settings::default());
    metrics.shutdown(&waited_in_vain(&container("cart", 1)), at(1));
    metrics.last_event(SystemTime::now());
    let page = text(&metrics, at(2), Format::Text);
    let mut reference =
        "# Metrics\n\nWhat `/metrics` serves, as it says of itself. Durations are in seconds; counters end \
                         in `_total`; none is removed or renamed within a major version.\n\n| metric | type | labels | \
                         what it is |\n|---|---|---|---|\n"
            .to_owned();
    for help in lines(&page, "# HELP ") {
        let (name, what) = help["# HELP ".len()..].split_once(' ').unwrap();
        let kind = lines(&page, &format!("# TYPE {name} "))[0].rsplit(' ').next().unwrap();
        writeln!(reference, "| `{name}` | {kind} | {} | {what} |", labels(&page, name)).unwrap();
    }
    reference += "\n## Label values\n\n| label | of | values |\n|---|---|---|\n";
    for (label, metric, values) in label_values() {
        let of = format!("signal_trace_{metric}_total");
        assert!(labels(&page, &of).split(", ").any(|known| known == label), "{of} has no label {label}");
        writeln!(reference, "| `{label}` | `{of}` | {} |", values.join(", ")).unwrap();
    }
    reference += "\n`workload_type` is the owner's kind in lower case: `deployment`, `statefulset`, `daemonset`, `job`, `cronjob`, \
                  `pod`, or any other. Where there is no room for another label set (`labelSets`), all four of a workload's \
                  labels are `_other`. With `podLabel` workloads also have `pod`.\n";
    reference += HOW_TO_READ;
    in_step("docs/metrics.md", &reference);
}

const HOW_TO_READ: &str = "
## How to read them

- **The first increment of a series waits** until every scraper that came in the last minutes has read its 0, and for 15
  minutes at most: `increase()` sees it then. Who asks by hand finds 0 for a shutdown that was just made, or nothing yet; the
  agent's log has the record at once. `signal_trace_early_increments_total` counts those that could not wait.
- **Series come with shutdowns.** A workload's container has three series while nothing of it was stopped, and about 23 (3.4 KB
  of text) once it was. They go 5 minutes after its last container. A node shows 1000 containers of workloads
  (`labelSets`); what is beyond shares one set, `_other`.
- **Kubernetes events have limits of their own**: of a pod 10 at once and then one a minute, of a node 100 at once and then one
  a second. `signal_trace_kube_events_total` counts what became of each.
";

/// What the labels of closed sets may be: each with a metric that has it.
fn label_values() -> [(&'static str, &'static str, Vec<&'static str>); 8] {
    [
        ("outcome", "shutdowns", Outcome::ALL.map(Outcome::name).to_vec()),
        ("cause", "shutdowns", Cause::ALL.map(Cause::name).to_vec()),
        ("by", "processes_killed", KilledBy::ALL.map(KilledBy::name).to_vec()),
        ("kind", "kernel_events", KernelEvent::ALL.map(KernelEvent::name).to_vec()),
        ("reason", "kernel_events_lost", LossReason::ALL.map(LossReason::name).to_vec()),
        ("reason", "unattributed_shutdowns", Unattributed::ALL.map(Unattributed::name).to_vec()),
        ("result", "kube_events", KubeEvent::ALL.map(KubeEvent::name).to_vec()),
        ("what", "refused", Refused::ALL.map(Refused::name).to_vec()),
    ]
}

#[test]
fn what_the_chart_lets_be_configured_is_what_the_agent_reads() {
    let schema = std::fs::read_to_string(root().join("deploy/chart/values.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let options = schema.pointer("/properties/agent/properties/config/properties").unwrap().as_object().unwrap();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    for (name, option) in options {
        let value = match option["type"].as_str().unwrap() {
            "array" => "[forced]",
            "boolean" => "true",
            "integer" => "7",
            other => panic!("{name} is a {other}"),
        };
        writeln!(file, "{name}: {value}").unwrap();
    }
    let output = Command::new(env!("CARGO_BIN_EXE_signal-trace"))
        .args(["agent", "--print-config", "--config"])
        .arg(file.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout).unwrap();
    for name in options.keys() {
        assert!(printed.contains(&format!("{name}:")), "{name} in {printed}");
    }
}

#[test]
fn the_reference_of_the_configuration_is_the_agents_options() {
    let schema = std::fs::read_to_string(root().join("deploy/chart/values.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let chart = schema.pointer("/properties/agent/properties/config/properties").unwrap().as_object().unwrap();
    let mut reference = "# Configuration of the agent\n\nEvery option can be given as a flag, as a variable, or in the YAML \
                         file that `--config` or `SIGNAL_TRACE_CONFIG` names, under its key there; what comes first of these \
                         three holds. The chart writes that file from `agent.config`, which takes the keys that are marked; \
                         for the others it has values of its own or `agent.extraArgs`. `signal-trace agent --print-config` \
                         prints what is in force. Lists are separated by commas in a variable, and are repeated flags.\n\n\
                         | flag | variable | key | `agent.config` | what it is |\n|---|---|---|---|---|\n"
        .to_owned();
    let options = Options::augment_args(clap::Command::new("agent"));
    for option in options.get_arguments() {
        let key = camel_case(option.get_id().as_str());
        let variable = option.get_env().map_or("–".to_owned(), |name| format!("`{}`", name.to_str().unwrap()));
        let charted = if chart.contains_key(&key) { "yes" } else { "–" };
        let help = option.get_long_help().or(option.get_help()).unwrap();
        let flag = option.get_long().unwrap();
        writeln!(reference, "| `--{flag}` | {variable} | `{key}` | {charted} | {help} |").unwrap();
    }
    in_step("docs/configuration.md", &reference);
}

fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap().to_owned();
    words.fold(first, |name, word| name + &word[..1].to_uppercase() + &word[1..])
}

/// The names of the labels of a metric's first sample, but for those of a histogram's buckets.
fn labels(page: &str, name: &str) -> String {
    let sample = lines(page, name)[0];
    let Some((_, labels)) = sample.split_once('{') else { return "none".to_owned() };
    let names = labels.split("\",").map(|label| label.split('=').next().unwrap());
    names.filter(|name| *name != "le").collect::<Vec<_>>().join(", ")
}

/// Its file, if it is a verdict or an alert.
fn runbook(entry: &Entry) -> Option<String> {
    match entry.axis {
        Axis::Outcome | Axis::Cause => Some(format!("{}/{}.md", entry.axis.field(), entry.name)),
        Axis::Alert => Some(format!("{}.md", entry.name)),
        Axis::InitDisposition | Axis::Finding => None,
    }
}

fn index(entries: &[Entry]) -> String {
    let mut page =
        "# Runbooks\n\nOne for every alert and one for every verdict: what it means, how to confirm it, how to \
                    mend it, when to ignore it. `signal-trace explain NAME` says the same on a terminal.\n"
            .to_owned();
    for axis in [Axis::Alert, Axis::Outcome, Axis::Cause] {
        writeln!(page, "\n## {}\n\n| {} | in short |\n|---|---|", axis.question(), axis.field()).unwrap();
        for entry in entries.iter().filter(|entry| entry.axis == axis) {
            let file = runbook(entry).unwrap();
            writeln!(page, "| [`{}`]({file}) | {} |", entry.name, entry.text.in_general()).unwrap();
        }
    }
    page
}

/// Compares, or writes where that is asked for.
fn in_step(path: &str, text: &str) {
    let file = root().join(path);
    if std::env::var_os("WRITE_FILES").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, text).unwrap();
    }
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(found == text, "{path} is not what the code says: run `cargo xtask deploy`");
}

/// Paths of all files below, from there on, sorted.
fn files_below(directory: &Path) -> Vec<String> {
    let mut files = Vec::new();
    let mut directories = vec![PathBuf::new()];
    while let Some(below) = directories.pop() {
        for entry in std::fs::read_dir(directory.join(&below)).unwrap() {
            let entry = entry.unwrap();
            let path = below.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                directories.push(path);
            } else {
                files.push(path.to_str().unwrap().to_owned());
            }
        }
    }
    files.sort();
    files
}

/// Of the workspace.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}
