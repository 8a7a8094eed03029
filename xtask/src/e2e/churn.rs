//! `--churn`: what the agent takes while containers come and go, and how soon it says what it saw.
//!
//! Two kinds of containers: those of real pods, and a crowd that runc alone starts and that we stop ourselves, which
//! makes more shutdowns than a kubelet could. Processor time and memory are taken while nobody asks for metrics; how
//! soon a shutdown is in them is measured afterwards, by asking all the time.

mod crowd;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::agent::{self as tested, Agent};
use super::board::{Seen, is};
use super::case::State;
use super::faults::{Lab, good, wrapper};
use super::metrics::Metrics;
use super::node::NAME;
use crate::{child, table};
use crowd::Crowd;

/// Real pods at a time; as many are replaced in a minute.
const PODS: usize = 60;
/// Containers of the crowd at a time: five hundred with those of the pods, which have a sandbox each.
const CROWD: usize = 500 - 2 * PODS;
/// Containers of the crowd that are replaced in a minute.
const CROWD_PER_MINUTE: usize = 300;
/// Pods that are replaced in one go.
const BATCH: usize = 5;
/// Batches of a minute.
const TICKS: usize = PODS / BATCH;
/// Batches while the metrics are asked for: enough that one of them that came late is not yet one in a hundred.
const ASKED_TICKS: usize = 4 * TICKS;
const TICK: Duration = Duration::from_secs(60 / TICKS as u64);
/// How long the last words may take.
const BOUND: Duration = Duration::from_secs(120);
/// Between two questions for the metrics.
const ASK: Duration = Duration::from_millis(5);

/// At most, of one core.
const CPU_PER_CENT: f64 = 5.0;
const RESIDENT_MIB: f64 = 24.0;
/// At most, of 99 in 100.
const TO_METRIC: Duration = Duration::from_millis(50);
const TO_EVENT: Duration = Duration::from_secs(2);

/// The agent at one moment.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Instant,
    cpu: Duration,
    /// The kernel's rings are mapped twice, one time after the other, and are there once: the proportional size says so.
    resident_mib: f64,
    /// The part of it that is no file: not the program, nor the kernel's rings.
    own_mib: f64,
}

/// When what was said came to be known here.
#[derive(Debug, Default)]
struct Heard {
    /// In the order of the board's records.
    records: Vec<SystemTime>,
    /// By the name of the pod that they are about.
    events: BTreeMap<String, SystemTime>,
}

/// What is churned.
struct Churn<'a, 'l> {
    lab: &'a Lab<'l>,
    agent: &'a Agent,
    crowd: Crowd,
    namespace: String,
    pods_deleted: usize,
    crowd_stopped: usize,
}

/// Plays it, prints its table, and fails where something was lost or a limit was missed.
pub(crate) fn run(lab: &Lab<'_>, minutes: usize) -> Result<()> {
    let agent = lab.agent()?;
    let listen = AtomicBool::new(true);
    let (lines, metric_lag, heard) = std::thread::scope(|scope| {
        let ear = scope.spawn(|| listen_to(lab, &listen));
        let crowd = Crowd::create(&lab.cluster.bin)?;
        let namespace = lab.namespace("churn");
        let mut churn = Churn { lab, agent: &agent, crowd, namespace, pods_deleted: 0, crowd_stopped: 0 };
        let played = churn.play(minutes);
        listen.store(false, Ordering::Relaxed);
        let heard = ear.join().ok().context("the ear")?;
        let (lines, metric_lag) = played?;
        anyhow::Ok((lines, metric_lag, heard))
    })?;
    let mut lines = lines;
    let seen = lab.board.look();
    for (what, of_pods) in [("end of one of the crowd to its record", false), ("end of a pod's to its record", true)] {
        let told = seen.records.iter().zip(&heard.records).filter(|(record, _)| record["pod"].is_object() == of_pods);
        let lags = told.filter_map(|(record, at)| Some(lag(end(record)?, *at)));
        lines.push(percentiles(what, lags.collect(), None));
    }
    lines.push(percentiles("end of a pod's to its metric", metric_lag, Some(TO_METRIC)));
    let said: BTreeMap<_, _> =
        seen.records.iter().zip(&heard.records).map(|(record, at)| (text(&record["pod"]["name"]), *at)).collect();
    let event_lag = heard.events.iter().filter_map(|(pod, at)| Some(lag(*said.get(&**pod)?, *at)));
    lines.push(percentiles("record to its event in the API", event_lag.collect(), Some(TO_EVENT)));
    drop(seen);
    let rows: Vec<_> = lines.iter().map(Line::row).collect();
    print!("\n{}", table::render(["churn", "measured", "at most", "result"], &rows));
    agent.end()?;
    let missed: Vec<_> = lines.iter().filter(|line| !line.good).map(|line| line.what).collect();
    ensure!(missed.is_empty(), "missed: {}", missed.join(", "));
    Ok(())
}

