//! One line of coloured text that knows how wide it is.
//!
//! Alignment and wrapping count columns of what is seen; colours come in only when the line is written.

use std::fmt;

use textwrap::{Options, WordSeparator, WordSplitter};
use unicode_width::UnicodeWidthStr;

use super::style::{Paint, Style};

/// Pieces of text from left to right.
#[derive(Clone, Debug, Default)]
pub(crate) struct Line {
    pieces: Vec<(Paint, String)>,
    width: usize,
}

impl Line {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn push(&mut self, paint: Paint, text: impl Into<String>) -> &mut Self {
        let text = text.into();
        self.width += text.width();
        self.pieces.push((paint, text));
        self
    }

    /// Spaces up to that column, at least none.
    pub(crate) fn pad_to(&mut self, column: usize) -> &mut Self {
        if let Some(missing) = column.checked_sub(self.width).filter(|m| *m > 0) {
            self.push(Paint::Plain, " ".repeat(missing));
        }
        self
    }

    pub(crate) fn append(&mut self, other: Self) -> &mut Self {
        self.width += other.width;
        self.pieces.extend(other.pieces);
        self
    }

    /// Without its colours.
    pub(crate) fn text(&self) -> String {
        self.pieces.iter().map(|(_, text)| text.as_str()).collect()
    }

    /// In columns.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// With its end of line and without spaces before it.
    pub(crate) fn write(&self, out: &mut impl fmt::Write, style: &Style) -> fmt::Result {
        let seen = self.pieces.iter().rposition(|(_, text)| !text.trim_end().is_empty()).map_or(0, |last| last + 1);
        for (index, (paint, text)) in self.pieces[..seen].iter().enumerate() {
            let text = if index + 1 == seen { text.trim_end() } else { text };
            let look = style.paint(*paint);
            write!(out, "{look}{text}{look:#}")?;
        }
        out.write_char('\n')
    }
}

/// The text in lines of at most `width` columns, broken at spaces; what stands between backticks stays whole, if it can.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    const GLUE: char = '\u{a0}';
    let mut in_code = false;
    let glued: String = text
        .chars()
        .map(|c| {
            in_code ^= c == '`';
            if c == ' ' && in_code { GLUE } else { c }
        })
        .collect();
    let options = Options::new(width.max(1))
        .word_separator(WordSeparator::AsciiSpace)
        .word_splitter(WordSplitter::NoHyphenation)
        .wrap_algorithm(textwrap::WrapAlgorithm::FirstFit);
    textwrap::wrap(&glued, options).into_iter().map(|line| line.replace(GLUE, " ")).collect()
}

/// Lines as [`wrap`] makes them, with what stands between backticks painted as code.
pub(crate) fn prose(text: &str, width: usize, paint: Paint, style: &Style) -> Vec<Line> {
    let mut in_code = false;
    let ticks_are_seen = style.paint(Paint::Code) == anstyle::Style::new();
    wrap(text, width)
        .into_iter()
        .map(|wrapped| {
            let mut line = Line::new();
            for (index, piece) in wrapped.split('`').enumerate() {
                if index > 0 {
                    in_code = !in_code;
                    if ticks_are_seen {
                        line.push(paint, "`");
                    }
                }
                line.push(if in_code { Paint::Code } else { paint }, piece);
            }
            line
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::style::{Charset, Colors};
    use super::*;

    #[test]
    fn code_is_not_broken_while_it_fits() {
        let text = "Put `exec` before it: `exec java -jar app.jar` and no more.";
        assert_eq!(wrap(text, 30), ["Put `exec` before it:", "`exec java -jar app.jar` and", "no more."]);
        assert!(wrap(text, 12).iter().all(|line| line.width() <= 12));
    }

    #[test]
    fn plain_lines_hold_no_escape_sequence_and_no_space_at_their_end() {
        let style = Style::new(80, Charset::Unicode, Colors::Plain);
        let mut out = String::new();
        let mut line = Line::new();
        line.push(Paint::Bad, "a").pad_to(4).push(Paint::Dim, "b  ").pad_to(20);
        line.write(&mut out, &style).unwrap();
        assert_eq!(out, "a   b\n");
    }

    #[test]
    fn colour_takes_the_place_of_backticks() {
        let style = Style::new(80, Charset::Unicode, Colors::Ansi);
        let mut out = String::new();
        prose("say `exec` now", 80, Paint::Plain, &style)[0].write(&mut out, &style).unwrap();
        assert_eq!(out, "say \u{1b}[36mexec\u{1b}[0m now\n");
    }
}
