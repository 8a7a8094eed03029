//! One container as the judge sees it: its processes, what is configured for it, and the window that may be open.
//!
//! It turns records into what they mean for this container. It does not know other containers; where a sender lives is
//! told by the caller.

use std::sync::Arc;
use std::time::Duration;

use foldhash::HashSet;

use crate::event::{
    ExitEvent, Generated, KernelTime, Pid, ProcessEvent, ProcessKey, Signal, SignalEvent, Snapshot, StartTick, Task,
};
use crate::judge::evidence::{Evidence, Stop};
use crate::judge::processes::{Birthplace, Process, Processes};
use crate::judge::shutdown::{
    Cause, ContainerFacts, Counts, Finding, KilledBy, Missed, Outcome, Shutdown, Trigger, Verdict, Where,
};
use crate::judge::verdict::{self, Case};
use crate::judge::window::{Fate, Phase, Window};
use crate::judge::{Doubt, Loss, Output, Past, Spec, advice};

/// Without a configured grace: a SIGKILL this soon after the tracer came may have had its stop signal before. After a loss
/// a configured one may be shorter than what was asked for.
const UNSEEN_STOP: Duration = Duration::from_secs(600);

/// With one: who enforces it, and was away meanwhile, does so this much later.
const RUNTIME_AWAY: Duration = Duration::from_secs(30);

/// A SIGKILL this soon after a stop was given up may be the late end of its grace.
const GIVEN_UP: Duration = Duration::from_secs(3600);

/// When a deletion was asked for is known to the second.
const DELETION_TOLERANCE: Duration = Duration::from_secs(1);

/// What it may take until the news of a deletion is here.
const DELETION_NEWS: Duration = Duration::from_secs(4);

/// What it may take until the kernel has closed a window after it was asked to.
const CLOSING_TAKES: Duration = Duration::from_millis(10);

/// A stage of a runtime, which starts a container and makes room for its init, lives for less, in nanoseconds.
const STAGE: u64 = 10_000_000_000;

/// Programs whose death behind a clean exit harms nobody.
const HELPERS: [&str; 4] = ["tail", "sleep", "epmd", "ssh-agent"];

/// Where the cgroup of a sender is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origins {
    /// In this container, or below it.
    Container,
    /// In another container of its pod.
    Pod,
    /// Neither.
    Elsewhere,
}

/// Where a process went that left a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whereto {
    /// To a container inside of this one, as the containers that it runs do.
    Within,
    /// To where nobody follows it on behalf of this container.
    Elsewhere,
}

#[derive(Debug)]
pub(super) struct Container {
    facts: Arc<ContainerFacts>,
    spec: Spec,
    processes: Processes,
    /// The init that the kernel side was told.
    init: Option<ProcessKey>,
    /// Somebody else may have become init while a window was open.
    init_unsettled: bool,
    window: Option<Window>,
    /// The deadline that the schedule knows.
    pub(super) scheduled: Option<KernelTime>,
    known_since: KernelTime,
    past: Past,
    /// A look at `/proc` has filled the table, or the container is so young that records have.
    seeded: bool,
    /// Records were lost since the last look at `/proc`.
    stale: bool,
    /// The end of init may have been among them.
    init_stale: bool,
    /// When the last look at `/proc` began.
    looked: KernelTime,
    /// Whom a stop signal was sent to that nobody enforced, and when that was given up.
    unenforced: Option<(ProcessKey, KernelTime)>,
    /// When the last init ended that was no stage of the runtime's.
    init_ended: StartTick,
    /// Whom the last look did not list: they ended, and the records of it are still to be read, or were lost.
    missing: HashSet<ProcessKey>,
    /// What was still to be read has been read, once a record as late as this comes.
    settled: KernelTime,
    /// Who had got a signal in a window that came to nothing, and lived on; and until when that was.
    told_before: HashSet<ProcessKey>,
    told_until: KernelTime,
    /// That may not be all of them.
    told_in_doubt: bool,
    /// The process of the last end that was told.
    last_ended: ProcessKey,
    /// A process of init's went to a cgroup outside of the container: whatever becomes of it is not seen.
    strayed: bool,
    /// Who ended while a look at `/proc` was on its way, which may still list them.
    ended: Vec<ProcessKey>,
    /// What may have touched the windows that open now.
    doubt: Doubt,
}

