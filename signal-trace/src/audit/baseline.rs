//! What is new since an earlier audit: so that a fleet can begin with what it has and fail on what gets worse.

use std::collections::BTreeSet;

use super::report::{Finding, Level, Report, SCHEMA};

/// A report that cannot serve as a baseline.
#[derive(Debug, thiserror::Error)]
pub enum BaselineError {
    /// No report.
    #[error("it is no audit in JSON: write one with `--output json=FILE`")]
    Unreadable(#[from] serde_json::Error),
    /// Of another version.
    #[error("its schema is {found:?} and not {SCHEMA}: write it anew with this version")]
    OtherSchema {
        /// Its own.
        found: String,
    },
}

/// Reads a report back.
///
/// # Errors
///
/// Where it is none, or of another version.
pub fn parse(text: &str) -> Result<Report, BaselineError> {
    #[derive(serde::Deserialize)]
    struct Tag {
        schema: String,
    }
    let Tag { schema } = serde_json::from_str(text)?;
    if schema != SCHEMA {
        return Err(BaselineError::OtherSchema { found: schema });
    }
    Ok(serde_json::from_str(text)?)
}

/// Marks each finding as new or known. One that was a note and fails now is new, one whose waiver ran out too.
pub fn compare(report: &mut Report, baseline: &Report) {
    let weight = |finding: &Finding| if finding.waiver.is_some() { Level::Note } else { finding.level };
    let known: BTreeSet<(&str, Level)> = baseline.findings.iter().map(|f| (f.id.as_str(), weight(f))).collect();
    for finding in &mut report.findings {
        let weight = weight(finding);
        let is_known = [Level::Fail, Level::Warn, Level::Note]
            .into_iter()
            .any(|level| level <= weight && known.contains(&(finding.id.as_str(), level)));
        finding.is_new = Some(!is_known);
    }
}
