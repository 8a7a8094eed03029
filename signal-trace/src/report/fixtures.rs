//! Shutdowns to render in tests: made by hand after what was recorded on real nodes.

use std::sync::Arc;
use std::time::Duration;

use crate::containers::Runtime;
use crate::event::{CgroupId, Comm, ExitStatus, Generated, KernelTime, Pid, Signal};
use crate::judge::shutdown::{
    Cause, Confidence, ContainerFacts, Counts, Delivery, Finding, Grace, GraceSource, InitDisposition, KilledBy,
    Missed, Named, Outcome, PodFacts, Shutdown, Step, StepKind, Trigger, Verdict, Where, Workload,
};
use crate::report::clock::WallClock;

/// A wall clock at 2026-11-22T10:27:41.716054Z when the machine started.
pub(super) fn clock() -> WallClock {
    WallClock::new(KernelTime(0), jiff::Timestamp::from_microsecond(1_795_343_261_716_054).unwrap())
}

/// A process of the container.
pub(super) fn inside(ns_pid: u32, comm: &[u8]) -> Named {
    Named { pid: Pid(13_894 + ns_pid), ns_pid: Some(Pid(ns_pid)), comm: Comm::new(comm) }
}

/// A process that is not.
pub(super) fn outside(pid: u32, comm: &[u8]) -> Named {
    Named { pid: Pid(pid), ns_pid: None, comm: Comm::new(comm) }
}

fn at(seconds: f64, what: StepKind) -> Step {
    Step { at: Duration::from_secs_f64(seconds), what }
}

const DELIVERED: Delivery = Delivery::Generated(Generated::Delivered);

/// From the runtime.
fn stop(seconds: f64, signal: Signal, to: Named, result: Delivery) -> Step {
    at(seconds, StepKind::Signal { signal, from: outside(20_011, b"runc"), origin: Where::Outside, to, result })
}

/// From one process of the container to another.
fn pass(seconds: f64, from: Named, signal: Signal, to: Named, result: Delivery) -> Step {
    at(seconds, StepKind::Signal { signal, from, origin: Where::Inside, to, result })
}

fn teardown(seconds: f64, from: Named, to: Named) -> Step {
    let (signal, origin, result) = (Signal::KILL, Where::Kernel, Delivery::Teardown);
    at(seconds, StepKind::Signal { signal, from, origin, to, result })
}

fn exit(seconds: f64, process: Named, status: ExitStatus) -> Step {
    at(seconds, StepKind::Exit { process, status })
}

fn killed(seconds: f64, process: Named) -> Step {
    exit(seconds, process, ExitStatus::Signal(Signal::KILL))
}

/// What most of the shutdowns below share: a pod of a Deployment, deleted, 30 s of grace, a shell as init.
fn base(outcome: Outcome, cause: Cause) -> Shutdown {
    let pod = PodFacts {
        namespace: "shop".to_owned(),
        name: "cart-7d9f-x2k".to_owned(),
        uid: "0b6e2a34-5a0f-4a55-9d5e-6f2d8a1c7e10".to_owned(),
        revision: Some("7d9f".to_owned()),
        workload: Some(Workload { kind: "Deployment".to_owned(), name: "cart".to_owned() }),
    };
    let id = "5bd7f0c2a1e84b6f9d3c7a5e1f20894b6d8e3c2a7f105b94c6d8e2f1a3b5c7d9";
    let container = ContainerFacts {
        cgroup: CgroupId(4711),
        cgroup_path: format!("/kubepods/besteffort/pod0b6e2a34-5a0f-4a55-9d5e-6f2d8a1c7e10/{id}"),
        runtime: Runtime::Containerd,
        id: id.to_owned(),
        name: Some("app".to_owned()),
        image: Some("shop/cart:1.4".to_owned()),
        pod: Some(pod),
    };
    Shutdown {
        container: Arc::new(container),
        verdict: Verdict { outcome, cause },
        confidence: Confidence::Proven,
        trigger: Trigger::Delete,
        stop_signal: Some(Signal::TERM),
        init_disposition: InitDisposition::NoHandler,
        grace: Grace { period: Some(Duration::from_secs(30)), source: GraceSource::Spec },
        prestop: Some(Duration::ZERO),
        opened: KernelTime(50_000_000_000),
        ended: KernelTime(80_011_000_000),
        stop_to_kill: None,
        stop_to_exit: None,
        kill_to_exit: None,
        avoidable_wait: None,
        init: Some(inside(1, b"sh")),
        exit: None,
        processes: Counts::default(),
        killed_by: None,
        killed: [0; KilledBy::ALL.len()],
        missed: Vec::new(),
        findings: Vec::new(),
        advice: String::new(),
        timeline: Vec::new(),
        timeline_cut: 0,
    }
}

