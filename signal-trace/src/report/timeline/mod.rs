//! Who signalled whom, and who ended how: the evidence, drawn line by line.
//!
//! Steps that say the same of several processes within moments become one line with a count. The layout follows the
//! width: one line for a step, its remark below it, or everything below each other.

mod group;

use std::fmt;
use std::time::Duration;

use unicode_width::UnicodeWidthStr;

use self::group::{BURST, Group, What, group};
use super::escape::cut;
use super::line::{Line, wrap};
use super::style::{Charset, Paint, Style};
use super::words;
use crate::event::{ExitStatus, Generated, Signal};
use crate::judge::shutdown::{Delivery, Named, Step};

/// So many lines are shown, first and last; what is between is counted.
const FIRST_LINES: usize = 18;
const LAST_LINES: usize = 8;

/// A label that is longer than this stands out instead of moving all others.
const LABEL_COLUMNS: usize = 26;

/// Draws the steps.
pub(super) fn write(out: &mut impl fmt::Write, steps: &[Step], unkept: usize, style: &Style) -> fmt::Result {
    let rows: Vec<Row> = group(steps).iter().map(|group| Row::new(group, style.charset())).collect();
    let layout = Layout::new(&rows, style);
    let hidden = rows.len().saturating_sub(FIRST_LINES + LAST_LINES);
    // One hidden line would only give its place to the line that says so.
    let hidden = if hidden > 1 { FIRST_LINES..FIRST_LINES + hidden } else { 0..0 };
    for (index, row) in rows.iter().enumerate() {
        if index == hidden.start && !hidden.is_empty() {
            layout.note(&format!("{} more lines", hidden.len())).write(out, style)?;
        }
        if !hidden.contains(&index) {
            layout.write(out, row)?;
        }
    }
    if unkept > 0 {
        layout
            .note(&words::count(unkept, "further step was not kept", "further steps were not kept"))
            .write(out, style)?;
    }
    Ok(())
}

/// A group in words, not yet laid out.
struct Row {
    time: String,
    left: String,
    middle: Middle,
    /// What became of it.
    verb: Option<&'static str>,
    /// Whom it stands for, if for more than one.
    whom: Vec<Named>,
    repeats: Option<String>,
    verb_paint: Paint,
}

enum Middle {
    Arrow { signal: String, paint: Paint, to: String },
    Mark { words: String, paint: Paint },
}

impl Row {
    fn new(group: &Group, charset: Charset) -> Self {
        let mut whom = group.whom();
        let repeats = group.repeats(whom.len(), charset);
        let subject = match whom.as_slice() {
            [one] => words::process(*one, charset),
            many => words::count(many.len(), "process", "processes"),
        };
        if whom.len() == 1 {
            whom.clear();
        }
        let mark = |words: String, paint| Middle::Mark { words, paint };
        let (left, middle, verb, verb_paint) = match &group.what {
            What::Signal { signal, from, origin, result } => {
                let paint = if *signal == Signal::KILL { Paint::Bad } else { Paint::Signal };
                let left = words::sender(*from, *origin, *result, charset);
                let middle = Middle::Arrow { signal: signal.to_string(), paint, to: subject };
                (left, middle, words::delivery(*result), verb_paint(*result))
            }
            What::Exit(status) => (subject, mark(words::ended(*status), exit_paint(*status)), None, Paint::Dim),
            What::OomMark => (subject, mark("chosen by the OOM killer".to_owned(), Paint::Bad), None, Paint::Dim),
        };
        Self { time: seconds(group.steps[0].1), left, middle, verb, whom, repeats, verb_paint }
    }

    /// What is said beside the drawing, with so many names at most.
    fn remark(&self, names: usize, charset: Charset) -> Line {
        let names = (!self.whom.is_empty()).then(|| words::first(&self.whom, names, charset));
        let more = [names, self.repeats.clone()].into_iter().flatten().collect::<Vec<_>>().join(", ");
        let mut line = Line::new();
        if let Some(verb) = self.verb {
            line.push(self.verb_paint, verb);
        }
        if !more.is_empty() {
            let join = if self.verb.is_some() { ": " } else { "" };
            line.push(Paint::Dim, format!("{join}{more}"));
        }
        line
    }

    /// With as many names as fit, if any.
    fn remark_within(&self, room: usize, charset: Charset) -> Option<Line> {
        (1..=words::NAMES).rev().map(|names| self.remark(names, charset)).find(|remark| remark.width() <= room)
    }
}

impl Group {
    /// How often, where that is more than once for each process.
    fn repeats(&self, processes: usize, charset: Charset) -> Option<String> {
        let times = charset.glyphs().times;
        (self.steps.len() > processes).then(|| {
            let count = self.steps.len();
            if self.last().saturating_sub(self.steps[0].1) <= BURST {
                format!("{times}{count}")
            } else {
                format!("{times}{count} until {}", seconds(self.last()))
            }
        })
    }
}

fn verb_paint(result: Delivery) -> Paint {
    match result {
        Delivery::NoHandler | Delivery::Generated(Generated::Ignored | Generated::Overflow) => Paint::Warn,
        Delivery::Teardown => Paint::Bad,
        Delivery::Dying | Delivery::Generated(Generated::Delivered | Generated::AlreadyPending) => Paint::Dim,
    }
}

