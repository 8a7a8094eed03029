//! Holds what was seen of a namespace against what its case expects: every record has its expectation and every
//! expectation its records, every event its record, every count its series. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::case::{Case, Expected, Series};
use super::metrics::Metrics;
use super::pattern;

/// Which records belong to which expectation.
#[derive(Debug)]
pub(crate) struct Pairing<'a> {
    /// For each record, the expectation that it meets.
    pairs: Vec<(&'a Value, Option<&'a Expected>)>,
    /// Expectations, and how many of their records are missing.
    missing: Vec<(&'a Expected, usize)>,
}

/// Pairs them: each record goes to the first expectation that it meets and that has not all of its own yet.
pub(crate) fn pair<'a>(expected: &'a [Expected], records: impl IntoIterator<Item = &'a Value>) -> Pairing<'a> {
    let mut left: Vec<_> = expected.iter().map(|expected| (expected, expected.times)).collect();
    let mut pairs = Vec::new();
    for record in records {
        let met = left.iter_mut().find(|(expected, left)| *left > 0 && pattern::matches(&expected.record, record));
        pairs.push((
            record,
            met.map(|(expected, left)| {
                *left -= 1;
                *expected
            }),
        ));
    }
    Pairing { pairs, missing: left.into_iter().filter(|(_, left)| *left > 0).collect() }
}

impl Pairing<'_> {
    /// Every expectation has its records.
    pub(crate) fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }

    /// What is wrong, one line each.
    pub(crate) fn problems(&self) -> Vec<String> {
        let strays: Vec<_> = self.pairs.iter().filter(|(_, met)| met.is_none()).map(|(record, _)| *record).collect();
        let mut problems = Vec::new();
        for (expected, count) in &self.missing {
            let wanted = verdict(&expected.record);
            // The record that was probably meant is the one that differs least.
            let differences = strays.iter().map(|record| pattern::differences(&expected.record, record));
            let nearest = differences.min_by_key(Vec::len).map_or("nothing was said".into(), |all| all.join("; "));
            problems.push(format!("missing {count} x {wanted}: {nearest}"));
        }
        problems.extend(strays.iter().map(|record| format!("not expected: {}", told(record))));
        problems
    }

    /// Records that the metrics count.
    fn counted(&self) -> impl Iterator<Item = &Value> {
        self.pairs.iter().filter(|(_, met)| met.is_none_or(|expected| expected.counted)).map(|(record, _)| *record)
    }

    /// What is wrong with the events: reasons by the pod and the container that they are about.
    pub(crate) fn event_problems<'e>(&self, events: impl IntoIterator<Item = &'e Value>) -> Vec<String> {
        let mut wanted: BTreeMap<(String, String), BTreeSet<&str>> = BTreeMap::new();
        for (record, met) in &self.pairs {
            let about = (text(&record["pod"]["uid"]), text(&record["container"]["name"]));
            wanted.entry(about).or_default().extend(met.and_then(|expected| expected.event.as_deref()));
        }
        let mut got: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
        for event in events {
            let path = text(&event["regarding"]["fieldPath"]);
            let container = path.split_once('{').map_or("", |(_, rest)| rest.trim_end_matches('}'));
            let about = (text(&event["regarding"]["uid"]), container.to_owned());
            got.entry(about).or_default().insert(text(&event["reason"]));
        }
        let mut problems = Vec::new();
        for (about, reasons) in &wanted {
            let said = got.remove(about).unwrap_or_default();
            let missing = reasons.iter().filter(|reason| !said.contains(**reason));
            problems.extend(missing.map(|reason| format!("no event {reason} about {}", about.1)));
            let extra = said.iter().filter(|reason| !reasons.contains(reason.as_str()));
            problems.extend(extra.map(|reason| format!("an event {reason} about {}, not expected", about.1)));
        }
        problems
            .extend(got.iter().map(|(about, reasons)| format!("events {reasons:?} about {about:?} without a record")));
        problems
    }
}

/// What is wrong with the metrics: the count of every verdict, and what the case adds.
pub(crate) fn metric_problems(case: &Case, namespace: &str, paired: &Pairing<'_>, metrics: &Metrics) -> Vec<String> {
    let records: Vec<_> = paired.counted().collect();
    let mut counts: BTreeMap<BTreeMap<String, String>, u32> = BTreeMap::new();
    for record in &records {
        let workload = &record["pod"]["workload"];
        let labels = [
            ("workload", text(&workload["name"])),
            ("workload_type", text(&workload["kind"]).to_lowercase()),
            ("container", text(&record["container"]["name"])),
            ("outcome", text(&record["outcome"])),
            ("cause", text(&record["cause"])),
        ];
        let labels = labels.map(|(name, value)| (name.to_owned(), value)).into();
        *counts.entry(labels).or_default() += 1;
    }
    let name = "signal_trace_shutdowns_total".to_owned();
    let counted =
        counts.into_iter().map(|(labels, count)| Series { metric: name.clone(), labels, is: Value::from(count) });
    let total = Series { metric: name.clone(), labels: BTreeMap::new(), is: Value::from(records.len()) };
    let all = counted.chain(case.metrics.iter().cloned()).chain((!records.is_empty()).then_some(total));
    let wrong = all.filter_map(|mut series| {
        series.labels.insert("namespace".into(), namespace.into());
        let got = metrics.sum(&series.metric, &series.labels);
        let right = got.is_some_and(|got| pattern::number_matches(&series.is, got));
        let got = got.map_or("not there".into(), |got| got.to_string());
        (!right).then(|| format!("{} {:?} is {got}, expected {}", series.metric, series.labels, series.is))
    });
    wrong.collect()
}

