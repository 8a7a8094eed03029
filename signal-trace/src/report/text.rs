//! One shutdown for a terminal: a block that is read from the top until enough is known.
//!
//! First the verdict and the time against the grace, then one sentence, the evidence, where the way broke, and what to
//! change. What only matters in doubt comes last, and dim.

use std::fmt;
use std::time::Duration;

use unicode_width::UnicodeWidthStr;

use super::clock::WallClock;
use super::escape;
use super::explain::Entry;
use super::line::{Line, prose};
use super::style::{Charset, Paint, Style};
use super::{timeline, way, words};
use crate::judge::shutdown::{Cause, Confidence, ContainerFacts, KilledBy, Shutdown, StepKind, Verdict, Where};

/// Where the values of the closing lines begin.
const LABEL: usize = 13;

/// Columns of the bar that shows the time against the grace.
const BAR: usize = 10;

/// Columns that a name of Kubernetes or the runtime may take.
const WORD: usize = 64;

/// The whole block.
///
/// # Errors
/// Those of the writer.
pub fn write_block(out: &mut impl fmt::Write, shutdown: &Shutdown, clock: WallClock, style: &Style) -> fmt::Result {
    write_head(out, shutdown, clock, style)?;
    out.write_char('\n')?;
    let sentence = words::sentence(shutdown, style.charset());
    for line in prose(&sentence, style.width() - 2, Paint::Plain, style) {
        indented(line).write(out, style)?;
    }
    if !shutdown.timeline.is_empty() {
        out.write_char('\n')?;
        timeline::write(out, &shutdown.timeline, shutdown.timeline_cut, style)?;
    }
    write_remedy(out, shutdown, style)?;
    out.write_char('\n')?;
    for (label, value) in details(shutdown, style.charset()) {
        write_lines(out, label, prose(&value, value_room(style), Paint::Dim, style), style)?;
    }
    Ok(())
}

/// Where the way broke, what to change, what else was noticed: nothing after a clean shutdown.
fn write_remedy(out: &mut impl fmt::Write, shutdown: &Shutdown, style: &Style) -> fmt::Result {
    if !shutdown.missed.is_empty() || !shutdown.advice.is_empty() || !shutdown.findings.is_empty() {
        out.write_char('\n')?;
    }
    let missed = way::draw(shutdown, value_room(style), style);
    write_lines(out, "missed", missed, style)?;
    if !shutdown.advice.is_empty() {
        let advice = escape::sentence(&shutdown.advice, style.charset());
        let advice = prose(&advice, value_room(style), Paint::Strong, style);
        write_lines(out, "to change", advice, style)?;
    }
    for finding in &shutdown.findings {
        let brief = format!("{}.", Entry::from(*finding).text.in_general());
        write_lines(out, "noticed", prose(&brief, value_room(style), Paint::Plain, style), style)?;
    }
    Ok(())
}

/// The same in one line, for lists: sign, verdict, time against grace, name. A narrow terminal gets no time.
///
/// # Errors
/// Those of the writer.
pub fn write_line(out: &mut impl fmt::Write, shutdown: &Shutdown, style: &Style) -> fmt::Result {
    // As wide as the widest verdict and the usual times: lines below each other are a table.
    const VERDICT: usize = 36;
    const TIMES: usize = 17;
    const NAME: usize = 20;
    let mut line = verdict(shutdown, style);
    if style.width() >= 2 + VERDICT + TIMES + 2 + NAME {
        let times = escape::cut(&times(shutdown).unwrap_or_default(), TIMES, style.charset());
        line.pad_to(2 + VERDICT + TIMES - times.width()).push(Paint::Plain, times);
    }
    if line.width() + 2 < style.width() {
        let room = style.width() - line.width() - 2;
        let name = escape::cut(&container(&shutdown.container, style.charset()), room, style.charset());
        line.push(Paint::Plain, "  ").push(Paint::Plain, name);
    }
    line.write(out, style)
}

/// Both halves of a verdict as every text shows them: `grace_exceeded · not_forwarded`, `graceful`.
pub fn verdict_name(verdict: Verdict, charset: Charset) -> String {
    let outcome = verdict.outcome.name();
    if verdict.cause == Cause::None {
        return outcome.to_owned();
    }
    format!("{outcome} {} {}", charset.glyphs().dot, verdict.cause.name())
}