impl Churn<'_, '_> {
    /// All phases; what was measured, and how long the metrics lagged.
    fn play(&mut self, minutes: usize) -> Result<(Vec<Line>, Vec<Duration>)> {
        let alone = self.sample()?;
        for _ in 0..CROWD {
            self.crowd.start()?;
            self.lab.board.interrupt.check()?;
        }
        let deployments = [deployment("loud", wrapper("x", 1)), deployment("good", good("x", 5))];
        self.lab.cluster.create(&self.namespace, &deployments)?;
        self.lab.until(&self.namespace, "*", PODS, State::Ready)?;
        self.lab.known(&self.namespace)?;
        let tracked = tested::scrape()?.total("signal_trace_tracked_containers");
        let mut samples = vec![self.sample()?];
        for minute in 1..=minutes {
            self.minute()?;
            let sample = self.sample()?;
            anstream::eprintln!("{0}minute {minute}: {1:.1} MiB{0:#}", child::QUIET, sample.own_mib);
            samples.push(sample);
        }
        self.lab.until(&self.namespace, "*", PODS, State::Ready)?;
        self.settle()?;
        let metric_lag = self.ask_while_pods_end()?;
        let metrics = tested::scrape()?;
        let (first, last) = (samples[0], samples[samples.len() - 1]);
        let wall = last.at.duration_since(first.at);
        let of_core =
            |from: &Sample, to: &Sample| 100.0 * (to.cpu - from.cpu).div_duration_f64(to.at.duration_since(from.at));
        let worst = samples.windows(2).map(|pair| of_core(&pair[0], &pair[1])).fold(0.0, f64::max);
        let most = samples.iter().map(|sample| sample.resident_mib).fold(0.0, f64::max);
        let (wanted, got) = (self.ended(), self.records());
        let lost = metrics.total("signal_trace_kernel_events_lost_total");
        let dropped = self.dropped(&metrics);
        Ok((
            vec![
                Line::plain("containers watched", format!("{tracked}")),
                Line::plain(
                    "stopped while measured",
                    format!(
                        "{} of the crowd and {} pods in {:.0} s",
                        self.crowd_stopped,
                        minutes * PODS,
                        wall.as_secs_f64()
                    ),
                ),
                Line::new(
                    "records of all that was stopped",
                    format!("{got} of {wanted}"),
                    format!("{wanted}"),
                    got == wanted,
                ),
                Line::new("records of the kernel that were lost", format!("{lost}"), "0".into(), lost == 0.0),
                Line::new("events that were dropped", format!("{dropped}"), "0".into(), dropped == 0.0),
                Line::new(
                    "processor",
                    format!("{:.2} % of a core, {worst:.2} % in the worst minute", of_core(&first, &last)),
                    format!("{CPU_PER_CENT} %"),
                    worst <= CPU_PER_CENT,
                ),
                Line::new(
                    "resident",
                    format!(
                        "{:.1} MiB at first, {:.1} at last, {most:.1} at most; {:.1} before there was a container",
                        first.resident_mib, last.resident_mib, alone.resident_mib
                    ),
                    format!("{RESIDENT_MIB} MiB"),
                    most <= RESIDENT_MIB,
                ),
                Line::plain(
                    "of which its own",
                    format!(
                        "{:.1} MiB at first, {:.1} at last; {:.1} before there was a container",
                        first.own_mib, last.own_mib, alone.own_mib
                    ),
                ),
            ],
            metric_lag,
        ))
    }

    /// A minute in which everything is replaced at an even pace, or longer where the machine is slower.
    fn minute(&mut self) -> Result<()> {
        let begun = Instant::now();
        for tick in 0..TICKS {
            self.delete_pods()?;
            let each = TICK / u32::try_from(CROWD_PER_MINUTE / TICKS)?;
            let due = begun + TICK * u32::try_from(tick + 1)?;
            for left in (0..CROWD_PER_MINUTE / TICKS).rev() {
                self.crowd.stop()?;
                self.crowd_stopped += 1;
                self.crowd.start()?;
                self.lab.endure(due - each * u32::try_from(left)?)?;
            }
        }
        Ok(())
    }

