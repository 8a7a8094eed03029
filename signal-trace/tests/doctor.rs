//! `signal-trace doctor` on this kernel, and what its support bundle is worth elsewhere. Needs root.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::process::{Command, Output};

use serde_json::Value;

fn signal_trace(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_signal-trace")).args(arguments).output().unwrap()
}

#[test]
fn the_self_test_is_right_here_and_is_replayed_elsewhere() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    let said = signal_trace(&["doctor", "--json", "--bundle", path]);
    let findings: Value = serde_json::from_slice(&said.stdout).unwrap();
    assert!(said.status.success(), "{findings}");
    let bundle: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!(bundle["findings"], findings);

    let replayed = signal_trace(&["replay", path, "--json"]);
    let errors = String::from_utf8_lossy(&replayed.stderr).into_owned();
    let records: Vec<Value> =
        String::from_utf8(replayed.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let verdicts = |records: &[Value]| {
        records.iter().map(|r| [r["outcome"].clone(), r["cause"].clone(), r["timeline"].clone()]).collect::<Vec<_>>()
    };
    assert_eq!(verdicts(&records), verdicts(bundle["records"].as_array().unwrap()), "{errors}");
    assert_eq!(records.len(), 2, "{errors}");
    for record in &records {
        assert_eq!((&record["node"], &record["container"]["runtime"]), (&"node".into(), &"signal-trace".into()));
    }
}
