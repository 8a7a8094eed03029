//! How many events may be written: for one pod, and in all.
//!
//! Pure: time is an argument. A pod that restarts for ever, or a thousand pods that end at once, must not fill the
//! cluster's store with what the first few have said.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use lru::LruCache;

/// One pod: so many at once, then one in so long.
const POD: Limit = Limit { burst: 10, every: Duration::from_secs(60) };
/// All pods of the node.
const ALL: Limit = Limit { burst: 100, every: Duration::from_secs(1) };
/// Pods that are remembered. One that is forgotten has its burst again; the limit for all stands.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(1024).expect("not zero");

/// How much a [`Bucket`] lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// So many at once.
    pub burst: u32,
    /// One more after each of these.
    pub every: Duration,
}

/// A token bucket, as the one instant at which it will be full again.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    full_at: Option<Instant>,
}

impl Bucket {
    /// A full one.
    pub const FULL: Self = Self { full_at: None };

    /// Takes one if there is one.
    pub fn take(&mut self, limit: Limit, now: Instant) -> bool {
        let full_at = self.full_at.map_or(now, |at| at.max(now)) + limit.every;
        let there = full_at - now <= limit.every * limit.burst;
        if there {
            self.full_at = Some(full_at);
        }
        there
    }
}

/// The buckets of one writer.
#[derive(Debug)]
pub struct Rates {
    all: Bucket,
    pods: LruCache<String, Bucket>,
}

impl Default for Rates {
    fn default() -> Self {
        Self { all: Bucket::FULL, pods: LruCache::sparse(REMEMBERED) }
    }
}

impl Rates {
    /// Whether one about this pod may be written now; then it counts.
    pub fn allow(&mut self, pod_uid: &str, now: Instant) -> bool {
        let pod = self.pods.get_or_insert_mut_ref(pod_uid, || Bucket::FULL);
        // The pod's own first: what it may not have must not be taken from the others.
        pod.take(POD, now) && self.all.take(ALL, now)
    }

    /// Whether one that is there may be updated now; then it counts.
    pub fn allow_update(&mut self, now: Instant) -> bool {
        self.all.take(ALL, now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: Limit = Limit { burst: 3, every: Duration::from_secs(10) };

    #[test]
    fn a_burst_then_one_at_a_time() {
        let (mut bucket, start) = (Bucket::FULL, Instant::now());
        let mut take = |seconds: f64| bucket.take(LIMIT, start + Duration::from_secs_f64(seconds));
        assert_eq!([0.0, 0.0, 0.0, 0.0, 9.9].map(&mut take), [true, true, true, false, false]);
        assert_eq!([10.0, 10.0, 20.0, 1000.0].map(&mut take), [true, false, true, true]);
        assert_eq!([1000.0, 1000.0, 1000.0].map(&mut take), [true, true, false], "never more than the burst");
    }

    #[test]
    fn one_pod_cannot_take_what_others_may_have() {
        let (mut rates, now) = (Rates::default(), Instant::now());
        let noisy = (0..1000).filter(|_| rates.allow("noisy", now)).count();
        assert_eq!(noisy, 10);
        let others = (0..1000).filter(|n| rates.allow(&format!("pod-{n}"), now)).count();
        assert_eq!(others, 90);
    }

    #[test]
    fn pods_by_the_thousand_take_no_memory_and_no_more_than_all_may() {
        let (mut rates, now) = (Rates::default(), Instant::now());
        let written = (0..20_000).filter(|n| rates.allow(&format!("pod-{n}"), now)).count();
        assert_eq!(written, 100);
        assert_eq!(rates.pods.len(), REMEMBERED.get());
    }

    proptest! {
        #[test]
        fn never_more_than_burst_and_rate(gaps in prop::collection::vec(0u64..30_000, 1..200)) {
            let (mut bucket, start) = (Bucket::FULL, Instant::now());
            let mut at = start;
            let mut taken = Vec::new();
            for gap in gaps {
                at += Duration::from_millis(gap);
                if bucket.take(LIMIT, at) {
                    taken.push(at);
                }
            }
            for (i, first) in taken.iter().enumerate() {
                for (n, last) in taken.iter().enumerate().skip(i) {
                    let allowed = f64::from(LIMIT.burst) + (*last - *first).as_secs_f64() / LIMIT.every.as_secs_f64();
                    prop_assert!((n - i + 1) as f64 <= allowed + 1e-9);
                }
            }
        }
    }
}
