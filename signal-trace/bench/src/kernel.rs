//! What the programs cost those in whose system calls they run.
//!
//! The kernel's own statistics tell the mean time of a program's run, clock reads included; so every figure is held
//! against an empty program on the same tracepoint in the same run, attached once before and once after the real one.
//! The statistics are off for the figures from end to end: there the same work is done with nothing attached, with the
//! empty programs, and with the real ones, by turns.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{Read as _, Write as _, pipe};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use aya::programs::{BtfTracePoint, loaded_programs};
use aya::sys::{Stats, enable_stats};
use aya::{Btf, Ebpf};
use signal_trace::event::Signal;
use signal_trace::kernel::{Kernel, Losses, Settings, Tracked, boot_time};

use crate::figure::{Figure, Limit, spread};
use crate::stage::{self, Container, Tree};

static REFERENCE: &[u8] = aya::include_bytes_aligned!(env!("REFERENCE"));

/// Each hook's program and its empty counterpart, by the names that the kernel shows: 15 bytes of them.
const HOOKS: [(&str, &str, &str); 3] = [
    ("signal_generate", "signal_generate", "empty_generate"),
    ("sched_process_fork", "sched_process_f", "empty_fork"),
    ("sched_process_exit", "sched_process_e", "empty_exit"),
];
const GENERATE: usize = 0;
const FORK: usize = 1;
const EXIT: usize = 2;

/// What a run that finds nothing of interest may cost, as a multiple of an empty program's run.
const FILTERED: Limit = Limit::AtMost(1.10);

const ROUNDS: usize = 15;
const SIGNALS: usize = 20_000;
const FORKS: usize = 500;

/// From end to end: signals and processes of all rounds of one kind.
const SIGNALS_TO_SELF: usize = 1_000_000;
const PROCESSES: usize = 100_000;
const TURNS: usize = 10;

/// Processes that end with their container.
const CROWD: usize = 1_000;
const TEARDOWNS: usize = 7;

/// What is of no interest, by the kernel's statistics: seconds, for every change.
pub(crate) fn filtered() -> Result<()> {
    by_statistics(|_| of_no_interest())
}

/// What is recorded, by the kernel's statistics.
pub(crate) fn recorded() -> Result<()> {
    by_statistics(records)
}

fn by_statistics(measure: impl FnOnce(&mut Kernel) -> Result<()>) -> Result<()> {
    stage::pin(0)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _entered = runtime.enter();
    // Off again when the descriptor is closed.
    let _statistics = enable_stats(Stats::RunTime)?;
    let _before = reference()?;
    let mut kernel = Kernel::load(&Settings::default())?;
    stage::keep_rings()?;
    let _after = reference()?;
    measure(&mut kernel)?;
    let losses = kernel.losses()?;
    ensure!(losses == Losses::default(), "records were lost while they were counted: {losses:?}");
    Ok(())
}

fn of_no_interest() -> Result<()> {
    let ignored = |signal| {
        move || {
            stage::send_self(signal, SIGNALS);
            Ok(())
        }
    };
    let births = || {
        stage::births(FORKS);
        Ok(())
    };
    let urgent = Signal::parse("URG").context("a signal")?;
    measure(GENERATE, ignored(urgent))?.print("filtered", "a signal of no interest", Some(FILTERED))?;
    measure(GENERATE, ignored(Signal::WINCH))?.print("filtered", "a stop signal to a process of no container", None)?;
    measure(FORK, births)?.print("filtered", "a birth in no container", Some(FILTERED))?;
    measure(EXIT, births)?.print("filtered", "an end in no container", Some(FILTERED))
}

/// What is recorded: by one process of a tracked container with an open window.
fn records(kernel: &mut Kernel) -> Result<()> {
    let tree = Tree::new()?;
    let (mut done, mark) = pipe()?;
    let (cue, mut cues) = pipe()?;
    let ours = cues.as_raw_fd();
    let container = tree.container(0, || {
        // Else it would hold its own pipe open.
        stage::close(ours);
        let mut byte = 0;
        while stage::cue_byte(cue.as_raw_fd(), &mut byte) {
            if byte == 0 {
                stage::send_self(Signal::WINCH, SIGNALS);
            } else {
                stage::births(FORKS);
            }
            stage::mark(mark.as_raw_fd());
        }
        0
    })?;
    let mut act = |kernel: &mut Kernel, what: u8| -> Result<()> {
        cues.write_all(&[what])?;
        // Read meanwhile: a full ring would cost less than a record.
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| done.read_exact(&mut [0]));
            while !waiting.is_finished() {
                kernel.drain(boot_time(), &mut Vec::new());
                std::thread::sleep(stage::POLL);
            }
            waiting.join().ok().context("the wait for a container")?.context("the container ended")
        })
    };
    follow(kernel, &container)?;
    measure(GENERATE, || act(kernel, 0))?.print("recorded", "a recorded signal", None)?;
    measure(FORK, || act(kernel, 1))?.print("recorded", "a recorded birth", None)?;
    measure(EXIT, || act(kernel, 1))?.print("recorded", "a recorded end", None)?;
    drop(cues);
    container.reap();
    teardowns(kernel, &tree)
}