/// The verdict, whose it is, and the time against the grace, on as few lines as they need.
fn write_head(out: &mut impl fmt::Write, shutdown: &Shutdown, clock: WallClock, style: &Style) -> fmt::Result {
    let charset = style.charset();
    let name = container(&shutdown.container, charset);
    let mut head = verdict(shutdown, style);
    let mut right = Line::new();
    right.push(Paint::Strong, escape::cut(&times(shutdown).unwrap_or_default(), style.width() - 2, charset));
    let bar = bar(shutdown, style);

    let fits = |line: &Line, more: usize| line.width() + 2 + more <= style.width();
    let name_beside = fits(&head, name.width() + 2 + right.width());
    if name_beside {
        head.push(Paint::Plain, "  ").push(Paint::Strong, name.as_str());
    }
    if let Some(bar) = bar.filter(|bar| fits(&head, right.width() + 1 + bar.width())) {
        right.push(Paint::Plain, " ").append(bar);
    }
    if fits(&head, right.width()) {
        head.pad_to(style.width() - right.width()).append(right);
        head.write(out, style)?;
    } else {
        head.write(out, style)?;
        indented(right).write(out, style)?;
    }
    if !name_beside {
        let mut line = Line::new();
        line.push(Paint::Strong, escape::cut(&name, style.width() - 2, charset));
        indented(line).write(out, style)?;
    }
    let facts = &shutdown.container;
    let image = facts.image.as_deref().map(|image| escape::word(image, WORD, charset));
    let runtime = facts.pod.is_some().then(|| facts.runtime.to_string());
    let time = format!("{:.0}", clock.at(shutdown.opened)).replace('T', " ");
    let parts: Vec<String> = [image, runtime, Some(time)].into_iter().flatten().collect();
    for line in joined(&parts, style) {
        indented(line).write(out, style)?;
    }
    Ok(())
}

fn verdict(shutdown: &Shutdown, style: &Style) -> Line {
    let (paint, sign) = words::mood(shutdown.verdict.outcome, style.glyphs());
    let mut line = Line::new();
    line.push(paint, format!("{sign} {}", verdict_name(shutdown.verdict, style.charset())));
    line
}

/// The container by the most telling names that there are.
fn container(facts: &ContainerFacts, charset: Charset) -> String {
    let word = |text: &str| escape::word(text, WORD, charset);
    let own = facts.name.as_deref().map_or_else(|| short_id(&facts.id, charset), word);
    match &facts.pod {
        Some(pod) => format!("{}/{}/{own}", word(&pod.namespace), word(&pod.name)),
        None => match facts.runtime.name() {
            Some(runtime) => format!("{own} ({runtime})"),
            None => own,
        },
    }
}

/// Twelve digits of an id, as runtimes show them; a unit's name stays whole.
fn short_id(id: &str, charset: Charset) -> String {
    if id.len() >= 32 && id.bytes().all(|b| b.is_ascii_hexdigit()) {
        id[..12].to_owned()
    } else {
        escape::word(id, WORD, charset)
    }
}

/// How long it took, against what was granted.
fn times(shutdown: &Shutdown) -> Option<String> {
    let taken = words::measured(shutdown.stop_to_exit.or(shutdown.stop_to_kill)?);
    Some(match shutdown.grace.period {
        Some(grace) => format!("{taken} of {}", words::configured(grace)),
        None => taken,
    })
}

/// The grace, what was taken of it before the signal, and what the shutdown took.
fn bar(shutdown: &Shutdown, style: &Style) -> Option<Line> {
    let grace = shutdown.grace.period.filter(|grace| !grace.is_zero())?;
    let cells = |span: Duration| {
        let share = (span.as_secs_f64() / grace.as_secs_f64()).min(1.0) * BAR as f64;
        // What took any time at all shows.
        (1..=BAR).filter(|n| share > 0.0 && (*n == 1 || share >= *n as f64 - 0.5)).count()
    };
    let taken = cells(shutdown.stop_to_exit.or(shutdown.stop_to_kill)?);
    let before = shutdown.prestop.map_or(0, cells).min(BAR - taken);
    let glyphs = style.glyphs();
    let mut line = Line::new();
    line.push(Paint::Plain, glyphs.half.repeat(before));
    line.push(words::mood(shutdown.verdict.outcome, glyphs).0, glyphs.full.repeat(taken));
    line.push(Paint::Dim, glyphs.empty.repeat(BAR - before - taken));
    Some(line)
}

/// What only matters in doubt.
fn details(shutdown: &Shutdown, charset: Charset) -> Vec<(&'static str, String)> {
    let mut details = Vec::new();
    if let Some(disposition) = words::disposition(shutdown, charset) {
        details.push(("init", disposition));
    }
    if let Some(exit) = shutdown.exit.filter(|_| !shows_exit_of_init(shutdown)) {
        details.push(("exit", format!("{}.", words::ended(exit))));
    }
    if let Some(processes) = processes(shutdown) {
        details.push(("processes", processes));
    }
    if let Some(wait) = shutdown.avoidable_wait.filter(|wait| !wait.is_zero()) {
        details.push(("lost", format!("{} of waiting that could not help.", words::measured(wait))));
    }
    if let Some(prestop) = shutdown.prestop.filter(|prestop| !prestop.is_zero()) {
        let taken = words::measured(prestop);
        details.push(("before", format!("{taken} went to the preStop hook or the sidecar wait before the signal.")));
    }
    if let Some(dying) = shutdown.kill_to_exit.filter(|dying| dying.as_millis() >= 100) {
        details.push(("dying", format!("{} from SIGKILL to the end of init.", words::measured(dying))));
    }
    if let Some(reason) = reason(shutdown) {
        details.push(("stopped", reason));
    }
    details.push(("certainty", format!("{}.", words::confidence(shutdown.confidence))));
    if shows_host_pid(shutdown) {
        details.push(("pids", "in brackets: on the host, where the one in the container was not seen.".to_owned()));
    }
    details
}

