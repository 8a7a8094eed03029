//! What one window collected: the stop signal, who was told, who ended how, who was killed by whom.
//!
//! It writes down and does not weigh: [`super::verdict`] does that, when the window has closed.

use std::time::Duration;

use foldhash::{HashMap, HashSet};

use crate::event::{
    ExitEvent, ExitStatus, Generated, Handler, KernelTime, Mask, Pid, ProcessKey, Signal, SignalEvent, StartTick,
};
use crate::judge::processes::{Process, Processes};
use crate::judge::shutdown::{Delivery, KilledBy, Named, Step, StepKind, Where};

/// Lines of the timeline that are kept; the rest is counted.
const MAX_STEPS: usize = 256;

/// Two sends of one process within this are one `kill(0)` or `kill(-1)`.
const GROUP_SEND: Duration = Duration::from_millis(1);

/// It takes less from one of its sends to the next: where the one before is dead by then, a later send is another.
const NEXT_SEND: Duration = Duration::from_micros(100);

/// The signal that opened the window, as init met it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stop {
    /// Which.
    pub(super) signal: Signal,
    /// The kernel dropped it, and not because init was dying.
    pub(super) dropped: bool,
    /// What init had installed for it.
    pub(super) handler: Handler,
    /// Whether init's first thread let it through.
    pub(super) mask: Mask,
    /// A debugger stood between.
    pub(super) traced: bool,
    /// An exec session sent it, a hook perhaps.
    pub(super) by_session: bool,
}

/// A SIGKILL on its way to somebody.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kill {
    /// When.
    pub(super) time: KernelTime,
    /// By whom.
    pub(super) by: KilledBy,
    /// Sent by the process's own parent by birth.
    pub(super) by_parent: bool,
    /// Bits of the signals that the target had not read by then.
    pub(super) pending: u64,
}

/// What is known of a process that was asked to end: init or a member of the snapshot.
#[derive(Clone, Debug)]
pub(super) struct Party {
    /// Its names.
    pub(super) named: Named,
    /// Bits of the terminating signals it got from whoever may tell.
    told: u64,
    /// Of these, the ones that found the default action and no mask the first time.
    told_default: u64,
    /// Of these, the ones that the kernel dropped.
    told_dropped: u64,
    /// The first SIGKILL that found it alive.
    pub(super) kill: Option<Kill>,
    /// The OOM killer chose it.
    oom_marked: bool,
    /// The kernel itself made a SIGKILL for it.
    pub(super) kernel_kill: bool,
    /// The kernel hung up the terminal of the dying init, and no handler of this one stood between.
    hung_up: bool,
    /// How and when it ended.
    pub(super) exit: Option<(KernelTime, ExitStatus)>,
    /// Bits of what it had not read when it ended.
    pub(super) pending_at_exit: u64,
    /// It restored the default action and sent itself a signal it had been told with.
    pub(super) reraised: Option<KernelTime>,
    last_send: Option<Send>,
}

/// A signal that a process sent to another.
#[derive(Clone, Copy, Debug)]
struct Send {
    time: KernelTime,
    signal: Signal,
    target: ProcessKey,
}

impl Party {
    fn new(named: Named) -> Self {
        Self {
            named,
            told: 0,
            told_default: 0,
            told_dropped: 0,
            kill: None,
            oom_marked: false,
            kernel_kill: false,
            hung_up: false,
            exit: None,
            pending_at_exit: 0,
            reraised: None,
            last_send: None,
        }
    }

    fn tell(&mut self, event: &SignalEvent) {
        let bit = bit(event.signal);
        if self.told & bit == 0 {
            if event.handler == Handler::Default && event.mask == Mask::Open {
                self.told_default |= bit;
            }
            if event.result == Generated::Ignored && !event.target.dying {
                self.told_dropped |= bit;
            }
        }
        self.told |= bit;
    }

    /// It got a terminating signal from whoever may tell.
    pub(super) fn got_signal(&self) -> bool {
        self.told != 0
    }

    /// Told, by a signal or by other means: what ended by itself was stopped over a pipe or a socket.
    pub(super) fn told(&self) -> bool {
        self.got_signal() || (self.exit.is_some() && !self.killed())
    }

    /// Every telling was dropped by the kernel: it ignores the signal.
    pub(super) fn dropped_all(&self) -> bool {
        self.got_signal() && self.told & !self.told_dropped == 0
    }

    /// The default action of a signal it was told with ended it, and it never had a handler for that one.
    pub(super) fn died_of_default(&self) -> bool {
        matches!(self.exit, Some((_, ExitStatus::Signal(signal))) if self.told_default & bit(signal) != 0)
    }

