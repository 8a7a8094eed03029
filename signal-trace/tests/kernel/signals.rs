//! Who signals whom, what the target had installed, and what became of it.

use signal_trace::event::{EventKind, Pid, Signal, SignalEvent};
use signal_trace::kernel::Tracked;

use crate::actor::{Actor, OWN_NAMESPACE, SAME_NAMESPACE, Terminal};
use crate::cgroup::Cgroup;
use crate::story::{Recorder, Story, container_of, facts};

#[test]
fn an_init_without_a_handler_drops_the_stop_signal() {
    let container = Cgroup::new();
    let mut story = Story::of(&container);
    let init = Actor::start(c"init", &container, OWN_NAMESPACE, |stage| {
        stage.ready();
        stage.sleep()
    });
    story.cast(init.pid(), "init");
    assert!(!Recorder::shared().kernel().is_open(container.id()).unwrap());
    init.signal(Signal::TERM);
    assert!(Recorder::shared().kernel().is_open(container.id()).unwrap());
    let told = story.until("sigterm outside > init ignored default unkillable");
    assert_eq!(told, ["fork init of outside in container", "sigterm outside > init ignored default unkillable"]);
}

#[test]
fn an_init_that_ignores_it_says_so() {
    let container = Cgroup::new();
    let mut story = Story::of(&container);
    let init = Actor::start(c"init", &container, OWN_NAMESPACE, |stage| {
        stage.ignore(Signal::TERM);
        stage.ready();
        stage.sleep()
    });
    story.cast(init.pid(), "init");
    init.signal(Signal::TERM);
    let told = story.until("sigterm outside > init ignored ignore unkillable");
    assert_eq!(told.len(), 2, "{told:?}");
}

#[test]
fn an_init_with_a_handler_ends_by_itself() {
    let container = Cgroup::new();
    let mut story = Story::of(&container);
    let mut init = Actor::start(c"init", &container, OWN_NAMESPACE, |stage| {
        stage.handle(Signal::TERM);
        stage.ready_for(Signal::TERM);
        3
    });
    story.cast(init.pid(), "init");
    init.until_status("State", |state| state.starts_with('S'));
    init.signal(Signal::TERM);
    init.wait();
    assert_eq!(
        story.until("exit init 3"),
        ["fork init of outside in container", "sigterm outside > init delivered function unkillable", "exit init 3"]
    );
}

#[test]
fn an_init_that_sits_in_sigwait_awaits_it() {
    let container = Cgroup::new();
    let mut story = Story::of(&container);
    let mut init = Actor::start(c"init", &container, OWN_NAMESPACE, |stage| {
        stage.block(Signal::TERM);
        stage.ready();
        stage.await_signal(Signal::TERM);
        0
    });
    story.cast(init.pid(), "init");
    // It was blocked when the script was ready; while it is awaited it is not.
    init.until_status("SigBlk", |mask| u64::from_str_radix(mask, 16).unwrap() & 1 << 14 == 0);
    init.signal(Signal::TERM);
    init.wait();
    assert_eq!(
        story.until("exit init 0"),
        [
            "fork init of outside in container",
            "sigterm outside > init delivered default awaited unkillable",
            "exit init 0"
        ]
    );
}

#[test]
fn a_blocked_signal_stays_pending_until_the_kill() {
    let container = Cgroup::new();
    let mut story = Story::of(&container);
    let mut init = Actor::start(c"init", &container, OWN_NAMESPACE, |stage| {
        stage.block(Signal::TERM);
        stage.ready();
        stage.sleep()
    });
    story.cast(init.pid(), "init");
    init.signal(Signal::TERM);
    init.signal(Signal::TERM);
    init.signal(Signal::KILL);
    init.wait();
    assert_eq!(
        story.until("exit init SIGKILL"),
        [
            "fork init of outside in container",
            "sigterm outside > init delivered default blocked unkillable",
            "sigterm outside > init alreadypending default blocked unkillable",
            "sigkill outside > init delivered unknown dying",
            "exit init SIGKILL"
        ]
    );
    let pending = signals(&story).last().unwrap().pending;
    assert_eq!(pending & 1 << 14, 1 << 14, "SIGTERM was never read");
}

