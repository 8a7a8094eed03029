//! What may have been meant: the name nearest to one that nobody has.
//!
//! For every place where people type names: verdicts, keys of a policy, workloads.

/// The name that is most like it, if one is like it at all. Case, dashes and underscores make no difference.
pub(crate) fn nearest<'a>(names: impl IntoIterator<Item = &'a str>, asked: &str) -> Option<&'a str> {
    const ALIKE: f64 = 0.75;
    let asked = plain(asked);
    let rated = names.into_iter().map(|name| (strsim::jaro_winkler(&plain(name), &asked), name));
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
    fn only_what_is_alike_is_suggested() {
        let names = ["waivers", "weights", "tolerate"];
        assert_eq!(nearest(names, "wavers"), Some("waivers"));
        assert_eq!(nearest(names, "Weight"), Some("weights"));
        assert_eq!(nearest(names, "xyz"), None);
    }
}
