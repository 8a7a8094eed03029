//! Every query of every dashboard asked of a real Prometheus: of one that scraped a node where something went wrong in
//! each way there is, and of one that has a whole day of a cluster, from which the pictures are made.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod day;
mod preview;
#[path = "../support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use signal_trace::judge::shutdown::{Cause, KilledBy, Outcome, Shutdown};
use signal_trace::report::http::{Access, Limits};
use signal_trace::report::metrics::{Gauges, KernelEvent, KubeEvent, LossReason, Unattributed};
use support::http::{Site, clock};
use support::prometheus::Prometheus;
use support::{container, stop, waited_in_vain};

/// What Grafana fills in: a range that covers everything, and one that a point covers.
type FilledIn = [(&'static str, &'static str); 2];
const A_TEST: FilledIn = [("$__range", "1h"), ("$__rate_interval", "1m")];
const A_DAY: FilledIn = [("$__range", "1d"), ("$__rate_interval", "15m")];

#[test]
fn every_panel_has_data() {
    let site = Site::start("127.0.0.1:0", Access::Loopback, Limits::default());
    let prometheus = Prometheus::start("dashboards", &site.address.to_string(), "1s", &[]);
    site.metrics.container_seen(&container("cart", 1), Some(Duration::from_secs(30)), clock());
    prometheus.wait_for("count(signal_trace_shutdowns_total)", 1.0);
    let stops = happen(&site);
    prometheus.wait_for("sum(signal_trace_shutdowns_total)", stops);

    let mut asked = 0;
    for (dashboard, panel) in panels() {
        let what = format!("{} / {}", dashboard["title"].as_str().unwrap(), panel["title"].as_str().unwrap());
        for target in panel["targets"].as_array().unwrap() {
            let query = filled_in(target["expr"].as_str().unwrap(), &dashboard, A_TEST);
            let series = prometheus.series(&query);
            assert!(!series.is_empty(), "{what}: no data for {query}");
            for one in &series {
                let value: f64 = one["value"][1].as_str().unwrap().parse().unwrap();
                assert!(value.is_finite(), "{what}: {one} for {query}");
                named(target["legendFormat"].as_str().unwrap(), one, &what);
            }
            asked += 1;
        }
    }
    assert!(asked > 30, "{asked} queries");
    // The numbers of the first dashboard, by hand.
    let graceful = "Graceful";
    let (fleet, panel) = panels().into_iter().find(|(_, panel)| panel["title"] == graceful).unwrap();
    let query = filled_in(panel["targets"][0]["expr"].as_str().unwrap(), &fleet, A_TEST);
    assert!((prometheus.query(&query) - 1.0 / 7.0).abs() < 0.03, "one of seven that were judged");
}

#[test]
fn every_panel_has_a_day_to_draw() {
    let files = dashboards();
    let assets = preview::assets(&files);
    let assets = format!("--web.user-assets={}", assets.path().display());
    let prometheus = Prometheus::of_samples("previews", day::write, &[&assets]);
    for (dashboard, panel) in panels() {
        for target in panel["targets"].as_array().unwrap() {
            let query = filled_in(target["expr"].as_str().unwrap(), &dashboard, A_DAY);
            let somewhen = format!("count_over_time(({query})[1d:30m] @ {})", day::END);
            assert!(!prometheus.series(&somewhen).is_empty(), "{}: no data for {query}", panel["title"]);
        }
    }
    if let Some(pictures) = std::env::var_os("PREVIEWS") {
        preview::draw(&prometheus, &files, Path::new(&pictures));
    }
}

/// One shutdown of each outcome and a few of the agent's troubles; says how many shutdowns.
fn happen(site: &Site) -> f64 {
    let cart = container("cart", 1);
    let mut stops = 0.0;
    for outcome in Outcome::ALL {
        let shutdown = match outcome {
            Outcome::GraceExceeded => {
                Shutdown { killed: KilledBy::ALL.map(|_| 1), ..waited_in_vain(&container("basket", 2)) }
            }
            Outcome::Unknown
            | Outcome::OomKilled
            | Outcome::Forced
            | Outcome::Crashed
            | Outcome::DiedOnSignal
            | Outcome::ChildrenKilled
            | Outcome::Graceful => stop(&cart, outcome, Cause::None),
        };
        site.metrics.shutdown(&shutdown, clock());
        stops += 1.0;
    }
    site.metrics.shutdown(&stop(&cart, Outcome::ChildrenKilled, Cause::NotAwaited), clock());
    for kind in KernelEvent::ALL {
        site.metrics.kernel_events(kind, 10);
    }
    site.metrics.last_event(SystemTime::now());
    site.metrics.lost(LossReason::RingFull, 3);
    site.metrics.unattributed(Unattributed::NoPod);
    site.metrics.kube_event(KubeEvent::Written);
    site.metrics.gauges(Gauges { open_shutdowns: 1, tracked_containers: 2, cached_pods: 2, ..Gauges::default() });
    stops + 1.0
}

/// With every variable at "all", and every interval as Grafana would have it.
fn filled_in(query: &str, dashboard: &Value, intervals: FilledIn) -> String {
    let mut query = query.to_owned();
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        if let Some(all) = variable["allValue"].as_str() {
            query = query.replace(&format!("\"${}\"", variable["name"].as_str().unwrap()), &format!("\"{all}\""));
        }
    }
    for (name, value) in intervals {
        query = query.replace(&format!("[{name}]"), &format!("[{value}]"));
    }
    assert!(!query.contains('$'), "{query}");
    query
}

/// A legend names only labels that the series has.
fn named(legend: &str, series: &Value, what: &str) {
    for label in legend.split("{{").skip(1).map(|rest| rest.split("}}").next().unwrap()) {
        assert!(series["metric"][label].is_string(), "{what}: {series} has no label {label}");
    }
}

fn panels() -> Vec<(Value, Value)> {
    let mut panels = Vec::new();
    for file in dashboards() {
        let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        let of_it = dashboard["panels"].as_array().unwrap().clone();
        panels.extend(of_it.into_iter().map(|panel| (dashboard.clone(), panel)));
    }
    panels
}

fn dashboards() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("deploy/chart/dashboards");
    let mut files: Vec<_> = std::fs::read_dir(directory).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), 3, "{files:?}");
    files
}
