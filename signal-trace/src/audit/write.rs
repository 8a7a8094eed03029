//! Puts a report where it was asked for: several files at once, each whole or not at all.
//!
//! Everything is rendered before anything is written, and every file is written beside its place before the first one is
//! put into it. So a format that fails, or a full disk, leaves what was there before. A link stays, and what it leads to is
//! replaced. A device or a pipe is never replaced: it is written into, after the files.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use tempfile::NamedTempFile;

use super::render::{self, Format};
use super::report::Report;
use crate::report::style::Style;
use crate::suggest::nearest;

/// Links that are followed one after the other: as many as the kernel follows.
const MAX_LINKS: usize = 40;

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
        let (format, file) = format_and_file(text, &Format::ALL.map(|format| (format.name(), format)))?;
        Ok(Self { format, file })
    }
}

/// What `FORMAT[=FILE]` asks for, of these formats and their names.
///
/// # Errors
///
/// None of them is meant, or the file has no name.
pub(crate) fn format_and_file<F: Copy>(text: &str, formats: &[(&str, F)]) -> Result<(F, Option<PathBuf>), String> {
    let (name, file) = match text.split_once('=') {
        Some((name, file)) => (name, Some(file)),
        None => (text, None),
    };
    let names = || formats.iter().map(|(name, _)| *name);
    let (_, format) = formats.iter().find(|(known, _)| *known == name).ok_or_else(|| {
        let meant = nearest(names(), name).map(|name| format!(", the nearest is {name}")).unwrap_or_default();
        format!("there is no format `{name}`{meant}: use {}", names().collect::<Vec<_>>().join(", "))
    })?;
    match file {
        Some("") => Err(format!("`{text}` names no file: use {name}=FILE, or {name} alone for standard output")),
        file => Ok((*format, file.map(PathBuf::from))),
    }
}

/// Two reports in one stream can be read by nobody, and one file holds one of them. `example` is of one with a file.
///
/// # Errors
///
/// Two of them are for the same place.
pub(crate) fn ensure_apart<'f>(files: impl IntoIterator<Item = Option<&'f Path>>, example: &str) -> Result<(), String> {
    let mut earlier = Vec::new();
    for file in files {
        if earlier.contains(&file) {
            return Err(match file {
                None => format!("two formats on standard output: give all but one a file, as in {example}"),
                Some(path) => format!("two formats for {}: give each its own file", path.display()),
            });
        }
        earlier.push(file);
    }
    Ok(())
}

/// Writes all of them. `style` is that of standard output.
///
/// # Errors
///
/// Where one of them fails; then no file is touched, as [`put_all`] has it.
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
/// Where one of them fails; then no file is touched, unless it is a device, a pipe or standard output that breaks off.
pub fn put_all(parts: Vec<(Option<PathBuf>, Vec<u8>)>) -> Result<(), WriteError> {
    let mut places = Vec::new();
    let mut stdout = Vec::new();
    for (file, text) in parts {
        match file {
            None => stdout.extend(text),
            Some(path) if is_stdout(&path) => stdout.extend(text),
            Some(path) => match Place::prepare(&path, text) {
                Ok(place) => places.push((path, place)),
                Err(source) => return Err(WriteError::File { path, source }),
            },
        }
    }
    // What went into a stream cannot be taken back.
    places.sort_by_key(|(_, place)| matches!(place, Place::Stream(..)));
    for (path, place) in places {
        place.put().map_err(|source| WriteError::File { path, source })?;
    }
    let mut out = io::stdout().lock();
    out.write_all(&stdout).and_then(|()| out.flush()).map_err(WriteError::Stdout)
}

/// Whether standard output is open on it, whatever it is called: to replace it would hide what else is written there.
fn is_stdout(path: &Path) -> bool {
    let identity = |path: &Path| std::fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    identity(path).is_some_and(|found| identity(Path::new("/proc/self/fd/1")) == Some(found))
}

/// A place with what goes there, before anything there is touched.
enum Place {
    /// The text in a file of its own, to be put at that path.
    File(NamedTempFile, PathBuf),
    /// Something that is no file, open, and the text.
    Stream(File, Vec<u8>),
}

