//! The judge: from what the kernel said to one verdict for each shutdown.
//!
//! Pure. It has no clock (time comes in as an argument), does no I/O, is not async and cannot fail: whatever comes in,
//! in whatever order, it returns values. It knows containers by their cgroup ids and nothing of Kubernetes' API, of
//! the kernel programs, or of how a verdict is shown.

mod advice;
mod container;
mod evidence;
mod processes;
mod program;
mod schedule;
pub mod shutdown;
mod verdict;
mod window;

use std::sync::Arc;

use foldhash::HashMap;

use crate::containers::Cgroup;
use crate::containers::index::Index;
use crate::event::{CgroupId, Event, EventKind, KernelTime, Pid, ProcessEvent, Signal, SignalEvent, Snapshot, Task};
use container::{Container, Origins, Whereto};
use processes::Birthplace;
use schedule::Schedule;
use shutdown::{ContainerFacts, Grace, GraceSource, Shutdown, Trigger, Where};

/// Cgroups that are known at once, the ones of no container included.
const MAX_CGROUPS: usize = 65_536;

/// All that can happen.
#[derive(Clone, Debug)]
pub enum Input {
    /// The kernel said something.
    Event(Event),
    /// A cgroup is there, or is no more.
    Cgroup(CgroupChange),
    /// What is configured for a container, or known of its pod, changed.
    Spec(CgroupId, Spec),
    /// Somebody looked at `/proc`.
    Processes(Snapshot),
    /// Records were lost up to now. To be said before the records that were read at the same time.
    Lost(Loss),
    /// Time went by.
    Tick,
}

/// What happened to a cgroup.
#[derive(Clone, Debug)]
pub enum CgroupChange {
    /// It was there when the tracer came, or was found by a later look: its past is unknown.
    Present(Cgroup),
    /// The kernel just made it: its whole life will be seen.
    Made(Cgroup),
    /// Nothing lives there any more, nor will.
    Gone(CgroupId),
}

/// What is configured for a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Names, where more than the cgroup path is known.
    pub facts: Option<Arc<ContainerFacts>>,
    /// The effective stop signal; none where it is not known.
    pub stop_signal: Option<Signal>,
    /// The time between stop signal and SIGKILL.
    pub grace: Grace,
    /// When somebody decided that it has to go: the start of the hook's time.
    pub terminating_since: Option<KernelTime>,
    /// Why.
    pub trigger: Trigger,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            facts: None,
            stop_signal: None,
            grace: Grace { period: None, source: GraceSource::Unknown },
            terminating_since: None,
            trigger: Trigger::Unknown,
        }
    }
}

/// The worst of what was lost since the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Births and ends of any process, of inits too, and nothing else. What such a one had to do with a stop shows in the
    /// records that name it, and in an end that is missing.
    Lives,
    /// Forks, exits, forwards: what a window needs to be seen whole.
    Bulk,
    /// The ends of inits too.
    Exits,
    /// Also stop signals to inits, and their kills.
    Init,
}

/// All that the judge can ask for.
#[must_use]
#[derive(Clone, Debug)]
pub enum Output {
    /// Have the kernel report on this cgroup.
    Track {
        /// Which.
        cgroup: CgroupId,
        /// The container it is part of.
        container: CgroupId,
        /// Host pid of the container's init, once it is known.
        init: Option<Pid>,
    },
    /// This cgroup is no container's any more.
    Untrack(CgroupId),
    /// Look at the processes of this container.
    Snapshot(CgroupId),
    /// No window is open for this container: the kernel may stop reporting what is only of interest inside one.
    WindowClosed(CgroupId),
    /// A verdict.
    Shutdown(Box<Shutdown>),
}

impl Output {
    /// The verdict, if this is one.
    pub fn into_shutdown(self) -> Option<Shutdown> {
        match self {
            Self::Shutdown(shutdown) => Some(*shutdown),
            Self::Track { .. } | Self::Untrack(_) | Self::Snapshot(_) | Self::WindowClosed(_) => None,
        }
    }
}

/// The judge.
#[derive(Debug)]
pub struct Judge {
    index: Index,
    containers: HashMap<CgroupId, Container>,
    schedule: Schedule,
    doubt: Doubt,
}

impl Default for Judge {
    fn default() -> Self {
        Self {
            index: Index::new(MAX_CGROUPS),
            containers: HashMap::default(),
            schedule: Schedule::default(),
            doubt: Doubt::default(),
        }
    }
}