    /// Its exit says SIGKILL, or that it died of the hang-up that init's end was.
    pub(super) fn killed(&self) -> bool {
        match self.exit {
            Some((_, ExitStatus::Signal(Signal::KILL))) => true,
            Some((_, ExitStatus::Signal(Signal::HUP))) => self.hung_up,
            Some((_, ExitStatus::Signal(_) | ExitStatus::Code(_))) | None => false,
        }
    }

    /// Killed by the OOM killer: chosen, signalled by the kernel and ended by 9, all three.
    pub(super) fn oom_killed(&self) -> bool {
        self.oom_marked && self.kernel_kill && self.killed()
    }

    /// Killed, and all that was seen of it fits the OOM killer as well as what was lost.
    pub(super) fn may_be_oom_killed(&self) -> bool {
        self.killed() && (self.kill.is_none() || self.kernel_kill)
    }

    /// A fault's signal ended it.
    pub(super) fn crashed(&self) -> bool {
        matches!(self.exit, Some((_, ExitStatus::Signal(signal))) if signal.is_fault())
    }

    /// Alive at that instant, as far as its exit tells.
    pub(super) fn alive_at(&self, time: KernelTime) -> bool {
        self.exit.is_none_or(|(ended, _)| ended >= time)
    }

    /// Who killed it, if it was killed.
    pub(super) fn killer(&self) -> Option<KilledBy> {
        if !self.killed() {
            return None;
        }
        match self.kill {
            _ if self.oom_killed() => Some(KilledBy::Oom),
            None if self.hung_up => Some(KilledBy::Teardown),
            kill => kill.map(|k| k.by),
        }
    }

    /// A self-send of a signal it was told with, by then with the default action: a handler that ends as the signal
    /// would have. One that goes to others too within a moment is `kill(0)`, and no re-raise.
    fn note_self_send(&mut self, time: KernelTime, event: &SignalEvent) {
        if matches!(event.handler, Handler::Function | Handler::Ignore) {
            return;
        }
        let group = self.last_send.is_some_and(|s| s.signal == event.signal && time.since(s.time) <= GROUP_SEND);
        if !(event.to_group && group) {
            self.reraised = self.reraised.or(Some(time));
        }
    }

    fn note_send_to_other(&mut self, send: Send) {
        let time = send.time;
        self.last_send = Some(send);
        if self.reraised.is_some_and(|at| time.since(at) <= GROUP_SEND) {
            self.reraised = None;
        }
    }
}

/// A process of the snapshot.
#[derive(Clone, Debug)]
pub(super) struct Member {
    /// What became of it.
    pub(super) party: Party,
    /// The nearest ancestor by birth that lived when the window opened: init or another member.
    pub(super) parent: Option<ProcessKey>,
    /// That is known, all the way up to init.
    pub(super) certain: bool,
    /// It died, or left, before the window opened: a record that came late said so.
    left: bool,
    /// It may know of the stop, by what was seen and is no proof of it: a signal of an earlier stop, one that has other uses
    /// from somebody who was not told, or one that found it dying.
    pub(super) maybe_told: bool,
}

/// Everything seen of one shutdown.
#[derive(Debug)]
pub(super) struct Evidence {
    /// When the window opened.
    pub(super) opened: KernelTime,
    /// The last record that belongs to it.
    pub(super) ended: KernelTime,
    /// The stop signal; none where a SIGKILL came first.
    pub(super) stop: Option<Stop>,
    /// Init's key.
    pub(super) init_key: ProcessKey,
    /// Init.
    pub(super) init: Party,
    /// The snapshot.
    members: HashMap<ProcessKey, Member>,
    /// The first SIGKILL from outside that found init alive.
    pub(super) outside_kill: Option<Kill>,
    /// A SIGKILL from inside the pod that found init alive.
    pub(super) inside_kill: Option<Kill>,
    /// Init had the kernel kill it, by `reboot(2)`: it ended by itself.
    pub(super) rebooted: bool,
    /// A later stop signal was not pending yet: the first had been read by then, whatever is pending at the end.
    pub(super) stop_read: bool,
    /// A session's signal opened it, and another one came from outside: which of them the end follows is not known. Or there
    /// was one before, of which it is not known whom it told.
    pub(super) stop_unclear: bool,
    /// Init sent a member a signal.
    pub(super) init_told: bool,
    /// The host's init signalled members itself.
    pub(super) host_told_members: bool,
    /// When the first was killed of whom nothing is known: after a loss it may have been a member.
    pub(super) stranger_killed: Option<KernelTime>,
    /// Somebody is named of whom nothing is known, and who may have been a member, or have told one.
    pub(super) strangers: bool,
    /// Births that nobody saw are a reason for it.
    pub(super) births_unseen: bool,
    /// Records that might have belonged to it were lost.
    pub(super) lost: bool,
    timeline: Vec<Step>,
    timeline_cut: usize,
}

