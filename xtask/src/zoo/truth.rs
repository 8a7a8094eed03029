//! What a record says held against what is true.

use std::collections::BTreeSet;

use serde_json::Value;

use super::case::{Case, Expect, Runtime, Silence, Verdict};

/// What is expected, in one line.
pub(crate) fn expected(case: &Case, runtime: Runtime) -> String {
    match &case.expect {
        Expect::Silence(Silence::None) => "none".to_owned(),
        Expect::Verdict(verdict) => {
            let verdict = verdict.under(runtime);
            format!("{} · {} · {}", verdict.outcome, verdict.cause, verdict.init_disposition)
        }
    }
}

/// What was said, in one line.
pub(crate) fn got(records: &[&Value]) -> String {
    let line = |record: &&Value| {
        ["outcome", "cause", "init_disposition"].map(|field| text(&record[field]).to_owned()).join(" · ")
    };
    if records.is_empty() { "none".to_owned() } else { records.iter().map(line).collect::<Vec<_>>().join(", ") }
}

/// Everything that is wrong with the records of a case.
pub(crate) fn faults(case: &Case, runtime: Runtime, records: &[&Value]) -> Vec<String> {
    match (&case.expect, records) {
        (Expect::Silence(Silence::None), []) => Vec::new(),
        (Expect::Verdict(verdict), [record]) => {
            let mut faults = differences(verdict.under(runtime), record);
            faults.extend(circumstances(case, runtime, record));
            faults
        }
        (Expect::Silence(Silence::None), _) => vec![format!("{} records where none was due", records.len())],
        (Expect::Verdict(_), _) => vec![format!("{} records where one was due", records.len())],
    }
}

fn differences(verdict: &Verdict, record: &Value) -> Vec<String> {
    let fields = [
        ("outcome", &verdict.outcome),
        ("cause", &verdict.cause),
        ("init_disposition", &verdict.init_disposition),
        ("advice", &verdict.advice),
    ];
    let mut faults: Vec<_> = fields
        .into_iter()
        .filter(|(field, expected)| record[field] != ***expected)
        .map(|(field, expected)| format!("{field}: expected {expected}, got {}", record[field]))
        .collect();
    let missed: BTreeSet<_> = list(&record["missed"])
        .iter()
        .map(|missed| format!("{}@{}", text(&missed["comm"]), text(&missed["broke_at"]["comm"])))
        .collect();
    let findings: BTreeSet<_> = list(&record["findings"]).iter().map(|finding| text(finding).to_owned()).collect();
    for (field, expected, got) in [("missed", &verdict.missed, missed), ("findings", &verdict.findings, findings)] {
        let expected: BTreeSet<_> = expected.iter().cloned().collect();
        if expected != got {
            faults.push(format!("{field}: expected {expected:?}, got {got:?}"));
        }
    }
    for (pointer, expected) in &verdict.also {
        let got = record.pointer(pointer).unwrap_or(&Value::Null);
        if got != expected {
            faults.push(format!("{pointer}: expected {expected}, got {got}"));
        }
    }
    faults
}

/// What holds of every record, whatever the verdict.
fn circumstances(case: &Case, runtime: Runtime, record: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    let found = record.pointer("/container/runtime").unwrap_or(&Value::Null);
    let named = match runtime {
        // Below a group of its own choice its containers have nobody's name.
        Runtime::Docker => Value::Null,
        Runtime::Containerd | Runtime::Podman | Runtime::Crun | Runtime::Systemd => runtime.client().name().into(),
    };
    if *found != named {
        faults.push(format!("/container/runtime: expected {named}, got {found}"));
    }
    if !record["pod"].is_null() {
        faults.push(format!("pod: there is none, got {}", record["pod"]));
    }
    let (waited, grace) = (record["stop_to_kill_seconds"].as_f64(), case.grace().as_secs_f64());
    if record["outcome"] == "grace_exceeded" && waited.is_none_or(|waited| waited < grace) {
        faults.push(format!("stop_to_kill_seconds: {waited:?}, though it had {grace}"));
    }
    faults
}

/// Bytes that no terminal and no log should get, in what was written for them.
pub(crate) fn unclean(written: &[u8]) -> Option<String> {
    let line = |line: &[u8]| line.iter().any(u8::is_ascii_control) || std::str::from_utf8(line).is_err();
    let found = written.split(|byte| *byte == b'\n').find(|candidate| line(candidate))?;
    Some(String::from_utf8_lossy(found).escape_debug().to_string())
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn verdict(yaml: &str) -> Verdict {
        serde_saphyr::from_str(yaml).unwrap()
    }

    const EXPECTED: &str = "outcome: a\ncause: b\ninit_disposition: c\nadvice: d\nmissed: [x@sh]\nalso: {/exit/code: 3}\nbut:\n  docker: {outcome: z, init_disposition: c}\n";

    #[test]
    fn every_field_counts() {
        let right = json!({"outcome": "a", "cause": "b", "init_disposition": "c", "advice": "d", "findings": [], "exit": {"code": 3},
            "missed": [{"comm": "x", "broke_at": {"comm": "sh"}}, {"comm": "x", "broke_at": {"comm": "sh"}}]});
        assert_eq!(differences(&verdict(EXPECTED), &right), Vec::<String>::new());
        for (field, wrong) in [
            ("outcome", json!("b")),
            ("cause", Value::Null),
            ("init_disposition", json!("d")),
            ("advice", json!("")),
            ("missed", json!([])),
            ("findings", json!(["reraised"])),
            ("exit", json!({"code": 4})),
        ] {
            let mut record = right.clone();
            record[field] = wrong;
            assert_eq!(differences(&verdict(EXPECTED), &record).len(), 1, "{field}");
        }
    }

    #[test]
    fn a_runtime_may_differ() {
        let verdict = verdict(EXPECTED);
        assert_eq!(verdict.under(Runtime::Docker).outcome, "z");
        assert_eq!(verdict.under(Runtime::Podman).outcome, "a");
    }

    #[test]
    fn bytes_for_a_terminal_to_obey_are_found() {
        assert_eq!(unclean("ready ✓\n{}\n".as_bytes()), None);
        assert_eq!(unclean(b"a\nb\x1b[31m\n").as_deref(), Some(r"b\u{1b}[31m"));
        assert!(unclean(b"\xff").is_some());
    }
}
