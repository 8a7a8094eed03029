//! Findings for people, a line each with the fix below it, and for programs.

use std::fmt;

use serde::Serialize;

use super::{Check, Level, is_ready};
use crate::report::escape;
use crate::report::line::{Line, prose};
use crate::report::style::{Paint, Style};

/// Where what was found begins.
const COLUMN: usize = 18;

/// The lines.
///
/// # Errors
/// Those of the writer.
pub fn write(out: &mut impl fmt::Write, checks: &[Check], style: &Style) -> fmt::Result {
    let glyphs = style.glyphs();
    for check in checks {
        let (paint, sign) = match check.level {
            Level::Ok => (Paint::Good, glyphs.good),
            Level::Warn => (Paint::Warn, glyphs.warn),
            Level::Fail => (Paint::Bad, glyphs.bad),
        };
        let mut line = Line::new();
        line.push(paint, format!("{sign} ")).push(Paint::Strong, check.name);
        let found = escape::sentence(&check.found, style.charset());
        let fix = check.fix.iter().map(|fix| (Paint::Signal, escape::sentence(fix, style.charset())));
        for (paint, text) in std::iter::once((Paint::Plain, found)).chain(fix) {
            for words in prose(&text, style.width() - COLUMN, paint, style) {
                line.pad_to(COLUMN).append(words);
                line.write(out, style)?;
                line = Line::new();
            }
        }
    }
    let mut closing = Line::new();
    if is_ready(checks) {
        closing.push(Paint::Good, "ready to trace");
    } else {
        let lacks = checks.iter().filter(|check| check.level == Level::Fail).count();
        closing.push(Paint::Bad, format!("not ready: {lacks} of {} in the way", checks.len()));
    }
    closing.write(out, style)
}

/// For programs: `signal-trace.dev/doctor/v1`.
#[derive(Debug, Serialize)]
pub struct Findings<'c> {
    schema: &'static str,
    version: &'static str,
    ready: bool,
    checks: &'c [Check],
}

impl<'c> Findings<'c> {
    /// Of these.
    pub fn new(checks: &'c [Check]) -> Self {
        let version = env!("CARGO_PKG_VERSION");
        Self { schema: "signal-trace.dev/doctor/v1", version, ready: is_ready(checks), checks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::style::{Charset, Colors};

    #[test]
    fn a_line_each_and_the_fix_below() {
        let checks = [
            Check::ok("kernel", "Linux 6.18"),
            Check::warn("cgroups", "only a part of the v2 hierarchy is here", "mount the host's /sys/fs/cgroup"),
            Check::fail(
                "capabilities",
                "CAP_BPF missing \u{1b}[2J",
                "run as root, or add the capabilities BPF and PERFMON",
            ),
        ];
        let mut text = String::new();
        for (width, charset) in [(80, Charset::Unicode), (50, Charset::Ascii)] {
            write(&mut text, &checks, &Style::new(width, charset, Colors::Plain)).unwrap();
        }
        insta::assert_snapshot!(text);
        let json = serde_json::to_value(Findings::new(&checks)).unwrap();
        assert_eq!((&json["ready"], &json["checks"][2]["level"]), (&false.into(), &"fail".into()));
    }
}
