//! Empty programs on the busiest hooks: what the kernel takes for running any program there at all.
//!
//! `cargo xtask bench filtered` holds the real programs against these. The daemon never loads them.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod empty;

#[cfg(not(target_arch = "bpf"))]
fn main() {}
