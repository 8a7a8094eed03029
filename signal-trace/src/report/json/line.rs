//! A record as one line of bytes, and back.
//!
//! The line holds no character that a terminal would obey: control and format characters are written as `\u` escapes,
//! so that `cat` and `tail` of a log are safe and no reader splits a line where none ends.

use std::io;

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};
use thiserror::Error;

use super::shape::Record;
use crate::report::escape::is_hidden;

/// Why a line is no record.
#[derive(Debug, Error)]
#[error("no shutdown record: {0}")]
pub struct ReadError(#[from] serde_json::Error);

/// A record, or another object that is one line of a file: the line and its end in one write, so that lines of several
/// writers do not mix.
///
/// # Errors
/// Those of the writer.
pub fn write_line(out: &mut impl io::Write, record: &impl Serialize) -> io::Result<()> {
    let mut line = Vec::with_capacity(2048);
    record.serialize(&mut Serializer::with_formatter(&mut line, Clean))?;
    line.push(b'\n');
    out.write_all(&line)
}

/// Reads one line back. Fields that a later release added are skipped.
///
/// # Errors
/// Where the line is no JSON, or not a record of this version.
pub fn read_line(line: &str) -> Result<Record, ReadError> {
    Ok(serde_json::from_str(line)?)
}

/// serde's own layout, with the escapes it leaves out.
struct Clean;

impl Formatter for Clean {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        let mut plain_from = 0;
        for (at, c) in fragment.char_indices().filter(|(_, c)| is_hidden(*c)) {
            CompactFormatter.write_string_fragment(out, &fragment[plain_from..at])?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}")?;
            }
            plain_from = at + c.len_utf8();
        }
        CompactFormatter.write_string_fragment(out, &fragment[plain_from..])
    }
}
