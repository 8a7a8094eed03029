//! `signal-trace agent`: the tracer of one Kubernetes node.
//!
//! One task owns the daemon, the names and the verdicts that wait for them; a select over everything that can wake it,
//! and each branch hands values from one pure part to the next. What waits for the network (the event writer, the search
//! for owners, the pages) are tasks of their own behind bounded queues, and never hold up a record of the kernel.

mod breaker;
mod log;
mod look;
pub mod options;
pub mod scope;
pub mod settings;
mod teller;

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tracing::{debug, error, info, warn};

use crate::confine::{ConfineError, Extent};
use crate::containers::Cgroup;
use crate::containers::bundles::Bundles;
use crate::containers::path::{Forms, Services};
use crate::daemon::{Counters, Daemon, News, StartError};
use crate::kernel::{Host, LogLevel, boot_time};
use crate::kube::Moment;
use crate::kube::attribution::{Attribution, Update};
use crate::kube::client::{Clients, ConnectError};
use crate::kube::events;
use crate::kube::held::Held;
use crate::kube::owners::{self, Answer, Question};
use crate::kube::pod::PodChange;
use crate::kube::watch::PodWatch;
use crate::memory;
use crate::report::http::{self, Access, Limits, ListenError, Readiness, Recent, Server, Sources, Tls, TlsError};
use crate::report::metrics::{Build, Gauges, KernelEvent, LossReason, Metrics, Refused};
use breaker::Breaker;
use log::Log;
use settings::{EventRule, Settings};
use teller::{Teller, counts};

/// Answers about owners that may wait to be heard: who asks waits with them.
const OWNER_ANSWERS: usize = 256;
/// Requests for `/debug/containers` that may wait.
const PAGE_QUESTIONS: usize = 4;
/// How often the agent's own numbers are brought up to date.
const COUNT_EVERY: Duration = Duration::from_secs(2);
/// After the pods are listed, until what that set in motion has come to rest.
const SETTLES_WITHIN: Duration = Duration::from_secs(20);
/// What is still to be written when the agent is stopped has this long: it is gone within a second.
const FAREWELL: Duration = Duration::from_millis(700);
/// The same for who is reading a page.
const LAST_PAGE: Duration = Duration::from_millis(100);

