//! Any bytes at all, read as a recording, and judged again: the whole core, with time that goes as it likes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use signal_trace::judge::{Judge, Output};
use signal_trace::recording::Recording;
use signal_trace::report::json::Record;
use signal_trace::report::style::{Charset, Colors, Style};
use signal_trace::report::text::write_block;

fuzz_target!(|input: &[u8]| {
    let Ok(recording) = Recording::open(input) else { return };
    let clock = recording.header().clock();
    let (mut judge, mut out) = (Judge::default(), Vec::new());
    for line in recording {
        let Ok((now, input)) = line else { return };
        judge.handle(input, now, &mut out);
        for shutdown in out.drain(..).filter_map(Output::into_shutdown) {
            let record = serde_json::to_string(&Record::new(&shutdown, "node", clock)).expect("a record is JSON");
            assert!(!record.contains('\n'));
            let mut text = String::new();
            let style = Style::new(80, Charset::Unicode, Colors::Plain);
            write_block(&mut text, &shutdown, clock, &style).expect("text is written");
            assert!(!text.contains('\u{1b}'), "{text:?}");
        }
    }
});
