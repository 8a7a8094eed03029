//! The readable form of a timeline: parsed into inputs, played to the judge, and its shutdowns held against what is
//! expected.
//!
//! ```text
//!    0.0 container app grace=30s
//!    0.1 fork    app/1 sh parent=outside
//!    1.0 signal  TERM outside(runc) -> app/1  no_handler
//!    1.0 exit    app/1 signal=KILL
//! ---
//! app grace_exceeded not_forwarded after=30.0s missed=7(python)@1(sh)
//! ```
//!
//! Every key of an expectation is checked; the number of shutdowns must be exact. `none` expects no shutdown.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use crate::containers::{Cgroup, Identity, Runtime};
use crate::event::{
    CgroupId, Comm, Event, EventKind, ExitEvent, ExitStatus, Generated, Handler, KernelTime, Mask, Pid, ProcessEvent,
    ProcessKey, SeenProcess, Signal, SignalEvent, Snapshot, StartTick, Task,
};
use crate::judge::shutdown::{ContainerFacts, Grace, GraceSource, Missed, Named, PodFacts, Shutdown, Trigger};
use crate::judge::{CgroupChange, Input, Judge, Loss, Output, Spec};

/// Plays the part above `---` and compares what came out with the part below.
pub(super) fn check(text: &str) {
    let (script, expected) = text.split_once("\n---\n").expect("a line of --- parts script and expectation");
    let shutdowns = play(&parse(script));
    let expected: Vec<_> = expected.lines().map(str::trim).filter(|l| !l.is_empty() && *l != "none").collect();
    let got: Vec<_> = shutdowns.iter().map(describe).collect();
    assert_eq!(got.len(), expected.len(), "expected {expected:#?}\ngot {got:#?}");
    for (expected, (shutdown, got)) in expected.iter().zip(shutdowns.iter().zip(&got)) {
        compare(expected, shutdown, got);
    }
}

/// The inputs of a script, each at its time.
pub(super) fn parse(script: &str) -> Vec<(KernelTime, Input)> {
    let mut world = World::default();
    for line in script.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        if let Some(at) = words.next() {
            let at: f64 = at.parse().unwrap_or_else(|_| panic!("no time: {line}"));
            let kind = words.next().unwrap_or_else(|| panic!("no kind: {line}"));
            world.line(nanos(at), kind, &words.collect::<Vec<_>>());
        }
    }
    world.inputs
}

/// What the judge makes of them.
pub(super) fn play(inputs: &[(KernelTime, Input)]) -> Vec<Shutdown> {
    let mut judge = Judge::default();
    let mut out = Vec::new();
    for (now, input) in inputs {
        judge.handle(input.clone(), *now, &mut out);
    }
    out.into_iter().filter_map(Output::into_shutdown).collect()
}

/// The start of every clock: far enough from zero that nothing underflows.
const EPOCH: u64 = 1_000_000_000_000;

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds of a test are small and positive")]
fn nanos(seconds: f64) -> KernelTime {
    KernelTime(EPOCH + (seconds * 1e9).round() as u64)
}

#[derive(Default)]
struct World {
    inputs: Vec<(KernelTime, Input)>,
    containers: HashMap<String, Place>,
    comms: HashMap<u32, Comm>,
    born: HashMap<u32, u64>,
    /// Pids that may be used again.
    free: HashSet<u32>,
    cgroup_of: HashMap<u32, CgroupId>,
}

struct Place {
    id: CgroupId,
    shared: bool,
    level: u32,
    /// Host pids of its processes are this and the pid inside.
    base: u32,
    spec: Spec,
}

impl World {
    fn line(&mut self, at: KernelTime, kind: &str, words: &[&str]) {
        match kind {
            "container" => self.container(at, words),
            "spec" => self.spec(at, words),
            "fork" => self.fork(at, words),
            // It is there, and the record of its birth is not.
            "unseen" => self.know(at, words[0], words[1]),
            "procs" => self.procs(at, words),
            "signal" => self.signal(at, words),
            "exit" => self.exit(at, words),
            "oom" => {
                let pid = Pid(self.host_pid(words[0]));
                self.event(at, EventKind::OomMark(pid));
            }
            "move" => self.moved(at, words),
            "gone" => {
                let id = self.containers[words[0]].id;
                self.inputs.push((at, Input::Cgroup(CgroupChange::Gone(id))));
            }
            "lost" => {
                let loss = match words[0] {
                    "lives" => Loss::Lives,
                    "bulk" => Loss::Bulk,
                    "exits" => Loss::Exits,
                    "init" => Loss::Init,
                    other => panic!("no such loss: {other}"),
                };
                self.inputs.push((at, Input::Lost(loss)));
            }
            "tick" => self.inputs.push((at, Input::Tick)),
            other => panic!("no such line: {other}"),
        }
    }

