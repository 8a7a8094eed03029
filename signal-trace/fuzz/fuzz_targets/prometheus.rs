//! Any bytes at all, read as what a Prometheus answers; the first two are the status.
#![no_main]

use libfuzzer_sys::fuzz_target;
use signal_trace::audit::source::prometheus::fuzzing::read;

fuzz_target!(|input: &[u8]| {
    let Some((status, body)) = input.split_first_chunk() else { return };
    if let Err(error) = read(u16::from_be_bytes(*status), body) {
        assert!(error.len() < 4096, "{}", error.len());
    }
});
