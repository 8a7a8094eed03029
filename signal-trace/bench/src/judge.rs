//! The pure core: how fast it is, what a shutdown in the making takes, and how both grow with the node.
//!
//! It waits for nothing, so what is measured is the processor's time of this thread, whatever else the machine does.

use std::hint::black_box;
use std::io::Cursor;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use signal_trace::audit::assess;
use signal_trace::audit::report::Period;
use signal_trace::audit::source::Window;
use signal_trace::audit::source::records::Records;
use signal_trace::audit::tally::Tallies;
use signal_trace::judge::shutdown::{ContainerFacts, Outcome, PodFacts, Shutdown, Workload};
use signal_trace::judge::{Judge, Output};
use signal_trace::policy::file::Policy;
use signal_trace::report::clock::WallClock;
use signal_trace::report::json::{Record, write_line};

use crate::figure::{Figure, Limit, exponent, spread};
use crate::heap;
use crate::stage;
use crate::world::{Inputs, World};

/// A usual node: so many containers, all of which are stopped at once, with as many processes besides init.
const CONTAINERS: usize = 500;
const CHILDREN: usize = 3;
const ROUNDS: usize = 15;
/// Workers that come, are signalled and go in each of them.
const WORKERS: usize = 100;

/// What is measured for how it grows, smallest first.
const NODE_SIZES: [usize; 5] = [1, 10, 100, 500, 2_000];
const CROWDS: [usize; 5] = [1, 10, 100, 1_000, 20_000];
const FLEETS: [usize; 4] = [10, 100, 1_000, 5_000];
const RECORDS_PER_NODE: usize = 8;
const GROWTH_ROUNDS: usize = 5;
const LINEAR: Limit = Limit::AtMost(1.1);

/// Speed and size.
pub(crate) fn run() -> Result<()> {
    const NAME: &str = "judge";
    let inputs = life(CONTAINERS, CHILDREN);
    let (mut rates, mut lives) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        rates.push(events_a_second()? / 1e6);
        lives.push(CONTAINERS as f64 / timed(&inputs)?);
    }
    Figure::of(
        NAME,
        format!("births, signals and ends in {CONTAINERS} containers that are being stopped"),
        "million a second",
        &rates,
    )
    .limit(Limit::AtLeast(5.0))
    .print()?;
    Figure::of(NAME, format!("whole lives of containers, {} processes each", CHILDREN + 1), "a second", &lives)
        .print()?;
    let mut world = World::new();
    (0..CONTAINERS).for_each(|number| world.start(number, CHILDREN));
    let (mut judge, running) = heap::growth(|| play(&world.inputs, Judge::default()).0);
    world.inputs.clear();
    (0..CONTAINERS).for_each(|number| world.stop(number));
    let (_, open) = heap::growth(|| {
        let mut out = Vec::new();
        for (now, input) in &world.inputs {
            judge.handle(input.clone(), *now, &mut out);
            out.clear();
        }
        ensure!(judge.open_windows() == CONTAINERS, "a window did not open");
        Ok(())
    });
    let each = |bytes: isize| bytes as f64 / CONTAINERS as f64;
    let what = |thing| format!("{thing}, {} processes", CHILDREN + 1);
    Figure::one(NAME, what("a container that runs"), "bytes", each(running)).print()?;
    Figure::one(NAME, what("an open window besides"), "bytes", each(open)).print()
}

/// How it grows.
pub(crate) fn scale() -> Result<()> {
    const NAME: &str = "scale";
    growth(NAME, "containers that are stopped at once", &NODE_SIZES, |size| timed(&life(size, CHILDREN)))?;
    growth(NAME, "processes of one container", &CROWDS, |size| timed(&life(1, size)))?;
    let template = one_record()?;
    growth(NAME, "nodes in an audit of records", &FLEETS, |nodes| audit(&template, nodes))
}

/// A fixed piece of work, for who counts its instructions: so many containers stopped. It asks for no time, which valgrind
/// hides the way to.
pub(crate) fn work(containers: usize) -> Result<()> {
    let (_, shutdowns) = play(&life(containers, CHILDREN), Judge::default());
    right(&shutdowns)
}

fn growth(name: &'static str, what: &str, sizes: &[usize], cost: impl Fn(usize) -> Result<f64>) -> Result<()> {
    let mut points = Vec::new();
    for size in sizes {
        let costs = (0..GROWTH_ROUNDS).map(|_| cost(*size)).collect::<Result<Vec<_>>>()?;
        points.push((*size as f64, spread(&costs)[0] * 1e6));
    }
    let (smallest, largest) = (points[0], points[points.len() - 1]);
    let remark = format!("{:.0} µs for {}, {:.0} µs for {}", smallest.1, smallest.0, largest.1, largest.0);
    // What costs the same whatever the size is hides growth among the small ones.
    let upper: Vec<_> = points.windows(2).map(exponent).collect();
    Figure::of(name, format!("exponent of cost by {what}"), "", &upper)
        .limit_for(exponent(&points[points.len() - 3..]), LINEAR)
        .remark(format!("{:.2} over the three largest sizes; {remark}", exponent(&points[points.len() - 3..])))
        .curve("size", points)
        .print()
}

