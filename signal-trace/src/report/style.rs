//! How text may look where it is printed: how wide, in which characters, with or without colour.
//!
//! A value that renderers take as an argument. [`Style::of`] alone looks at the machine: the stream's size and kind,
//! the locale, `NO_COLOR` and `CLICOLOR_FORCE`.

use std::os::fd::AsFd;

use anstream::stream::RawStream;
use anstream::{AutoStream, ColorChoice};
use anstyle::AnsiColor;

/// Which characters the reader's terminal shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charset {
    /// Everything.
    Unicode,
    /// `0x20..=0x7e`.
    Ascii,
}

/// What a block is drawn with.
#[derive(Debug)]
pub(crate) struct Glyphs {
    pub(crate) good: &'static str,
    pub(crate) warn: &'static str,
    pub(crate) bad: &'static str,
    pub(crate) forced: &'static str,
    pub(crate) unknown: &'static str,
    /// Between the two halves of a verdict.
    pub(crate) dot: &'static str,
    /// Between a process name and its pid.
    pub(crate) pid: &'static str,
    pub(crate) ellipsis: &'static str,
    pub(crate) dash: &'static str,
    pub(crate) head: &'static str,
    pub(crate) broken: &'static str,
    pub(crate) ended: &'static str,
    pub(crate) times: &'static str,
    pub(crate) full: &'static str,
    pub(crate) half: &'static str,
    pub(crate) empty: &'static str,
}

const UNICODE: Glyphs = Glyphs {
    good: "✓",
    warn: "!",
    bad: "✗",
    forced: "■",
    unknown: "?",
    dot: "·",
    pid: "·",
    ellipsis: "…",
    dash: "─",
    head: "▶",
    broken: "╳",
    ended: "■",
    times: "×",
    full: "█",
    half: "▒",
    empty: "░",
};

const ASCII: Glyphs = Glyphs {
    good: "+",
    warn: "!",
    bad: "x",
    forced: "#",
    unknown: "?",
    dot: "/",
    pid: ":",
    ellipsis: "...",
    dash: "-",
    head: ">",
    broken: "X",
    ended: "#",
    times: "x",
    full: "#",
    half: "=",
    empty: ".",
};

impl Charset {
    /// The characters that drawings are made of: a name that holds one is quoted.
    pub(crate) const DRAWING: &'static str = "·─▶╳■█▒░…";

    /// From the locale's environment, in the order that POSIX gives its variables.
    pub fn from_locale(get: impl Fn(&str) -> Option<String>) -> Self {
        let set = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| get(name).filter(|value| !value.is_empty()));
        let codeset = set.unwrap_or_default().to_ascii_lowercase();
        if codeset.contains("utf-8") || codeset.contains("utf8") { Self::Unicode } else { Self::Ascii }
    }

    pub(crate) fn holds(self, c: char) -> bool {
        match self {
            Self::Unicode => true,
            Self::Ascii => c.is_ascii(),
        }
    }

    pub(crate) fn glyphs(self) -> &'static Glyphs {
        match self {
            Self::Unicode => &UNICODE,
            Self::Ascii => &ASCII,
        }
    }
}

/// Whether there are colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colors {
    /// No escape sequence is written.
    Plain,
    /// The sixteen colours of the terminal's own palette, so that its theme decides.
    Ansi,
}

/// All that a renderer must know of the place it writes for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    width: usize,
    charset: Charset,
    colors: Colors,
}

impl Style {
    /// The narrowest that is drawn for; on a narrower terminal lines break.
    pub const NARROWEST: usize = 40;
    /// The widest: longer lines are hard to read.
    pub const WIDEST: usize = 120;
    /// Where there is no terminal to ask.
    pub const DEFAULT_WIDTH: usize = 80;

    /// With the width brought into its bounds.
    pub fn new(width: usize, charset: Charset, colors: Colors) -> Self {
        Self { width: width.clamp(Self::NARROWEST, Self::WIDEST), charset, colors }
    }

    /// For that stream, by its size and kind and the environment.
    pub fn of<S: RawStream + AsFd>(stream: &S) -> Self {
        let width = terminal_size::terminal_size_of(stream).map_or(Self::DEFAULT_WIDTH, |(w, _)| usize::from(w.0));
        let colors = match AutoStream::choice(stream) {
            ColorChoice::Never => Colors::Plain,
            ColorChoice::Auto | ColorChoice::AlwaysAnsi | ColorChoice::Always => Colors::Ansi,
        };
        Self::new(width, Charset::from_locale(|name| std::env::var(name).ok()), colors)
    }

    /// In columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// In which characters.
    pub fn charset(&self) -> Charset {
        self.charset
    }

    pub(crate) fn glyphs(&self) -> &'static Glyphs {
        self.charset.glyphs()
    }

    /// The look of a paint here.
    pub(crate) fn paint(&self, paint: Paint) -> anstyle::Style {
        match self.colors {
            Colors::Plain => anstyle::Style::new(),
            Colors::Ansi => paint.ansi(),
        }
    }
}

/// What a piece of text is, of which its look follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paint {
    Plain,
    /// Less important than what stands around it.
    Dim,
    Strong,
    Good,
    Warn,
    Bad,
    /// Neither good nor bad: forced, unknown.
    Neutral,
    /// A signal on its way.
    Signal,
    /// What to type.
    Code,
}

impl Paint {
    fn ansi(self) -> anstyle::Style {
        let plain = anstyle::Style::new();
        match self {
            Self::Plain => plain,
            Self::Dim => plain.dimmed(),
            Self::Strong => plain.bold(),
            Self::Good => AnsiColor::Green.on_default().bold(),
            Self::Warn => AnsiColor::Yellow.on_default().bold(),
            Self::Bad => AnsiColor::Red.on_default().bold(),
            Self::Neutral => AnsiColor::Magenta.on_default().bold(),
            Self::Signal | Self::Code => AnsiColor::Cyan.on_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_variable_that_is_set_decides_the_characters() {
        let locale = |vars: &'static [(&str, &str)]| {
            Charset::from_locale(|name| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
        };
        assert_eq!(locale(&[("LANG", "en_US.UTF-8")]), Charset::Unicode);
        assert_eq!(locale(&[("LANG", "en_US.UTF-8"), ("LC_ALL", "C")]), Charset::Ascii);
        assert_eq!(locale(&[("LANG", "C"), ("LC_CTYPE", "de_DE.utf8"), ("LC_ALL", "")]), Charset::Unicode);
        assert_eq!(locale(&[]), Charset::Ascii);
    }

    #[test]
    fn widths_are_kept_in_bounds() {
        assert_eq!(Style::new(7, Charset::Unicode, Colors::Plain).width(), 40);
        assert_eq!(Style::new(500, Charset::Unicode, Colors::Plain).width(), 120);
    }

    #[test]
    fn glyphs_keep_to_their_charset() {
        let ascii = format!("{ASCII:?}");
        assert!(ascii.is_ascii(), "{ascii}");
    }
}