/// Records of what was before a look have been read when one comes that is this much later.
const SETTLES: Duration = Duration::from_millis(500);

/// More than a runtime's own stages, which are what ends while a container is made.
const MAX_ENDED: usize = 64;

impl Container {
    pub(super) fn new(facts: Arc<ContainerFacts>, known_since: KernelTime, past: Past, doubt: Doubt) -> Self {
        Self {
            facts,
            spec: Spec::default(),
            processes: Processes::default(),
            init: None,
            init_unsettled: false,
            window: None,
            scheduled: None,
            known_since,
            past,
            seeded: false,
            stale: false,
            init_stale: false,
            looked: KernelTime::default(),
            unenforced: None,
            init_ended: StartTick::default(),
            missing: HashSet::default(),
            settled: KernelTime::default(),
            told_before: HashSet::default(),
            told_until: KernelTime::default(),
            told_in_doubt: false,
            last_ended: ProcessKey::default(),
            strayed: false,
            ended: Vec::new(),
            doubt,
        }
    }

    pub(super) fn facts(&self) -> &Arc<ContainerFacts> {
        self.spec.facts.as_ref().unwrap_or(&self.facts)
    }

    pub(super) fn deadline(&self) -> Option<KernelTime> {
        self.window.as_ref().map(Window::deadline)
    }

    /// Whether its init is gone and others of it may be left.
    pub(super) fn awaits_ends(&self) -> bool {
        self.window.as_ref().is_some_and(Window::is_closing)
    }

    /// What is configured changed: a candidate counts once the pod is found terminating, and a window that is open may
    /// have to wait longer than was known when it opened.
    pub(super) fn set_spec(&mut self, spec: Spec) {
        self.spec = spec;
        let opened = self.window.as_ref().map(|window| window.evidence.opened);
        // What a session sent before the deletion is another matter.
        let terminating_then =
            self.spec.terminating_since.zip(opened).is_some_and(|(since, at)| since <= at.after(DELETION_NEWS));
        let stopped_before = opened.is_some_and(|opened| self.may_be_stopped_before(opened));
        if let Some(window) = &mut self.window {
            window.evidence.lost |= window.evidence.stop.is_none() && stopped_before;
            match window.phase {
                Phase::Open(_) => window.confirm(self.spec.grace.period),
                Phase::Candidate(_) if terminating_then => window.confirm(self.spec.grace.period),
                Phase::Candidate(_) | Phase::Provisional(_) | Phase::Closing(_) => {}
            }
        }
    }

    /// Where a sender stands, given where its cgroup is.
    pub(super) fn origin(&self, sender: &Task, origins: Origins) -> Where {
        let init = self.init.and_then(|key| self.processes.get(key));
        if let Some(process) = self.processes.get(sender.key) {
            // Where no namespace ends with init, its processes may outlive it and go on to tell each other.
            let root = self.window.as_ref().map(|window| window.evidence.init_key).or(self.init);
            return if root == Some(process.root) { Where::Inside } else { Where::ExecSession };
        }
        // A process that was born in the container's pid namespace and moved to another cgroup is not outside of it.
        let own_namespace = init.filter(|i| i.unkillable);
        let in_namespace = own_namespace.is_some_and(|i| match (sender.level, i.level) {
            (Some(sender), Some(init)) => sender >= init,
            (None, _) | (_, None) => sender.ns_pid.is_some(),
        });
        match origins {
            Origins::Container => Where::Inside,
            Origins::Pod => Where::ExecSession,
            Origins::Elsewhere if in_namespace => Where::ExecSession,
            Origins::Elsewhere if sender.key.pid == Pid(1) && sender.level.is_none_or(|level| level == 0) => {
                Where::Host
            }
            Origins::Elsewhere => Where::Outside,
        }
    }

