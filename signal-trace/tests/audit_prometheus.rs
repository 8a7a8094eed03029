//! `signal-trace audit --prometheus` against a real Prometheus: whatever happened to the series, each shutdown counts once.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use signal_trace::judge::shutdown::{Cause, Outcome, Shutdown};
use signal_trace::report::clock::WallClock;
use signal_trace::report::http::{Access, Limits};
use signal_trace::report::json::{Record, write_line};
use support::http::{Site, clock};
use support::prometheus::Prometheus;
use support::{container, stop, waited_in_vain};

/// 2026-11-22T12:00:00Z
const END: i64 = 1_795_348_800;
const HOUR: i64 = 3600;
const BEGIN: i64 = END - 6 * HOUR;
/// The scrape interval.
const EVERY: i64 = 60;

fn audit(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_signal-trace"));
    command.env("LC_ALL", "C.UTF-8").stdin(Stdio::null()).arg("audit").args(arguments).output().unwrap()
}

fn report(arguments: &[&str]) -> Value {
    let output = audit(&[arguments, &["--output", "json"]].concat());
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {errors}"))
}

/// Samples in OpenMetrics text, family by family.
#[derive(Default)]
struct Samples {
    families: BTreeMap<&'static str, String>,
}

impl Samples {
    /// A series from one time to another, scraped at every interval; its value is what it was last set to.
    fn series(&mut self, name: &'static str, labels: &str, from: i64, to: i64, steps: &[(i64, f64)]) {
        let text = self.families.entry(name).or_default();
        for time in (from..=to).step_by(EVERY.unsigned_abs().try_into().unwrap()) {
            let value = steps.iter().rev().find(|(at, _)| *at <= time).map_or(0.0, |(_, value)| *value);
            writeln!(text, "{name}{{{labels}}} {value} {time}").unwrap();
        }
    }

    /// Graceful shutdowns of that workload, as an agent counts them.
    fn shutdowns(&mut self, agent: &str, workload: &str, from: i64, to: i64, steps: &[(i64, f64)]) {
        let labels = format!(
            r#"{agent},namespace="shop",workload="{workload}",workload_type="deployment",container="app",outcome="graceful",cause="none""#
        );
        self.series("signal_trace_shutdowns_total", &labels, from, to, steps);
    }

