//! Names that strangers chose, made fit to print.
//!
//! A process names itself (`PR_SET_NAME`) with any bytes, an image reference comes from a manifest: both may hold
//! escape sequences, line ends, or characters that reorder or hide text. Here they become visible, and bounded. JSON
//! escapes in its own way and asks [`is_hidden`] what to escape.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::style::Charset;

/// Columns that a process name may take: its 15 bytes fit, and some escapes.
const NAME_COLUMNS: usize = 24;

/// Columns that a sentence may take before it is cut.
const SENTENCE_COLUMNS: usize = 1200;

/// Whether a terminal would obey the character, or show nothing for it: Unicode's Cc, Cf, Zl, Zp, every space but the
/// plain one, and the characters that are ignored by default.
pub fn is_hidden(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    c.is_control()
        || c.is_whitespace()
        || matches!(u32::from(c),
            0xAD | 0x34F | 0x600..=0x605 | 0x61C | 0x6DD | 0x70F | 0x890..=0x891 | 0x8E2
            | 0x115F..=0x1160 | 0x17B4..=0x17B5 | 0x180B..=0x180F | 0x200B..=0x200F | 0x202A..=0x202E
            | 0x2060..=0x206F | 0x2800 | 0x3164 | 0xFE00..=0xFE0F | 0xFEFF | 0xFFA0 | 0xFFF0..=0xFFFB
            | 0x110BD | 0x110CD | 0x13430..=0x1343F | 0x1BCA0..=0x1BCA3 | 0x1D173..=0x1D17A | 0xE0000..=0xE0FFF)
}

/// A process name. In quotes where it could be taken for the notation around it, or for nothing.
pub fn name(bytes: &[u8], charset: Charset) -> String {
    // In a sentence a backtick begins code.
    let visible = visible(bytes, charset).replace('`', r"\u{60}");
    let doubtful = |c: char| "()[]\",".contains(c) || Charset::DRAWING.contains(c);
    let shown = cut(&visible, NAME_COLUMNS, charset);
    if visible.is_empty() || visible.starts_with(' ') || visible.ends_with(' ') || visible.contains(doubtful) {
        format!("\"{shown}\"")
    } else {
        shown
    }
}

/// A word of Kubernetes or the runtime (pod, container, image), in at most `columns`.
pub fn word(text: &str, columns: usize, charset: Charset) -> String {
    cut(&visible(text.as_bytes(), charset), columns, charset)
}

/// A sentence that may hold such names.
pub fn sentence(text: &str, charset: Charset) -> String {
    cut(&visible(text.as_bytes(), charset), SENTENCE_COLUMNS, charset)
}

/// Every hidden character as `\u{1b}`, every byte that is no UTF-8 as `\xff`, a backslash doubled.
fn visible(bytes: &[u8], charset: Charset) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        // A mark joins the character before it. One is how a language writes; more of them climb over other lines.
        let mut mark_may_follow = false;
        for c in chunk.valid().chars() {
            let is_mark = c.width() == Some(0);
            match c {
                '\\' => out.push_str("\\\\"),
                _ if is_hidden(c) || (is_mark && !mark_may_follow) || !charset.holds(c) => {
                    out.extend(c.escape_unicode());
                    mark_may_follow = false;
                    continue;
                }
                _ => out.push(c),
            }
            mark_may_follow = !is_mark;
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out
}

/// The text in at most so many columns, with a sign where it was cut.
pub(super) fn cut(text: &str, columns: usize, charset: Charset) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let sign = charset.glyphs().ellipsis;
    let room = columns.saturating_sub(sign.width());
    let mut used = 0;
    let kept = text.chars().take_while(|c| {
        used += c.width().unwrap_or(0);
        used <= room
    });
    kept.chain(sign.chars().take(columns)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn unicode(bytes: &[u8]) -> String {
        name(bytes, Charset::Unicode)
    }

    #[test]
    fn plain_names_stay_as_they_are() {
        for plain in ["sh", "python3", "npm start", "nginx: worker", "C2 CompilerThre", "GC Thread#0", "münchen"] {
            assert_eq!(unicode(plain.as_bytes()), plain);
        }
    }

    #[test]
    fn what_a_terminal_obeys_becomes_visible() {
        assert_eq!(unicode(b"\x1b[31mred"), r#""\u{1b}[31mred""#);
        assert_eq!(unicode(b"a\nb\r\t\x07"), r"a\u{a}b\u{d}\u{9}\u{7}");
        assert_eq!(unicode("\u{9b}2J".as_bytes()), r"\u{9b}2J");
        assert_eq!(unicode("evil\u{202e}hs".as_bytes()), r"evil\u{202e}hs");
        assert_eq!(unicode("s\u{200b}h\u{feff}".as_bytes()), r"s\u{200b}h\u{feff}");
        assert_eq!(unicode("\u{e0041}\u{2028}".as_bytes()), r"\u{e0041}\u{2028}");
        assert_eq!(unicode("\u{a0}\u{3164}".as_bytes()), r"\u{a0}\u{3164}");
        assert_eq!(unicode(b"ok\xff\xfe"), r"ok\xff\xfe");
        assert_eq!(unicode(b"a`b"), r"a\u{60}b");
        assert_eq!(unicode(br"\u{1b}"), r"\\u{1b}", "a typed escape is not an escape");
    }

    #[test]
    fn names_that_pose_as_our_own_words_are_quoted() {
        assert_eq!(unicode(b""), "\"\"");
        assert_eq!(unicode(b" sh"), "\" sh\"");
        assert_eq!(unicode(b"runc (outside)"), "\"runc (outside)\"");
        assert_eq!(unicode("sh·1 ──▶".as_bytes()), "\"sh·1 ──▶\"");
    }

    #[test]
    fn one_mark_on_a_letter_and_no_tower_of_them() {
        assert_eq!(unicode("e\u{301}".as_bytes()), "e\u{301}");
        assert_eq!(unicode("e\u{301}\u{302}".as_bytes()), "e\u{301}\\u{302}");
        assert_eq!(unicode("\u{301}e".as_bytes()), "\\u{301}e");
    }

    #[test]
    fn ascii_terminals_get_ascii() {
        assert_eq!(name("münchen".as_bytes(), Charset::Ascii), r"m\u{fc}nchen");
        assert_eq!(word("abcdefgh", 5, Charset::Ascii), "ab...");
        assert_eq!(word("abcdefgh", 2, Charset::Ascii), "..");
        assert_eq!(word("abcdefgh", 5, Charset::Unicode), "abcd…");
        assert_eq!(word("日本語", 5, Charset::Unicode), "日本…");
    }

    proptest! {
        #[test]
        fn nothing_hidden_gets_through_and_the_bound_holds(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let shown = unicode(&bytes);
            prop_assert!(!shown.chars().any(is_hidden), "{shown:?}");
            prop_assert!(shown.width() <= NAME_COLUMNS + 2);
            prop_assert!(name(&bytes, Charset::Ascii).bytes().all(|b| (b' '..=b'~').contains(&b)));
        }

        #[test]
        fn different_names_look_different(a in any::<[char; 2]>(), b in any::<[char; 2]>()) {
            let (a, b): (String, String) = (a.iter().collect(), b.iter().collect());
            prop_assert_eq!(a == b, unicode(a.as_bytes()) == unicode(b.as_bytes()));
        }
    }
}
