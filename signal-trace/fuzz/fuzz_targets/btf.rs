//! Any bytes at all, read as the kernel's BTF: nothing may panic, hang or grow, and what is said must fit a log line.
//!
//! The reader is compiled in as source, so that it alone is instrumented, without the daemon's dependencies and programs.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../src/kernel"]
mod kernel {
    pub mod btf;
}

fuzz_target!(|input: &[u8]| {
    let offsets = kernel::btf::resolve(input);
    if let Err(error) = &offsets {
        assert!(error.to_string().len() < 600, "{error}");
    }
    assert_eq!(offsets, kernel::btf::resolve(input), "the same bytes say the same");
});
