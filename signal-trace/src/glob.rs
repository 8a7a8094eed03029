//! Patterns in which `*` stands for any text: what people give to choose names by.

/// Whether `text` is `pattern`.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<_> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_text() {
        for (pattern, text) in [("cart", "cart"), ("cart*", "cart-7d9f"), ("*", ""), ("*a*b", "xaxb"), ("a*a", "aa")] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("cart", "cart-7"), ("a*a", "a"), ("", "x"), ("*a*b", "ba"), ("a*b*a", "aba-b")] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }
}
