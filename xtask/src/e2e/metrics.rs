//! The text that `/metrics` answers with, as far as a test reads it: the names, labels and values of series. Pure.

use std::collections::BTreeMap;

/// All series of one scrape.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics(Vec<(String, BTreeMap<String, String>, f64)>);

impl Metrics {
    /// Reads the lines that are series; what is no series is passed over.
    pub(crate) fn parse(text: &str) -> Self {
        Self(text.lines().filter(|line| !line.starts_with('#')).filter_map(series).collect())
    }

    /// The sum of all series of that name with these labels; none where there is no such series.
    pub(crate) fn sum(&self, name: &str, labels: &BTreeMap<String, String>) -> Option<f64> {
        let has = |all: &BTreeMap<String, String>| labels.iter().all(|(name, value)| all.get(name) == Some(value));
        let values = self.0.iter().filter(|(of, all, _)| of == name && has(all)).map(|(_, _, value)| *value);
        values.reduce(|sum, value| sum + value)
    }

    /// The same over all series of the name.
    pub(crate) fn total(&self, name: &str) -> f64 {
        self.sum(name, &BTreeMap::new()).unwrap_or_default()
    }
}

fn series(line: &str) -> Option<(String, BTreeMap<String, String>, f64)> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        while let Some((label, after)) = rest.split_once("=\"").filter(|(label, _)| !label.contains('}')) {
            let (value, after) = quoted(after)?;
            labels.insert(label.trim_start_matches(',').to_owned(), value);
            rest = after;
        }
        rest = rest.strip_prefix('}')?;
    }
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some((name.to_owned(), labels, value))
}

/// A text up to its closing quote, and what follows that.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match letters.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_read_and_added_up() {
        let text = "# TYPE a counter\na_total{x=\"1\",y=\"b}\\\"=\"} 2\na_total{x=\"1\"} 3 1700000000\nb 1.5\nbroken{\n# EOF\n";
        let metrics = Metrics::parse(text);
        let label = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        assert_eq!(metrics.sum("a_total", &label("x", "1")), Some(5.0));
        assert_eq!(metrics.sum("a_total", &label("y", "b}\"=")), Some(2.0));
        assert_eq!(metrics.sum("a_total", &label("x", "2")), None);
        assert_eq!(metrics.total("b"), 1.5);
        assert_eq!(metrics.total("c"), 0.0);
    }
}