/// How many events a second go through while every container has an open window: no verdict falls meanwhile.
fn events_a_second() -> Result<f64> {
    let mut world = World::new();
    (0..CONTAINERS).for_each(|number| world.start(number, CHILDREN));
    (0..CONTAINERS).for_each(|number| world.stop(number));
    let (mut judge, _) = play(&world.inputs, Judge::default());
    ensure!(judge.open_windows() == CONTAINERS, "a window did not open");
    world.inputs.clear();
    for worker in 0..WORKERS {
        (0..CONTAINERS).for_each(|number| world.work(number, CHILDREN + 1 + worker));
    }
    let mut out = Vec::new();
    let begun = own_time();
    for (now, input) in &world.inputs {
        judge.handle(black_box(input.clone()), *now, &mut out);
    }
    let seconds = own_time() - begun;
    ensure!(out.is_empty(), "the judge asked for something: {out:?}");
    Ok(world.inputs.len() as f64 / seconds)
}

/// Processor time of this thread, in seconds.
fn own_time() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// The whole life of containers that are all there before the first is stopped.
fn life(containers: usize, children: usize) -> Inputs {
    let mut world = World::new();
    (0..containers).for_each(|number| world.start(number, children));
    (0..containers).for_each(|number| world.stop(number));
    (0..containers).for_each(|number| world.end(number, children));
    world.inputs
}

/// Seconds that the judge takes for inputs in which every container that starts shuts down gracefully.
fn timed(inputs: &Inputs) -> Result<f64> {
    let begun = own_time();
    let (_, shutdowns) = play(inputs, Judge::default());
    let seconds = own_time() - begun;
    right(&shutdowns)?;
    Ok(seconds)
}

fn right(shutdowns: &[Shutdown]) -> Result<()> {
    ensure!(!shutdowns.is_empty(), "no verdict fell");
    let wrong = shutdowns.iter().find(|shutdown| shutdown.verdict.outcome != Outcome::Graceful);
    ensure!(wrong.is_none(), "a wrong verdict: {wrong:?}");
    Ok(())
}

fn play(inputs: &Inputs, mut judge: Judge) -> (Judge, Vec<Shutdown>) {
    let (mut out, mut shutdowns) = (Vec::new(), Vec::new());
    for (now, input) in inputs {
        judge.handle(black_box(input.clone()), *now, &mut out);
        shutdowns.extend(out.drain(..).filter_map(Output::into_shutdown));
    }
    (judge, shutdowns)
}

fn one_record() -> Result<String> {
    let (_, mut shutdowns) = play(&life(1, CHILDREN), Judge::default());
    let workload = Workload { kind: "Deployment".to_owned(), name: "checkout-0".to_owned() };
    let pod = PodFacts {
        namespace: "shop".to_owned(),
        name: "checkout-0-1".to_owned(),
        uid: stage::uid(0),
        revision: None,
        workload: Some(workload),
    };
    let facts = ContainerFacts { name: Some("app".to_owned()), pod: Some(pod), ..(*shutdowns[0].container).clone() };
    shutdowns[0].container = Arc::new(facts);
    let clock = WallClock::new(shutdowns[0].opened, "2026-11-22T21:30:00Z".parse()?);
    let mut line = Vec::new();
    write_line(&mut line, &Record::new(&shutdowns[0], "node-0", clock))?;
    Ok(String::from_utf8(line)?)
}

/// Seconds that an audit of so many nodes' records takes.
fn audit(template: &str, nodes: usize) -> Result<f64> {
    let mut text = String::new();
    for node in 0..nodes {
        for record in 0..RECORDS_PER_NODE {
            // Workloads are as many as there are nodes, so that the report grows with them.
            let (id, workload) = (stage::id(node * RECORDS_PER_NODE + record), format!("checkout-{node}"));
            text += &template
                .replace("node-0", &format!("node-{node}"))
                .replace(&stage::id(0), &id)
                .replace("checkout-0", &workload);
        }
    }
    let (policy, now) = (Policy::default(), "2026-11-23T00:00:00Z".parse::<Timestamp>()?);
    let begun = own_time();
    let mut tallies = Tallies::default();
    let mut records = Records::new(&policy, Window::default());
    records.read("", "bench", &mut Cursor::new(text), &mut tallies);
    let report = assess(&tallies, &policy, Period { from: None, to: None }, now);
    let seconds = own_time() - begun;
    let counted = records.counts();
    ensure!(counted.records == (nodes * RECORDS_PER_NODE) as u64, "records are missing: {counted:?}");
    black_box(&report).workloads.first().context("a report without a workload")?;
    Ok(seconds)
}
