//! What a shutdown's event says: its reason, and one line that the people who run the program understand.
//!
//! Pure. Everything in it that a stranger chose is bounded, and printable by the time it gets here or made so.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;

use crate::event::{Comm, ExitStatus, Signal};
use crate::judge::shutdown::{Cause, InitDisposition, Outcome, Shutdown, Verdict, Workload};
use crate::kube::attribution::About;
use crate::kube::pod::Kind;
use crate::kube::{Moment, stable_hash};
use crate::policy::{Compliance, compliance};

/// Longest note, in bytes: what the API server takes.
const MAX_NOTE: usize = 1024;
/// Longest name of an object.
const MAX_NAME: usize = 253;

/// An event to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// Namespace of the pod, and so of the event.
    pub namespace: Box<str>,
    /// Name of the pod.
    pub pod: Box<str>,
    /// Its uid.
    pub pod_uid: Box<str>,
    /// Name of the container.
    pub container: Box<str>,
    /// Its kind.
    pub kind: Kind,
    /// Why it is written.
    pub reason: &'static str,
    /// The line, at most 1024 bytes.
    pub note: String,
    /// When the shutdown ended.
    pub at: Timestamp,
    /// What owns the pod and the API version that it has, where that is known.
    pub workload: Option<(&'static str, Workload)>,
    /// What tells this shutdown from the container's others.
    pub seed: u64,
}

impl Notice {
    /// What to write about a shutdown; none about one that went well, says nothing about the program, is expected or
    /// ignored by its pod's author, or has no pod.
    pub fn of(shutdown: &Shutdown, about: Option<About<'_>>, now: Moment) -> Option<Box<Self>> {
        let reason = reason(shutdown.verdict).filter(|_| compliance(shutdown) != Compliance::Pass)?;
        let pod = shutdown.container.pod.as_ref()?;
        let container = shutdown.container.name.as_deref()?;
        let unwanted =
            about.is_some_and(|a| a.annotations.expects(shutdown.verdict) || a.annotations.ignores(container));
        if unwanted {
            return None;
        }
        let ago = now.kernel.since(shutdown.ended);
        let workload = pod.workload.as_ref().and_then(|w| Some((api_version(&w.kind)?, w.clone())));
        Some(Box::new(Self {
            namespace: pod.namespace.as_str().into(),
            pod: pod.name.as_str().into(),
            pod_uid: pod.uid.as_str().into(),
            container: container.into(),
            kind: about.map_or(Kind::Main, |a| a.kind),
            reason,
            note: note(shutdown, container, about.and_then(|a| a.annotations.owner())),
            at: now.wall.checked_sub(ago).unwrap_or(now.wall),
            workload,
            seed: shutdown.container.cgroup.0 ^ shutdown.opened.0.rotate_left(32),
        }))
    }

    /// A name for the event: the pod's, cut where it is too long, and what makes it unique.
    pub fn event_name(&self, attempt: u32) -> String {
        let parts =
            [self.pod_uid.as_bytes(), self.container.as_bytes(), &self.seed.to_le_bytes(), &attempt.to_le_bytes()];
        let hash = format!(".{:016x}", stable_hash(&parts));
        let pod: String = self.pod.bytes().take(MAX_NAME - hash.len()).map(dns_byte).collect();
        let pod = pod.trim_matches(['-', '.']);
        if pod.is_empty() { format!("pod{hash}") } else { format!("{pod}{hash}") }
    }

    /// Where in the pod's object the container is, as the kubelet writes it.
    pub fn field_path(&self) -> String {
        let list = match self.kind {
            Kind::Main => "containers",
            Kind::Init | Kind::Sidecar => "initContainers",
            Kind::Ephemeral => "ephemeralContainers",
        };
        format!("spec.{list}{{{}}}", self.container)
    }
}

