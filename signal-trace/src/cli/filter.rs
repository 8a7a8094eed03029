//! Which shutdowns `watch` shows: `KEY=PATTERN`, with `*` for any text.

use std::str::FromStr;

use thiserror::Error;

use crate::judge::shutdown::Shutdown;
use crate::pattern::glob;

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filter {
    key: Option<Key>,
    pattern: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Id,
    Name,
    Namespace,
    Pod,
    Workload,
    Image,
    Runtime,
    Cgroup,
    Outcome,
    Cause,
}

impl Key {
    const ALL: [(Self, &'static str); 10] = [
        (Self::Id, "id"),
        (Self::Name, "name"),
        (Self::Namespace, "namespace"),
        (Self::Pod, "pod"),
        (Self::Workload, "workload"),
        (Self::Image, "image"),
        (Self::Runtime, "runtime"),
        (Self::Cgroup, "cgroup"),
        (Self::Outcome, "outcome"),
        (Self::Cause, "cause"),
    ];

    /// What a bare pattern is held against.
    const NAMES: [Self; 6] = [Self::Id, Self::Name, Self::Namespace, Self::Pod, Self::Workload, Self::Image];

    fn of(self, shutdown: &Shutdown) -> Option<&str> {
        let container = &shutdown.container;
        let pod = container.pod.as_ref();
        match self {
            Self::Id => Some(&container.id),
            Self::Name => container.name.as_deref(),
            Self::Namespace => pod.map(|p| p.namespace.as_str()),
            Self::Pod => pod.map(|p| p.name.as_str()),
            Self::Workload => pod.and_then(|p| p.workload.as_ref()).map(|w| w.name.as_str()),
            Self::Image => container.image.as_deref(),
            Self::Runtime => container.runtime.name(),
            Self::Cgroup => Some(&container.cgroup_path),
            Self::Outcome => Some(shutdown.verdict.outcome.name()),
            Self::Cause => Some(shutdown.verdict.cause.name()),
        }
    }
}

/// A filter that cannot be read.
#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum FilterError {
    /// No such key.
    #[error(
        "there is no filter by `{key}`: use one of id, name, namespace, pod, workload, image, runtime, cgroup, outcome, cause"
    )]
    UnknownKey {
        /// What was typed.
        key: String,
    },
    /// Nothing to match.
    #[error("a filter needs a pattern, for example `runtime=containerd` or `cart*`")]
    Empty,
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        let (key, pattern) = match text.split_once('=') {
            None => (None, text),
            Some((name, pattern)) => {
                let known = Key::ALL.into_iter().find(|(_, n)| *n == name).map(|(key, _)| key);
                (Some(known.ok_or_else(|| FilterError::UnknownKey { key: name.to_owned() })?), pattern)
            }
        };
        if pattern.is_empty() {
            return Err(FilterError::Empty);
        }
        Ok(Self { key, pattern: pattern.to_owned() })
    }
}

impl Filter {
    /// Whether this shutdown is one of those asked for. A container's id may be cut short, as runtimes print it.
    pub(super) fn matches(&self, shutdown: &Shutdown) -> bool {
        let holds = |key: Key| {
            key.of(shutdown).is_some_and(|value| {
                glob(&self.pattern, value)
                    || (key == Key::Id && self.pattern.len() >= 6 && value.starts_with(&self.pattern))
            })
        };
        self.key.map_or_else(|| Key::NAMES.into_iter().any(holds), holds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_key_is_named() {
        assert_eq!("color=red".parse::<Filter>().unwrap_err(), FilterError::UnknownKey { key: "color".into() });
        assert_eq!("name=".parse::<Filter>().unwrap_err(), FilterError::Empty);
    }
}
