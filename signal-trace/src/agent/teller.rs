//! Who is told of a verdict: the log, the numbers, the pod's own events.
//!
//! It decides by scope, by the wishes of the pod's author and by the settings, and never about the verdict itself.

use std::io::Write;

use tracing::{info, warn};

use super::scope::Scope;
use super::settings::EventRule;
use crate::judge::shutdown::{ContainerFacts, Shutdown};
use crate::kube::Moment;
use crate::kube::attribution::{About, Attribution};
use crate::kube::events::EventWriter;
use crate::kube::events::notice::Notice;
use crate::kube::held::Released;
use crate::report::clock::WallClock;
use crate::report::http::Recent;
use crate::report::json::{Record, write_line};
use crate::report::metrics::Metrics;

/// Tells verdicts.
pub(super) struct Teller {
    pub(super) node: String,
    pub(super) scope: Scope,
    pub(super) rule: EventRule,
    pub(super) metrics: Metrics,
    pub(super) recent: Recent,
    /// None once the agent stops.
    pub(super) events: Option<EventWriter>,
    /// Where records go, a line each: standard output.
    pub(super) log: Box<dyn Write + Send>,
    /// The log could not be written the last time.
    pub(super) mute: bool,
}

impl Teller {
    /// Tells one, to all whom it concerns.
    pub(super) fn tell(&mut self, released: &Released, names: &Attribution, now: Moment) {
        let (shutdown, reason) = match released {
            Released::Attributed(shutdown) => (shutdown, None),
            Released::Unattributed(shutdown, reason) => (shutdown, Some(*reason)),
        };
        let about = names.about(shutdown.container.cgroup);
        if !self.concerns(&shutdown.container, about) {
            return;
        }
        self.record(shutdown, now);
        if let Some(reason) = reason {
            self.metrics.unattributed(reason);
            self.metrics.shutdown(shutdown, now.kernel);
        } else if counts(&shutdown.container, about) {
            self.metrics.shutdown(shutdown, now.kernel);
            self.write_event(shutdown, about, now);
        }
    }

    /// Whether shutdowns of this container are told at all.
    pub(super) fn concerns(&self, container: &ContainerFacts, about: Option<About<'_>>) -> bool {
        let pod = container.pod.as_ref();
        pod.is_none_or(|pod| self.scope.has_namespace(&pod.namespace)) && about.is_none_or(|about| about.selected)
    }

    fn write_event(&self, shutdown: &Shutdown, about: Option<About<'_>>, now: Moment) {
        if !self.rule.allows(shutdown.verdict) {
            return;
        }
        if let Some((events, notice)) = self.events.as_ref().zip(Notice::of(shutdown, about, now)) {
            events.offer(notice);
        }
    }

    /// A log that cannot be written is said once; the numbers go on.
    fn record(&mut self, shutdown: &Shutdown, now: Moment) {
        let clock = WallClock::new(now.kernel, now.wall);
        let mut line = Vec::new();
        let written = write_line(&mut line, &Record::new(shutdown, &self.node, clock)).and_then(|()| {
            self.recent.push(String::from_utf8_lossy(&line).trim_end());
            self.log.write_all(&line)?;
            self.log.flush()
        });
        match &written {
            Err(error) if !self.mute => {
                warn!(%error, "records cannot be written to standard output; metrics go on");
            }
            Ok(()) if self.mute => info!("records are written again"),
            Ok(()) | Err(_) => {}
        }
        self.mute = written.is_err();
    }
}