    pub(super) fn signal(&mut self, time: KernelTime, event: &SignalEvent, origin: Where) {
        let named;
        let event = if event.sender.key.start == StartTick::default() {
            named = self.with_known_sender(event);
            &named
        } else {
            event
        };
        self.processes.refresh(&event.sender);
        self.processes.refresh(&event.target);
        let to_init = self.init == Some(event.target.key);
        let to_self = event.sender.key == event.target.key;
        if to_init && !event.kernel_made && !to_self {
            let session = origin == Where::Inside && self.processes.get(event.sender.key).is_none();
            self.consider_opening(time, event, if session { Where::ExecSession } else { origin });
        } else if !to_init && verdict::stops(origin) && self.may_stop(event.signal) {
            self.note_unenforced(event.target.key, time);
        }
        if let Some(window) = &mut self.window {
            window.evidence.signal(time, event, origin, &self.processes);
        }
    }

    /// Before Linux 5.11 a sender comes without its start: of the living, the pid alone tells who it is. Init is no longer
    /// among them when the kernel has it kill the others.
    fn with_known_sender(&self, event: &SignalEvent) -> SignalEvent {
        let mut event = *event;
        let sender = &mut event.sender.key;
        let ending = self.window.as_ref().map(|w| w.evidence.init_key).filter(|init| sender.pid == init.pid);
        if let Some(key) = self.processes.get(*sender).map(|p| p.key).or(ending.filter(|_| event.kernel_made)) {
            *sender = key;
        }
        event
    }

    /// The namespace flag names init even where no record of its birth came.
    pub(super) fn adopt_init(&mut self, target: &Task, out: &mut Vec<Output>) {
        let known = || self.init.and_then(|key| self.processes.get(key)).is_some_and(|init| init.unkillable);
        if target.unkillable && !known() {
            let unknown_parent = ProcessKey::default();
            if self.processes.insert(target, unknown_parent, Birthplace::Outside).is_ok() {
                // A look that found it gone may have been told of before what it lived to see.
                if !target.dying {
                    self.processes.revive(target.key);
                }
                self.refresh_init(out);
            }
        }
    }

    fn consider_opening(&mut self, time: KernelTime, event: &SignalEvent, origin: Where) {
        let from_outside = verdict::stops(origin);
        let may_start = match self.window.as_ref().map(|w| w.phase) {
            None | Some(Phase::Candidate(_)) => true,
            Some(Phase::Provisional(_)) => event.signal != Signal::KILL && self.opening_signal() != Some(event.signal),
            Some(Phase::Open(_) | Phase::Closing(_)) => false,
        };
        let grace = self.spec.grace.period;
        let certain = self.spec.stop_signal.map_or(event.signal == Signal::TERM, |s| s == event.signal);
        let possible = self.may_stop(event.signal);
        // It was ending before anybody stopped it: a core dump takes its time.
        if self.window.is_none() && event.result == Generated::Ignored && event.target.dying {
            if from_outside && possible {
                self.note_unenforced(event.target.key, time);
            }
            return;
        }
        if !may_start {
            if let Some(window) = self.window.as_mut().filter(|_| from_outside && (certain || possible)) {
                window.stopped_again(time, event.signal, certain);
            }
            return;
        }
        if event.signal == Signal::KILL {
            if from_outside && event.result != Generated::Ignored {
                self.open(time, None, |e| Window::open(e, grace));
            }
        } else if from_outside && certain {
            self.open(time, Some(stop(event, origin)), |e| Window::open(e, grace));
        } else if from_outside && possible {
            self.open(time, Some(stop(event, origin)), |e| Window::provisional(e, grace));
        } else if origin == Where::ExecSession
            && event.signal.is_terminating()
            && event.result != Generated::Ignored
            && self.window.is_none()
        {
            let terminating = self.spec.terminating_since.is_some();
            self.open(time, Some(stop(event, origin)), |e| {
                if terminating { Window::open(e, grace) } else { Window::candidate(e) }
            });
        }
    }

    /// Whether it is the stop signal, or could be, as that is not known.
    fn may_stop(&self, signal: Signal) -> bool {
        self.spec.stop_signal.map_or(signal.is_terminating(), |stop| stop == signal)
    }

    /// A stop signal to one who is not held for init, which it may be if the end of who is was not seen.
    fn note_unenforced(&mut self, target: ProcessKey, time: KernelTime) {
        if self.unenforced.is_none_or(|(stopped, _)| Some(stopped) != self.init) {
            self.unenforced = Some((target, time));
        }
    }

