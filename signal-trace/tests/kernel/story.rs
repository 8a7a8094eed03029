//! What the programs recorded of one test's cgroups, told in lines.
//!
//! All tests share one set of programs, as all containers of a node do; each sees only what concerns its own cgroups.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{LazyLock, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use signal_trace::event::{
    CgroupId, Event, EventKind, ExitStatus, Handler, Mask, Pid, ProcessEvent, SignalEvent, Task,
};
use signal_trace::kernel::{Kernel, Settings, Tracked, boot_time};
use tokio::runtime::Runtime;

use crate::cgroup::Cgroup;

/// How often a condition is looked at again.
pub(crate) const POLL: Duration = Duration::from_millis(2);

/// The programs and what they recorded so far.
pub(crate) struct Recorder {
    kernel: Kernel,
    events: Vec<Event>,
}

impl Recorder {
    /// With programs of its own, for a test that wants other settings or the losses for itself.
    pub(crate) fn load(settings: &Settings) -> Self {
        static REACTOR: LazyLock<Runtime> =
            LazyLock::new(|| tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap());
        let _entered = REACTOR.enter();
        let kernel = Kernel::load(settings).unwrap_or_else(|e| panic!("{:#}", anyhow::Error::from(e)));
        Self { kernel, events: Vec::new() }
    }

    /// The ones that all tests share.
    pub(crate) fn shared() -> MutexGuard<'static, Self> {
        static SHARED: LazyLock<Mutex<Recorder>> = LazyLock::new(|| Mutex::new(Recorder::load(&Settings::default())));
        SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The programs.
    pub(crate) fn kernel(&mut self) -> &mut Kernel {
        &mut self.kernel
    }

    /// Everything so far, in the order in which it was delivered.
    pub(crate) fn events(&mut self) -> &[Event] {
        self.kernel.drain(boot_time(), &mut self.events);
        &self.events
    }
}

/// A tracked container of one test, and the names of those who act in it.
pub(crate) struct Story {
    cgroups: Vec<(CgroupId, &'static str)>,
    actors: HashMap<Pid, &'static str>,
    unborn: Vec<&'static str>,
}

impl Story {
    /// Tracks the cgroup as a container of which nothing is known yet.
    pub(crate) fn of(container: &Cgroup) -> Self {
        Self::with(container, Tracked { root: container.id().0, ..Tracked::default() })
    }

    /// Tracks the cgroup as a container.
    pub(crate) fn with(container: &Cgroup, entry: Tracked) -> Self {
        Recorder::shared().kernel().track(container.id(), entry).unwrap();
        let actors = HashMap::from([(Pid(std::process::id()), "outside")]);
        Self { cgroups: vec![(container.id(), "container")], actors, unborn: Vec::new() }
    }

    /// What happens to or in this cgroup belongs to the story too.
    pub(crate) fn also(mut self, cgroup: &Cgroup, name: &'static str) -> Self {
        self.cgroups.push((cgroup.id(), name));
        self
    }

    /// Names a process.
    pub(crate) fn cast(&mut self, pid: Pid, name: &'static str) {
        self.actors.insert(pid, name);
    }

    /// Names those who will be born, in the order of their birth.
    pub(crate) fn births(mut self, names: &[&'static str]) -> Self {
        self.unborn = names.iter().rev().copied().collect();
        self
    }

    /// The story so far.
    pub(crate) fn lines(&mut self) -> Vec<String> {
        let events = self.events(&mut Recorder::shared());
        self.tell(&events)
    }

    /// The events of the story so far, of that recorder.
    pub(crate) fn events(&self, recorder: &mut Recorder) -> Vec<Event> {
        recorder.events().iter().filter(|event| self.concerns(event)).copied().collect()
    }

    /// Waits until the last line is that one, and tells the story up to there.
    pub(crate) fn until(&mut self, last: &str) -> Vec<String> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let lines = self.lines();
            if lines.last().is_some_and(|line| line == last) {
                return lines;
            }
            assert!(Instant::now() < deadline, "never told: {last}\ntold:\n{}", lines.join("\n"));
            std::thread::sleep(POLL);
        }
    }

