//! What goes wrong around the agent: a server that is away or refuses, parts of the node that crash, the agent itself
//! killed, clients that mean ill. Each has an agent of its own, and none of them may make a verdict wrong or silent.

mod agent;
mod api;
mod node;
mod watch;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::agent::{self as tested, Agent, Setup};
use super::board::Board;
use super::case::{State, Until};
use super::check;
use super::cluster::Cluster;
use super::metrics::Metrics;
use super::node::Node;
use super::pattern;
use crate::child;

/// How long the API server is away: longer than the agent tries to write an event, and than it takes for being out of touch.
pub(crate) const OUTAGE: Duration = Duration::from_secs(60);
/// The longest that is promised to be endured.
pub(crate) const LONG_OUTAGE: Duration = Duration::from_secs(600);
/// How long anything that is waited for may take.
const BOUND: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(200);

/// One thing that goes wrong.
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) needs: Needs,
    play: fn(&mut Lab<'_>) -> Result<()>,
}

/// What it is played with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Needs {
    /// Any node.
    Cluster,
    /// A node whose parts can be killed.
    OwnNode,
    /// A machine whose clock is nobody else's.
    OwnMachine,
}

/// All of them.
pub(crate) const ALL: [Fault; 12] = [
    Fault {
        name: "fault-api-down",
        about: "the API server is down for a minute while pods end: all are counted and named, and events are accounted for",
        needs: Needs::OwnNode,
        play: api::down,
    },
    Fault {
        name: "fault-events-forbidden",
        about: "the agent may write no events: it says so once, and goes on",
        needs: Needs::Cluster,
        play: api::events_forbidden,
    },
    Fault {
        name: "fault-watch-refused",
        about: "watches are refused with 410, 403 and 429: none is asked for sooner than the server wishes, and all heal",
        needs: Needs::Cluster,
        play: watch::refused,
    },
    Fault {
        name: "fault-watch-silent",
        about: "the watch's connection is dead and does not end: cached names hold, and a new one is made in time",
        needs: Needs::Cluster,
        play: watch::silent,
    },
    Fault {
        name: "fault-pod-unseen",
        about: "a pod that was created and deleted while the watch gave no answer is counted as nobody's",
        needs: Needs::Cluster,
        play: watch::unseen,
    },
    Fault {
        name: "fault-agent-killed",
        about: "the agent is killed in the middle of a grace period: what it judges afterwards is never a guess",
        needs: Needs::Cluster,
        play: agent::killed,
    },
    Fault {
        name: "fault-agent-stopped",
        about: "the agent is PID 1 of a container and is stopped: graceful, within a second, as another one judges",
        needs: Needs::Cluster,
        play: agent::stopped,
    },
    Fault {
        name: "fault-port-taken",
        about: "the port is taken: the agent ends and says by what it can be changed",
        needs: Needs::Cluster,
        play: agent::port_taken,
    },
    Fault {
        name: "fault-hostile-clients",
        about: "clients that never finish, and never read, hold up neither a scrape nor a verdict",
        needs: Needs::Cluster,
        play: agent::hostile_clients,
    },
    Fault {
        name: "fault-containerd-killed",
        about: "containerd is killed and started again inside a grace period",
        needs: Needs::OwnNode,
        play: node::containerd_killed,
    },
    Fault {
        name: "fault-kubelet-killed",
        about: "the kubelet is killed and started again inside a grace period",
        needs: Needs::OwnNode,
        play: node::kubelet_killed,
    },
    Fault {
        name: "fault-clock-set",
        about: "the clock is put forward by an hour inside one grace period, and back inside the next: both are measured right",
        needs: Needs::OwnMachine,
        play: node::clock_set,
    },
];

/// What they are played with.
pub(crate) struct Lab<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) board: &'a Board,
    pub(crate) setup: Setup,
    pub(crate) node: Option<&'a mut Node>,
    pub(crate) run: String,
    pub(crate) outage: Duration,
}