impl Place {
    fn prepare(path: &Path, text: Vec<u8>) -> io::Result<Self> {
        let target = match std::fs::metadata(path) {
            Ok(found) if found.is_file() => std::fs::canonicalize(path)?,
            Ok(found) if found.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            Ok(_) => return Ok(Self::Stream(File::options().write(true).open(path)?, text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => end_of_links(path),
            Err(error) => return Err(error),
        };
        if target.as_os_str().as_encoded_bytes().ends_with(b"/") {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        Ok(Self::File(beside(&target, &text)?, target))
    }

    fn put(self) -> io::Result<()> {
        match self {
            Self::File(written, target) => written.persist(target).map(drop).map_err(|error| error.error),
            Self::Stream(mut stream, text) => stream.write_all(&text),
        }
    }
}

/// Where links lead to in the end, though nothing is there yet.
fn end_of_links(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        let Ok(target) = std::fs::read_link(&path) else { break };
        path = directory_of(&path).join(target);
    }
    path
}

/// A file in the same directory, with all of the text on the disk.
fn beside(path: &Path, text: &[u8]) -> io::Result<NamedTempFile> {
    use std::os::unix::fs::PermissionsExt as _;
    let mut builder = tempfile::Builder::new();
    // As any file of this user: the umask takes what is too much.
    let mut file = builder.permissions(std::fs::Permissions::from_mode(0o666)).tempfile_in(directory_of(path))?;
    file.write_all(text)?;
    file.as_file().sync_all()?;
    Ok(file)
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::fs::{FileTypeExt as _, symlink};

    use rustix::fs::{CWD, FileType, Mode};

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

    #[test]
    fn each_format_has_a_place_of_its_own() {
        let apart = |files: [Option<&str>; 3]| ensure_apart(files.map(|file| file.map(Path::new)), "json=audit.json");
        assert_eq!(apart([None, Some("a"), Some("b")]), Ok(()));
        assert!(apart([None, Some("a"), None]).unwrap_err().ends_with("as in json=audit.json"));
        assert!(apart([Some("a"), None, Some("a")]).unwrap_err().starts_with("two formats for a:"));
    }

    #[test]
    fn a_directory_is_refused_before_a_file_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::create_dir(path("folder")).unwrap();
        std::fs::write(path("old"), "old").unwrap();
        for wrong in ["folder", "folder/", "none/"] {
            let parts = vec![(Some(path("old")), b"new".to_vec()), (Some(path(wrong)), b"new".to_vec())];
            let error = put_all(parts).unwrap_err();
            assert!(matches!(&error, WriteError::File { path: at, .. } if *at == path(wrong)), "{wrong}: {error}");
            assert_eq!(std::fs::read_to_string(path("old")).unwrap(), "old", "{wrong}");
        }
    }

    #[test]
    fn a_link_stays_and_what_it_leads_to_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::create_dir(path("there")).unwrap();
        std::fs::write(path("there/old"), "old").unwrap();
        for (link, target) in [("to-old", "there/old"), ("to-new", "there/new"), ("to-link", "to-new")] {
            symlink(target, path(link)).unwrap();
        }
        let parts = vec![(Some(path("to-old")), b"1".to_vec()), (Some(path("to-link")), b"2".to_vec())];
        put_all(parts).unwrap();
        for link in ["to-old", "to-new", "to-link"] {
            assert!(std::fs::symlink_metadata(path(link)).unwrap().is_symlink(), "{link}");
        }
        assert_eq!(std::fs::read_to_string(path("there/old")).unwrap(), "1");
        assert_eq!(std::fs::read_to_string(path("there/new")).unwrap(), "2");
        assert_eq!(std::fs::read_dir(path("there")).unwrap().count(), 2);
    }

    #[test]
    fn a_pipe_is_written_into() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        rustix::fs::mknodat(CWD, path("pipe").as_path(), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        symlink("pipe", path("link")).unwrap();
        let mut pipe = File::options().read(true).write(true).open(path("pipe")).unwrap();
        put_all(vec![(Some(path("link")), b"text".to_vec()), (Some(path("file")), b"text".to_vec())]).unwrap();
        assert!(std::fs::symlink_metadata(path("pipe")).unwrap().file_type().is_fifo());
        assert!(std::fs::symlink_metadata(path("link")).unwrap().is_symlink());
        let mut text = [0; 4];
        pipe.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"text");
    }

    #[test]
    fn standard_output_is_known_by_any_name() {
        let directory = tempfile::tempdir().unwrap();
        symlink("/proc/self/fd/1", directory.path().join("link")).unwrap();
        assert!(is_stdout(&directory.path().join("link")));
        assert!(!is_stdout(directory.path()) && !is_stdout(&directory.path().join("none")));
    }
}