    fn opening_signal(&self) -> Option<Signal> {
        self.window.as_ref()?.evidence.stop.map(|s| s.signal)
    }

    fn open(&mut self, time: KernelTime, stop: Option<Stop>, make: impl FnOnce(Evidence) -> Window) {
        self.processes.none_is_later();
        let Some(init) = self.init.and_then(|key| self.processes.get(key)) else { return };
        // Without the namespace's flag, init is whoever came first: no guess to make from a table with holes.
        if !init.unkillable && (self.stale || !init.certain) {
            return;
        }
        // Who outlived the init that ran the container is a session, say, and is swept up.
        if stop.is_none() && init.key.start < self.init_ended {
            return;
        }
        let mut evidence = Evidence::open(time, stop, init, &self.processes);
        // Without a stop signal it matters whether one could have come before anybody looked.
        let unenforced = self.unenforced.is_some_and(|(stopped, at)| stopped == init.key && time.since(at) <= GIVEN_UP);
        let stopped_before = unenforced || self.may_be_stopped_before(time);
        let stop_unseen = self.deleted_before() || (stop.is_none() && stopped_before);
        evidence.lost = stop_unseen || self.stale || self.strayed || time <= self.doubt.records;
        evidence.lost |= self.processes.has_holes(init.key);
        // What stopped it before this may have been among the signals that were lost.
        let doubtful = self.time_to_kill().max(UNSEEN_STOP);
        evidence.lost |= self.doubt.stops.is_some_and(|lost| time.since(lost) <= doubtful);
        evidence.births_unseen = time <= self.doubt.births;
        evidence.lost |= evidence.births_unseen && !init.unkillable;
        self.remember_told();
        if time.since(self.told_until) <= GIVEN_UP {
            evidence.note_told_before(&self.told_before);
            evidence.stop_unclear |= self.told_in_doubt;
        }
        self.window = Some(make(evidence));
    }

    /// The window comes to nothing, or another takes its place: who was told in it may know of the stop all the same.
    fn remember_told(&mut self) {
        let Some(window) = &self.window else { return };
        self.told_before.retain(|key| self.processes.get(*key).is_some());
        self.told_before.extend(window.evidence.told());
        self.told_until = window.evidence.ended;
        self.told_in_doubt = window.evidence.may_lack_ends();
    }

    /// Whether what is killed at that instant may have had its stop signal before anybody looked.
    fn may_be_stopped_before(&self, time: KernelTime) -> bool {
        let young = self.past == Past::Unknown && time.since(self.known_since) <= self.time_to_kill();
        young || self.deleted_before()
    }

    /// Whether somebody decided that it has to go before anybody looked: what stops it now may be no longer the first to.
    fn deleted_before(&self) -> bool {
        let deleted_before =
            self.spec.terminating_since.is_some_and(|since| since <= self.known_since.after(DELETION_TOLERANCE));
        self.past == Past::Unknown && deleted_before
    }

    /// How long after a stop signal that nobody saw the SIGKILL may come.
    fn time_to_kill(&self) -> Duration {
        self.spec.grace.period.map_or(UNSEEN_STOP, |grace| grace.saturating_add(RUNTIME_AWAY))
    }

    pub(super) fn born(&mut self, time: KernelTime, event: &ProcessEvent, place: Birthplace, out: &mut Vec<Output>) {
        // A record that came late: whoever was there before the look, and not in it, has ended.
        if time < self.looked && self.processes.get(event.task.key).is_none() {
            // The kernel tells of those who come into any cgroup, and of ends only where it was told to.
            if time < self.known_since {
                return;
            }
            self.missing.insert(event.task.key);
        }
        if self.processes.insert(&event.task, event.parent, place).is_err() {
            self.lost(time, Loss::Bulk);
            return;
        }
        if self.window.as_ref().is_some_and(|window| time >= window.evidence.opened) {
            self.processes.note_later(event.task.key);
        }
        let process = || self.processes.get(event.task.key);
        if let Some(window) = self.window.as_mut().filter(|window| time < window.evidence.opened)
            && let Some(process) = process()
        {
            window.evidence.add_member(process, &self.processes);
        }
        let may_be_init = |process: &Process| process.unkillable || process.root == process.key;
        if self.init.is_none() || self.init_unsettled || process().is_none_or(may_be_init) {
            self.refresh_init(out);
        }
    }

