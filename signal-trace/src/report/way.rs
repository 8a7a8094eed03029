//! The way of the stop signal to those it never reached: from who sent it, through who passed it on, to where it broke.

use super::escape::{self, cut};
use super::line::Line;
use super::style::{Paint, Style};
use super::words;
use crate::event::Pid;
use crate::judge::shutdown::{Named, Shutdown, StepKind, Where};

/// At most so many ways are drawn, and so many hops of each.
const WAYS: usize = 4;
const HOPS: usize = 6;

/// One line for each process where the way broke, in at most `room` columns where names allow it.
pub(super) fn draw(shutdown: &Shutdown, room: usize, style: &Style) -> Vec<Line> {
    let ways = ways(shutdown);
    let mut lines: Vec<Line> = ways.iter().take(WAYS).flat_map(|way| way.draw(room, style)).collect();
    if let Some(more) = ways.len().checked_sub(WAYS).filter(|more| *more > 0) {
        let mut line = Line::new();
        let count = words::count(more, "more way", "more ways");
        line.push(Paint::Dim, format!("{} {count}", style.glyphs().ellipsis));
        lines.push(line);
    }
    lines
}

struct Way {
    /// Who opened the shutdown, where the way is known from there on.
    from: Option<Named>,
    /// Who passed it on, the last one where it broke.
    told: Vec<Named>,
    missed: Vec<Named>,
}

fn ways(shutdown: &Shutdown) -> Vec<Way> {
    let mut ways: Vec<(Option<Pid>, Way)> = Vec::new();
    for missed in &shutdown.missed {
        let broke_at = missed.broke_at.map(|named| named.pid);
        match ways.iter_mut().find(|(pid, _)| *pid == broke_at) {
            Some((_, way)) => way.missed.push(missed.process),
            None => {
                let (from, told) = missed.broke_at.map_or((None, Vec::new()), |named| trace_back(shutdown, named));
                ways.push((broke_at, Way { from, told, missed: vec![missed.process] }));
            }
        }
    }
    ways.into_iter().map(|(_, way)| way).collect()
}

/// From who opened the shutdown down to `last`, as far as the timeline shows it.
fn trace_back(shutdown: &Shutdown, last: Named) -> (Option<Named>, Vec<Named>) {
    let mut told = vec![last];
    let mut current = last.pid;
    while told.len() <= HOPS {
        let teller = shutdown.timeline.iter().find_map(|step| match step.what {
            StepKind::Signal { signal, from, origin, to, .. }
                if to.pid == current && from.pid != current && signal.is_terminating() && origin != Where::Kernel =>
            {
                Some((from, origin))
            }
            StepKind::Signal { .. } | StepKind::Exit { .. } | StepKind::OomMark { .. } => None,
        });
        match teller {
            Some((from, Where::Inside)) if told.iter().all(|named| named.pid != from.pid) => {
                told.insert(0, from);
                current = from.pid;
            }
            Some((_, Where::Inside | Where::Kernel)) | None => return (None, told),
            Some((from, Where::Outside | Where::ExecSession | Where::Host)) => return (Some(from), told),
        }
    }
    (None, told)
}

impl Way {
    fn draw(&self, room: usize, style: &Style) -> Vec<Line> {
        let (glyphs, charset) = (style.glyphs(), style.charset());
        let arrow = format!(" {}{} ", glyphs.dash.repeat(2), glyphs.head);
        let mut hops: Vec<String> = self.told.iter().map(|named| words::process(*named, charset)).collect();
        let opener = self.from.map(|from| escape::name(from.comm.as_bytes(), charset));
        hops.insert(0, opener.unwrap_or_else(|| glyphs.ellipsis.to_owned()));

        let chain = |hops: &[String]| {
            let mut line = Line::new();
            for (index, hop) in hops.iter().enumerate() {
                if index > 0 {
                    line.push(Paint::Dim, arrow.as_str());
                }
                line.push(Paint::Plain, hop.as_str());
            }
            line
        };
        // The nearer to the break the more it tells: what does not fit goes from the front.
        while chain(&hops).width() > room && hops.len() > 2 {
            hops.remove(1);
            glyphs.ellipsis.clone_into(&mut hops[0]);
        }
        if chain(&hops).width() > room {
            hops = vec![cut(&hops.concat(), room, charset)];
        }
        let mut line = chain(&hops);
        let end = |room| self.end(room, style);
        if let Some(end) = end(room.saturating_sub(line.width() + 1)) {
            line.push(Paint::Plain, " ").append(end);
            return vec![line];
        }
        let mut below = Line::new();
        below.push(Paint::Plain, "  ");
        if let Some(end) = end(room - 2) {
            below.append(end);
        } else {
            // One name alone is too wide.
            let names = words::some(&self.missed, 1, charset);
            below.push(Paint::Bad, broken(style)).push(Paint::Strong, cut(&names, room - 6, charset));
        }
        vec![line, below]
    }

    /// The break and whom it kept from being told, by as many names as fit.
    fn end(&self, room: usize, style: &Style) -> Option<Line> {
        (1..=words::NAMES).rev().find_map(|names| {
            let mut end = Line::new();
            end.push(Paint::Bad, broken(style));
            end.push(Paint::Strong, words::some(&self.missed, names, style.charset()));
            (end.width() <= room).then_some(end)
        })
    }
}

fn broken(style: &Style) -> String {
    format!("{}{} ", style.glyphs().dash.repeat(2), style.glyphs().broken)
}