/// The commit, where whoever built this said it.
const REVISION: &str = match option_env!("SIGNAL_TRACE_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};

const NOT_ATTACHED: &str = "the kernel programs are not attached";
const DETACHED: &str = "the kernel programs were detached: they and the agent cost more than --cpu-limit allows";
const NOT_LISTED: &str = "the pods of the node are not listed yet";

/// Why the agent does not start.
#[derive(Debug, Error)]
pub enum AgentError {
    /// No way to the API server.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The port.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Its certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Tracing.
    #[error(transparent)]
    Trace(#[from] StartError),
    /// Privileges that stay.
    #[error(transparent)]
    Confine(#[from] ConfineError),
    /// The log of records.
    #[error("cannot start the thread that writes records")]
    Log(#[source] io::Error),
}

/// A running agent.
pub struct Agent {
    daemon: Daemon,
    counted: Counters,
    counted_pods: u64,
    /// When what a list of all pods set in motion will have come to rest; none before the first, and after that moment.
    settled_at: Option<Instant>,
    breaker: Breaker,
    bundles: Option<Bundles>,
    names: Attribution,
    held: Held,
    teller: Teller,
    watch: PodWatch,
    readiness: Readiness,
    questions: owners::Asker,
    answers: mpsc::Receiver<Answer>,
    pages: mpsc::Receiver<http::Question>,
    event_worker: Option<JoinHandle<()>>,
    server: JoinHandle<()>,
    stop_server: oneshot::Sender<()>,
    address: SocketAddr,
}

impl Agent {
    /// Takes the port, attaches the programs and begins to watch; within a tokio runtime.
    ///
    /// # Errors
    ///
    /// See [`AgentError`]. An API server that does not answer is none: names come when it does.
    pub async fn start(
        settings: Settings,
        kernel_log: Option<LogLevel>,
        roots: Vec<String>,
    ) -> Result<Self, AgentError> {
        let Settings {
            node,
            kubeconfig,
            listen,
            access,
            tls,
            scope,
            events: rule,
            metrics,
            bundles,
            proc,
            cpu_limit,
            confine,
        } = settings;
        let build = Build { version: env!("CARGO_PKG_VERSION"), revision: REVISION };
        let metrics = Metrics::new(metrics, build, boot_time());
        let (readiness, recent) = (Readiness::lacking([NOT_ATTACHED, NOT_LISTED]), Recent::default());
        let (ask_for_page, pages) = mpsc::channel(PAGE_QUESTIONS);
        let sources = Sources {
            metrics: metrics.clone(),
            readiness: readiness.clone(),
            recent: recent.clone(),
            questions: ask_for_page,
            clock: boot_time,
        };
        let tls_folders = tls.iter().flat_map(|(certificate, key)| [certificate, key]).filter_map(|file| file.parent());
        let tls_folders: Vec<_> = tls_folders.map(Path::to_owned).collect();
        let server = bind(listen, access, tls, sources).await?;
        let address = server.address();
        let clients = Clients::connect(kubeconfig.as_deref()).await?;

        let forms = Forms { services: Services::Skip, roots };
        let kernel = crate::kernel::Settings {
            host: Host { proc, ..Host::default() },
            log_level: kernel_log,
            ..Default::default()
        };
        let daemon = Daemon::start(&kernel, forms)?;
        if confine {
            let reads = clients.reads.iter().cloned().chain(tls_folders);
            give_up(&daemon, &clients, reads.chain(bundles.iter().flat_map(Bundles::folders)))?;
        }
        readiness.gained(NOT_ATTACHED);

        let (stop_server, stopped) = oneshot::channel();
        let server = tokio::spawn(server.serve(async {
            // Told to, or nobody is left who could tell.
            let _ = stopped.await;
        }));
        let (questions, asked) = owners::asker();
        let (answer, answers) = mpsc::channel(OWNER_ANSWERS);
        tokio::spawn(owners::run(clients.requests.clone(), asked, answer));
        let watch = PodWatch::new(clients.watch, clients.watch_retry_after, &node, scope.labels().clone());
        let (events, event_worker) = match rule {
            EventRule::Never => (None, None),
            EventRule::AllBut(_) => {
                let counter = metrics.clone();
                let count = Arc::new(move |result| counter.kube_event(result));
                let (writer, worker) = events::writer(clients.requests, &node, count);
                (Some(writer), Some(tokio::spawn(worker.run())))
            }
        };
        let counter = metrics.clone();
        let log = Log::to(io::stdout(), move || counter.refused(Refused::Records, 1)).map_err(AgentError::Log)?;
        let teller = Teller { node, scope, rule, metrics, recent, events, log: Box::new(log), mute: false };
        Ok(Self {
            daemon,
            counted: Counters::default(),
            counted_pods: 0,
            settled_at: None,
            breaker: Breaker::new(cpu_limit),
            bundles,
            names: Attribution::default(),
            held: Held::default(),
            teller,
            watch,
            readiness,
            questions,
            answers,
            pages,
            event_worker,
            server,
            stop_server,
            address,
        })
    }

    /// Where its pages are.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The tracer.
    pub fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    /// Traces until `stop` comes.
    ///
    /// # Errors
    ///
    /// The kernel's records cannot be read any more.
    pub async fn run(&mut self, stop: impl Future<Output = ()>) -> io::Result<()> {
        let mut stop = std::pin::pin!(stop);
        let mut beat = interval(COUNT_EVERY);
        beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            let names_due = self.held.next_deadline();
            tokio::select! {
                biased;
                () = &mut stop => return Ok(()),
                news = self.daemon.next() => self.news(news?),
                change = self.watch.next() => self.pods(change),
                Some(answer) = self.answers.recv() => self.owner(&answer),
                Some(page) = self.pages.recv() => self.show(page),
                () = until(names_due) => self.release(),
                _ = beat.tick() => self.count(),
            }
        }
    }

    /// Tells what is known of what still waits, and ends: within a second.
    pub async fn stop(mut self) {
        let mut released = Vec::new();
        self.held.flush(&self.names, &mut released);
        let now = moment();
        for one in &released {
            self.teller.tell(one, &self.names, now);
        }
        // The worker ends when its queue is empty and nobody can fill it.
        self.teller.events = None;
        if let Some(worker) = self.event_worker.take()
            && timeout(FAREWELL, worker).await.is_err()
        {
            warn!("stopped before all Kubernetes events were written");
        }
        let _ = self.stop_server.send(());
        if self.server.await.is_err() {
            debug!("the pages had ended before");
        }
    }

    fn news(&mut self, news: News) {
        match news {
            News::Found(cgroup) => self.found(&cgroup),
            News::Gone(id) => {
                self.names.container_gone(id, moment());
                self.teller.metrics.container_gone(id, boot_time());
            }
            News::Shutdown(shutdown) => {
                let mut released = Vec::new();
                if self.held.is_full() {
                    self.teller.metrics.refused(Refused::Waits, 1);
                }
                self.held.take(shutdown, &self.names, boot_time(), &mut released);
                let now = moment();
                for one in &released {
                    self.teller.tell(one, &self.names, now);
                }
            }
        }
    }

    fn found(&mut self, cgroup: &Cgroup) {
        let mut updates = Vec::new();
        self.names.container_found(cgroup, moment(), &mut updates);
        self.read_bundle(cgroup);
        self.follow(updates);
    }

    fn read_bundle(&mut self, cgroup: &Cgroup) {
        let Some((bundles, identity)) = self.bundles.as_ref().zip(cgroup.container.as_ref()) else { return };
        match bundles.find(&identity.id) {
            Ok(Some(bundle)) if bundle.sandbox == Some(true) => self.names.sandbox_found(cgroup.id),
            Ok(Some(bundle)) => {
                if let Some(facts) = bundle.facts(cgroup) {
                    self.names.named_by_bundle(facts);
                }
            }
            Ok(None) => {}
            Err(error) => debug!(%error, "a container has no names from its bundle"),
        }
    }

    fn pods(&mut self, change: PodChange) {
        let listed = matches!(change, PodChange::Relisted(_));
        let mut updates = Vec::new();
        self.names.handle(change, moment(), &mut updates);
        self.follow(updates);
        self.release();
        if listed {
            self.readiness.gained(NOT_LISTED);
            self.settled_at = Some(Instant::now() + SETTLES_WITHIN);
        }
    }

    fn owner(&mut self, answer: &Answer) {
        let mut updates = Vec::new();
        self.names.owned_by(&answer.owner_uid, &answer.workload, &mut updates);
        self.follow(updates);
        self.release();
    }

    /// Does what the names ask for.
    fn follow(&mut self, updates: Vec<Update>) {
        for update in updates {
            match update {
                Update::Spec(id, spec) => {
                    let about = self.names.about(id);
                    if let Some(facts) = &spec.facts
                        && counts(facts, about)
                        && about.is_none_or(|about| about.settled && about.live)
                        && self.teller.concerns(facts, about)
                    {
                        let grace = about.map_or(spec.grace.period, |about| about.grace);
                        self.teller.metrics.container_seen(facts, grace, boot_time());
                    }
                    self.daemon.configure(id, spec);
                }
                Update::Owner { namespace, owner } => {
                    if !self.questions.ask(Question { namespace, owner }) {
                        self.teller.metrics.refused(Refused::OwnerQuestions, 1);
                    }
                }
                Update::Fault { pod, fault } => warn!(%pod, "{fault}: it is not heeded"),
            }
        }
    }

    fn release(&mut self) {
        let mut released = Vec::new();
        self.held.release(&self.names, boot_time(), &mut released);
        let now = moment();
        for one in &released {
            self.teller.tell(one, &self.names, now);
        }
    }

    fn show(&mut self, page: http::Question) {
        let document = look::document(&self.teller.node, &self.daemon, &self.names, self.held.len());
        // Whoever asked may have gone.
        let _ = page.send(document);
    }

    /// Brings the numbers of the agent itself up to date.
    fn count(&mut self) {
        if self.settled_at.take_if(|at| *at <= Instant::now()).is_some() {
            // From here on only changes come, and little of the program is needed for them.
            memory::forget_start();
        }
        let metrics = &self.teller.metrics;
        let counters = self.daemon.counters();
        for (kind, (now, before)) in KernelEvent::ALL.into_iter().zip(counters.by_kind.iter().zip(self.counted.by_kind))
        {
            metrics.kernel_events(kind, now - before);
        }
        if let Some(at) = counters.last_event.filter(|_| counters.last_event != self.counted.last_event) {
            metrics.last_event(SystemTime::now() - boot_time().since(at));
        }
        metrics.refused(Refused::Cgroups, counters.refused_cgroups - self.counted.refused_cgroups);
        metrics.refused(Refused::Pods, self.names.refused() - self.counted_pods);
        self.counted_pods = self.names.refused();
        self.counted = counters;
        let losses = self.daemon.losses();
        metrics.lost(LossReason::RingFull, losses.ring_full);
        metrics.lost(LossReason::InitRingFull, losses.init_ring_full);
        metrics.lost(LossReason::MapFull, losses.map_full);
        metrics.lost(LossReason::ShortRecord, losses.short_record);
        metrics.lost(LossReason::ProgramSkipped, losses.program_skipped);
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        metrics.gauges(Gauges {
            open_shutdowns: number(self.daemon.open_windows()),
            tracked_containers: number(self.daemon.tracked()),
            cached_pods: number(self.names.pods()),
            detached: self.breaker.tripped(),
            program_time: self.daemon.tally().run_time,
        });
        self.hold_cost();
    }

    /// Lets go of the programs when all of this costs the node too much.
    fn hold_cost(&mut self) {
        let Some(excess) = self.breaker.note(boot_time(), self.daemon.spent()) else { return };
        error!("the kernel programs are detached, and nothing is traced until the agent is started anew: {excess}");
        self.readiness.lost(DETACHED);
        if let Err(error) = self.daemon.detach() {
            error!(%error, "a kernel program cannot be detached: it goes when this process ends");
        }
    }
}

/// Takes the port, and reads the certificate if there is to be one.
async fn bind(
    listen: SocketAddr,
    access: Access,
    tls: Option<(PathBuf, PathBuf)>,
    sources: Sources,
) -> Result<Server, AgentError> {
    let tls = tls.map(|(certificate, key)| Tls::new(certificate, key)).transpose()?;
    let limits = Limits { drain: LAST_PAGE, ..Limits::default() };
    let server = Server::bind(listen, access, sources, limits).await?;
    Ok(match tls {
        Some(tls) => server.over(tls),
        None => server,
    })
}

/// Gives up the privileges that were for starting.
fn give_up(daemon: &Daemon, clients: &Clients, reads: impl IntoIterator<Item = PathBuf>) -> Result<(), ConfineError> {
    let extent = if clients.runs_programs {
        warn!("the kubeconfig has a program make its credentials: system calls and files are not confined");
        Extent::Capabilities
    } else {
        Extent::All
    };
    let confined = daemon.confine(extent, reads)?;
    info!("privileges were given up; left are {confined}");
    Ok(())
}

fn moment() -> Moment {
    Moment { kernel: boot_time(), wall: jiff::Timestamp::now() }
}

async fn until(at: Option<crate::event::KernelTime>) {
    match at {
        Some(at) => sleep(at.since(boot_time())).await,
        None => pending().await,
    }
}
