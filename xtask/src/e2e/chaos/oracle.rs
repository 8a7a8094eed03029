//! What is true of a container's end by three witnesses that share nothing with the product, and what a record of it may
//! say: how the workload is made, what its processes wrote themselves, and the second recorder. Pure.

use serde_json::Value;

use super::recorder::Facts;
use super::workload::{CHILD_TOLD, Kind};
use crate::e2e::check;

/// After a container's last process, what a record may take; who is killed sooner cannot be asked for it.
const LAST_WORDS: f64 = 3.0;
/// The same where its pod's names, or why it ended, may be told late: the agent waits 30 s for them.
const LATE_WORDS: f64 = 32.0;
/// A kill this soon after the stop ends no grace period.
const AT_ONCE: f64 = 0.5;
/// The longest grace of the plan and 30 s: of a container that an agent found, a kill this soon afterwards may have had its
/// stop before.
const FOUND_LATELY: f64 = 37.0;
/// When a deletion was asked for is known to the second, cut off.
const DELETION_TOLERANCE: f64 = 2.0;
/// How long after an outage the news of it still come late.
const AFTERMATH: f64 = 30.0;

/// One container that was ended.
#[derive(Debug)]
pub(super) struct Ended<'a> {
    pub(super) kind: Kind,
    pub(super) facts: Facts,
    /// When its end was asked for.
    pub(super) asked: f64,
    /// What its processes wrote.
    pub(super) wrote: &'a str,
}

/// When an agent was ready, and when it was killed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    pub(super) ready: f64,
    pub(super) end: f64,
}

/// While something was away that tells the agent names, or that it tells them to: the API server, the kubelet, the
/// runtime, the disk of its log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outage {
    pub(super) begin: f64,
    pub(super) end: f64,
}

/// All that was there to see, and what was not, at what time.
#[derive(Debug, Default)]
pub(super) struct History {
    pub(super) lives: Vec<Life>,
    pub(super) outages: Vec<Outage>,
    /// When an agent said that it had lost records.
    pub(super) losses: Vec<f64>,
}

impl History {
    /// An agent saw the whole of it, and had the time to say so.
    fn covers(&self, begin: f64, exit: f64, told_late: bool) -> bool {
        let words = if told_late || self.troubled(begin, exit) { LATE_WORDS } else { LAST_WORDS };
        self.lives.iter().any(|life| life.ready <= begin && exit + words <= life.end)
    }

    /// A record of it may be among those that were lost: this is how long the doubt of a loss lasts.
    fn in_doubt(&self, begin: f64, exit: f64) -> bool {
        self.losses.iter().any(|lost| (begin - FOUND_LATELY..exit + LAST_WORDS).contains(lost))
    }

    /// Names and graces may not have been known then.
    fn troubled(&self, begin: f64, exit: f64) -> bool {
        self.outages.iter().any(|away| away.begin < exit + LAST_WORDS && begin < away.end + AFTERMATH)
    }
}

/// What the oracle says of what was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    Right,
    /// `unknown`, or nothing, and no agent saw the whole of it, from when it was asked for: a stop that it sees may be the
    /// second one. Or one says that it lost records then.
    Unwatched,
    Wrong(String),
}