/// The event's reason for a verdict; none where there is nothing to warn of.
pub fn reason(verdict: Verdict) -> Option<&'static str> {
    match verdict.outcome {
        Outcome::Graceful | Outcome::Forced | Outcome::Unknown => return None,
        Outcome::OomKilled => return Some("OOMKilledDuringShutdown"),
        Outcome::Crashed => return Some("CrashedDuringShutdown"),
        Outcome::GraceExceeded | Outcome::DiedOnSignal | Outcome::ChildrenKilled => {}
    }
    match (verdict.cause, verdict.outcome) {
        (Cause::HostBroadcast, _) => None,
        // Who was told and cut off was killed, whichever way PID 1 went.
        (_, Outcome::ChildrenKilled) | (Cause::NotAwaited, _) => Some("ChildrenKilled"),
        (Cause::Ignored | Cause::ChildIgnored, _) => Some("StopSignalIgnored"),
        (Cause::NotForwarded | Cause::PartiallyForwarded, _) => Some("StopSignalNotForwarded"),
        (Cause::NoHandler, _) => Some("NoSignalHandler"),
        (Cause::PrestopOverrun, _) => Some("PreStopConsumedGracePeriod"),
        (Cause::ChildTooSlow | Cause::Stuck, _) | (Cause::Unknown | Cause::None, Outcome::GraceExceeded) => {
            Some("GracePeriodExceeded")
        }
        (Cause::Unknown | Cause::None, _) => None,
    }
}

/// One line: what happened, why, the verdict, what to change, and who is to, where the pod's author said so.
pub fn note(shutdown: &Shutdown, container: &str, owner: Option<&str>) -> String {
    let verdict = shutdown.verdict;
    let mut line = format!("Container {container} {}: {}", what(shutdown), why(shutdown));
    let _ =
        write!(line, " [{}/{}, trigger {}].", verdict.outcome.name(), verdict.cause.name(), shutdown.trigger.name());
    if !shutdown.advice.is_empty() {
        let _ = write!(line, " {}", shutdown.advice);
    }
    if let Some(owner) = owner {
        let _ = write!(line, " Owner: {owner}.");
    }
    let line: String = line.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    cut(&line, MAX_NOTE)
}

fn what(s: &Shutdown) -> String {
    let stop = stop(s);
    let after = |d: Option<Duration>| d.map_or_else(String::new, |d| format!(" {} after {stop}", seconds(d)));
    match s.verdict.outcome {
        Outcome::GraceExceeded => {
            let grace = s.grace.period.map_or_else(String::new, |g| format!(" (grace period {})", seconds(g)));
            format!("was killed{}{grace}", after(s.stop_to_kill))
        }
        Outcome::ChildrenKilled => {
            let whom = match (s.processes.killed, s.processes.at_stop) {
                (1, 1) => "its only other process was".to_owned(),
                (killed, all) if killed == all => format!("all of its {all} other processes were"),
                (1, all) => format!("1 of its {all} other processes was"),
                (killed, all) => format!("{killed} of its {all} other processes were"),
            };
            format!("ended{}, but {whom} killed", after(s.stop_to_exit))
        }
        Outcome::DiedOnSignal => format!("died of {stop} instead of shutting down"),
        Outcome::Crashed => format!("crashed{}", after(s.stop_to_exit)),
        Outcome::OomKilled => format!("ran out of memory{}", after(s.stop_to_exit)),
        Outcome::Graceful | Outcome::Forced | Outcome::Unknown => format!("ended{}", after(s.stop_to_exit)),
    }
}

fn why(s: &Shutdown) -> String {
    let stop = stop(s);
    let init = s.init.map_or_else(|| "PID 1".to_owned(), |init| format!("PID 1 ({})", printable(&init.comm)));
    let missed = missed(s);
    match s.verdict.outcome {
        Outcome::OomKilled => return "the out-of-memory killer ended its shutdown".into(),
        Outcome::Crashed => {
            return match s.exit {
                Some(ExitStatus::Signal(signal)) => format!("{signal} ended {init}"),
                Some(ExitStatus::Code(_)) | None => "a process that was told to end crashed instead".into(),
            };
        }
        Outcome::Unknown
        | Outcome::Forced
        | Outcome::GraceExceeded
        | Outcome::DiedOnSignal
        | Outcome::ChildrenKilled
        | Outcome::Graceful => {}
    }
    match s.verdict.cause {
        Cause::Ignored => ignored(s, &init, stop),
        Cause::NotForwarded => format!("{init} did not pass {stop} on to {missed}"),
        Cause::PartiallyForwarded => format!("{stop} was passed on but did not reach {missed}"),
        Cause::NotAwaited => format!("{init} passed {stop} on and did not wait for them"),
        Cause::ChildTooSlow => format!("its processes got {stop} and were not done in time"),
        Cause::ChildIgnored => format!("its processes got {stop} and ignore it"),
        Cause::Stuck if s.init_disposition == InitDisposition::NeverRan => {
            format!("{init} was frozen or stuck and never saw {stop}")
        }
        Cause::Stuck => format!("{init} was not done in time"),
        Cause::NoHandler => format!("no process that got {stop} has a handler for it"),
        Cause::PrestopOverrun => {
            let hook = s.prestop.map_or_else(String::new, |d| format!(" {}", seconds(d)));
            format!("preStop hooks or the wait for other containers took{hook} of that time before {stop} was sent")
        }
        Cause::None | Cause::HostBroadcast | Cause::Unknown => format!("the way of {stop} was not seen whole"),
    }
}

