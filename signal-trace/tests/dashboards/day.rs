//! A made day of a small cluster: three nodes, a dozen workloads, one that got worse with a release at noon, one that was
//! mended in the morning. What happens is made up; what comes of it is counted, held and written by the agent's own
//! metrics, scraped every three minutes of that day.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use signal_trace::containers::Runtime;
use signal_trace::event::CgroupId;
use signal_trace::judge::shutdown::{Cause, ContainerFacts, Outcome, PodFacts, Shutdown, Workload};
use signal_trace::report::metrics::format::Format;
use signal_trace::report::metrics::{Gauges, KernelEvent, KubeEvent, LossReason, Metrics, Settings, Unattributed};

use super::support::{at, metrics, stop, text};

/// When it ends: midnight of 2026-11-20, UTC.
pub(crate) const END: u64 = 1_795_219_200;
pub(crate) const LENGTH: u64 = 24 * 3600;
/// Between two scrapes.
const STEP: u64 = 180;
const NODES: [&str; 3] = ["node-a:9469", "node-b:9469", "node-c:9469"];

/// A workload, and how it ends.
struct Habits {
    namespace: &'static str,
    kind: &'static str,
    name: &'static str,
    container: &'static str,
    grace: u64,
    /// Of its shutdowns on one node, in an hour of the day's middle.
    hourly: u64,
    ways: &'static [Way],
}

/// One way in which it ends, between two hours of the day.
struct Way {
    hours: (u64, u64),
    /// Against the others of the same hour.
    weight: u64,
    verdict: (Outcome, Cause),
    /// How long that takes, in hundredths of a second; whoever exceeds the grace period takes as long as that is.
    takes: (u64, u64),
}

const ALL_DAY: (u64, u64) = (0, 24);

const fn way(hours: (u64, u64), weight: u64, outcome: Outcome, cause: Cause, takes: (u64, u64)) -> Way {
    Way { hours, weight, verdict: (outcome, cause), takes }
}

const fn well(weight: u64, takes: (u64, u64)) -> Way {
    way(ALL_DAY, weight, Outcome::Graceful, Cause::None, takes)
}

const fn killed(weight: u64, cause: Cause) -> Way {
    way(ALL_DAY, weight, Outcome::GraceExceeded, cause, (0, 0))
}

