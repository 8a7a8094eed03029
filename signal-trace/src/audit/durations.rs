//! How long shutdowns took, as the metric keeps it: counts between fixed edges.
//!
//! The same edges for every source, so that records and metrics of the same shutdowns give the same quantiles, and a
//! workload takes the same few bytes however often it was stopped.

use std::time::Duration;

use crate::report::metrics::SHUTDOWN_EDGES as EDGES;

/// Counts between the edges; the last one has no upper edge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    counts: [u64; EDGES.len() + 1],
}

impl Durations {
    /// One more.
    pub fn add(&mut self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let at = EDGES.iter().position(|edge| seconds <= *edge).unwrap_or(EDGES.len());
        self.counts[at] = self.counts[at].saturating_add(1);
    }

    /// So many that took at most `upper` seconds and more than the edge below it; `upper` is an edge, or infinite.
    pub fn add_between(&mut self, upper: f64, count: u64) {
        let at = EDGES.iter().position(|edge| upper <= *edge).unwrap_or(EDGES.len());
        self.counts[at] = self.counts[at].saturating_add(count);
    }

    /// All of the other, too.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts) {
            *mine = mine.saturating_add(theirs);
        }
    }

    /// The larger of both in each place: two that watched the same.
    pub fn merge_replica(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts) {
            *mine = (*mine).max(theirs);
        }
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// The `q`-quantile in seconds, placed between its edges as Prometheus' `histogram_quantile` does: straight, and
    /// beyond the last edge at that edge. What went beyond the grace was killed then, so it is placed at the edge below
    /// it and not somewhere up to the next. None of nothing.
    #[expect(clippy::cast_precision_loss, reason = "a place between two edges needs no more")]
    pub fn quantile(&self, q: f64, grace: Option<Duration>) -> Option<f64> {
        let grace = grace.map_or(f64::INFINITY, |grace| grace.as_secs_f64());
        let total = self.count();
        if total == 0 {
            return None;
        }
        let rank = q.clamp(0.0, 1.0) * total as f64;
        let mut below = 0.0;
        for (at, count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let within = *count as f64;
            if below + within >= rank {
                let lower = if at == 0 { 0.0 } else { EDGES[at - 1] };
                let Some(upper) = EDGES.get(at).filter(|_| lower < grace) else { return Some(lower) };
                return Some(lower + (upper - lower) * ((rank - below) / within).clamp(0.0, 1.0));
            }
            below += within;
        }
        Some(EDGES[EDGES.len() - 1])
    }

    /// The edge that none of the `q`-th part went beyond; none of nothing, and where they went beyond the last.
    #[expect(clippy::cast_precision_loss, reason = "only compared with a share of itself")]
    pub fn bound(&self, q: f64) -> Option<f64> {
        let rank = q.clamp(0.0, 1.0) * self.count() as f64;
        let mut reached = 0.0;
        for (count, edge) in self.counts.iter().zip(EDGES) {
            reached += *count as f64;
            if reached > 0.0 && reached >= rank {
                return Some(edge);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(seconds: &[f64]) -> Durations {
        let mut durations = Durations::default();
        for second in seconds {
            durations.add(Duration::from_secs_f64(*second));
        }
        durations
    }

    #[test]
    fn quantiles_lie_straight_between_their_edges() {
        let ten = of(&[2.0; 10]);
        assert_eq!(ten.quantile(0.5, None), Some(1.75));
        assert_eq!(ten.quantile(1.0, None), Some(2.5));
        let mixed = of(&[0.05, 0.05, 0.05, 30.01]);
        assert_eq!(mixed.quantile(0.5, None), Some(0.1 * 2.0 / 3.0));
        assert_eq!(mixed.quantile(1.0, None), Some(31.0));
        assert_eq!(of(&[1e6]).quantile(0.5, None), Some(300.0));
        assert_eq!(mixed.quantile(1.0, Some(Duration::from_secs(30))), Some(30.0));
        assert_eq!(of(&[]).quantile(0.5, None), None);
    }

    #[test]
    fn a_bound_is_an_edge_that_nobody_crossed() {
        let durations = of(&[0.2, 0.2, 4.0]);
        assert_eq!((durations.bound(0.5), durations.bound(1.0)), (Some(0.25), Some(5.0)));
        assert_eq!(of(&[301.0]).bound(1.0), None);
        assert_eq!(of(&[]).bound(1.0), None);
    }

    #[test]
    fn an_edge_belongs_to_what_is_below_it_in_both_ways_of_counting() {
        let mut counted = Durations::default();
        counted.add_between(30.0, 2);
        counted.add_between(f64::INFINITY, 1);
        assert_eq!(counted, of(&[30.0, 26.0, 400.0]));
        let mut twice = counted.clone();
        twice.merge(&counted);
        assert_eq!(twice.count(), 6);
        twice.merge_replica(&counted);
        assert_eq!(twice.count(), 6);
    }
}
