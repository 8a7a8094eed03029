//! Any text, read as the path of a cgroup, by a follower of services and by one of named roots.
#![no_main]

use libfuzzer_sys::fuzz_target;
use signal_trace::containers::path::{Forms, Services};

fuzz_target!(|path: &str| {
    for services in [Services::Skip, Services::Follow] {
        for roots in [Vec::new(), vec!["/shop".to_owned(), "/".to_owned(), String::new()]] {
            let forms = Forms { services, roots };
            if let Some(identity) = forms.identify(path).container() {
                assert!(!identity.id.is_empty(), "{path:?}");
                assert!(identity.id.len() <= path.len(), "{path:?}");
            }
        }
    }
});