/// `sh -c "python3 app.py; true"`: the shell drops the signal, the application is never told.
pub(super) fn shell_wrapper() -> Shutdown {
    let (sh, python) = (inside(1, b"sh"), inside(7, b"python3"));
    Shutdown {
        stop_to_kill: Some(Duration::from_micros(30_010_200)),
        stop_to_exit: Some(Duration::from_micros(30_010_400)),
        kill_to_exit: Some(Duration::from_micros(200)),
        avoidable_wait: Some(Duration::from_micros(30_010_200)),
        exit: Some(ExitStatus::Signal(Signal::KILL)),
        processes: Counts { at_stop: 1, leaves: 1, told: 0, killed: 1 },
        killed_by: Some(KilledBy::Teardown),
        killed: [0, 1, 0, 0, 0],
        missed: vec![Missed { process: python, broke_at: Some(sh) }],
        advice: "The shell does not pass SIGTERM on: let it become the program with `exec python3 app.py`, or start \
                 the program without a shell, with CMD in its exec form."
            .to_owned(),
        timeline: vec![
            stop(0.0, Signal::TERM, sh, Delivery::NoHandler),
            stop(30.0102, Signal::KILL, sh, DELIVERED),
            killed(30.0104, sh),
            teardown(30.0104, sh, python),
            killed(30.0111, python),
        ],
        ..base(Outcome::GraceExceeded, Cause::NotForwarded)
    }
}

/// A shutdown of which next to nothing was seen.
pub(super) fn nothing_known() -> Shutdown {
    let shell = base(Outcome::Unknown, Cause::None);
    let container =
        ContainerFacts { runtime: Runtime::Unknown, name: None, image: None, pod: None, ..(*shell.container).clone() };
    Shutdown {
        container: Arc::new(container),
        confidence: Confidence::Partial,
        trigger: Trigger::Unknown,
        stop_signal: None,
        init_disposition: InitDisposition::Unknown,
        grace: Grace { period: None, source: GraceSource::Unknown },
        prestop: None,
        init: None,
        ..shell
    }
}

/// A shell wrapper whose processes named themselves to harm who reads of them.
pub(super) fn hostile_names() -> Shutdown {
    let shell = shell_wrapper();
    let (sh, python) = (inside(1, "\u{1b}[2J\u{202e}hs".as_bytes()), inside(7, b"a\nb\xff(outside)"));
    let rename = |named: Named| if named.pid == sh.pid { sh } else { python };
    let timeline = shell.timeline.iter().map(|step| {
        let what = match step.what {
            StepKind::Signal { signal, from, origin, to, result } => {
                let from = if origin == Where::Outside { from } else { rename(from) };
                StepKind::Signal { signal, from, origin, to: rename(to), result }
            }
            StepKind::Exit { process, status } => StepKind::Exit { process: rename(process), status },
            StepKind::OomMark { process } => StepKind::OomMark { process: rename(process) },
        };
        Step { what, ..*step }
    });
    let image = format!("registry.example/\u{1b}]0;owned\u{7}{}", "long/".repeat(30));
    let container = ContainerFacts { image: Some(image), ..(*shell.container).clone() };
    Shutdown {
        container: Arc::new(container),
        init: Some(sh),
        missed: vec![Missed { process: python, broke_at: Some(sh) }],
        advice: "Start \u{1b}[5m\u{202e}it without a shell.".to_owned(),
        timeline: timeline.collect(),
        ..shell
    }
}

