//! Where an audit's numbers come from: files of records, or Prometheus servers that scraped the agents.
//!
//! The only part of the audit that reads anything. Each source fills the same [`super::tally::Tallies`].

pub mod compressed;
pub mod prometheus;
pub mod records;

use jiff::Timestamp;

/// The time that an audit is about; without an end all there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// From then on.
    pub from: Option<Timestamp>,
    /// Until then, which is no part of it.
    pub to: Option<Timestamp>,
}

/// Where a time lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Within {
    /// In the period.
    Period,
    /// In the one of the same length before it.
    Before,
    /// In neither.
    Neither,
}

impl Window {
    /// Where that time lies.
    pub fn place(self, time: Timestamp) -> Within {
        if self.to.is_some_and(|to| time >= to) {
            return Within::Neither;
        }
        let Some(from) = self.from else { return Within::Period };
        if time >= from {
            return Within::Period;
        }
        let length = self.to.map(|to| to.duration_since(from));
        match length.and_then(|length| from.checked_sub(length).ok()) {
            Some(begin) if time >= begin => Within::Before,
            Some(_) | None => Within::Neither,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_period_before_is_as_long_and_ends_where_it_begins() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let window = Window { from: Some(at(100)), to: Some(at(110)) };
        let places = [(89, Within::Neither), (90, Within::Before), (99, Within::Before), (100, Within::Period)];
        for (second, place) in places.into_iter().chain([(109, Within::Period), (110, Within::Neither)]) {
            assert_eq!(window.place(at(second)), place, "{second}");
        }
        assert_eq!(Window::default().place(at(0)), Within::Period);
        assert_eq!(Window { from: Some(at(5)), to: None }.place(at(4)), Within::Neither);
    }
}
