//! `chaos`: a node on which, for minutes, pods of every kind end in every way while the API server, the runtime, the
//! kubelet and the agent itself are killed, its log's disk is full and cgroups come and go. `plan` says when, out of a
//! seed; `oracle` holds every verdict against what is true of it by `workload` and `recorder`; what the agent still holds
//! in the end is in `held`.

mod held;
mod oracle;
mod plan;
mod recorder;
mod workload;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::mount::{MountFlags, UnmountFlags};
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;

use super::agent::{self as tested, Agent, Setup};
use super::board::container_id;
use super::faults::Lab;
use super::node::{self, Node, Part, STATE};
use super::runner;
use crate::{child, table};
use held::Held;
use oracle::{Ended, Finding, History, Life, Outage};
use plan::{How, Step, Victim, What};
use recorder::Recorder;
use workload::{Kind, READY};

/// How long anything that is waited for may take, when nothing is broken any longer.
const BOUND: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(50);
/// How often an agent is asked what it lost.
const LOSSES: Duration = Duration::from_secs(1);
/// A pod that is to end is waited for; one that did not come in time, since something was broken, goes unjudged.
const UNTIL_READY: Duration = Duration::from_secs(30);
/// After an outage more pods come and go at once than before it. A node that they are too much for would heal no more.
const MOST_ALIVE: usize = 2 * plan::ALIVE;
/// What the disk of the agent's log holds.
const LOG_DISK: &str = "size=256k";

/// A pod of the plan.
struct Pod {
    kind: Kind,
    name: String,
    /// Known once it is to end, with when that was.
    container: Option<(String, f64)>,
}

/// What is broken for a while, besides the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Broken {
    Part(Victim),
    Log,
}

/// A pod whose turn has come, and which has until then to be ready for it.
struct Due {
    pod: usize,
    how: How,
    until: Instant,
}

/// Everything that the steps change.
struct Chaos<'a, 'l> {
    lab: &'a mut Lab<'l>,
    recorder: &'a Recorder,
    setup: Setup,
    namespace: String,
    logs: PathBuf,
    pods: BTreeMap<usize, Pod>,
    due: Vec<Due>,
    agent: Option<Agent>,
    /// Of the agent that lives, once it is.
    ready: Option<f64>,
    /// Records that it has lost so far, and those before it had lost.
    lost: f64,
    lost_before: f64,
    asked_for_losses: Instant,
    /// Since when what is broken now is.
    broken: BTreeMap<Broken, f64>,
    history: History,
    counts: BTreeMap<&'static str, usize>,
}

/// Plays it, prints what was seen, and fails where anything was wrong.
pub(crate) fn run(lab: &mut Lab<'_>, minutes: u64, seed: u64) -> Result<()> {
    let length = Duration::from_secs(60 * minutes);
    let steps = plan::plan(seed, length);
    anstream::eprintln!("{0}seed {seed}: {1} steps in {minutes} minutes{0:#}", child::GOOD, steps.len());
    let before = held::kernel_objects()?;
    let recorder = Recorder::start(&Path::new(STATE).join("trace"))?;
    let disk = Disk::mount(Path::new(STATE).join("agent"))?;
    let logs = Path::new(STATE).join("oracle");
    fs::create_dir_all(&logs)?;
    let namespace = lab.namespace("chaos");
    lab.cluster.create(&namespace, &[])?;
    let setup = Setup { directory: disk.0.clone(), ..lab.setup.clone() };
    let mut chaos = Chaos {
        lab,
        recorder: &recorder,
        setup,
        namespace,
        logs,
        pods: BTreeMap::new(),
        due: Vec::new(),
        agent: None,
        ready: None,
        lost: 0.0,
        lost_before: 0.0,
        asked_for_losses: Instant::now(),
        broken: BTreeMap::new(),
        history: History::default(),
        counts: BTreeMap::new(),
    };
    chaos.start_agent()?;
    chaos.until("the agent is ready", |chaos| Ok(chaos.ready.is_some()))?;
    let at_first = Held::of(chaos.pid()?)?;
    chaos.play(&steps)?;
    chaos.heal()?;
    let (at_last, lost) = chaos.last_words()?;
    let findings = chaos.findings()?;
    let after = held::kernel_objects_settled(before, Instant::now() + BOUND)?;
    print!("\n{}", table::render(["chaos", "seen"], &chaos.told(&findings)));
    println!(
        "\nthe first agent at its start: {at_first}\nthe last at its end: {at_last}; kernel events lost by all: {lost}"
    );
    println!("programs, maps and links in the kernel: {before} before, {after} after");
    let mut problems = wrong(&findings);
    problems.extend(at_first.grown_to(&at_last));
    problems.extend((after > before).then(|| "the kernel still holds what an agent loaded".to_owned()));
    problems.extend(chaos.judged_twice());
    let strays = chaos.lab.board.look().records.iter().filter(|record| !record.is_object()).count();
    problems.extend((strays > 0).then(|| format!("{strays} lines of the agents are no records")));
    for problem in &problems {
        anstream::eprintln!("{0}wrong:{0:#} {problem}", child::ERROR);
    }
    if !problems.is_empty() {
        let file = chaos.lab.setup.directory.join("records.jsonl");
        let lines: String = chaos.lab.board.look().records.iter().map(|record| format!("{record}\n")).collect();
        fs::write(&file, lines)?;
        anstream::eprintln!("all records: {}", file.display());
    }
    let again = format!("cargo xtask chaos --minutes {minutes} --seed {seed}");
    ensure!(problems.is_empty(), "{} findings; the same steps again: {again}", problems.len());
    Ok(())
}

