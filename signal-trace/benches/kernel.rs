//! What the programs cost those in whose system calls they run.
//!
//! The kernel's own statistics tell the mean time of a program's run, clock reads included; so every figure is held
//! against an empty program on the same tracepoint in the same run, attached once before and once after the real one.
//! Needs root. Ends with 1 if something that is of no interest costs more than it may.
#![expect(clippy::unwrap_used, reason = "what cannot be set up is a failure")]
#![expect(unsafe_code, reason = "the system calls that are measured are made directly")]

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{PipeReader, PipeWriter, Read as _, Write as _, pipe};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use aya::programs::{BtfTracePoint, loaded_programs};
use aya::sys::{Stats, enable_stats};
use aya::{Btf, Ebpf};
use signal_trace::event::CgroupId;
use signal_trace::kernel::{Kernel, Settings, Tracked, boot_time};

static REFERENCE: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/signal-trace-reference"));

/// Each hook's program and its empty counterpart, by the names that the kernel shows: 15 bytes of them.
const HOOKS: [(&str, &str, &str); 3] = [
    ("signal_generate", "signal_generate", "empty_generate"),
    ("sched_process_fork", "sched_process_f", "empty_fork"),
    ("sched_process_exit", "sched_process_e", "empty_exit"),
];

/// What a run that finds nothing of interest may cost, as a multiple of an empty program's run.
const ALLOWED: f64 = 1.2;
/// How soon after the start the programs should be attached.
const START: Duration = Duration::from_millis(500);

const ROUNDS: usize = 15;
const SIGNALS: usize = 20_000;
const FORKS: usize = 500;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _entered = runtime.enter();
    // Off again when the descriptor is closed.
    let _statistics = enable_stats(Stats::RunTime).unwrap();
    let _before = reference();
    let start = Instant::now();
    let mut kernel = Kernel::load(&Settings::default()).unwrap_or_else(|e| panic!("{:#}", anyhow::Error::from(e)));
    let started = start.elapsed();
    let _after = reference();

    println!("ns per run, {ROUNDS} rounds               empty     min  median     max   ratio");
    let mut missed = false;
    let idle = measure("a signal of no interest", 0, &mut || send(libc::SIGURG, SIGNALS));
    missed |= idle.show(Some(ALLOWED));
    measure("a wanted one, not tracked", 0, &mut || send(libc::SIGWINCH, SIGNALS)).show(None);
    measure("a birth, not tracked", 1, &mut || births(FORKS)).show(None);
    measure("an end, not tracked", 2, &mut || births(FORKS)).show(None);

    let mut container = Container::new(&mut kernel);
    measure("a recorded signal", 0, || container.act(&mut kernel, Act::Signals)).show(None);
    measure("a recorded birth", 1, || container.act(&mut kernel, Act::Births)).show(None);
    measure("a recorded end", 2, || container.act(&mut kernel, Act::Births)).show(None);
    let losses = kernel.losses().unwrap();
    assert_eq!(losses, signal_trace::kernel::Losses::default(), "records were lost while they were counted");

    let late = if started > START { "   late" } else { "" };
    println!("start to attached {started:>38.0?}   (of {START:?}){late}");
    if missed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// One kind of run in all rounds, in nanoseconds.
struct Measured {
    what: &'static str,
    empty: Vec<f64>,
    program: Vec<f64>,
}

impl Measured {
    /// Prints a line, and tells whether the bound was missed.
    fn show(&self, bound: Option<f64>) -> bool {
        let (empty, [min, median, max]) = (quantiles(&self.empty)[1], quantiles(&self.program));
        let rounds: Vec<f64> = self.program.iter().zip(&self.empty).map(|(program, empty)| program / empty).collect();
        let ratio = quantiles(&rounds)[1];
        let missed = bound.is_some_and(|bound| ratio > bound);
        let remark = bound.map_or(String::new(), |b| format!(" (of {b}){}", if missed { " MISSED" } else { "" }));
        println!("{:<32}{empty:>9.1}{min:>8.1}{median:>8.1}{max:>8.1}{ratio:>8.2}{remark}", self.what);
        missed
    }
}

/// Smallest, middle and largest.
fn quantiles(values: &[f64]) -> [f64; 3] {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    [sorted[0], sorted[sorted.len() / 2], sorted[sorted.len() - 1]]
}

