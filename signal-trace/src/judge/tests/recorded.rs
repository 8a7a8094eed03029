//! A timeline that is recorded and read back is the same timeline, to the last field of its shutdowns.

use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;

use jiff::Timestamp;

use super::TIMELINES;
use super::timeline::{parse, play};
use crate::event::KernelTime;
use crate::recording::{Header, Recorder, Recording};

#[derive(Clone, Default)]
struct Shared(Rc<RefCell<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn every_timeline_replays_to_its_own_shutdowns() {
    for (name, text) in TIMELINES {
        let inputs = parse(text.split_once("\n---\n").unwrap().0);
        let out = Shared::default();
        let header = Header::new("here".into(), KernelTime(1), Timestamp::UNIX_EPOCH);
        let mut recorder = Recorder::start(out.clone(), &header).unwrap();
        for (now, input) in &inputs {
            recorder.note(*now, input);
        }
        assert!(recorder.failure().is_none());
        let bytes = out.0.take();
        let read: Result<Vec<_>, _> = Recording::open(&*bytes).unwrap().collect();
        let read = read.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(format!("{read:?}"), format!("{inputs:?}"), "{name}");
        assert_eq!(play(&read), play(&inputs), "{name}");
    }
}
