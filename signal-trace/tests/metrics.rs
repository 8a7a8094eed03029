//! The page of metrics: golden files of its two texts, its protobuf read back, its bounds, and promtool's opinion.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use signal_trace::containers::Runtime;
use signal_trace::event::CgroupId;
use signal_trace::judge::shutdown::{Cause, ContainerFacts, Outcome, PodFacts, Shutdown, Verdict, Workload};
use signal_trace::report::metrics::format::Format;
use signal_trace::report::metrics::{
    Gauges, KernelEvent, KubeEvent, LossReason, Metrics, PodLabel, Settings, Unattributed,
};
use support::{ALICE, at, container, families, lines, metrics, page, stop, text, waited_in_vain};

#[test]
fn open_metrics_page() {
    insta::assert_snapshot!(without_process(&text(&some_hours(), at(7200), Format::OpenMetrics)));
}

#[test]
fn prometheus_text_page() {
    insta::assert_snapshot!(without_process(&text(&some_hours(), at(7200), Format::Text)));
}

#[test]
fn protobuf_page_says_the_same_and_has_native_histograms() {
    let metrics = some_hours();
    let (bytes, _) = page(&metrics, ALICE, at(7200), Format::Protobuf);
    let families = families(&bytes);
    let text = text(&metrics, at(7200), Format::Text);
    let described = lines(&text, "# TYPE ");
    assert_eq!(families.len(), described.len());
    for (family, described) in families.iter().zip(described) {
        assert_eq!(described.split(' ').nth(2), Some(family.name.as_str()));
    }
    let named = |name: &str| families.iter().find(|family| family.name == name).unwrap();
    let shutdowns: f64 =
        named("signal_trace_shutdowns_total").metric.iter().map(|m| m.counter.as_ref().unwrap().value).sum();
    assert!((shutdowns - 4.0).abs() < f64::EPSILON, "{shutdowns}");

    let of_cart = named("signal_trace_shutdown_duration_seconds").metric.last().unwrap();
    assert_eq!(of_cart.label[1].value, "cart");
    let durations = of_cart.histogram.as_ref().unwrap();
    assert_eq!((durations.sample_count, durations.bucket.len(), durations.schema), (2, 18, 3));
    assert_eq!(durations.positive_span.iter().map(|span| span.length).sum::<u32>(), 2, "2 s and 30.01 s");
    assert!(durations.start_timestamp.is_some());

    assert!(durations.zero_threshold > 0.0, "what tells a native histogram that is empty from a classic one");
}

#[test]
fn promtool_finds_nothing_to_say() {
    let page = text(&some_hours(), at(7200), Format::Text);
    let mut promtool = match Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
    {
        Ok(promtool) => promtool,
        Err(error) => panic!("cannot run promtool: {error}; it is in Debian's package prometheus"),
    };
    promtool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&said).as_ref()), (Some(0), ""));
}

#[test]
fn label_values_of_strangers_stay_in_their_line() {
    let metrics = metrics(Settings::default());
    let hostile = "a\"} 1\nsignal_trace_shutdowns_total{x=\"\\";
    metrics.container_seen(
        &ContainerFacts { name: Some(hostile.to_owned()), ..(*container("cart", 1)).clone() },
        None,
        at(1),
    );
    for format in [Format::OpenMetrics, Format::Text] {
        let page = text(&metrics, at(2), format);
        let expected = "signal_trace_shutdowns_total{namespace=\"shop\",workload=\"cart\",workload_type=\"deployment\",\
                        container=\"a\\\"} 1\\nsignal_trace_shutdowns_total{x=\\\"\\\\\",outcome=\"graceful\",\
                        cause=\"none\"} 0";
        assert_eq!(lines(&page, "signal_trace_shutdowns_total"), [expected]);
    }
}

