//! The same work under other tracers of signals, where they are installed: by turns, in the same run.
//!
//! The work is a process that signals itself; for us it lives in a container with an open window, so that every one of its
//! signals is recorded, as every one is by the others. Each tracer's output is read and thrown away.

use std::fs;
use std::io::{Read as _, Write as _, pipe};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use signal_trace::event::Signal;

use crate::figure::{Figure, Limit, spread};
use crate::node;
use crate::stage::{self, Tree};

const NAME: &str = "peers";
/// Signals of one round without a pause, and rounds.
const SPRINT: usize = 20_000;
const ROUNDS: usize = 7;
/// At this pace the processor's time is measured, for so long in one round.
const PER_MILLISECOND: usize = 10;
const PACED: Duration = Duration::from_secs(2);
const PACED_ROUNDS: usize = 4;
/// How often in a row a tracer has to be found waiting before it is taken for ready.
const CALM: usize = 100;

/// A tracer of signals, with what it is to trace: window changes, which no other process here sends.
struct Tracer {
    name: &'static str,
    /// The program, unless it is ours.
    program: Option<&'static str>,
    arguments: &'static [&'static str],
}

const TRACERS: [Tracer; 3] = [
    Tracer { name: "signal-trace watch", program: None, arguments: &["watch", "--json"] },
    Tracer { name: "sigsnoop of libbpf-tools", program: Some("/usr/sbin/sigsnoop"), arguments: &["-s", "28"] },
    Tracer { name: "killsnoop of bpftrace", program: Some("/usr/sbin/killsnoop.bt"), arguments: &[] },
];

pub(crate) fn run() -> Result<()> {
    for Tracer { name, program, arguments } in TRACERS {
        let program = program.map_or_else(node::product, |program| Ok(program.into()))?;
        if !program.is_file() {
            Figure::one(NAME, format!("{name}: not installed"), "", 0.0)
                .remark("no package of this machine brings it")
                .print()?;
            continue;
        }
        let mut work = Work::start()?;
        let (untraced, untraced_paced) = (work.sprints()?, work.paced()?);
        let tracer = start(&program, arguments)?;
        // For us: from here on a window is open.
        work.container.signal(Signal::TERM);
        let traced = work.sprints()?;
        let (begun, before) = (Instant::now(), node::processor(tracer.0.id())?);
        let traced_paced = work.paced()?;
        let busy = 100.0 * (node::processor(tracer.0.id())? - before).as_secs_f64() / begun.elapsed().as_secs_f64();
        let resident = resident(tracer.0.id())?;
        drop(tracer);
        let slower = |what: &str, traced: &[f64], untraced: &[f64]| {
            let usual = spread(untraced)[1];
            let ratios: Vec<_> = traced.iter().map(|traced| traced / usual).collect();
            let figure = Figure::of(NAME, format!("{name}: kill(2){what}, traced / untraced"), "×", &ratios);
            figure.against("untraced, in ns", usual)
        };
        let slower = [
            slower(" without a pause", &traced, &untraced),
            slower(" at 10 000 signals a second", &traced_paced, &untraced_paced),
        ];
        let share = Figure::one(NAME, format!("{name}: processor at 10 000 signals a second"), "% of a core", busy);
        let ours = arguments.first() == Some(&"watch");
        for slower in slower {
            if ours { slower.limit(Limit::AtMost(1.3)) } else { slower }.print()?;
        }
        if ours { share.limit(Limit::AtMost(5.0)) } else { share }.print()?;
        Figure::one(NAME, format!("{name}: resident"), "MiB", resident / f64::from(1 << 20)).print()?;
    }
    Ok(())
}

/// A running tracer, which is ended as a person would end it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        stage::send(i32::try_from(self.0.id()).unwrap_or_default(), Signal::INT);
        let _ = self.0.wait();
    }
}

fn start(program: &Path, arguments: &[&str]) -> Result<Running> {
    // The others look for tracefs, which not every machine has mounted: then it is, for them alone.
    let mount = "test -e /sys/kernel/tracing/events || mount -t tracefs none /sys/kernel/tracing; exec \"$0\" \"$@\"";
    let mut tracer = Command::new("unshare")
        .args(["--mount", "sh", "-c", mount])
        .arg(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut said = tracer.stdout.take().context("a pipe")?;
    std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
    let mut tracer = Running(tracer);
    let mut calm = 0;
    stage::until("a tracer's readiness", || {
        let ended = tracer.0.try_wait()?;
        ensure!(ended.is_none(), "{} ended", program.display());
        calm = if waits(tracer.0.id()) { calm + 1 } else { 0 };
        Ok(calm >= CALM)
    })?;
    Ok(tracer)
}

/// Whether a process has loaded programs and sleeps.
fn waits(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let sleeps = stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('S'));
    let infos = fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten().flatten();
    sleeps && infos.filter_map(|info| fs::read_to_string(info.path()).ok()).any(|info| info.contains("prog_id:"))
}

fn resident(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("a tracer's memory")?;
    Ok(line.split_whitespace().next().context("a number")?.parse::<f64>()? * 1024.0)
}

#[derive(Clone, Copy)]
enum Act {
    Sprint,
    Paced,
}

/// A container with a process that signals itself when told to.
struct Work {
    container: stage::Container,
    cues: std::io::PipeWriter,
    done: std::io::PipeReader,
    _tree: Tree,
}

impl Work {
    fn start() -> Result<Self> {
        let tree = Tree::new()?;
        let (cue, cues) = pipe()?;
        let (done, mark) = pipe()?;
        let ours = cues.as_raw_fd();
        let container = tree.container(0, || {
            stage::close(ours);
            stage::ignore(Signal::TERM);
            stage::child(|| {
                let mut act = 0;
                while stage::cue_byte(cue.as_raw_fd(), &mut act) {
                    let each = if act == Act::Sprint as u8 { sprint(SPRINT) } else { pace() };
                    stage::tell(mark.as_raw_fd(), &each.to_ne_bytes());
                }
                0
            });
            stage::sleep()
        })?;
        Ok(Self { container, cues, done, _tree: tree })
    }

    /// Nanoseconds that one of its signals took.
    fn act(&mut self, act: Act) -> Result<f64> {
        self.cues.write_all(&[act as u8])?;
        let mut each = 0_f64.to_ne_bytes();
        self.done.read_exact(&mut each).context("the work ended")?;
        Ok(f64::from_ne_bytes(each))
    }

    /// The same of each round, after one that does not count.
    fn sprints(&mut self) -> Result<Vec<f64>> {
        self.act(Act::Sprint)?;
        (0..ROUNDS).map(|_| self.act(Act::Sprint)).collect()
    }

    fn paced(&mut self) -> Result<Vec<f64>> {
        (0..PACED_ROUNDS).map(|_| self.act(Act::Paced)).collect()
    }
}

/// Sends so many signals; nanoseconds that each took.
fn sprint(signals: usize) -> f64 {
    let begun = Instant::now();
    stage::send_self(Signal::WINCH, signals);
    begun.elapsed().as_nanos() as f64 / signals as f64
}

/// The same at a pace.
fn pace() -> f64 {
    let begun = Instant::now();
    let (mut sum, mut bursts) = (0.0, 0);
    while begun.elapsed() < PACED {
        sum += sprint(PER_MILLISECOND);
        bursts += 1;
        stage::rest(Duration::from_micros(900));
    }
    sum / f64::from(bursts)
}