    fn container(&mut self, at: KernelTime, words: &[&str]) {
        let name = words[0];
        let number = u32::try_from(self.containers.len()).unwrap() + 1;
        let id = CgroupId(100 + u64::from(number));
        let outer = value(words, "in").map(|outer| (self.containers[outer].id, self.containers[outer].level));
        let pod = value(words, "pod").map(str::to_owned);
        let cgroup = Cgroup {
            id,
            parent: outer.map_or(CgroupId(1), |(id, _)| id),
            path: format!("/test/{name}"),
            container: Some(Identity { runtime: Runtime::Unknown, id: name.to_owned(), pod_uid: pod.clone() }),
        };
        let facts = ContainerFacts {
            cgroup: id,
            cgroup_path: cgroup.path.clone(),
            runtime: Runtime::Unknown,
            id: name.to_owned(),
            name: Some(name.to_owned()),
            image: None,
            pod: pod.map(|uid| PodFacts {
                namespace: "test".into(),
                name: uid.clone(),
                uid,
                revision: None,
                workload: None,
            }),
        };
        let shared = words.contains(&"shared");
        let level = outer.map_or(0, |(_, level)| level) + u32::from(!shared);
        let past_unknown = words.contains(&"found");
        let change = if past_unknown { CgroupChange::Present(cgroup) } else { CgroupChange::Made(cgroup) };
        self.inputs.push((at, Input::Cgroup(change)));
        let spec = Spec { facts: Some(Arc::new(facts)), ..Spec::default() };
        self.containers.insert(name.to_owned(), Place { id, shared, level, base: number * 10_000, spec });
        self.spec(at, words);
        if !words.contains(&"unseeded") {
            self.inputs.push((at, Input::Processes(Snapshot { container: id, time: at, processes: Vec::new() })));
        }
    }

    fn spec(&mut self, at: KernelTime, words: &[&str]) {
        let place = self.containers.get_mut(words[0]).expect("a container of that name");
        if let Some(grace) = value(words, "grace") {
            place.spec.grace = Grace { period: Some(seconds(grace)), source: GraceSource::Spec };
        }
        if let Some(signal) = value(words, "stop") {
            place.spec.stop_signal = Some(Signal::parse(signal).unwrap());
        }
        let terminating = value(words, "terminating").map(|since| nanos(since.parse().unwrap()));
        if let Some(since) = terminating.or_else(|| words.contains(&"terminating").then_some(at)) {
            place.spec.terminating_since = Some(since);
            place.spec.trigger = Trigger::Delete;
        }
        self.inputs.push((at, Input::Spec(place.id, place.spec.clone())));
    }

    fn fork(&mut self, at: KernelTime, words: &[&str]) {
        let (process, comm) = (words[0], words[1]);
        self.know(at, process, comm);
        let parent = value(words, "parent").unwrap_or("1");
        let parent = self.parent(process, parent);
        let task = self.task(process);
        self.event(at, EventKind::Fork(ProcessEvent { task, parent: parent.key, parent_cgroup: parent.cgroup }));
    }

    fn procs(&mut self, at: KernelTime, words: &[&str]) {
        let text = words.join(" ");
        let mut processes = Vec::new();
        // Nobody lives there any more: the container's name alone.
        let empty = self.containers.get(text.as_str()).map(|place| place.id);
        let mut container = empty.unwrap_or(CgroupId(0));
        for item in text.split(',').filter(|_| empty.is_none()) {
            let words: Vec<_> = item.split_whitespace().collect();
            self.know(KernelTime(at.0 - 1_000_000_000), words[0], words[1]);
            let task = self.task(words[0]);
            let default = if words[0].ends_with("/1") { "outside" } else { "1" };
            let parent = self.parent(words[0], value(&words, "parent").unwrap_or(default));
            container = task.cgroup;
            processes.push(SeenProcess {
                key: task.key,
                cgroup: task.cgroup,
                comm: task.comm,
                parent: parent.key.pid,
                session: value(&words, "session").map(|leader| self.session(words[0], leader)),
                ns_pid: task.ns_pid.unwrap(),
                level: task.level.unwrap(),
            });
        }
        self.inputs.push((at, Input::Processes(Snapshot { container, time: at, processes })));
    }

