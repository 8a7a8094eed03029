//! signal-trace: why containers do not shut down gracefully, read off the kernel.

pub mod cli;
pub mod containers;
mod disposition;
pub mod event;
pub mod instance;
pub mod judge;
pub mod kernel;
pub mod report;
pub mod sandbox;
