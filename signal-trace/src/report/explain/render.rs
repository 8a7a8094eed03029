//! The words for a terminal and for Markdown.

use std::fmt;

use super::{Axis, Entry, Fix, all};
use crate::report::line::{Line, prose};
use crate::report::style::{Paint, Style};

/// Where the texts of an entry begin.
const LABEL: usize = 16;

/// Every name with its brief, axis by axis.
///
/// # Errors
/// Those of the writer.
pub fn write_list(out: &mut impl fmt::Write, style: &Style) -> fmt::Result {
    let entries = all();
    for axis in Axis::ALL {
        let names = entries.iter().filter(|entry| entry.axis == axis).map(|entry| entry.name.len());
        let column = if is_narrow(style) { 4 } else { names.max().unwrap_or(0) + 4 };
        let mut heading = Line::new();
        heading.push(Paint::Strong, axis.question());
        if !is_narrow(style) {
            heading.push(Paint::Dim, format!("  {}", axis.field()));
        }
        heading.write(out, style)?;
        for entry in entries.iter().filter(|entry| entry.axis == axis) {
            let mut line = Line::new();
            line.push(Paint::Plain, "  ").push(Paint::Strong, entry.name);
            let brief = sentence_case(&entry.text.in_general());
            hang(out, line, prose(&brief, style.width() - column, Paint::Plain, style), column, style)?;
        }
        out.write_char('\n')?;
    }
    let hint = "`signal-trace explain NAME` says what one means, what the kernel saw and what to change. NAME may be a \
                whole verdict (`grace_exceeded/not_forwarded`) or the reason of a Kubernetes event.";
    for line in prose(hint, style.width(), Paint::Dim, style) {
        line.write(out, style)?;
    }
    Ok(())
}

/// All that is to be said of those names, with an empty line between them.
///
/// # Errors
/// Those of the writer.
pub fn write_entries(out: &mut impl fmt::Write, entries: &[Entry], style: &Style) -> fmt::Result {
    for (index, entry) in entries.iter().enumerate() {
        if index > 0 {
            out.write_char('\n')?;
        }
        write_entry(out, *entry, style)?;
        // What heals both halves of a verdict is said once.
        let is_said =
            |fix: &Fix| entries[..index].iter().flat_map(|entry| entry.text.fixes).any(|f| f.what == fix.what);
        write_fixes(out, entry.text.fixes.iter().filter(|fix| !is_said(fix)), style)?;
    }
    Ok(())
}

fn write_entry(out: &mut impl fmt::Write, entry: Entry, style: &Style) -> fmt::Result {
    let mut head = Line::new();
    head.push(Paint::Strong, entry.name).push(Paint::Dim, format!("  {}", entry.axis.field()));
    head.write(out, style)?;
    let brief = format!("{}.", sentence_case(&entry.text.in_general()));
    for line in prose(&brief, style.width(), Paint::Plain, style) {
        line.write(out, style)?;
    }
    let text = entry.text;
    let evidence = evidence_label(entry.axis);
    for (label, words) in [("Meaning", text.meaning), ("How it happens", text.how), (evidence, text.kernel)] {
        out.write_char('\n')?;
        labelled(out, (label, Paint::Strong), words, style)?;
    }
    if !text.event_reasons.is_empty() {
        out.write_char('\n')?;
        labelled(out, ("As an event", Paint::Strong), &text.event_reasons.join(", "), style)?;
    }
    if let Some(words) = text.ignore {
        out.write_char('\n')?;
        labelled(out, ("Ignore it", Paint::Strong), words, style)?;
    }
    for (index, command) in entry.confirm().iter().enumerate() {
        if index == 0 {
            let mut heading = Line::new();
            heading.push(Paint::Strong, "To confirm");
            out.write_char('\n')?;
            heading.write(out, style)?;
        }
        let mut line = Line::new();
        line.pad_to(4).push(Paint::Code, command.clone());
        line.write(out, style)?;
    }
    Ok(())
}

/// What the evidence of a name is.
fn evidence_label(axis: Axis) -> &'static str {
    match axis {
        Axis::Outcome | Axis::Cause | Axis::InitDisposition | Axis::Finding => "The kernel saw",
        Axis::Alert => "It counts",
    }
}

/// The same as a section of Markdown, its heading at that level.
///
/// # Errors
/// Those of the writer.
pub fn markdown(out: &mut impl fmt::Write, entry: Entry, level: usize) -> fmt::Result {
    let (text, hashes) = (entry.text, "#".repeat(level));
    writeln!(out, "{hashes} `{}`\n\n{}.\n", entry.name, sentence_case(&text.in_general()))?;
    writeln!(out, "{hashes}# Meaning\n\n{}\n", text.meaning)?;
    writeln!(out, "{hashes}# How it happens\n\n{}\n", text.how)?;
    writeln!(out, "{hashes}# {}\n\n{}", evidence_label(entry.axis), text.kernel)?;
    let commands = entry.confirm();
    if !commands.is_empty() {
        writeln!(out, "\n{hashes}# To confirm\n\n```\n{}\n```", commands.join("\n"))?;
    }
    if !text.fixes.is_empty() {
        writeln!(out, "\n{hashes}# What to change")?;
    }
    for fix in text.fixes {
        writeln!(out, "\n**{}.** {}", fix.who, fix.what)?;
        if !fix.example.is_empty() {
            writeln!(out, "\n```\n{}\n```", fix.example.join("\n"))?;
        }
    }
    if let Some(words) = text.ignore {
        writeln!(out, "\n{hashes}# Ignore it\n\n{words}")?;
    }
    Ok(())
}

fn write_fixes<'a>(out: &mut impl fmt::Write, fixes: impl Iterator<Item = &'a Fix>, style: &Style) -> fmt::Result {
    for (index, fix) in fixes.enumerate() {
        if index == 0 {
            let mut heading = Line::new();
            heading.push(Paint::Strong, "What to change");
            out.write_char('\n')?;
            heading.write(out, style)?;
        }
        out.write_char('\n')?;
        labelled(out, (&format!("  {}", fix.who), Paint::Plain), fix.what, style)?;
        for code in fix.example {
            let mut line = Line::new();
            line.pad_to(column(style) + 4).push(Paint::Code, *code);
            line.write(out, style)?;
        }
    }
    Ok(())
}

/// A label and its words beside it; below it where there is no room beside.
fn labelled(out: &mut impl fmt::Write, label: (&str, Paint), words: &str, style: &Style) -> fmt::Result {
    let column = column(style);
    let mut line = Line::new();
    line.push(label.1, label.0);
    hang(out, line, prose(words, style.width() - column, Paint::Plain, style), column, style)
}

fn column(style: &Style) -> usize {
    if is_narrow(style) { 4 } else { LABEL + 4 }
}

fn is_narrow(style: &Style) -> bool {
    style.width() < 64
}

/// The body from that column on, the first line of it beside what stands there already if there is room.
fn hang(out: &mut impl fmt::Write, first: Line, body: Vec<Line>, column: usize, style: &Style) -> fmt::Result {
    let mut line = first;
    for words in body {
        if line.width() >= column {
            line.write(out, style)?;
            line = Line::new();
        }
        line.pad_to(column).append(words);
        line.write(out, style)?;
        line = Line::new();
    }
    Ok(())
}

/// With a capital first letter.
fn sentence_case(clause: &str) -> String {
    let mut chars = clause.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}
