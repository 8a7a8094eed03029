//! Any bytes at all, read as a container's OCI bundle: what is kept of it is small.
#![no_main]

use libfuzzer_sys::fuzz_target;
use signal_trace::containers::bundles::Bundle;

fuzz_target!(|input: &[u8]| {
    let Ok(bundle) = Bundle::parse(input) else { return };
    let kept = [&bundle.container, &bundle.namespace, &bundle.pod, &bundle.pod_uid, &bundle.image];
    for text in kept.into_iter().flatten() {
        assert!(text.len() <= 512, "{text}");
    }
});