    /// Waits until everything was said that is to be said so far.
    fn settle(&self) -> Result<()> {
        let wanted = self.ended();
        let ours = |seen: &Seen| (ours(&seen.records).count() >= wanted).then_some(());
        let said = self.lab.board.wait(Instant::now() + BOUND, ours)?;
        // What is missing is said in the table.
        if said.is_none() {
            anstream::eprintln!("{0}records are missing: {1} of {wanted}{0:#}", child::ERROR, self.records());
        }
        Ok(())
    }

    /// Deletes more pods, and asks for the metrics all the time; how long after its end each was counted.
    fn ask_while_pods_end(&mut self) -> Result<Vec<Duration>> {
        let before = self.records();
        let counted = || Ok::<_, anyhow::Error>(tested::scrape()?.total("signal_trace_shutdowns_total"));
        // A new series shows its 0 first.
        self.lab.metrics("all so far is counted", |metrics| {
            metrics.total("signal_trace_shutdowns_total") >= self.pods_deleted as f64
        })?;
        let base = counted()?;
        let mut seen = Vec::new();
        for batch in 1..=ASKED_TICKS {
            self.delete_pods()?;
            let deadline = Instant::now() + BOUND;
            let wanted = batch * BATCH;
            while seen.len() < wanted {
                ensure!(Instant::now() < deadline, "{} of {wanted} shutdowns were counted", seen.len());
                self.lab.board.interrupt.check()?;
                let new = counted()? - base;
                let at = SystemTime::now();
                while (seen.len() as f64) < new {
                    seen.push(at);
                }
                std::thread::sleep(ASK);
            }
        }
        self.settle()?;
        let board = self.lab.board.look();
        let mut ends: Vec<_> = ours(&board.records).skip(before).filter_map(end).collect();
        ends.sort();
        Ok(ends.into_iter().zip(seen).map(|(end, seen)| lag(end, seen)).collect())
    }

    /// Deletes some that are ready; their Deployment makes others.
    fn delete_pods(&mut self) -> Result<()> {
        let ready = |seen: &Seen| {
            let lives = |pod: &&Value| is(pod, State::Ready) && !is(pod, State::Terminating);
            let names: Vec<_> = seen
                .pods_of(&self.namespace)
                .filter(lives)
                .map(|pod| text(&pod["metadata"]["name"]).to_owned())
                .collect();
            // Some of each kind: they are in the order of their names.
            let some: Vec<_> =
                names.chunks((names.len() / BATCH).max(1)).take(BATCH).map(|chunk| chunk[0].clone()).collect();
            (some.len() == BATCH).then_some(some)
        };
        let names = self.lab.board.wait(Instant::now() + BOUND, ready)?.context("no pods are ready")?;
        self.pods_deleted += BATCH;
        self.lab.delete(&self.namespace, &names.join(" "))
    }

    /// Containers that were stopped so far.
    fn ended(&self) -> usize {
        self.crowd_stopped + self.pods_deleted
    }

    fn records(&self) -> usize {
        ours(&self.lab.board.look().records).count()
    }

    fn dropped(&self, metrics: &Metrics) -> f64 {
        let written = BTreeMap::from([("result".to_owned(), "written".to_owned())]);
        let all = metrics.total("signal_trace_kube_events_total");
        all - metrics.sum("signal_trace_kube_events_total", &written).unwrap_or_default()
    }

    fn sample(&self) -> Result<Sample> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.agent.pid()))?;
        let memory = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.agent.pid()))?;
        sample(&stat, &memory, rustix::param::clock_ticks_per_second()).context("what /proc says of the agent")
    }
}

/// Notes when records and events come, until it is no longer asked to.
fn listen_to(lab: &Lab<'_>, listen: &AtomicBool) -> Heard {
    let mut heard = Heard::default();
    let mut known = 0;
    while listen.load(Ordering::Relaxed) {
        let deadline = Instant::now() + Duration::from_secs(1);
        let more = |seen: &Seen| {
            (seen.records.len() > heard.records.len() || seen.events.len() > known).then(|| {
                let about = |event: &Value| text(&event["regarding"]["name"]).to_owned();
                (seen.records.len(), seen.events.len(), seen.events.values().map(about).collect::<Vec<_>>())
            })
        };
        let Ok(change) = lab.board.wait(deadline, more) else { break };
        let now = SystemTime::now();
        if let Some((records, events, pods)) = change {
            heard.records.resize(records, now);
            known = events;
            for pod in pods {
                heard.events.entry(pod).or_insert(now);
            }
        }
    }
    heard
}

/// Records of containers of this node: others of this machine may end meanwhile.
fn ours(records: &[Value]) -> impl Iterator<Item = &Value> {
    records.iter().filter(|record| text(&record["container"]["cgroup"]).contains(NAME))
}