    fn signal(&mut self, at: KernelTime, words: &[&str]) {
        let signal = Signal::parse(words[0]).unwrap_or_else(|| panic!("no signal: {words:?}"));
        assert_eq!(words[2], "->", "{words:?}");
        let has = |word: &str| words[4..].contains(&word);
        let kernel_made = has("kernel") || has("teardown");
        let sender = self.sender(words[1]);
        let mut target = self.task(words[3]);
        let ignored = ["ignored", "no_handler", "sig_ign", "dying"].iter().any(|w| has(w));
        target.dying = has("dying") || (signal == Signal::KILL && !ignored);
        target.unkillable &= signal != Signal::KILL;
        let handler = if has("no_handler") || has("default") {
            Handler::Default
        } else if has("sig_ign") {
            Handler::Ignore
        } else if has("unknown") {
            Handler::Unknown
        } else {
            Handler::Function
        };
        let result = match () {
            () if ignored => Generated::Ignored,
            () if has("pending") => Generated::AlreadyPending,
            () => Generated::Delivered,
        };
        let mask = match () {
            () if has("blocked") => Mask::Blocked,
            () if has("awaited") => Mask::Awaited,
            () => Mask::Open,
        };
        let event = SignalEvent {
            signal,
            sender,
            target,
            kernel_made,
            result,
            handler,
            mask,
            pending: mask_of(value(words, "unread")),
            to_group: !has("thread"),
            traced: has("traced"),
        };
        self.event(at, EventKind::Signal(event));
    }

    fn exit(&mut self, at: KernelTime, words: &[&str]) {
        let mut task = self.task(words[0]);
        task.unkillable = false;
        self.free.insert(task.key.pid.0);
        let status = match (value(words, "signal"), value(words, "code")) {
            (Some(signal), _) => ExitStatus::Signal(Signal::parse(signal).unwrap()),
            (None, code) => ExitStatus::Code(code.unwrap_or("0").parse().unwrap()),
        };
        self.event(at, EventKind::Exit(ExitEvent { task, status, pending: mask_of(value(words, "unread")) }));
    }

    fn moved(&mut self, at: KernelTime, words: &[&str]) {
        let mut task = self.task(words[0]);
        let parent = self.parent(words[0], value(words, "parent").unwrap_or("1"));
        task.cgroup = match value(words, "to").expect("to=") {
            "host" => CgroupId(1),
            container => self.containers[container].id,
        };
        self.cgroup_of.insert(task.key.pid.0, task.cgroup);
        self.event(at, EventKind::Move(ProcessEvent { task, parent: parent.key, parent_cgroup: parent.cgroup }));
    }

    fn event(&mut self, at: KernelTime, kind: EventKind) {
        self.inputs.push((at, Input::Event(Event { time: at, kind })));
    }

    fn know(&mut self, at: KernelTime, process: &str, comm: &str) {
        let pid = self.host_pid(process);
        self.comms.insert(pid, Comm::new(comm.as_bytes()));
        if self.free.remove(&pid) {
            self.born.remove(&pid);
        }
        self.born.entry(pid).or_insert(at.0);
    }

    fn sender(&self, word: &str) -> Task {
        if word.contains('/') {
            return self.task(word);
        }
        let (place, comm) = word.strip_suffix(')').and_then(|w| w.split_once('(')).unwrap_or((word, word));
        let pid = if place == "host" { 1 } else { 777 };
        outsider(pid, comm)
    }

    fn parent(&self, process: &str, parent: &str) -> Task {
        match parent {
            "outside" => outsider(777, "runc"),
            pid if pid.contains('/') => self.task(pid),
            pid => self.task(&format!("{}/{pid}", process.split_once('/').unwrap().0)),
        }
    }

    /// Whoever leads it need not be there any more.
    fn session(&self, process: &str, leader: &str) -> Pid {
        Pid(self.host_pid(&format!("{}/{leader}", process.split_once('/').unwrap().0)))
    }

    fn task(&self, process: &str) -> Task {
        let (container, ns_pid) = split(process);
        let place = &self.containers[container];
        let pid = self.host_pid(process);
        let born = self.born.get(&pid).unwrap_or_else(|| panic!("{process} was never born"));
        Task {
            key: ProcessKey { pid: Pid(pid), start: StartTick::from_nanos(*born) },
            cgroup: self.cgroup_of.get(&pid).copied().unwrap_or(place.id),
            comm: self.comms[&pid],
            level: Some(place.level),
            ns_pid: Some(Pid(ns_pid)),
            unkillable: ns_pid == 1 && !place.shared,
            dying: false,
        }
    }