/// None where nobody was seen and maybe nobody looked.
fn processes(shutdown: &Shutdown) -> Option<String> {
    let counts = shutdown.processes;
    if counts.at_stop == 0 {
        let seen_whole = shutdown.confidence != Confidence::Partial;
        return seen_whole.then(|| "none besides init when the stop came.".to_owned());
    }
    let mut text = format!("{} besides init: {} told, {} killed", counts.at_stop, counts.told, counts.killed);
    let killers = KilledBy::ALL.into_iter().zip(shutdown.killed).filter(|(_, n)| *n > 0).collect::<Vec<_>>();
    match killers.as_slice() {
        [] => {}
        [(by, _)] => text.push_str(&format!(" {}", words::killer(*by))),
        several => {
            let parts: Vec<_> = several.iter().map(|(by, n)| format!("{n} {}", words::killer(*by))).collect();
            text.push_str(&format!(" ({})", parts.join("; ")));
        }
    }
    text.push('.');
    Some(text)
}

/// Why it was stopped, and whose grace it had.
fn reason(shutdown: &Shutdown) -> Option<String> {
    let trigger = words::trigger(shutdown.trigger);
    let grace = shutdown.grace.period.map(|period| {
        format!("grace of {}, {}", words::configured(period), words::grace_source(shutdown.grace.source))
    });
    match (trigger, grace) {
        (Some(trigger), Some(grace)) => Some(format!("{trigger}; {grace}.")),
        (Some(trigger), None) => Some(format!("{trigger}.")),
        (None, Some(grace)) => Some(format!("{grace}.")),
        (None, None) => None,
    }
}

fn shows_exit_of_init(shutdown: &Shutdown) -> bool {
    shutdown.timeline.iter().any(|step| match step.what {
        StepKind::Exit { process, .. } => shutdown.init.is_some_and(|init| init.pid == process.pid),
        StepKind::Signal { .. } | StepKind::OomMark { .. } => false,
    })
}

fn shows_host_pid(shutdown: &Shutdown) -> bool {
    let in_timeline = shutdown.timeline.iter().any(|step| match step.what {
        StepKind::Signal { from, origin, to, .. } => {
            to.ns_pid.is_none() || (matches!(origin, Where::Inside | Where::ExecSession) && from.ns_pid.is_none())
        }
        StepKind::Exit { process, .. } | StepKind::OomMark { process } => process.ns_pid.is_none(),
    });
    let in_missed = shutdown.missed.iter().flat_map(|m| [Some(m.process), m.broke_at]).flatten();
    in_timeline || in_missed.chain(shutdown.init).any(|named| named.ns_pid.is_none())
}

fn value_room(style: &Style) -> usize {
    style.width() - 2 - LABEL
}

/// Lines beside their label.
fn write_lines(out: &mut impl fmt::Write, label: &str, lines: Vec<Line>, style: &Style) -> fmt::Result {
    for (index, body) in lines.into_iter().enumerate() {
        let mut line = Line::new();
        if index == 0 {
            line.push(Paint::Dim, label);
        }
        line.pad_to(LABEL).append(body);
        indented(line).write(out, style)?;
    }
    Ok(())
}

/// The parts with dots between them, on as many lines as they need.
fn joined(parts: &[String], style: &Style) -> Vec<Line> {
    let dot = format!(" {} ", style.glyphs().dot);
    let mut lines: Vec<Line> = Vec::new();
    for part in parts {
        let part = escape::cut(part, style.width() - 2, style.charset());
        match lines.last_mut().filter(|line| 2 + line.width() + dot.width() + part.width() <= style.width()) {
            Some(line) => {
                line.push(Paint::Dim, dot.as_str()).push(Paint::Dim, part);
            }
            None => {
                let mut line = Line::new();
                line.push(Paint::Dim, part);
                lines.push(line);
            }
        }
    }
    lines
}

fn indented(body: Line) -> Line {
    let mut line = Line::new();
    line.pad_to(2).append(body);
    line
}

#[cfg(test)]
mod tests;
