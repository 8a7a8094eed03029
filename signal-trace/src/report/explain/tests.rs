//! Every name has its words, and the words keep to their form.

use unicode_width::UnicodeWidthStr;

use super::*;
use crate::report::style::{Charset, Colors, Style};

fn entry_text(name: &str, style: &Style) -> String {
    let mut out = String::new();
    write_entries(&mut out, &look_up(name).unwrap(), style).unwrap();
    out
}

#[test]
fn every_name_has_words_and_none_has_too_many() {
    let all = all();
    let verdicts = Outcome::ALL.len() + Cause::ALL.len() + InitDisposition::ALL.len() + Finding::ALL.len();
    assert_eq!(all.len(), verdicts + Alert::ALL.len());
    for entry in &all {
        let (name, text) = (entry.name, entry.text);
        assert!((20..=90).contains(&text.in_general().len()), "{name}: {}", text.in_general());
        assert!(!text.brief.ends_with('.') && !text.in_general().contains(['{', '}']), "{name}");
        for words in [text.meaning, text.how, text.kernel].into_iter().chain(text.ignore) {
            assert!((20..=340).contains(&words.len()), "{name}: {} characters: {words}", words.len());
            assert!(words.ends_with('.'), "{name}: {words}");
            assert!(words.matches('`').count().is_multiple_of(2), "{name}: {words}");
        }
        assert!(text.fixes.len() <= 7, "{name}");
    }
}

#[test]
fn fixes_are_short_and_their_examples_fit_a_narrow_terminal() {
    for fix in all().iter().flat_map(|entry| entry.text.fixes) {
        assert!(fix.who.len() <= 17, "{}", fix.who);
        assert!((40..=340).contains(&fix.what.len()), "{}: {}", fix.who, fix.what.len());
        assert!(fix.what.ends_with('.') && fix.what.matches('`').count().is_multiple_of(2), "{}", fix.what);
        assert!(fix.example.len() <= 6, "{}", fix.who);
        assert!(fix.example.iter().all(|line| line.len() <= 56), "{}: {:?}", fix.who, fix.example);
    }
}

#[test]
fn texts_are_plain_ascii_with_single_spaces() {
    for entry in all() {
        let texts = [entry.text.brief, entry.text.meaning, entry.text.how, entry.text.kernel];
        for text in texts
            .into_iter()
            .chain(entry.text.ignore)
            .chain(entry.text.fixes.iter().flat_map(|fix| [fix.who, fix.what]))
        {
            assert!(text.is_ascii() && !text.contains("  ") && !text.contains('\n'), "{text:?}");
        }
    }
}

#[test]
fn all_that_can_fail_says_what_to_change() {
    for outcome in Outcome::ALL.into_iter().filter(|outcome| *outcome != Outcome::Graceful) {
        assert!(!Entry::from(outcome).text.fixes.is_empty(), "{outcome:?}");
    }
    for cause in Cause::ALL.into_iter().filter(|cause| *cause != Cause::None) {
        assert!(!Entry::from(cause).text.fixes.is_empty(), "{cause:?}");
    }
    for alert in Alert::ALL {
        assert!(!Entry::from(alert).text.fixes.is_empty(), "{alert:?}");
    }
}

#[test]
fn verdicts_and_alerts_can_be_confirmed_and_ignored_and_facts_cannot() {
    for entry in all() {
        let (commands, ignore) = match entry.axis {
            Axis::Outcome | Axis::Cause | Axis::Alert => (2, true),
            Axis::InitDisposition | Axis::Finding => (0, false),
        };
        assert_eq!((entry.confirm().len(), entry.text.ignore.is_some()), (commands, ignore), "{}", entry.name);
    }
}

