//! `signal-trace audit` as it is run: records in, reports out, and every exit code for its reason.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use serde_json::Value;
use signal_trace::event::KernelTime;
use signal_trace::judge::shutdown::{Cause, ContainerFacts, Outcome, Shutdown};
use signal_trace::report::clock::WallClock;
use signal_trace::report::json::{Record, write_line};
use support::{at, container, stop, waited_in_vain};

/// A directory of its own, with records in it.
struct Bench {
    directory: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        std::fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }

    fn audit(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_signal-trace"));
        command.current_dir(self.directory.path()).env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
        command.arg("audit").args(arguments).output().unwrap()
    }

    /// The report of a run that had to end with this code.
    fn report(&self, arguments: &[&str], code: i32) -> Value {
        let output = self.audit(&[arguments, &["--output", "json"]].concat());
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {errors}"))
    }
}

/// The line of a shutdown that began so many seconds after boot, at 2026-11-01T00:00:00Z.
fn line(shutdown: &Shutdown, second: u64) -> Vec<u8> {
    let clock = WallClock::new(KernelTime(0), "2026-11-01T00:00:00Z".parse().unwrap());
    let shutdown = Shutdown { opened: at(second), ..shutdown.clone() };
    let mut out = Vec::new();
    write_line(&mut out, &Record::new(&shutdown, "worker-1", clock)).unwrap();
    out
}

fn graceful(container: &Arc<ContainerFacts>) -> Shutdown {
    stop(container, Outcome::Graceful, Cause::None)
}

/// So many graceful shutdowns of that deployment, and so many that waited in vain.
fn log(deployment: &str, good: u64, bad: u64) -> Vec<u8> {
    let cart = container(deployment, deployment.len() as u64);
    let good = (0..good).flat_map(|n| line(&graceful(&cart), n * 60));
    let bad = (0..bad).flat_map(|n| line(&waited_in_vain(&cart), 100_000 + n * 60));
    good.chain(bad).collect()
}

fn workload<'r>(report: &'r Value, name: &str) -> &'r Value {
    report["workloads"].as_array().unwrap().iter().find(|workload| workload["name"] == name).unwrap()
}

#[test]
fn each_exit_code_has_its_reason() {
    let bench = Bench::new();
    bench.write("good.jsonl", log("cart", 5, 0));
    bench.write("mixed.jsonl", log("cart", 5, 5));
    bench.write("policy.yaml", "tolerate: {fail: 0.5, warn: 0.5}");
    bench.write("typo.yaml", "tolerat: {fail: 0.5}");
    bench.write("other.jsonl", "{\"level\":\"info\",\"message\":\"ready\"}\n");
    for (arguments, code) in [
        (&["--records", "good.jsonl"][..], 0),
        (&["--records", "good.jsonl", "--from", "2026-12-01", "--to", "2026-12-02"], 0),
        (&["--records", "good.jsonl", "--records", "other.jsonl"], 0),
        (&["--records", "other.jsonl"], 1),
        (&["--records", "nowhere.jsonl"], 1),
        (&["--records", "good.jsonl", "--policy", "nowhere.yaml"], 1),
        (&["--records", "good.jsonl", "--policy", "typo.yaml"], 1),
        (&["--records", "good.jsonl", "--output", "json=nowhere/a.json"], 1),
        (&[], 2),
        (&["--records", "good.jsonl", "--output", "jsn"], 2),
        (&["--records", "good.jsonl", "--min-score", "101"], 2),
        (&["--records", "mixed.jsonl"], 3),
        (&["--records", "mixed.jsonl", "--policy", "policy.yaml"], 0),
        (&["--records", "mixed.jsonl", "--policy", "policy.yaml", "--min-score", "60"], 4),
        (&["--records", "good.jsonl", "--min-shutdowns", "6", "--min-score", "1"], 4),
        (&["--records", "good.jsonl", "--min-coverage", "0.5"], 5),
        (&["--records", "good.jsonl", "--nodes", "2"], 5),
        (&["--records", "good.jsonl", "--nodes", "2", "--min-coverage", "0.5"], 0),
    ] {
        let output = bench.audit(arguments);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
        assert!(code != 1 || !errors.is_empty(), "{arguments:?}");
    }
}

#[test]
fn an_unknown_key_of_a_policy_is_named_with_the_one_that_was_meant() {
    let bench = Bench::new();
    bench.write("good.jsonl", log("cart", 5, 0));
    bench.write("typo.yaml", "tolerat: {fail: 0.5}");
    let output = bench.audit(&["--records", "good.jsonl", "--policy", "typo.yaml"]);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("typo.yaml is no policy") && errors.contains("did you mean `tolerate`?"), "{errors}");
    assert!(output.stdout.is_empty());
}

