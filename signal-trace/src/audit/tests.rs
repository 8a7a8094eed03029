//! The audit as a whole: what was counted goes in, what is said of it comes out.

use super::fixtures::{
    CHILDREN, GRACEFUL, NOT_FORWARDED, STUCK, UNKNOWN, key, now, period, policy, put, report, tallies,
};
use super::report::{Finding, Grade, Level, Report, Status, WorkloadReport};
use super::tally::{Tallies, Watched};
use super::{assess, baseline};
use crate::policy::file::Policy;

fn judged(tallies: &Tallies, rules: &str) -> Report {
    assess(tallies, &Policy::parse(rules).unwrap(), period(), now())
}

fn one(verdicts: &[(crate::judge::shutdown::Verdict, u32)], rules: &str) -> WorkloadReport {
    let mut tallies = Tallies::default();
    for (verdict, times) in verdicts {
        put(&mut tallies, &key("", "shop", "deployment", "cart"), *verdict, *times, 1.0);
    }
    judged(&tallies, rules).workloads.remove(0)
}

fn workload<'r>(report: &'r Report, name: &str) -> &'r WorkloadReport {
    report.workloads.iter().find(|workload| workload.subject.name == name).unwrap()
}

fn finding<'r>(report: &'r Report, rule: &str) -> &'r Finding {
    report.findings.iter().find(|finding| finding.rule == rule).unwrap()
}

#[test]
fn too_few_shutdowns_are_never_a_pass() {
    for (verdicts, status) in [
        (&[(GRACEFUL, 2)][..], Status::InsufficientData),
        (&[(GRACEFUL, 3)], Status::Pass),
        (&[(GRACEFUL, 2), (UNKNOWN, 9)], Status::InsufficientData),
        (&[(STUCK, 2)], Status::InsufficientData),
        (&[(STUCK, 3)], Status::Fail),
    ] {
        let workload = one(verdicts, "");
        assert_eq!(workload.status, status, "{verdicts:?}");
        assert_eq!(workload.score.is_some(), status != Status::InsufficientData);
    }
    // A minimum of none does not make something of nothing.
    assert_eq!(one(&[(UNKNOWN, 4)], "min_shutdowns: 0").status, Status::InsufficientData);
}

#[test]
fn what_is_tolerated_is_a_share() {
    let rules = "tolerate: {fail: 0.1, warn: 0.2}";
    assert_eq!(one(&[(GRACEFUL, 9), (STUCK, 1)], rules).status, Status::Pass);
    assert_eq!(one(&[(GRACEFUL, 8), (STUCK, 1)], rules).status, Status::Fail);
    assert_eq!(one(&[(GRACEFUL, 8), (CHILDREN, 2)], rules).status, Status::Pass);
    assert_eq!(one(&[(GRACEFUL, 7), (CHILDREN, 2)], rules).status, Status::Warn);
    assert_eq!(one(&[(GRACEFUL, 9), (STUCK, 1)], "").status, Status::Fail);
}

#[test]
fn a_policy_may_see_it_otherwise() {
    let counted = one(&[(GRACEFUL, 3), (STUCK, 3)], "verdicts: {stuck: warn}");
    assert_eq!((counted.status, counted.score), (Status::Warn, Some(75.0)));
    let set_aside = one(&[(GRACEFUL, 3), (STUCK, 3)], "verdicts: {grace_exceeded/stuck: not_counted}");
    assert_eq!((set_aside.status, set_aside.score, set_aside.shutdowns.not_counted), (Status::Pass, Some(100.0), 3));
    let ours = "namespaces: [{namespace: sh*, min_shutdowns: 7}]";
    assert_eq!(one(&[(GRACEFUL, 3), (STUCK, 3)], ours).status, Status::InsufficientData);
}

#[test]
fn system_namespaces_are_listed_and_not_scored() {
    let report = report();
    let proxy = workload(&report, "proxy");
    assert_eq!((proxy.status, proxy.score), (Status::Skipped, None));
    let all: u64 = report.workloads.iter().map(|workload| workload.shutdowns.all).sum();
    assert_eq!(report.totals.shutdowns.all + 4, all);
    assert!(report.findings.iter().all(|f| f.subject.name != "proxy" || f.level == Level::Note));
}

