//! What floods cost: whether the few records that a shutdown hangs on get through, and whether verdicts stay right.
//!
//! A container signals itself as fast as a flood, while others are stopped; then a container with as many processes as a
//! host has room for goes at once. The daemon runs in this process, as it does in the product.

use std::collections::HashMap;
use std::io::Read as _;
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use signal_trace::containers::path::Forms;
use signal_trace::daemon::Daemon;
use signal_trace::event::{CgroupId, Signal};
use signal_trace::judge::shutdown::{Outcome, Shutdown};
use signal_trace::kernel::{Losses, Settings};

use crate::figure::{Figure, Limit};
use crate::stage::{self, PATIENCE, Tree};

const NAME: &str = "burst";
/// Signals in a millisecond of the flood, and how long it lasts.
const PER_MILLISECOND: u64 = 100;
const FLOOD: Duration = Duration::from_secs(10);
/// Containers that are stopped meanwhile; every other one is killed, because it ignores the stop signal.
const STOPPED: usize = 40;
const EACH: Duration = Duration::from_millis(200);
/// Processes that go at once.
const CROWD: usize = 20_000;

pub(crate) fn run() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        flood().await?;
        crowd().await
    })
}

async fn flood() -> Result<()> {
    let tree = Tree::new()?;
    let mut daemon = Daemon::start(&Settings::default(), Forms::default())?;
    stage::keep_rings()?;
    let (mut sent, told) = std::io::pipe()?;
    let noisy = tree.container(0, || {
        stage::ignore(Signal::TERM);
        stage::child(|| flood_self(told.as_raw_fd()));
        stage::sleep()
    })?;
    let containers = (1..=STOPPED)
        .map(|number| {
            let ignores = number % 2 == 0;
            let (mut ready, mark) = std::io::pipe()?;
            let container = tree.container(number, || {
                if ignores {
                    stage::ignore(Signal::TERM);
                } else {
                    stage::block(Signal::TERM);
                }
                stage::mark(mark.as_raw_fd());
                if ignores { stage::sleep() } else { stage::end_at(Signal::TERM) }
            })?;
            ready.read_exact(&mut [0])?;
            Ok(container)
        })
        .collect::<Result<Vec<_>>>()?;
    // So that all of them are known; then a window opens, in which everything that happens is recorded.
    daemon.follow_for(EACH).await?;
    noisy.signal(Signal::TERM);
    let (before, begun) = (daemon.counters().events(), Instant::now());
    let mut verdicts = HashMap::new();
    let mut left = containers.iter();
    while begun.elapsed() < FLOOD || !left.as_slice().is_empty() {
        if let Some(container) = left.next() {
            container.signal(Signal::TERM);
            collect(&mut daemon, &mut verdicts, EACH / 2).await?;
            container.signal(Signal::KILL);
        }
        collect(&mut daemon, &mut verdicts, EACH / 2).await?;
    }
    let seconds = begun.elapsed().as_secs_f64();
    let events = daemon.counters().events() - before;
    let deadline = Instant::now() + PATIENCE;
    while verdicts.len() < STOPPED && Instant::now() < deadline {
        collect(&mut daemon, &mut verdicts, EACH).await?;
    }
    noisy.signal(Signal::KILL);
    let mut number = [0; 8];
    sent.read_exact(&mut number)?;
    let sent = u64::from_ne_bytes(number);
    Figure::one(NAME, "signals of the flood", "a second", sent as f64 / FLOOD.as_secs_f64()).print()?;
    Figure::one(NAME, "records read meanwhile", "a second", events as f64 / seconds).print()?;
    print_losses("in the flood", daemon.losses())?;
    let mut wrong = 0;
    for container in &containers {
        let expected = if container.number.is_multiple_of(2) { Outcome::Forced } else { Outcome::Graceful };
        let outcome = verdicts.get(&container.cgroup).map(|shutdown| shutdown.verdict.outcome);
        // Where records were lost, nothing is known: that is said, and is not wrong.
        if outcome != Some(expected) && outcome != Some(Outcome::Unknown) {
            eprintln!("a wrong verdict on {}: {outcome:?}", container.number);
            wrong += 1;
        }
    }
    let unknown = verdicts.values().filter(|shutdown| shutdown.verdict.outcome == Outcome::Unknown).count();
    Figure::one(NAME, format!("wrong or no verdicts of {STOPPED} stops in the flood"), "verdicts", f64::from(wrong))
        .limit(Limit::AtMost(0.0))
        .remark(format!("{unknown} are unknown"))
        .print()
}

