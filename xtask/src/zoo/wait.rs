//! Waiting for a condition, looked at again and again, with a bound.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Bound of every wait: generous, because it is reached only where something is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// What `condition` gives, as soon as it does.
pub(crate) fn until<T>(what: &str, condition: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    within(PATIENCE, condition)?.with_context(|| format!("not within {PATIENCE:?}: {what}"))
}

/// The same, or none if it does not within `bound`.
pub(crate) fn within<T>(bound: Duration, mut condition: impl FnMut() -> Result<Option<T>>) -> Result<Option<T>> {
    let deadline = Instant::now() + bound;
    loop {
        let last = Instant::now() >= deadline;
        let value = condition()?;
        if value.is_some() || last {
            return Ok(value);
        }
        thread::sleep(LOOK);
    }
}
