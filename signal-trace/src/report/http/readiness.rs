//! What the agent still waits for: `/readyz`.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What is lacking, shared. Ready is when nothing is.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<Mutex<BTreeSet<&'static str>>>);

impl Readiness {
    /// Not ready for these reasons, each a fragment that a person understands: `kernel programs are not attached`.
    pub fn lacking<const N: usize>(reasons: [&'static str; N]) -> Self {
        Self(Arc::new(Mutex::new(BTreeSet::from(reasons))))
    }

    /// One reason is no more.
    pub fn gained(&self, reason: &'static str) {
        self.lock().remove(reason);
    }

    /// One reason came, or came again.
    pub fn lost(&self, reason: &'static str) {
        self.lock().insert(reason);
    }

    /// The reasons that are left, in alphabetical order.
    pub fn reasons(&self) -> Vec<&'static str> {
        self.lock().iter().copied().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<&'static str>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_when_nothing_is_lacking() {
        let readiness = Readiness::lacking(["pods are not listed", "kernel programs are not attached"]);
        assert_eq!(readiness.reasons(), ["kernel programs are not attached", "pods are not listed"]);
        readiness.gained("kernel programs are not attached");
        readiness.gained("pods are not listed");
        readiness.gained("pods are not listed");
        assert_eq!(readiness.reasons(), [""; 0]);
        readiness.lost("pods are not listed");
        assert_eq!(readiness.reasons(), ["pods are not listed"]);
    }
}