    /// A process went to another cgroup: it may have been one of this container's, as a child of one of these is.
    pub(super) fn left(&mut self, key: ProcessKey, is_child: bool, to: Whereto) {
        if key.start == StartTick::default() {
            return;
        }
        let Some(process) = self.processes.get(key) else {
            self.strayed |= is_child && to == Whereto::Elsewhere;
            if let Some(window) = self.window.as_mut().filter(|_| is_child) {
                window.evidence.note_stranger(key, &self.processes);
            }
            return;
        };
        self.strayed |= to == Whereto::Elsewhere && Some(process.root) == self.init;
        if let Some(window) = &mut self.window {
            window.evidence.member_left(key);
            window.evidence.lost |= self.init == Some(key);
        }
        self.processes.remove(key);
    }

    pub(super) fn exit(&mut self, time: KernelTime, event: &ExitEvent, out: &mut Vec<Output>) {
        let key = event.task.key;
        let known = self.processes.refresh(&event.task);
        let was_init = self.init == Some(key);
        // Two last threads may tell of one end both.
        let told_again = std::mem::replace(&mut self.last_ended, key) == key;
        let mut fate = Fate::Stands;
        if let Some(window) = &mut self.window {
            if time < window.evidence.opened {
                window.evidence.drop_member(key);
            } else if known || !told_again {
                window.evidence.exit(time, event, &self.processes);
            }
            let of_window = key == window.evidence.init_key;
            fate = if of_window { window.init_ended(time) } else { window.fate_if_empty() };
        }
        self.processes.remove(key);
        self.missing.remove(&key);
        if (!self.seeded || self.stale) && self.ended.len() < MAX_ENDED {
            self.ended.push(key);
        }
        if was_init {
            self.init = None;
        }
        // Whose birth was not seen may have been the one that ran the container, where no flag says who does.
        let birth_unseen = !known && !told_again && key.start <= StartTick::from_nanos(self.doubt.births.0);
        if was_init || (birth_unseen && self.init_is_a_guess()) {
            self.note_init_end(key, time);
        }
        // The end of another one makes nobody init.
        if self.init.is_none() || self.init_unsettled {
            self.refresh_init(out);
        }
        self.follow(fate, out);
    }

    fn init_is_a_guess(&self) -> bool {
        self.init.and_then(|key| self.processes.get(key)).is_none_or(|init| !init.unkillable)
    }

    fn note_init_end(&mut self, init: ProcessKey, time: KernelTime) {
        if init.start <= StartTick::from_nanos(time.0.saturating_sub(STAGE)) {
            self.init_ended = StartTick::from_nanos(time.0);
        }
    }

    pub(super) fn oom_mark(&mut self, time: KernelTime, pid: Pid) {
        if let Some(window) = &mut self.window {
            window.evidence.oom_mark(time, pid);
        }
    }

    /// What a look at `/proc` found: who was missed is added; after a loss, who is not there has ended.
    /// It was over by `now`.
    pub(super) fn seen(&mut self, snapshot: &Snapshot, now: KernelTime, out: &mut Vec<Output>) {
        // One who ended before the look was over would live on in the table, and be init where no flag says who is.
        let ended = std::mem::take(&mut self.ended);
        let mut processes: Vec<_> = snapshot.processes.iter().filter(|p| !ended.contains(&p.key)).collect();
        processes.sort_by_key(|p| (p.key.start, p.key.pid));
        let home = self.processes.home(&processes);
        for process in processes {
            if let Some(window) = &mut self.window {
                window.evidence.note_stranger(process.key, &self.processes);
            }
            if self.processes.insert_seen(process, home, self.seeded).is_err() {
                self.lost(snapshot.time, Loss::Bulk);
                break;
            }
        }
        if self.stale || !self.seeded {
            // The record of init's end is still to come, if it was not lost.
            let spared = self.init.filter(|_| self.seeded && !self.init_stale);
            let missing = self.processes.missing_from(&snapshot.processes, StartTick::from_nanos(snapshot.time.0));
            let missing = missing.into_iter().filter(|key| Some(*key) != spared);
            // What two looks did not list has no record.
            let (gone, missing) = missing.partition(|key| self.missing.contains(key));
            self.missing = missing;
            self.settled = now.after(SETTLES);
            self.ended_unseen(gone);
            (self.stale, self.init_stale) = (false, false);
            // Who ended meanwhile may not be in it.
            self.doubt.reaches(now, Loss::Lives);
        }
        self.refresh_init(out);
        if let Some(window) = &mut self.window {
            for process in self.processes.living() {
                window.evidence.add_member(process, &self.processes);
            }
        }
        self.seeded = true;
        self.looked = self.looked.max(snapshot.time);
    }