impl Chaos<'_, '_> {
    fn play(&mut self, steps: &[Step]) -> Result<()> {
        let begun = Instant::now();
        for step in steps {
            // Also when they come late: whose turn has come must not wait for that.
            self.look()?;
            while begun.elapsed() < step.at {
                std::thread::sleep(LOOK.min(step.at.saturating_sub(begun.elapsed())));
                self.look()?;
            }
            self.step(step.what).with_context(|| format!("{:?} after {:?}", step.what, step.at))?;
        }
        Ok(())
    }

    fn step(&mut self, what: What) -> Result<()> {
        match what {
            What::Create { pod, kind, grace } => {
                let name = format!("{}-{pod}", kind.name());
                if self.lab.board.look().pods_of(&self.namespace).count() >= MOST_ALIVE {
                    self.count("pods that the node had no room for");
                    return Ok(());
                }
                let object = kind.pod(&name, grace, &self.logs.to_string_lossy());
                // The server may be away: then there is no such pod.
                if self.lab.cluster.add(&self.namespace, &[object]).is_ok() {
                    self.pods.insert(pod, Pod { kind, name, container: None });
                } else {
                    self.count("pods that could not be created");
                }
                Ok(())
            }
            What::End { pod, how } => {
                self.due.push(Due { pod, how, until: Instant::now() + UNTIL_READY });
                Ok(())
            }
            What::Kill(victim) => {
                self.count(match victim {
                    Victim::Agent => "agent killed",
                    Victim::ApiServer => "API server killed",
                    Victim::Containerd => "containerd killed",
                    Victim::Kubelet => "kubelet killed",
                });
                let Some(part) = part(victim) else { return self.kill_agent() };
                self.broken.insert(Broken::Part(victim), now());
                self.node()?.kill(part)
            }
            What::Start(victim) => {
                let Some(part) = part(victim) else { return self.start_agent() };
                self.node()?.start(part)?;
                self.mended(Broken::Part(victim));
                Ok(())
            }
            What::FillLogs => {
                self.count("log's disk full");
                self.broken.insert(Broken::Log, now());
                // It ends with an error: that there is no more room.
                drop(fs::write(self.filler(), vec![0; 1 << 20]));
                Ok(())
            }
            What::EmptyLogs => {
                fs::remove_file(self.filler())?;
                self.mended(Broken::Log);
                Ok(())
            }
            What::MakeCgroups(count) => {
                *self.counts.entry("cgroups made and removed").or_default() += count;
                node::churn_cgroups(count)
            }
        }
    }

    /// What is done at every moment: whose turn has come ends once it is ready.
    fn look(&mut self) -> Result<()> {
        self.lab.board.interrupt.check()?;
        self.note_ready();
        self.note_losses();
        for due in std::mem::take(&mut self.due) {
            let Some(name) = self.pods.get(&due.pod).map(|pod| pod.name.clone()) else { continue };
            let container = self.ready_container(&name);
            let ended = container.as_ref().is_some_and(|container| self.end(due.pod, &name, container, due.how));
            if !ended && Instant::now() < due.until {
                self.due.push(due);
            } else if !ended {
                self.count(if container.is_some() {
                    "ends that nobody took"
                } else {
                    "pods that were not ready in time"
                });
                // Whatever becomes of that: nothing is said of it.
                drop(self.lab.delete(&self.namespace, &name));
            }
        }
        Ok(())
    }

    /// Its own word counts: a trap is not set when its container begins to run.
    fn ready_container(&self, name: &str) -> Option<String> {
        let written = fs::read_to_string(self.logs.join(name)).is_ok_and(|text| text.contains(READY));
        let key = (self.namespace.clone(), name.to_owned());
        written.then(|| container_id(self.lab.board.look().pods.get(&key)?, "app")).flatten()
    }

