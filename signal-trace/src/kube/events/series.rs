//! Repeats: the same container of the same pod, with the same reason, within a while.
//!
//! Pure: time is an argument. A repeat is no event of its own but a higher count in the one that is there; counts are
//! gathered and written every half minute, however many repeats there are.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use lru::LruCache;

use crate::kube::events::notice::Notice;

/// Events that may still be repeated.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(1024).expect("not zero");
/// A repeat after this is news again; the longest back-off between restarts is 5 minutes.
const WITHIN: Duration = Duration::from_secs(900);
/// How long repeats are gathered before they are written.
const GATHER: Duration = Duration::from_secs(30);

/// What makes two events one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pod_uid: Box<str>,
    container: Box<str>,
    reason: &'static str,
}

impl Key {
    fn of(notice: &Notice) -> Self {
        Self { pod_uid: notice.pod_uid.clone(), container: notice.container.clone(), reason: notice.reason }
    }
}

/// An update that is due.
#[must_use]
#[derive(Clone, Debug, PartialEq)]
pub struct Flush {
    /// Of which series.
    pub key: Key,
    /// The event's name.
    pub event: String,
    /// How often it happened in all.
    pub count: i32,
    /// When it last happened.
    pub last: Timestamp,
    /// That last time itself, if the event should be gone.
    pub notice: Box<Notice>,
}

#[derive(Debug)]
struct Entry {
    event: String,
    count: i32,
    seen: Instant,
    pending: Option<(Instant, Box<Notice>)>,
}

/// The series of one writer.
#[derive(Debug)]
pub struct Series(LruCache<Key, Entry>);

impl Default for Series {
    fn default() -> Self {
        Self(LruCache::sparse(REMEMBERED))
    }
}

impl Series {
    /// Takes a repeat in; gives back what is none and has to be written.
    pub fn repeated(&mut self, notice: Box<Notice>, now: Instant) -> Option<Box<Notice>> {
        let Some(entry) = self.0.get_mut(&Key::of(&notice)) else { return Some(notice) };
        if now.saturating_duration_since(entry.seen) > WITHIN && entry.pending.is_none() {
            return Some(notice);
        }
        entry.seen = now;
        entry.count = entry.count.saturating_add(1);
        let at = entry.pending.as_ref().map_or(now + GATHER, |(at, _)| *at);
        entry.pending = Some((at, notice));
        None
    }

    /// It was written under this name: from now on it can be repeated. Gives back what had to make room, if that has
    /// something to write.
    pub fn written(&mut self, notice: &Notice, event: String, now: Instant) -> Option<Flush> {
        let entry = Entry { event, count: 1, seen: now, pending: None };
        let key = Key::of(notice);
        let (evicted, mut entry) = self.0.push(key.clone(), entry).filter(|(evicted, _)| *evicted != key)?;
        entry.take(evicted)
    }

    /// The next update that is due. It counts as written: if it is not, the next one has its count too.
    pub fn due(&mut self, now: Instant) -> Option<Flush> {
        let is_due = |entry: &Entry| entry.pending.as_ref().is_some_and(|(at, _)| *at <= now);
        let (key, entry) = self.0.iter_mut().find(|(_, entry)| is_due(entry))?;
        entry.take(key.clone())
    }

    /// Leaves what is due for later: there is too much of it.
    pub fn postpone(&mut self, now: Instant) {
        for (_, entry) in &mut self.0 {
            if let Some((at, _)) = &mut entry.pending {
                *at = (*at).max(now + GATHER);
            }
        }
    }

    /// When an update is due.
    pub fn next_flush(&self) -> Option<Instant> {
        self.0.iter().filter_map(|(_, entry)| entry.pending.as_ref().map(|(at, _)| *at)).min()
    }

    /// Its event is gone.
    pub fn forget(&mut self, flush: &Flush) {
        self.0.pop(&flush.key);
    }

    /// All updates, due or not: there will be no later.
    pub fn drain(&mut self) -> Vec<Flush> {
        self.0.iter_mut().filter_map(|(key, entry)| entry.take(key.clone())).collect()
    }
}

