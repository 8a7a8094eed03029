//! Any bytes at all, read as the kernel's BTF: nothing may panic, hang or grow, and what is said must fit a log line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use signal_trace::kernel::btf;

fuzz_target!(|input: &[u8]| {
    let offsets = btf::resolve(input);
    if let Err(error) = &offsets {
        assert!(error.to_string().len() < 600, "{error}");
    }
    assert_eq!(offsets, btf::resolve(input), "the same bytes say the same");
});