impl Judge {
    /// Takes one input that happened, or was learnt, at `now`, and appends what follows from it.
    pub fn handle(&mut self, input: Input, now: KernelTime, out: &mut Vec<Output>) {
        self.expire(now, out);
        match input {
            Input::Event(event) => self.event(event, now, out),
            Input::Cgroup(CgroupChange::Present(cgroup)) => self.cgroup_found(cgroup, now, Past::Unknown, out),
            Input::Cgroup(CgroupChange::Made(cgroup)) => self.cgroup_found(cgroup, now, Past::Seen, out),
            Input::Cgroup(CgroupChange::Gone(id)) => self.cgroup_gone(id, out),
            Input::Spec(id, spec) => {
                if let Some(container) = self.containers.get_mut(&id) {
                    container.set_spec(spec);
                    settle(&mut self.schedule, id, container, now, out);
                }
            }
            Input::Processes(snapshot) => self.snapshot(&snapshot, now, out),
            Input::Lost(loss) => self.lost(loss, now, out),
            Input::Tick => {}
        }
    }

    /// When [`Input::Tick`] is due if nothing else comes.
    pub fn next_deadline(&self) -> Option<KernelTime> {
        self.with_windows().filter_map(Container::deadline).min()
    }

    /// Whether an init is gone and a verdict falls as soon as those have ended that it left behind.
    pub fn awaits_ends(&self) -> bool {
        self.with_windows().any(Container::awaits_ends)
    }

    /// Containers it knows, by their own cgroup.
    pub fn containers(&self) -> impl ExactSizeIterator<Item = &Arc<ContainerFacts>> {
        self.containers.values().map(Container::facts)
    }

    /// The cgroups it knows.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Shutdowns in the making.
    pub fn open_windows(&self) -> usize {
        self.schedule.open().len()
    }

    fn with_windows(&self) -> impl Iterator<Item = &Container> {
        self.schedule.open().filter_map(|id| self.containers.get(&id))
    }

    fn event(&mut self, event: Event, now: KernelTime, out: &mut Vec<Output>) {
        match event.kind {
            EventKind::Signal(signal) => self.signal(event.time, &signal, now, out),
            EventKind::Fork(process) => {
                if let Some(id) = self.index.container_of(process.task.cgroup) {
                    self.born(id, event.time, &process, out);
                }
            }
            EventKind::Move(process) => self.moved(event.time, &process, out),
            EventKind::Exit(exit) => {
                let home = self.home_of(&exit.task);
                if let Some((id, container)) = home.and_then(|id| Some((id, self.containers.get_mut(&id)?))) {
                    container.settle(event.time, out);
                    container.exit(event.time, &exit, out);
                    settle(&mut self.schedule, id, container, now, out);
                }
            }
            EventKind::OomMark(pid) => {
                for id in self.schedule.open() {
                    if let Some(container) = self.containers.get_mut(&id) {
                        container.oom_mark(event.time, pid);
                    }
                }
            }
            EventKind::CgroupGone(id) => self.cgroup_gone(id, out),
            // Only ids: whoever can read its path turns it into a `CgroupChange`.
            EventKind::CgroupMade { .. } => {}
        }
    }

    fn signal(&mut self, time: KernelTime, event: &SignalEvent, now: KernelTime, out: &mut Vec<Output>) {
        let home = self.home_of(&event.target);
        let Some((id, container)) = home.and_then(|id| Some((id, self.containers.get_mut(&id)?))) else { return };
        container.settle(time, out);
        container.adopt_init(&event.target, out);
        let origin = origin(&self.index, id, container, event);
        container.signal(time, event, origin);
        // The kernel opened a window for what is none.
        if container.deadline().is_none() {
            self.schedule.kernel_opened(id);
        }
        settle(&mut self.schedule, id, container, now, out);
    }

    /// The container of a process: by its cgroup.
    fn home_of(&self, task: &Task) -> Option<CgroupId> {
        self.index.container_of(task.cgroup)
    }

    fn born(&mut self, id: CgroupId, time: KernelTime, event: &ProcessEvent, out: &mut Vec<Output>) {
        let inside = self.index.container_of(event.parent_cgroup) == Some(id);
        let place = if inside { Birthplace::Inside } else { Birthplace::Outside };
        if let Some(container) = self.containers.get_mut(&id) {
            container.settle(time, out);
            container.born(time, event, place, out);
        }
    }

    fn moved(&mut self, time: KernelTime, event: &ProcessEvent, out: &mut Vec<Output>) {
        let to = self.index.container_of(event.task.cgroup);
        let from = self.index.container_of(event.parent_cgroup);
        for (id, container) in &mut self.containers {
            if Some(*id) != to {
                let within = to.is_some_and(|to| self.index.encloses(*id, to));
                let whereto = if within { Whereto::Within } else { Whereto::Elsewhere };
                container.left(event.task.key, from == Some(*id), whereto);
            }
        }
        if let Some(id) = to {
            self.born(id, time, event, out);
        }
    }

