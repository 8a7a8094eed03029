//! Who is told of a verdict: the log, the numbers, the pod's own events.
//!
//! It decides by scope, by the wishes of the pod's author and by the settings, and never about the verdict itself.

use std::io::{self, Write as _};

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
        self.log(shutdown, now);
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
    fn log(&mut self, shutdown: &Shutdown, now: Moment) {
        let clock = WallClock::new(now.kernel, now.wall);
        let mut line = Vec::new();
        let written = write_line(&mut line, &Record::new(shutdown, &self.node, clock)).and_then(|()| {
            self.recent.push(String::from_utf8_lossy(&line).trim_end());
            let mut out = io::stdout().lock();
            out.write_all(&line)?;
            out.flush()
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
