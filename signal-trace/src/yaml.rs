//! Files that people write: YAML, read strictly, with errors that name the place and the way out.
//!
//! Knows nothing of what is in them: the shape is the caller's type, which must refuse unknown fields.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::suggest::nearest;

/// Largest file that is read.
const MAX_BYTES: u64 = 1 << 20;

/// Why a file says nothing.
#[derive(Debug, Error)]
pub enum YamlError {
    /// It cannot be read.
    #[error("cannot read {path}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is far larger than any such file.
    #[error("{path} is larger than {} KiB: is it the right file?", MAX_BYTES >> 10)]
    TooLarge {
        /// Which.
        path: PathBuf,
    },
    /// It is no YAML, or a value is of the wrong kind.
    #[error("{path}: {problem}")]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Where and what.
        problem: String,
    },
}

/// Reads a file of this shape. An empty one is that of an empty map.
///
/// # Errors
///
/// See [`YamlError`].
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T, YamlError> {
    let unreadable = |source| YamlError::Unreadable { path: path.to_owned(), source };
    if fs::metadata(path).map_err(unreadable)?.len() > MAX_BYTES {
        return Err(YamlError::TooLarge { path: path.to_owned() });
    }
    parse(&fs::read_to_string(path).map_err(unreadable)?, path)
}

/// As [`read`], of text that was read already; `path` is for the errors.
///
/// # Errors
///
/// See [`YamlError`].
pub fn parse<T: DeserializeOwned>(text: &str, path: &Path) -> Result<T, YamlError> {
    let says_nothing = text.lines().all(|line| matches!(line.trim(), "" | "---") || line.trim().starts_with('#'));
    let text = if says_nothing { "{}" } else { text };
    serde_saphyr::from_str(text)
        .map_err(|error| YamlError::Malformed { path: path.to_owned(), problem: describe(&error) })
}

/// Where and what, with the key that may have been meant by one that does not exist.
pub(crate) fn describe(error: &serde_saphyr::Error) -> String {
    let error = error.without_snippet();
    let serde_saphyr::Error::SerdeUnknownField { field, expected, location } = error else { return error.to_string() };
    let way_out = match nearest(expected.iter().copied(), field) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("use one of {}", expected.join(", ")),
    };
    format!("line {}: there is no key `{}`: {way_out}", location.line(), field.escape_debug())
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, Deserialize, PartialEq, Eq)]
    #[serde(deny_unknown_fields, rename_all = "camelCase", default)]
    struct Shape {
        node_name: Option<String>,
        listen: Option<u16>,
    }

    fn read_shape(text: &str) -> Result<Shape, String> {
        parse(text, Path::new("agent.yaml")).map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_is_read_and_an_empty_one_says_nothing() {
        let both = Shape { node_name: Some("worker-1".into()), listen: Some(9469) };
        assert_eq!(read_shape("nodeName: worker-1\nlisten: 9469\n"), Ok(both));
        for empty in ["", "\n", "# nothing\n", "---\n", "{}"] {
            assert_eq!(read_shape(empty), Ok(Shape::default()), "{empty:?}");
        }
    }

    #[test]
    fn a_wrong_key_is_named_with_its_line_and_what_was_meant() {
        assert_eq!(
            read_shape("listen: 1\nnodename: x\n"),
            Err("agent.yaml: line 2: there is no key `nodename`: did you mean `nodeName`?".into())
        );
        assert_eq!(
            read_shape("colour: red\n"),
            Err("agent.yaml: line 1: there is no key `colour`: use one of nodeName, listen".into())
        );
    }

    #[test]
    fn a_wrong_value_is_placed() {
        let error = read_shape("nodeName: x\nlisten: high\n").unwrap_err();
        assert!(error.starts_with("agent.yaml: ") && error.contains("line 2"), "{error}");
        assert!(read_shape("nodeName: [x\n").is_err());
        assert!(read_shape("- a\n- b\n").is_err());
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = read::<Shape>(Path::new("/nonexistent/agent.yaml")).unwrap_err();
        assert_eq!(error.to_string(), "cannot read /nonexistent/agent.yaml");
    }
}
