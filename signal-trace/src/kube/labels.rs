//! Conditions on the labels of pods.
//!
//! Held against a pod when it is read, so that labels need not be kept.

use std::collections::BTreeMap;

use ::kube::core::{Expression, Selector, SelectorExt as _};

/// Conditions that must all hold.
#[derive(Clone, Debug, Default)]
pub struct Labels(Selector);

/// It is no condition.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is no condition on labels: use KEY=VALUE, KEY!=VALUE, KEY or !KEY")]
pub struct LabelError(String);

impl Labels {
    /// Each as `kubectl -l` takes it: `KEY=VALUE`, `KEY!=VALUE`, `KEY` or `!KEY`.
    ///
    /// # Errors
    ///
    /// One is none of these.
    pub fn new(conditions: &[String]) -> Result<Self, LabelError> {
        Ok(Self(conditions.iter().map(|text| condition(text)).collect::<Result<_, _>>()?))
    }

    /// Whether they hold.
    pub fn hold(&self, labels: Option<&BTreeMap<String, String>>) -> bool {
        self.0.selects_all() || labels.map_or_else(|| self.0.matches(&BTreeMap::new()), |labels| self.0.matches(labels))
    }
}

fn condition(text: &str) -> Result<Expression, LabelError> {
    let wrong = || LabelError(text.escape_debug().to_string());
    let key = |key: &str| Some(key.trim().to_owned()).filter(|key| is_part(key, "-_./")).ok_or_else(wrong);
    let value =
        |value: &str| Some(value.trim().to_owned()).filter(|v| v.is_empty() || is_part(v, "-_.")).ok_or_else(wrong);
    if let Some((name, unwanted)) = text.split_once("!=") {
        return Ok(Expression::NotEqual(key(name)?, value(unwanted)?));
    }
    match (text.split_once('='), text.trim().strip_prefix('!')) {
        (Some((name, wanted)), _) => {
            Ok(Expression::Equal(key(name)?, value(wanted.strip_prefix('=').unwrap_or(wanted))?))
        }
        (None, Some(name)) => Ok(Expression::DoesNotExist(key(name)?)),
        (None, None) => Ok(Expression::Exists(key(text)?)),
    }
}

fn is_part(text: &str, punctuation: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || punctuation.contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(conditions: &[&str]) -> Result<Labels, LabelError> {
        Labels::new(&conditions.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn all_conditions_on_labels_must_hold() {
        let pod = BTreeMap::from([("app", "cart"), ("tier", "front")].map(|(k, v)| (k.to_owned(), v.to_owned())));
        for (conditions, expected) in [
            (&["app=cart"][..], true),
            (&["app==cart", "tier"], true),
            (&["app=cart", "tier=back"], false),
            (&["app!=cart"], false),
            (&["app!=till", "!legacy"], true),
            (&["!tier"], false),
            (&["example.com/owner"], false),
        ] {
            assert_eq!(labels(conditions).unwrap().hold(Some(&pod)), expected, "{conditions:?}");
        }
        assert!(labels(&["app!=cart"]).unwrap().hold(None), "a pod without labels has none");
    }

    #[test]
    fn what_is_no_condition_is_refused() {
        for wrong in ["", "=x", "a b", "app in (x)", "app=x y", "!", "a=b=c"] {
            assert_eq!(labels(&[wrong]).unwrap_err(), LabelError(wrong.into()));
        }
    }
}