    fn cgroup_found(&mut self, cgroup: Cgroup, now: KernelTime, past: Past, out: &mut Vec<Output>) {
        let id = cgroup.id;
        let is_container = cgroup.container.is_some();
        if self.index.path(id).is_some() {
            return;
        }
        let changed = self.index.apply(cgroup);
        if is_container && let Some(facts) = self.index.facts(id) {
            self.containers.insert(id, Container::new(Arc::clone(facts), now, past, self.doubt));
        }
        self.retrack(changed, out);
        if is_container {
            out.push(Output::Snapshot(id));
        }
    }

    /// Cgroups that are another container's than before.
    fn retrack(&self, changed: Vec<CgroupId>, out: &mut Vec<Output>) {
        out.extend(changed.into_iter().map(|cgroup| match self.index.container_of(cgroup) {
            Some(container) => Output::Track { cgroup, container, init: None },
            None => Output::Untrack(cgroup),
        }));
    }

    fn cgroup_gone(&mut self, id: CgroupId, out: &mut Vec<Output>) {
        if let Some(mut container) = self.containers.remove(&id) {
            container.gone(out);
            if self.schedule.remove(id) {
                out.push(Output::WindowClosed(id));
            }
        }
        let changed = self.index.delete(id);
        self.retrack(changed, out);
    }

    fn snapshot(&mut self, snapshot: &Snapshot, now: KernelTime, out: &mut Vec<Output>) {
        if let Some(container) = self.containers.get_mut(&snapshot.container) {
            container.seen(snapshot, now, out);
            settle(&mut self.schedule, snapshot.container, container, now, out);
        }
    }

    fn lost(&mut self, loss: Loss, now: KernelTime, out: &mut Vec<Output>) {
        self.doubt.reaches(now, loss);
        for (id, container) in &mut self.containers {
            container.lost(now, loss);
            out.push(Output::Snapshot(*id));
        }
    }

    fn expire(&mut self, now: KernelTime, out: &mut Vec<Output>) {
        if !self.schedule.may_be_due(now) {
            return;
        }
        let is_due = |id: &CgroupId| self.containers.get(id).and_then(Container::deadline).is_none_or(|at| at <= now);
        let mut due: Vec<_> = self.schedule.open().filter(is_due).collect();
        due.sort_unstable();
        for id in due {
            let Some(container) = self.containers.get_mut(&id) else { continue };
            container.expire(out);
            settle(&mut self.schedule, id, container, now, out);
        }
        let earliest = self.next_deadline();
        self.schedule.none_before(earliest);
    }
}

/// Where a signal comes from, as seen from the container `id`. Never by siginfo, which its sender writes.
fn origin(index: &Index, id: CgroupId, container: &Container, event: &SignalEvent) -> Where {
    if event.kernel_made {
        return Where::Kernel;
    }
    let origins = match index.container_of(event.sender.cgroup) {
        Some(other) if other == id || index.encloses(id, other) => Origins::Container,
        Some(other) if index.same_pod(id, other) => Origins::Pod,
        Some(_) | None => Origins::Elsewhere,
    };
    container.origin(&event.sender, origins)
}

/// Keeps the schedule in step with a container that was touched.
fn settle(schedule: &mut Schedule, id: CgroupId, container: &mut Container, now: KernelTime, out: &mut Vec<Output>) {
    let due = container.deadline();
    if due.is_some() && due == container.scheduled {
        return;
    }
    container.scheduled = due;
    if schedule.note(id, due) {
        container.kernel_closes(now);
        out.push(Output::WindowClosed(id));
    }
}

/// How far what was not seen reaches.
#[derive(Clone, Copy, Debug, Default)]
struct Doubt {
    /// Any record of a window that opens up to this instant may have been lost.
    records: KernelTime,
    /// Births before such a window may not have been seen.
    births: KernelTime,
    /// When signals to inits were last lost.
    stops: Option<KernelTime>,
}

impl Doubt {
    fn reaches(&mut self, until: KernelTime, loss: Loss) {
        self.births = self.births.max(until);
        if loss != Loss::Lives {
            self.records = self.records.max(until);
        }
        if loss == Loss::Init {
            self.stops = self.stops.max(Some(until));
        }
    }
}

/// Whether what was before is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Past {
    /// From the start.
    Seen,
    /// Not, or not wholly.
    Unknown,
}

#[cfg(test)]
mod tests;
