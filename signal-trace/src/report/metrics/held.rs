//! One series that shows 0 first: a value, and what it holds back until its 0 has been seen.
//!
//! Pure. [`gate`](super::gate) knows who has seen what, and a bound in time says when waiting has been long enough:
//! without it, somebody with curl and no Prometheus would never see a number.

use std::time::Duration;

use prometheus_client::metrics::histogram::{Histogram, NativeHistogramConfig};

use super::gate::{Gate, Turn};
use crate::event::KernelTime;

/// Growth from one native bucket to the next: 1.09, eight buckets to a doubling.
const NATIVE_FACTOR: f64 = 1.1;
/// Native buckets of one histogram, before its resolution is halved: at this factor, from 1 ms to 17 minutes.
const NATIVE_BUCKETS: usize = 160;
/// Observations that one histogram holds back.
const MAX_HELD: usize = 256;

/// What a series counts.
pub(super) trait Value {
    /// One increment.
    type Step;
    /// Increments on their way.
    type Kept: Default;

    /// Shows it.
    fn show(&mut self, step: Self::Step);
    /// Puts it by.
    fn keep(kept: &mut Self::Kept, step: Self::Step);
    /// Shows all that was put by.
    fn release(&mut self, kept: Self::Kept);
    /// How much was put by.
    fn amount(kept: &Self::Kept) -> Amount;
}

/// How much a series holds back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Amount {
    /// Nothing.
    Nothing,
    /// Something.
    Some,
    /// As much as it may.
    Full,
}

/// What became of a series just now.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It looks as before.
    None,
    /// It shows another value.
    Shown,
    /// It shows another value, and not everybody had seen its 0.
    ShownEarly,
}

/// A series.
#[derive(Debug)]
pub(super) struct Held<V: Value> {
    shown: V,
    waiting: Option<Waiting<V::Kept>>,
}

/// A series whose 0 has not been seen by everybody yet.
#[derive(Debug)]
struct Waiting<K> {
    born: Turn,
    since: KernelTime,
    kept: K,
}

impl<V: Value> Held<V> {
    /// A series that begins now, at zero.
    pub(super) fn new(zero: V, gate: &mut Gate, now: KernelTime) -> Self {
        Self { shown: zero, waiting: Some(Waiting { born: gate.next(), since: now, kept: V::Kept::default() }) }
    }

    /// What a scrape is shown.
    pub(super) fn shown(&self) -> &V {
        &self.shown
    }

    /// Whether it holds something back.
    pub(super) fn is_holding(&self) -> bool {
        self.waiting.as_ref().is_some_and(|waiting| V::amount(&waiting.kept) != Amount::Nothing)
    }

    /// Counts one increment, now or later.
    pub(super) fn add(&mut self, step: V::Step) -> Change {
        let Some(waiting) = &mut self.waiting else {
            self.shown.show(step);
            return Change::Shown;
        };
        V::keep(&mut waiting.kept, step);
        match V::amount(&waiting.kept) {
            Amount::Nothing | Amount::Some => Change::None,
            Amount::Full => self.release(),
        }
    }

    /// Shows what was held back, if it may be shown by now.
    pub(super) fn settle(&mut self, gate: &Gate, now: KernelTime, longest: Duration) -> Change {
        let Some(waiting) = &self.waiting else { return Change::None };
        let seen = gate.has_seen(waiting.born, now);
        if !seen && now.since(waiting.since) < longest {
            return Change::None;
        }
        match self.release() {
            Change::ShownEarly if seen => Change::Shown,
            change @ (Change::None | Change::Shown | Change::ShownEarly) => change,
        }
    }

    fn release(&mut self) -> Change {
        let Some(Waiting { kept, .. }) = self.waiting.take() else { return Change::None };
        let amount = V::amount(&kept);
        self.shown.release(kept);
        match amount {
            Amount::Nothing => Change::None,
            Amount::Some | Amount::Full => Change::ShownEarly,
        }
    }
}

impl Value for u64 {
    type Step = Self;
    type Kept = Self;

    fn show(&mut self, step: Self) {
        *self = self.saturating_add(step);
    }

    fn keep(kept: &mut Self, step: Self) {
        kept.show(step);
    }

    fn release(&mut self, kept: Self) {
        self.show(kept);
    }

