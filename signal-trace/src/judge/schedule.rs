//! Which containers have a window, and how long nothing of theirs is due: what most records need to know of them.
//!
//! It does not know what a window is, nor what becomes of it.

use foldhash::HashSet;

use crate::event::{CgroupId, KernelTime};

#[derive(Debug)]
pub(super) struct Schedule {
    open: HashSet<CgroupId>,
    none_due_before: KernelTime,
}

impl Default for Schedule {
    fn default() -> Self {
        Self { open: HashSet::default(), none_due_before: NEVER }
    }
}

const NEVER: KernelTime = KernelTime(u64::MAX);

impl Schedule {
    /// Takes note of the deadline that a container has by now. Whether it had a window, and has none any more.
    pub(super) fn note(&mut self, id: CgroupId, deadline: Option<KernelTime>) -> bool {
        let Some(deadline) = deadline else { return self.open.remove(&id) };
        self.open.insert(id);
        self.none_due_before = self.none_due_before.min(deadline);
        false
    }

    /// The kernel opened a window for the container, whatever that turns out to be.
    pub(super) fn kernel_opened(&mut self, id: CgroupId) {
        self.open.insert(id);
    }

    /// The container is gone. Whether it had a window.
    pub(super) fn remove(&mut self, id: CgroupId) -> bool {
        self.open.remove(&id)
    }

    /// Whether something may be due at `now`.
    pub(super) fn may_be_due(&self, now: KernelTime) -> bool {
        now >= self.none_due_before
    }

    /// The earliest deadline there is, as it turned out; none where there is no window.
    pub(super) fn none_before(&mut self, earliest: Option<KernelTime>) {
        self.none_due_before = earliest.unwrap_or(NEVER);
    }

    /// Containers with a window, in no order.
    pub(super) fn open(&self) -> impl ExactSizeIterator<Item = CgroupId> {
        self.open.iter().copied()
    }
}
