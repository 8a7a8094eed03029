//! What the fuzzer reads answers with. Built for it alone: nothing that is shipped has this.

use super::answer::parse;

/// Reads an answer as the audit does, and every point of it; how many there are, or what is said of it.
///
/// # Errors
///
/// It is no answer.
pub fn read(status: u16, body: &[u8]) -> Result<usize, String> {
    let answer = parse(status, body).map_err(|error| error.to_string())?;
    Ok(answer.series.iter().map(|series| series.points().count() + usize::from(series.last().is_some())).sum())
}