impl Evidence {
    /// Opens at the record that opened the window; the snapshot is whoever descends from init now.
    pub(super) fn open(opened: KernelTime, stop: Option<Stop>, init: &Process, processes: &Processes) -> Self {
        let mut evidence = Self {
            opened,
            ended: opened,
            stop,
            init_key: init.key,
            init: Party::new(init.named()),
            members: HashMap::default(),
            outside_kill: None,
            inside_kill: None,
            rebooted: false,
            stop_read: false,
            stop_unclear: false,
            init_told: false,
            host_told_members: false,
            stranger_killed: None,
            strangers: false,
            births_unseen: false,
            lost: false,
            timeline: Vec::new(),
            timeline_cut: 0,
        };
        for process in processes.living() {
            evidence.add_member(process, processes);
        }
        evidence
    }

    /// Takes a process into the snapshot that lived when the window opened, if it is one of init's.
    pub(super) fn add_member(&mut self, process: &Process, processes: &Processes) {
        let of_init = process.root == self.init_key && process.key != self.init_key;
        if !of_init || process.later || process.key.start > StartTick::from_nanos(self.opened.0) {
            return;
        }
        self.lost |= !process.certain;
        let parent = processes.living_ancestor(process).map(|p| p.key);
        self.members.entry(process.key).or_insert_with(|| Member {
            party: Party::new(process.named()),
            parent,
            certain: process.certain,
            left: false,
            maybe_told: false,
        });
    }

    /// A record that came late: the process was gone when the window opened.
    pub(super) fn drop_member(&mut self, key: ProcessKey) {
        if let Some(member) = self.members.get_mut(&key) {
            member.left = true;
        }
    }

    /// A member went to another cgroup, where its end is not seen.
    pub(super) fn member_left(&mut self, key: ProcessKey) {
        if self.members.get(&key).is_some_and(|m| m.party.exit.is_none()) {
            self.drop_member(key);
            self.lost = true;
        }
    }