#[test]
fn a_forwarded_signal_names_the_forwarder_by_both_its_pids() {
    let container = Cgroup::new();
    let mut init = Actor::start(c"init", &container, OWN_NAMESPACE, |stage| {
        stage.handle(Signal::TERM);
        stage.ready();
        stage.wait();
        let worker = stage.child(0, |stage| {
            stage.name(c"worker");
            stage.default(Signal::TERM);
            stage.ready();
            stage.sleep()
        });
        stage.ready_for(Signal::TERM);
        stage.kill(worker, Signal::TERM);
        stage.reap();
        0
    });
    let mut story = Story::with(&container, container_of(&container, init.pid())).births(&["worker"]);
    story.cast(init.pid(), "init");
    init.cue();
    init.wait_ready();
    init.wait_ready();
    init.until_status("State", |state| state.starts_with('S'));
    init.signal(Signal::TERM);
    init.wait();
    assert_eq!(
        story.until("exit init 0"),
        [
            "fork worker of init in container",
            "sigterm outside > init delivered function unkillable",
            "sigterm init > worker delivered default dying",
            "exit worker SIGTERM",
            "exit init 0",
        ]
    );
    let [from_outside, forwarded] = signals(&story)[..] else { panic!("two signals") };
    assert_eq!(facts(&forwarded.sender), ("init".into(), container.id(), Some(Pid(1))));
    assert_eq!(facts(&forwarded.target), ("worker".into(), container.id(), None));
    assert_eq!(from_outside.sender.ns_pid, None, "not a member of the container's pid namespace");
    let deeper = from_outside.sender.level.map(|level| level + 1);
    assert_eq!((forwarded.sender.level, forwarded.target.level), (deeper, deeper));
    assert_eq!(from_outside.target.key, forwarded.sender.key);
}

#[test]
fn a_signal_to_oneself_neither_opens_a_window_nor_is_missed_in_one() {
    let container = Cgroup::new();
    let mut story = Story::of(&container);
    let mut init = Actor::start(c"init", &container, OWN_NAMESPACE, |stage| {
        stage.handle(Signal::TERM);
        stage.raise(Signal::TERM);
        stage.ready_for(Signal::TERM);
        stage.default(Signal::TERM);
        stage.raise(Signal::TERM);
        stage.ready();
        stage.sleep()
    });
    story.cast(init.pid(), "init");
    init.until_status("State", |state| state.starts_with('S'));
    assert!(!Recorder::shared().kernel().is_open(container.id()).unwrap());
    init.signal(Signal::TERM);
    init.wait_ready();
    assert_eq!(
        story.until("sigterm init > init ignored default unkillable thread"),
        [
            "fork init of outside in container",
            "sigterm outside > init delivered function unkillable",
            "sigterm init > init ignored default unkillable thread",
        ]
    );
}

#[test]
fn the_kernel_kills_what_a_dying_init_leaves_behind() {
    let container = Cgroup::new();
    let mut story = Story::of(&container).births(&["init", "orphan"]);
    let mut init = Actor::start(c"init", &container, OWN_NAMESPACE, |stage| {
        stage.child(0, |stage| {
            stage.ready();
            stage.sleep()
        });
        stage.sleep()
    });
    init.signal(Signal::KILL);
    init.wait();
    assert_eq!(
        story.until("exit orphan SIGKILL"),
        [
            "fork init of outside in container",
            "fork orphan of init in container",
            "sigkill outside > init delivered unknown dying",
            "exit init SIGKILL",
            "sigkill init > orphan delivered unknown dying kernel",
            "exit orphan SIGKILL",
        ]
    );
}

