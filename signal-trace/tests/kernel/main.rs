//! The programs on this machine's kernel: real processes in real cgroups, and the exact records of them.
//!
//! Root is needed, and a v2 hierarchy. Nothing is skipped: what cannot be set up is a failure.
#![expect(clippy::unwrap_used, reason = "what cannot be set up is a failure")]

mod actor;
mod cgroup;
mod cgroups;
mod clone;
mod floods;
mod processes;
mod signals;
mod stage;
mod story;