const CLUSTER: [Habits; 12] = [
    Habits {
        namespace: "shop",
        kind: "Deployment",
        name: "checkout",
        container: "app",
        grace: 30,
        hourly: 5,
        // The release of noon starts the program from a shell.
        ways: &[
            way((0, 12), 12, Outcome::Graceful, Cause::None, (60, 900)),
            way((0, 12), 1, Outcome::GraceExceeded, Cause::Stuck, (0, 0)),
            way((12, 24), 9, Outcome::GraceExceeded, Cause::NotForwarded, (0, 0)),
            way((12, 24), 1, Outcome::Graceful, Cause::None, (60, 900)),
        ],
    },
    Habits {
        namespace: "shop",
        kind: "Deployment",
        name: "cart",
        container: "app",
        grace: 30,
        hourly: 4,
        ways: &[
            way((0, 8), 1, Outcome::GraceExceeded, Cause::Ignored, (0, 0)),
            way((8, 24), 30, Outcome::Graceful, Cause::None, (20, 250)),
        ],
    },
    Habits {
        namespace: "shop",
        kind: "Deployment",
        name: "catalogue",
        container: "app",
        grace: 30,
        hourly: 6,
        ways: &[well(40, (10, 180)), way(ALL_DAY, 1, Outcome::DiedOnSignal, Cause::NoHandler, (1, 4))],
    },
    Habits {
        namespace: "shop",
        kind: "StatefulSet",
        name: "orders-db",
        container: "postgres",
        grace: 120,
        hourly: 1,
        ways: &[well(8, (800, 6000)), killed(1, Cause::ChildTooSlow)],
    },
    Habits {
        namespace: "payments",
        kind: "Deployment",
        name: "ledger",
        container: "java",
        grace: 60,
        hourly: 3,
        ways: &[well(10, (900, 4500)), killed(2, Cause::Stuck), killed(1, Cause::PrestopOverrun)],
    },
    Habits {
        namespace: "payments",
        kind: "Deployment",
        name: "fraud-rules",
        container: "worker",
        grace: 30,
        hourly: 3,
        ways: &[
            way(ALL_DAY, 5, Outcome::ChildrenKilled, Cause::NotAwaited, (5, 60)),
            well(4, (100, 600)),
            way(ALL_DAY, 1, Outcome::OomKilled, Cause::None, (200, 900)),
        ],
    },
    Habits {
        namespace: "data",
        kind: "CronJob",
        name: "nightly-export",
        container: "export",
        grace: 30,
        hourly: 2,
        ways: &[killed(3, Cause::Ignored), well(2, (50, 800))],
    },
    Habits {
        namespace: "data",
        kind: "Job",
        name: "reindex",
        container: "reindex",
        grace: 30,
        hourly: 1,
        ways: &[way(ALL_DAY, 2, Outcome::DiedOnSignal, Cause::NoHandler, (1, 3)), well(3, (30, 700))],
    },
    Habits {
        namespace: "data",
        kind: "StatefulSet",
        name: "queue",
        container: "broker",
        grace: 60,
        hourly: 1,
        ways: &[well(9, (500, 3000)), way(ALL_DAY, 1, Outcome::Crashed, Cause::None, (100, 900))],
    },
    Habits {
        namespace: "web",
        kind: "Deployment",
        name: "gateway",
        container: "nginx",
        grace: 30,
        hourly: 8,
        ways: &[well(60, (5, 150)), killed(1, Cause::PartiallyForwarded)],
    },
    Habits {
        namespace: "web",
        kind: "Deployment",
        name: "frontend",
        container: "node",
        grace: 30,
        hourly: 6,
        ways: &[well(7, (20, 400)), killed(2, Cause::NotForwarded)],
    },
    Habits {
        namespace: "web",
        kind: "DaemonSet",
        name: "edge-cache",
        container: "varnish",
        grace: 20,
        hourly: 1,
        ways: &[well(6, (10, 120)), way(ALL_DAY, 1, Outcome::Unknown, Cause::Unknown, (100, 200))],
    },
];

/// Writes everything that the three agents said in that day, as OpenMetrics text.
pub(crate) fn write(samples: &mut dyn Write) {
    let mut dice = Dice(1);
    let agents = NODES.map(|_| metrics(Settings::default()));
    for (number, agent) in (0..).zip(&agents) {
        for (cgroup, habits) in (1..).zip(&CLUSTER) {
            agent.container_seen(&container(habits, cgroup + 100 * number), Some(seconds(habits.grace)), at(0));
        }
    }
    for second in (0..=LENGTH).step_by(usize::try_from(STEP).unwrap()) {
        for (number, (agent, node)) in (0..).zip(agents.iter().zip(NODES)) {
            for (cgroup, habits) in (1..).zip(&CLUSTER) {
                workload(agent, habits, cgroup + 100 * number, second, &mut dice);
            }
            own(agent, number, second, &mut dice);
            let time = END - LENGTH + second;
            agent.last_event(SystemTime::UNIX_EPOCH + seconds(time - dice.below(8)));
            let page = text(agent, at(second), Format::Text);
            scraped(&page, node, time, samples);
        }
    }
    writeln!(samples, "# EOF").unwrap();
}

/// What a workload did in the last minutes: most at daytime, when people release.
fn workload(agent: &Metrics, habits: &Habits, cgroup: u64, second: u64, dice: &mut Dice) {
    let hour = hour(second);
    let share = if (7..19).contains(&hour) { 10 } else { 3 };
    if dice.below(10 * 3600) >= habits.hourly * share * STEP || second == 0 {
        return;
    }
    let ways = || habits.ways.iter().filter(|way| (way.hours.0..way.hours.1).contains(&hour));
    let mut drawn = dice.below(ways().map(|way| way.weight).sum());
    let way = ways().find(|way| {
        let found = drawn < way.weight;
        drawn = drawn.saturating_sub(way.weight);
        found
    });
    let way = way.unwrap();
    agent.shutdown(&ended(habits, cgroup, way, dice), at(second));
    if way.verdict.0 != Outcome::Graceful {
        let again = dice.below(3) == 0;
        agent.kube_event(if again { KubeEvent::Updated } else { KubeEvent::Written });
    }
}

