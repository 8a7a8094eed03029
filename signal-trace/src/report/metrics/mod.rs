//! What Prometheus reads: verbs for those who count, and a page for those who scrape.
//!
//! Every metric is named in `page`. Series of workloads live in `workloads`, those of the agent itself in `own`;
//! `held` and `gate` see to it that no increment is lost on `increase()`: a series shows 0 until its scrapers have
//! read the 0. [`mod@format`] writes a page in the three formats that scrapers ask for.
//!
//! The handle may be cloned and shared; a call holds its lock for microseconds, also while a page is written. Nothing
//! here reads a clock, but for what `process` says of this process, and nothing knows of HTTP.

pub mod format;
mod gate;
mod held;
mod labels;
mod names;
mod own;
mod page;
mod process;
mod workloads;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use prometheus_client::encoding::{EncodeLabel, EncodeLabelSet, LabelSetEncoder};

use self::format::{Format, RenderError};
use self::gate::Gate;
pub use self::gate::Ticket;
pub use self::labels::PodLabel;
pub use self::names::{KernelEvent, KubeEvent, LossReason, Refused, Unattributed};
use self::own::Own;
use self::page::Page;
use self::process::Process;
pub(crate) use self::workloads::EDGES as SHUTDOWN_EDGES;
use self::workloads::Workloads;
use crate::event::{CgroupId, KernelTime};
use crate::judge::shutdown::{ContainerFacts, Outcome, Shutdown};

/// The bounds of what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Label sets that have series of their own; what is beyond shares one, `_other`. One is three series, and about
    /// 23 (3.4 KB of text) once it had to stop.
    pub label_sets: usize,
    /// How long series outlive the last container of their workload on this node.
    pub linger: Duration,
    /// How long an increment waits at most for its series to be scraped at 0.
    pub hold: Duration,
    /// Whether every pod has its own series.
    pub pod_label: PodLabel,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            label_sets: 1000,
            linger: Duration::from_secs(5 * 60),
            hold: Duration::from_secs(15 * 60),
            pod_label: PodLabel::Off,
        }
    }
}

/// What is running: the labels of `signal_trace_build_info`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Build {
    /// The version.
    pub version: &'static str,
    /// The commit that it was built from.
    pub revision: &'static str,
}

/// State that is not counted but is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Windows that are open.
    pub open_shutdowns: u32,
    /// Containers whose cgroups are tracked.
    pub tracked_containers: u32,
    /// Pods in the cache.
    pub cached_pods: u32,
    /// Whether the breaker let go of the programs.
    pub detached: bool,
    /// Time that the programs ran, where the kernel counts it.
    pub program_time: Duration,
}

/// The numbers, shared.
#[derive(Clone, Debug)]
pub struct Metrics {
    state: Arc<Mutex<State>>,
    build: Build,
    start_time: Option<f64>,
}

/// The numbers.
#[derive(Debug)]
struct State {
    hold: Duration,
    gate: Gate,
    workloads: Workloads,
    own: Own,
}

impl Metrics {
    /// All at zero.
    pub fn new(settings: Settings, build: Build, now: KernelTime) -> Self {
        let mut gate = Gate::default();
        let own = Own::new(&mut gate, now);
        let state = State { hold: settings.hold, gate, workloads: Workloads::new(settings), own };
        Self { state: Arc::new(Mutex::new(state)), build, start_time: process::start_time() }
    }

    /// A container lives. To be said once its names are known, or known not to come, and again if they change: whatever
    /// it is called, it gets series by that name.
    pub fn container_seen(&self, facts: &ContainerFacts, grace: Option<Duration>, now: KernelTime) {
        let mut state = self.lock();
        let State { workloads, gate, .. } = &mut *state;
        workloads.container_seen(facts, grace, gate, now);
    }

    /// A container is gone. When it was the last of its workload here, the workload's series go some minutes later.
    pub fn container_gone(&self, container: CgroupId, now: KernelTime) {
        self.lock().workloads.container_gone(container, now);
    }

