//! One order out of two rings: by the kernel's time.
//!
//! A program takes the time, then fills and submits its record, and it may be preempted in between; so a record can
//! become readable after one that is younger, in the other ring or in its own. Records are held back until they are
//! [`SLACK`] old, and while a ring's oldest record is being written, as long as [`PATIENCE`]: after that, order gives
//! way, never a record. Pure: the rings are read elsewhere, and time comes in as an argument.

use std::time::Duration;

use crate::event::{Event, KernelTime};

/// How old a record must be before it is delivered: no program takes this long unless it is preempted.
pub(super) const SLACK: Duration = Duration::from_millis(2);

/// How long an unfinished record may hold up those that came after it.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// Records that are held back at most; beyond that the oldest go early.
pub(super) const CAPACITY: usize = 16_384;

/// How far one ring was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    /// Nothing is left in it.
    End,
    /// More is there, and it can be read at once: what was taken goes up to here.
    More(KernelTime),
    /// More is there, but its first record is still being written.
    Unfinished,
}

/// What is held back, and how far each ring is known.
#[derive(Debug, Default)]
pub(super) struct Merge {
    held: Vec<Event>,
    known: [KernelTime; 2],
    due: Option<KernelTime>,
}

impl Merge {
    /// Takes one event, of either ring.
    pub(super) fn push(&mut self, event: Event) {
        self.held.push(event);
    }

    /// Delivers, in order of time, what no unseen record can precede any more. `now` is from before the rings were read.
    pub(super) fn settle(&mut self, now: KernelTime, reached: [Reached; 2], out: &mut Vec<Event>) {
        for (known, reached) in self.known.iter_mut().zip(reached) {
            let seen = match reached {
                Reached::End => now,
                Reached::More(time) => time.min(now),
                Reached::Unfinished => before(now, PATIENCE),
            };
            *known = seen.max(*known);
        }
        let limit = before(self.known[0].min(self.known[1]), SLACK);
        self.held.sort_by_key(|event| event.time);
        let settled = self.held.partition_point(|event| event.time <= limit);
        let surplus = self.held.len().saturating_sub(CAPACITY);
        out.extend(self.held.drain(..settled.max(surplus)));
        self.due = self.due_after(now, reached);
    }

    /// When the rings are to be read again although nobody rings the bell.
    pub(super) fn next_due(&self) -> Option<KernelTime> {
        self.due
    }

    fn due_after(&self, now: KernelTime, reached: [Reached; 2]) -> Option<KernelTime> {
        if reached.iter().any(|r| matches!(r, Reached::More(_))) {
            return Some(now);
        }
        if reached.contains(&Reached::Unfinished) {
            return Some(now.after(SLACK));
        }
        self.held.first().map(|oldest| oldest.time.after(SLACK))
    }
}

fn before(time: KernelTime, duration: Duration) -> KernelTime {
    KernelTime(time.0.saturating_sub(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::{CgroupId, EventKind};

    const MS: u64 = 1_000_000;

    #[test]
    fn the_young_wait_for_the_others_to_show_up() {
        let mut merge = Merge::default();
        merge.push(event(10 * MS));
        assert!(settle(&mut merge, 11, [Reached::End; 2]).is_empty());
        assert_eq!(merge.next_due(), Some(KernelTime(12 * MS)));
        merge.push(event(9 * MS));
        assert_eq!(settle(&mut merge, 12, [Reached::End; 2]), [9, 10]);
        assert_eq!(merge.next_due(), None);
    }

    #[test]
    fn an_unfinished_record_holds_up_both_rings() {
        let mut merge = Merge::default();
        assert!(settle(&mut merge, 100, [Reached::End; 2]).is_empty());
        merge.push(event(97 * MS));
        merge.push(event(105 * MS));
        assert_eq!(settle(&mut merge, 110, [Reached::End, Reached::Unfinished]), [97]);
        assert_eq!(merge.next_due(), Some(KernelTime(112 * MS)));
        merge.push(event(101 * MS));
        assert_eq!(settle(&mut merge, 112, [Reached::End; 2]), [101, 105]);
    }

    #[test]
    fn patience_with_an_unfinished_record_ends() {
        let mut merge = Merge::default();
        assert!(settle(&mut merge, 100, [Reached::End; 2]).is_empty());
        merge.push(event(105 * MS));
        assert!(settle(&mut merge, 1_106, [Reached::Unfinished, Reached::End]).is_empty());
        assert_eq!(settle(&mut merge, 1_107, [Reached::Unfinished, Reached::End]), [105]);
    }

    #[test]
    fn a_ring_that_was_read_in_part_bounds_what_is_delivered_and_is_due_at_once() {
        let mut merge = Merge::default();
        merge.push(event(5 * MS));
        merge.push(event(40 * MS));
        merge.push(event(20 * MS));
        let reached = [Reached::End, Reached::More(KernelTime(20 * MS))];
        assert_eq!(settle(&mut merge, 50, reached), [5]);
        assert_eq!(merge.next_due(), Some(KernelTime(50 * MS)));
        merge.push(event(30 * MS));
        assert_eq!(settle(&mut merge, 50, [Reached::End; 2]), [20, 30, 40]);
    }

    #[test]
    fn more_than_it_may_hold_goes_early_and_oldest_first() {
        let mut merge = Merge::default();
        for index in (0..CAPACITY as u64 + 2).rev() {
            merge.push(event(1_000 * MS + index));
        }
        let mut out = Vec::new();
        merge.settle(KernelTime(1_000 * MS), [Reached::End; 2], &mut out);
        assert_eq!(out, [event(1_000 * MS), event(1_000 * MS + 1)]);
    }

    proptest! {
        #[test]
        fn every_event_comes_out_once_and_in_order(
            records in proptest::collection::vec((0..1_000u64, 0..MS * 19 / 10, any::<bool>()), 0..200),
        ) {
            let mut merge = Merge::default();
            let mut out = Vec::new();
            // Each becomes readable less than the slack after its time; a drain happens every millisecond.
            let mut waiting: Vec<(u64, u64)> = records.iter().map(|(at, delay, _)| (at * MS, at * MS + delay)).collect();
            for now in (0..1_010).map(|ms| ms * MS) {
                waiting.retain(|(time, readable)| {
                    let seen = *readable <= now;
                    if seen {
                        merge.push(event(*time));
                    }
                    !seen
                });
                merge.settle(KernelTime(now), [Reached::End; 2], &mut out);
            }
            let mut expected: Vec<Event> = records.iter().map(|(at, ..)| event(at * MS)).collect();
            expected.sort_by_key(|event| event.time);
            prop_assert_eq!(out, expected);
        }
    }

    fn event(time: u64) -> Event {
        Event { time: KernelTime(time), kind: EventKind::CgroupGone(CgroupId(time)) }
    }

    /// Settles at a time in milliseconds, and tells the times of what came out, in milliseconds.
    fn settle(merge: &mut Merge, now: u64, reached: [Reached; 2]) -> Vec<u64> {
        let mut out = Vec::new();
        merge.settle(KernelTime(now * MS), reached, &mut out);
        out.iter().map(|event| event.time.0 / MS).collect()
    }
}
