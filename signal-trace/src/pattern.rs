//! Patterns that people type for names: `*` stands for any text, everything else for itself.

/// Whether `text` is `pattern`, in which `*` stands for any text.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
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
            assert!(glob(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("cart", "cart-7"), ("a*a", "a"), ("", "x"), ("*a*b", "ba"), ("a*b*a", "aba-b")] {
            assert!(!glob(pattern, text), "{pattern} {text}");
        }
    }
}
