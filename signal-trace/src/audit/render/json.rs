//! The published shape, for people and programs alike: indented, one value a line.

use super::Error;
use crate::audit::report::Report;

pub(super) fn render(report: &Report) -> Result<Vec<u8>, Error> {
    super::visible_json(report)
}