/// `outcome/cause`.
pub(crate) fn verdict(record: &Value) -> String {
    let (outcome, cause) = (text(&record["outcome"]), text(&record["cause"]));
    if cause == "none" { outcome } else { format!("{outcome}/{cause}") }
}

/// A record in a few words.
fn told(record: &Value) -> String {
    format!("{} of {}/{}", verdict(record), text(&record["pod"]["name"]), text(&record["container"]["name"]))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn expected(record: Value, event: Option<&str>, times: usize) -> Expected {
        Expected { record, event: event.map(str::to_owned), times, counted: true }
    }

    fn record(container: &str, outcome: &str) -> Value {
        json!({"outcome": outcome, "cause": "none", "container": {"name": container},
            "pod": {"uid": "u", "name": "web", "workload": {"kind": "Deployment", "name": "web"}}})
    }

    #[test]
    fn every_record_has_an_expectation_and_every_expectation_its_records() {
        let wanted = [expected(json!({"outcome": "graceful", "container": {"name": "app"}}), None, 2)];
        let records = [record("app", "graceful"), record("app", "graceful")];
        assert!(pair(&wanted, &records).problems().is_empty());
        assert!(!pair(&wanted, &records[..1]).is_complete());
        let three = [&records[..], &records[..1]].concat();
        assert_eq!(pair(&wanted, &three).problems(), ["not expected: graceful of web/app"]);
        assert!(pair(&wanted, &three).is_complete());
    }

    #[test]
    fn what_is_missing_is_held_against_what_comes_nearest() {
        let wanted = [expected(json!({"outcome": "graceful", "cause": "none", "container": {"name": "app"}}), None, 1)];
        let records = [record("sidecar", "forced"), record("app", "forced")];
        let problems = pair(&wanted, &records).problems();
        assert_eq!(problems[0], r#"missing 1 x graceful: outcome: expected "graceful", got "forced""#);
        assert_eq!(problems.len(), 3);
        assert_eq!(pair(&wanted, []).problems(), ["missing 1 x graceful: nothing was said"]);
    }

    #[test]
    fn an_event_has_a_record_and_a_record_its_event() {
        let wanted = [expected(json!({"outcome": "forced"}), Some("Reason"), 1), expected(json!({}), None, 1)];
        let records = [record("app", "forced"), record("sidecar", "graceful")];
        let event = |reason: &str, container: &str| {
            let path = format!("spec.containers{{{container}}}");
            json!({"reason": reason, "regarding": {"uid": "u", "fieldPath": path}})
        };
        let paired = pair(&wanted, &records);
        assert!(paired.event_problems(&[event("Reason", "app")]).is_empty());
        assert_eq!(paired.event_problems(&[]), ["no event Reason about app"]);
        let all = [event("Reason", "app"), event("Reason", "sidecar"), event("Reason", "other")];
        assert_eq!(paired.event_problems(&all).len(), 2);
    }

    #[test]
    fn every_verdict_is_counted_once() {
        let case = Case::parse("a", "{about: x}").unwrap();
        let records = [record("app", "graceful"), record("app", "graceful")];
        let text = |count: u32| {
            let labels = "namespace=\"shop\",workload=\"web\",workload_type=\"deployment\",container=\"app\"";
            format!("signal_trace_shutdowns_total{{{labels},outcome=\"graceful\",cause=\"none\"}} {count}\n")
        };
        let problems = |count| metric_problems(&case, "shop", &pair(&[], &records), &Metrics::parse(&text(count)));
        assert!(problems(2).is_empty());
        assert_eq!(problems(3).len(), 2, "the one and the sum");
        assert_eq!(metric_problems(&case, "shop", &pair(&[], []), &Metrics::parse("")), Vec::<String>::new());
        let uncounted = [Expected { counted: false, ..expected(json!({"outcome": "graceful"}), None, 2) }];
        assert!(metric_problems(&case, "shop", &pair(&uncounted, &records), &Metrics::parse("")).is_empty());
    }
}