    /// Whether it is done: whoever is to do it may be away.
    fn end(&mut self, number: usize, name: &str, container: &str, how: How) -> bool {
        let Ok(members) = node::processes_of(container) else { return false };
        let Some(init) = members.iter().copied().find(|pid| is_init(*pid)) else {
            self.count("pods that had ended by themselves");
            return true;
        };
        self.recorder.watch(container, init, &members);
        if let Some(pod) = self.pods.get_mut(&number) {
            let asked = pod.container.take().map_or_else(now, |(_, asked)| asked);
            pod.container = Some((container.to_owned(), asked));
        }
        let done = match how {
            How::Deleted => self.lab.delete(&self.namespace, name),
            How::Evicted => {
                let path = format!("/api/v1/namespaces/{}/pods/{name}/eviction", self.namespace);
                let metadata = json!({"name": name, "namespace": self.namespace});
                let body = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata});
                self.lab.cluster.post(&path, &body)
            }
            How::ForceDeleted => self.lab.delete(&self.namespace, &format!("{name} --force --grace-period=0")),
            How::KilledByTheRuntime => {
                node::ctr(&self.lab.cluster.bin, &["task", "kill", "--signal", "SIGKILL", container]).map(drop)
            }
        };
        if done.is_ok() {
            self.count(match how {
                How::Deleted => "pods deleted",
                How::Evicted => "pods evicted",
                How::ForceDeleted => "pods deleted by force",
                How::KilledByTheRuntime => "containers killed by the runtime",
            });
        }
        done.is_ok()
    }

    fn start_agent(&mut self) -> Result<()> {
        self.lost_before += std::mem::take(&mut self.lost);
        self.agent = Some(self.setup.start(self.lab.board)?);
        Ok(())
    }

    fn kill_agent(&mut self) -> Result<()> {
        self.note_ready();
        let end = now();
        self.agent.take().context("no agent lives")?.kill()?;
        self.history.lives.extend(self.ready.take().map(|ready| Life { ready, end }));
        Ok(())
    }

    fn mended(&mut self, what: Broken) {
        let end = now();
        self.history.outages.extend(self.broken.remove(&what).map(|begin| Outage { begin, end }));
    }

    /// It is not waited for: what it needs may be away.
    fn note_ready(&mut self) {
        if self.ready.is_none() && self.agent.is_some() && tested::get("/readyz").is_ok() {
            self.ready = Some(now());
        }
    }

    /// Sometimes: a page is more than a probe.
    fn note_losses(&mut self) {
        if self.ready.is_none() || self.asked_for_losses.elapsed() < LOSSES {
            return;
        }
        self.asked_for_losses = Instant::now();
        let Ok(metrics) = tested::scrape() else { return };
        let lost = metrics.total("signal_trace_kernel_events_lost_total");
        if lost > self.lost {
            self.history.losses.push(now());
        }
        self.lost = lost;
    }

    /// All that was broken is whole, and the node is as it should be.
    fn heal(&mut self) -> Result<()> {
        let interrupt = self.lab.board.interrupt.clone();
        self.node()?.until("the node is ready", &interrupt, Node::is_ready)?;
        self.until("the agent is ready", |chaos| Ok(chaos.ready.is_some()))?;
        self.until("whose turn had come has ended", |chaos| Ok(chaos.due.is_empty()))
    }

    /// Ends every pod that is left, waits until nobody can have more to say, and ends the agent; what it held then,
    /// and how many events were lost.
    fn last_words(&mut self) -> Result<(Held, f64)> {
        self.lab
            .cluster
            .ask(&format!("delete pods --all --namespace {} --grace-period=1 --wait=false", self.namespace))?;
        self.until("all pods are gone", |chaos| Ok(chaos.lab.board.look().pods_of(&chaos.namespace).next().is_none()))?;
        self.until("no shutdown is open, and no container is left", |_| {
            let metrics = tested::scrape()?;
            let none = |name| metrics.total(name) == 0.0;
            Ok(none("signal_trace_open_shutdowns") && none("signal_trace_tracked_containers"))
        })?;
        self.lab.endure(Instant::now() + Duration::from_secs(5))?;
        let held = Held::of(self.pid()?)?;
        let lost = tested::scrape()?.total("signal_trace_kernel_events_lost_total");
        let agent = self.agent.take().context("no agent lives")?;
        agent.end()?;
        self.history.lives.extend(self.ready.take().map(|ready| Life { ready, end: now() }));
        Ok((held, self.lost_before + lost))
    }

    /// What the oracle says of each pod that was to end.
    fn findings(&self) -> Result<Vec<(&Pod, Finding)>> {
        let lost = self.recorder.lost()?;
        ensure!(lost == 0, "the second recorder lost {lost} lines: the oracle does not know");
        let seen = self.lab.board.look();
        let mut findings = Vec::new();
        for pod in self.pods.values() {
            let Some((container, asked)) = &pod.container else { continue };
            let facts = self.recorder.facts(container).context("a container that was never watched")?;
            let wrote = fs::read_to_string(self.logs.join(&pod.name))?;
            let records: Vec<_> =
                seen.records.iter().filter(|record| record["container"]["id"] == **container).collect();
            findings.push((
                pod,
                Ended { kind: pod.kind, facts, asked: *asked, wrote: &wrote }.judge(&records, &self.history),
            ));
        }
        Ok(findings)
    }

    /// Containers that more than one record is about, known to the oracle or not.
    fn judged_twice(&self) -> Vec<String> {
        let seen = self.lab.board.look();
        let mut count = BTreeMap::<_, usize>::new();
        for record in seen.records_of(&self.namespace) {
            *count.entry(record["container"]["id"].as_str().unwrap_or_default()).or_default() += 1;
        }
        let twice = count.into_iter().filter(|(_, records)| *records > 1);
        twice.map(|(id, records)| format!("{records} records of container {id}")).collect()
    }

    /// What was done, and what was said.
    fn told(&self, findings: &[(&Pod, Finding)]) -> Vec<[String; 2]> {
        let of = |wanted: &dyn Fn(&Finding) -> bool| findings.iter().filter(|(_, finding)| wanted(finding)).count();
        let said = self.lab.board.look();
        let mut lines = vec![
            ["ends that the oracle knows".to_owned(), findings.len().to_string()],
            ["right".to_owned(), of(&|finding| *finding == Finding::Right).to_string()],
            [
                "unknown or unsaid: no agent saw the whole, or records were lost".to_owned(),
                of(&|f| *f == Finding::Unwatched).to_string(),
            ],
            ["wrong, twice or missing".to_owned(), of(&|f| matches!(f, Finding::Wrong(_))).to_string()],
            ["agents, one after the other".to_owned(), self.history.lives.len().to_string()],
            ["verdicts".to_owned(), runner::verdicts(said.records_of(&self.namespace).map(|record| (record, 1)))],
        ];
        lines.extend(self.counts.iter().map(|(what, count)| [(*what).to_owned(), count.to_string()]));
        lines
    }

    fn until(&mut self, what: &str, reached: impl Fn(&Self) -> Result<bool>) -> Result<()> {
        let deadline = Instant::now() + BOUND;
        loop {
            self.look()?;
            if reached(self)? {
                return Ok(());
            }
            if Instant::now() >= deadline {
                bail!("not within {} s: {what}", BOUND.as_secs());
            }
            std::thread::sleep(LOOK);
        }
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn pid(&self) -> Result<u32> {
        Ok(self.agent.as_ref().context("no agent lives")?.pid())
    }

    fn node(&mut self) -> Result<&mut Node> {
        self.lab.node.as_deref_mut().context("this needs a node of its own")
    }

    fn filler(&self) -> PathBuf {
        self.setup.directory.join("filler")
    }
}

