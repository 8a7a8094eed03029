//! A workload a line, for a spreadsheet.
//!
//! A cell that begins like a formula is one to a spreadsheet, whoever wrote it: an apostrophe in front makes it text.

use super::{Error, words};
use crate::audit::report::{Report, WorkloadReport};
use crate::audit::score::counted;

const HEADER: [&str; 26] = [
    "cluster",
    "namespace",
    "kind",
    "workload",
    "team",
    "status",
    "score",
    "grade",
    "shutdowns",
    "counted",
    "pass",
    "warn",
    "fail",
    "not_counted",
    "graceful_share",
    "graceful_low",
    "graceful_high",
    "p50_seconds",
    "p95_seconds",
    "p99_seconds",
    "grace_seconds",
    "avoidable_hours",
    "first_seen",
    "last_seen",
    "leading_verdict",
    "recommendations",
];

pub(super) fn render(report: &Report) -> Result<Vec<u8>, Error> {
    let mut writer = ::csv::WriterBuilder::new().terminator(::csv::Terminator::CRLF).from_writer(Vec::new());
    writer.write_record(HEADER)?;
    for workload in &report.workloads {
        writer.write_record(row(workload))?;
    }
    Ok(writer.into_inner().map_err(|error| error.to_string())?)
}

fn row(workload: &WorkloadReport) -> [String; HEADER.len()] {
    let number = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
    let time = |time: Option<crate::report::json::Time>| time.map(|time| time.0.to_string()).unwrap_or_default();
    let subject = &workload.subject;
    let counts = workload.shutdowns;
    let advice = workload.recommendations.iter().map(|found| found.text.as_str()).collect::<Vec<_>>().join("; ");
    [
        text(&subject.cluster),
        text(&subject.namespace),
        text(&subject.kind),
        text(&subject.name),
        text(workload.team.as_deref().unwrap_or_default()),
        workload.status.name().to_owned(),
        number(workload.score),
        workload.grade.map(|grade| grade.name().to_owned()).unwrap_or_default(),
        counts.all.to_string(),
        counted(counts).to_string(),
        counts.pass.to_string(),
        counts.warn.to_string(),
        counts.fail.to_string(),
        counts.not_counted.to_string(),
        number(workload.graceful.map(|share| share.value)),
        number(workload.graceful.map(|share| share.low)),
        number(workload.graceful.map(|share| share.high)),
        number(workload.durations.map(|durations| durations.p50)),
        number(workload.durations.map(|durations| durations.p95)),
        number(workload.durations.map(|durations| durations.p99)),
        number(workload.grace_seconds),
        workload.avoidable_hours.to_string(),
        time(workload.first_seen),
        time(workload.last_seen),
        words::leading(workload).map(words::verdict).unwrap_or_default(),
        text(&advice),
    ]
}

/// What a stranger wrote, as text and nothing else.
fn text(value: &str) -> String {
    let shown = words::shown(value);
    let begins_a_formula = |c: char| matches!(c, '=' | '+' | '-' | '@' | '|' | '%' | '\t' | '\r');
    if shown.starts_with(begins_a_formula) { format!("'{shown}") } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_becomes_a_formula() {
        for formula in ["=1+1", "+1", "-1", "@SUM(A1)", "|cmd", "%0A"] {
            assert_eq!(text(formula), format!("'{formula}"));
        }
        assert_eq!(text("\t=1"), "\\u{9}=1");
        assert_eq!(text("cart-1"), "cart-1");
    }
}
