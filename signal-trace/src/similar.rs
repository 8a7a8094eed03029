//! What somebody who typed a name that does not exist may have meant.

/// A name is suggested if it is at least so much like the one that was typed (Jaro-Winkler).
const ALIKE: f64 = 0.75;

/// The known name that is most like it, if one is like it at all. Case and punctuation do not matter.
pub(crate) fn nearest<'a>(known: impl IntoIterator<Item = &'a str>, asked: &str) -> Option<&'a str> {
    let asked = plain(asked);
    let rated = known.into_iter().map(|name| (strsim::jaro_winkler(&plain(name), &asked), name));
    rated.filter(|(likeness, _)| *likeness >= ALIKE).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, name)| name)
}

/// Letters and digits alone, in lower case.
pub(crate) fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_similar_name_is_suggested_and_a_strange_one_is_not() {
        let known = ["not_forwarded", "not_awaited", "no_handler"];
        assert_eq!(nearest(known, "not-forwarded"), Some("not_forwarded"));
        assert_eq!(nearest(known, "NotAwaitet"), Some("not_awaited"));
        assert_eq!(nearest(known, "zebra"), None);
        assert_eq!(nearest([], "anything"), None);
    }
}
