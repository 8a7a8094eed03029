//! Reads a recording, line by line, and says which line is wrong and why.

use std::io::{self, BufRead, Read as _};

use thiserror::Error;

use super::{Header, Line, SCHEMA};
use crate::event::KernelTime;
use crate::judge::Input;

/// Bytes of one line: the processes of a container whose table is full fit several times.
const LONGEST_LINE: u64 = 32 << 20;

/// Why a recording cannot be read, or not further.
#[derive(Debug, Error)]
pub enum RecordingError {
    /// Nothing is in it.
    #[error("it is empty: a recording begins with a line that names {SCHEMA}")]
    Empty,
    /// The first line is something else.
    #[error("line 1 is not the first line of a recording")]
    NoHeader(#[source] serde_json::Error),
    /// Another version of the format, or another format.
    #[error("line 1 names `{schema}` and this reads {SCHEMA}: replay it with signal-trace {version}, which wrote it")]
    OtherSchema {
        /// What it names.
        schema: String,
        /// Who wrote it.
        version: String,
    },
    /// The file cannot be read.
    #[error("line {line} cannot be read")]
    Io {
        /// Which.
        line: usize,
        /// Why not.
        source: io::Error,
    },
    /// Not an input.
    #[error("line {line} is no input of the judge")]
    Line {
        /// Which.
        line: usize,
        /// Why not.
        source: serde_json::Error,
    },
    /// The last line has no end, and is not whole.
    #[error("line {line} is cut short: the recording broke off there, and what came before it was replayed")]
    CutShort {
        /// Which.
        line: usize,
    },
    /// Longer than any line that is written.
    #[error("line {line} is longer than {LONGEST_LINE} bytes: no recording has such a line")]
    TooLong {
        /// Which.
        line: usize,
    },
}

/// What of the first line holds in every version.
#[derive(serde::Deserialize)]
struct AnyHeader {
    schema: String,
    #[serde(default)]
    version: String,
}

/// A recording being read: its inputs, each with the instant at which the judge got it, up to the first error.
pub struct Recording<R> {
    reader: R,
    header: Header,
    line: usize,
    buffer: Vec<u8>,
    failed: bool,
}

impl<R: BufRead> Recording<R> {
    /// Reads the header.
    ///
    /// # Errors
    ///
    /// There is none, or one of another version.
    pub fn open(mut reader: R) -> Result<Self, RecordingError> {
        let mut buffer = Vec::new();
        if !read_line(&mut reader, &mut buffer, 1)? {
            return Err(RecordingError::Empty);
        }
        let AnyHeader { schema, version } = serde_json::from_slice(&buffer).map_err(RecordingError::NoHeader)?;
        if schema != SCHEMA {
            return Err(RecordingError::OtherSchema { schema, version });
        }
        let header = serde_json::from_slice(&buffer).map_err(RecordingError::NoHeader)?;
        Ok(Self { reader, header, line: 1, buffer, failed: false })
    }

    /// The first line.
    pub fn header(&self) -> &Header {
        &self.header
    }

    fn next_input(&mut self) -> Result<Option<(KernelTime, Input)>, RecordingError> {
        self.line += 1;
        let line = self.line;
        if !read_line(&mut self.reader, &mut self.buffer, line)? {
            return Ok(None);
        }
        match serde_json::from_slice(&self.buffer) {
            Ok(Line { now, input }) => Ok(Some((KernelTime(now), input))),
            Err(_) if !self.buffer.ends_with(b"\n") => Err(RecordingError::CutShort { line }),
            Err(source) => Err(RecordingError::Line { line, source }),
        }
    }
}

impl<R: BufRead> Iterator for Recording<R> {
    type Item = Result<(KernelTime, Input), RecordingError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.next_input().transpose();
        self.failed = next.as_ref().is_some_and(Result::is_err);
        next
    }
}

/// The next line with its end; false where there is none.
fn read_line(reader: &mut impl BufRead, buffer: &mut Vec<u8>, line: usize) -> Result<bool, RecordingError> {
    buffer.clear();
    let mut bounded = reader.take(LONGEST_LINE);
    let read = bounded.read_until(b'\n', buffer).map_err(|source| RecordingError::Io { line, source })?;
    if bounded.limit() == 0 && !buffer.ends_with(b"\n") {
        return Err(RecordingError::TooLong { line });
    }
    Ok(read > 0)
}
