//! What a run saw, at its end: shutdowns by outcome, and what was lost.
//!
//! A value that is counted up, and its rendering. Losses are part of it: a count that could be too low must say so.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::line::{Line, prose};
use super::style::{Paint, Style};
use super::words;
use crate::judge::shutdown::{Outcome, Shutdown};

/// Columns of the longest bar.
const BAR: u64 = 24;

/// Counts over one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// In the order of [`Outcome::ALL`].
    outcomes: [u64; Outcome::ALL.len()],
    avoidable_wait: Duration,
    lost: BTreeMap<&'static str, u64>,
}

impl Summary {
    /// One more shutdown.
    pub fn count(&mut self, shutdown: &Shutdown) {
        for (outcome, count) in Outcome::ALL.into_iter().zip(&mut self.outcomes) {
            *count += u64::from(outcome == shutdown.verdict.outcome);
        }
        self.avoidable_wait = self.avoidable_wait.saturating_add(shutdown.avoidable_wait.unwrap_or_default());
    }

    /// So many more kernel events that were lost, for a reason named as in `signal_trace_kernel_events_lost_total`.
    pub fn lose(&mut self, reason: &'static str, events: u64) {
        if events > 0 {
            *self.lost.entry(reason).or_default() += events;
        }
    }

    /// How many shutdowns ended that way.
    pub fn ended(&self, outcome: Outcome) -> u64 {
        Outcome::ALL.into_iter().zip(self.outcomes).filter(|(o, _)| *o == outcome).map(|(_, count)| count).sum()
    }

    /// All shutdowns.
    pub fn shutdowns(&self) -> u64 {
        self.outcomes.iter().sum()
    }

    /// All kernel events that were lost.
    pub fn lost(&self) -> u64 {
        self.lost.values().sum()
    }

    /// A bar for each outcome that there was, best first, then what was waited for nothing and what was lost.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write(&self, out: &mut impl fmt::Write, style: &Style) -> fmt::Result {
        let mut head = Line::new();
        match self.shutdowns() {
            0 => head.push(Paint::Strong, "No container was stopped."),
            1 => head.push(Paint::Strong, "1 shutdown"),
            n => head.push(Paint::Strong, format!("{n} shutdowns")),
        };
        head.write(out, style)?;
        for outcome in Outcome::ALL.into_iter().rev().filter(|outcome| self.ended(*outcome) > 0) {
            self.bar(outcome, style).write(out, style)?;
        }
        if !self.avoidable_wait.is_zero() {
            let wait = format!("{} of waiting that could not help.", words::measured(self.avoidable_wait));
            write_note(out, &wait, Paint::Plain, style)?;
        }
        if self.lost() == 0 {
            return write_note(out, "No kernel event was lost.", Paint::Dim, style);
        }
        let reasons: Vec<String> = self.lost.iter().map(|(reason, events)| format!("{reason} {events}")).collect();
        let events = if self.lost() == 1 { "event was" } else { "events were" };
        let lost = format!(
            "{} kernel {events} lost ({}): shutdowns that they belonged to count as unknown, or are not counted.",
            self.lost(),
            reasons.join(", ")
        );
        write_note(out, &lost, Paint::Warn, style)
    }

    fn bar(&self, outcome: Outcome, style: &Style) -> Line {
        let names = Outcome::ALL.iter().map(|outcome| outcome.name().len()).max().unwrap_or(0);
        let digits = self.shutdowns().to_string().len();
        let count = self.ended(outcome);
        let most = self.outcomes.iter().max().copied().unwrap_or(1).max(1);
        // A short bar is still a bar.
        let cells = u128::from(count) * u128::from(BAR) / u128::from(most);
        let cells = usize::try_from(cells).unwrap_or(0).max(1);
        let (paint, sign) = words::mood(outcome, style.glyphs());
        let mut line = Line::new();
        line.push(paint, format!("  {sign} {}", outcome.name())).pad_to(4 + names + 1);
        line.push(Paint::Strong, format!("{count:>digits$}"));
        // Where counts are long the bars go first.
        let cells = cells.min(style.width().saturating_sub(line.width() + 2));
        line.push(Paint::Plain, "  ").push(paint, style.glyphs().full.repeat(cells));
        line
    }
}

fn write_note(out: &mut impl fmt::Write, text: &str, paint: Paint, style: &Style) -> fmt::Result {
    for words in prose(text, style.width() - 2, paint, style) {
        let mut line = Line::new();
        line.pad_to(2).append(words);
        line.write(out, style)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr;

    use super::*;
    use crate::report::fixtures;
    use crate::report::style::{Charset, Colors};

    fn text(summary: &Summary, width: usize, charset: Charset) -> String {
        let mut out = String::new();
        summary.write(&mut out, &Style::new(width, charset, Colors::Plain)).unwrap();
        out
    }

    fn of_all_fixtures() -> Summary {
        let mut summary = Summary::default();
        for (_, shutdown) in fixtures::all() {
            summary.count(&shutdown);
        }
        for _ in 0..20 {
            summary.count(&fixtures::graceful());
        }
        summary
    }

    #[test]
    fn every_shutdown_is_counted_once() {
        let summary = of_all_fixtures();
        assert_eq!(summary.shutdowns(), 20 + fixtures::all().len() as u64);
        assert_eq!(summary.ended(Outcome::Graceful), 21);
        assert_eq!(Outcome::ALL.map(|outcome| summary.ended(outcome)).iter().sum::<u64>(), summary.shutdowns());
        assert_eq!(summary.avoidable_wait, 2 * fixtures::shell_wrapper().avoidable_wait.unwrap());
    }

    #[test]
    fn losses_add_up_by_reason() {
        let mut summary = Summary::default();
        summary.lose("ring_full", 3);
        summary.lose("ring_full", 4);
        summary.lose("map_full", 1);
        summary.lose("short_record", 0);
        assert_eq!(summary.lost(), 8);
        let text = text(&summary, 120, Charset::Unicode);
        assert!(text.contains("8 kernel events were lost (map_full 1, ring_full 7)"), "{text}");
    }

    #[test]
    fn at_the_end_of_a_run() {
        let mut summary = of_all_fixtures();
        let whole = text(&summary, 80, Charset::Unicode);
        summary.lose("ring_full", 12);
        insta::assert_snapshot!(
            [whole, text(&summary, 50, Charset::Ascii), text(&Summary::default(), 80, Charset::Unicode)].join("\n")
        );
    }

    #[test]
    fn lines_keep_to_the_width_whatever_the_counts() {
        let mut summary = of_all_fixtures();
        summary.outcomes = [u64::MAX / 8; 8];
        summary.lose("ring_full", u64::MAX);
        let text = text(&summary, Style::NARROWEST, Charset::Unicode);
        assert!(text.lines().all(|line| line.width() <= Style::NARROWEST), "{text}");
    }
}
