//! Blocks as a reader sees them, and what holds of every one.

use proptest::prelude::*;
use unicode_width::UnicodeWidthStr;

use super::*;
use crate::report::escape::is_hidden;
use crate::report::style::Colors;
use crate::report::{any, fixtures};

fn block(shutdown: &Shutdown, style: &Style) -> String {
    let mut out = String::new();
    write_block(&mut out, shutdown, fixtures::clock(), style).unwrap();
    out
}

fn line(shutdown: &Shutdown, style: &Style) -> String {
    let mut out = String::new();
    write_line(&mut out, shutdown, style).unwrap();
    out
}

fn plain(width: usize, charset: Charset) -> Style {
    Style::new(width, charset, Colors::Plain)
}

#[test]
fn blocks_at_three_widths() {
    for (name, shutdown) in fixtures::all() {
        let text = [60, 80, 120].map(|width| block(&shutdown, &plain(width, Charset::Unicode)));
        insta::assert_snapshot!(format!("block_{name}"), text.join("\n\n"));
    }
}

#[test]
fn blocks_in_colour() {
    let style = Style::new(80, Charset::Unicode, Colors::Ansi);
    let blocks = [fixtures::shell_wrapper(), fixtures::graceful(), fixtures::died_on_signal(), fixtures::forced()];
    insta::assert_snapshot!(blocks.map(|shutdown| block(&shutdown, &style)).join("\n"));
}

#[test]
fn blocks_in_ascii() {
    let style = plain(80, Charset::Ascii);
    let blocks = [fixtures::npm_start(), fixtures::hostile_names()];
    insta::assert_snapshot!(blocks.map(|shutdown| block(&shutdown, &style)).join("\n"));
}

#[test]
fn blocks_on_the_narrowest_terminal() {
    let style = plain(40, Charset::Unicode);
    let blocks = [fixtures::npm_start(), fixtures::thirty_children()];
    insta::assert_snapshot!(blocks.map(|shutdown| block(&shutdown, &style)).join("\n"));
}

#[test]
fn one_line_each_makes_a_table() {
    let lines = |style: Style| fixtures::all().iter().map(|(_, s)| line(s, &style)).collect::<String>();
    insta::assert_snapshot!(lines(plain(100, Charset::Unicode)));
    assert_eq!(lines(plain(100, Charset::Unicode)).lines().count(), fixtures::all().len());
}

#[test]
fn colour_adds_nothing_but_colour() {
    for (name, shutdown) in fixtures::all() {
        let coloured = block(&shutdown, &Style::new(80, Charset::Unicode, Colors::Ansi));
        let stripped = anstream::adapter::strip_str(&coloured).to_string();
        let bare = block(&shutdown, &plain(80, Charset::Unicode));
        // Where there is colour it takes the place of backticks.
        let words = |text: &str| text.replace('`', "").split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(words(&stripped), words(&bare), "{name}");
        assert_ne!(coloured, bare, "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn no_block_is_too_wide_or_lets_a_name_through(
        shutdown in any::shutdown(),
        width in Style::NARROWEST..=Style::WIDEST,
        charset in prop_oneof![Just(Charset::Unicode), Just(Charset::Ascii)],
    ) {
        let style = plain(width, charset);
        let text = block(&shutdown, &style) + &line(&shutdown, &style);
        for line in text.lines() {
            prop_assert!(line.width() <= width, "{} > {width}: {line}", line.width());
            prop_assert!(!line.contains(is_hidden), "{line:?}");
            prop_assert!(line.chars().all(|c| charset.holds(c)), "{line:?}");
            prop_assert!(!line.ends_with(' '), "{line:?}");
        }
    }
}