    fn host_pid(&self, process: &str) -> u32 {
        let (container, pid) = split(process);
        self.containers.get(container).unwrap_or_else(|| panic!("no container {container}")).base + pid
    }
}

fn outsider(pid: u32, comm: &str) -> Task {
    Task {
        key: ProcessKey { pid: Pid(pid), start: StartTick(1) },
        cgroup: CgroupId(1),
        comm: Comm::new(comm.as_bytes()),
        level: Some(0),
        ns_pid: None,
        unkillable: false,
        dying: false,
    }
}

fn split(process: &str) -> (&str, u32) {
    let (container, pid) = process.split_once('/').unwrap_or_else(|| panic!("no process: {process}"));
    (container, pid.parse().unwrap_or_else(|_| panic!("no pid: {process}")))
}

fn value<'a>(words: &[&'a str], key: &str) -> Option<&'a str> {
    words.iter().find_map(|w| w.strip_prefix(key)?.strip_prefix('='))
}

fn seconds(text: &str) -> Duration {
    Duration::from_secs_f64(text.trim_end_matches('s').parse().unwrap_or_else(|_| panic!("no duration: {text}")))
}

fn mask_of(signals: Option<&str>) -> u64 {
    signals.map_or(0, |s| s.split('+').map(|s| 1 << (Signal::parse(s).unwrap().number() - 1)).sum())
}

fn name(named: &Named) -> String {
    format!("{}({})", named.ns_pid.map_or(0, |p| p.0), named.comm.to_text())
}

fn missed(missed: &[Missed]) -> String {
    let items: Vec<_> = missed
        .iter()
        .map(|m| format!("{}@{}", name(&m.process), m.broke_at.as_ref().map_or("?".into(), name)))
        .collect();
    items.join(",")
}

fn describe(s: &Shutdown) -> String {
    let mut text = format!("{} {} {}", s.container.id, s.verdict.outcome.name(), s.verdict.cause.name());
    for key in [
        "disposition",
        "confidence",
        "after",
        "exit_after",
        "of",
        "told",
        "killed",
        "leaves",
        "at_stop",
        "by",
        "missed",
        "findings",
        "avoidable",
        "trigger",
        "stop",
        "exit",
        "steps",
    ] {
        write!(text, " {key}={}", field(s, key)).unwrap();
    }
    text
}

fn field(s: &Shutdown, key: &str) -> String {
    let duration = |d: Option<Duration>| d.map_or("none".into(), |d| format!("{:.3}s", d.as_secs_f64()));
    match key {
        "disposition" => s.init_disposition.name().into(),
        "confidence" => s.confidence.name().into(),
        "after" => duration(s.stop_to_kill),
        "exit_after" => duration(s.stop_to_exit),
        "of" => duration(s.grace.period),
        "avoidable" => duration(s.avoidable_wait),
        "told" => s.processes.told.to_string(),
        "killed" => s.processes.killed.to_string(),
        "leaves" => s.processes.leaves.to_string(),
        "at_stop" => s.processes.at_stop.to_string(),
        "by" => s.killed_by.map_or("none", |b| b.name()).into(),
        "missed" => missed(&s.missed),
        "findings" => s.findings.iter().map(|f| f.name()).collect::<Vec<_>>().join(","),
        "trigger" => s.trigger.name().into(),
        "steps" => s.timeline.len().to_string(),
        "advice" => s.advice.replace(' ', "_"),
        "stop" => s.stop_signal.map_or("none".into(), |s| s.to_string()),
        "exit" => match s.exit {
            None => "none".into(),
            Some(ExitStatus::Code(code)) => code.to_string(),
            Some(ExitStatus::Signal(signal)) => signal.to_string(),
        },
        other => panic!("no such key: {other}"),
    }
}

fn compare(expected: &str, shutdown: &Shutdown, got: &str) {
    let mut words = expected.split_whitespace();
    let head: Vec<_> = words.by_ref().take(3).collect();
    let verdict = [&*shutdown.container.id, shutdown.verdict.outcome.name(), shutdown.verdict.cause.name()];
    assert_eq!(head, verdict, "got {got}");
    for word in words {
        let (key, want) = word.split_once('=').unwrap_or_else(|| panic!("not key=value: {word}"));
        let have = field(shutdown, key);
        let same = match want.strip_suffix('s').and_then(|w| w.parse::<f64>().ok()) {
            Some(want) => have.trim_end_matches('s').parse::<f64>().is_ok_and(|h| (h - want).abs() < 0.000_5),
            None => have == want,
        };
        assert!(same, "{key}: expected {want}, got {have}\nin {got}");
    }
}