    fn amount(kept: &Self) -> Amount {
        if *kept == 0 { Amount::Nothing } else { Amount::Some }
    }
}

/// Seconds that add up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Seconds(pub(super) f64);

impl Value for Seconds {
    type Step = Duration;
    type Kept = Duration;

    fn show(&mut self, step: Duration) {
        self.0 += step.as_secs_f64();
    }

    fn keep(kept: &mut Duration, step: Duration) {
        *kept = kept.saturating_add(step);
    }

    fn release(&mut self, kept: Duration) {
        self.show(kept);
    }

    fn amount(kept: &Duration) -> Amount {
        if kept.is_zero() { Amount::Nothing } else { Amount::Some }
    }
}

/// Durations in seconds: classic buckets for the text formats, native ones beside them for protobuf.
#[derive(Clone, Debug)]
pub(super) struct Durations(Histogram);

impl Durations {
    /// None yet; the edges are those of the classic buckets, in seconds.
    pub(super) fn new(edges: &[f64]) -> Self {
        let native = NativeHistogramConfig::with_bucket_factor(NATIVE_FACTOR).max_buckets(NATIVE_BUCKETS);
        Self(Histogram::new_classic_and_native(edges.iter().copied(), native))
    }

    /// What the encoder wants.
    pub(super) fn histogram(&self) -> &Histogram {
        &self.0
    }
}

impl Value for Durations {
    type Step = Duration;
    type Kept = Vec<Duration>;

    fn show(&mut self, step: Duration) {
        self.0.observe(step.as_secs_f64());
    }

    fn keep(kept: &mut Vec<Duration>, step: Duration) {
        kept.push(step);
    }

    fn release(&mut self, kept: Vec<Duration>) {
        for step in kept {
            self.show(step);
        }
    }

    fn amount(kept: &Vec<Duration>) -> Amount {
        match kept.len() {
            0 => Amount::Nothing,
            1..MAX_HELD => Amount::Some,
            MAX_HELD.. => Amount::Full,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    const LONGEST: Duration = Duration::from_secs(900);
    const A: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn an_increment_waits_for_the_scrape_of_its_zero() {
        let mut gate = Gate::default();
        let mut series = Held::new(0, &mut gate, at(0));
        assert_eq!(series.add(3), Change::None);
        assert!(series.is_holding());
        assert_eq!(series.settle(&gate, at(1), LONGEST), Change::None);
        let ticket = gate.begin(A, at(1));
        assert_eq!(*series.shown(), 0);
        gate.complete(&ticket);
        assert_eq!(series.settle(&gate, at(2), LONGEST), Change::Shown);
        assert_eq!(*series.shown(), 3);
        assert_eq!(series.add(1), Change::Shown);
        assert_eq!(*series.shown(), 4);
    }

    #[test]
    fn a_zero_that_was_seen_opens_the_series() {
        let mut gate = Gate::default();
        let mut series = Held::new(0, &mut gate, at(0));
        let ticket = gate.begin(A, at(1));
        gate.complete(&ticket);
        assert_eq!(series.settle(&gate, at(2), LONGEST), Change::None, "nothing to show yet");
        assert_eq!(series.add(1), Change::Shown);
    }

    #[test]
    fn waiting_ends_and_says_so() {
        let gate = &mut Gate::default();
        let mut series = Held::new(Seconds::default(), gate, at(0));
        assert_eq!(series.add(Duration::from_millis(2500)), Change::None);
        assert_eq!(series.settle(gate, at(899), LONGEST), Change::None);
        assert_eq!(series.settle(gate, at(900), LONGEST), Change::ShownEarly);
        assert_eq!(*series.shown(), Seconds(2.5));
    }

    #[test]
    fn a_histogram_holds_back_so_many_and_no_more() {
        let mut gate = Gate::default();
        let mut series = Held::new(Durations::new(&[1.0]), &mut gate, at(0));
        for _ in 1..MAX_HELD {
            assert_eq!(series.add(Duration::from_secs(1)), Change::None);
        }
        assert_eq!(series.add(Duration::from_secs(1)), Change::ShownEarly);
        assert!(!series.is_holding());
        assert_eq!(series.add(Duration::from_secs(1)), Change::Shown);
    }

    fn at(seconds: u64) -> KernelTime {
        KernelTime(seconds * 1_000_000_000)
    }
}
