//! The clock of this directory's tasks, and waiting by it.
//!
//! What they decide is pure and takes an instant; this is where it comes from. It is the runtime's, so that a test can
//! stop it.

use std::time::Instant;

/// This instant.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Waits until an instant; for ever where there is none.
pub(super) async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant.into()).await,
        None => std::future::pending().await,
    }
}
