//! Containers of our own on a real kernel: the maker, the program that is put into them, and the demo's entrypoints.
//!
//! Needs root and a cgroup v2 hierarchy, and says so by failing.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod app;
mod container;
mod demo_cases;
mod support;