/// `npm start` over a shell over a program that would have stopped: the shell dies and passes nothing on.
pub(super) fn npm_start() -> Shutdown {
    let (npm, sh, node) = (inside(1, b"npm start"), inside(18, b"sh"), inside(19, b"node"));
    Shutdown {
        init: Some(npm),
        init_disposition: InitDisposition::Handled,
        confidence: Confidence::Proven,
        stop_to_exit: Some(Duration::from_millis(530)),
        exit: Some(ExitStatus::Code(0)),
        processes: Counts { at_stop: 2, leaves: 1, told: 1, killed: 1 },
        killed_by: Some(KilledBy::Teardown),
        killed: [0, 1, 0, 0, 0],
        missed: vec![Missed { process: node, broke_at: Some(sh) }],
        advice: "npm runs the script in a shell that does not pass SIGTERM on: start the program itself, with \
                 `CMD [\"node\", \"server.js\"]`."
            .to_owned(),
        timeline: vec![
            stop(0.0, Signal::TERM, npm, DELIVERED),
            pass(0.0041, npm, Signal::TERM, sh, DELIVERED),
            exit(0.0049, sh, ExitStatus::Signal(Signal::TERM)),
            exit(0.5301, npm, ExitStatus::Code(0)),
            teardown(0.5302, npm, node),
            killed(0.5309, node),
        ],
        ..base(Outcome::ChildrenKilled, Cause::PartiallyForwarded)
    }
}

/// A supervisor that exits on the signal at once, with thirty workers.
pub(super) fn thirty_children() -> Shutdown {
    let master = inside(1, b"master");
    let workers: Vec<Named> = (7..37).map(|pid| inside(pid, b"worker")).collect();
    let mut timeline = vec![stop(0.0, Signal::TERM, master, DELIVERED), exit(0.0021, master, ExitStatus::Code(0))];
    // The kernel tells all of them before it waits for any; their exits begin to come meanwhile.
    for (n, worker) in workers.iter().enumerate() {
        let now = 0.0022 + 0.000_01 * n as f64;
        timeline.push(teardown(now, master, *worker));
        timeline.extend(n.checked_sub(10).map(|earlier| killed(now, workers[earlier])));
    }
    timeline.extend(workers[20..].iter().map(|worker| killed(0.0031, *worker)));
    Shutdown {
        init: Some(master),
        init_disposition: InitDisposition::Handled,
        stop_to_exit: Some(Duration::from_micros(2_100)),
        exit: Some(ExitStatus::Code(0)),
        processes: Counts { at_stop: 30, leaves: 30, told: 0, killed: 30 },
        killed_by: Some(KilledBy::Teardown),
        killed: [0, 30, 0, 0, 0],
        missed: workers.iter().map(|worker| Missed { process: *worker, broke_at: Some(master) }).collect(),
        findings: vec![Finding::EarlyExit],
        advice: "Tell the workers and wait for them before `master` exits.".to_owned(),
        timeline,
        ..base(Outcome::ChildrenKilled, Cause::NotForwarded)
    }
}

/// postgres: children told once or twice, the last one by another signal, and all end by themselves.
pub(super) fn graceful() -> Shutdown {
    let postgres = inside(1, b"postgres");
    let children: Vec<Named> = (27..32).map(|pid| inside(pid, b"postgres")).collect();
    let (rest, checkpointer) = (&children[1..], children[0]);
    let pending = Delivery::Generated(Generated::AlreadyPending);
    let mut timeline = vec![stop(0.0, Signal::TERM, postgres, DELIVERED)];
    timeline.extend(rest.iter().map(|child| pass(0.0006, postgres, Signal::TERM, *child, DELIVERED)));
    timeline.extend(rest[..2].iter().map(|child| pass(0.0007, postgres, Signal::TERM, *child, pending)));
    timeline.extend(rest.iter().map(|child| exit(0.0112, *child, ExitStatus::Code(0))));
    timeline.push(pass(0.0114, postgres, Signal::USR2, checkpointer, DELIVERED));
    timeline.push(exit(0.2207, checkpointer, ExitStatus::Code(0)));
    timeline.push(exit(0.2301, postgres, ExitStatus::Code(0)));
    Shutdown {
        init: Some(postgres),
        init_disposition: InitDisposition::Handled,
        confidence: Confidence::Observed,
        stop_to_exit: Some(Duration::from_millis(230)),
        exit: Some(ExitStatus::Code(0)),
        processes: Counts { at_stop: 5, leaves: 5, told: 5, killed: 0 },
        timeline,
        ..base(Outcome::Graceful, Cause::None)
    }
}

