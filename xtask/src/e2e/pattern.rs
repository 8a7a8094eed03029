//! What a JSON value is expected to look like, as far as somebody cares.
//!
//! A mapping asks for its own keys and no others, a list for all its elements in their order. A text may hold `*` for
//! any text, or a range such as `3.9..5` where a number is expected; everything else is meant literally. Pure.

use serde_json::Value;

/// Numbers that were written down are never further apart than this.
const PRECISION: f64 = 1e-6;

/// How `got` differs from `pattern`, one line each; none where it matches.
pub(crate) fn differences(pattern: &Value, got: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare("", pattern, got, &mut found);
    found
}

/// Whether it matches.
pub(crate) fn matches(pattern: &Value, got: &Value) -> bool {
    differences(pattern, got).is_empty()
}

/// Whether `text` is what `pattern` says, with `*` for any text.
pub(crate) fn text_matches(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut left) = text.strip_prefix(start) else { return false };
    let mut parts: Vec<_> = rest.split('*').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        match left.find(part) {
            Some(at) => left = &left[at + part.len()..],
            None => return false,
        }
    }
    left.ends_with(end)
}

/// Whether `number` is the one that is meant, or lies in the range.
pub(crate) fn number_matches(pattern: &Value, number: f64) -> bool {
    let exact = |exact: f64| (exact - number).abs() < PRECISION;
    let within = |range: &str| bounds(range).is_some_and(|(low, high)| (low..=high).contains(&number));
    pattern.as_f64().map_or_else(|| pattern.as_str().is_some_and(within), exact)
}

/// The same pattern, with ranges that reach as many times further up.
pub(crate) fn stretched(pattern: &Value, times: f64) -> Value {
    match pattern {
        Value::String(text) => match bounds(text) {
            Some((low, high)) => Value::String(format!("{low}..{}", high * times)),
            None => pattern.clone(),
        },
        Value::Array(values) => values.iter().map(|value| stretched(value, times)).collect(),
        Value::Object(fields) => fields.iter().map(|(key, value)| (key.clone(), stretched(value, times))).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => pattern.clone(),
    }
}

fn compare(path: &str, pattern: &Value, got: &Value, found: &mut Vec<String>) {
    match (pattern, got) {
        (Value::Object(wanted), Value::Object(object)) => {
            for (key, value) in wanted {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                match object.get(key) {
                    Some(got) => compare(&path, value, got, found),
                    None => found.push(format!("{path}: there is no such field")),
                }
            }
        }
        (Value::Array(wanted), Value::Array(list)) if wanted.len() == list.len() => {
            for (index, (wanted, got)) in wanted.iter().zip(list).enumerate() {
                compare(&format!("{path}[{index}]"), wanted, got, found);
            }
        }
        (Value::String(wanted), Value::String(text)) if text_matches(wanted, text) => {}
        (Value::String(_) | Value::Number(_), Value::Number(number))
            if number.as_f64().is_some_and(|number| number_matches(pattern, number)) => {}
        _ if pattern == got => {}
        _ => found.push(format!("{path}: expected {pattern}, got {got}")),
    }
}

/// `low..high`, both included.
fn bounds(range: &str) -> Option<(f64, f64)> {
    let (low, high) = range.split_once("..")?;
    Some((low.parse().ok()?, high.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_mapping_asks_for_what_it_names() {
        let got = json!({"outcome": "graceful", "pod": {"name": "web-1", "uid": "x"}, "missed": [], "code": null});
        assert!(matches(&json!({"outcome": "graceful", "pod": {"name": "web-*"}}), &got));
        assert!(matches(&json!({"missed": [], "code": null}), &got));
        assert_eq!(
            differences(&json!({"outcome": "forced", "pod": {"name": "db-*"}, "missed": [{}], "cause": "none"}), &got),
            [
                "cause: there is no such field",
                r#"missed: expected [{}], got []"#,
                r#"outcome: expected "forced", got "graceful""#,
                r#"pod.name: expected "db-*", got "web-1""#,
            ]
        );
    }

    #[test]
    fn nothing_is_not_zero() {
        assert!(!matches(&json!({"seconds": 0}), &json!({"seconds": null})));
        assert!(!matches(&json!({"seconds": null}), &json!({"seconds": 0})));
        assert!(!matches(&json!({"seconds": null}), &json!({})));
    }

    #[test]
    fn numbers_are_themselves_or_in_their_range() {
        assert!(matches(&json!(4), &json!(4.0)));
        assert!(!matches(&json!(4), &json!(4.1)));
        assert!(matches(&json!("3.9..4.5"), &json!(4.01)));
        assert!(!matches(&json!("3.9..4.5"), &json!(4.51)));
        assert!(!matches(&json!("3.9..4.5"), &json!("4")));
    }

    #[test]
    fn ranges_are_stretched_and_nothing_else() {
        let pattern = json!({"a": [{"seconds": "2.9..4"}], "b": "web-*", "c": 4});
        assert_eq!(stretched(&pattern, 5.0), json!({"a": [{"seconds": "2.9..20"}], "b": "web-*", "c": 4}));
    }

    #[test]
    fn lists_are_whole() {
        assert!(matches(&json!([{"comm": "sh"}]), &json!([{"comm": "sh", "pid": 7}])));
        assert!(!matches(&json!([{"comm": "sh"}]), &json!([{"comm": "sh"}, {"comm": "sh"}])));
    }

    #[test]
    fn a_star_is_any_text() {
        for (pattern, text) in [("*", ""), ("a*", "a"), ("*b", "ab"), ("a*c*e", "abcde"), ("a*a", "aa")] {
            assert!(text_matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("a", "ab"), ("a*a", "a"), ("a*c", "ab"), ("", "a"), ("*x*", "abc")] {
            assert!(!text_matches(pattern, text), "{pattern} {text}");
        }
    }
}
