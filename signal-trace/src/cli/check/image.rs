//! Trials: a command of our own, or a container that an engine runs, stops and removes while it is traced.

use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use tokio::time::timeout;

use super::hook::{Hook, left_after};
use super::ready::{Ready, Subject};
use super::{Check, show_end};
use crate::cli::stopping::{VERDICT_WITHIN, follow_while, verdict_on};
use crate::containers::scan::Hierarchy;
use crate::containers::{Cgroup, Runtime};
use crate::daemon::{Daemon, News};
use crate::engine::{Container, Engine, Image, Kind, Plan, Source, Streams};
use crate::event::{CgroupId, KernelTime, Pid, Signal};
use crate::judge::Spec;
use crate::judge::shutdown::{ContainerFacts, Grace, GraceSource, PodFacts, Shutdown, Trigger};
use crate::kernel::boot_time;
use crate::sandbox::Capture;

/// An engine starts a container within this, or says why not.
const STARTED_WITHIN: Duration = Duration::from_mins(1);
/// Between two looks at whether it still runs.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What is run, stopped and judged, as often as it was asked for.
pub(super) enum Trial {
    /// The command, without an engine.
    Command,
    /// A container of an engine.
    Engine(Box<Engined>),
}

/// A container of an engine that is to be judged.
pub(super) struct Engined {
    /// What it is called in a report.
    pub(super) name: String,
    /// The pod that it stands for.
    pub(super) pod: Option<PodFacts>,
    pub(super) image: Rc<Image>,
    pub(super) plan: Plan,
    pub(super) grace: Grace,
    pub(super) ready: Ready,
    /// What the kubelet does first.
    pub(super) pre_stop: Option<Hook>,
}

/// One that runs.
struct Started<'c> {
    container: &'c mut Container,
    cgroup: &'c Cgroup,
    hierarchy: &'c Hierarchy,
}

impl Subject for Started<'_> {
    fn has_ended(&mut self) -> anyhow::Result<Option<String>> {
        self.container.has_ended()
    }

    fn output(&self) -> Vec<String> {
        self.container.captures().map(Capture::text).collect()
    }

    /// Read anew each time: whoever is first in the cgroup is the runtime, still in our own network.
    fn network(&self) -> io::Result<Option<Pid>> {
        let look = self.hierarchy.snapshot(Path::new("/proc"), self.cgroup, boot_time())?;
        let init = look.snapshot.processes.iter().find(|process| process.ns_pid == Pid(1));
        let init = init.ok_or_else(|| io::Error::other("the container has no init yet"))?;
        Ok(Some(init.key.pid))
    }
}

impl Trial {
    /// Its name before what went wrong with it.
    pub(super) fn title(&self) -> String {
        match self {
            Self::Command => String::new(),
            Self::Engine(engined) => format!("{}, ", engined.name),
        }
    }

    /// Runs it once.
    pub(super) async fn judge(&self, check: &Check, daemon: &mut Daemon) -> anyhow::Result<Shutdown> {
        match self {
            Self::Command => check.judge_command(daemon).await,
            Self::Engine(engined) => engined.judge(check, daemon).await,
        }
    }
}

