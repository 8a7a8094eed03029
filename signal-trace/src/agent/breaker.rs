//! The breaker: what tracing costs the node, in the kernel and in reading what it says, held against what it may.
//!
//! What others have the agent do for them is no part of it: nobody who asks for pages may blind it.
//!
//! Pure: it is told what was spent by when. A moment's work is no reason to give up, so the mean over a while counts.
//! Once it has tripped it stays so: whoever looks decides whether the agent starts anew.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use crate::event::KernelTime;

/// Over this long the cost is taken.
const WINDOW: Duration = Duration::from_secs(30);
/// Samples that are kept at most: one a second and some.
const MAX_SAMPLES: usize = 64;

/// Holds the cost against a bound.
#[derive(Debug)]
pub(super) struct Breaker {
    /// Percent of a core; none for no bound.
    allowed: Option<u32>,
    samples: VecDeque<(KernelTime, Duration)>,
    tripped: bool,
}

/// More was spent than allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Excess {
    percent: u128,
    allowed: u32,
}

impl Breaker {
    pub(super) fn new(allowed: Option<u32>) -> Self {
        Self { allowed, samples: VecDeque::new(), tripped: false }
    }

    /// So much processor time was spent in all by now. The excess, the first time that there is one.
    pub(super) fn note(&mut self, now: KernelTime, spent: Duration) -> Option<Excess> {
        let allowed = self.allowed.filter(|_| !self.tripped)?;
        self.samples.push_back((now, spent));
        // The oldest is the last one that is a whole window old.
        while self.samples.get(1).is_some_and(|(at, _)| now.since(*at) >= WINDOW) || self.samples.len() > MAX_SAMPLES {
            self.samples.pop_front();
        }
        let (since, before) = *self.samples.front()?;
        let period = now.since(since);
        if period < WINDOW {
            return None;
        }
        let percent = spent.saturating_sub(before).as_nanos() * 100 / period.as_nanos();
        self.tripped = percent > u128::from(allowed);
        self.tripped.then_some(Excess { percent, allowed })
    }

    /// Whether it has.
    pub(super) fn tripped(&self) -> bool {
        self.tripped
    }
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { percent, allowed } = self;
        write!(f, "{percent} % of a core over {} s, and --cpu-limit is {allowed}", WINDOW.as_secs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Spends `percent` of each second from `from` on, for so long, a sample a second: when it tripped.
    fn spend(breaker: &mut Breaker, from: u64, seconds: u64, spent: &mut Duration, percent: u32) -> Option<u64> {
        (from..from + seconds).find(|second| {
            *spent += Duration::from_millis(10) * percent;
            breaker.note(KernelTime(second * 1_000_000_000), *spent).is_some()
        })
    }

    #[test]
    fn it_trips_once_when_the_mean_of_a_window_is_above() {
        let (mut breaker, mut spent) = (Breaker::new(Some(50)), Duration::ZERO);
        assert_eq!(spend(&mut breaker, 0, 100, &mut spent, 50), None, "as much as is allowed");
        assert_eq!(spend(&mut breaker, 100, 10, &mut spent, 90), Some(100), "more than that");
        assert!(breaker.tripped());
        assert_eq!(spend(&mut breaker, 101, 100, &mut spent, 100), None, "it is said once");
    }

    #[test]
    fn a_burst_is_not_a_window() {
        let (mut breaker, mut spent) = (Breaker::new(Some(50)), Duration::ZERO);
        assert_eq!(spend(&mut breaker, 0, 29, &mut spent, 100), None, "nothing is known of a whole window yet");
        assert!(!breaker.tripped());
        let (mut breaker, mut spent) = (Breaker::new(Some(50)), Duration::ZERO);
        assert_eq!(spend(&mut breaker, 0, 40, &mut spent, 1), None);
        assert_eq!(spend(&mut breaker, 40, 14, &mut spent, 100), None);
        assert_eq!(spend(&mut breaker, 54, 60, &mut spent, 1), None);
    }

    #[test]
    fn without_a_bound_it_never_trips() {
        let (mut breaker, mut spent) = (Breaker::new(None), Duration::ZERO);
        assert_eq!(spend(&mut breaker, 0, 100, &mut spent, 800), None);
    }

    #[test]
    fn samples_that_come_too_often_take_no_memory() {
        let mut breaker = Breaker::new(Some(50));
        for tick in 0..10_000 {
            assert_eq!(breaker.note(KernelTime(tick * 1_000_000), Duration::ZERO), None);
        }
        assert!(breaker.samples.len() <= MAX_SAMPLES);
    }

    #[test]
    fn the_excess_is_said_with_what_was_allowed() {
        let excess = Excess { percent: 73, allowed: 50 };
        assert_eq!(excess.to_string(), "73 % of a core over 30 s, and --cpu-limit is 50");
    }
}