/// What came of one.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) fault: &'static str,
    pub(crate) about: &'static str,
    pub(crate) seconds: f64,
    pub(crate) problem: Option<String>,
}

/// Those whose names match, of those that can be played with what there is.
pub(crate) fn chosen(patterns: &[String], there: Needs) -> Vec<&'static Fault> {
    let named = |fault: &&Fault| patterns.iter().any(|pattern| pattern::text_matches(pattern, fault.name));
    let possible = |fault: &&Fault| fault.needs <= there;
    ALL.iter().filter(|fault| patterns.is_empty() || named(fault)).filter(possible).collect()
}

/// Plays them, one after the other.
pub(crate) fn run(faults: &[&'static Fault], lab: &mut Lab<'_>) -> Result<Vec<Outcome>> {
    let base = lab.setup.clone();
    let mut outcomes = Vec::new();
    for fault in faults {
        lab.board.interrupt.check()?;
        lab.setup = Setup { directory: base.directory.join(fault.name), ..base.clone() };
        if lab.setup.directory.exists() {
            std::fs::remove_dir_all(&lab.setup.directory)?;
        }
        std::fs::create_dir_all(&lab.setup.directory)?;
        let started = Instant::now();
        let problem = (fault.play)(lab).err().map(|error| format!("{error:#}"));
        let seconds = started.elapsed().as_secs_f64();
        let word = problem.as_ref().map_or("done".into(), |problem| format!("failed ({problem})"));
        anstream::eprintln!("{0}{1}: {word} after {seconds:.1} s{0:#}", child::QUIET, fault.name);
        outcomes.push(Outcome { fault: fault.name, about: fault.about, seconds, problem });
    }
    lab.setup = base;
    Ok(outcomes)
}

impl Lab<'_> {
    /// An agent that is ready.
    pub(super) fn agent(&self) -> Result<Agent> {
        self.agent_with(&self.setup)
    }

    fn agent_with(&self, setup: &Setup) -> Result<Agent> {
        let mut agent = setup.start(self.board)?;
        agent.ready(self.board)?;
        Ok(agent)
    }

    fn node(&mut self) -> Result<&mut Node> {
        self.node.as_deref_mut().context("this needs a node of its own")
    }

    pub(super) fn namespace(&self, name: &str) -> String {
        format!("fault-{name}-{}", self.run)
    }

    /// Pods that run and are ready.
    pub(super) fn pods(&self, namespace: &str, pods: &[Value]) -> Result<()> {
        self.cluster.create(namespace, pods)?;
        self.until(namespace, "*", pods.len(), State::Ready)
    }

    pub(super) fn until(&self, namespace: &str, pods: &str, count: usize, are: State) -> Result<()> {
        self.board.until(namespace, &Until { pods: pods.into(), count, are }, Instant::now() + BOUND)
    }

    pub(super) fn delete(&self, namespace: &str, pods: &str) -> Result<()> {
        self.cluster.ask(&format!("delete pods {pods} --namespace {namespace} --wait=false")).map(drop)
    }

    /// The records of a namespace, once there are as many; it is a failure if there are more.
    fn records(&self, namespace: &str, count: usize) -> Result<Vec<Value>> {
        let deadline = Instant::now() + BOUND;
        let enough = self.board.wait(deadline, |seen| (seen.records_of(namespace).count() >= count).then_some(()))?;
        let records: Vec<_> = self.board.look().records_of(namespace).cloned().collect();
        ensure!(
            enough.is_some() && records.len() == count,
            "{} records instead of {count}: {}",
            records.len(),
            brief(&records)
        );
        Ok(records)
    }

    /// A pod that lives and ends with all at its best: its record is whole and its event is written.
    fn heals(&self, namespace: &str) -> Result<()> {
        self.pods(namespace, &[wrapper("after", 2)])?;
        self.known(namespace)?;
        self.delete(namespace, "after")?;
        let records = self.records(namespace, 1)?;
        must(
            &json!({"outcome": "grace_exceeded", "cause": "not_forwarded", "trigger": "delete",
            "pod": {"name": "after"}, "container": {"name": "app"}}),
            &records[0],
        )?;
        self.event(namespace, "StopSignalNotForwarded")
    }

    /// Waits until the agent was told about the pods of a namespace.
    pub(super) fn known(&self, namespace: &str) -> Result<()> {
        self.eventually("the agent knows the pod", || Ok(tested::get("/debug/containers")?.contains(namespace)))
    }

    /// Waits for an event.
    fn event(&self, namespace: &str, reason: &str) -> Result<()> {
        let written = |seen: &super::board::Seen| {
            let of = |event: &&Value| event["regarding"]["namespace"] == namespace && event["reason"] == reason;
            seen.events.values().find(of).map(|_| ())
        };
        self.board.wait(Instant::now() + BOUND, written)?.with_context(|| format!("no event {reason} in {namespace}"))
    }

    /// Waits until the metrics are as they should be.
    pub(super) fn metrics(&self, what: &str, right: impl Fn(&Metrics) -> bool) -> Result<()> {
        self.eventually(what, || Ok(right(&tested::scrape()?)))
    }

    fn eventually(&self, what: &str, reached: impl Fn() -> Result<bool>) -> Result<()> {
        let deadline = Instant::now() + BOUND;
        while !reached()? {
            self.board.interrupt.check()?;
            ensure!(Instant::now() < deadline, "not within {} s: {what}", BOUND.as_secs());
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Lets time pass: how long something is broken is part of the fault.
    pub(super) fn endure(&self, until: Instant) -> Result<()> {
        self.board.wait(until, |_| None::<()>).map(drop)
    }

    fn log(&self) -> Result<String> {
        Ok(std::fs::read_to_string(tested::log(&self.setup.directory))?)
    }

    fn kubeconfig(&self, name: &str) -> PathBuf {
        std::path::Path::new(super::node::STATE).join(format!("{name}.kubeconfig"))
    }
}

/// Fails with what is different.
fn must(expected: &Value, record: &Value) -> Result<()> {
    let differences = pattern::differences(expected, record);
    if !differences.is_empty() {
        bail!("{}: {}", check::verdict(record), differences.join("; "));
    }
    Ok(())
}

fn brief(records: &[Value]) -> String {
    let words = records.iter().map(|record| format!("{} of {}", check::verdict(record), record["pod"]["name"]));
    words.collect::<Vec<_>>().join(", ")
}

/// A pod whose shell passes nothing on.
pub(super) fn wrapper(name: &str, grace: u32) -> Value {
    pod(name, grace, &["sh", "-c", "sleep 1000; true"])
}

/// A pod that ends in time.
pub(super) fn good(name: &str, grace: u32) -> Value {
    let script = "mkfifo /tmp/f; exec 3<>/tmp/f; trap 'exit 0' TERM; while :; do read -t 0.5 -u 3; done";
    pod(name, grace, &["bash", "-c", script])
}

fn pod(name: &str, grace: u32, command: &[&str]) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
        "terminationGracePeriodSeconds": grace,
        "tolerations": [{"operator": "Exists"}],
        "automountServiceAccountToken": false,
        "containers": [{"name": "app", "image": super::images::TOOLS, "command": command}]}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_chosen_by_name_and_by_what_can_be_done() {
        assert_eq!(chosen(&[], Needs::OwnMachine).len(), ALL.len());
        assert_eq!(chosen(&[], Needs::OwnNode).len(), ALL.len() - 1, "the clock of this machine is not ours to set");
        assert!(chosen(&[], Needs::Cluster).iter().all(|fault| fault.needs == Needs::Cluster));
        let names: Vec<_> = chosen(&["fault-watch-*".into()], Needs::OwnNode).iter().map(|fault| fault.name).collect();
        assert_eq!(names, ["fault-watch-refused", "fault-watch-silent"]);
        assert!(chosen(&["shell-wrapper".into()], Needs::OwnNode).is_empty());
    }
}