/// The handler takes more memory than there is.
pub(super) fn oom() -> Shutdown {
    let python = inside(1, b"python3");
    let kernel =
        StepKind::Signal { signal: Signal::KILL, from: python, origin: Where::Kernel, to: python, result: DELIVERED };
    Shutdown {
        init: Some(python),
        init_disposition: InitDisposition::Handled,
        stop_to_exit: Some(Duration::from_micros(343_000)),
        exit: Some(ExitStatus::Signal(Signal::KILL)),
        killed_by: Some(KilledBy::Oom),
        advice: "Raise `resources.limits.memory`, or let the handler of python3 take less memory.".to_owned(),
        timeline: vec![
            stop(0.0, Signal::TERM, python, DELIVERED),
            at(0.3401, kernel),
            at(0.3402, StepKind::OomMark { process: python }),
            killed(0.343, python),
        ],
        ..base(Outcome::OomKilled, Cause::None)
    }
}

/// Events were lost while the window was open, and the container has no pod and its pids no names inside.
pub(super) fn lost_events() -> Shutdown {
    let (init, child) = (outside(4242, b"app"), outside(4250, b"helper"));
    let shell = base(Outcome::Unknown, Cause::None);
    let container = ContainerFacts {
        runtime: Runtime::Docker,
        name: None,
        image: Some("registry.example/team/app@sha256:0f1e2d".to_owned()),
        pod: None,
        ..(*shell.container).clone()
    };
    Shutdown {
        container: Arc::new(container),
        confidence: Confidence::Partial,
        trigger: Trigger::RuntimeStop,
        init: Some(init),
        init_disposition: InitDisposition::Handled,
        grace: Grace { period: Some(Duration::from_secs(10)), source: GraceSource::RuntimeDefault },
        prestop: None,
        stop_to_exit: Some(Duration::from_millis(1_240)),
        processes: Counts { at_stop: 1, leaves: 1, told: 1, killed: 0 },
        advice: "Kernel events were lost while this container stopped: see `signal-trace doctor`.".to_owned(),
        timeline: vec![
            at(
                0.0,
                StepKind::Signal {
                    signal: Signal::TERM,
                    from: outside(999, b"runc"),
                    origin: Where::Outside,
                    to: init,
                    result: DELIVERED,
                },
            ),
            pass(0.01, init, Signal::TERM, child, DELIVERED),
            exit(1.24, init, ExitStatus::Code(143)),
        ],
        timeline_cut: 212,
        ..shell
    }
}

/// CRI-O with an init in D state: the kill is repeated, and dying takes its time. The hook had left two seconds.
pub(super) fn prestop_and_slow_death() -> Shutdown {
    let init = inside(1, b"java");
    let crio = outside(800, b"crio");
    let kill = |seconds| {
        let (signal, origin, result) = (Signal::KILL, Where::Outside, DELIVERED);
        at(seconds, StepKind::Signal { signal, from: crio, origin, to: init, result })
    };
    let mut timeline = vec![stop(0.0, Signal::TERM, init, DELIVERED)];
    timeline.extend([2.003, 2.023, 2.063, 2.143, 2.303, 2.623, 3.263, 4.543].map(kill));
    timeline.push(killed(5.1, init));
    Shutdown {
        init: Some(init),
        init_disposition: InitDisposition::Handled,
        confidence: Confidence::Observed,
        trigger: Trigger::Eviction,
        grace: Grace { period: Some(Duration::from_secs(30)), source: GraceSource::Deletion },
        prestop: Some(Duration::from_secs(29)),
        stop_to_kill: Some(Duration::from_millis(2_003)),
        stop_to_exit: Some(Duration::from_millis(5_100)),
        kill_to_exit: Some(Duration::from_millis(3_097)),
        exit: Some(ExitStatus::Signal(Signal::KILL)),
        killed_by: Some(KilledBy::Runtime),
        advice: "The preStop hook took 29.0 s of 30 s: make it shorter, or the grace longer.".to_owned(),
        timeline,
        ..base(Outcome::GraceExceeded, Cause::PrestopOverrun)
    }
}