fn ignored(s: &Shutdown, init: &str, stop: Signal) -> String {
    match s.init_disposition {
        InitDisposition::NoHandler => format!("{init} has no handler for {stop}, so the kernel dropped it"),
        InitDisposition::SigIgn => format!("{init} ignores {stop}"),
        InitDisposition::Unread => format!("{init} blocks {stop} and never read it"),
        InitDisposition::Reraised => format!("{init} sent {stop} to itself again, which does nothing to a PID 1"),
        InitDisposition::Handled
        | InitDisposition::Waited
        | InitDisposition::NeverRan
        | InitDisposition::DefaultAction
        | InitDisposition::Unknown => format!("{init} took no notice of {stop}"),
    }
}

fn missed(s: &Shutdown) -> String {
    match s.missed.as_slice() {
        [] => "its children".into(),
        [one] => printable(&one.process.comm),
        [one, more @ ..] => format!("{} and {} more", printable(&one.process.comm), more.len()),
    }
}

fn stop(s: &Shutdown) -> Signal {
    s.stop_signal.unwrap_or(Signal::TERM)
}

fn seconds(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if duration.subsec_nanos() == 0 || seconds >= 100.0 {
        format!("{seconds:.0} s")
    } else if seconds >= 1.0 {
        format!("{seconds:.1} s")
    } else if seconds >= 0.01 {
        format!("{seconds:.2} s")
    } else {
        "less than 0.01 s".to_owned()
    }
}

/// Workloads that the API server has; of others the version is not known.
fn api_version(kind: &str) -> Option<&'static str> {
    match kind {
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" => Some("apps/v1"),
        "Job" | "CronJob" => Some("batch/v1"),
        "ReplicationController" => Some("v1"),
        "Rollout" => Some("argoproj.io/v1alpha1"),
        _ => None,
    }
}

