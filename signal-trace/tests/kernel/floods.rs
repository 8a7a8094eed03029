//! Bounds: what a flood can push out and what it cannot, what is counted and said, and who is woken.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use signal_trace::event::{CgroupId, Event, EventKind, Signal};
use signal_trace::kernel::{Kernel, LogLevel, Losses, Settings, TableError, Tracked, boot_time};
use signal_trace_ebpf::{MAX_TRACKED, MAX_WINDOWS};
use tracing_subscriber::filter::LevelFilter;

use crate::actor::{Actor, OWN_NAMESPACE};
use crate::cgroup::Cgroup;
use crate::stage::Stage;
use crate::story::{POLL, Recorder, container_of};

/// One page: the smallest that a ring can be.
const TINY: u32 = 4_096;

#[test]
fn a_flood_of_births_pushes_out_no_stop_signal() {
    let mut recorder = Recorder::load(&Settings { bulk_ring_bytes: TINY, ..Settings::default() });
    let container = Cgroup::new();
    let mut init = init_of(&container, recorder.kernel(), |stage| {
        births(stage);
        stage.wait();
        0
    });
    init.cue();
    init.wait_ready();
    init.signal(Signal::TERM);
    init.cue();
    init.wait();
    let losses = recorder.kernel().losses().unwrap();
    assert!(losses.ring_full > 100, "{losses:?}");
    assert_eq!(Losses { ring_full: 0, ..losses }, Losses::default());
    let ended = |event: &Event| matches!(event.kind, EventKind::Exit(exit) if exit.task.key.pid == init.pid());
    until(|| recorder.events().iter().any(ended));
    assert_eq!(stops(recorder.events(), &container), 1);
}

#[test]
fn a_flood_of_stop_signals_leaves_the_others_their_share() {
    const FLOOD: usize = 2_000;
    let mut recorder = Recorder::load(&Settings { init_ring_bytes: 8 * TINY, ..Settings::default() });
    let (loud, quiet) = (Cgroup::new(), Cgroup::new());
    let flooded = init_of(&loud, recorder.kernel(), |stage| stage.sleep());
    let stopped = init_of(&quiet, recorder.kernel(), |stage| stage.sleep());
    for _ in 0..FLOOD {
        flooded.signal(Signal::TERM);
    }
    stopped.signal(Signal::TERM);
    assert_eq!(recorder.kernel().losses().unwrap(), Losses::default());
    until(|| stops(recorder.events(), &quiet) == 1);
    assert_eq!(stops(recorder.events(), &loud), FLOOD);
}

#[test]
fn stop_signals_that_nobody_reads_in_time_are_counted() {
    let settings = Settings { init_ring_bytes: TINY, ..Settings::default() };
    let mut kernel = Recorder::load(&settings);
    let container = Cgroup::new();
    let init = init_of(&container, kernel.kernel(), |stage| stage.sleep());
    // Nobody reads meanwhile.
    until(|| {
        init.signal(Signal::TERM);
        kernel.kernel().losses().unwrap().init_ring_full > 0
    });
    let losses = kernel.kernel().losses().unwrap();
    assert_eq!(Losses { init_ring_full: 0, ..losses }, Losses::default());
}

#[test]
fn what_finds_no_room_in_a_table_is_named_and_counted() {
    let mut recorder = Recorder::load(&Settings::default());
    let kernel = recorder.kernel();
    // No cgroup has such ids.
    let ids = || (0..).map(|n| CgroupId(u64::MAX - n));
    let entry = Tracked { root: 0, pid_ns_inode: 0, pid_ns_device: 0, init: 0 };
    let full = ids().find_map(|id| kernel.track(id, entry).err()).unwrap();
    assert!(matches!(full, TableError::Full { capacity: MAX_TRACKED, .. }), "{full}");
    let full = ids().find_map(|id| kernel.open_window(id, boot_time()).err()).unwrap();
    assert!(matches!(full, TableError::Full { capacity: MAX_WINDOWS, .. }), "{full}");
    assert_eq!(kernel.losses().unwrap(), Losses { map_full: 2, ..Losses::default() });
}

#[test]
fn a_refusal_is_logged_where_that_was_asked_for() {
    let said = Said::listen();
    let mut recorder =
        Recorder::load(&Settings { bulk_ring_bytes: TINY, log_level: Some(LogLevel::Debug), ..Settings::default() });
    let container = Cgroup::new();
    let mut init = init_of(&container, recorder.kernel(), |stage| {
        births(stage);
        stage.sleep()
    });
    init.cue();
    init.wait_ready();
    recorder.events();
    assert!(said.text().contains("no room in the bulk ring for a record of kind 2"), "{}", said.text());
}

