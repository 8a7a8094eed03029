//! The last records, as they were written: what `/shutdowns` answers. Lines are opaque here.
//!
//! Records say much the same again and again, and hardly anybody asks for them: all but the newest are kept deflated,
//! in a tenth of the space.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;

/// Records that are kept.
const MAX_LINES: usize = 1000;
/// Bytes of them that are kept; one line that is longer than that is not.
const MAX_BYTES: usize = 4 << 20;
/// Text that is deflated together: less than a millisecond's work.
const BLOCK_BYTES: usize = 32 << 10;

/// The last records, shared; the oldest make room for new ones.
#[derive(Clone, Debug, Default)]
pub struct Recent(Arc<Mutex<Ring>>);

#[derive(Debug, Default)]
struct Ring {
    blocks: VecDeque<Block>,
    /// Whole lines, each with its end, that make no block yet.
    newest: String,
}

/// Whole lines, deflated.
#[derive(Clone, Debug)]
struct Block {
    deflated: Arc<[u8]>,
    lines: usize,
    bytes: usize,
}

impl Recent {
    /// Keeps one record: a line of JSON, without its end.
    pub fn push(&self, line: &str) {
        if line.len() > MAX_BYTES {
            return;
        }
        let mut ring = self.lock();
        ring.newest.extend([line, "\n"]);
        if ring.newest.len() >= BLOCK_BYTES {
            ring.pack();
        }
    }

    /// All of them, the oldest first, each with its end.
    pub(super) fn text(&self) -> String {
        // The lock is held for the pointers and the newest alone.
        let (blocks, newest) = {
            let ring = self.lock();
            (ring.blocks.clone(), ring.newest.clone())
        };
        let mut text = String::with_capacity(blocks.iter().map(|block| block.bytes).sum::<usize>() + newest.len());
        for block in &blocks {
            let read = DeflateDecoder::new(&*block.deflated).read_to_string(&mut text);
            debug_assert!(read.is_ok(), "what was deflated here can be read: {read:?}");
        }
        text.push_str(&newest);
        // Blocks go as a whole, and not before all of their lines are too many.
        let (mut kept, mut bytes) = (0, 0);
        for line in text.split_inclusive('\n').rev().take(MAX_LINES) {
            if bytes + line.len() - 1 > MAX_BYTES {
                break;
            }
            bytes += line.len() - 1;
            kept += line.len();
        }
        text.split_off(text.len() - kept)
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    /// Deflates the newest lines, and lets go of the oldest blocks.
    fn pack(&mut self) {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
        // Writing to memory does not fail.
        let deflated = encoder.write_all(self.newest.as_bytes()).and_then(|()| encoder.finish());
        let (lines, bytes) = (self.newest.lines().count(), self.newest.len());
        self.newest = String::new();
        self.blocks.extend(deflated.ok().map(|deflated| Block { deflated: deflated.into(), lines, bytes }));
        let (mut lines, mut bytes) = (0, 0);
        let kept = self.blocks.iter().rev().take_while(|block| {
            let wanted = lines < MAX_LINES && bytes < MAX_BYTES;
            lines += block.lines;
            bytes += block.bytes;
            wanted
        });
        let surplus = self.blocks.len() - kept.count();
        self.blocks.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_first() {
        let recent = Recent::default();
        assert_eq!(recent.text(), "");
        for n in 0..MAX_LINES + 2 {
            recent.push(&n.to_string());
        }
        let text = recent.text();
        assert!(text.starts_with("2\n3\n") && text.ends_with("\n1001\n"), "{text}");
        assert_eq!(text.lines().count(), MAX_LINES);
    }

    #[test]
    fn long_lines_push_out_more_and_one_too_long_is_not_kept() {
        let recent = Recent::default();
        let line = "x".repeat(MAX_BYTES / 2);
        for _ in 0..3 {
            recent.push(&line);
        }
        assert_eq!(recent.text().lines().count(), 2);
        recent.push(&"x".repeat(MAX_BYTES + 1));
        assert_eq!(recent.text().lines().count(), 2);
        recent.push("short");
        assert_eq!(recent.text(), line + "\nshort\n");
    }

    #[test]
    fn what_is_kept_takes_a_tenth_of_its_text_and_does_not_grow() {
        let recent = Recent::default();
        let held = || {
            let ring = recent.lock();
            ring.newest.len() + ring.blocks.iter().map(|block| block.deflated.len()).sum::<usize>()
        };
        let record = |n: usize| format!(r#"{{"pod":"cart-{n}","outcome":"graceful","{}":{n}}}"#, "field".repeat(500));
        for n in 0..MAX_LINES {
            recent.push(&record(n));
        }
        assert!(held() < recent.text().len() / 10, "{} of {}", held(), recent.text().len());
        let full = held();
        for n in MAX_LINES..5 * MAX_LINES {
            recent.push(&record(n));
        }
        assert!(held() < full + 2 * BLOCK_BYTES, "{} after {full}", held());
        assert_eq!(recent.text().lines().next(), Some(&*record(4 * MAX_LINES)));
    }
}
