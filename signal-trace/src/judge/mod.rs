//! The judge: from what the kernel said to one verdict for each shutdown.
//!
//! Pure. It has no clock (time comes in as an argument), does no I/O, is not async and cannot fail: whatever comes in,
//! in whatever order, it returns values. It knows containers by their cgroup ids and nothing of Kubernetes' API, of
//! the kernel programs, or of how a verdict is shown.

pub mod shutdown;
