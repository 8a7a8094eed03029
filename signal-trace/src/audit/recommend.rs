//! What could be better, with numbers: a grace that is too long or too short, and downtime that nobody needs.
//!
//! From one container's counts. Few shutdowns prove nothing about the next one: below a number of them nothing is said.

use std::time::Duration;

use super::report::{About, Recommendation};
use super::tally::Tally;
use crate::judge::shutdown::{Cause, Outcome};

/// Shutdowns that a recommendation about the grace needs.
const ENOUGH: u64 = 20;
/// A grace this many times as long as almost every shutdown takes could be shorter.
const ROOMY: f64 = 4.0;
/// A grace this much of which is used up by one shutdown in a hundred is short.
const TIGHT: f64 = 0.9;
/// What people write.
const USUAL: [f64; 11] = [1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 120.0, 300.0];
/// Below this nobody notices.
const DOWNTIME: Duration = Duration::from_mins(1);

/// For one container of a workload of that kind.
pub(super) fn recommend(kind: &str, container: &str, tally: &Tally) -> Vec<Recommendation> {
    let of =
        |about, text, grace_seconds| Recommendation { container: container.to_owned(), about, text, grace_seconds };
    let mut found = Vec::new();
    if let Some((about, text, grace)) = about_grace(tally) {
        found.push(of(about, text, grace));
    }
    if let Some(text) = about_downtime(kind, tally) {
        found.push(of(About::Downtime, text, None));
    }
    found
}

fn about_grace(tally: &Tally) -> Option<(About, String, Option<f64>)> {
    let durations = &tally.durations;
    let grace = tally.grace?.as_secs_f64();
    if durations.count() < ENOUGH || grace <= 0.0 {
        return None;
    }
    let (p99, bound) = (durations.quantile(0.99, tally.grace)?, durations.bound(0.99));
    let exceeded = ended(tally, Outcome::GraceExceeded);
    if exceeded == 0 && p99 * ROOMY <= grace {
        let wanted = USUAL.into_iter().find(|usual| *usual >= bound.unwrap_or(p99) * 2.0)?;
        if wanted < grace {
            let text = format!("grace {}, p99 {}: {} would do", span(grace), span(p99), span(wanted));
            return Some((About::GraceTooLong, text, Some(wanted)));
        }
    }
    if p99 >= grace * TIGHT && exceeded < tally.shutdowns() && !waits_in_vain(tally) {
        let text = format!("p99 {} of {}: raise the grace or shorten the drain", span(p99.min(grace)), span(grace));
        return Some((About::GraceTooShort, text, None));
    }
    None
}

/// Some take no notice however long they are waited for: more time is no remedy.
fn waits_in_vain(tally: &Tally) -> bool {
    let in_vain = |cause| matches!(cause, Cause::Ignored | Cause::NotForwarded | Cause::ChildIgnored);
    let mut exceeded = tally.verdicts.iter().filter(|(verdict, _)| verdict.outcome == Outcome::GraceExceeded);
    exceeded.any(|(verdict, count)| in_vain(verdict.cause) && count.shutdowns > 0)
}

/// The next pod of these begins when the last one is gone: every second of waiting is one without service.
fn about_downtime(kind: &str, tally: &Tally) -> Option<String> {
    if kind != "statefulset" || tally.avoidable < DOWNTIME {
        return None;
    }
    let times = ended(tally, Outcome::GraceExceeded);
    let minutes = tally.avoidable.as_secs_f64() / 60.0;
    Some(format!(
        "{minutes:.0} min of downtime in {times} replacements were avoidable: a successor waits for each of them"
    ))
}

fn ended(tally: &Tally, outcome: Outcome) -> u64 {
    tally.verdicts.iter().filter(|(verdict, _)| verdict.outcome == outcome).map(|(_, count)| count.shutdowns).sum()
}

fn span(seconds: f64) -> String {
    if (seconds - seconds.round()).abs() < 0.05 { format!("{seconds:.0} s") } else { format!("{seconds:.1} s") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::shutdown::Verdict;

    fn tally(grace: u64, outcome: Outcome, each: f64, times: u64) -> Tally {
        let mut tally = Tally { grace: Some(Duration::from_secs(grace)), ..Tally::default() };
        for _ in 0..times {
            tally.count(Verdict { outcome, cause: Cause::None }, false);
            tally.durations.add(Duration::from_secs_f64(each));
        }
        tally
    }

    fn texts(kind: &str, tally: &Tally) -> Vec<String> {
        recommend(kind, "app", tally).into_iter().map(|found| found.text).collect()
    }

    #[test]
    fn a_roomy_grace_could_be_shorter() {
        let quick = tally(30, Outcome::Graceful, 2.0, 40);
        assert_eq!(texts("deployment", &quick), ["grace 30 s, p99 2.5 s: 5 s would do"]);
        assert_eq!(recommend("deployment", "app", &quick)[0].grace_seconds, Some(5.0));
        assert!(texts("deployment", &tally(30, Outcome::Graceful, 2.0, 19)).is_empty());
        assert!(texts("deployment", &tally(5, Outcome::Graceful, 2.0, 40)).is_empty());
        let mut killed_once = quick;
        killed_once.count(Verdict { outcome: Outcome::GraceExceeded, cause: Cause::Stuck }, false);
        assert!(texts("deployment", &killed_once).is_empty());
    }

    #[test]
    fn a_tight_grace_is_to_be_raised() {
        assert_eq!(
            texts("deployment", &tally(30, Outcome::Graceful, 29.0, 40)),
            ["p99 29.9 s of 30 s: raise the grace or shorten the drain"]
        );
        // Where every one is killed more time is no remedy.
        assert!(texts("deployment", &tally(30, Outcome::GraceExceeded, 30.01, 40)).is_empty());
        let mut deaf = tally(30, Outcome::Graceful, 29.0, 40);
        deaf.count(Verdict { outcome: Outcome::GraceExceeded, cause: Cause::Ignored }, false);
        assert!(texts("deployment", &deaf).is_empty());
    }

    #[test]
    fn a_statefulset_waits_for_each_pod() {
        let mut slow = tally(30, Outcome::GraceExceeded, 30.01, 4);
        slow.avoidable = Duration::from_secs(120);
        assert_eq!(
            texts("statefulset", &slow),
            ["2 min of downtime in 4 replacements were avoidable: a successor waits for each of them"]
        );
        assert!(texts("deployment", &slow).is_empty());
    }
}