/// tini before a program without a handler, stopped by `docker stop`; then a SIGKILL with no stop signal before it.
pub(super) fn died_on_signal() -> Shutdown {
    let (tini, sleep) = (inside(1, b"tini"), inside(7, b"sleep"));
    Shutdown {
        init: Some(tini),
        init_disposition: InitDisposition::Waited,
        stop_to_exit: Some(Duration::from_millis(11)),
        exit: Some(ExitStatus::Code(143)),
        processes: Counts { at_stop: 1, leaves: 1, told: 1, killed: 0 },
        advice: "sleep has no handler for SIGTERM: nothing to change if there is nothing to clean up.".to_owned(),
        timeline: vec![
            stop(0.0, Signal::TERM, tini, DELIVERED),
            pass(0.0101, tini, Signal::TERM, sleep, DELIVERED),
            exit(0.0104, sleep, ExitStatus::Signal(Signal::TERM)),
            exit(0.0109, tini, ExitStatus::Code(143)),
        ],
        ..base(Outcome::DiedOnSignal, Cause::NoHandler)
    }
}

/// `docker kill`.
pub(super) fn forced() -> Shutdown {
    let redis = inside(1, b"redis-server");
    let shell = base(Outcome::Forced, Cause::None);
    let container = ContainerFacts {
        runtime: Runtime::Docker,
        name: Some("cache".to_owned()),
        image: Some("redis:8".to_owned()),
        pod: None,
        ..(*shell.container).clone()
    };
    Shutdown {
        container: Arc::new(container),
        trigger: Trigger::RuntimeStop,
        stop_signal: None,
        init_disposition: InitDisposition::Unknown,
        grace: Grace { period: None, source: GraceSource::Unknown },
        prestop: None,
        init: Some(redis),
        exit: Some(ExitStatus::Signal(Signal::KILL)),
        killed_by: Some(KilledBy::Runtime),
        timeline: vec![stop(0.0, Signal::KILL, redis, DELIVERED), killed(0.0003, redis)],
        ..shell
    }
}

/// A tree in which the way broke in several places, with more evidence than fits.
pub(super) fn many_ways() -> Shutdown {
    let init = inside(1, b"supervisord");
    let pairs: Vec<(Named, Named)> =
        (0..6).map(|n| (inside(10 + n, b"run.sh"), inside(20 + n, b"service-process"))).collect();
    let mut timeline = vec![stop(0.0, Signal::TERM, init, DELIVERED)];
    for (n, (shell, service)) in (0..).zip(&pairs) {
        let start = 0.5 * f64::from(n);
        timeline.push(pass(start + 0.01, init, Signal::TERM, *shell, DELIVERED));
        timeline.push(exit(start + 0.03, *shell, ExitStatus::Signal(Signal::TERM)));
        timeline.push(pass(start + 0.25, init, Signal::CONT, *shell, Delivery::Dying));
        timeline.push(pass(start + 0.31, *service, Signal::USR1, init, Delivery::Generated(Generated::Ignored)));
        timeline.push(exit(start + 0.33, inside(40 + n, b"cat"), ExitStatus::Code(1)));
    }
    timeline.push(exit(8.0, init, ExitStatus::Code(0)));
    timeline.extend(pairs.iter().map(|(_, service)| teardown(8.0001, init, *service)));
    timeline.extend(pairs.iter().map(|(_, service)| killed(8.0009, *service)));
    Shutdown {
        init: Some(init),
        init_disposition: InitDisposition::Handled,
        stop_to_exit: Some(Duration::from_secs(8)),
        exit: Some(ExitStatus::Code(0)),
        processes: Counts { at_stop: 12, leaves: 6, told: 6, killed: 6 },
        killed_by: Some(KilledBy::Teardown),
        killed: [0, 5, 1, 0, 0],
        missed: pairs.iter().map(|(shell, service)| Missed { process: *service, broke_at: Some(*shell) }).collect(),
        findings: vec![Finding::HelpersKilled, Finding::Reraised],
        advice: "End each run.sh with `exec`.".to_owned(),
        timeline,
        ..base(Outcome::ChildrenKilled, Cause::PartiallyForwarded)
    }
}

/// All of them, by name.
pub(super) fn all() -> Vec<(&'static str, Shutdown)> {
    vec![
        ("shell_wrapper", shell_wrapper()),
        ("npm_start", npm_start()),
        ("thirty_children", thirty_children()),
        ("graceful", graceful()),
        ("oom", oom()),
        ("lost_events", lost_events()),
        ("prestop_and_slow_death", prestop_and_slow_death()),
        ("died_on_signal", died_on_signal()),
        ("forced", forced()),
        ("many_ways", many_ways()),
        ("hostile_names", hostile_names()),
        ("nothing_known", nothing_known()),
    ]
}