#[test]
fn records_come_in_many_wrappings_and_count_once() {
    let bench = Bench::new();
    let plain = log("cart", 4, 1);
    let text = String::from_utf8(plain.clone()).unwrap();
    let cri: String = text.lines().map(|line| format!("2026-11-01T00:00:01.000000001Z stdout F {line}\n")).collect();
    let docker = text.lines().map(|line| serde_json::json!({ "log": format!("{line}\n"), "stream": "stdout" }));
    let docker: String = docker.map(|line| format!("{line}\n")).collect();
    let other = format!("{{\"level\":\"info\",\"message\":\"ready\"}}\nnot json\n\n{text}");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let zstd = ruzstd::encoding::compress_to_vec(&*plain, ruzstd::encoding::CompressionLevel::Fastest);
    let files: [(&str, Vec<u8>); 6] = [
        ("plain", plain),
        ("cri", cri.into()),
        ("docker", docker.into()),
        ("other", other.into()),
        ("gzip", gzip.finish().unwrap()),
        ("zstd", zstd),
    ];
    let mut all = Vec::new();
    for (name, bytes) in files {
        bench.write(name, bytes);
        let report = bench.report(&["--records", name], 3);
        assert_eq!(report["totals"]["shutdowns"]["all"], 5, "{name}");
        assert_eq!(report["complete"], true, "{name}");
        all.extend(["--records", name]);
    }
    // Every file holds the same five.
    assert_eq!(bench.report(&all, 3)["totals"]["shutdowns"]["all"], 5);
    // Of another cluster they are others.
    assert_eq!(bench.report(&["--records", "eu=plain", "--records", "us=gzip"], 3)["totals"]["shutdowns"]["all"], 10);
}

#[test]
fn what_cannot_be_read_is_a_gap_and_no_silence() {
    let bench = Bench::new();
    let mut cut = log("cart", 5, 0);
    cut.truncate(cut.len() - 40);
    bench.write("cut.jsonl", &cut);
    let report = bench.report(&["--records", "cut.jsonl"], 1);
    assert_eq!(report["complete"], false);
    assert_eq!(report["totals"]["shutdowns"]["all"], 4);
    let message = report["gaps"][0]["message"].as_str().unwrap();
    assert!(message.starts_with("cut.jsonl: 1 broken records, the first in line 5: "), "{message}");

    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    gzip.write_all(&log("cart", 5, 0)).unwrap();
    let mut bytes = gzip.finish().unwrap();
    bytes.truncate(bytes.len() / 2);
    bench.write("cut.gz", bytes);
    let report = bench.report(&["--records", "cut.gz"], 1);
    let message = report["gaps"][0]["message"].as_str().unwrap();
    assert!(message.starts_with("cut.gz could not be read to its end, from line "), "{message}");

    let long =
        [b"{\"schema\":\"signal-trace.dev/shutdown/v1\",\"x\":\"".as_slice(), &vec![b'x'; 3 << 20], b"\n"].concat();
    bench.write("long", [long, log("cart", 3, 0)].concat());
    let report = bench.report(&["--records", "long"], 1);
    assert_eq!(report["totals"]["shutdowns"]["all"], 3);

    let output = bench.audit(&["--records", "cut.jsonl"]);
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.starts_with("INCOMPLETE: "), "{table}");
}

#[test]
fn only_the_period_counts_and_the_one_before_is_its_trend() {
    let bench = Bench::new();
    let cart = container("cart", 7);
    let day = 86_400;
    let mut lines = Vec::new();
    for (shutdown, days) in
        [(waited_in_vain(&cart), 1), (waited_in_vain(&cart), 3), (graceful(&cart), 4), (graceful(&cart), 6)]
    {
        lines.extend((0..4).flat_map(|n| line(&shutdown, days * day + n)));
    }
    bench.write("log", lines);
    let report = bench.report(&["--records", "log", "--from", "2026-11-05", "--to", "2026-11-07T01:00Z"], 0);
    assert_eq!(report["totals"]["shutdowns"]["all"], 4 + 4);
    assert_eq!(report["trend"]["counted_before"], 4);
    assert_eq!(report["trend"]["change"], 100.0);
    let cart = workload(&report, "cart");
    assert_eq!(cart["first_seen"], "2026-11-05T00:00:00.000000Z");
    assert_eq!(cart["last_seen"], "2026-11-07T00:00:03.000000Z");
    let wrong = bench.audit(&["--records", "log", "--from", "2026-11-06", "--to", "2026-11-05"]);
    assert_eq!(wrong.status.code(), Some(2));
}

