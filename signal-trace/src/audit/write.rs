//! Puts a report where it was asked for: several files at once, each whole or not at all.
//!
//! Everything is rendered before anything is written, and every file is written beside its place before the first one is
//! put into it. So a format that fails, or a full disk, leaves what was there before.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use tempfile::NamedTempFile;

use super::render::{self, Format};
use super::report::Report;
use crate::report::style::Style;
use crate::suggest::nearest;

/// One thing that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// How.
    pub format: Format,
    /// Where; on standard output without a file.
    pub file: Option<PathBuf>,
}

/// A report that could not be put where it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A format could not be rendered.
    #[error("cannot write the report as {format}")]
    Render {
        /// Which.
        format: &'static str,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file could not be written.
    #[error("cannot write {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Standard output could not be written.
    #[error("cannot write the report")]
    Stdout(#[source] io::Error),
}

impl FromStr for Output {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, file) = match text.split_once('=') {
            Some((name, file)) => (name, Some(file)),
            None => (text, None),
        };
        let names = || Format::ALL.into_iter().map(Format::name);
        let format = Format::ALL.into_iter().find(|format| format.name() == name).ok_or_else(|| {
            let meant = nearest(names(), name).map(|name| format!(", the nearest is {name}")).unwrap_or_default();
            format!("there is no format `{name}`{meant}: use {}", names().collect::<Vec<_>>().join(", "))
        })?;
        match file {
            Some("") => Err(format!("`{text}` names no file: use {name}=FILE, or {name} alone for standard output")),
            file => Ok(Self { format, file: file.map(PathBuf::from) }),
        }
    }
}

/// Writes all of them. `style` is that of standard output.
///
/// # Errors
///
/// Where one of them fails; then no file is touched.
pub fn write_all(report: &Report, outputs: &[Output], style: &Style) -> Result<(), WriteError> {
    let mut parts = Vec::new();
    for output in outputs {
        let style = if output.file.is_some() { render::file_style() } else { *style };
        let text = render::render(report, output.format, &style)
            .map_err(|source| WriteError::Render { format: output.format.name(), source })?;
        parts.push((output.file.clone(), text));
    }
    put_all(parts)
}

/// Puts every text where it belongs; without a file on standard output, after the files.
///
/// # Errors
///
/// Where one of them fails; then no file is touched.
pub fn put_all(parts: Vec<(Option<PathBuf>, Vec<u8>)>) -> Result<(), WriteError> {
    let mut files = Vec::new();
    let mut stdout = Vec::new();
    for (file, text) in parts {
        match file {
            None => stdout.extend(text),
            Some(path) => match beside(&path, &text) {
                Ok(written) => files.push((written, path)),
                Err(source) => return Err(WriteError::File { path, source }),
            },
        }
    }
    for (file, path) in files {
        file.persist(&path).map_err(|error| WriteError::File { path, source: error.error })?;
    }
    let mut out = io::stdout().lock();
    out.write_all(&stdout).and_then(|()| out.flush()).map_err(WriteError::Stdout)
}

/// A file in the same directory, with all of the text on the disk.
fn beside(path: &Path, text: &[u8]) -> io::Result<NamedTempFile> {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    // As any file of this user: the umask takes what is too much.
    let mut file = builder.permissions(std::fs::Permissions::from_mode(0o666)).tempfile_in(directory)?;
    file.write_all(text)?;
    file.as_file().sync_all()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::super::fixtures;
    use super::*;

    fn output(text: &str) -> Output {
        text.parse().unwrap()
    }

    #[test]
    fn a_format_may_have_a_file() {
        assert_eq!(output("json"), Output { format: Format::Json, file: None });
        assert_eq!(output("html=a=b.html"), Output { format: Format::Html, file: Some("a=b.html".into()) });
        let wrong = "jnuit".parse::<Output>().unwrap_err();
        assert!(wrong.starts_with("there is no format `jnuit`, the nearest is junit: use table, json"), "{wrong}");
        assert!("csv=".parse::<Output>().unwrap_err().contains("names no file"));
    }

    #[test]
    fn several_files_or_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let to = |format, file: &str| Output { format, file: Some(path(file)) };
        std::fs::write(path("old.json"), "old").unwrap();
        let report = fixtures::report();
        let outputs = [to(Format::Json, "old.json"), to(Format::Csv, "nowhere/new.csv")];
        assert!(write_all(&report, &outputs, &render::file_style()).is_err());
        assert_eq!(std::fs::read_to_string(path("old.json")).unwrap(), "old");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);

        write_all(&report, &[to(Format::Json, "old.json"), to(Format::Csv, "new.csv")], &render::file_style()).unwrap();
        assert!(std::fs::read_to_string(path("old.json")).unwrap().contains("signal-trace.dev/audit/v1"));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);
    }
}
