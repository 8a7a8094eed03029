//! What the tests of the report share: made-up containers and verdicts, a clock, and a page as Prometheus takes it in.

#![expect(dead_code, reason = "every test binary uses its own part of this")]

pub(crate) mod browser;
pub(crate) mod http;
pub(crate) mod prometheus;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::prometheus_protobuf::prometheus_data_model::{Metric, MetricFamily};
use prost::Message as _;
use signal_trace::containers::Runtime;
use signal_trace::event::{CgroupId, KernelTime};
use signal_trace::judge::shutdown::{
    Cause, Confidence, ContainerFacts, Counts, Grace, GraceSource, InitDisposition, KilledBy, Outcome, PodFacts,
    Shutdown, Trigger, Verdict, Workload,
};
use signal_trace::report::metrics::format::Format;
use signal_trace::report::metrics::{Build, Metrics, Settings, Ticket};

/// A scraper.
pub(crate) const ALICE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
/// Another one.
pub(crate) const BOB: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));

/// Metrics with nothing in them yet.
pub(crate) fn metrics(settings: Settings) -> Metrics {
    Metrics::new(settings, Build { version: "0.1.0", revision: "c16e486" }, at(0))
}

/// So many seconds after boot.
pub(crate) fn at(seconds: u64) -> KernelTime {
    KernelTime::default().after(Duration::from_secs(seconds))
}

/// The container `app` of a pod of a deployment in the namespace `shop`.
pub(crate) fn container(deployment: &str, cgroup: u64) -> Arc<ContainerFacts> {
    Arc::new(ContainerFacts {
        cgroup: CgroupId(cgroup),
        cgroup_path: format!("/kubepods/besteffort/pod{cgroup}/{cgroup}"),
        runtime: Runtime::Containerd,
        id: format!("{cgroup:064x}"),
        name: Some("app".to_owned()),
        image: None,
        pod: Some(PodFacts {
            namespace: "shop".to_owned(),
            name: format!("{deployment}-7d9f-{cgroup}"),
            uid: format!("uid-{cgroup}"),
            revision: Some("7d9f".to_owned()),
            workload: Some(Workload { kind: "Deployment".to_owned(), name: deployment.to_owned() }),
        }),
    })
}

/// A stop of it that ended like this after two seconds.
pub(crate) fn stop(container: &Arc<ContainerFacts>, outcome: Outcome, cause: Cause) -> Shutdown {
    Shutdown {
        container: Arc::clone(container),
        verdict: Verdict { outcome, cause },
        confidence: Confidence::Proven,
        trigger: Trigger::Delete,
        stop_signal: None,
        init_disposition: InitDisposition::Unknown,
        grace: Grace { period: Some(Duration::from_secs(30)), source: GraceSource::Spec },
        prestop: None,
        opened: at(0),
        ended: at(2),
        stop_to_kill: None,
        stop_to_exit: Some(Duration::from_secs(2)),
        kill_to_exit: None,
        avoidable_wait: None,
        init: None,
        exit: None,
        processes: Counts::default(),
        killed_by: None,
        killed: [0; KilledBy::ALL.len()],
        missed: Vec::new(),
        findings: Vec::new(),
        advice: String::new(),
        timeline: Vec::new(),
        timeline_cut: 0,
    }
}

/// A stop that waited out its 30 seconds in vain, and lost two processes.
pub(crate) fn waited_in_vain(container: &Arc<ContainerFacts>) -> Shutdown {
    Shutdown {
        stop_to_kill: Some(Duration::from_secs(30)),
        stop_to_exit: Some(Duration::from_millis(30_010)),
        kill_to_exit: Some(Duration::from_micros(200)),
        avoidable_wait: Some(Duration::from_millis(30_010)),
        killed_by: Some(KilledBy::Teardown),
        killed: [0, 2, 0, 0, 0],
        ..stop(container, Outcome::GraceExceeded, Cause::NotForwarded)
    }
}

/// A page in some format.
pub(crate) fn page(metrics: &Metrics, scraper: IpAddr, now: KernelTime, format: Format) -> (Vec<u8>, Ticket) {
    metrics.scrape(scraper, now).render(format).unwrap()
}

/// A whole scrape of a page in a text format.
pub(crate) fn text(metrics: &Metrics, now: KernelTime, format: Format) -> String {
    let (page, ticket) = page(metrics, ALICE, now, format);
    metrics.scraped(&ticket);
    String::from_utf8(page).unwrap()
}

/// The lines of a page that begin like this.
pub(crate) fn lines<'p>(page: &'p str, start: &str) -> Vec<&'p str> {
    page.lines().filter(|line| line.starts_with(start)).collect()
}

/// The messages of a protobuf page.
pub(crate) fn families(mut page: &[u8]) -> Vec<MetricFamily> {
    let mut families = Vec::new();
    while !page.is_empty() {
        families.push(MetricFamily::decode_length_delimited(&mut page).unwrap());
    }
    families
}

/// What `increase()` makes of the pages that one scraper took in: the first sample of a series is its start, and a
/// value that fell began anew at 0.
#[derive(Debug, Default)]
pub(crate) struct Increases {
    series: BTreeMap<String, (f64, f64)>,
}

impl Increases {
    /// Takes a protobuf page in.
    pub(crate) fn take_in(&mut self, page: &[u8]) {
        for family in families(page) {
            for metric in &family.metric {
                for (suffix, value) in counts(metric) {
                    let series = format!("{}{suffix}{:?}", family.name, labels(metric));
                    let (last, increase) = self.series.entry(series).or_insert((value, 0.0));
                    *increase += if value < *last { value } else { value - *last };
                    *last = value;
                }
            }
        }
    }

    /// The sum over all series of a name.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        self.series.iter().filter(|(series, _)| series.starts_with(name)).map(|(_, (_, increase))| increase).sum()
    }
}

fn labels(metric: &Metric) -> Vec<(&str, &str)> {
    metric.label.iter().map(|label| (label.name.as_str(), label.value.as_str())).collect()
}

#[expect(clippy::cast_precision_loss, reason = "counts in tests are small")]
fn counts(metric: &Metric) -> Vec<(String, f64)> {
    let counter = metric.counter.iter().map(|counter| (String::new(), counter.value));
    let histogram = metric.histogram.iter().flat_map(|histogram| {
        let buckets = histogram.bucket.iter();
        let buckets = buckets.map(|bucket| (format!("_bucket{}", bucket.upper_bound), bucket.cumulative_count as f64));
        let native: i64 = histogram
            .positive_delta
            .iter()
            .scan(0, |count, delta| {
                *count += delta;
                Some(*count)
            })
            .sum();
        buckets.chain([
            ("_count".to_owned(), histogram.sample_count as f64),
            ("_sum".to_owned(), histogram.sample_sum),
            ("_native".to_owned(), native as f64),
        ])
    });
    counter.chain(histogram).collect()
}