impl Check {
    /// All there is to do, with every image at hand.
    pub(super) async fn trials(&self, daemon: &mut Daemon) -> anyhow::Result<Vec<Trial>> {
        if let Some(file) = &self.in_kubernetes {
            return self.pod_trials(daemon, file).await;
        }
        let Some(image) = &self.image else { return Ok(vec![Trial::Command]) };
        let engines = follow_while(daemon, Engine::usable(&self.engines())).await?;
        let source = Source::of(image);
        let image = Rc::new(follow_while(daemon, Image::provide(&engines, &source)).await?);
        let arguments = self.words()?;
        let arguments = (!arguments.is_empty()).then_some(&arguments[..]);
        let words = image.config().words(None, arguments);
        if words.is_empty() {
            match source {
                Source::Folder(path) => bail!(
                    "{0} is a folder, a root file system that has no command: give one after --, or say {0}:latest if an \
                     image of that name is meant",
                    path.display()
                ),
                Source::Name(_) | Source::Archive(_) => {
                    bail!("{} has neither ENTRYPOINT nor CMD: give a command after --", image.name())
                }
            }
        }
        let stop_signal = self.signal.or(image.config().stop_signal()).unwrap_or(Signal::TERM);
        let usual = Grace { period: Some(self.grace()), source: GraceSource::RuntimeDefault };
        let grace = given_grace(self.grace, image.engine().kind())?.unwrap_or(usual);
        let engined = Engined {
            name: short(image.name()),
            pod: None,
            plan: Plan { words, environment: Vec::new(), directory: None, user: None, stop_signal },
            image,
            grace,
            ready: self.ready(),
            pre_stop: None,
        };
        Ok(vec![Trial::Engine(Box::new(engined))])
    }

    pub(super) fn engines(&self) -> Vec<Kind> {
        self.engine.map_or(Kind::ALL.to_vec(), |kind| vec![kind])
    }

    fn words(&self) -> anyhow::Result<Vec<String>> {
        let words = self.command.iter().map(|word| word.to_str().map(str::to_owned));
        words.collect::<Option<_>>().context("an engine's command must be UTF-8")
    }
}

impl Engined {
    async fn judge(&self, check: &Check, daemon: &mut Daemon) -> anyhow::Result<Shutdown> {
        let mut container = follow_while(daemon, Container::create(&self.image, &self.plan)).await?;
        let keeps = check.quiet || self.ready.reads_output();
        container.start(&self.image, &self.plan, if keeps { Streams::Kept } else { Streams::Shown })?;
        let judged = self.stop(check, daemon, &mut container).await;
        judged.inspect_err(|_| show_end(container.captures()))
    }

    async fn stop(&self, check: &Check, daemon: &mut Daemon, container: &mut Container) -> anyhow::Result<Shutdown> {
        let cgroup = found(daemon, container).await?;
        self.configure(daemon, &cgroup, None);
        let hierarchy = daemon.hierarchy().clone();
        let mut started = Started { container, cgroup: &cgroup, hierarchy: &hierarchy };
        self.ready.wait(daemon, &mut started, check.ready_within).await?;
        let _load = check.load(&started).await?;
        let grace = self.before_stop(daemon, &mut started).await?;
        if started.has_ended()?.is_some() {
            let shutdown = verdict_on(daemon, cgroup.id, VERDICT_WITHIN).await?;
            return shutdown.context("it ended before it was stopped, and not by a stop signal");
        }
        stopped_by_engine(daemon, started.container, cgroup.id, grace).await
    }

    /// Runs the hook, if there is one, and says what is left of the grace.
    async fn before_stop(&self, daemon: &mut Daemon, started: &mut Started<'_>) -> anyhow::Result<Duration> {
        let grace = self.grace.period.unwrap_or_default();
        let Some(hook) = &self.pre_stop else { return Ok(grace) };
        self.configure(daemon, started.cgroup, Some(boot_time()));
        let took = hook.run(daemon, started.container, started.network()?, grace).await?;
        Ok(left_after(grace, took))
    }

    fn configure(&self, daemon: &mut Daemon, cgroup: &Cgroup, terminating_since: Option<KernelTime>) {
        let facts = cgroup.container.as_ref().map(|identity| {
            Arc::new(ContainerFacts {
                cgroup: cgroup.id,
                cgroup_path: cgroup.path.clone(),
                runtime: self.runtime(),
                id: identity.id.clone(),
                name: Some(self.name.clone()),
                image: Some(self.image.name().to_owned()),
                pod: self.pod.clone(),
            })
        });
        let spec = Spec {
            facts,
            stop_signal: Some(self.plan.stop_signal),
            grace: self.grace,
            terminating_since,
            trigger: Trigger::RuntimeStop,
        };
        daemon.configure(cgroup.id, spec);
    }

