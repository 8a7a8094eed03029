//! Births, ends and moves.

use signal_trace::event::{CgroupId, EventKind, ExitStatus, Pid, Signal};

use crate::actor::{Actor, OWN_NAMESPACE, SAME_NAMESPACE};
use crate::cgroup::{Cgroup, limit_memory};
use crate::story::{Recorder, Story, container_of};

#[test]
fn exit_codes_are_told_from_signals() {
    let container = Cgroup::new();
    let mut story = Story::of(&container).births(&["init", "plain", "high", "killed", "faulty"]);
    let mut init = Actor::start(c"init", &container, OWN_NAMESPACE, |stage| {
        stage.child(0, |_| 137);
        stage.reap();
        stage.child(0, |_| 255);
        stage.reap();
        let killed = stage.child(0, |stage| stage.sleep());
        stage.kill(killed, Signal::KILL);
        stage.reap();
        stage.child(0, |stage| {
            // The test's own runtime has a handler for it.
            stage.default(Signal::SEGV);
            stage.raise(Signal::SEGV);
            stage.sleep()
        });
        stage.reap();
        stage.ready();
        0
    });
    init.wait();
    assert_eq!(
        story.until("exit init 0"),
        [
            "fork init of outside in container",
            "fork plain of init in container",
            "exit plain 137",
            "fork high of init in container",
            "exit high 255",
            "fork killed of init in container",
            "exit killed SIGKILL",
            "fork faulty of init in container",
            "exit faulty SIGSEGV",
            "exit init 0",
        ]
    );
}

#[test]
fn a_process_with_threads_ends_once_and_as_wait_says() {
    let container = Cgroup::new();
    let mut story = Story::of(&container);
    let mut init = Actor::start(c"init", &container, OWN_NAMESPACE, |stage| stage.end_leader_before_thread(5, 7));
    story.cast(init.pid(), "init");
    init.until_status("State", |state| state.starts_with('Z'));
    story.until("fork init of outside in container");
    init.cue();
    // Kernels before 5.16 report the leader's code, later ones that of the last thread.
    let ExitStatus::Code(code) = init.wait() else { panic!("it ended by itself") };
    assert!(code == 5 || code == 7, "{code}");
    container.remove();
    assert_eq!(
        story.until("gone container"),
        ["fork init of outside in container", &format!("exit init {code}"), "gone container"]
    );
}

#[test]
fn a_root_is_born_inside_of_a_parent_outside() {
    let container = Cgroup::new();
    let mut story = Story::of(&container).births(&["stage", "root", "child"]);
    // As runc's first stage does: it is in the cgroup, and makes its sibling there.
    let mut stage = Actor::start(c"stage", &container, SAME_NAMESPACE, |stage| {
        stage.child(libc::CLONE_PARENT as u64, |root| {
            root.child(0, |_| 0);
            root.reap();
            root.ready();
            0
        });
        0
    });
    stage.wait();
    story.until("exit root 0");
    let told: Vec<String> = story.lines().into_iter().filter(|line| line.starts_with("fork")).collect();
    assert_eq!(
        told,
        ["fork stage of outside in container", "fork root of outside in container", "fork child of root in container"]
    );
    let parents: Vec<_> = births(&story).iter().map(|(parent, _)| *parent == container.id()).collect();
    assert_eq!(parents, [false, false, true], "whether the parent is in the container");
    let [first, second, third] = births(&story)[..] else { panic!("three births") };
    assert_eq!((first.1, second.1), (Pid(std::process::id()), Pid(std::process::id())));
    assert_ne!(third.1, Pid(std::process::id()));
}

#[test]
fn a_move_names_where_it_went() {
    let (container, other) = (Cgroup::new(), Cgroup::new());
    let mut story = Story::of(&container).also(&other, "other");
    let actor = Actor::start(c"actor", &other, SAME_NAMESPACE, |stage| {
        stage.ready();
        stage.sleep()
    });
    story.cast(actor.pid(), "actor");
    container.take_in(actor.pid());
    other.take_in(actor.pid());
    assert_eq!(
        story.until("move actor of outside in other"),
        ["move actor of outside in container", "move actor of outside in other"]
    );
}

#[test]
fn the_end_of_a_known_init_rings_and_tells_its_pid_in_the_container() {
    let container = Cgroup::new();
    let mut init = Actor::start(c"init", &container, OWN_NAMESPACE, |stage| {
        stage.ready();
        stage.wait();
        7
    });
    let mut story = Story::with(&container, container_of(&container, init.pid()));
    story.cast(init.pid(), "init");
    init.cue();
    init.wait();
    assert_eq!(story.until("exit init 7"), ["exit init 7"]);
    let events = story.events(&mut Recorder::shared());
    let Some(EventKind::Exit(exit)) = events.last().map(|event| event.kind) else { panic!("an exit") };
    assert_eq!(exit.task.ns_pid, Some(Pid(1)));
    assert_eq!(exit.task.cgroup, container.id());
}

#[test]
fn the_oom_killer_marks_its_victim_after_the_kill() {
    const LIMIT: u64 = 16 << 20;
    let container = Cgroup::new();
    let mut init = Actor::start(c"init", &container, OWN_NAMESPACE, |stage| {
        stage.ready();
        stage.wait();
        stage.eat_memory()
    });
    let _limit = limit_memory(&container, init.pid(), LIMIT);
    let mut story = Story::with(&container, container_of(&container, init.pid()));
    story.cast(init.pid(), "init");
    init.cue();
    init.wait();
    let told = story.until("exit init SIGKILL");
    assert_eq!(told, ["sigkill init > init delivered unknown dying kernel", "oom init", "exit init SIGKILL"]);
}

/// The cgroup and the pid of the parent of each who was born, in order.
fn births(story: &Story) -> Vec<(CgroupId, Pid)> {
    let events = story.events(&mut Recorder::shared());
    let births = events.iter().filter_map(|event| match event.kind {
        EventKind::Fork(born) => Some((born.parent_cgroup, born.parent.pid)),
        EventKind::Signal(_)
        | EventKind::Move(_)
        | EventKind::Exit(_)
        | EventKind::OomMark(_)
        | EventKind::CgroupMade { .. }
        | EventKind::CgroupGone(_) => None,
    });
    births.collect()
}