#[test]
fn a_container_that_outlives_its_kill_counts_as_held_so_far() {
    let metrics = metrics(Settings::default());
    text(&metrics, at(1), Format::Text);
    let held = Shutdown { stop_to_exit: None, kill_to_exit: None, ..waited_in_vain(&container("cart", 1)) };
    metrics.shutdown(&held, at(150));
    let lost = Verdict { outcome: Outcome::Unknown, cause: Cause::None };
    metrics.shutdown(&Shutdown { verdict: lost, ..held }, at(150));
    let page = text(&metrics, at(151), Format::Text);
    let named = |name: &str| lines(&page, &format!("signal_trace_kill_to_exit_seconds_{name} "))[0].to_owned();
    assert_eq!(named("count"), "signal_trace_kill_to_exit_seconds_count 1", "who was not seen may be gone");
    assert_eq!(named("sum"), "signal_trace_kill_to_exit_seconds_sum 120.0");
}

#[test]
fn what_finds_no_room_counts_under_one_set() {
    let metrics = metrics(Settings { label_sets: 2, ..Settings::default() });
    for cgroup in 1..=4 {
        metrics.container_seen(&container(&format!("w{cgroup}"), cgroup), None, at(1));
    }
    text(&metrics, at(2), Format::Text);
    for cgroup in 1..=4 {
        metrics.shutdown(&stop(&container(&format!("w{cgroup}"), cgroup), Outcome::Graceful, Cause::None), at(3));
    }
    text(&metrics, at(4), Format::Text);
    let page = text(&metrics, at(5), Format::Text);
    let samples = lines(&page, "signal_trace_shutdowns_total");
    assert_eq!(samples.len(), 3, "{samples:#?}");
    let other = "signal_trace_shutdowns_total{namespace=\"_other\",workload=\"_other\",workload_type=\"_other\",\
                 container=\"_other\",outcome=\"graceful\",cause=\"none\"} 2";
    assert!(samples.contains(&other), "{samples:#?}");
    assert_eq!(lines(&page, "signal_trace_series_refused_total"), ["signal_trace_series_refused_total 4"]);
    assert_eq!(lines(&page, "signal_trace_early_increments_total"), ["signal_trace_early_increments_total 0"]);
}

#[test]
fn a_new_workload_takes_the_room_of_one_that_is_gone() {
    let metrics = metrics(Settings { label_sets: 1, ..Settings::default() });
    metrics.container_seen(&container("old", 1), None, at(1));
    metrics.container_gone(CgroupId(1), at(2));
    metrics.container_seen(&container("new", 2), None, at(3));
    let page = text(&metrics, at(4), Format::Text);
    assert!(page.contains("workload=\"old\""), "nobody had seen it yet:\n{page}");
    metrics.container_seen(&container("new", 2), None, at(5));
    let page = text(&metrics, at(6), Format::Text);
    assert!(page.contains("workload=\"new\"") && !page.contains("workload=\"old\""), "{page}");
}

#[test]
fn series_go_late_and_not_before_they_were_seen() {
    let metrics = metrics(Settings::default());
    let has_cart = |seconds| text(&metrics, at(seconds), Format::Text).contains("workload=\"cart\"");
    metrics.container_seen(&container("cart", 1), None, at(0));
    metrics.container_seen(&container("cart", 2), None, at(0));
    metrics.container_gone(CgroupId(1), at(10));
    assert!(has_cart(400), "one lives");
    metrics.container_gone(CgroupId(2), at(410));
    metrics.container_gone(CgroupId(2), at(420));
    assert!(has_cart(709));
    metrics.container_seen(&container("cart", 3), None, at(709));
    assert!(has_cart(1100), "back again");
    metrics.shutdown(&waited_in_vain(&container("cart", 3)), at(1110));
    metrics.container_gone(CgroupId(3), at(1111));
    assert!(has_cart(1500), "holds back what nobody saw");
    assert!(has_cart(1530), "shows it");
    assert!(!has_cart(1560), "has shown it");
}