impl Entry {
    fn take(&mut self, key: Key) -> Option<Flush> {
        let (_, notice) = self.pending.take()?;
        Some(Flush { key, event: self.event.clone(), count: self.count, last: notice.at, notice })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kube::events::notice::tests::notice;

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn the_first_is_written_and_the_rest_are_counted_twice_a_minute() {
        let (mut series, start) = (Series::default(), Instant::now());
        let first = series.repeated(notice("app", "StopSignalIgnored"), start).expect("the first is no repeat");
        assert_eq!(series.written(&first, "cart.1".into(), start), None);
        assert_eq!(series.next_flush(), None);
        for second in 1..=20 {
            assert_eq!(series.repeated(notice("app", "StopSignalIgnored"), at(start, second)), None);
        }
        assert_eq!(series.next_flush(), Some(at(start, 31)));
        assert_eq!(series.due(at(start, 30)), None);
        let flush = series.due(at(start, 31)).unwrap();
        assert_eq!((flush.event.as_str(), flush.count, flush.last), ("cart.1", 21, first.at));
        assert_eq!(series.due(at(start, 31)), None, "nothing new since");
    }

    #[test]
    fn another_container_or_reason_is_another_event() {
        let (mut series, start) = (Series::default(), Instant::now());
        assert_eq!(series.written(&notice("app", "StopSignalIgnored"), "1".into(), start), None);
        assert!(series.repeated(notice("proxy", "StopSignalIgnored"), start).is_some());
        assert!(series.repeated(notice("app", "NoSignalHandler"), start).is_some());
    }

    #[test]
    fn after_a_while_it_is_news_again() {
        let (mut series, start) = (Series::default(), Instant::now());
        assert_eq!(series.written(&notice("app", "StopSignalIgnored"), "1".into(), start), None);
        assert!(series.repeated(notice("app", "StopSignalIgnored"), at(start, 901)).is_some());
        assert_eq!(series.written(&notice("app", "StopSignalIgnored"), "2".into(), at(start, 901)), None);
        assert_eq!(series.repeated(notice("app", "StopSignalIgnored"), at(start, 1801)), None);
        assert_eq!(series.due(at(start, 1900)).unwrap().event, "2");
    }

    #[test]
    fn what_makes_room_is_written_first() {
        let (mut series, start) = (Series::default(), Instant::now());
        let name = |n: usize| format!("app-{n}");
        assert_eq!(series.written(&notice(&name(0), "NoSignalHandler"), "0".into(), start), None);
        assert_eq!(series.repeated(notice(&name(0), "NoSignalHandler"), start), None);
        let evicted: Vec<_> = (1..=REMEMBERED.get())
            .filter_map(|n| series.written(&notice(&name(n), "NoSignalHandler"), n.to_string(), start))
            .collect();
        assert_eq!(evicted.iter().map(|f| (f.event.as_str(), f.count)).collect::<Vec<_>>(), [("0", 2)]);
    }

    #[test]
    fn a_forgotten_event_is_written_anew() {
        let (mut series, start) = (Series::default(), Instant::now());
        assert_eq!(series.written(&notice("app", "NoSignalHandler"), "1".into(), start), None);
        assert_eq!(series.repeated(notice("app", "NoSignalHandler"), start), None);
        let flush = series.drain().pop().unwrap();
        series.forget(&flush);
        assert!(series.repeated(flush.notice, start).is_some());
    }

    proptest! {
        /// Whatever repeats when: every one is either written or in a count, none twice.
        #[test]
        fn nothing_is_lost_and_nothing_counted_twice(steps in prop::collection::vec((0u64..400, 0usize..4), 1..100)) {
            let (mut series, start) = (Series::default(), Instant::now());
            let (mut now, mut written, mut counts) = (start, 0, std::collections::HashMap::new());
            let total = steps.len();
            for (gap, container) in steps {
                now += Duration::from_secs(gap);
                while let Some(flush) = series.due(now) {
                    counts.insert(flush.event, flush.count);
                }
                if let Some(first) = series.repeated(notice(&format!("c{container}"), "ChildrenKilled"), now) {
                    written += 1;
                    counts.insert(written.to_string(), 1);
                    prop_assert_eq!(series.written(&first, written.to_string(), now), None);
                }
            }
            for flush in series.drain() {
                counts.insert(flush.event, flush.count);
            }
            prop_assert_eq!(counts.values().sum::<i32>(), i32::try_from(total).unwrap());
        }
    }
}