#[test]
fn a_signal_of_the_kernel_opens_no_window() {
    let container = Cgroup::new();
    let mut story = Story::of(&container);
    let terminal = Terminal::open();
    let end = terminal.child_end();
    let mut init = Actor::start(c"init", &container, OWN_NAMESPACE, |stage| {
        stage.handle(Signal::WINCH);
        stage.take_terminal(end);
        stage.ready_for(Signal::WINCH);
        stage.ready();
        stage.sleep()
    });
    story.cast(init.pid(), "init");
    terminal.resize(40);
    init.wait_ready();
    assert!(!Recorder::shared().kernel().is_open(container.id()).unwrap());
    init.signal(Signal::TERM);
    terminal.resize(50);
    assert_eq!(
        story.until("sigwinch outside > init delivered function unkillable kernel"),
        [
            "fork init of outside in container",
            "sigterm outside > init ignored default unkillable",
            "sigwinch outside > init delivered function unkillable kernel",
        ]
    );
}

#[test]
fn every_handler_with_a_name_is_its_own() {
    let container = Cgroup::new();
    let mut story = Story::of(&container);
    let rtmin = |n: u32| Signal::from_number(34 + n).unwrap();
    let init = Actor::start(c"init", &container, OWN_NAMESPACE, |stage| {
        for handled in [Signal::HUP, Signal::USR1, Signal::CONT, Signal::from_number(37).unwrap_or(Signal::HUP)] {
            stage.handle(handled);
        }
        for ignored in [Signal::INT, Signal::USR2, Signal::WINCH] {
            stage.ignore(ignored);
        }
        stage.ready();
        loop {
            stage.wait();
        }
    });
    story.cast(init.pid(), "init");
    let all = [
        Signal::TERM,
        Signal::HUP,
        Signal::INT,
        Signal::QUIT,
        Signal::USR1,
        Signal::USR2,
        Signal::CONT,
        Signal::WINCH,
        Signal::PWR,
        rtmin(3),
        rtmin(2),
    ];
    all.iter().for_each(|signal| init.signal(*signal));
    let told = story.until("sigrtmin+2 outside > init ignored unknown unkillable");
    assert_eq!(
        told[1..],
        [
            "sigterm outside > init ignored default unkillable",
            "sighup outside > init delivered function unkillable",
            "sigint outside > init ignored ignore unkillable",
            "sigquit outside > init ignored default unkillable",
            "sigusr1 outside > init delivered function unkillable",
            "sigusr2 outside > init ignored ignore unkillable",
            "sigcont outside > init delivered function unkillable",
            "sigwinch outside > init ignored ignore unkillable",
            "sigpwr outside > init ignored default unkillable",
            "sigrtmin+3 outside > init delivered function unkillable",
            "sigrtmin+2 outside > init ignored unknown unkillable",
        ]
    );
}

#[test]
fn what_stops_nothing_is_not_recorded_and_what_is_not_init_opens_nothing() {
    let container = Cgroup::new();
    let mut init = Actor::start(c"init", &container, SAME_NAMESPACE, |stage| {
        stage.handle(Signal::USR1);
        stage.ready_for(Signal::USR1);
        stage.wait();
        0
    });
    let other = Actor::start(c"other", &container, SAME_NAMESPACE, |stage| {
        stage.ignore(Signal::HUP);
        stage.ready();
        stage.sleep()
    });
    let mut story =
        Story::with(&container, Tracked { root: container.id().0, init: init.pid().0, ..Tracked::default() });
    story.cast(init.pid(), "init");
    story.cast(other.pid(), "other");
    let (chld, urg) = (Signal::from_number(17).unwrap(), Signal::from_number(23).unwrap());
    let send = || {
        init.signal(chld);
        init.signal(urg);
        other.signal(Signal::HUP);
    };
    send();
    assert!(!Recorder::shared().kernel().is_open(container.id()).unwrap());
    init.signal(Signal::USR1);
    send();
    init.cue();
    init.wait();
    assert_eq!(
        story.until("exit init 0"),
        ["sigusr1 outside > init delivered function", "sighup outside > other ignored ignore", "exit init 0"]
    );
}