#[test]
fn a_waived_finding_fails_nothing_until_its_day() {
    let report = report();
    let db = workload(&report, "db");
    assert_eq!((db.status, db.score), (Status::Waived, None));
    let waived = finding(&report, "stuck");
    assert_eq!(waived.waiver.as_ref().map(|waiver| waiver.owner.as_str()), Some("dba@example.org"));
    // One day later than it holds.
    let later = assess(&tallies(), &policy(), period(), "2027-01-01T00:00:00Z".parse().unwrap());
    assert_eq!(workload(&later, "db").status, Status::Fail);
    assert_eq!(later.findings.iter().filter(|finding| finding.rule == "expired_waiver").count(), 2);
}

#[test]
fn what_is_tolerated_beside_what_is_waived_is_a_note() {
    let mut tallies = Tallies::default();
    let cart = key("", "shop", "deployment", "cart");
    for (verdict, times) in [(GRACEFUL, 18), (STUCK, 5), (NOT_FORWARDED, 1), (CHILDREN, 1)] {
        put(&mut tallies, &cart, verdict, times, 1.0);
    }
    let rules = "tolerate: {fail: 0.1, warn: 0.1}\n\
                 waivers: [{namespace: shop, workload: cart, verdict: stuck, owner: o, reason: r, expires: 2026-11-22}]";
    let report = judged(&tallies, rules);
    assert_eq!(workload(&report, "cart").status, Status::Waived);
    let level = |rule| (finding(&report, rule).level, finding(&report, rule).waiver.is_some());
    assert_eq!(level("stuck"), (Level::Fail, true));
    assert_eq!((level("not_forwarded"), level("not_awaited")), ((Level::Note, false), (Level::Note, false)));
}

#[test]
fn an_expired_waiver_is_a_finding_and_one_for_nothing_a_note() {
    let report = report();
    let expired = finding(&report, "expired_waiver");
    assert_eq!((expired.level, expired.subject.name.as_str()), (Level::Fail, "cart"));
    let rules = "waivers: [{namespace: x, workload: y, owner: o, reason: r, expires: 2026-11-22}]";
    assert_eq!(finding(&judged(&tallies(), rules), "unused_waiver").level, Level::Note);
}

#[test]
fn every_workload_weighs_the_same() {
    let mut tallies = Tallies::default();
    put(&mut tallies, &key("", "a", "deployment", "busy"), GRACEFUL, 997, 1.0);
    put(&mut tallies, &key("", "a", "deployment", "calm"), STUCK, 3, 1.0);
    let report = judged(&tallies, "");
    assert_eq!((report.score, report.grade.map(Grade::name)), (Some(50.0), Some("D")));
    assert_eq!(report.totals.graceful.map(|share| share.value), Some(0.997));
    assert_eq!(report.namespaces[0].score, Some(50.0));
}

#[test]
fn too_little_watched_gives_no_score() {
    let mut tallies = tallies();
    assert_eq!(judged(&tallies, "").coverage.share, Some(0.96));
    let us = Watched { nodes: Some(40), agents: Some(8), ..Watched::default() };
    tallies.watched.insert("us".to_owned(), us);
    let report = judged(&tallies, "");
    assert_eq!((report.coverage.share, report.coverage.enough, report.score), (Some(0.36), Some(false), None));
    let scores: Vec<bool> = report.clusters.iter().map(|cluster| cluster.score.is_some()).collect();
    assert_eq!(scores, [true, false]);
    assert!(judged(&tallies, "min_coverage: 0.3").score.is_some());
}

#[test]
fn an_unknown_coverage_matters_to_those_who_asked() {
    let mut tallies = tallies();
    tallies.watched.insert("us".to_owned(), Watched { agents: Some(8), ..Watched::default() });
    assert!(judged(&tallies, "").score.is_some());
    let asked = judged(&tallies, "min_coverage: 0.5");
    assert_eq!((asked.score, asked.coverage.enough), (None, None));
}

#[test]
fn hours_count_before_nodes() {
    let mut tallies = Tallies::default();
    // All nodes have an agent by now, and for most of the time they had none.
    let watched = Watched {
        nodes: Some(10),
        agents: Some(10),
        watched_hours: Some(720.0),
        all_hours: Some(7200.0),
        ..Watched::default()
    };
    tallies.watched.insert(String::new(), watched);
    assert_eq!(judged(&tallies, "").coverage.share, Some(0.1));
}

#[test]
fn a_trend_is_against_the_period_before() {
    let report = report();
    let cart = workload(&report, "cart").trend.unwrap();
    assert_eq!((cart.counted_before, cart.graceful_before, cart.change), (4, 1.0, -85.7));
    assert_eq!(workload(&report, "web").trend, None);
}