    /// The snapshot.
    pub(super) fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values().filter(|m| !m.left)
    }

    /// Those of the snapshot that got a signal.
    pub(super) fn told(&self) -> impl Iterator<Item = ProcessKey> {
        self.members.iter().filter(|(_, m)| m.party.got_signal()).map(|(key, _)| *key)
    }

    /// Who of these is of the snapshot may have been told before.
    pub(super) fn note_told_before(&mut self, told: &HashSet<ProcessKey>) {
        for (_, member) in self.members.iter_mut().filter(|(key, _)| told.contains(key)) {
            member.maybe_told = true;
        }
    }

    /// The member of that key.
    pub(super) fn member(&self, key: ProcessKey) -> Option<&Member> {
        self.members.get(&key).filter(|m| !m.left)
    }

    /// Whether this process is init or a member.
    pub(super) fn concerns(&self, key: ProcessKey) -> bool {
        key == self.init_key || self.member(key).is_some()
    }

    /// Whether every member has ended.
    pub(super) fn all_ended(&self) -> bool {
        self.members().all(|m| m.party.exit.is_some())
    }

    /// Whether an end, or a signal to one whose birth was not seen, that is not in it may have been among what was lost.
    pub(super) fn may_lack_ends(&self) -> bool {
        self.lost || self.births_unseen
    }

    /// Whether nothing more is to come. Where births were not seen one may be left, and the cgroup goes after the last; what
    /// is in doubt anyway need not wait for it.
    pub(super) fn is_complete(&self) -> bool {
        self.all_ended() && (self.lost || !self.births_unseen)
    }

    /// The living at that instant that have no living child: whom a signal has to reach in the end.
    pub(super) fn leaves_at(&self, time: KernelTime) -> Vec<&Member> {
        let parents: HashSet<_> = self.members().filter(|m| m.party.alive_at(time)).filter_map(|m| m.parent).collect();
        self.members
            .iter()
            .filter(|(key, m)| !m.left && m.party.alive_at(time) && !parents.contains(key))
            .map(|(_, m)| m)
            .collect()
    }

    /// One signal, with `origin` already judged by where its sender lives.
    pub(super) fn signal(&mut self, time: KernelTime, event: &SignalEvent, origin: Where, processes: &Processes) {
        let (sender, target) = (event.sender.key, event.target.key);
        let to_self = sender == target && !event.kernel_made;
        if !event.kernel_made
            && !to_self
            && let Some(party) = self.party_mut(sender)
        {
            party.note_send_to_other(Send { time, signal: event.signal, target });
        }
        if !self.concerns(target) {
            self.note_stranger(target, processes);
            if event.signal == Signal::KILL {
                self.stranger_killed.get_or_insert(time);
            }
            return;
        }
        let inside = origin == Where::Inside && !self.concerns(sender);
        self.strangers |= inside && processes.get(sender).is_none();
        self.ended = self.ended.max(time);
        // One that is pending swallows the next, unless that has a queue of its own: a real-time signal, or a thread's.
        let swallows = event.to_group && event.signal.number() < 32;
        let again = target == self.init_key && time > self.opened && event.result == Generated::Delivered && swallows;
        self.stop_read |= again && self.stop.is_some_and(|s| s.signal == event.signal);
        self.step(
            time,
            StepKind::Signal {
                signal: event.signal,
                from: name_of(event.sender.key, processes, event.sender.ns_pid, event.sender.comm),
                origin,
                to: name_of(target, processes, event.target.ns_pid, event.target.comm),
                result: delivery(event),
            },
        );
        if event.signal == Signal::KILL {
            self.sigkill(time, event, origin, processes);
        } else if event.kernel_made {
            self.hang_up(event);
        } else if to_self {
            let stop = self.stop.map(|s| s.signal);
            let before = self.party_mut(target).and_then(|party| party.last_send);
            let apart = before.is_some_and(|send| {
                let dead = self.member(send.target).is_some_and(|m| m.party.exit.is_some());
                dead && time.since(send.time) > NEXT_SEND
            });
            if let Some(party) = self.party_mut(target)
                && (party.told & bit(event.signal) != 0 || stop == Some(event.signal))
            {
                party.last_send = party.last_send.filter(|_| !apart);
                party.note_self_send(time, event);
            }
        } else if event.signal.is_terminating() || self.stop.is_some_and(|s| s.signal == event.signal) {
            self.telling(event, origin, processes);
        }
    }

    fn hang_up(&mut self, event: &SignalEvent) {
        let by_default = event.handler == Handler::Default && event.result != Generated::Ignored;
        if event.signal == Signal::HUP
            && event.sender.key == self.init_key
            && by_default
            && let Some(member) = self.members.get_mut(&event.target.key)
        {
            member.party.hung_up = true;
        }
    }

    fn telling(&mut self, event: &SignalEvent, origin: Where, processes: &Processes) {
        let (told, by_host) = match origin {
            Where::Inside | Where::Outside => (true, false),
            Where::Host => (true, true),
            Where::ExecSession | Where::Kernel => (false, false),
        };
        let found_dying = event.result == Generated::Ignored && event.target.dying;
        let is_stop = self.stop.is_some_and(|stop| stop.signal == event.signal);
        let other_use = event.signal.has_other_uses() && !is_stop && self.is_untold(event.sender.key, processes);
        let Some(member) = self.members.get_mut(&event.target.key).filter(|_| told) else { return };
        if !found_dying && !other_use {
            member.party.tell(event);
            self.init_told |= event.sender.key == self.init_key;
            self.host_told_members |= by_host;
        } else {
            member.maybe_told = true;
        }
    }

    /// Whether it is, or descends from, a member that got no signal.
    fn is_untold(&self, sender: ProcessKey, processes: &Processes) -> bool {
        let above = |key: &ProcessKey| processes.get(*key).and_then(|process| process.parent);
        let nearest = std::iter::successors(Some(sender), above).find(|key| self.concerns(*key));
        nearest.and_then(|key| self.member(key)).is_some_and(|member| !member.party.got_signal())
    }

    fn sigkill(&mut self, time: KernelTime, event: &SignalEvent, origin: Where, processes: &Processes) {
        let (sender, target) = (event.sender.key, event.target.key);
        let by_parent = self.member(target).is_some_and(|m| m.parent == Some(sender));
        let by = match origin {
            Where::Outside | Where::Host => KilledBy::Runtime,
            Where::Kernel => KilledBy::Teardown,
            Where::Inside if processes.descends(target, sender) => KilledBy::Supervisor,
            Where::Inside | Where::ExecSession => KilledBy::Inside,
        };
        let kill = Kill { time, by, by_parent, pending: event.pending };
        let stands = event.result != Generated::Ignored;
        let is_init = target == self.init_key;
        // What the dying init's namespace takes with it was not chosen, whatever mark it bears.
        let teardown = sender == self.init_key && !is_init && self.init.exit.is_some();
        let Some(party) = self.party_mut(target) else { return };
        party.kernel_kill |= event.kernel_made && !teardown;
        if !stands || party.exit.is_some() {
            return;
        }
        party.kill.get_or_insert(kill);
        if is_init && sender == target && event.kernel_made && !event.to_group {
            self.rebooted = true;
        } else if is_init && sender != target {
            match origin {
                Where::Outside | Where::Host => self.outside_kill.get_or_insert(kill),
                Where::Inside | Where::ExecSession => self.inside_kill.get_or_insert(kill),
                Where::Kernel => return,
            };
        }
    }

    /// A process of the container was named. One that the table does not hold, and that lived when the window opened, may
    /// have been a member.
    pub(super) fn note_stranger(&mut self, key: ProcessKey, processes: &Processes) {
        let lived = key.start <= StartTick::from_nanos(self.opened.0);
        self.strangers |= lived && !self.concerns(key) && processes.get(key).is_none();
    }

    /// A process ended.
    pub(super) fn exit(&mut self, time: KernelTime, event: &ExitEvent, processes: &Processes) {
        let key = event.task.key;
        self.note_stranger(key, processes);
        let Some(party) = self.party_mut(key) else {
            if event.status == ExitStatus::Signal(Signal::KILL) {
                self.stranger_killed.get_or_insert(time);
            }
            return;
        };
        if party.exit.is_some() {
            return;
        }
        party.exit = Some((time, event.status));
        party.pending_at_exit = event.pending;
        party.named.comm = event.task.comm;
        party.named.ns_pid = party.named.ns_pid.or(event.task.ns_pid);
        let process = party.named;
        self.ended = self.ended.max(time);
        self.step(time, StepKind::Exit { process, status: event.status });
    }

    /// The OOM killer chose a process.
    pub(super) fn oom_mark(&mut self, time: KernelTime, pid: Pid) {
        let is = |named: &Named| named.pid == pid;
        let party = if is(&self.init.named) {
            Some(&mut self.init)
        } else {
            self.members.values_mut().map(|m| &mut m.party).find(|p| is(&p.named) && p.exit.is_none())
        };
        if let Some(party) = party {
            party.oom_marked = true;
            let process = party.named;
            self.step(time, StepKind::OomMark { process });
        }
    }

    /// The timeline in order, and what its bound cut.
    pub(super) fn timeline(&self) -> (Vec<Step>, usize) {
        let mut steps = self.timeline.clone();
        steps.sort_by_key(|s| s.at);
        for step in &mut steps {
            match &mut step.what {
                StepKind::Signal { from, to, .. } => {
                    self.latest_name(from);
                    self.latest_name(to);
                }
                StepKind::Exit { process, .. } | StepKind::OomMark { process } => self.latest_name(process),
            }
        }
        (steps, self.timeline_cut)
    }

    /// A pid inside the container is often learnt only at the exit.
    fn latest_name(&self, named: &mut Named) {
        if named.ns_pid.is_none() {
            let party = std::iter::once(&self.init).chain(self.members.values().map(|m| &m.party));
            named.ns_pid = party.map(|p| p.named).find(|n| n.pid == named.pid).and_then(|n| n.ns_pid);
        }
    }

    fn party_mut(&mut self, key: ProcessKey) -> Option<&mut Party> {
        if key == self.init_key {
            return Some(&mut self.init);
        }
        self.members.get_mut(&key).filter(|m| !m.left).map(|m| &mut m.party)
    }

    fn step(&mut self, time: KernelTime, what: StepKind) {
        if self.timeline.len() < MAX_STEPS {
            self.timeline.push(Step { at: time.since(self.opened), what });
        } else {
            self.timeline_cut += 1;
        }
    }
}

/// The bit of a signal in a kernel mask.
pub(super) fn bit(signal: Signal) -> u64 {
    1 << (signal.number() - 1)
}

fn name_of(key: ProcessKey, processes: &Processes, ns_pid: Option<Pid>, comm: crate::event::Comm) -> Named {
    let known = processes.get(key).and_then(|p| p.ns_pid);
    Named { pid: key.pid, ns_pid: ns_pid.or(known), comm }
}

fn delivery(event: &SignalEvent) -> Delivery {
    if event.kernel_made && event.signal == Signal::KILL {
        return Delivery::Teardown;
    }
    match event.result {
        Generated::Ignored if event.target.dying => Delivery::Dying,
        Generated::Ignored if event.handler == Handler::Default => Delivery::NoHandler,
        Generated::Delivered | Generated::Ignored | Generated::AlreadyPending | Generated::Overflow => {
            Delivery::Generated(event.result)
        }
    }
}
