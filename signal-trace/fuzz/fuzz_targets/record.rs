//! Any bytes at all, read as a record of a ring, and whatever becomes an event told to a judge that knows its container.
#![no_main]

use libfuzzer_sys::fuzz_target;
use signal_trace::event::{Event, EventKind};
use signal_trace::judge::{Input, Judge};
use signal_trace::kernel::decode::decode;

// Records lie one behind the other, each behind its length.
fuzz_target!(|input: &[u8]| {
    let (mut judge, mut out, mut rest) = (Judge::default(), Vec::new(), input);
    while let Some((length, after)) = rest.split_first() {
        let (record, after) = after.split_at(usize::from(*length).min(after.len()));
        rest = after;
        match decode(record) {
            // The daemon looks such a one up on disk.
            Ok(Event { kind: EventKind::CgroupMade { .. }, .. }) => {}
            Ok(event) => {
                let now = event.time;
                judge.handle(Input::Event(event), now, &mut out);
                out.clear();
            }
            Err(error) => assert!(error.to_string().len() < 200, "{error}"),
        }
    }
});
