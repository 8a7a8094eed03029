//! The kernel side of signal-trace: an object of `tp_btf` programs, which the daemon carries and loads.
//!
//! Built for any other target, which `cargo check` of the workspace does, it is a program that does nothing.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod emit;
#[cfg(target_arch = "bpf")]
mod programs;
#[cfg(target_arch = "bpf")]
mod task;

#[cfg(not(target_arch = "bpf"))]
fn main() {}