/// When the last of a container's processes ended.
fn end(record: &Value) -> Option<SystemTime> {
    let stop: jiff::Timestamp = record["time"].as_str()?.parse().ok()?;
    let last = record["timeline"].as_array()?.last()?["at_seconds"].as_f64()?;
    Some(SystemTime::from(stop) + Duration::try_from_secs_f64(last).ok()?)
}

/// From the first to the second; clocks are converted, so that a moment may seem to come before its cause.
fn lag(from: SystemTime, to: SystemTime) -> Duration {
    to.duration_since(from).unwrap_or_default()
}

fn sample(stat: &str, memory: &str, ticks_per_second: u64) -> Option<Sample> {
    // The name, in brackets, may hold anything; user and system time are the 14th and 15th field.
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    let mib = |name: &str| {
        let kib: f64 =
            memory.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()?;
        Some(kib / 1024.0)
    };
    let cpu = Duration::from_millis(ticks * 1000 / ticks_per_second);
    Some(Sample { at: Instant::now(), cpu, resident_mib: mib("Pss:")?, own_mib: mib("Pss_Anon:")? })
}

/// One line of the table.
struct Line {
    what: &'static str,
    measured: String,
    limit: String,
    good: bool,
}

impl Line {
    fn new(what: &'static str, measured: String, limit: String, good: bool) -> Self {
        Self { what, measured, limit, good }
    }

    fn plain(what: &'static str, measured: String) -> Self {
        Self::new(what, measured, String::new(), true)
    }

    fn row(&self) -> [String; 4] {
        let result = if self.good { "ok" } else { "missed" };
        [self.what.to_owned(), self.measured.clone(), self.limit.clone(), result.to_owned()]
    }
}

/// Nothing measured is a miss where there is a limit.
fn percentiles(what: &'static str, mut lags: Vec<Duration>, limit: Option<Duration>) -> Line {
    lags.sort();
    let at = |hundredths: usize| lags.get((lags.len() * hundredths).div_ceil(100).saturating_sub(1));
    let milliseconds = |lag: Option<&Duration>| lag.map_or("?".into(), |lag| format!("{:.1}", lag.as_secs_f64() * 1e3));
    let measured = format!(
        "p50 {} ms, p99 {} ms, at most {} ms, of {}",
        milliseconds(at(50)),
        milliseconds(at(99)),
        milliseconds(lags.last()),
        lags.len()
    );
    let good = limit.is_none_or(|limit| at(99).is_some_and(|p99| *p99 <= limit));
    Line::new(what, measured, limit.map_or(String::new(), |limit| format!("p99 {} ms", limit.as_millis())), good)
}

/// Half of the pods. They share their series, which are there before the first of them ends.
fn deployment(name: &str, mut pod: Value) -> Value {
    let labels = json!({ "app": name });
    pod["metadata"] = json!({ "labels": labels });
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {
        "replicas": PODS / 2, "selector": {"matchLabels": labels},
        "template": {"metadata": pod["metadata"], "spec": pod["spec"]}}})
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_sampled_whatever_its_name() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 0 0 0 0 0 150 50 0 0 20 0 3 0 99 1 2";
        let sample = sample(stat, "Rss:   4096 kB\nPss:    2048 kB\nPss_Anon:    512 kB\n", 100).unwrap();
        assert_eq!(sample.cpu, Duration::from_secs(2));
        assert_eq!((sample.resident_mib, sample.own_mib), (2.0, 0.5));
    }

    #[test]
    fn the_end_is_that_of_the_last_process() {
        let record = json!({"time": "1970-01-01T00:00:10.5Z", "timeline": [{"at_seconds": 0.0}, {"at_seconds": 1.25}]});
        assert_eq!(end(&record), Some(SystemTime::UNIX_EPOCH + Duration::from_millis(11_750)));
        assert_eq!(end(&json!({"time": "1970-01-01T00:00:10.5Z", "timeline": []})), None);
    }

    #[test]
    fn a_limit_holds_for_99_of_100() {
        let lags = |slow: usize| {
            let fast = std::iter::repeat_n(Duration::from_millis(1), 200 - slow);
            fast.chain(std::iter::repeat_n(Duration::from_secs(1), slow)).collect()
        };
        assert!(percentiles("x", lags(2), Some(TO_METRIC)).good);
        assert!(!percentiles("x", lags(3), Some(TO_METRIC)).good);
        assert!(!percentiles("x", Vec::new(), Some(TO_METRIC)).good, "nothing was measured");
        assert_eq!(percentiles("x", lags(2), None).measured, "p50 1.0 ms, p99 1.0 ms, at most 1000.0 ms, of 200");
    }
}
