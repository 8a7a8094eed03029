//! Who has seen what: the order of series' births and of scrapes, and nothing else.
//!
//! A counter that appears with its first increment already in it shows that increment to nobody: `increase()` takes the
//! first sample of a series as its start. So a new series shows 0 until its scrapers have read that 0, and this is
//! where it is known whether they have. There is no clock here: every moment comes in as an argument.
//!
//! What is promised. A series opens when a scrape that began after its birth was handed over whole, and every other
//! scraper that is still expected has taken such a scrape too. Scrapers are told apart by their address. Not promised:
//! two scrapers behind one address count as one; a scraper's very first scrape may come after a series opened; a page
//! that was handed over and then thrown away by the scraper counts as seen.

use std::net::IpAddr;
use std::time::Duration;

use crate::event::KernelTime;

/// Scrapers that are remembered: two replicas, an old pair during a migration, and a few people with curl.
const MAX_SCRAPERS: usize = 8;
/// Prometheus' own default, for a scraper of whom one scrape is all that is known.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(60);
/// Longest interval that is believed: beyond it, Prometheus itself calls a series stale.
const MAX_INTERVAL: Duration = Duration::from_secs(5 * 60);
/// A scraper is expected for this many of its intervals: one failed scrape, and some jitter.
const EXPECTED_INTERVALS: u32 = 3;

/// A point in the one order of births, changes and scrapes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn(u64);

/// A scrape under way: given back when its page has been handed over whole, and dropped when it has not.
#[derive(Debug)]
pub struct Ticket {
    scraper: IpAddr,
    turn: Turn,
    began: KernelTime,
}

/// The order, and the scrapers.
#[derive(Debug, Default)]
pub(super) struct Gate {
    last: Turn,
    newest_whole: Turn,
    scrapers: Vec<Scraper>,
}

/// One address, and its last scrape that was handed over whole.
#[derive(Debug)]
struct Scraper {
    address: IpAddr,
    turn: Turn,
    began: KernelTime,
    interval: Duration,
}

impl Gate {
    /// The next point in the order: of a birth, or of a change that is to be seen.
    pub(super) fn next(&mut self) -> Turn {
        self.last.0 += 1;
        self.last
    }

    /// A scrape begins: what was born before is on its page.
    pub(super) fn begin(&mut self, scraper: IpAddr, now: KernelTime) -> Ticket {
        Ticket { scraper, turn: self.next(), began: now }
    }

    /// Its page has been handed over whole.
    pub(super) fn complete(&mut self, ticket: &Ticket) {
        self.newest_whole = self.newest_whole.max(ticket.turn);
        let Some(known) = self.scrapers.iter_mut().find(|scraper| scraper.address == ticket.scraper) else {
            self.meet(ticket);
            return;
        };
        if known.turn < ticket.turn {
            known.interval = ticket.began.since(known.began).min(MAX_INTERVAL);
            known.turn = ticket.turn;
            known.began = ticket.began;
        }
    }

    /// Whether everybody who matters has read what was there at `turn`.
    pub(super) fn has_seen(&self, turn: Turn, now: KernelTime) -> bool {
        self.newest_whole > turn && self.scrapers.iter().all(|scraper| scraper.turn > turn || !scraper.is_expected(now))
    }

    fn meet(&mut self, ticket: &Ticket) {
        if self.scrapers.len() >= MAX_SCRAPERS {
            let quietest = self.scrapers.iter().enumerate().min_by_key(|(_, scraper)| scraper.began);
            if let Some((index, _)) = quietest {
                self.scrapers.swap_remove(index);
            }
        }
        let Ticket { scraper: address, turn, began } = *ticket;
        self.scrapers.push(Scraper { address, turn, began, interval: DEFAULT_INTERVAL });
    }
}

impl Scraper {
    fn is_expected(&self, now: KernelTime) -> bool {
        now.since(self.began) <= self.interval * EXPECTED_INTERVALS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    #[test]
    fn nothing_is_seen_before_a_whole_scrape() {
        let mut gate = Gate::default();
        let birth = gate.next();
        assert!(!gate.has_seen(birth, at(0)));
        let ticket = gate.begin(A, at(1));
        assert!(!gate.has_seen(birth, at(1)), "begun is not handed over");
        gate.complete(&ticket);
        assert!(gate.has_seen(birth, at(1)));
    }

    #[test]
    fn a_scrape_that_began_before_the_birth_has_not_seen_it() {
        let mut gate = Gate::default();
        let ticket = gate.begin(A, at(1));
        let birth = gate.next();
        gate.complete(&ticket);
        assert!(!gate.has_seen(birth, at(1)));
    }

    #[test]
    fn every_expected_scraper_is_waited_for() {
        let mut gate = Gate::default();
        scrape(&mut gate, A, 0);
        scrape(&mut gate, B, 5);
        scrape(&mut gate, A, 15);
        scrape(&mut gate, B, 20);
        let birth = gate.next();
        scrape(&mut gate, A, 30);
        assert!(!gate.has_seen(birth, at(34)), "b is due at 35");
        scrape(&mut gate, B, 35);
        assert!(gate.has_seen(birth, at(35)));
    }

    #[test]
    fn a_scraper_that_stays_away_is_given_up() {
        let mut gate = Gate::default();
        scrape(&mut gate, B, 0);
        scrape(&mut gate, B, 15);
        let birth = gate.next();
        scrape(&mut gate, A, 16);
        assert!(!gate.has_seen(birth, at(15 + 45)));
        assert!(gate.has_seen(birth, at(15 + 46)));
    }

    #[test]
    fn an_older_scrape_that_ends_later_changes_nothing() {
        let mut gate = Gate::default();
        let slow = gate.begin(A, at(1));
        let birth = gate.next();
        scrape(&mut gate, A, 2);
        gate.complete(&slow);
        assert!(gate.has_seen(birth, at(2)));
    }

    #[test]
    fn strangers_do_not_pile_up() {
        let mut gate = Gate::default();
        for n in 0..100 {
            scrape(&mut gate, IpAddr::from([10, 0, 1, n]), u64::from(n));
        }
        assert_eq!(gate.scrapers.len(), MAX_SCRAPERS);
        assert!(gate.scrapers.iter().any(|scraper| scraper.address == IpAddr::from([10, 0, 1, 99])));
    }

    fn scrape(gate: &mut Gate, address: IpAddr, seconds: u64) {
        let ticket = gate.begin(address, at(seconds));
        gate.complete(&ticket);
    }

    fn at(seconds: u64) -> KernelTime {
        KernelTime(seconds * 1_000_000_000)
    }
}