    fn agent(&mut self, agent: &str, from: i64, to: i64) {
        self.series("signal_trace_build_info", &format!(r#"{agent},version="1""#), from, to, &[(0, 1.0)]);
    }

    fn text(self) -> String {
        let mut text = String::new();
        for (name, samples) in self.families {
            let (family, kind) = match name.strip_suffix("_total") {
                Some(family) => (family, "counter"),
                None => (name, "gauge"),
            };
            write!(text, "# TYPE {family} {kind}\n{samples}").unwrap();
        }
        text.push_str("# EOF\n");
        text
    }
}

fn agent(n: u32) -> String {
    format!(r#"job="agent",instance="10.0.0.{n}:9469",node="n{n}""#)
}

/// Shutdowns by cluster and workload.
fn counts(report: &Value) -> BTreeMap<String, u64> {
    let workloads = report["workloads"].as_array().unwrap().iter();
    let of = |w: &Value| {
        let name = format!("{}/{}", w["cluster"].as_str().unwrap(), w["name"].as_str().unwrap());
        (name, w["shutdowns"]["all"].as_u64().unwrap())
    };
    workloads.map(of).collect()
}

#[test]
fn whatever_happens_to_a_series_each_shutdown_counts_once() {
    let mut samples = Samples::default();
    let (a, b, c) = (agent(1), agent(2), agent(3));
    let at = |hour: f64| {
        #[expect(clippy::cast_possible_truncation, reason = "seconds of some hours")]
        let seconds = (hour * 3600.0) as i64;
        BEGIN + seconds
    };
    let early = BEGIN - 5 * HOUR;
    samples.agent(&a, early, END);
    samples.agent(&b, early, at(3.0));
    // An agent that nobody scraped before, though it has counted for long.
    samples.agent(&c, at(2.0), END);
    // The same node by another address, while the agent is replaced.
    let b_next = r#"job="agent",instance="10.0.0.9:9469",node="n2""#;
    samples.agent(b_next, at(2.9), END);

    samples.shutdowns(&a, "steady", early, END, &[(early, 100.0), (at(1.0), 104.0), (at(5.99), 109.0)]);
    samples.shutdowns(&a, "reset", early, END, &[(early, 50.0), (at(1.0), 55.0), (at(2.0), 0.0), (at(3.0), 3.0)]);
    samples.shutdowns(&b, "replaced", early, at(3.0), &[(at(1.0), 4.0)]);
    samples.shutdowns(b_next, "replaced", at(2.9), END, &[(at(4.0), 2.0)]);
    samples.shutdowns(&a, "newborn", at(2.5), END, &[(0, 1.0), (at(4.0), 3.0)]);
    samples.shutdowns(&c, "unseen", at(2.0), END, &[(0, 50.0), (at(4.0), 52.0)]);
    samples.shutdowns(&a, "brief", at(3.0), at(3.1), &[(at(3.05), 2.0)]);
    samples.shutdowns(&a, "quiet", early, END, &[(early, 7.0)]);
    samples.shutdowns(&a, "before", early, END, &[(at(-3.0), 6.0), (at(1.0), 9.0)]);
    for (replica, steps) in [("a", &[(at(1.0), 7.0)][..]), ("b", &[(at(1.1), 7.0)])] {
        let labels = format!(r#"{a},prometheus_replica="{replica}""#);
        samples.shutdowns(&labels, "scraped-twice", early, END, steps);
    }
    for (cluster, from, to, count) in [("east", early, at(2.0), 3.0), ("west", at(2.0), END, 2.0)] {
        let labels = format!(r#"{a},cluster="{cluster}""#);
        samples.shutdowns(&labels, "moved", from, to, &[(from + HOUR, 0.0), (from.max(BEGIN) + HOUR, count)]);
    }
    for n in 1..=4 {
        samples.series("kube_node_info", &format!(r#"node="n{n}""#), early, END, &[(0, 1.0)]);
    }
    let server = Prometheus::of_samples("series", |file| file.write_all(samples.text().as_bytes()).unwrap(), &[]);
    let url = format!("http://{}", server.address);
    let period = ["--from", "2026-11-22T06:00Z", "--to", "2026-11-22T12:00Z"];
    let found = report(&[&["--prometheus", &url], &period[..]].concat());
    assert_eq!(found["gaps"].as_array().unwrap().len(), 0, "{}", found["gaps"]);

    let expected = [
        ("/before", 3),
        ("/brief", 2),
        ("/newborn", 3),
        ("/quiet", 0),
        ("/replaced", 6),
        ("/reset", 8),
        ("/scraped-twice", 7),
        ("/steady", 9),
        ("/unseen", 2),
        ("east/moved", 3),
        ("west/moved", 2),
    ];
    assert_eq!(counts(&found), expected.map(|(name, count)| (name.to_owned(), count)).into());

    // Three nodes have had an agent at the end, one of them two for a while, and one of them came late.
    let coverage =
        &found["clusters"].as_array().unwrap().iter().find(|cluster| cluster["cluster"] == "").unwrap()["coverage"];
    let share = coverage.as_f64().unwrap();
    assert!((share - (6.0 + 6.0 + 4.0) / 24.0).abs() < 0.02, "{share}");
    assert_eq!(found["coverage"]["nodes"], 4);
    assert_eq!(found["coverage"]["agents"], 3);

    let before = found["workloads"].as_array().unwrap().iter().find(|w| w["name"] == "before").unwrap();
    assert_eq!(before["trend"]["counted_before"], 6);
    let steady = found["workloads"].as_array().unwrap().iter().find(|w| w["name"] == "steady").unwrap();
    assert_eq!(steady["first_seen"], "2026-11-22T06:48:00.000000Z");
    assert_eq!(steady["last_seen"], "2026-11-22T12:00:00.000000Z");

    // The same server under one name twice is a pair of replicas.
    let one = format!("eu={url}");
    let twice = report(&[&["--prometheus", &one, "--prometheus", &one], &period[..]].concat());
    assert_eq!(counts(&twice)["eu/steady"], 9);
    assert_eq!(twice["totals"]["shutdowns"], found["totals"]["shutdowns"]);
}

#[test]
fn records_and_metrics_of_the_same_shutdowns_give_the_same_report() {
    let site = Site::start("[::]:0", Access::Loopback, Limits::default());
    let server = Prometheus::start("both", &format!("127.0.0.1:{}", site.address.port()), "1s", &[]);
    server.wait_for("count(signal_trace_build_info)", 1.0);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("records.jsonl");
    let begin = jiff::Timestamp::now();
    let clock_then = WallClock::new(clock(), begin);
    let mut lines = Vec::new();
    let mut happens = |shutdown: Shutdown| {
        let now = clock();
        let shutdown = Shutdown { opened: now, ended: now, ..shutdown };
        site.metrics.shutdown(&shutdown, now);
        write_line(&mut lines, &Record::new(&shutdown, "worker-1", clock_then)).unwrap();
    };
    let mut total = 0.0;
    for round in 0..3_u64 {
        for n in 0..4 {
            let container = container(&format!("w{n}"), n * 10 + round);
            happens(stop(&container, Outcome::Graceful, Cause::None));
            happens(waited_in_vain(&container));
            happens(stop(&container, Outcome::ALL[usize::try_from(n).unwrap()], Cause::Stuck));
            total += 3.0;
        }
        server.wait_for("sum(signal_trace_shutdowns_total)", total);
    }
    std::fs::write(&file, lines).unwrap();

    let begin = format!("{:.0}", begin - std::time::Duration::from_secs(1));
    let end = format!("{:.0}", jiff::Timestamp::now() + std::time::Duration::from_secs(1));
    let period = ["--from", &begin, "--to", &end, "--nodes", "1"];
    let url = format!("http://{}", server.address);
    let mut by_metrics = report(&[&["--prometheus", &url], &period[..]].concat());
    let mut by_records = report(&[&["--records", file.to_str().unwrap()], &period[..]].concat());
    for report in [&mut by_metrics, &mut by_records] {
        assert_eq!(report["gaps"].as_array().unwrap().len(), 0, "{}", report["gaps"]);
        // Where the numbers came from, when, and how exactly a source knows the time and the nodes.
        for field in ["generated", "sources", "coverage", "score", "grade"] {
            report[field].take();
        }
        for group in report["clusters"].as_array_mut().unwrap() {
            for field in ["coverage", "score", "grade"] {
                group[field].take();
            }
        }
        for workload in report["workloads"].as_array_mut().unwrap() {
            workload["first_seen"].take();
            workload["last_seen"].take();
            assert_eq!(workload["avoidable_hours"], 0.025);
        }
        for part in ["clusters", "namespaces"] {
            for group in report[part].as_array_mut().unwrap() {
                group["score"].take();
                group["grade"].take();
            }
        }
    }
    assert_eq!(by_metrics["totals"]["shutdowns"]["all"], 36);
    assert_eq!(by_metrics, by_records);
}