/// Signals itself at an even pace for as long as the flood lasts, and tells how often it did.
fn flood_self(told: std::os::fd::RawFd) -> i32 {
    let begun = Instant::now();
    let (mut sent, whole) = (0_u64, FLOOD);
    while begun.elapsed() < whole {
        let due = u64::try_from(begun.elapsed().as_micros()).unwrap_or(0) * PER_MILLISECOND / 1_000;
        while sent < due {
            stage::send_self(Signal::WINCH, 1);
            sent += 1;
        }
        stage::rest(Duration::from_micros(100));
    }
    stage::tell(told, &sent.to_ne_bytes());
    0
}

async fn crowd() -> Result<()> {
    let tree = Tree::new()?;
    let mut daemon = Daemon::start(&Settings::default(), Forms::default())?;
    stage::keep_rings()?;
    let (ready, mark) = std::io::pipe()?;
    let container = tree.container(0, || {
        stage::block(Signal::TERM);
        for _ in 0..CROWD {
            if stage::child(|| stage::sleep()) < 0 {
                break;
            }
        }
        stage::mark(mark.as_raw_fd());
        stage::end_at(Signal::TERM)
    })?;
    let mut ready = tokio::task::spawn_blocking(move || {
        let mut ready = ready;
        ready.read_exact(&mut [0])
    });
    let deadline = Instant::now() + PATIENCE;
    while !ready.is_finished() {
        ensure!(Instant::now() < deadline, "{CROWD} processes were not made in {PATIENCE:?}");
        daemon.follow_for(EACH).await?;
    }
    (&mut ready).await??;
    let processes = container.processes()? - 1;
    let (before, deadline) = (daemon.losses(), Instant::now() + PATIENCE);
    container.signal(Signal::TERM);
    let mut verdicts = HashMap::new();
    while verdicts.is_empty() {
        ensure!(Instant::now() < deadline, "no verdict fell on {processes} processes");
        collect(&mut daemon, &mut verdicts, EACH).await?;
    }
    container.reap();
    let shutdown = verdicts.remove(&container.cgroup).context("the verdict is another's")?;
    let fewer = if processes < CROWD { format!(", of {CROWD} that were asked for") } else { String::new() };
    Figure::one(NAME, "processes that went at once", "processes", processes as f64)
        .remark(format!("verdict {}{fewer}", shutdown.verdict.outcome.name()))
        .print()?;
    print_losses("as they went", since(daemon.losses(), before))?;
    let right = matches!(shutdown.verdict.outcome, Outcome::ChildrenKilled | Outcome::Unknown);
    Figure::one(NAME, "wrong verdicts on them", "verdicts", f64::from(!right)).limit(Limit::AtMost(0.0)).print()
}

fn since(now: Losses, before: Losses) -> Losses {
    Losses {
        ring_full: now.ring_full - before.ring_full,
        init_ring_full: now.init_ring_full - before.init_ring_full,
        map_full: now.map_full - before.map_full,
        short_record: now.short_record - before.short_record,
        program_skipped: now.program_skipped - before.program_skipped,
    }
}

fn print_losses(when: &str, losses: Losses) -> Result<()> {
    let none = Limit::AtMost(0.0);
    let of_shutdowns = (losses.init_ring_full + losses.map_full + losses.program_skipped) as f64;
    Figure::one(NAME, format!("stop signals, kills and exits of inits lost {when}"), "records", of_shutdowns)
        .limit(none)
        .print()?;
    Figure::one(NAME, format!("other records lost {when}"), "records", (losses.ring_full + losses.short_record) as f64)
        .print()
}

/// The verdicts that fall within a time.
async fn collect(daemon: &mut Daemon, verdicts: &mut HashMap<CgroupId, Shutdown>, within: Duration) -> Result<()> {
    let all = async {
        loop {
            let shutdown = daemon.next_shutdown().await?;
            verdicts.insert(shutdown.container.cgroup, shutdown);
        }
    };
    let ended: Result<std::io::Result<()>, _> = tokio::time::timeout(within, all).await;
    ended.map_or(Ok(()), |ended| ended.context("the rings cannot be read"))
}
