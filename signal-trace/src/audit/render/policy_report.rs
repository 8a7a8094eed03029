//! Objects for clusters that collect policy reports: `openreports.io/v1alpha1` and its older form,
//! `wgpolicyk8s.io/v1alpha2`. A report for each namespace of each cluster, in one list of JSON that `kubectl apply` takes.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Error, words};
use crate::audit::report::{Finding, Level, Report, Status, WorkloadReport};

/// Results that one object holds: etcd takes objects of about 1.5 MB.
const RESULTS: usize = 1000;

/// Whose definitions they are valid by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flavour {
    OpenReports,
    PolicyReport,
}

impl Flavour {
    fn api_version(self) -> &'static str {
        match self {
            Self::OpenReports => "openreports.io/v1alpha1",
            Self::PolicyReport => "wgpolicyk8s.io/v1alpha2",
        }
    }

    fn kind(self) -> &'static str {
        match self {
            Self::OpenReports => "Report",
            Self::PolicyReport => "PolicyReport",
        }
    }
}

pub(super) fn render(report: &Report, flavour: Flavour) -> Result<Vec<u8>, Error> {
    let mut by_namespace: BTreeMap<(&str, &str), Vec<&WorkloadReport>> = BTreeMap::new();
    for workload in report.workloads.iter().filter(|workload| !workload.subject.namespace.is_empty()) {
        let subject = &workload.subject;
        by_namespace.entry((&subject.cluster, &subject.namespace)).or_default().push(workload);
    }
    let objects = by_namespace
        .into_iter()
        .map(|((cluster, namespace), workloads)| object(report, flavour, cluster, namespace, &workloads));
    let objects: Vec<Value> = objects.collect();
    super::visible_json(&json!({ "apiVersion": "v1", "kind": "List", "items": objects }))
}

fn object(report: &Report, flavour: Flavour, cluster: &str, namespace: &str, workloads: &[&WorkloadReport]) -> Value {
    let mut summary = BTreeMap::from([("pass", 0_u64), ("fail", 0), ("warn", 0), ("error", 0), ("skip", 0)]);
    let mut results = Vec::new();
    for workload in workloads {
        let (result, severity) = judged(workload.status);
        *summary.entry(result).or_default() += 1;
        if results.len() < RESULTS {
            results.push(result_of(report, workload, result, severity));
        }
    }
    let mut object = json!({
        "apiVersion": flavour.api_version(),
        "kind": flavour.kind(),
        "metadata": {
            "name": "signal-trace-audit",
            "namespace": namespace,
            "labels": { "app.kubernetes.io/managed-by": "signal-trace" },
            "annotations": { "signal-trace.dev/cluster": cluster, "signal-trace.dev/complete": report.complete.to_string() },
        },
        "summary": summary,
        "results": results,
    });
    if flavour == Flavour::OpenReports {
        object["source"] = "signal-trace".into();
    }
    object
}

fn result_of(report: &Report, workload: &WorkloadReport, result: &str, severity: &str) -> Value {
    let subject = &workload.subject;
    let findings: Vec<&Finding> =
        report.findings.iter().filter(|f| f.subject == *subject && f.level != Level::Note).collect();
    let mut message = format!(
        "{} of {} shutdowns graceful, {}",
        workload.shutdowns.pass,
        workload.shutdowns.all,
        words::status(workload.status)
    );
    if let Some(finding) = findings.first() {
        message.push_str(&format!(". {}. {}", words::sentence(&finding.message), words::sentence(&finding.advice)));
    }
    let rule = findings.first().map_or("graceful", |finding| finding.rule.as_str());
    let properties = BTreeMap::from([
        ("grade", words::grade(workload.grade, workload.score)),
        ("shutdowns", workload.shutdowns.all.to_string()),
        ("avoidableHours", workload.avoidable_hours.to_string()),
    ]);
    json!({
        "policy": "graceful-shutdown",
        "rule": rule,
        "category": "Reliability",
        "severity": severity,
        "result": result,
        "message": message,
        "resources": [resource(workload)],
        "source": "signal-trace",
        "timestamp": { "seconds": report.generated.0.as_second(), "nanos": 0 },
        "properties": properties,
    })
}

fn judged(status: Status) -> (&'static str, &'static str) {
    match status {
        Status::Fail => ("fail", "high"),
        Status::Warn => ("warn", "medium"),
        Status::Pass => ("pass", "info"),
        Status::InsufficientData | Status::Waived | Status::Skipped => ("skip", "info"),
    }
}

/// As an object reference, with the kind as the API spells it where it is one that is known.
fn resource(workload: &WorkloadReport) -> Value {
    let (api, kind) = match workload.subject.kind.as_str() {
        "deployment" => ("apps/v1", "Deployment"),
        "statefulset" => ("apps/v1", "StatefulSet"),
        "daemonset" => ("apps/v1", "DaemonSet"),
        "replicaset" => ("apps/v1", "ReplicaSet"),
        "job" => ("batch/v1", "Job"),
        "cronjob" => ("batch/v1", "CronJob"),
        "pod" => ("v1", "Pod"),
        _ => {
            return json!({ "kind": workload.subject.kind, "name": workload.subject.name, "namespace": workload.subject.namespace });
        }
    };
    json!({ "apiVersion": api, "kind": kind, "name": workload.subject.name, "namespace": workload.subject.namespace })
}
