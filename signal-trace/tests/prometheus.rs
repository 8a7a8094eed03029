//! Two real Prometheus servers scrape a real port, each in its own format and at its own pace, and `increase()` has
//! every shutdown: the first of its workload, and the first of its verdict.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use signal_trace::judge::shutdown::{Cause, Outcome};
use signal_trace::report::http::{Access, Limits};
use support::http::{Site, clock};
use support::prometheus::Prometheus;
use support::{container, stop, waited_in_vain};

const TOTAL: &str = "sum(signal_trace_shutdowns_total)";

#[test]
fn every_shutdown_is_in_the_increase() {
    let site = Site::start("[::]:0", Access::Loopback, Limits::default());
    let port = site.address.port();
    // By two addresses, so that they are two scrapers.
    let servers = [
        Prometheus::start("text", &format!("127.0.0.1:{port}"), "1s", &[]),
        Prometheus::start("native", &format!("[::1]:{port}"), "2s", &["--enable-feature=native-histograms"]),
    ];
    // One workload is known before anything happens; the series of all others begin with their first shutdown.
    site.metrics.container_seen(&container("w0", 0), None, clock());
    for server in &servers {
        server.wait_for("count(signal_trace_shutdowns_total{workload=\"w0\"})", 1.0);
    }

    let mut stops = 0.0_f64;
    let mut waits = 0.0_f64;
    for (round, server) in servers.iter().cycle().take(6).enumerate() {
        for n in 0..5 {
            let container = container(&format!("w{n}"), n);
            site.metrics.shutdown(&stop(&container, Outcome::ALL[round], Cause::None), clock());
            stops += 1.0;
            if n % 2 == 0 {
                site.metrics.shutdown(&waited_in_vain(&container), clock());
                stops += 1.0;
                waits += 1.0;
            }
        }
        // Now and then before the scrapers have seen the last ones, now and then after.
        if round % 2 == 1 {
            server.wait_for(TOTAL, stops);
        }
    }

    let [text, native] = &servers;
    for server in &servers {
        server.wait_for(TOTAL, stops);
        for (name, expected) in [
            ("signal_trace_shutdowns_total", stops),
            ("signal_trace_avoidable_wait_seconds_total", 30.01 * waits),
            ("signal_trace_processes_killed_total", 2.0 * waits),
        ] {
            assert_close(server.increase(name), expected);
            assert_close(server.query(&format!("max(min_over_time({name}[1h]))")), 0.0);
        }
        assert_close(server.query("signal_trace_early_increments_total"), 0.0);
        // What people write. Prometheus extrapolates to the edges of the window, but never below a zero.
        let increase = server.query("sum(increase(signal_trace_shutdowns_total[1h]))");
        println!("{}: {stops} shutdowns, increase() says {increase}", server.name);
        assert!((stops..stops * 1.5).contains(&increase), "{}: {increase} of {stops}", server.name);
    }
    assert_close(text.increase("signal_trace_shutdown_duration_seconds_count"), stops);
    assert_close(text.increase("signal_trace_kill_to_exit_seconds_count"), waits);
    assert_close(text.increase("signal_trace_shutdown_duration_seconds_bucket{le=\"2.5\"}"), stops - waits);
    // This server takes the native histograms and leaves the classic ones.
    assert_close(native.query("sum(histogram_count(signal_trace_shutdown_duration_seconds))"), stops);
    assert_close(native.query("histogram_sum(signal_trace_kill_to_exit_seconds)"), 0.0002 * waits);
    let median = native.query("histogram_quantile(0.5, sum(signal_trace_shutdown_duration_seconds))");
    assert!((1.83..2.01).contains(&median), "{median} of 2 s, in a bucket that is 9 % wide");
}

fn assert_close(value: f64, expected: f64) {
    assert!((value - expected).abs() < 1e-6, "{value} is not {expected}");
}
