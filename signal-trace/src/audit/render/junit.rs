//! For the test view of a CI system: a namespace is a suite, a workload a case.

use quick_junit::{NonSuccessKind, Report as Junit, TestCase, TestCaseStatus, TestSuite};

use super::{Error, words};
use crate::audit::report::{Finding, Level, Report, Status, WorkloadReport};

pub(super) fn render(report: &Report) -> Result<Vec<u8>, Error> {
    let mut junit = Junit::new(words::incomplete(report).map_or_else(
        || "signal-trace audit".to_owned(),
        |missing| format!("signal-trace audit ({})", words::sentence(&missing)),
    ));
    for group in &report.namespaces {
        let name =
            [&group.cluster, &group.name].into_iter().filter(|part| !part.is_empty()).map(|part| words::shown(part));
        let mut suite = TestSuite::new(name.collect::<Vec<_>>().join("/"));
        let of = |w: &&WorkloadReport| w.subject.cluster == group.cluster && w.subject.namespace == group.name;
        for workload in report.workloads.iter().filter(of) {
            suite.add_test_case(case(workload, report));
        }
        junit.add_test_suite(suite);
    }
    for suite in [about_waivers(report), about_numbers(report)].into_iter().flatten() {
        junit.add_test_suite(suite);
    }
    Ok(junit.to_string()?.into_bytes())
}

fn case(workload: &WorkloadReport, report: &Report) -> TestCase {
    let findings = report.findings.iter().filter(|finding| finding.subject == workload.subject);
    let status = match workload.status {
        // A warning is seen in the text; only what fails an audit fails a case.
        Status::Fail => {
            let mut failed = TestCaseStatus::non_success(NonSuccessKind::Failure);
            failed.set_message(leading(workload)).set_type("graceful-shutdown");
            let lines: Vec<String> = findings.map(line).collect();
            failed.set_description(lines.join("\n"));
            failed
        }
        Status::Pass | Status::Warn => TestCaseStatus::success(),
        Status::InsufficientData | Status::Waived | Status::Skipped => {
            let mut skipped = TestCaseStatus::skipped();
            skipped.set_message(words::status(workload.status));
            skipped
        }
    };
    let mut case = TestCase::new(words::subject(&workload.subject), status);
    case.set_classname(words::shown(&workload.subject.namespace));
    let grade = words::grade(workload.grade, workload.score);
    case.set_system_out(format!(
        "{} of {} shutdowns graceful, grade {grade}",
        workload.shutdowns.pass, workload.shutdowns.all
    ));
    case
}

fn leading(workload: &WorkloadReport) -> String {
    let verdict = words::leading(workload).map(words::verdict).unwrap_or_default();
    format!("{} of {} shutdowns failed: {verdict}", workload.shutdowns.fail, workload.shutdowns.all)
}

fn line(finding: &Finding) -> String {
    format!("{}: {}. {}", finding.level.name(), words::sentence(&finding.message), words::sentence(&finding.advice))
}

/// Waivers that ran out are nobody's workload.
fn about_waivers(report: &Report) -> Option<TestSuite> {
    let expired =
        report.findings.iter().filter(|finding| finding.rule == "expired_waiver" && finding.level == Level::Fail);
    let mut suite = TestSuite::new("waivers");
    for finding in expired {
        let mut failed = TestCaseStatus::non_success(NonSuccessKind::Failure);
        failed.set_message(words::sentence(&finding.message)).set_type("expired-waiver");
        suite.add_test_case(TestCase::new(words::subject(&finding.subject), failed));
    }
    (!suite.test_cases.is_empty()).then_some(suite)
}

/// What could not be read is an error, so that nobody takes the rest for everything.
fn about_numbers(report: &Report) -> Option<TestSuite> {
    let mut suite = TestSuite::new("sources");
    for gap in &report.gaps {
        let mut error = TestCaseStatus::non_success(NonSuccessKind::Error);
        error.set_message(words::sentence(&gap.message)).set_type("incomplete");
        suite.add_test_case(TestCase::new(words::shown(gap.cluster.as_deref().unwrap_or("source")), error));
    }
    (!suite.test_cases.is_empty()).then_some(suite)
}