fn measure(what: &'static str, hook: usize, mut work: impl FnMut()) -> Measured {
    let (_, program, empty) = HOOKS[hook];
    let mut measured = Measured { what, empty: Vec::new(), program: Vec::new() };
    work();
    for _ in 0..ROUNDS {
        let before = statistics();
        work();
        let after = statistics();
        let mean = |name| {
            let (time, runs) = (after[name].0 - before[name].0, after[name].1 - before[name].1);
            time.as_secs_f64() * 1e9 / f64::from(u32::try_from(runs).unwrap())
        };
        measured.empty.push(mean(empty));
        measured.program.push(mean(program));
    }
    measured
}

/// Time and number of all runs so far of the programs that this process loaded, by name; both empty ones together.
fn statistics() -> HashMap<String, (Duration, u64)> {
    let own = own_programs();
    let mut statistics = HashMap::<String, (Duration, u64)>::new();
    for program in loaded_programs().map(Result::unwrap).filter(|program| own.contains(&program.id())) {
        let entry = statistics.entry(program.name_as_str().unwrap().to_owned()).or_default();
        entry.0 += program.run_time();
        entry.1 += program.run_count();
    }
    statistics
}

/// Ids of the programs that this process has a descriptor of.
fn own_programs() -> HashSet<u32> {
    let descriptors = fs::read_dir("/proc/self/fdinfo").unwrap().flatten();
    let infos = descriptors.filter_map(|entry| fs::read_to_string(entry.path()).ok());
    infos.filter_map(|info| info.lines().find_map(|line| line.strip_prefix("prog_id:")?.trim().parse().ok())).collect()
}

/// The empty programs, attached.
fn reference() -> Ebpf {
    let types = Btf::from_sys_fs().unwrap();
    let mut ebpf = Ebpf::load(REFERENCE).unwrap();
    for (hook, _, empty) in HOOKS {
        let program: &mut BtfTracePoint = ebpf.program_mut(empty).unwrap().try_into().unwrap();
        program.load(hook, &types).unwrap();
        program.attach().unwrap();
    }
    ebpf
}

/// Sends this process signals that it ignores by default.
fn send(signal: i32, times: usize) {
    for _ in 0..times {
        // SAFETY: no pointer is passed.
        unsafe { libc::kill(libc::getpid(), signal) };
    }
}

/// Makes processes that end at once.
fn births(times: usize) {
    for _ in 0..times {
        // SAFETY: the child exits at once; no pointer is passed that is not null.
        unsafe {
            match libc::fork() {
                0 => libc::_exit(0),
                pid => libc::waitpid(pid, std::ptr::null_mut(), 0),
            };
        }
    }
}

/// What a container's process does.
#[derive(Clone, Copy)]
enum Act {
    /// Signals itself.
    Signals,
    /// Makes processes that end at once.
    Births,
}

/// A tracked cgroup with an open window, and one process that does as it is told.
struct Container {
    path: PathBuf,
    pid: i32,
    cues: PipeWriter,
    done: PipeReader,
}

impl Container {
    fn new(kernel: &mut Kernel) -> Self {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let root = mounts.lines().find_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let path = fields.next()?;
            (fields.next()? == "cgroup2").then_some(path)
        });
        let path = PathBuf::from(root.unwrap()).join(format!("signal-trace-bench-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        let id = fs::metadata(&path).unwrap().ino();
        kernel.track(CgroupId(id), Tracked { root: id, init: 1, ..Tracked::default() }).unwrap();
        kernel.open_window(CgroupId(id), boot_time()).unwrap();
        let (mut cue, cues) = pipe().unwrap();
        let (done, mut mark) = pipe().unwrap();
        // SAFETY: this process has one thread, so the child may do anything.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let mut byte = [0];
            while cue.read_exact(&mut byte).is_ok() {
                if byte[0] == Act::Signals as u8 {
                    send(libc::SIGWINCH, SIGNALS);
                } else {
                    births(FORKS);
                }
                mark.write_all(&byte).unwrap();
            }
            std::process::exit(0);
        }
        fs::write(path.join("cgroup.procs"), pid.to_string()).unwrap();
        Self { path, pid, cues, done }
    }

    /// Has it act, and takes all records meanwhile: a full ring would cost less than a record.
    fn act(&mut self, kernel: &mut Kernel, act: Act) {
        self.cues.write_all(&[act as u8]).unwrap();
        let done = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| self.done.read_exact(&mut [0]));
            while !waiting.is_finished() {
                kernel.drain(boot_time(), &mut Vec::new());
                std::thread::sleep(Duration::from_millis(1));
            }
            waiting.join()
        });
        done.unwrap().unwrap();
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // SAFETY: no pointer is passed that is not null.
        unsafe {
            libc::kill(self.pid, libc::SIGKILL);
            libc::waitpid(self.pid, std::ptr::null_mut(), 0);
        }
        let _ = fs::remove_dir(&self.path);
    }
}