impl Ended<'_> {
    /// What may be said: outcome, and cause where that is certain.
    fn truth(&self) -> Vec<(&'static str, Option<&'static str>)> {
        let (outcome, cause) = self.kind.verdict();
        match (self.facts.stop, self.facts.kill) {
            // A kubelet that is started again kills what is left at once: that was no grace period.
            (Some(stop), Some(kill)) if kill - stop <= AT_ONCE => {
                let at_once = if self.kind == Kind::Hungry { vec![("oom_killed", None)] } else { Vec::new() };
                at_once.into_iter().chain([("forced", None)]).collect()
            }
            // Memory ran out while the grace did, or a runtime that was started again killed first.
            (Some(_), Some(_)) if self.kind == Kind::Hungry => vec![("oom_killed", None), ("grace_exceeded", None)],
            (Some(_), Some(_)) => vec![("grace_exceeded", (outcome == "grace_exceeded").then_some(cause))],
            (Some(_), None) => vec![(outcome, Some(cause))],
            (None, Some(_)) => vec![("forced", None)],
            (None, None) => Vec::new(),
        }
    }

    /// Holds the records of it against that.
    pub(super) fn judge(&self, records: &[&Value], history: &History) -> Finding {
        let Some(exit) = self.facts.exit else {
            return match records {
                [] => Finding::Unwatched,
                _ => Finding::Wrong("a verdict on one that the kernel saw no end of".into()),
            };
        };
        let begin = self.facts.stop.or(self.facts.kill).unwrap_or(exit);
        // Without a stop, why it was killed is told by its pod's last news, if ever.
        let watched = match self.facts.stop {
            Some(_) => history.covers(begin.min(self.asked - DELETION_TOLERANCE), exit, false),
            // Without a grace, no kill is too late for a stop that nobody saw.
            None => history.covers(begin - FOUND_LATELY, exit, true) && !history.troubled(begin, exit),
        };
        let watched = watched && !history.in_doubt(begin, exit);
        let truth = self.truth();
        let record = match records {
            [] if truth.is_empty() || !watched => return Finding::Unwatched,
            [] => return Finding::Wrong(format!("no verdict; it was {truth:?}")),
            [record] => record,
            more => return Finding::Wrong(format!("judged {} times", more.len())),
        };
        let (outcome, cause) = (&record["outcome"], &record["cause"]);
        if outcome == "unknown" {
            return if watched { Finding::Wrong(format!("unknown; it was {truth:?}")) } else { Finding::Unwatched };
        }
        let cause_fits = |of: Option<&str>| of.is_none_or(|of| cause == of) || (!watched && cause == "unknown");
        if !truth.iter().any(|(of, why)| outcome == of && cause_fits(*why)) {
            return Finding::Wrong(format!("{}; it was {truth:?}", check::verdict(record)));
        }
        if cause == "not_forwarded" && self.wrote.contains(CHILD_TOLD) {
            return Finding::Wrong("not_forwarded; the child wrote that it was told".into());
        }
        if self.facts.stop.is_some() && self.kind.writes().is_some_and(|line| !self.wrote.contains(line)) {
            return Finding::Wrong(
                "its handler did not write that it ran: the oracle's own mistake, or a lost write".into(),
            );
        }
        Finding::Right
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::workload::INIT_TOLD;
    use super::*;

    fn lived(ready: f64, end: f64) -> History {
        History { lives: vec![Life { ready, end }], ..History::default() }
    }

    fn always() -> History {
        lived(0.0, 1000.0)
    }

    fn ended(kind: Kind, stop: Option<f64>, kill: Option<f64>, wrote: &str) -> Ended<'_> {
        let exit = Some(14.0);
        Ended { kind, facts: Facts { stop, kill, exit, ..Facts::default() }, asked: 9.5, wrote }
    }

    fn record(outcome: &str, cause: &str) -> Value {
        json!({"outcome": outcome, "cause": cause})
    }

    #[test]
    fn a_right_verdict_is_right() {
        let wrapper = ended(Kind::Wrapper, Some(10.0), Some(14.0), "");
        assert_eq!(wrapper.judge(&[&record("grace_exceeded", "not_forwarded")], &always()), Finding::Right);
        let good = ended(Kind::Good, Some(10.0), None, INIT_TOLD);
        assert_eq!(good.judge(&[&record("graceful", "none")], &always()), Finding::Right);
        let killed_at_once = ended(Kind::Hungry, Some(10.0), Some(10.02), INIT_TOLD);
        assert_eq!(killed_at_once.judge(&[&record("forced", "none")], &always()), Finding::Right);
        let forced = ended(Kind::Good, None, Some(14.0), "");
        assert_eq!(forced.judge(&[&record("forced", "none")], &always()), Finding::Right);
    }

    #[test]
    fn what_the_witnesses_contradict_is_wrong() {
        let wrong = |ended: Ended<'_>, said: &Value| matches!(ended.judge(&[said], &always()), Finding::Wrong(_));
        let wrapper = |wrote| ended(Kind::Wrapper, Some(10.0), Some(14.0), wrote);
        assert!(wrong(wrapper(""), &record("graceful", "none")));
        assert!(wrong(wrapper(""), &record("grace_exceeded", "ignored")));
        assert!(wrong(wrapper(CHILD_TOLD), &record("grace_exceeded", "not_forwarded")));
        assert!(wrong(wrapper(""), &record("unknown", "unknown")));
        assert!(wrong(ended(Kind::Good, Some(10.0), Some(14.0), INIT_TOLD), &record("graceful", "none")));
        let twice = record("grace_exceeded", "not_forwarded");
        assert!(matches!(wrapper("").judge(&[&twice, &twice], &always()), Finding::Wrong(_)));
        assert!(matches!(wrapper("").judge(&[], &always()), Finding::Wrong(_)));
    }

    #[test]
    fn who_came_late_may_not_know_but_may_not_guess() {
        let came_late = lived(11.0, 1000.0);
        let wrapper = ended(Kind::Wrapper, Some(10.0), Some(14.0), "");
        assert_eq!(wrapper.judge(&[], &came_late), Finding::Unwatched);
        assert_eq!(wrapper.judge(&[&record("unknown", "unknown")], &came_late), Finding::Unwatched);
        assert_eq!(wrapper.judge(&[&record("grace_exceeded", "unknown")], &came_late), Finding::Right);
        assert!(matches!(wrapper.judge(&[&record("forced", "none")], &came_late), Finding::Wrong(_)));
    }

    #[test]
    fn who_came_after_it_was_asked_for_may_not_know() {
        let good = ended(Kind::Good, Some(10.0), None, INIT_TOLD);
        let unknown = record("unknown", "none");
        assert_eq!(good.judge(&[&unknown], &lived(9.8, 1000.0)), Finding::Unwatched);
        assert!(matches!(good.judge(&[&unknown], &lived(7.0, 1000.0)), Finding::Wrong(_)));
        assert_eq!(good.judge(&[&record("graceful", "none")], &lived(9.8, 1000.0)), Finding::Right);
    }

    #[test]
    fn who_says_that_it_lost_records_may_not_know() {
        let lost = |at| History { losses: vec![at], ..lived(-1000.0, 1000.0) };
        let wrapper = ended(Kind::Wrapper, Some(10.0), Some(14.0), "");
        assert_eq!(wrapper.judge(&[&record("unknown", "unknown")], &lost(12.0)), Finding::Unwatched);
        assert!(matches!(wrapper.judge(&[&record("unknown", "unknown")], &lost(-50.0)), Finding::Wrong(_)));
        assert!(matches!(wrapper.judge(&[&record("graceful", "none")], &lost(12.0)), Finding::Wrong(_)));
    }

    #[test]
    fn who_waits_for_names_may_be_killed_over_it() {
        let killed_soon = || lived(0.0, 20.0);
        let wrapper = ended(Kind::Wrapper, Some(10.0), Some(14.0), "");
        assert!(matches!(wrapper.judge(&[], &killed_soon()), Finding::Wrong(_)));
        let outage = Outage { begin: 1.0, end: 2.0 };
        let troubled = History { outages: vec![outage], ..killed_soon() };
        assert_eq!(wrapper.judge(&[], &troubled), Finding::Unwatched);
        let long_ago = Outage { begin: -60.0, end: -50.0 };
        let untroubled = History { outages: vec![long_ago], ..killed_soon() };
        assert!(matches!(wrapper.judge(&[], &untroubled), Finding::Wrong(_)));
        let forced = ended(Kind::Good, None, Some(14.0), "");
        assert_eq!(forced.judge(&[], &killed_soon()), Finding::Unwatched);
    }

    #[test]
    fn a_kill_may_have_had_a_stop_that_nobody_saw() {
        let forced = ended(Kind::Good, None, Some(14.0), "");
        assert_eq!(forced.judge(&[&record("unknown", "none")], &lived(-10.0, 1000.0)), Finding::Unwatched);
        assert!(matches!(forced.judge(&[&record("unknown", "none")], &lived(-40.0, 1000.0)), Finding::Wrong(_)));
        let outage = Outage { begin: 1.0, end: 2.0 };
        let troubled = History { outages: vec![outage], ..lived(-40.0, 1000.0) };
        assert_eq!(forced.judge(&[&record("unknown", "none")], &troubled), Finding::Unwatched);
        let at_once = ended(Kind::Wrapper, Some(13.9), Some(14.0), "");
        assert_eq!(at_once.judge(&[&record("forced", "none")], &always()), Finding::Right);
    }
}