#[test]
fn a_baseline_lets_the_known_pass() {
    let bench = Bench::new();
    bench.write("old", log("cart", 5, 5));
    assert_eq!(bench.audit(&["--records", "old", "--output", "json=base.json"]).status.code(), Some(3));
    let baseline = ["--baseline", "base.json", "--only-new"];
    bench.report(&[&["--records", "old"], &baseline[..]].concat(), 0);
    bench.write("new", log("web", 0, 5));
    let report = bench.report(&[&["--records", "old", "--records", "new"], &baseline[..]].concat(), 3);
    let new: Vec<_> = report["findings"].as_array().unwrap().iter().filter(|f| f["is_new"] == true).collect();
    assert_eq!(new.len(), 1);
    assert_eq!(new[0]["name"], "web");
    assert_eq!(bench.audit(&["--records", "old", "--only-new"]).status.code(), Some(2));
}

#[test]
fn several_formats_at_once_and_only_one_of_them_on_standard_output() {
    let bench = Bench::new();
    bench.write("log", log("cart", 5, 5));
    let formats = ["json", "csv", "markdown", "html", "junit", "sarif", "openreports", "policyreport"];
    let files: Vec<String> = formats.iter().map(|format| format!("{format}=audit.{format}")).collect();
    let mut arguments = vec!["--records", "log", "--output", "table"];
    arguments.extend(files.iter().flat_map(|file| ["--output", file]));
    let output = bench.audit(&arguments);
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8(output.stdout).unwrap().starts_with("Graceful shutdowns"));
    for format in formats {
        assert!(std::fs::metadata(bench.path(&format!("audit.{format}"))).unwrap().len() > 100, "{format}");
    }
    let twice = bench.audit(&["--records", "log", "--output", "json", "--output", "csv"]);
    assert_eq!((twice.status.code(), twice.stdout.len()), (Some(2), 0));
}

#[test]
fn a_policy_names_helpers_that_may_be_killed() {
    let bench = Bench::new();
    let record = |comm: &str| {
        let cart = container("cart", 7);
        let text = String::from_utf8(line(&stop(&cart, Outcome::ChildrenKilled, Cause::NotForwarded), 5)).unwrap();
        let mut value: Value = serde_json::from_str(&text).unwrap();
        value["processes"] = serde_json::json!({ "at_stop": 1, "leaves": 1, "told": 0, "killed": 1 });
        value["timeline"] = serde_json::json!([{ "at_seconds": 0.1, "what": "exit",
            "process": { "pid": 9, "ns_pid": 9, "comm": comm }, "code": null, "signal": "SIGKILL" }]);
        let lines = (0..4).map(|n| {
            value["time"] = format!("2026-11-01T00:00:0{n}.000000Z").into();
            format!("{value}\n")
        });
        lines.collect::<String>()
    };
    bench.write("policy.yaml", "helpers: [otel-agent]");
    for (comm, status) in [("otel-agent", "pass"), ("cart", "warn")] {
        bench.write("log", record(comm));
        let report = bench.report(&["--records", "log", "--policy", "policy.yaml"], 0);
        assert_eq!(workload(&report, "cart")["status"], status, "{comm}");
        assert_eq!(workload(&bench.report(&["--records", "log"], 0), "cart")["status"], "warn");
    }
    assert_eq!(bench.audit(&["--records", "log", "--strict"]).status.code(), Some(3));
}

/// Run by hand for its figures: `cargo test --test audit -- --nocapture memory`.
#[test]
fn memory_does_not_grow_with_the_records() {
    let bench = Bench::new();
    let peak = |records: u64| {
        let file = bench.path("many");
        let mut out = std::io::BufWriter::new(std::fs::File::create(&file).unwrap());
        let containers: Vec<_> = (0..50).map(|n| container(&format!("w{n}"), n)).collect();
        for (n, container) in (0..records).zip(containers.iter().cycle()) {
            out.write_all(&line(&graceful(container), n)).unwrap();
        }
        drop(out);
        peak_of(&file)
    };
    let (few, many) = (peak(2_000), peak(20_000));
    println!("peak resident: {few} KiB for 2 000 records, {many} KiB for 20 000");
    // What is remembered of each record is one number, to know a second copy.
    assert!(many < few + 8 * 1024, "{few} KiB, then {many} KiB");
}

/// The peak of the resident set of an audit of that file, in KiB.
fn peak_of(file: &Path) -> u64 {
    let mut child = Command::new(env!("CARGO_BIN_EXE_signal-trace"))
        .args(["audit", "--output", "json", "--records", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&std::fs::read(file).unwrap()).unwrap();
    // It has read all but what the pipe holds, and waits for the end.
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    peak.trim().trim_end_matches("kB").trim().parse().unwrap()
}