fn ended(habits: &Habits, cgroup: u64, way: &Way, dice: &mut Dice) -> Shutdown {
    let (outcome, cause) = way.verdict;
    let grace = seconds(habits.grace);
    let plain = stop(&container(habits, cgroup), outcome, cause);
    if outcome == Outcome::GraceExceeded {
        let to_exit = Duration::from_micros(200 + dice.below(60) * dice.below(60) * dice.below(60));
        let in_vain = matches!(cause, Cause::Ignored | Cause::NotForwarded | Cause::PartiallyForwarded);
        return Shutdown {
            stop_to_kill: Some(grace),
            stop_to_exit: Some(grace + to_exit),
            kill_to_exit: Some(to_exit),
            avoidable_wait: in_vain.then_some(grace),
            killed: [1, 1 + usize::try_from(dice.below(3)).unwrap(), 0, 0, 0],
            ..plain
        };
    }
    let inside = if outcome == Outcome::ChildrenKilled { 1 } else { 0 };
    let took = way.takes.0 + dice.below(way.takes.1 - way.takes.0);
    Shutdown { stop_to_exit: Some(Duration::from_millis(10 * took)), killed: [0, inside, inside, 0, 0], ..plain }
}

/// What the agent has to do all day, and its one bad quarter of an hour.
fn own(agent: &Metrics, number: u64, second: u64, dice: &mut Dice) {
    let hour = hour(second);
    let busy = if (7..19).contains(&hour) { 4 } else { 1 } + number;
    let often = [2, 30, 30, 30, 0, 1, 1];
    for (kind, often) in KernelEvent::ALL.into_iter().zip(often) {
        agent.kernel_events(kind, often * busy * (20 + dice.below(8)));
    }
    let after = |hours: u64| number == 1 && second >= hours * 3600;
    if after(15) && second < 15 * 3600 + 900 {
        agent.kernel_events(KernelEvent::Fork, 90_000 + dice.below(9000));
    }
    agent.lost(LossReason::RingFull, if after(15) { 412 } else { 0 });
    if dice.below(150) == 0 {
        agent.unattributed(if dice.below(3) == 0 { Unattributed::MetadataLate } else { Unattributed::NoPod });
    }
    if dice.below(60) == 0 {
        agent.kube_event(KubeEvent::DroppedNamespaceGone);
    }
    let count = |count: u64| u32::try_from(count).unwrap();
    agent.gauges(Gauges {
        open_shutdowns: count(dice.below(busy)),
        tracked_containers: count(30 + 9 * number + 2 * busy + dice.below(4)),
        cached_pods: count(24 + 7 * number + busy + dice.below(3)),
        ..Gauges::default()
    });
}

/// The hour of the day.
fn hour(second: u64) -> u64 {
    (second / 3600).min(23)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn container(habits: &Habits, cgroup: u64) -> Arc<ContainerFacts> {
    Arc::new(ContainerFacts {
        cgroup: CgroupId(cgroup),
        cgroup_path: format!("/kubepods/pod{cgroup}/{cgroup}"),
        runtime: Runtime::Containerd,
        id: format!("{cgroup:064x}"),
        name: Some(habits.container.to_owned()),
        image: None,
        pod: Some(PodFacts {
            namespace: habits.namespace.to_owned(),
            name: format!("{}-{cgroup}", habits.name),
            uid: format!("uid-{cgroup}"),
            revision: None,
            workload: Some(Workload { kind: habits.kind.to_owned(), name: habits.name.to_owned() }),
        }),
    })
}

/// A page as Prometheus would have stored it, with the labels of its target.
fn scraped(page: &str, node: &str, time: u64, samples: &mut dyn Write) {
    let target = format!("instance=\"{node}\",job=\"signal-trace\"");
    writeln!(samples, "up{{{target}}} 1 {time}").unwrap();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        match series.split_once('{') {
            Some((name, labels)) => writeln!(samples, "{name}{{{target},{labels} {value} {time}").unwrap(),
            None => writeln!(samples, "{series}{{{target}}} {value} {time}").unwrap(),
        }
    }
}

/// The same throws every time.
struct Dice(u64);

impl Dice {
    /// From 0 on, evenly as far as that matters here.
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound.max(1)
    }
}
