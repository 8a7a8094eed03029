//! Recordings of `watch --record`, made on a real kernel and kept here, give their verdicts again: through the command.
//!
//! `NAME.jsonl` is the recording, `NAME.verdicts` a line for each shutdown in it: outcome, cause, what init did, and who
//! was missed at whom, or `-`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn recordings() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings");
    let files = fs::read_dir(directory).expect("the recordings").map(|file| file.expect("a readable folder").path());
    files.filter(|file| file.extension().is_some_and(|extension| extension == "jsonl")).collect()
}

fn replay(file: &Path, options: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_signal-trace"));
    command.arg("replay").arg(file).args(options).output().expect("signal-trace starts")
}

fn verdict(record: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let missed: Vec<_> = record["missed"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|missed| format!("{}@{}", text(&missed["comm"]), text(&missed["broke_at"]["comm"])))
        .collect();
    let missed = if missed.is_empty() { "-".to_owned() } else { missed.join(",") };
    format!("{} {} {} {missed}", text(&record["outcome"]), text(&record["cause"]), text(&record["init_disposition"]))
}

#[test]
fn recordings_give_their_verdicts_again() {
    let recordings = recordings();
    assert!(!recordings.is_empty());
    for file in recordings {
        let expected = fs::read_to_string(file.with_extension("verdicts")).expect("the verdicts of a recording");
        let output = replay(&file, &["--json"]);
        assert!(output.status.success(), "{}: {}", file.display(), String::from_utf8_lossy(&output.stderr));
        let records = String::from_utf8(output.stdout).expect("JSON is UTF-8");
        let records: Vec<Value> = records.lines().map(|line| serde_json::from_str(line).expect("a record")).collect();
        let got: Vec<_> = records.iter().map(verdict).collect();
        assert_eq!(got, expected.lines().collect::<Vec<_>>(), "{}", file.display());
    }
}

#[test]
fn the_block_for_people_is_the_one_of_watch() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings/wrapper.jsonl");
    let text = String::from_utf8(replay(&file, &[]).stdout).expect("text");
    assert!(text.contains("grace_exceeded · not_forwarded"), "{text}");
    assert!(text.contains("2026-11-22 23:52:35Z"), "placed by the recording's clock: {text}");
    let none = replay(&file, &["--filter", "id=another"]);
    assert!(none.status.success() && none.stdout.is_empty());
}

#[test]
fn a_file_that_is_no_recording_is_named_with_its_line() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), "{\"schema\":\"signal-trace.dev/recording/v9\",\"version\":\"9.0.0\"}\n").expect("written");
    let output = replay(file.path(), &[]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(&*file.path().to_string_lossy()) && said.contains("line 1 names"), "{said}");
}