#[test]
fn only_what_must_be_acted_on_rings() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let settings = Settings { bulk_ring_bytes: 16 * TINY, ..Settings::default() };
        let mut kernel = Kernel::load(&settings).unwrap();
        let container = Cgroup::new();
        let mut init = init_of(&container, &mut kernel, |stage| {
            let child = stage.child(0, |stage| stage.sleep());
            loop {
                stage.ready();
                stage.wait();
                stage.kill(child, Signal::CONT);
            }
        });
        init.cue();
        init.wait_ready();
        let quarter = settings.bulk_ring_bytes / 4 / 176 + 1;

        let first = async |init: &mut Actor, kernel: &mut Kernel| {
            kernel.close_window(container.id()).unwrap();
            init.signal(Signal::TERM);
        };
        let repeated = async |init: &mut Actor, _: &mut Kernel| {
            init.signal(Signal::TERM);
            inside(init, 1);
        };
        let much = async |init: &mut Actor, _: &mut Kernel| inside(init, quarter);
        assert!(rings(&mut kernel, &mut init, first).await, "a stop signal opens a window");
        assert!(!rings(&mut kernel, &mut init, repeated).await, "the window is open, and little happens in it");
        assert!(rings(&mut kernel, &mut init, much).await, "a quarter of the bulk ring is full");
        init.signal(Signal::KILL);
        assert!(is_rung(&kernel).await, "init is killed");
    });
}

/// Starts a container's init that the programs know of. It begins with its script at the first cue.
fn init_of(container: &Cgroup, kernel: &mut Kernel, script: impl FnOnce(&Stage) -> i32) -> Actor {
    let init = Actor::start(c"init", container, OWN_NAMESPACE, |stage| {
        stage.ready();
        stage.wait();
        script(stage)
    });
    kernel.track(container.id(), container_of(container, init.pid())).unwrap();
    init
}

/// Two hundred records that ring for nobody.
fn births(stage: &Stage) {
    for _ in 0..100 {
        stage.child(0, |_| 0);
        stage.reap();
    }
    stage.ready();
}

/// Has init send so many signals inside the container.
fn inside(init: &mut Actor, signals: u32) {
    for _ in 0..signals {
        init.cue();
        init.wait_ready();
    }
}

/// Whether the reader is woken for what is done. What others do to cgroups meanwhile rings too: then it is done again.
async fn rings(kernel: &mut Kernel, init: &mut Actor, mut what: impl AsyncFnMut(&mut Actor, &mut Kernel)) -> bool {
    for _ in 0..100 {
        let mut before = Vec::new();
        drain_all(kernel, &mut before).await;
        let mut events = Vec::new();
        what(init, kernel).await;
        let rung = is_rung(kernel).await;
        drain_all(kernel, &mut events).await;
        let disturbed = |event: &Event| matches!(event.kind, EventKind::CgroupMade { .. } | EventKind::CgroupGone(_));
        if !events.iter().any(disturbed) {
            return rung;
        }
    }
    panic!("others on this machine make cgroups all the time");
}

async fn is_rung(kernel: &Kernel) -> bool {
    tokio::time::timeout(Duration::from_millis(100), kernel.readable()).await.is_ok()
}

/// Takes everything, and the bell with it.
async fn drain_all(kernel: &mut Kernel, events: &mut Vec<Event>) {
    loop {
        kernel.drain(boot_time(), events);
        if kernel.next_due().is_none() && tokio::time::timeout(POLL, kernel.readable()).await.is_err() {
            return;
        }
        tokio::time::sleep(POLL).await;
    }
}

fn stops(events: &[Event], container: &Cgroup) -> usize {
    let stop = |event: &&Event| {
        matches!(event.kind, EventKind::Signal(signal)
            if signal.signal == Signal::TERM && signal.target.cgroup == container.id())
    };
    events.iter().filter(stop).count()
}

fn until(mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "it never came");
        std::thread::sleep(POLL);
    }
}

/// What this process logs.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<u8>>>);

impl Said {
    fn listen() -> Self {
        let said = Self::default();
        let writer = said.clone();
        tracing_subscriber::fmt().with_max_level(LevelFilter::DEBUG).with_writer(move || writer.clone()).init();
        said
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl Write for Said {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
