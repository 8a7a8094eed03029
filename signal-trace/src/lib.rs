//! signal-trace: why containers do not shut down gracefully, read off the kernel.

pub mod agent;
pub mod audit;
pub mod cli;
pub mod confine;
pub mod containers;
pub mod daemon;
mod disposition;
pub mod doctor;
pub mod engine;
pub mod event;
pub mod instance;
pub mod judge;
pub mod kernel;
pub mod kube;
mod memory;
mod pattern;
pub mod policy;
pub mod recording;
pub mod report;
pub mod sandbox;
mod suggest;
pub mod yaml;
