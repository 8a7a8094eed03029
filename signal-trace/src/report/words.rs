//! The words in which people read a shutdown: spans, processes, places, reasons.
//!
//! Shared by the block, the timeline and the one-line form; what names mean in general is `explain`'s.

use std::time::Duration;

use super::escape;
use super::explain::Entry;
use super::style::{Charset, Glyphs, Paint};
use crate::event::{ExitStatus, Generated, Signal};
use crate::judge::shutdown::{
    Cause, Confidence, Delivery, GraceSource, InitDisposition, KilledBy, Named, Outcome, Shutdown, Trigger, Where,
};

/// A measured span: `0.2 ms`, `530 ms`, `4.0 s`, `312 s`.
pub(crate) fn measured(span: Duration) -> String {
    let millis = span.as_secs_f64() * 1e3;
    match millis {
        0.0 => "0 s".to_owned(),
        ..9.95 => format!("{millis:.1} ms"),
        ..999.5 => format!("{millis:.0} ms"),
        ..99_950.0 => format!("{:.1} s", millis / 1e3),
        _ => format!("{:.0} s", millis / 1e3),
    }
}

/// A configured span: `30 s`, `1.5 s`.
pub(crate) fn configured(span: Duration) -> String {
    if span.subsec_nanos() == 0 { format!("{} s", span.as_secs()) } else { format!("{:.1} s", span.as_secs_f64()) }
}

/// The name and the pid in the container, or in brackets the one on the host where that is all there is.
pub(crate) fn process(named: Named, charset: Charset) -> String {
    let name = escape::name(named.comm.as_bytes(), charset);
    match named.ns_pid {
        Some(pid) => format!("{name}{}{}", charset.glyphs().pid, pid.0),
        None => format!("{name}[{}]", named.pid.0),
    }
}

/// Who sent a signal, and from where if not from inside.
pub(crate) fn sender(from: Named, origin: Where, result: Delivery, charset: Charset) -> String {
    match origin {
        Where::Kernel if result != Delivery::Teardown => "kernel".to_owned(),
        Where::Inside | Where::Kernel => process(from, charset),
        Where::ExecSession => format!("{} (exec session)", process(from, charset)),
        Where::Outside => format!("{} (outside)", escape::name(from.comm.as_bytes(), charset)),
        Where::Host => format!("{} (host)", escape::name(from.comm.as_bytes(), charset)),
    }
}

/// What became of a signal, where that is worth a word.
pub(crate) fn delivery(result: Delivery) -> Option<&'static str> {
    match result {
        Delivery::Generated(Generated::Delivered) => None,
        Delivery::Generated(Generated::Ignored) => Some("ignored"),
        Delivery::Generated(Generated::AlreadyPending) => Some("one was pending already"),
        Delivery::Generated(Generated::Overflow) => Some("its queue was full"),
        Delivery::NoHandler => Some("dropped: no handler"),
        Delivery::Teardown => Some("teardown"),
        Delivery::Dying => Some("was dying already"),
    }
}

/// How a process ended.
pub(crate) fn ended(status: ExitStatus) -> String {
    match status {
        ExitStatus::Code(code) => format!("exit code {code}"),
        ExitStatus::Signal(Signal::KILL) => "killed by SIGKILL".to_owned(),
        ExitStatus::Signal(signal) => format!("ended by {signal}"),
    }
}

pub(crate) fn killer(by: KilledBy) -> &'static str {
    match by {
        KilledBy::Runtime => "by the runtime",
        KilledBy::Teardown => "by the kernel, as PID 1 was gone",
        KilledBy::Supervisor => "by a process above it",
        KilledBy::Inside => "by another process of the container",
        KilledBy::Oom => "by the OOM killer",
    }
}

pub(crate) fn confidence(confidence: Confidence) -> &'static str {
    match confidence {
        Confidence::Partial => "partial: the shutdown was not seen whole",
        Confidence::Observed => "observed: the order of signals and exits decides it",
        Confidence::Proven => "proven: a kernel fact decides it",
    }
}

/// Why the container was stopped; none where that is not known.
pub(crate) fn trigger(trigger: Trigger) -> Option<&'static str> {
    match trigger {
        Trigger::Delete => Some("the pod was deleted"),
        Trigger::Eviction => Some("the pod was evicted"),
        Trigger::Preemption => Some("a pod of higher priority took its place"),
        Trigger::Taint => Some("the node was tainted"),
        Trigger::PodGc => Some("the pod garbage collector removed the pod"),
        Trigger::NodeShutdown => Some("the node shut down"),
        Trigger::Probe => Some("a liveness or startup probe failed"),
        Trigger::Restart => Some("it was restarted in its pod"),
        Trigger::RuntimeStop => Some("somebody asked the runtime to stop it"),
        Trigger::Unknown => None,
    }
}

