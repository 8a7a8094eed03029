//! A day in the life of an agent, by a clock that is made up: a million containers that come, are stopped and go.
//!
//! What an agent keeps is kept here too: the judge's tables, the names of pods, the verdicts that wait for them, the
//! numbers with a scraper that comes every minute, and the last records. Whether that grows is what is asked.

use std::collections::VecDeque;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use signal_trace::judge::{Input, Judge, Output};
use signal_trace::kube::Moment;
use signal_trace::kube::attribution::{Attribution, Update};
use signal_trace::kube::held::{Held, Released};
use signal_trace::kube::pod::{ContainerId, PodRecord};
use signal_trace::report::clock::WallClock;
use signal_trace::report::http::Recent;
use signal_trace::report::json::{Record, write_line};
use signal_trace::report::metrics::format::Format;
use signal_trace::report::metrics::{Build, Metrics, Settings};

use crate::api::{self, NODE};
use crate::figure::{Figure, Limit};
use crate::world::{self, World};

const NAME: &str = "churn";
const HOURS: usize = 24;
const SHUTDOWNS: usize = 1_000_000;
/// Containers at a time, each with that many processes besides its init.
const CONTAINERS: usize = 500;
const CHILDREN: usize = 1;
/// Workloads at a time: a new one takes the place of an old one every hundred shutdowns.
const WORKLOADS: usize = 100;
const BETWEEN: u64 = HOURS as u64 * 3_600_000_000_000 / SHUTDOWNS as u64;
const SCRAPE: Duration = Duration::from_secs(60);
const SCRAPER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// What the last hour may have more than the fourth, when everything that is bounded is full.
const FLAT: Limit = Limit::AtMost(1.05);

pub(crate) fn run() -> Result<()> {
    let mut agent = Agent::new()?;
    let mut curve = Vec::new();
    for number in 0..SHUTDOWNS {
        agent.replace(number)?;
        if (number + 1) % (SHUTDOWNS / HOURS) == 0 {
            curve.push((((number + 1) / (SHUTDOWNS / HOURS)) as f64, resident()? / f64::from(1 << 20)));
        }
    }
    ensure!(agent.told + CONTAINERS >= SHUTDOWNS, "{} of {SHUTDOWNS} were told", agent.told);
    ensure!(agent.unattributed == 0, "{} belong to nobody", agent.unattributed);
    let (early, late) = (curve[3].1, curve[curve.len() - 1].1);
    Figure::one(NAME, format!("own memory after {HOURS} h and {SHUTDOWNS} shutdowns / after 4 h"), "×", late / early)
        .limit(FLAT)
        .remark(format!("{:.1} MiB after an hour, {early:.1} after four, {late:.1} at the end", curve[0].1))
        .curve("hours", curve)
        .print()
}

/// The parts of an agent that keep anything.
struct Agent {
    world: World,
    judge: Judge,
    names: Attribution,
    held: Held,
    metrics: Metrics,
    recent: Recent,
    template: PodRecord,
    live: VecDeque<usize>,
    next_scrape: u64,
    told: usize,
    unattributed: usize,
}

impl Agent {
    fn new() -> Result<Self> {
        let world = World::new();
        let metrics = Metrics::new(Settings::default(), Build::default(), world.now());
        let template = PodRecord::from(&serde_json::from_value(api::pod(0))?);
        let (judge, names, held) = (Judge::default(), Attribution::default(), Held::default());
        let (recent, live, next_scrape) = (Recent::default(), VecDeque::new(), 0);
        Ok(Self { world, judge, names, held, metrics, recent, template, live, next_scrape, told: 0, unattributed: 0 })
    }

    /// One more comes, and the oldest goes once there are enough.
    fn replace(&mut self, number: usize) -> Result<()> {
        self.names.apply(self.pod(number), self.moment(), &mut Vec::new());
        self.world.start(number, CHILDREN);
        self.play()?;
        self.live.push_back(number);
        if self.live.len() > CONTAINERS
            && let Some(oldest) = self.live.pop_front()
        {
            self.world.stop(oldest);
            self.world.end(oldest, CHILDREN);
            let pod = self.pod(oldest);
            self.names.delete(pod, self.moment(), &mut Vec::new());
            self.play()?;
            let (id, now) = (world::id(oldest), self.moment());
            self.names.container_gone(id, now);
            self.metrics.container_gone(id, now.kernel);
        }
        self.world.pass(BETWEEN);
        self.scrape()
    }

    /// What the world said since the last time goes the way that it goes in the agent.
    fn play(&mut self) -> Result<()> {
        let mut out = Vec::new();
        for (now, input) in std::mem::take(&mut self.world.inputs) {
            let made = if let Input::Cgroup(signal_trace::judge::CgroupChange::Made(cgroup)) = &input {
                Some(cgroup.clone())
            } else {
                None
            };
            self.judge.handle(input, now, &mut out);
            if let Some(cgroup) = made {
                let mut updates = Vec::new();
                self.names.container_found(&cgroup, self.moment(), &mut updates);
                for update in updates {
                    if let Update::Spec(id, spec) = update {
                        if let Some(facts) = &spec.facts {
                            self.metrics.container_seen(facts, spec.grace.period, now);
                        }
                        self.judge.handle(Input::Spec(id, spec), now, &mut out);
                    }
                }
            }
        }
        let mut released = Vec::new();
        let now = self.moment();
        for shutdown in out.into_iter().filter_map(Output::into_shutdown) {
            self.held.take(Box::new(shutdown), &self.names, now.kernel, &mut released);
        }
        self.held.release(&self.names, now.kernel, &mut released);
        for released in released {
            let (Released::Attributed(shutdown) | Released::Unattributed(shutdown, _)) = &released;
            self.unattributed += usize::from(matches!(released, Released::Unattributed(..)));
            self.told += 1;
            let mut line = Vec::new();
            write_line(&mut line, &Record::new(shutdown, NODE, WallClock::new(now.kernel, now.wall)))?;
            self.recent.push(String::from_utf8_lossy(&line).trim_end());
            self.metrics.shutdown(shutdown, now.kernel);
        }
        Ok(())
    }

    fn scrape(&mut self) -> Result<()> {
        let now = self.world.now();
        if now.0 >= self.next_scrape {
            let (_, ticket) = self.metrics.scrape(SCRAPER, now).render(Format::OpenMetrics)?;
            self.metrics.scraped(&ticket);
            self.next_scrape = now.after(SCRAPE).0;
        }
        Ok(())
    }

    fn pod(&self, number: usize) -> PodRecord {
        let workload = format!("checkout-{}", number % WORKLOADS + number / 100 / WORKLOADS * WORKLOADS);
        let mut pod = self.template.clone();
        pod.uid = crate::stage::uid(number).into();
        pod.name = format!("{workload}-{number}").into();
        pod.containers[0].id = Some(ContainerId::new(&crate::stage::id(number)));
        if let Some(owner) = &mut pod.owner {
            owner.uid = format!("e870ab49-{workload}").into();
            owner.name = workload.into();
        }
        pod
    }

    fn moment(&self) -> Moment {
        let kernel = self.world.now();
        let wall = Timestamp::from_nanosecond(1_795_000_000_000_000_000 + i128::from(kernel.0)).unwrap_or_default();
        Moment { kernel, wall }
    }
}

/// Bytes of this process that are no file's.
fn resident() -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("no RssAnon in /proc")?;
    Ok(line.split_whitespace().next().context("a number")?.parse::<f64>()? * 1024.0)
}
