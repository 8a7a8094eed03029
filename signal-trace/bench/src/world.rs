//! A made-up node for the pure core: what the kernel would say of containers that come, are stopped and go.
//!
//! Every container has an init that passes SIGTERM on to its children, which end well, and then ends itself. No clock is
//! read and nothing is random, so the same world is the same work.

use signal_trace::containers::{Cgroup, Identity, Runtime};
use signal_trace::event::{
    CgroupId, Comm, Event, EventKind, ExitEvent, ExitStatus, Generated, Handler, KernelTime, Mask, Pid, ProcessEvent,
    ProcessKey, Signal, SignalEvent, Snapshot, StartTick, Task,
};
use signal_trace::judge::{CgroupChange, Input};

use crate::stage;

/// Inputs, each with its time.
pub(crate) type Inputs = Vec<(KernelTime, Input)>;

/// What sends the stop signals.
const RUNTIME: Pid = Pid(2);
/// Between two events.
const STEP: u64 = 1_000;

/// Where time stands in a world, and what it has said so far.
pub(crate) struct World {
    now: KernelTime,
    pub(crate) inputs: Inputs,
}

impl World {
    pub(crate) fn new() -> Self {
        Self { now: KernelTime(1_000_000_000_000), inputs: Vec::new() }
    }

    /// The present there.
    pub(crate) fn now(&self) -> KernelTime {
        self.now
    }

    /// So many nanoseconds go by.
    pub(crate) fn pass(&mut self, nanoseconds: u64) {
        self.now.0 += nanoseconds;
    }

    /// A container is made, with that many processes besides its init.
    pub(crate) fn start(&mut self, number: usize, children: usize) {
        self.say(Input::Cgroup(CgroupChange::Made(cgroup(number))));
        // The answer to the judge's first question: nobody lives there yet.
        self.say(Input::Processes(Snapshot { container: id(number), time: self.now, processes: Vec::new() }));
        for index in 0..=children {
            let parent = if index == 0 { runtime() } else { process(number, 0) };
            let born = ProcessEvent { task: process(number, index), parent: parent.key, parent_cgroup: parent.cgroup };
            self.event(EventKind::Fork(born));
        }
    }

    /// The runtime sends SIGTERM to its init: the window opens.
    pub(crate) fn stop(&mut self, number: usize) {
        self.event(EventKind::Signal(signal(runtime(), process(number, 0))));
    }

    /// One of its processes is born, signalled by init and ends.
    pub(crate) fn work(&mut self, number: usize, index: usize) {
        let (init, worker) = (process(number, 0), process(number, index));
        let worker = Task { key: ProcessKey { start: StartTick::from_nanos(self.now.0), ..worker.key }, ..worker };
        self.event(EventKind::Fork(ProcessEvent { task: worker, parent: init.key, parent_cgroup: init.cgroup }));
        self.event(EventKind::Signal(signal(init, worker)));
        self.event(EventKind::Exit(ExitEvent { task: worker, status: ExitStatus::Code(0), pending: 0 }));
    }

    /// Its init passes it on, all of them end, init last, and the cgroup is removed.
    pub(crate) fn end(&mut self, number: usize, children: usize) {
        for child in 1..=children {
            self.event(EventKind::Signal(signal(process(number, 0), process(number, child))));
        }
        for index in (1..=children).chain([0]) {
            let (task, status) = (process(number, index), ExitStatus::Code(0));
            self.event(EventKind::Exit(ExitEvent { task, status, pending: 0 }));
        }
        self.event(EventKind::CgroupGone(id(number)));
    }

    fn event(&mut self, kind: EventKind) {
        self.say(Input::Event(Event { time: self.now, kind }));
    }

    fn say(&mut self, input: Input) {
        self.inputs.push((self.now, input));
        self.now.0 += STEP;
    }
}

/// The id of a container's cgroup.
pub(crate) fn id(number: usize) -> CgroupId {
    CgroupId(1_000 + number as u64)
}

/// A container's own cgroup, as a kubelet makes it.
pub(crate) fn cgroup(number: usize) -> Cgroup {
    let (uid, container) = (stage::uid(number), stage::id(number));
    Cgroup {
        id: id(number),
        parent: CgroupId(1),
        path: format!("/kubepods/besteffort/pod{uid}/{container}"),
        container: Some(Identity { runtime: Runtime::Unknown, id: container, pod_uid: Some(uid) }),
    }
}

fn runtime() -> Task {
    let key = ProcessKey { pid: RUNTIME, start: StartTick(1) };
    Task {
        key,
        cgroup: CgroupId(2),
        comm: Comm::new(b"runc"),
        level: Some(0),
        ns_pid: None,
        unkillable: false,
        dying: false,
    }
}

/// One of a container's processes; the first is its init.
fn process(number: usize, index: usize) -> Task {
    // Pids come again, start times do not.
    let pid = Pid(u32::try_from(10 + (number * 7 + index) % 4_000_000).unwrap_or(u32::MAX));
    Task {
        key: ProcessKey { pid, start: StartTick(100 + number as u64) },
        cgroup: id(number),
        comm: Comm::new(if index == 0 { b"checkout" } else { b"worker" }),
        level: Some(1),
        ns_pid: Some(Pid(u32::try_from(index + 1).unwrap_or(u32::MAX))),
        unkillable: index == 0,
        dying: false,
    }
}

fn signal(sender: Task, target: Task) -> SignalEvent {
    SignalEvent {
        signal: Signal::TERM,
        sender,
        target,
        kernel_made: false,
        result: Generated::Delivered,
        handler: Handler::Function,
        mask: Mask::Open,
        pending: 1 << 14,
        to_group: true,
        traced: false,
    }
}