/// A container with many processes, whose init is killed: what the programs take for all of it.
fn teardowns(kernel: &mut Kernel, tree: &Tree) -> Result<()> {
    let (mut ours, mut empty, mut wall) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..TEARDOWNS {
        let container = crowd(tree, 1 + round, CROWD)?;
        follow(kernel, &container)?;
        let (before, begun) = (statistics()?, Instant::now());
        container.signal(Signal::KILL);
        container.reap();
        wall.push(begun.elapsed().as_secs_f64() * 1e6);
        let after = statistics()?;
        let total = |names: fn(&(&'static str, &'static str, &'static str)) -> &'static str| {
            let of = |hook| (after[names(hook)].0 - before[names(hook)].0).as_secs_f64() * 1e6;
            HOOKS.iter().map(of).sum::<f64>()
        };
        ours.push(total(|hook| hook.1));
        // The empty ones are attached twice.
        empty.push(total(|hook| hook.2) / 2.0);
        kernel.drain(boot_time(), &mut Vec::new());
        container.remove()?;
    }
    Figure::of("recorded", format!("all runs in a teardown of {CROWD} processes"), "µs", &ours)
        .against("an empty program", spread(&empty)[1])
        .print()?;
    let share: Vec<_> = ours.iter().zip(&wall).map(|(ours, wall)| 100.0 * ours / wall).collect();
    Figure::of("recorded", "their share of the teardown's time", "%", &share).print()
}

/// A container whose init has that many children, all of them asleep.
pub(crate) fn crowd(tree: &Tree, number: usize, processes: usize) -> Result<Container> {
    let (mut ready, mark) = pipe()?;
    let container = tree.container(number, || {
        for _ in 0..processes {
            stage::child(|| stage::sleep());
        }
        stage::mark(mark.as_raw_fd());
        stage::sleep()
    })?;
    ready.read_exact(&mut [0])?;
    Ok(container)
}

/// Has the programs record what happens in a container, as while it is being stopped.
fn follow(kernel: &mut Kernel, container: &Container) -> Result<()> {
    let init = container.init.cast_unsigned();
    let entry = Tracked { root: container.cgroup.0, init, ..Tracked::default() };
    kernel.track(container.cgroup, entry)?;
    Ok(kernel.open_window(container.cgroup, boot_time())?)
}

/// One kind of run in all rounds, in nanoseconds.
struct Measured {
    empty: Vec<f64>,
    program: Vec<f64>,
}

impl Measured {
    fn print(&self, benchmark: &'static str, what: &str, limit: Option<Limit>) -> Result<()> {
        let empty = spread(&self.empty)[1];
        Figure::of(benchmark, what, "ns", &self.program).against("an empty program", empty).print()?;
        let ratios: Vec<_> = self.program.iter().zip(&self.empty).map(|(program, empty)| program / empty).collect();
        let ratio = Figure::of(benchmark, format!("{what} / an empty program"), "×", &ratios);
        limit.map_or(ratio.clone(), |limit| ratio.limit(limit)).print()
    }
}

fn measure(hook: usize, mut work: impl FnMut() -> Result<()>) -> Result<Measured> {
    let (_, program, empty) = HOOKS[hook];
    let mut measured = Measured { empty: Vec::new(), program: Vec::new() };
    work()?;
    for _ in 0..ROUNDS {
        let before = statistics()?;
        work()?;
        let after = statistics()?;
        let mean = |name| {
            let (time, runs) = (after[name].0 - before[name].0, after[name].1 - before[name].1);
            time.as_secs_f64() * 1e9 / runs as f64
        };
        measured.empty.push(mean(empty));
        measured.program.push(mean(program));
    }
    Ok(measured)
}

/// Time and number of all runs so far of the programs that this process loaded, by name; both empty ones together.
fn statistics() -> Result<HashMap<String, (Duration, u64)>> {
    let own = own_programs()?;
    let mut statistics = HashMap::<String, (Duration, u64)>::new();
    // One of somebody else may go while they are listed.
    for program in loaded_programs().filter_map(Result::ok).filter(|program| own.contains(&program.id())) {
        let entry = statistics.entry(program.name_as_str().unwrap_or_default().to_owned()).or_default();
        entry.0 += program.run_time();
        entry.1 += program.run_count();
    }
    Ok(statistics)
}

/// Ids of the programs that this process has a descriptor of.
fn own_programs() -> Result<HashSet<u32>> {
    let descriptors = fs::read_dir("/proc/self/fdinfo")?.flatten();
    let infos = descriptors.filter_map(|entry| fs::read_to_string(entry.path()).ok());
    Ok(infos
        .filter_map(|info| info.lines().find_map(|line| line.strip_prefix("prog_id:")?.trim().parse().ok()))
        .collect())
}

/// The empty programs, attached.
fn reference() -> Result<Ebpf> {
    let types = Btf::from_sys_fs()?;
    let mut ebpf = Ebpf::load(REFERENCE)?;
    for (hook, _, empty) in HOOKS {
        let program: &mut BtfTracePoint = ebpf.program_mut(empty).context("an empty program")?.try_into()?;
        program.load(hook, &types)?;
        program.attach()?;
    }
    Ok(ebpf)
}

/// What a program that does nothing else notices: by turns with nothing attached, the empty programs, the real ones.
pub(crate) fn to_the_end() -> Result<()> {
    stage::pin(0)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _entered = runtime.enter();
    let urgent = Signal::parse("URG").context("a signal")?;
    let signals = turns(&mut || stage::send_self(urgent, SIGNALS_TO_SELF / TURNS))?;
    let each = |total: &[f64]| total.iter().map(|t| t * 1e9 / (SIGNALS_TO_SELF / TURNS) as f64).collect::<Vec<_>>();
    Figure::of("sender", "kill(2) to oneself, traced", "ns", &each(&signals.on))
        .against("untraced", spread(&each(&signals.off))[1])
        .print()?;
    Figure::of("sender", "kill(2) to oneself, traced / untraced", "×", &signals.on_to_off())
        .limit(Limit::AtMost(1.10))
        .print()?;
    let added: Vec<_> = (0..TURNS)
        .map(|turn| (signals.on[turn] - signals.off[turn]) / (signals.empty[turn] - signals.off[turn]))
        .collect();
    // A difference of differences: only the fastest turn of each kind is free of what else the machine does.
    let fastest = |turns: &[f64]| spread(turns)[0];
    let (on, off, empty) = (fastest(&signals.on), fastest(&signals.off), fastest(&signals.empty));
    let of_fastest = (on - off) / (empty - off);
    Figure::of("sender", "what tracing adds to kill(2) / what an empty program adds", "×", &added)
        .limit_for(of_fastest, Limit::AtMost(1.2))
        .remark(format!("the limit is for the fastest turns: {of_fastest:.2}"))
        .print()?;

    let forks = turns(&mut || stage::births(PROCESSES / TURNS))?;
    let each = |total: &[f64]| total.iter().map(|t| t * 1e6 / (PROCESSES / TURNS) as f64).collect::<Vec<_>>();
    Figure::of("sender", "fork, exit and wait, traced", "µs", &each(&forks.on))
        .against("untraced", spread(&each(&forks.off))[1])
        .print()?;
    let [least, middle, most] = spread(&forks.off);
    let (noise, ratio) = ((most - least) / middle, forks.on_to_off());
    Figure::of("sender", "fork, exit and wait, traced / untraced", "×", &ratio)
        .limit(Limit::AtMost(1.02))
        .unless(spread(&ratio)[1] - 1.0 <= noise)
        .remark(format!("untraced rounds differ by {:.1} % among themselves", 100.0 * noise))
        .print()
}

/// Seconds of each turn.
struct Turns {
    off: Vec<f64>,
    empty: Vec<f64>,
    on: Vec<f64>,
}

impl Turns {
    fn on_to_off(&self) -> Vec<f64> {
        self.on.iter().zip(&self.off).map(|(on, off)| on / off).collect()
    }
}

fn turns(work: &mut dyn FnMut()) -> Result<Turns> {
    let mut turns = Turns { off: Vec::new(), empty: Vec::new(), on: Vec::new() };
    let mut timed = || {
        let begun = Instant::now();
        work();
        begun.elapsed().as_secs_f64()
    };
    timed();
    for _ in 0..TURNS {
        turns.off.push(timed());
        let reference = reference()?;
        turns.empty.push(timed());
        drop(reference);
        let kernel = Kernel::load(&Settings::default())?;
        stage::keep_rings()?;
        turns.on.push(timed());
        drop(kernel);
    }
    Ok(turns)
}