/// Whether it is a container of a pod whose author did not wish it ignored.
pub(super) fn counts(container: &ContainerFacts, about: Option<About<'_>>) -> bool {
    let named = container.pod.as_ref().and(container.name.as_deref());
    named.is_some_and(|name| about.is_none_or(|about| !about.annotations.ignores(name)))
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::{Arc, Mutex};

    use serde_json::json;

    use super::*;
    use crate::kube::pod::PodRecord;
    use crate::kube::testing::{cart_with, cgroup, id_of, kernel, moment, named_shutdown, shutdown};
    use crate::report::metrics::format::Format;
    use crate::report::metrics::{self, Build, Unattributed};

    const TOTAL: &str = "signal_trace_shutdowns_total{";
    const ANNOTATION: &str = "/metadata/annotations";

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn teller(log: impl Write + Send + 'static, include: &[&str]) -> Teller {
        let include: Vec<_> = include.iter().map(ToString::to_string).collect();
        Teller {
            node: "worker-1".into(),
            scope: Scope::new(&include, &[], &[]).unwrap(),
            rule: EventRule::Never,
            metrics: Metrics::new(metrics::Settings::default(), Build::default(), kernel(0.0)),
            recent: Recent::default(),
            events: None,
            log: Box::new(log),
            mute: false,
        }
    }

    /// The names of a node on which `pod` runs the container of every shutdown here.
    fn names(pod: PodRecord) -> Attribution {
        let mut names = Attribution::default();
        let mut updates = Vec::new();
        names.apply(pod, moment(0.0), &mut updates);
        names.container_found(&cgroup(4711, &id_of("app")), moment(1.0), &mut updates);
        names
    }

    /// Tells one of `names`, and says how many records there are and how many increments.
    fn told(include: &[&str], pod: PodRecord, released: &Released) -> (usize, f64) {
        let log = Log::default();
        let mut teller = teller(log.clone(), include);
        teller.tell(released, &names(pod), moment(131.0));
        let lines = log.0.lock().unwrap().iter().filter(|byte| **byte == b'\n').count();
        (lines, increments(&teller.metrics))
    }

    /// All that was counted, once a scraper has seen the zeros.
    fn increments(metrics: &Metrics) -> f64 {
        let scraper = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let page = |at| metrics.scrape(scraper, kernel(at)).render(Format::Text).unwrap();
        metrics.scraped(&page(132.0).1);
        let text = String::from_utf8(page(133.0).0).unwrap();
        let values = text.lines().filter(|line| line.starts_with(TOTAL)).filter_map(|line| line.rsplit_once(' '));
        values.map(|(_, value)| value.parse::<f64>().unwrap()).sum()
    }

    fn attributed() -> Released {
        Released::Attributed(Box::new(named_shutdown("app")))
    }

    #[test]
    fn a_shutdown_is_recorded_and_counted_once() {
        assert_eq!(told(&[], cart_with(&[]), &attributed()), (1, 1.0));
    }

    #[test]
    fn out_of_scope_nobody_is_told() {
        assert_eq!(told(&["bank"], cart_with(&[]), &attributed()), (0, 0.0));
        let unselected = PodRecord { selected: false, ..cart_with(&[]) };
        assert_eq!(told(&[], unselected, &attributed()), (0, 0.0));
    }

    #[test]
    fn what_its_author_wishes_ignored_is_only_recorded() {
        let ignored = cart_with(&[(ANNOTATION, json!({"signal-trace.dev/ignore": "app"}))]);
        assert_eq!(told(&[], ignored, &attributed()), (1, 0.0));
        let another = cart_with(&[(ANNOTATION, json!({"signal-trace.dev/ignore": "log"}))]);
        assert_eq!(told(&[], another, &attributed()).1, 1.0);
    }

    #[test]
    fn a_container_of_no_pod_is_recorded_and_one_of_an_unknown_pod_is_counted_too() {
        let nameless = || Box::new(shutdown(99, "beef", 100.0, 1.0));
        assert_eq!(told(&[], cart_with(&[]), &Released::Attributed(nameless())), (1, 0.0));
        assert_eq!(told(&[], cart_with(&[]), &Released::Unattributed(nameless(), Unattributed::NoPod)), (1, 1.0));
    }

    #[test]
    fn numbers_go_on_where_the_log_cannot_be_written() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut teller = teller(Full, &[]);
        teller.tell(&attributed(), &names(cart_with(&[])), moment(131.0));
        assert!(teller.mute);
        assert_eq!(increments(&teller.metrics), 1.0);
        let log = Log::default();
        teller.log = Box::new(log.clone());
        teller.tell(&attributed(), &names(cart_with(&[])), moment(131.0));
        assert!(!teller.mute && !log.0.lock().unwrap().is_empty());
    }
}
