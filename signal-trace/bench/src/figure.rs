//! One figure: what was measured, what it is held against, and which limit it keeps or misses.
//!
//! A figure is a line of JSON on standard output; how it is shown, stored and compared is for who reads it.

use serde::Serialize;

/// Where a figure's limit is.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Limit {
    /// It may not be larger.
    AtMost(f64),
    /// It may not be smaller.
    AtLeast(f64),
}

/// What it is held against, from the same run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Against {
    what: &'static str,
    value: f64,
}

/// How it changes with something else, for a picture.
#[derive(Clone, Debug, Serialize)]
struct Curve {
    by: &'static str,
    points: Vec<(f64, f64)>,
}

/// Smallest, middle and largest of what was measured, in `unit`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    benchmark: &'static str,
    what: String,
    unit: &'static str,
    min: f64,
    median: f64,
    max: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    against: Option<Against>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<Limit>,
    missed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    remark: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    curve: Option<Curve>,
}

impl Figure {
    /// Of many values, at least one.
    pub(crate) fn of(benchmark: &'static str, what: impl Into<String>, unit: &'static str, values: &[f64]) -> Self {
        let [min, median, max] = spread(values);
        let what = what.into();
        Self {
            benchmark,
            what,
            unit,
            min,
            median,
            max,
            against: None,
            limit: None,
            missed: false,
            remark: None,
            curve: None,
        }
    }

    /// Of one value.
    pub(crate) fn one(benchmark: &'static str, what: impl Into<String>, unit: &'static str, value: f64) -> Self {
        Self::of(benchmark, what, unit, &[value])
    }

    /// With what it is held against.
    pub(crate) fn against(self, what: &'static str, value: f64) -> Self {
        Self { against: Some(Against { what, value }), ..self }
    }

    /// With a limit for its median.
    pub(crate) fn limit(self, limit: Limit) -> Self {
        let value = self.median;
        self.limit_for(value, limit)
    }

    /// With a limit for another value of it, a percentile for example.
    pub(crate) fn limit_for(self, value: f64, limit: Limit) -> Self {
        let missed = match limit {
            Limit::AtMost(most) => value.is_nan() || value > most,
            Limit::AtLeast(least) => value.is_nan() || value < least,
        };
        Self { limit: Some(limit), missed, ..self }
    }

    /// It keeps its limit where it is no more than the noise.
    pub(crate) fn unless(self, excused: bool) -> Self {
        Self { missed: self.missed && !excused, ..self }
    }

    /// With a word for people.
    pub(crate) fn remark(self, remark: impl Into<String>) -> Self {
        Self { remark: Some(remark.into()), ..self }
    }

    /// With the points of its picture.
    pub(crate) fn curve(self, by: &'static str, points: Vec<(f64, f64)>) -> Self {
        Self { curve: Some(Curve { by, points }), ..self }
    }

    /// Writes its line.
    pub(crate) fn print(&self) -> anyhow::Result<()> {
        println!("{}", serde_json::to_string(self)?);
        Ok(())
    }
}

/// Smallest, middle and largest; not a number where there are none.
pub(crate) fn spread(values: &[f64]) -> [f64; 3] {
    [percentile(values, 0), percentile(values, 50), percentile(values, 100)]
}

/// The value that so many of a hundred do not exceed.
pub(crate) fn percentile(values: &[f64], hundredths: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len() * hundredths).div_ceil(100).saturating_sub(1);
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

/// The slope of log(cost) over log(size) by least squares: 1 is linear, 2 quadratic.
pub(crate) fn exponent(points: &[(f64, f64)]) -> f64 {
    let logs: Vec<_> = points.iter().map(|(size, cost)| (size.ln(), cost.ln())).collect();
    let count = logs.len() as f64;
    let (x, y) = logs.iter().fold((0.0, 0.0), |(x, y), log| (x + log.0 / count, y + log.1 / count));
    let (above, below) = logs
        .iter()
        .fold((0.0, 0.0), |(above, below), log| (above + (log.0 - x) * (log.1 - y), below + (log.0 - x).powi(2)));
    above / below
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values: Vec<_> = (1..=200).rev().map(f64::from).collect();
        assert_eq!(spread(&values), [1.0, 100.0, 200.0]);
        assert_eq!(percentile(&values, 99), 198.0);
        assert!(percentile(&[], 50).is_nan());
    }

    #[test]
    fn the_exponent_is_the_power_of_growth() {
        let power = |exponent: f64| [1.0_f64, 10.0, 100.0].map(|size| (size, 3.0 * size.powf(exponent)));
        for expected in [0.0, 1.0, 2.0] {
            assert!((exponent(&power(expected)) - expected).abs() < 1e-9);
        }
    }

    #[test]
    fn a_limit_is_missed_beyond_it_and_where_nothing_was_measured() {
        let figure = |values: &[f64], limit| Figure::of("b", "w", "ns", values).limit(limit).missed;
        assert!(!figure(&[1.0, 2.0, 9.0], Limit::AtMost(2.0)));
        assert!(figure(&[1.0, 2.1, 9.0], Limit::AtMost(2.0)));
        assert!(figure(&[1.0], Limit::AtLeast(2.0)));
        assert!(figure(&[], Limit::AtMost(2.0)) && figure(&[], Limit::AtLeast(2.0)));
        assert!(!Figure::one("b", "w", "ns", 3.0).limit(Limit::AtMost(2.0)).unless(true).missed);
    }
}