pub(crate) fn grace_source(source: GraceSource) -> &'static str {
    match source {
        GraceSource::Deletion => "as the deletion asked for",
        GraceSource::Spec => "from the pod's spec",
        GraceSource::Probe => "from the probe's own setting",
        GraceSource::Floor => "the least that the kubelet gives",
        GraceSource::Flag => "from --grace",
        GraceSource::RuntimeDefault => "the runtime's default",
        GraceSource::Unknown => "from where is not known",
    }
}

/// How an outcome looks.
pub(crate) fn mood(outcome: Outcome, glyphs: &'static Glyphs) -> (Paint, &'static str) {
    match outcome {
        Outcome::Graceful => (Paint::Good, glyphs.good),
        Outcome::DiedOnSignal | Outcome::ChildrenKilled => (Paint::Warn, glyphs.warn),
        Outcome::GraceExceeded | Outcome::Crashed | Outcome::OomKilled => (Paint::Bad, glyphs.bad),
        Outcome::Forced => (Paint::Neutral, glyphs.forced),
        Outcome::Unknown => (Paint::Neutral, glyphs.unknown),
    }
}

/// The verdict in one sentence.
pub(crate) fn sentence(shutdown: &Shutdown, charset: Charset) -> String {
    let (init, signal) = actors(shutdown, charset);
    let outcome = Entry::from(shutdown.verdict.outcome).text.of(&init, &signal);
    if shutdown.verdict.cause == Cause::None {
        return format!("{outcome}.");
    }
    format!("{outcome}: {}.", Entry::from(shutdown.verdict.cause).text.of(&init, &signal))
}

/// What init did with the stop signal; none where that is not known.
pub(crate) fn disposition(shutdown: &Shutdown, charset: Charset) -> Option<String> {
    let (init, signal) = actors(shutdown, charset);
    let is_known = shutdown.init_disposition != InitDisposition::Unknown;
    is_known.then(|| format!("{}.", Entry::from(shutdown.init_disposition).text.of(&init, &signal)))
}

fn actors(shutdown: &Shutdown, charset: Charset) -> (String, String) {
    let init = shutdown.init.map_or_else(|| "PID 1".to_owned(), |init| process(init, charset));
    let signal = shutdown.stop_signal.map_or_else(|| "the stop signal".to_owned(), |signal| signal.to_string());
    (init, signal)
}

/// `1 process`, `2 processes`.
pub(crate) fn count(n: usize, one: &str, more: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { more })
}

/// So many names of a group are shown where there is room.
pub(crate) const NAMES: usize = 3;

/// The first so many of them, and a sign that there are more.
pub(crate) fn first(names: &[Named], shown: usize, charset: Charset) -> String {
    let mut shown_names: Vec<String> = names.iter().take(shown).map(|named| process(*named, charset)).collect();
    if names.len() > shown {
        shown_names.push(charset.glyphs().ellipsis.to_owned());
    }
    shown_names.join(", ")
}

/// The first so many of them, and how many more there are.
pub(crate) fn some(names: &[Named], shown: usize, charset: Charset) -> String {
    let mut text = first(&names[..shown.min(names.len())], shown, charset);
    if let Some(more) = names.len().checked_sub(shown).filter(|more| *more > 0) {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixtures;

    #[test]
    fn spans_are_as_exact_as_their_size_asks() {
        let text = |nanos| measured(Duration::from_nanos(nanos));
        assert_eq!(text(0), "0 s");
        assert_eq!(text(204_000), "0.2 ms");
        assert_eq!(text(9_960_000), "10 ms");
        assert_eq!(text(530_400_000), "530 ms");
        assert_eq!(text(999_600_000), "1.0 s");
        assert_eq!(text(30_010_200_000), "30.0 s");
        assert_eq!(text(312_000_000_000), "312 s");
        assert_eq!(configured(Duration::from_secs(30)), "30 s");
        assert_eq!(configured(Duration::from_millis(1500)), "1.5 s");
    }

    #[test]
    fn processes_carry_their_pid_in_the_container_if_there_is_one() {
        assert_eq!(process(fixtures::inside(7, b"python3"), Charset::Unicode), "python3·7");
        assert_eq!(process(fixtures::inside(7, b"python3"), Charset::Ascii), "python3:7");
        assert_eq!(process(fixtures::outside(4242, b"python3"), Charset::Unicode), "python3[4242]");
    }

    #[test]
    fn long_lists_of_names_are_counted() {
        let names: Vec<Named> = (2..9).map(|pid| fixtures::inside(pid, b"w")).collect();
        assert_eq!(some(&names[..3], NAMES, Charset::Unicode), "w·2, w·3, w·4");
        assert_eq!(some(&names, NAMES, Charset::Unicode), "w·2, w·3, w·4 and 4 more");
        assert_eq!(first(&names, 2, Charset::Ascii), "w:2, w:3, ...");
    }
}