    /// Known, also where its cgroup does not tell.
    fn runtime(&self) -> Runtime {
        match self.image.engine().kind() {
            Kind::Podman => Runtime::Podman,
            Kind::Docker => Runtime::Docker,
            Kind::Containerd => Runtime::Containerd,
        }
    }
}

/// The grace of the command line, if it gives one. podman and Docker would cut off what is not a whole second.
pub(super) fn given_grace(period: Option<Duration>, engine: Kind) -> anyhow::Result<Option<Grace>> {
    let whole = period.is_none_or(|period| period.subsec_nanos() == 0) || engine == Kind::Containerd;
    ensure!(whole, "{} counts a grace in whole seconds: use for example --grace 2s", engine.name());
    Ok(period.map(|period| Grace { period: Some(period), source: GraceSource::Flag }))
}

/// Waits until the kernel has shown the container.
async fn found(daemon: &mut Daemon, container: &mut Container) -> anyhow::Result<Cgroup> {
    let began = Instant::now();
    loop {
        if let Ok(news) = timeout(LOOK_EVERY, daemon.next()).await {
            match news.context("cannot read the kernel's records")? {
                News::Found(cgroup) if cgroup.container.as_ref().is_some_and(|c| c.id == container.id()) => {
                    return Ok(cgroup);
                }
                News::Found(_) | News::Gone(_) | News::Shutdown(_) => continue,
            }
        }
        if let Some(status) = container.has_ended()? {
            bail!("it ended before it was seen ({status}): what it or the engine said is above");
        }
        if began.elapsed() >= STARTED_WITHIN {
            bail!("no cgroup of it was made within {STARTED_WITHIN:?}: does the engine run on this very machine?");
        }
    }
}

/// Has the engine stop it, and waits for the verdict.
async fn stopped_by_engine(
    daemon: &mut Daemon,
    container: &Container,
    id: CgroupId,
    grace: Duration,
) -> anyhow::Result<Shutdown> {
    follow_while(daemon, container.stop(grace)?.done(grace + Container::patience())).await?;
    let within = if container.is_killed_by_engine() { VERDICT_WITHIN } else { grace };
    if let Some(shutdown) = verdict_on(daemon, id, within).await? {
        return Ok(shutdown);
    }
    if !container.is_killed_by_engine() {
        let killed = follow_while(daemon, container.kill()?.done(Container::patience())).await;
        return match verdict_on(daemon, id, VERDICT_WITHIN).await? {
            Some(shutdown) => Ok(shutdown),
            None => Err(killed.err().unwrap_or_else(no_verdict)),
        };
    }
    Err(no_verdict())
}

fn no_verdict() -> anyhow::Error {
    anyhow::anyhow!("no verdict within {VERDICT_WITHIN:?} of the end: records may have been lost, try again")
}

/// `registry.example/shop/cart:1.4` as `cart`.
fn short(image: &str) -> String {
    let name = image.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let name = name.split(['@', ':']).next().unwrap_or_default();
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grace_is_one_that_the_engine_can_count() {
        let given = |millis, engine| given_grace(Some(Duration::from_millis(millis)), engine);
        for engine in Kind::ALL {
            assert_eq!(given_grace(None, engine).unwrap(), None);
            let expected = Grace { period: Some(Duration::from_secs(2)), source: GraceSource::Flag };
            assert_eq!(given(2_000, engine).unwrap(), Some(expected));
        }
        for engine in [Kind::Podman, Kind::Docker] {
            let error = given(500, engine).unwrap_err().to_string();
            assert!(error.contains("whole seconds"), "{error}");
        }
        assert!(given(500, Kind::Containerd).is_ok());
    }

    #[test]
    fn an_image_has_a_short_name() {
        for (long, name) in [
            ("registry.example:5000/shop/cart:1.4", "cart"),
            ("busybox", "busybox"),
            ("docker.io/library/redis@sha256:00", "redis"),
            ("/tmp/rootfs/", "rootfs"),
        ] {
            assert_eq!(short(long), name);
        }
    }
}