#[test]
fn until_it_is_said_who_comes_after_an_init_anybody_may_be_it() {
    let container = Cgroup::new();
    let mut stage = Actor::start(c"stage", &container, SAME_NAMESPACE, |stage| {
        stage.ready();
        stage.wait();
        0
    });
    let next = Actor::start(c"next", &container, SAME_NAMESPACE, |stage| {
        stage.ignore(Signal::TERM);
        stage.ready();
        stage.sleep()
    });
    let entry = Tracked { root: container.id().0, init: stage.pid().0, ..Tracked::default() };
    let mut story = Story::with(&container, entry);
    story.cast(stage.pid(), "stage");
    story.cast(next.pid(), "next");
    next.signal(Signal::TERM);
    assert!(!Recorder::shared().kernel().is_open(container.id()).unwrap(), "another is init");
    stage.cue();
    stage.wait();
    story.until("exit stage 0");
    assert_eq!(Recorder::shared().kernel().tracked(container.id()).unwrap(), Some(Tracked { init: 0, ..entry }));
    next.signal(Signal::TERM);
    assert!(Recorder::shared().kernel().is_open(container.id()).unwrap());
    assert_eq!(
        story.until("sigterm outside > next ignored ignore"),
        ["exit stage 0", "sigterm outside > next ignored ignore"]
    );
}

#[test]
fn a_signal_that_is_watched_opens_a_window_but_only_from_outside() {
    let container = Cgroup::new();
    let mut story = Story::of(&container).births(&["init", "child"]);
    let mut init = Actor::start(c"init", &container, OWN_NAMESPACE, |stage| {
        stage.child(0, |stage| {
            stage.wait();
            stage.kill(1, Signal::from_number(16).unwrap_or(Signal::HUP));
            stage.ready();
            stage.sleep()
        });
        stage.ready();
        stage.sleep()
    });
    let rare = Signal::from_number(16).unwrap();
    init.signal(rare);
    assert!(!Recorder::shared().kernel().is_open(container.id()).unwrap(), "nobody asked for it");
    Recorder::shared().kernel().watch_signal(rare).unwrap();
    init.cue();
    init.wait_ready();
    assert!(!Recorder::shared().kernel().is_open(container.id()).unwrap(), "it came from inside");
    init.signal(rare);
    assert!(Recorder::shared().kernel().is_open(container.id()).unwrap());
    let told = story.until("sigstkflt outside > init ignored unknown unkillable");
    assert_eq!(told.len(), 3, "{told:?}");
}

#[test]
fn a_closed_window_records_nothing_until_the_next_stop_signal() {
    let container = Cgroup::new();
    let mut story = Story::of(&container).births(&["init", "child"]);
    let mut init = Actor::start(c"init", &container, OWN_NAMESPACE, |stage| {
        let child = stage.child(0, |stage| {
            stage.ignore(Signal::HUP);
            stage.ready();
            stage.sleep()
        });
        loop {
            stage.wait();
            stage.kill(child, Signal::HUP);
            stage.ready();
        }
    });
    init.signal(Signal::TERM);
    Recorder::shared().kernel().close_window(container.id()).unwrap();
    init.cue();
    init.wait_ready();
    init.signal(Signal::QUIT);
    init.cue();
    init.wait_ready();
    assert_eq!(
        story.until("sighup init > child ignored ignore")[2..],
        [
            "sigterm outside > init ignored default unkillable",
            "sigquit outside > init ignored default unkillable",
            "sighup init > child ignored ignore",
        ]
    );
}

fn signals(story: &Story) -> Vec<SignalEvent> {
    let events = story.events(&mut Recorder::shared());
    let signals = events.iter().filter_map(|event| match event.kind {
        EventKind::Signal(signal) => Some(signal),
        EventKind::Fork(_)
        | EventKind::Move(_)
        | EventKind::Exit(_)
        | EventKind::OomMark(_)
        | EventKind::CgroupMade { .. }
        | EventKind::CgroupGone(_) => None,
    });
    signals.collect()
}
