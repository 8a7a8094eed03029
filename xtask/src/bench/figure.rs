//! A figure as the benchmarks print it, and how its numbers are written for people.

use serde::{Deserialize, Serialize};

/// One figure.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Figure {
    pub(super) benchmark: String,
    pub(super) what: String,
    pub(super) unit: String,
    min: f64,
    pub(super) median: f64,
    max: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    against: Option<Against>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<Limit>,
    pub(super) missed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) remark: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) curve: Option<Curve>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Against {
    what: String,
    value: f64,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

/// Points of a picture.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Curve {
    pub(super) by: String,
    pub(super) points: Vec<(f64, f64)>,
}

impl Figure {
    /// Smallest, middle and largest.
    pub(super) fn values(&self) -> [String; 3] {
        [self.min, self.median, self.max].map(number)
    }

    /// The smallest.
    pub(super) fn best(&self) -> f64 {
        self.min
    }

    /// The middle one.
    pub(super) fn usual(&self) -> f64 {
        self.median
    }

    /// What it was held against in the same run.
    pub(super) fn reference(&self) -> String {
        self.against.as_ref().map_or_else(String::new, |against| format!("{}: {}", against.what, number(against.value)))
    }

    /// `≤ 1.10`, or nothing.
    pub(super) fn limit(&self) -> String {
        match self.limit {
            Some(Limit::AtMost(most)) => format!("≤ {}", number(most)),
            Some(Limit::AtLeast(least)) => format!("≥ {}", number(least)),
            None => String::new(),
        }
    }

    /// Whether the limit was kept, where there is one.
    pub(super) fn result(&self) -> &'static str {
        match (self.limit, self.missed) {
            (_, true) => "missed",
            (Some(_), false) => "ok",
            (None, false) => "",
        }
    }
}

/// With as many digits as mean something.
pub(super) fn number(value: f64) -> String {
    match value.abs() {
        _ if value.fract() == 0.0 && value.abs() < 1e15 => format!("{value:.0}"),
        0.0..0.1 => format!("{value:.4}"),
        0.1..10.0 => format!("{value:.2}"),
        10.0..1_000.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A figure as a benchmark prints it.
    pub(crate) fn figure(benchmark: &str, what: &str, median: f64) -> Figure {
        let text = format!(
            r#"{{"benchmark":"{benchmark}","what":"{what}","unit":"ns","min":1.0,"median":{median},"max":1234.5,"against":{{"what":"an empty program","value":55.25}},"limit":{{"at_most":1.1}},"missed":{}}}"#,
            median > 1.1
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn numbers_have_the_digits_that_mean_something() {
        let written = [0.0, 2.0, 0.01234, 1.2345, 12.345, 1234.5, 1e6].map(number);
        assert_eq!(written, ["0", "2", "0.0123", "1.23", "12.3", "1234", "1000000"]);
    }

    #[test]
    fn a_figure_is_shown_with_its_reference_and_limit() {
        let figure = figure("filtered", "a signal", 1.25);
        assert_eq!(figure.values(), ["1", "1.25", "1234"]);
        assert_eq!((&*figure.reference(), &*figure.limit()), ("an empty program: 55.2", "≤ 1.10"));
        assert_eq!(figure.result(), "missed");
    }
}
