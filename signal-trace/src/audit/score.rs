//! The formula of scores and grades, in one place.
//!
//! A workload's score is 100 times the share of its shutdowns that were good, of those that count: one that passes is 1,
//! one that warns is `weights.warn` (0.5), one that fails is 0. A namespace's, a team's, a cluster's and the fleet's is
//! the mean over their workloads that have one, each weighing the same, so that one that is restarted every minute does
//! not speak for the rest. Workloads with insufficient data, waived ones and those of system namespaces have no part in it.

use super::interval::wilson;
use super::report::{Grade, Share, Shutdowns, Totals, Trend};

/// Of one workload; none where nothing counts.
#[expect(clippy::cast_precision_loss, reason = "rounded to a tenth in the end")]
pub fn of_shutdowns(shutdowns: Shutdowns, weight_warn: f64) -> Option<f64> {
    let counted = counted(shutdowns);
    let good = shutdowns.pass as f64 + weight_warn * shutdowns.warn as f64;
    (counted > 0).then(|| tenth(100.0 * good / counted as f64))
}

/// Of several workloads; none of none.
#[expect(clippy::cast_precision_loss, reason = "a number of workloads")]
pub fn mean(scores: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, n) = scores.fold((0.0, 0_u64), |(sum, n), score| (sum + score, n + 1));
    (n > 0).then(|| tenth(sum / n as f64))
}

/// The letter.
pub fn grade(score: f64) -> Grade {
    match score {
        95.0.. => Grade::A,
        85.0.. => Grade::B,
        70.0.. => Grade::C,
        50.0.. => Grade::D,
        _ => Grade::F,
    }
}

/// How many count.
pub fn counted(shutdowns: Shutdowns) -> u64 {
    shutdowns.pass + shutdowns.warn + shutdowns.fail
}

/// The graceful share of those that count.
#[expect(clippy::cast_precision_loss, reason = "a share is printed with three digits")]
pub fn graceful(shutdowns: Shutdowns) -> Option<Share> {
    let counted = counted(shutdowns);
    let (low, high) = wilson(shutdowns.pass, counted)?;
    let value = shutdowns.pass as f64 / counted as f64;
    Some(Share { value: thousandth(value), low: thousandth(low), high: thousandth(high) })
}

/// How the graceful share moved; none where either period has none.
pub fn trend(now: Shutdowns, before: Shutdowns) -> Option<Trend> {
    let (now, then) = (graceful(now)?.value, graceful(before)?.value);
    Some(Trend { counted_before: counted(before), graceful_before: then, change: tenth(100.0 * (now - then)) })
}

/// Adds one workload's shutdowns to those of many.
pub fn add(to: &mut Shutdowns, more: Shutdowns) {
    to.all += more.all;
    to.pass += more.pass;
    to.warn += more.warn;
    to.fail += more.fail;
    to.not_counted += more.not_counted;
}

/// With what follows of the counts.
pub fn closed(mut totals: Totals) -> Totals {
    totals.graceful = graceful(totals.shutdowns);
    totals.avoidable_hours = thousandth(totals.avoidable_hours);
    totals
}

/// Rounded to what is printed, so that every format says the same.
pub fn tenth(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// Rounded to what is printed of shares and hours.
pub fn thousandth(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shutdowns(pass: u64, warn: u64, fail: u64) -> Shutdowns {
        Shutdowns { all: pass + warn + fail + 7, pass, warn, fail, not_counted: 7 }
    }

    #[test]
    fn what_does_not_count_has_no_part() {
        assert_eq!(of_shutdowns(shutdowns(3, 0, 1), 0.5), Some(75.0));
        assert_eq!(of_shutdowns(shutdowns(2, 2, 0), 0.5), Some(75.0));
        assert_eq!(of_shutdowns(shutdowns(1, 1, 1), 0.0), Some(33.3));
        assert_eq!(of_shutdowns(shutdowns(0, 0, 0), 0.5), None);
        assert_eq!(mean([100.0, 0.0].into_iter()), Some(50.0));
        assert_eq!(mean(std::iter::empty()), None);
    }

    #[test]
    fn grades_begin_at_their_edges() {
        let edges = [(100.0, Grade::A), (95.0, Grade::A), (94.9, Grade::B), (85.0, Grade::B), (84.9, Grade::C)];
        let lower = [(70.0, Grade::C), (69.9, Grade::D), (50.0, Grade::D), (49.9, Grade::F), (0.0, Grade::F)];
        for (score, letter) in edges.into_iter().chain(lower) {
            assert_eq!(grade(score), letter, "{score}");
        }
    }

    #[test]
    fn a_trend_is_in_points() {
        let trend = trend(shutdowns(9, 0, 1), shutdowns(3, 0, 1)).unwrap();
        assert_eq!((trend.change, trend.counted_before, trend.graceful_before), (15.0, 4, 0.75));
        assert_eq!(super::trend(shutdowns(9, 0, 1), shutdowns(0, 0, 0)), None);
    }

    proptest! {
        #[test]
        fn a_better_shutdown_never_lowers_the_score(p in 0_u64..50, w in 0_u64..50, f in 1_u64..50, weight in 0.0..=1.0) {
            let score = |p, w, f| of_shutdowns(shutdowns(p, w, f), weight).unwrap();
            prop_assert!(score(p + 1, w, f - 1) >= score(p, w + 1, f - 1));
            prop_assert!(score(p, w + 1, f - 1) >= score(p, w, f));
            prop_assert!((0.0..=100.0).contains(&score(p, w, f)));
        }
    }
}
