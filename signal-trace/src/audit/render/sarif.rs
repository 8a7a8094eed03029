//! SARIF 2.1.0, for the code scanning view: a finding is a result, a workload its logical location.

use serde_json::{Value, json};

use super::{Error, words};
use crate::audit::report::{Finding, Level, Report};
use crate::report::explain::{self, Axis};

/// What a workload is found by, as there is no file to point to: a path that says whose it is.
const ROOT: &str = "WORKLOADS";

pub(super) fn render(report: &Report) -> Result<Vec<u8>, Error> {
    let results: Vec<Value> = report.findings.iter().map(result).collect();
    let notifications: Vec<Value> = report
        .gaps
        .iter()
        .map(|gap| json!({ "level": "error", "message": { "text": words::sentence(&gap.message) } }))
        .collect();
    let log = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "signal-trace",
                "semanticVersion": report.version,
                "informationUri": "https://signal-trace.dev",
                "rules": rules(),
            } },
            "originalUriBaseIds": { ROOT: { "description": { "text": "The clusters that were audited." } } },
            "invocations": [{
                "executionSuccessful": report.complete,
                "endTimeUtc": report.generated,
                "toolExecutionNotifications": notifications,
            }],
            "automationDetails": { "id": "signal-trace/audit/" },
            "results": results,
        }],
    });
    super::visible_json(&log)
}

fn rules() -> Vec<Value> {
    let verdicts = explain::all().into_iter().filter(|entry| matches!(entry.axis, Axis::Outcome | Axis::Cause));
    // `unknown` is a name on both axes.
    let mut seen = std::collections::BTreeSet::new();
    let verdicts = verdicts.filter(|entry| entry.name != "none" && seen.insert(entry.name));
    let mut rules: Vec<Value> = verdicts
        .map(|entry| {
            let fixes: Vec<String> = entry.text.fixes.iter().map(|fix| format!("{}: {}", fix.who, fix.what)).collect();
            let help = if fixes.is_empty() { entry.text.meaning.to_owned() } else { fixes.join("\n\n") };
            json!({
                "id": entry.name,
                "shortDescription": { "text": entry.text.in_general() },
                "fullDescription": { "text": entry.text.meaning },
                "help": { "text": help },
            })
        })
        .collect();
    for (id, text) in [
        ("expired_waiver", "A waiver ran out and its finding was not mended."),
        ("unused_waiver", "A waiver is for something that was not seen."),
    ] {
        rules.push(json!({ "id": id, "shortDescription": { "text": text }, "help": { "text": text } }));
    }
    rules
}

fn result(finding: &Finding) -> Value {
    let subject = &finding.subject;
    let name = words::subject(subject);
    let level = match finding.level {
        Level::Fail => "error",
        Level::Warn => "warning",
        Level::Note => "note",
    };
    let text = format!("{name}: {}. {}", words::sentence(&finding.message), words::sentence(&finding.advice));
    let path = [&subject.cluster, &subject.namespace, &subject.kind, &subject.name];
    let uri: Vec<String> = path.into_iter().filter(|part| !part.is_empty()).map(|part| percent_encoded(part)).collect();
    let mut result = json!({
        "ruleId": finding.rule,
        "level": level,
        "message": { "text": text },
        "locations": [{
            "physicalLocation": { "artifactLocation": { "uri": uri.join("/"), "uriBaseId": ROOT } },
            "logicalLocations": [{ "name": words::shown(&subject.name), "fullyQualifiedName": finding.id, "kind": "resource" }],
        }],
        "partialFingerprints": { "signalTraceFinding/v1": finding.id },
    });
    if let Some(is_new) = finding.is_new {
        result["baselineState"] = if is_new { "new".into() } else { "unchanged".into() };
    }
    if let Some(waiver) = words::waiver(finding) {
        result["suppressions"] = json!([{ "kind": "external", "status": "accepted", "justification": waiver }]);
    }
    result
}

/// As a segment of a relative URI.
fn percent_encoded(part: &str) -> String {
    let mut out = String::new();
    for byte in part.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~') || (byte == b'.' && !part.contains(".."))
        {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