    /// A container was stopped, and this is the verdict.
    pub fn shutdown(&self, shutdown: &Shutdown, now: KernelTime) {
        let mut state = self.lock();
        let State { workloads, gate, own, .. } = &mut *state;
        workloads.shutdown(shutdown, gate, now);
        if let Some(duration) = shutdown.kill_to_exit.or_else(|| outlived(shutdown, now)) {
            own.kill_to_exit(duration);
        }
    }

    /// So many records of a kind were read.
    pub fn kernel_events(&self, kind: KernelEvent, count: u64) {
        self.lock().own.kernel_events(kind, count);
    }

    /// The last record that was read was written at this time.
    pub fn last_event(&self, time: SystemTime) {
        if let Ok(since_epoch) = time.duration_since(SystemTime::UNIX_EPOCH) {
            self.lock().own.last_event(since_epoch);
        }
    }

    /// So many records were lost for this reason, since the start.
    pub fn lost(&self, reason: LossReason, total: u64) {
        self.lock().own.lost(reason, total);
    }

    /// A shutdown could not be named.
    pub fn unattributed(&self, reason: Unattributed) {
        self.lock().own.unattributed(reason);
    }

    /// This became of a Kubernetes event.
    pub fn kube_event(&self, result: KubeEvent) {
        self.lock().own.kube_event(result);
    }

    /// So many of these found no room.
    pub fn refused(&self, what: Refused, count: u64) {
        if count > 0 {
            self.lock().own.refused(what, count);
        }
    }

    /// A connection to the metrics port was refused.
    pub fn connection_refused(&self) {
        self.lock().own.connection_refused();
    }

    /// How things stand.
    pub fn gauges(&self, gauges: Gauges) {
        self.lock().own.gauges(gauges);
    }

    /// A scrape begins: the numbers of this moment. Quick; the writing is for [`Scrape::render`].
    pub fn scrape(&self, scraper: IpAddr, now: KernelTime) -> Scrape {
        let mut page = Page { build: self.build, ..Page::default() };
        let mut state = self.lock();
        let State { hold, workloads, gate, own } = &mut *state;
        workloads.settle(gate, now);
        own.settle(workloads.totals(), gate, now, *hold);
        workloads.write(&mut page);
        own.write(&mut page);
        Scrape { page, start_time: self.start_time, ticket: gate.begin(scraper, now) }
    }

    /// The scraper has the whole page: the zeros on it have been seen.
    pub fn scraped(&self, ticket: &Ticket) {
        self.lock().gate.complete(ticket);
    }

    /// A panic elsewhere is no reason to stop counting: every change here is complete in itself.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long init has outlived its SIGKILL so far, if it was still there when the wait for its end was given up: the kernel
/// holds it, which is what the histogram is looked at for.
fn outlived(shutdown: &Shutdown, now: KernelTime) -> Option<Duration> {
    let held = shutdown.exit.is_none() && shutdown.verdict.outcome == Outcome::GraceExceeded;
    let kill = shutdown.stop_to_kill.filter(|_| held)?;
    Some(now.since(shutdown.opened.after(kill)))
}

/// A scrape under way.
#[derive(Debug)]
pub struct Scrape {
    page: Page,
    start_time: Option<f64>,
    ticket: Ticket,
}

impl Scrape {
    /// Writes the page: milliseconds of work, for any thread but the event loop's. The ticket is for
    /// [`Metrics::scraped`], when the scraper has the page.
    pub fn render(self, format: Format) -> Result<(Vec<u8>, Ticket), RenderError> {
        Ok((format.render(self.page, Process::read(self.start_time))?, self.ticket))
    }
}

impl EncodeLabelSet for Build {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        ("version", self.version).encode(encoder.encode_label())?;
        ("revision", self.revision).encode(encoder.encode_label())
    }
}
