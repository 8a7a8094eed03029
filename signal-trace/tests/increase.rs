//! No increment is lost on `increase()`: whatever happens in whatever order, what the pages add up to is what happened.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::net::IpAddr;
use std::time::Duration;

use proptest::prelude::*;
use signal_trace::event::CgroupId;
use signal_trace::judge::shutdown::{Cause, Outcome};
use signal_trace::report::metrics::format::Format;
use signal_trace::report::metrics::{Metrics, Scrape, Settings};
use support::{ALICE, BOB, Increases, at, container, metrics, stop, waited_in_vain};

/// What can happen on a node, and what can happen to a scrape.
#[derive(Clone, Copy, Debug)]
enum Step {
    Seen(u64),
    Gone(u64),
    Stop(u64, Outcome),
    WaitInVain(u64),
    Begin,
    End,
    Fail,
    Wait(u64),
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn every_shutdown_is_counted_once(steps in proptest::collection::vec(step(), 1..60), label_sets in 1..8_usize) {
        let metrics = metrics(Settings { label_sets, hold: Duration::from_secs(1_000_000), ..Settings::default() });
        let mut node = Node::new(&metrics);
        let mut seen = Increases::default();
        let mut under_way: Option<Scrape> = None;
        let mut now = 0;
        for step in steps.into_iter().chain([Step::Fail]) {
            now += 1;
            match step {
                Step::Wait(seconds) => now += seconds,
                Step::Begin if under_way.is_none() => under_way = Some(metrics.scrape(ALICE, at(now))),
                Step::Begin => {}
                Step::Fail => under_way = None,
                Step::End => {
                    if let Some(scrape) = under_way.take() {
                        finish(&metrics, scrape, &mut seen);
                    }
                }
                step @ (Step::Seen(_) | Step::Gone(_) | Step::Stop(..) | Step::WaitInVain(_)) => node.happens(step, now),
            }
        }
        for _ in 0..2 {
            now += 15;
            finish(&metrics, metrics.scrape(ALICE, at(now)), &mut seen);
        }
        node.check(&seen)?;
    }

    #[test]
    fn two_scrapers_with_intervals_of_their_own_both_see_everything(
        steps in proptest::collection::vec((0..300_u64, node_step()), 1..40),
        intervals in [5..60_u64, 5..60_u64],
        failing in proptest::collection::vec(any::<bool>(), 1..20),
    ) {
        let metrics = metrics(Settings { hold: Duration::from_secs(1_000_000), ..Settings::default() });
        let mut node = Node::new(&metrics);
        let mut scrapers = [ALICE, BOB].map(|address| Regular { address, ..Regular::default() });
        for scraper in &mut scrapers {
            scraper.scrape(&metrics, 0, false);
        }
        let mut steps: Vec<_> = steps;
        steps.sort_by_key(|(time, _)| *time);
        for now in 1..600 {
            for (scraper, interval) in scrapers.iter_mut().zip(intervals) {
                if now % interval == 0 {
                    let failing = failing[usize::try_from(now / interval).unwrap() % failing.len()];
                    scraper.scrape(&metrics, now, failing);
                }
            }
            for (_, step) in steps.iter().filter(|(time, _)| *time == now) {
                node.happens(*step, now);
            }
        }
        for scraper in &scrapers {
            node.check(&scraper.seen)?;
        }
    }
}

/// The node, and what a person who counts along has counted.
struct Node<'m> {
    metrics: &'m Metrics,
    stops: f64,
    waits: f64,
}

impl<'m> Node<'m> {
    fn new(metrics: &'m Metrics) -> Self {
        Self { metrics, stops: 0.0, waits: 0.0 }
    }

    fn happens(&mut self, step: Step, now: u64) {
        // Four containers of each of five workloads.
        let named = |cgroup: u64| container(&format!("w{}", cgroup % 5), cgroup);
        match step {
            Step::Seen(cgroup) => self.metrics.container_seen(&named(cgroup), None, at(now)),
            Step::Gone(cgroup) => self.metrics.container_gone(CgroupId(cgroup), at(now)),
            Step::Stop(cgroup, outcome) => {
                self.metrics.shutdown(&stop(&named(cgroup), outcome, Cause::None), at(now));
                self.stops += 1.0;
            }
            Step::WaitInVain(cgroup) => {
                self.metrics.shutdown(&waited_in_vain(&named(cgroup)), at(now));
                self.stops += 1.0;
                self.waits += 1.0;
            }
            Step::Begin | Step::End | Step::Fail | Step::Wait(_) => unreachable!("not of the node"),
        }
    }

    fn check(&self, seen: &Increases) -> Result<(), TestCaseError> {
        let seconds = 2.0 * (self.stops - self.waits) + 30.01 * self.waits;
        let expected = [
            ("signal_trace_shutdowns_total", self.stops),
            ("signal_trace_shutdown_duration_seconds_count", self.stops),
            ("signal_trace_shutdown_duration_seconds_bucketinf", self.stops),
            ("signal_trace_shutdown_duration_seconds_bucket2.5", self.stops - self.waits),
            ("signal_trace_shutdown_duration_seconds_native", self.stops),
            ("signal_trace_shutdown_duration_seconds_sum", seconds),
            ("signal_trace_avoidable_wait_seconds_total", 30.01 * self.waits),
            ("signal_trace_processes_killed_total", 2.0 * self.waits),
            ("signal_trace_kill_to_exit_seconds_count", self.waits),
            ("signal_trace_early_increments_total", 0.0),
        ];
        for (name, expected) in expected {
            let sum = seen.sum(name);
            prop_assert!((sum - expected).abs() < 1e-6, "{name}: {sum} of {expected} in {seen:#?}");
        }
        Ok(())
    }
}

/// A scraper that comes at its times, and never fails twice in a row.
#[derive(Debug)]
struct Regular {
    address: IpAddr,
    seen: Increases,
    failed: bool,
}

impl Default for Regular {
    fn default() -> Self {
        Self { address: ALICE, seen: Increases::default(), failed: false }
    }
}

impl Regular {
    fn scrape(&mut self, metrics: &Metrics, now: u64, failing: bool) {
        let scrape = metrics.scrape(self.address, at(now));
        self.failed = failing && !self.failed;
        if !self.failed {
            finish(metrics, scrape, &mut self.seen);
        }
    }
}

/// The page is written as late as it can be, and arrives.
fn finish(metrics: &Metrics, scrape: Scrape, seen: &mut Increases) {
    let (page, ticket) = scrape.render(Format::Protobuf).unwrap();
    seen.take_in(&page);
    metrics.scraped(&ticket);
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => node_step(),
        2 => Just(Step::Begin),
        2 => Just(Step::End),
        1 => Just(Step::Fail),
        1 => (0..400_u64).prop_map(Step::Wait),
    ]
}

fn node_step() -> impl Strategy<Value = Step> {
    let cgroup = 0..20_u64;
    let outcome = proptest::sample::select(Outcome::ALL.to_vec());
    prop_oneof![
        2 => cgroup.clone().prop_map(Step::Seen),
        2 => cgroup.clone().prop_map(Step::Gone),
        2 => (cgroup.clone(), outcome).prop_map(|(cgroup, outcome)| Step::Stop(cgroup, outcome)),
        1 => cgroup.prop_map(Step::WaitInVain),
    ]
}