fn dns_byte(byte: u8) -> char {
    match byte.to_ascii_lowercase() {
        valid @ (b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.') => char::from(valid),
        _ => '-',
    }
}

/// Bytes that a stranger chose: printable ASCII stays, the rest becomes `?`.
fn printable(comm: &Comm) -> String {
    let shown = |b: &u8| if b.is_ascii_graphic() || *b == b' ' { char::from(*b) } else { '?' };
    let text: String = comm.as_bytes().iter().map(shown).collect();
    if text.is_empty() { "?".into() } else { text }
}

/// The start of a text within so many bytes, with a mark where something was cut.
pub fn cut(text: &str, limit: usize) -> String {
    const MARK: &str = "…";
    if text.len() <= limit {
        return text.to_owned();
    }
    format!("{}{MARK}", &text[..text.floor_char_boundary(limit.saturating_sub(MARK.len()))])
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::event::Pid;
    use crate::judge::shutdown::{Confidence, Counts, Finding, Grace, GraceSource, KilledBy, Missed, Named, Trigger};
    use crate::kube::annotations::{self, Annotations};
    use crate::kube::testing::{moment, named_shutdown};

    /// An event about a container of one pod.
    pub(in crate::kube::events) fn notice(container: &str, reason: &'static str) -> Box<Notice> {
        let mut notice = Notice::of(&named_shutdown(container), None, moment(131.0)).unwrap();
        notice.reason = reason;
        notice
    }

    fn about(annotations: &Annotations) -> About<'_> {
        About { annotations, kind: Kind::Main, selected: true, settled: true, live: true, grace: None }
    }

    fn named(comm: &[u8]) -> Named {
        Named { pid: Pid(7), ns_pid: Some(Pid(7)), comm: Comm::new(comm) }
    }

    fn line(change: impl FnOnce(&mut Shutdown)) -> String {
        let mut shutdown = named_shutdown("app");
        change(&mut shutdown);
        note(&shutdown, "app", None)
    }

    fn missing(comm: &[u8]) -> Missed {
        Missed { process: named(comm), broke_at: None }
    }

    #[test]
    fn every_verdict_has_the_reason_of_the_table() {
        let mut table = String::new();
        for outcome in Outcome::ALL {
            for cause in Cause::ALL {
                let reason = reason(Verdict { outcome, cause }).unwrap_or("-");
                let _ = writeln!(table, "{:<16} {:<20} {reason}", outcome.name(), cause.name());
            }
        }
        insta::assert_snapshot!(table);
    }

    #[test]
    fn one_line_that_a_person_understands() {
        let lines = [
            line(|s| s.missed = vec![missing(b"python3")]),
            line(|s| {
                s.verdict.cause = Cause::Ignored;
                s.init_disposition = InitDisposition::Reraised;
                s.init = Some(named(b"node"));
                s.advice = String::new();
            }),
            line(|s| {
                s.verdict = Verdict { outcome: Outcome::ChildrenKilled, cause: Cause::NotAwaited };
                s.processes = Counts { at_stop: 4, leaves: 3, told: 4, killed: 2 };
                s.stop_to_exit = Some(Duration::from_millis(523));
            }),
            line(|s| {
                s.verdict = Verdict { outcome: Outcome::DiedOnSignal, cause: Cause::NoHandler };
                s.stop_signal = Some(Signal::QUIT);
            }),
            line(|s| {
                s.verdict.cause = Cause::PrestopOverrun;
                s.prestop = Some(Duration::from_millis(6_120));
                s.grace.period = Some(Duration::from_secs(4));
                s.stop_to_kill = Some(Duration::from_millis(2_010));
            }),
            line(|s| {
                s.verdict = Verdict { outcome: Outcome::Crashed, cause: Cause::None };
                s.exit = Some(ExitStatus::Signal(Signal::SEGV));
                s.stop_to_exit = Some(Duration::from_millis(40));
            }),
            line(|s| s.verdict = Verdict { outcome: Outcome::OomKilled, cause: Cause::None }),
            line(|s| {
                s.verdict.cause = Cause::PartiallyForwarded;
                s.missed = vec![missing(b"node"), missing(b"sh")];
                s.grace = Grace { period: None, source: GraceSource::Unknown };
                s.trigger = Trigger::Unknown;
            }),
        ];
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn killed_processes_are_counted_as_people_do() {
        for (killed, at_stop, words) in [
            (1, 1, "but its only other process was killed"),
            (3, 3, "but all of its 3 other processes were killed"),
            (1, 4, "but 1 of its 4 other processes was killed"),
            (2, 4, "but 2 of its 4 other processes were killed"),
        ] {
            let mut shutdown = named_shutdown("app");
            shutdown.verdict = Verdict { outcome: Outcome::ChildrenKilled, cause: Cause::NotForwarded };
            shutdown.processes = Counts { killed, at_stop, ..Counts::default() };
            shutdown.stop_to_exit = Some(Duration::from_micros(310));
            let line = note(&shutdown, "app", None);
            assert!(line.contains(words) && line.contains("ended less than 0.01 s after SIGTERM"), "{line}");
        }
    }

    #[test]
    fn nothing_is_written_about_what_went_well_or_was_not_to_be_told() {
        let offered = |change: &dyn Fn(&mut Shutdown), about: Option<About<'_>>| {
            let mut shutdown = named_shutdown("app");
            change(&mut shutdown);
            Notice::of(&shutdown, about, moment(131.0)).map(|n| n.reason)
        };
        assert_eq!(offered(&|_| {}, None), Some("StopSignalNotForwarded"));
        assert_eq!(offered(&|s| s.verdict.outcome = Outcome::Graceful, None), None);
        assert_eq!(offered(&|s| s.verdict.cause = Cause::HostBroadcast, None), None);
        let helpers = |s: &mut Shutdown| {
            s.verdict = Verdict { outcome: Outcome::ChildrenKilled, cause: Cause::NotForwarded };
            s.findings = vec![Finding::HelpersKilled];
            s.killed_by = Some(KilledBy::Teardown);
            s.confidence = Confidence::Observed;
        };
        assert_eq!(offered(&helpers, None), None, "only helpers were killed");
        let nameless = |s: &mut Shutdown| Arc::make_mut(&mut s.container).name = None;
        assert_eq!(offered(&nameless, None), None);
        for (key, value, told) in [
            (annotations::EXPECT, "not_forwarded", false),
            (annotations::EXPECT, "grace_exceeded", false),
            (annotations::EXPECT, "ignored", true),
            (annotations::IGNORE, "app", false),
            (annotations::IGNORE, "proxy", true),
        ] {
            let all = [(key.to_owned(), value.to_owned())].into();
            let (annotations, faults) = Annotations::read(&all, &["app", "proxy"]);
            assert_eq!(faults, []);
            let about = Some(about(&annotations));
            assert_eq!(offered(&|_| {}, about).is_some(), told, "{key}={value}");
        }
    }

    #[test]
    fn whoever_the_author_names_as_the_owner_is_named() {
        let all = std::collections::BTreeMap::from([(annotations::OWNER.to_owned(), "payments #oncall".to_owned())]);
        let (annotations, _) = Annotations::read(&all, &["app"]);
        let about = Some(about(&annotations));
        let notice = Notice::of(&named_shutdown("app"), about, moment(131.0)).unwrap();
        assert!(notice.note.ends_with(" Owner: payments #oncall."), "{}", notice.note);
    }

    #[test]
    fn the_event_is_about_when_the_shutdown_ended() {
        let notice = Notice::of(&named_shutdown("app"), None, moment(133.5)).unwrap();
        assert_eq!(notice.at.to_string(), "2026-11-22T21:32:10Z");
    }

    #[test]
    fn where_in_the_pod_the_container_is() {
        let path = |kind| Notice { kind, ..*notice("app", "") }.field_path();
        assert_eq!(path(Kind::Main), "spec.containers{app}");
        assert_eq!(path(Kind::Sidecar), "spec.initContainers{app}");
        assert_eq!(path(Kind::Ephemeral), "spec.ephemeralContainers{app}");
    }

    #[test]
    fn names_differ_by_what_they_are_about_and_by_attempt() {
        let a = notice("app", "");
        let names = [
            a.event_name(0),
            a.event_name(1),
            notice("proxy", "").event_name(0),
            Notice { pod_uid: "another".into(), ..(*a).clone() }.event_name(0),
            Notice { seed: 1, ..(*a).clone() }.event_name(0),
        ];
        assert!(names.iter().all(|n| n.starts_with("cart-5b8fb75c8-rmmgn.")));
        assert_eq!(names.iter().collect::<std::collections::HashSet<_>>().len(), names.len(), "{names:?}");
        assert_eq!(a.event_name(0), notice("app", "").event_name(0), "the same again after a restart of the agent");
    }

    fn is_dns_subdomain(name: &str) -> bool {
        let label = |l: &str| {
            !l.is_empty()
                && l.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                && !l.starts_with('-')
                && !l.ends_with('-')
        };
        name.len() <= MAX_NAME && name.split('.').all(label)
    }

    proptest! {
        #[test]
        fn the_name_of_any_pods_event_is_valid(pod in "[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?(\\.[a-z0-9]([a-z0-9-]{0,60}[a-z0-9])?){0,8}", attempt: u32) {
            let notice = Notice { pod: pod.as_str().into(), ..*notice("app", "") };
            prop_assert!(is_dns_subdomain(&notice.event_name(attempt)), "{}", notice.event_name(attempt));
        }

        #[test]
        fn no_text_makes_a_note_too_long_or_unprintable(advice in "\\PC{0,2000}", comm in prop::collection::vec(any::<u8>(), 0..15)) {
            let line = line(|s| {
                s.advice = format!("{advice}\n\u{1b}[31m");
                s.init = Some(named(&comm));
                s.missed = vec![missing(&comm)];
            });
            prop_assert!(line.len() <= MAX_NOTE && !line.contains(char::is_control));
        }

        #[test]
        fn a_cut_text_is_a_prefix_with_a_mark(text in "\\PC{0,60}", limit in 3usize..100) {
            let cut = cut(&text, limit);
            prop_assert!(cut.len() <= limit);
            prop_assert!(cut == text || text.starts_with(cut.strip_suffix('…').unwrap()));
        }
    }
}