fn exit_paint(status: ExitStatus) -> Paint {
    match status {
        ExitStatus::Code(0) => Paint::Good,
        // Shown, and not blamed.
        ExitStatus::Code(_) => Paint::Plain,
        ExitStatus::Signal(Signal::KILL) => Paint::Bad,
        ExitStatus::Signal(_) => Paint::Warn,
    }
}

fn seconds(at: Duration) -> String {
    // Beyond a day the column would grow, and nobody needs the milliseconds.
    match at.as_secs() {
        ..100_000 => format!("{:.3} s", at.as_secs_f64()),
        long => format!("{} h", long / 3600),
    }
}

/// Where the columns are.
struct Layout<'a> {
    style: &'a Style,
    time: usize,
    left: usize,
    arrow: usize,
    right: usize,
    /// Nothing fits beside each other.
    is_stacked: bool,
}

impl<'a> Layout<'a> {
    const INDENT: usize = 2;

    fn new(rows: &[Row], style: &'a Style) -> Self {
        let widest = |width: &dyn Fn(&Row) -> usize| rows.iter().map(width).max().unwrap_or(0);
        let mut layout = Self {
            style,
            time: widest(&|row| row.time.len()),
            left: widest(&|row| row.left.width()).min(LABEL_COLUMNS),
            arrow: widest(&|row| match &row.middle {
                // Two dashes on each side and the head.
                Middle::Arrow { signal, .. } => signal.len() + 5,
                Middle::Mark { .. } => 0,
            }),
            right: widest(&|row| match &row.middle {
                Middle::Arrow { to, .. } => to.width(),
                Middle::Mark { .. } => 0,
            })
            .min(LABEL_COLUMNS),
            is_stacked: false,
        };
        layout.is_stacked = layout.remarks() - 2 > style.width();
        layout
    }

    /// Where the labels begin.
    fn start(&self) -> usize {
        Self::INDENT + self.time + 2
    }

    /// Where the arrows begin, beside a label of the usual width.
    fn middles(&self) -> usize {
        self.start() + self.left + 1
    }

    /// Where remarks begin, beside targets of the usual width.
    fn remarks(&self) -> usize {
        self.middles() + self.arrow + 1 + self.right + 2
    }

    /// Where the second line of a step begins: below its label, unless that leaves it no room.
    fn stacked(&self) -> usize {
        const ROOM: usize = 26;
        if self.start() + 2 + ROOM <= self.style.width() { self.start() + 2 } else { Self::INDENT + 4 }
    }

    fn note(&self, words: &str) -> Line {
        let mut line = Line::new();
        let text = format!("{} {words}", self.style.glyphs().ellipsis);
        let room = self.style.width() - self.start();
        line.pad_to(self.start()).push(Paint::Dim, cut(&text, room, self.style.charset()));
        line
    }

    fn write(&self, out: &mut impl fmt::Write, row: &Row) -> fmt::Result {
        let (style, charset, width) = (self.style, self.style.charset(), self.style.width());
        let mut line = Line::new();
        line.pad_to(Self::INDENT + self.time - row.time.len()).push(Paint::Dim, row.time.as_str()).pad_to(self.start());
        line.push(Paint::Plain, cut(&row.left, width - self.start(), charset));

        let beside_left = self.middles().max(line.width() + 1);
        let is_stacked = self.is_stacked || beside_left + self.middle_width(&row.middle) > width;
        let (middle, target) = if is_stacked {
            line.write(out, style)?;
            line = Line::new();
            (self.stacked(), self.stacked())
        } else {
            (beside_left, beside_left + self.arrow + 1)
        };
        line.pad_to(middle);
        self.push_middle(&mut line, &row.middle);

        let beside = match row.middle {
            Middle::Arrow { .. } if !is_stacked => self.remarks().max(line.width() + 2),
            Middle::Arrow { .. } | Middle::Mark { .. } => line.width() + 2,
        };
        if let Some(remark) = row.remark_within(width.saturating_sub(beside), charset) {
            if remark.width() > 0 {
                line.pad_to(beside).append(remark);
            }
            return line.write(out, style);
        }
        line.write(out, style)?;
        // Under what it is about, unless that leaves it no room.
        let column = if width.saturating_sub(target) >= 24 { target } else { self.stacked() };
        for words in wrap(&row.remark(words::NAMES, charset).text(), width - column) {
            let mut line = Line::new();
            line.pad_to(column).push(row.verb_paint, words);
            line.write(out, style)?;
        }
        Ok(())
    }

    fn middle_width(&self, middle: &Middle) -> usize {
        match middle {
            Middle::Arrow { to, .. } => self.arrow + 1 + to.width(),
            Middle::Mark { words, .. } => 2 + words.width(),
        }
    }

    fn push_middle(&self, line: &mut Line, middle: &Middle) {
        let glyphs = self.style.glyphs();
        match middle {
            Middle::Arrow { signal, paint, to } => {
                let after = glyphs.dash.repeat(self.arrow - 3 - signal.len());
                line.push(Paint::Dim, glyphs.dash.repeat(2)).push(*paint, signal.as_str());
                line.push(Paint::Dim, after + glyphs.head).push(Paint::Plain, " ");
                let room = self.style.width().saturating_sub(line.width());
                line.push(Paint::Plain, cut(to, room, self.style.charset()));
            }
            Middle::Mark { words, paint } => {
                line.push(*paint, format!("{} {words}", glyphs.ended));
            }
        }
    }
}

#[cfg(test)]
mod tests;