    /// A record of this time is to be told next: who is still missing by then has ended unseen.
    pub(super) fn settle(&mut self, time: KernelTime, out: &mut Vec<Output>) {
        if !self.missing.is_empty() && time >= self.settled {
            let gone = std::mem::take(&mut self.missing);
            self.ended_unseen(gone);
            self.refresh_init(out);
        }
    }

    fn ended_unseen(&mut self, gone: HashSet<ProcessKey>) {
        // Whoever outlives an init whose end was not seen is a session all the same.
        if let Some(init) = self.init.filter(|init| gone.contains(init) && self.init_is_a_guess()) {
            self.note_init_end(init, self.looked);
        }
        for key in gone {
            self.processes.remove(key);
        }
    }

    /// The kernel is told to close its window. A stop signal that came before it has done so finds an open window, and
    /// then a closed one: what follows it inside the container is not reported.
    pub(super) fn kernel_closes(&mut self, now: KernelTime) {
        self.doubt.reaches(now.after(CLOSING_TAKES), Loss::Bulk);
    }

    /// Records were lost up to this instant.
    pub(super) fn lost(&mut self, until: KernelTime, loss: Loss) {
        self.stale = true;
        self.init_stale |= loss != Loss::Bulk;
        self.doubt.reaches(until, loss);
        if let Some(window) = &mut self.window {
            window.evidence.births_unseen = true;
            window.evidence.lost |= loss != Loss::Lives;
        }
    }

    pub(super) fn expire(&mut self, out: &mut Vec<Output>) {
        let fate = self.window.as_ref().map_or(Fate::Stands, Window::expired);
        let dropped = self.window.as_ref().filter(|_| fate == Fate::Dropped);
        if let Some(window) = dropped.filter(|window| !matches!(window.phase, Phase::Candidate(_))) {
            self.unenforced = Some((window.evidence.init_key, window.deadline()));
        }
        self.follow(fate, out);
    }

    /// The container's cgroup is gone.
    pub(super) fn gone(&mut self, out: &mut Vec<Output>) {
        let fate = self.window.as_ref().map_or(Fate::Stands, Window::container_gone);
        self.follow(fate, out);
    }

    fn follow(&mut self, fate: Fate, out: &mut Vec<Output>) {
        match fate {
            Fate::Stands => {}
            Fate::Dropped => {
                self.remember_told();
                self.window = None;
            }
            Fate::Judged => {
                self.told_before.clear();
                self.told_in_doubt = false;
                if let Some(window) = self.window.take() {
                    out.push(Output::Shutdown(Box::new(self.judge(window.evidence))));
                }
            }
        }
    }

    /// Finds out who is init, by a look at every process.
    fn refresh_init(&mut self, out: &mut Vec<Output>) {
        // An init whose window is still open stays: another root is no init.
        self.init_unsettled = self.window.is_some();
        if self.init_unsettled {
            return;
        }
        let now = self.processes.init().map(|p| p.key);
        if now != self.init {
            self.init = now;
            if let Some(init) = now {
                let cgroup = self.facts.cgroup;
                out.push(Output::Track { cgroup, container: cgroup, init: Some(init.pid) });
            }
        }
    }

    /// Outside Kubernetes somebody asked the runtime.
    fn trigger(&self) -> Trigger {
        let outside = self.spec.trigger == Trigger::Unknown && self.facts().pod.is_none();
        if outside { Trigger::RuntimeStop } else { self.spec.trigger }
    }