#[test]
fn names_are_found_however_they_are_written() {
    let names = |asked: &str| look_up(asked).unwrap().iter().map(|e| (e.axis, e.name)).collect::<Vec<_>>();
    let whole = [(Axis::Outcome, "grace_exceeded"), (Axis::Cause, "not_forwarded")];
    for asked in ["grace_exceeded/not_forwarded", "Grace-Exceeded not-forwarded", "grace_exceeded · not_forwarded"] {
        assert_eq!(names(asked), whole, "{asked}");
    }
    assert_eq!(names("no_handler"), [(Axis::Cause, "no_handler"), (Axis::InitDisposition, "no_handler")]);
    assert_eq!(names("ChildrenKilled"), [(Axis::Outcome, "children_killed")]);
    assert_eq!(names("StopSignalIgnored"), [(Axis::Cause, "ignored"), (Axis::Cause, "child_ignored")]);
}

#[test]
fn an_unknown_name_is_an_error_that_helps() {
    let message = |asked: &str| look_up(asked).unwrap_err().to_string();
    assert_eq!(
        message("gracefull"),
        r#"no verdict is called "gracefull", the nearest is graceful; `signal-trace explain` lists them all"#
    );
    assert!(message("grace_exceeded/notforwrded").contains("the nearest is not_forwarded"));
    assert!(!message("xyzzy").contains("nearest"), "{}", message("xyzzy"));
    assert!(message("").contains("lists them all"));
    assert!(message("\u{1b}[31m").contains(r"\u{1b}"), "what was typed is not printed raw");
}

#[test]
fn a_name_in_a_brief_stands_for_nothing_else() {
    let text = Entry::from(Cause::Ignored).text;
    assert_eq!(text.of("sh·1", "SIGTERM"), "sh·1 took no notice of SIGTERM");
    assert_eq!(text.of("{signal}", "SIGTERM"), "{signal} took no notice of SIGTERM");
}

#[test]
fn lines_keep_to_the_width() {
    for width in [40, 60, 80, 120] {
        let style = Style::new(width, Charset::Ascii, Colors::Plain);
        for entry in all() {
            let text = entry_text(entry.name, &style);
            // Examples are not broken: on a narrow terminal they may stand out.
            let fixes: Vec<_> = look_up(entry.name).unwrap().iter().flat_map(|entry| entry.text.fixes).collect();
            let commands: Vec<_> = look_up(entry.name).unwrap().iter().flat_map(Entry::confirm).collect();
            let is_command = |line: &str| commands.iter().any(|command| line.ends_with(command));
            let is_code = |line: &str| fixes.iter().any(|fix| fix.example.iter().any(|code| line.ends_with(code)));
            for line in text.lines().filter(|line| !is_command(line) && (width >= 64 || !is_code(line))) {
                assert!(line.width() <= width, "{width}: {line}");
            }
        }
        let mut list = String::new();
        write_list(&mut list, &style).unwrap();
        assert!(list.lines().all(|line| line.width() <= width), "{list}");
    }
}

#[test]
fn what_heals_both_halves_of_a_verdict_is_said_once() {
    let text = entry_text("children_killed/partially_forwarded", &Style::new(80, Charset::Ascii, Colors::Plain));
    assert_eq!(text.matches("npm, yarn, pnpm").count(), 1, "{text}");
    assert!(text.contains("setsid, daemons"), "{text}");
}

#[test]
fn on_a_terminal() {
    let style = Style::new(80, Charset::Unicode, Colors::Plain);
    let mut list = String::new();
    write_list(&mut list, &style).unwrap();
    insta::assert_snapshot!("list", list);
    insta::assert_snapshot!("not_forwarded", entry_text("not_forwarded", &style));
    insta::assert_snapshot!("narrow", entry_text("not_awaited", &Style::new(50, Charset::Ascii, Colors::Plain)));
    insta::assert_snapshot!("coloured", entry_text("prestop_overrun", &Style::new(80, Charset::Unicode, Colors::Ansi)));
}

#[test]
fn as_markdown() {
    let mut out = String::new();
    markdown(&mut out, Entry::from(Cause::NotForwarded), 2).unwrap();
    insta::assert_snapshot!(out);
}