/// The disk that the agent's log is on.
struct Disk(PathBuf);

impl Disk {
    fn mount(place: PathBuf) -> Result<Self> {
        fs::create_dir_all(&place)?;
        let options = std::ffi::CString::new(LOG_DISK)?;
        rustix::mount::mount("none", &place, "tmpfs", MountFlags::empty(), Some(&*options)).context("tmpfs")?;
        Ok(Self(place))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, UnmountFlags::DETACH);
    }
}

fn wrong(findings: &[(&Pod, Finding)]) -> Vec<String> {
    let why = |(pod, finding): &(&Pod, Finding)| match finding {
        Finding::Wrong(why) => Some(format!("{}: {why}", pod.name)),
        Finding::Right | Finding::Unwatched => None,
    };
    findings.iter().filter_map(why).collect()
}

fn part(victim: Victim) -> Option<Part> {
    match victim {
        Victim::Agent => None,
        Victim::ApiServer => Some(Part::ApiServer),
        Victim::Containerd => Some(Part::Containerd),
        Victim::Kubelet => Some(Part::Kubelet),
    }
}

/// Whether a process is the first of its own pid namespace.
fn is_init(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("NSpid:") && line.split_whitespace().last() == Some("1"))
}

/// Seconds of the clock that the second recorder uses.
fn now() -> f64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
