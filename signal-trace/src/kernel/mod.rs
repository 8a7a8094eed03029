//! The daemon's side of the kernel boundary: what has to be known of this kernel before the programs can run in it.
//!
//! [`btf`] tells where the members of the kernel's structs lie. Nothing here knows containers, verdicts or reports.

pub mod btf;