    fn concerns(&self, event: &Event) -> bool {
        let mine = |id: CgroupId| self.cgroups.iter().any(|(cgroup, _)| *cgroup == id);
        match event.kind {
            EventKind::Signal(signal) => mine(signal.target.cgroup),
            EventKind::Fork(process) | EventKind::Move(process) => mine(process.task.cgroup),
            EventKind::Exit(exit) => mine(exit.task.cgroup),
            EventKind::OomMark(pid) => self.actors.contains_key(&pid),
            EventKind::CgroupMade { parent, .. } => mine(parent),
            EventKind::CgroupGone(id) => mine(id),
        }
    }

    fn tell(&self, events: &[Event]) -> Vec<String> {
        let mut actors = self.actors.clone();
        let mut unborn = self.unborn.clone();
        let mut lines = Vec::new();
        for event in events {
            if let EventKind::Fork(born) = event.kind
                && !actors.contains_key(&born.task.key.pid)
                && let Some(name) = unborn.pop()
            {
                actors.insert(born.task.key.pid, name);
            }
            lines.push(self.line(event, &actors));
        }
        lines
    }

    fn line(&self, event: &Event, actors: &HashMap<Pid, &'static str>) -> String {
        let name = |pid: Pid| actors.get(&pid).copied().unwrap_or("stranger");
        let cgroup = |id| self.cgroups.iter().find(|(cgroup, _)| *cgroup == id).map_or("elsewhere", |(_, name)| name);
        let process = |verb, p: ProcessEvent| {
            format!("{verb} {} of {} in {}", name(p.task.key.pid), name(p.parent.pid), cgroup(p.task.cgroup))
        };
        match event.kind {
            EventKind::Signal(signal) => signal_line(&signal, name),
            EventKind::Fork(born) => process("fork", born),
            EventKind::Move(moved) => process("move", moved),
            EventKind::Exit(exit) => match exit.status {
                ExitStatus::Code(code) => format!("exit {} {code}", name(exit.task.key.pid)),
                ExitStatus::Signal(signal) => format!("exit {} {signal}", name(exit.task.key.pid)),
            },
            EventKind::OomMark(pid) => format!("oom {}", name(pid)),
            EventKind::CgroupMade { id, parent } => format!("made {} in {}", cgroup(id), cgroup(parent)),
            EventKind::CgroupGone(id) => format!("gone {}", cgroup(id)),
        }
    }
}

fn signal_line(event: &SignalEvent, name: impl Fn(Pid) -> &'static str) -> String {
    let handler = match event.handler {
        Handler::Unknown => "unknown",
        Handler::Default => "default",
        Handler::Ignore => "ignore",
        Handler::Function => "function",
    };
    let mut line = format!(
        "{} {} > {} {:?} {handler}",
        event.signal,
        name(event.sender.key.pid),
        name(event.target.key.pid),
        event.result,
    )
    .to_lowercase();
    let mut mark = |holds: bool, word| {
        if holds {
            line.push(' ');
            line.push_str(word);
        }
    };
    mark(event.mask == Mask::Blocked, "blocked");
    mark(event.mask == Mask::Awaited, "awaited");
    mark(event.target.unkillable, "unkillable");
    mark(event.target.dying, "dying");
    mark(event.kernel_made, "kernel");
    mark(!event.to_group, "thread");
    mark(event.traced, "traced");
    line
}

/// What there is to know of a container whose init is that process.
pub(crate) fn container_of(container: &Cgroup, init: Pid) -> Tracked {
    let namespace = std::fs::metadata(format!("/proc/{}/ns/pid", init.0)).unwrap();
    let device = namespace.dev();
    Tracked {
        root: container.id().0,
        pid_ns_inode: namespace.ino(),
        pid_ns_device: libc::major(device) << 20 | libc::minor(device),
        init: init.0,
    }
}

/// What a task is, but for what differs from run to run.
pub(crate) fn facts(task: &Task) -> (String, CgroupId, Option<Pid>) {
    (task.comm.to_text().into_owned(), task.cgroup, task.ns_pid)
}
