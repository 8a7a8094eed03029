//! The loop: whatever wakes it becomes an input of the judge, and what the judge asks for is done.
//!
//! One task owns the kernel's programs, the judge and the view of the hierarchy; there is no lock and no channel. It
//! decides nothing: not what a record means (the judge), not who reads a verdict (the caller).

use std::collections::{HashSet, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use thiserror::Error;
use tracing::{debug, warn};

use crate::confine::{ConfineError, Confined, Extent, confine};
use crate::containers::Cgroup;
use crate::containers::path::Forms;
use crate::containers::scan::{Hierarchy, Unsupported, View};
use crate::containers::snapshot::{PidNamespace, is_ending, own_pid_namespace, pid_namespace};
use crate::event::{CgroupId, Event, EventKind, KernelTime, Pid, Signal};
use crate::judge::shutdown::{ContainerFacts, Shutdown};
use crate::judge::{CgroupChange, Input, Judge, Loss, Output, Spec};
use crate::kernel::{Kernel, LoadError, Losses, ProgramError, Settings, Skips, TableError, Tally, Tracked, boot_time};
use crate::recording::Recorder;
use crate::report::metrics::KernelEvent;

/// A record that nobody was woken for waits no longer than this.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// The same while only the ends of some processes are missing for a verdict: init's end rings, theirs do not, and they
/// come at most seconds after it.
const LAST_WAIT: Duration = Duration::from_millis(5);

/// The whole hierarchy is read at most this often, whoever makes cgroups faster than they can be followed.
const RESCAN_EVERY: Duration = Duration::from_secs(1);

/// While no verdict is about to fall.
const TALLY_EVERY: Duration = Duration::from_secs(5);

/// Why tracing cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The programs cannot be loaded.
    #[error(transparent)]
    Kernel(#[from] LoadError),
    /// Containers cannot be told apart.
    #[error(transparent)]
    Hierarchy(#[from] Unsupported),
    /// The hierarchy cannot be read.
    #[error("cannot read the cgroups below {mount}")]
    Scan {
        /// Where it is mounted.
        mount: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// `/proc` cannot be read.
    #[error("cannot read the pid namespace in {proc}: mount proc there, or name another folder")]
    Proc {
        /// Where it should be.
        proc: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Counts for people and metrics; all grow only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Records that became events, in the order of [`KernelEvent::ALL`].
    pub by_kind: [u64; KernelEvent::ALL.len()],
    /// When the last of them was written.
    pub last_event: Option<KernelTime>,
    /// Verdicts.
    pub shutdowns: u64,
    /// Cgroups beyond the bound, at every look.
    pub refused_cgroups: u64,
}

impl Counters {
    /// Records of every kind that became events.
    pub fn events(&self) -> u64 {
        self.by_kind.iter().sum()
    }
}

/// What there is to tell.
#[derive(Clone, Debug)]
pub enum News {
    /// A container is there.
    Found(Cgroup),
    /// Its cgroup is gone, and every verdict on it has been told.
    Gone(CgroupId),
    /// A container was stopped, and this is the verdict.
    Shutdown(Box<Shutdown>),
}

/// A tracer of this machine's containers.
pub struct Daemon {
    kernel: Kernel,
    judge: Judge,
    hierarchy: Hierarchy,
    proc: PathBuf,
    own_namespace: PidNamespace,
    batch: Vec<Event>,
    outputs: Vec<Output>,
    news: VecDeque<News>,
    losses: Losses,
    tally: Tally,
    tallied: KernelTime,
    /// Of the tally, what the judge was told of.
    skips_told: Skips,
    rescanned: KernelTime,
    /// The hierarchy is to be read again, once it may be.
    rescan_wanted: bool,
    /// Stop signals that are not followed, which is said once.
    unwatched: HashSet<Signal>,
    turned: Duration,
    counters: Counters,
    recorder: Option<Recorder>,
}

impl Daemon {
    /// Loads and attaches the programs, then finds the containers that run: those are known before this returns.
    ///
    /// # Errors
    ///
    /// See [`StartError`]; nothing stays attached.
    pub fn start(settings: &Settings, forms: Forms) -> Result<Self, StartError> {
        Self::start_recording(settings, forms, None)
    }

    /// The same, and all that the judge is told goes to the recorder too.
    ///
    /// # Errors
    ///
    /// See [`StartError`]; nothing stays attached.
    pub fn start_recording(settings: &Settings, forms: Forms, recorder: Option<Recorder>) -> Result<Self, StartError> {
        let proc = settings.host.proc.clone();
        let hierarchy = Hierarchy::find(&proc, View::Own, forms)?;
        let own_namespace =
            own_pid_namespace(&proc).map_err(|source| StartError::Proc { proc: proc.clone(), source })?;
        let kernel = Kernel::load(settings)?;
        let mut daemon = Self {
            kernel,
            judge: Judge::default(),
            hierarchy,
            proc,
            own_namespace,
            batch: Vec::new(),
            outputs: Vec::new(),
            news: VecDeque::new(),
            losses: Losses::default(),
            tally: Tally::default(),
            tallied: KernelTime::default(),
            skips_told: Skips::default(),
            rescanned: KernelTime::default(),
            rescan_wanted: false,
            unwatched: HashSet::new(),
            turned: Duration::ZERO,
            counters: Counters::default(),
            recorder,
        };
        // Attached first and read afterwards: what is made meanwhile is told twice rather than never.
        daemon.rescan()?;
        Ok(daemon)
    }

    /// The next piece of news. Cancelling it loses nothing.
    ///
    /// # Errors
    ///
    /// The rings cannot be waited for.
    pub async fn next(&mut self) -> io::Result<News> {
        loop {
            if let Some(news) = self.news.pop_front() {
                return Ok(news);
            }
            self.wait().await?;
            self.turn();
        }
    }

    /// The next verdict; other news before it is dropped. Cancelling it loses no verdict.
    ///
    /// # Errors
    ///
    /// The rings cannot be waited for.
    pub async fn next_shutdown(&mut self) -> io::Result<Shutdown> {
        loop {
            if let News::Shutdown(shutdown) = self.next().await? {
                return Ok(*shutdown);
            }
        }
    }

    /// Follows for this long; news that comes meanwhile is kept for [`Self::next`].
    ///
    /// # Errors
    ///
    /// The rings cannot be waited for.
    pub async fn follow_for(&mut self, period: Duration) -> io::Result<()> {
        let end = boot_time().after(period);
        loop {
            self.turn();
            let left = end.since(boot_time());
            if left.is_zero() {
                return Ok(());
            }
            if let Ok(ready) = tokio::time::timeout(left, self.wait()).await {
                ready?;
            }
        }
    }

    /// A container that is about to get its first process.
    pub fn adopt(&mut self, cgroup: Cgroup, spec: Spec) {
        let id = cgroup.id;
        self.tell(Input::Cgroup(CgroupChange::Made(cgroup)));
        self.configure(id, spec);
    }

    /// What is configured for a container, or known of its pod, was learnt or changed.
    pub fn configure(&mut self, container: CgroupId, spec: Spec) {
        if let Some(signal) = spec.stop_signal {
            self.watch_signal(signal);
        }
        self.tell(Input::Spec(container, spec));
    }

    /// Has the programs take a signal for a stop signal that is none of the usual.
    fn watch_signal(&mut self, signal: Signal) {
        let problem = if signal.is_fault() || signal.is_flood() {
            "programs get it for other reasons".to_owned()
        } else if let Err(error) = self.kernel.watch_signal(signal) {
            error.to_string()
        } else {
            return;
        };
        if self.unwatched.insert(signal) {
            warn!(%signal, problem, "containers with this stop signal are not followed");
        }
    }

    /// A cgroup turned out to be no container's: what happens in it is nobody's shutdown.
    pub fn disown(&mut self, cgroup: CgroupId) {
        self.tell(Input::Cgroup(CgroupChange::Gone(cgroup)));
    }

    /// What it counted.
    pub fn counters(&self) -> Counters {
        let refused_cgroups = self.counters.refused_cgroups + self.judge.index().refused();
        Counters { refused_cgroups, ..self.counters }
    }

    /// Records that were lost, by reason, as of the last turn.
    pub fn losses(&self) -> Losses {
        self.losses
    }

    /// Processor time that following took: reading records and judging them, and the programs themselves where the kernel
    /// counts that. What others have this process do, such as answering them, is not part of it.
    pub fn spent(&self) -> Duration {
        self.turned + self.tally.run_time
    }

    /// What the kernel counted of the programs, as of a moment ago.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Lets go of the programs for good: shutdowns that are open become unknown, and no other is seen.
    ///
    /// # Errors
    ///
    /// When one of them cannot be let go of.
    pub fn detach(&mut self) -> Result<(), ProgramError> {
        let detached = self.kernel.detach();
        self.tell(Input::Lost(Loss::Init));
        detached
    }

    /// Containers that it follows.
    pub fn tracked(&self) -> usize {
        self.judge.containers().len()
    }

    /// What is known of them.
    pub fn containers(&self) -> impl Iterator<Item = &Arc<ContainerFacts>> {
        self.judge.containers()
    }

    /// Shutdowns in the making.
    pub fn open_windows(&self) -> usize {
        self.judge.open_windows()
    }

    /// Gives up what following does not need, for good: see [`confine`](crate::confine). `reads` are the files and folders
    /// that others in this process go on reading.
    ///
    /// # Errors
    ///
    /// See [`ConfineError`].
    pub fn confine(&self, extent: Extent, reads: impl IntoIterator<Item = PathBuf>) -> Result<Confined, ConfineError> {
        let own = [self.hierarchy.mount().to_owned(), self.proc.clone()];
        let reads: Vec<_> = own.into_iter().chain(reads).collect();
        confine(extent, &reads, || self.kernel.losses().is_ok())
    }

    /// Why the recording ended early, if it did.
    pub fn recording_failure(&self) -> Option<&io::Error> {
        self.recorder.as_ref()?.failure()
    }

    /// The hierarchy it reads.
    pub fn hierarchy(&self) -> &Hierarchy {
        &self.hierarchy
    }

    /// The programs.
    pub fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    async fn wait(&self) -> io::Result<()> {
        let now = boot_time();
        let due = [self.judge.next_deadline(), self.kernel.next_due()].into_iter().flatten().min();
        let longest = if self.judge.awaits_ends() { LAST_WAIT } else { LONGEST_WAIT };
        let pause = due.map_or(longest, |at| at.since(now).min(longest));
        tokio::select! {
            ready = self.kernel.readable() => ready,
            () = tokio::time::sleep(pause) => Ok(()),
        }
    }

    /// Empties the rings and lets the judge have what was in them.
    fn turn(&mut self) {
        let begun = thread_time();
        let mut batch = std::mem::take(&mut self.batch);
        self.kernel.drain(boot_time(), &mut batch);
        let may_judge = |event: &Event| matches!(event.kind, EventKind::Exit(_) | EventKind::CgroupGone(_));
        let may_open = |event: &Event| matches!(event.kind, EventKind::Signal(_));
        let may_be_open = self.judge.open_windows() > 0 || batch.iter().any(may_open);
        self.note_losses(may_be_open && batch.iter().any(may_judge));
        for event in batch.drain(..) {
            self.counters.by_kind[KernelEvent::from(&event.kind) as usize] += 1;
            self.counters.last_event = Some(event.time);
            match event.kind {
                EventKind::CgroupMade { id, parent } => self.made(id, parent),
                EventKind::Signal(_)
                | EventKind::Fork(_)
                | EventKind::Move(_)
                | EventKind::Exit(_)
                | EventKind::OomMark(_)
                | EventKind::CgroupGone(_) => self.tell(Input::Event(event)),
            }
        }
        self.batch = batch;
        if self.rescan_wanted {
            self.want_rescan();
        }
        self.tell(Input::Tick);
        if let Some(recorder) = &mut self.recorder {
            recorder.flush();
        }
        self.turned += thread_time().saturating_sub(begun);
    }

    /// Said before the records of the same drain, which may have been touched. `may_judge`: one of them may let a verdict
    /// fall.
    fn note_losses(&mut self, may_judge: bool) {
        self.take_tally(may_judge);
        let now = match self.kernel.losses() {
            Ok(losses) => Losses { program_skipped: self.tally.skips.total(), ..losses },
            Err(error) => return warn!(%error, "cannot read how much was lost"),
        };
        let before = std::mem::replace(&mut self.losses, now);
        if now == before {
            return;
        }
        warn!(?now, "records were lost: the shutdowns they touched are unknown");
        let skips = self.tally.skips;
        let told = std::mem::replace(&mut self.skips_told, skips);
        self.tell(Input::Lost(worst_loss((before, now), (told, skips))));
        self.want_rescan();
    }

    /// Asks the kernel what it counted, which costs a file for each program: before a verdict falls, and now and then.
    fn take_tally(&mut self, may_judge: bool) {
        let now = boot_time();
        let falls = may_judge || self.judge.next_deadline().is_some_and(|due| due <= now);
        if !falls && now.since(self.tallied) < TALLY_EVERY {
            return;
        }
        self.tallied = now;
        match self.kernel.tally() {
            // Of programs that were let go of nothing is counted, and what was counted before still is.
            Ok(tally) => self.tally = self.tally.max(tally),
            Err(error) => debug!(%error, "cannot read what the kernel counted of the programs"),
        }
    }

    /// Reads the whole hierarchy, at once or as soon as it may be.
    fn want_rescan(&mut self) {
        let now = boot_time();
        self.rescan_wanted = now.since(self.rescanned) < RESCAN_EVERY;
        if self.rescan_wanted {
            return;
        }
        self.rescanned = now;
        if let Err(error) = self.rescan() {
            warn!(%error, "cannot look for containers again");
        }
    }

    /// Reads the whole hierarchy: at the start, and when records of it were lost.
    fn rescan(&mut self) -> Result<(), StartError> {
        let scan = self
            .hierarchy
            .scan()
            .map_err(|source| StartError::Scan { mount: self.hierarchy.mount().to_owned(), source })?;
        for path in &scan.unrecognised {
            warn!(path = %path.escape_debug(), "this cgroup looks like a container's and has an unknown form: it is not followed");
        }
        if scan.refused > 0 {
            self.counters.refused_cgroups += u64::try_from(scan.refused).unwrap_or(u64::MAX);
            warn!(refused = scan.refused, "cgroups beyond the bound are not followed");
        }
        let missing = self.judge.index().missing_from(&scan.cgroups);
        // What could not be read is not gone.
        for gone in missing.into_iter().filter(|id| scan.refused == 0 || self.is_gone(*id)).collect::<Vec<_>>() {
            self.tell(Input::Cgroup(CgroupChange::Gone(gone)));
        }
        for cgroup in scan.cgroups {
            self.tell(Input::Cgroup(CgroupChange::Present(cgroup)));
        }
        Ok(())
    }

    /// Whether a container's cgroup is no longer where it was.
    fn is_gone(&self, id: CgroupId) -> bool {
        let index = self.judge.index();
        let parent = index.facts(id).and_then(|facts| facts.cgroup_path.rsplit_once('/')).map(|(parent, _)| parent);
        parent.is_some_and(|parent| matches!(self.hierarchy.find_child(parent, id), Ok(None)))
    }

    /// The kernel made a cgroup: its path is in its parent's folder, if it is still there.
    fn made(&mut self, id: CgroupId, parent: CgroupId) {
        let Some(parent_path) = self.judge.index().path(parent).map(str::to_owned) else {
            debug!(id = id.0, parent = parent.0, "a cgroup was made below an unknown one");
            return self.want_rescan();
        };
        match self.hierarchy.find_child(&parent_path, id) {
            Ok(Some(cgroup)) => self.tell(Input::Cgroup(CgroupChange::Made(cgroup))),
            Ok(None) => debug!(id = id.0, "a cgroup was gone before it could be read"),
            Err(error) => warn!(%error, parent = %parent_path.escape_debug(), "cannot read a cgroup's folder"),
        }
    }

    fn tell(&mut self, input: Input) {
        let mut outputs = std::mem::take(&mut self.outputs);
        let found = self.new_container(&input);
        let gone = self.ending_container(&input);
        self.judge_input(input, &mut outputs);
        self.news.extend(found.map(News::Found));
        let mut next = 0;
        // A snapshot is answered at once, and the answer may ask for more.
        while let Some(output) = outputs.get(next).cloned() {
            next += 1;
            if let Some(answer) = self.perform(output) {
                self.judge_input(answer, &mut outputs);
            }
        }
        outputs.clear();
        self.outputs = outputs;
        self.news.extend(gone.map(News::Gone));
    }

    fn new_container(&self, input: &Input) -> Option<Cgroup> {
        let Input::Cgroup(CgroupChange::Present(cgroup) | CgroupChange::Made(cgroup)) = input else { return None };
        (cgroup.container.is_some() && self.judge.index().path(cgroup.id).is_none()).then(|| cgroup.clone())
    }

    fn ending_container(&self, input: &Input) -> Option<CgroupId> {
        let (Input::Cgroup(CgroupChange::Gone(id)) | Input::Event(Event { kind: EventKind::CgroupGone(id), .. })) =
            input
        else {
            return None;
        };
        self.judge.index().facts(*id).map(|_| *id)
    }

    fn judge_input(&mut self, input: Input, outputs: &mut Vec<Output>) {
        let now = boot_time();
        if let Some(recorder) = &mut self.recorder {
            // Time that goes by while nothing is due changes nothing.
            let idle = matches!(input, Input::Tick) && self.judge.next_deadline().is_none_or(|due| due > now);
            if !idle {
                recorder.note(now, &input);
            }
        }
        self.judge.handle(input, now, outputs);
    }

    fn perform(&mut self, output: Output) -> Option<Input> {
        match output {
            Output::Track { cgroup, container, init } => {
                let entry = self.entry(container, init);
                report_table(self.kernel.track(cgroup, entry));
                // The programs forget an init that ends, and this one may have ended before they knew it.
                if init.is_some_and(|init| is_ending(&self.proc, init)) {
                    report_table(self.kernel.track(cgroup, Tracked { init: 0, ..entry }));
                }
                None
            }
            Output::Untrack(cgroup) => {
                report_table(self.kernel.untrack(cgroup));
                None
            }
            Output::Snapshot(container) => self.look_at(container),
            Output::WindowClosed(container) => {
                report_table(self.kernel.close_window(container));
                None
            }
            Output::Shutdown(shutdown) => {
                self.counters.shutdowns += 1;
                self.news.push_back(News::Shutdown(shutdown));
                None
            }
        }
    }

    fn entry(&self, container: CgroupId, init: Option<Pid>) -> Tracked {
        let namespace = init
            .and_then(|init| pid_namespace(&self.proc, init).ok())
            .filter(|namespace| *namespace != self.own_namespace);
        Tracked {
            root: container.0,
            pid_ns_inode: namespace.map_or(0, |n| n.inode),
            pid_ns_device: namespace.map_or(0, |n| n.device),
            init: init.map_or(0, |pid| pid.0),
        }
    }

    fn look_at(&self, container: CgroupId) -> Option<Input> {
        let path = self.judge.index().path(container)?;
        match self.hierarchy.snapshot(
            &self.proc,
            &Cgroup { id: container, parent: container, path: path.to_owned(), container: None },
            boot_time(),
        ) {
            Ok(look) => {
                let left_out = look.left_out;
                let whole = look.whole();
                if whole.is_none() {
                    debug!(left_out, path = %path.escape_debug(), "cannot see all of a container's processes");
                }
                whole.map(Input::Processes)
            }
            Err(error) => {
                debug!(%error, path = %path.escape_debug(), "cannot read a container's processes");
                None
            }
        }
    }
}

/// The worst of what was lost between two counts, of the rings and of programs that were skipped: which record one would
/// have written, nobody knows.
fn worst_loss((rings_before, rings): (Losses, Losses), (skips_before, skips): (Skips, Skips)) -> Loss {
    let lives = skips.lives > skips_before.lives;
    let of_a_ring = Losses { program_skipped: rings_before.program_skipped, ..rings } != rings_before;
    if skips.signals > skips_before.signals || rings.init_ring_full > rings_before.init_ring_full {
        Loss::Init
    } else if skips.others > skips_before.others || (lives && of_a_ring) {
        Loss::Exits
    } else if lives {
        Loss::Lives
    } else {
        Loss::Bulk
    }
}

fn report_table(result: Result<(), TableError>) {
    if let Err(error) = result {
        warn!(%error, "a container is not followed");
    }
}

fn thread_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_of_what_was_lost_is_told() {
        let none = (Losses::default(), Skips::default());
        let worst = |losses: Losses, skips: Skips| worst_loss((none.0, losses), (none.1, skips));
        let (full, init_full) =
            (Losses { ring_full: 1, ..none.0 }, Losses { init_ring_full: 1, ring_full: 1, ..none.0 });
        let (lives, others) = (Skips { lives: 1, ..none.1 }, Skips { others: 1, ..none.1 });
        assert_eq!(worst(full, none.1), Loss::Bulk);
        assert_eq!(worst(Losses { program_skipped: 1, ..none.0 }, lives), Loss::Lives);
        assert_eq!(worst(Losses { program_skipped: 1, ..full }, lives), Loss::Exits, "what the ring lost was no life");
        assert_eq!(worst(Losses { program_skipped: 1, ..none.0 }, others), Loss::Exits);
        assert_eq!(worst(init_full, lives), Loss::Init);
        assert_eq!(worst(Losses { program_skipped: 1, ..none.0 }, Skips { signals: 1, ..lives }), Loss::Init);
        assert_eq!(worst_loss((full, full), (lives, lives)), Loss::Bulk, "what was told before is no news");
    }
}
