//! Reports to render in tests: a fleet made by hand, and one whose names are hostile.

use std::time::Duration;

use jiff::Timestamp;

use super::assess;
use super::report::{Period, Report};
use super::tally::{Gap, Key, Said, Source, Tallies, Watched};
use crate::judge::shutdown::{Cause, Outcome, Verdict};
use crate::policy::file::Policy;
use crate::report::json::Time;

pub(super) const GRACEFUL: Verdict = Verdict { outcome: Outcome::Graceful, cause: Cause::None };
pub(super) const NOT_FORWARDED: Verdict = Verdict { outcome: Outcome::GraceExceeded, cause: Cause::NotForwarded };
pub(super) const STUCK: Verdict = Verdict { outcome: Outcome::GraceExceeded, cause: Cause::Stuck };
pub(super) const CHILDREN: Verdict = Verdict { outcome: Outcome::ChildrenKilled, cause: Cause::NotAwaited };
pub(super) const UNKNOWN: Verdict = Verdict { outcome: Outcome::Unknown, cause: Cause::None };

pub(super) fn now() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

pub(super) fn period() -> Period {
    let at = |text: &str| Some(Time(text.parse().unwrap()));
    Period { from: at("2026-10-23T12:00:00Z"), to: at("2026-11-22T12:00:00Z") }
}

pub(super) fn key(cluster: &str, namespace: &str, kind: &str, workload: &str) -> Key {
    let [cluster, namespace, kind, workload, container] =
        [cluster, namespace, kind, workload, "app"].map(str::to_owned);
    Key { cluster, namespace, kind, workload, container }
}

/// So many shutdowns of a verdict that took so long each.
pub(super) fn put(tallies: &mut Tallies, key: &Key, verdict: Verdict, times: u32, seconds: f64) {
    let tally = tallies.containers.entry(key.clone()).or_default();
    tally.grace = Some(Duration::from_secs(30));
    for n in 0..times {
        tally.count(verdict, false);
        tally.durations.add(Duration::from_secs_f64(seconds));
        tally.seen_at("2026-11-01T08:00:00Z".parse::<Timestamp>().unwrap() + Duration::from_secs(u64::from(n) * 3600));
    }
    if verdict == NOT_FORWARDED {
        tally.avoidable += Duration::from_secs_f64(seconds) * times;
        let advice = "Start python3 with exec, or in the exec form of CMD: sh does not pass SIGTERM on.".to_owned();
        tally.said.insert(verdict, Said { time: now(), advice });
    }
}

/// A fleet of two clusters.
pub(super) fn tallies() -> Tallies {
    let mut tallies = Tallies::default();
    let cart = key("eu", "shop", "deployment", "cart");
    put(&mut tallies, &cart, NOT_FORWARDED, 36, 30.01);
    put(&mut tallies, &cart, GRACEFUL, 6, 0.4);
    for _ in 0..4 {
        tallies.containers.entry(cart.clone()).or_default().count_before(GRACEFUL, false);
    }
    put(&mut tallies, &key("eu", "shop", "statefulset", "db"), STUCK, 2, 30.2);
    put(&mut tallies, &key("eu", "shop", "statefulset", "db"), GRACEFUL, 20, 28.0);
    put(&mut tallies, &key("eu", "shop", "deployment", "web"), GRACEFUL, 120, 1.2);
    put(&mut tallies, &key("us", "pay", "deployment", "ledger"), GRACEFUL, 40, 12.0);
    put(&mut tallies, &key("us", "pay", "deployment", "worker"), CHILDREN, 9, 3.0);
    put(&mut tallies, &key("us", "pay", "deployment", "worker"), UNKNOWN, 1, 3.0);
    put(&mut tallies, &key("us", "pay", "job", "nightly"), GRACEFUL, 2, 0.3);
    put(&mut tallies, &key("us", "kube-system", "daemonset", "proxy"), STUCK, 4, 30.0);
    for (cluster, nodes, agents) in [("eu", 10, 10), ("us", 40, 38)] {
        let watched = Watched { nodes: Some(nodes), agents: Some(agents), ..Watched::default() };
        tallies.watched.insert(cluster.to_owned(), watched);
    }
    tallies.sources.push(Source { kind: "prometheus", name: "https://prometheus.eu.example".to_owned() });
    tallies
}

pub(super) fn policy() -> Policy {
    Policy::parse(
        "teams: [{namespace: shop, team: storefront}, {namespace: pay, team: ledger}]\n\
         waivers:\n\
         - {namespace: shop, workload: statefulset/db, verdict: stuck, owner: dba@example.org, reason: replaced in Q1, \
            expires: 2026-12-31}\n\
         - {namespace: shop, workload: cart, verdict: crashed, owner: shop, reason: known bug, expires: 2026-11-21}\n",
    )
    .unwrap()
}

pub(super) fn report() -> Report {
    assess(&tallies(), &policy(), period(), now())
}

/// Names that want to be markup, formulas, commands and lines of their own.
pub(super) const HOSTILE: [&str; 8] = [
    "=HYPERLINK(\"http://evil\",\"x\")",
    "<script>alert(1)</script>",
    "a|b`c`*d*[x](javascript:y)@everyone",
    "x\u{1b}[2J\u{202e}gnp",
    "]]>&lt;\"'",
    "../../etc",
    "line\nline\r\n| a |",
    "\u{0}\u{fffe}\u{e0001}",
];

pub(super) fn hostile() -> Report {
    let mut tallies = Tallies::default();
    for name in HOSTILE {
        let mut key = key(name, name, name, name);
        key.container = name.to_owned();
        put(&mut tallies, &key, NOT_FORWARDED, 25, 30.01);
        tallies.gaps.push(Gap { cluster: Some(name.to_owned()), message: format!("{name} is not there") });
        tallies.sources.push(Source { kind: "records", name: name.to_owned() });
    }
    assess(&tallies, &Policy::default(), period(), now())
}