#[test]
fn a_waiver_holds_for_the_period_before_too() {
    let mut tallies = Tallies::default();
    let cart = key("", "shop", "deployment", "cart");
    put(&mut tallies, &cart, GRACEFUL, 9, 1.0);
    put(&mut tallies, &cart, STUCK, 1, 30.0);
    let tally = tallies.containers.entry(cart).or_default();
    tally.before = tally.verdicts.clone();
    for (expires, graceful) in [("2026-11-22", 1.0), ("2026-11-21", 0.9)] {
        let waiver = "namespace: shop, workload: cart, verdict: stuck, owner: o, reason: r";
        let report = judged(&tallies, &format!("waivers: [{{{waiver}, expires: {expires}}}]"));
        for trend in [report.trend, workload(&report, "cart").trend] {
            assert_eq!(trend.map(|trend| (trend.graceful_before, trend.change)), Some((graceful, 0.0)), "{expires}");
        }
    }
}

#[test]
fn the_worst_stands_first_and_its_latest_record_advises() {
    let report = report();
    assert_eq!(report.workloads[0].subject.name, "cart");
    let found = finding(&report, "not_forwarded");
    assert!(found.advice.starts_with("Start python3 with exec"));
    assert!(
        found.message.starts_with("36 of 42 shutdowns: Killed when its grace period ran out: "),
        "{}",
        found.message
    );
    let teams: Vec<&str> = report.teams.iter().map(|team| team.name.as_str()).collect();
    assert_eq!(teams, ["ledger", "storefront"]);
}

#[test]
fn containers_outside_kubernetes_are_told_apart_by_their_names() {
    let mut tallies = Tallies::default();
    for name in ["cart", "web"] {
        let mut key = key("", "", "", "");
        key.container = name.to_owned();
        put(&mut tallies, &key, GRACEFUL, 3, 1.0);
    }
    let report = judged(&tallies, "");
    let names: Vec<&str> = report.workloads.iter().map(|workload| workload.subject.name.as_str()).collect();
    assert_eq!(names, ["cart", "web"]);
}

#[test]
fn only_what_the_baseline_has_not_is_new() {
    let mut report = report();
    let baseline = report.clone();
    baseline::compare(&mut report, &baseline);
    assert!(report.findings.iter().all(|finding| finding.is_new == Some(false)));

    let mut tallies = tallies();
    put(&mut tallies, &key("eu", "shop", "deployment", "web"), STUCK, 1, 30.0);
    let mut worse = assess(&tallies, &policy(), period(), now());
    baseline::compare(&mut worse, &baseline);
    let new: Vec<&str> = worse.findings.iter().filter(|f| f.is_new == Some(true)).map(|f| f.id.as_str()).collect();
    assert_eq!(new, ["eu/shop/deployment/web/app/grace_exceeded/stuck"]);
}

#[test]
fn a_note_that_became_a_failure_is_new() {
    let mut tallies = Tallies::default();
    let cart = key("", "shop", "deployment", "cart");
    put(&mut tallies, &cart, STUCK, 2, 30.0);
    let baseline = judged(&tallies, "");
    assert_eq!(baseline.findings[0].level, Level::Note);
    put(&mut tallies, &cart, STUCK, 1, 30.0);
    let mut report = judged(&tallies, "");
    baseline::compare(&mut report, &baseline);
    assert_eq!((report.findings[0].level, report.findings[0].is_new), (Level::Fail, Some(true)));
    // The other way it is the same one.
    let mut better = baseline.clone();
    baseline::compare(&mut better, &report);
    assert_eq!(better.findings[0].is_new, Some(false));
}

#[test]
fn a_baseline_is_a_report_of_this_version() {
    let text = serde_json::to_string(&report()).unwrap();
    assert_eq!(baseline::parse(&text).unwrap(), report());
    let other = baseline::parse(r#"{"schema": "signal-trace.dev/audit/v9"}"#).unwrap_err();
    assert!(other.to_string().contains("audit/v9"), "{other}");
    assert!(baseline::parse("<html>").is_err());
}

#[test]
fn nothing_seen_is_nothing_said() {
    let report = judged(&Tallies::default(), "");
    assert_eq!((report.score, report.grade, report.totals.shutdowns.all), (None, None, 0));
    assert!(report.workloads.is_empty() && report.findings.is_empty());
}
