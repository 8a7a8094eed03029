//! The last records, as they were written: what `/shutdowns` answers. Lines are opaque here.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Records that are kept.
const MAX_LINES: usize = 1000;
/// Bytes of them that are kept; one line that is longer than that is not.
const MAX_BYTES: usize = 4 << 20;

/// The last records, shared; the oldest make room for new ones.
#[derive(Clone, Debug, Default)]
pub struct Recent(Arc<Mutex<Ring>>);

#[derive(Debug, Default)]
struct Ring {
    lines: VecDeque<Arc<str>>,
    bytes: usize,
}

impl Recent {
    /// Keeps one record: a line of JSON, without its end.
    pub fn push(&self, line: &str) {
        let mut ring = self.lock();
        ring.bytes += line.len();
        ring.lines.push_back(Arc::from(line));
        while ring.lines.len() > MAX_LINES || ring.bytes > MAX_BYTES {
            let Some(oldest) = ring.lines.pop_front() else { break };
            ring.bytes -= oldest.len();
        }
    }

    /// All of them, the oldest first, each with its end.
    pub(super) fn text(&self) -> String {
        // The lock is held for the pointers alone.
        let lines: Vec<Arc<str>> = self.lock().lines.iter().cloned().collect();
        let mut text = String::with_capacity(lines.iter().map(|line| line.len() + 1).sum());
        for line in lines {
            text.extend([&line, "\n"]);
        }
        text
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
        assert_eq!(recent.text(), "");
        recent.push("short");
        assert_eq!(recent.text(), "short\n");
    }
}