#[test]
fn without_scrapes_series_go_too_and_late_increments_are_owned_up_to() {
    let metrics = metrics(Settings::default());
    metrics.shutdown(&waited_in_vain(&container("cart", 1)), at(10));
    let page = text(&metrics, at(910), Format::Text);
    assert_eq!(lines(&page, "signal_trace_avoidable_wait_seconds_total{")[0].split(' ').next_back(), Some("30.01"));
    assert_eq!(lines(&page, "signal_trace_early_increments_total"), ["signal_trace_early_increments_total 5"]);
    assert!(lines(&text(&metrics, at(10 + 300 + 900), Format::Text), "signal_trace_shutdowns_total").is_empty());
}

#[test]
fn a_container_that_gets_its_name_late_moves() {
    let metrics = metrics(Settings::default());
    let named = container("cart", 1);
    metrics.container_seen(&ContainerFacts { pod: None, ..(*named).clone() }, None, at(0));
    metrics.container_seen(&named, Some(Duration::from_secs(30)), at(1));
    text(&metrics, at(2), Format::Text);
    let page = text(&metrics, at(302), Format::Text);
    assert_eq!(lines(&page, "signal_trace_shutdowns_total").len(), 1, "{page}");
    assert!(page.contains("workload=\"cart\""));
}

#[test]
fn pods_are_told_apart_when_asked() {
    let metrics = metrics(Settings { pod_label: PodLabel::On, ..Settings::default() });
    metrics.container_seen(&container("cart", 1), None, at(0));
    metrics.container_seen(&container("cart", 2), None, at(0));
    let page = text(&metrics, at(1), Format::Text);
    assert_eq!(lines(&page, "signal_trace_shutdowns_total").len(), 2);
    assert!(page.contains("container=\"app\",pod=\"cart-7d9f-1\",outcome="));
}

/// Two hours of a node: three workloads and a unit, of which two had to stop, and some trouble of the agent's own.
fn some_hours() -> Metrics {
    let metrics = metrics(Settings::default());
    let cart = container("cart", 1);
    let job = Arc::new(ContainerFacts {
        pod: Some(PodFacts {
            namespace: "batch".to_owned(),
            name: "report-1".to_owned(),
            uid: "u".to_owned(),
            revision: None,
            workload: Some(Workload { kind: "CronJob".to_owned(), name: "report".to_owned() }),
        }),
        ..(*container("", 2)).clone()
    });
    let bare = Arc::new(ContainerFacts {
        pod: job.pod.clone().map(|pod| PodFacts { name: "shell \"x\"\\\n".to_owned(), workload: None, ..pod }),
        ..(*container("", 3)).clone()
    });
    let unit = Arc::new(ContainerFacts {
        runtime: Runtime::Systemd,
        id: "nginx.service".to_owned(),
        name: None,
        pod: None,
        ..(*container("", 4)).clone()
    });
    for container in [&cart, &job, &bare, &unit] {
        metrics.container_seen(container, Some(Duration::from_secs(30)), at(1));
    }
    text(&metrics, at(10), Format::Text);
    metrics.shutdown(&stop(&cart, Outcome::Graceful, Cause::None), at(20));
    metrics.shutdown(&waited_in_vain(&cart), at(60));
    metrics.shutdown(&waited_in_vain(&job), at(61));
    metrics.shutdown(&stop(&unit, Outcome::Graceful, Cause::None), at(70));
    metrics.kernel_events(KernelEvent::Signal, 17);
    metrics.last_event(SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_000_000_250));
    metrics.lost(LossReason::RingFull, 2);
    metrics.lost(LossReason::RingFull, 3);
    metrics.unattributed(Unattributed::NoPod);
    metrics.kube_event(KubeEvent::Written);
    metrics.connection_refused();
    metrics.gauges(Gauges { open_shutdowns: 1, tracked_containers: 4, cached_pods: 3, ..Gauges::default() });
    text(&metrics, at(80), Format::Text);
    text(&metrics, at(90), Format::Text);
    metrics
}

/// With the values of what differs between two runs left out.
fn without_process(page: &str) -> String {
    let lines = page.lines().map(|line| match line.split_once(' ') {
        Some((name, _)) if name.starts_with("process_") => format!("{name} ...\n"),
        _ => format!("{line}\n"),
    });
    lines.collect()
}