    fn judge(&self, mut evidence: Evidence) -> Shutdown {
        evidence.lost |= !self.seeded || (evidence.births_unseen && evidence.strangers);
        let e = &evidence;
        let prestop = self.spec.terminating_since.map(|since| e.opened.since(since));
        let case = Case { evidence: e, grace: self.spec.grace, prestop };
        let verdict = verdict::verdict(case);
        let (timeline, timeline_cut) = e.timeline();
        let missed = verdict::missed(verdict, e).into_iter().map(|m| Missed {
            process: m.party.named,
            broke_at: m.parent.and_then(|key| {
                if key == e.init_key { Some(e.init.named) } else { e.member(key).map(|p| p.party.named) }
            }),
        });
        let mut shutdown = Shutdown {
            container: Arc::clone(self.facts()),
            verdict,
            confidence: verdict::confidence(verdict, e),
            trigger: self.trigger(),
            stop_signal: e.stop.map(|s| s.signal),
            init_disposition: verdict::init_disposition(e),
            grace: self.spec.grace,
            prestop,
            opened: e.opened,
            ended: e.ended,
            stop_to_kill: e.stop.and(e.outside_kill).map(|k| k.time.since(e.opened)),
            stop_to_exit: e.stop.and(e.init.exit).map(|(at, _)| at.since(e.opened)),
            kill_to_exit: e.outside_kill.zip(e.init.exit).map(|(k, (at, _))| at.since(k.time)),
            avoidable_wait: avoidable_wait(verdict, e),
            init: Some(e.init.named),
            exit: e.init.exit.map(|(_, status)| status),
            processes: counts(e),
            killed_by: None,
            killed: KilledBy::ALL.map(|by| e.members().filter(|m| m.party.killer() == Some(by)).count()),
            missed: missed.collect(),
            findings: findings(verdict, e),
            advice: String::new(),
            timeline,
            timeline_cut,
        };
        shutdown.killed_by = KilledBy::ALL
            .into_iter()
            .zip(shutdown.killed)
            .filter(|(_, count)| *count > 0)
            .max_by_key(|(_, count)| *count)
            .map(|(by, _)| by)
            .or_else(|| e.init.killer());
        shutdown.advice = advice::advice(&shutdown);
        shutdown
    }
}

fn stop(event: &SignalEvent, origin: Where) -> Stop {
    Stop {
        signal: event.signal,
        dropped: event.result == Generated::Ignored && !event.target.dying,
        handler: event.handler,
        mask: event.mask,
        traced: event.traced,
        by_session: origin == Where::ExecSession,
    }
}

fn counts(e: &Evidence) -> Counts {
    Counts {
        at_stop: e.members().count(),
        leaves: e.leaves_at(e.opened).len(),
        told: e.members().filter(|m| m.party.told()).count(),
        killed: e.members().filter(|m| m.party.killed()).count(),
    }
}

/// The wait that could not help: nobody who had to be told was.
fn avoidable_wait(verdict: Verdict, e: &Evidence) -> Option<Duration> {
    match (verdict.outcome, verdict.cause) {
        (Outcome::Unknown, _) => None,
        (Outcome::GraceExceeded, Cause::Ignored | Cause::NotForwarded | Cause::ChildIgnored) => {
            e.outside_kill.map(|k| k.time.since(e.opened))
        }
        (Outcome::GraceExceeded, Cause::Unknown) => None,
        _ => Some(Duration::ZERO),
    }
}

fn findings(verdict: Verdict, e: &Evidence) -> Vec<Finding> {
    let killed: Vec<_> = e.members().filter(|m| m.party.killed()).collect();
    let helper = |comm: &crate::event::Comm| HELPERS.iter().any(|h| h.as_bytes() == comm.as_bytes());
    let mut findings = Vec::new();
    let in_time = matches!(verdict.outcome, Outcome::ChildrenKilled | Outcome::DiedOnSignal);
    if in_time && !killed.is_empty() && killed.iter().all(|m| helper(&m.party.named.comm)) {
        findings.push(Finding::HelpersKilled);
    }
    if e.init.reraised.is_some() || e.members().any(|m| m.party.reraised.is_some()) {
        findings.push(Finding::Reraised);
    }
    findings
}
