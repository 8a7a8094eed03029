//! Runs one case under one engine: starts it, waits until it is ready, does to it what its file says, stops it, and
//! sees to it that nothing is left. It does not know what the verdict should be.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::case::{Case, Ready, Runtime, Step};
use super::engine::{Engine, Facts, Ground, Plan};
use super::wait::{PATIENCE, until, within};
use crate::child;

/// Where programs are found in a container.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A case that is run.
pub(crate) struct Keeper<'a> {
    case: &'a Case,
    runtime: Runtime,
    engine: &'a dyn Engine,
    ground: &'a Ground<'a>,
    name: String,
    sessions: Mutex<Vec<Child>>,
}

/// A container of a case.
struct Container<'a> {
    engine: &'a dyn Engine,
    name: String,
    /// It ends with the container, and as the container did.
    client: Child,
    output: PathBuf,
    facts: Facts,
    root: Root,
}

/// An overlay over the system; unmounted when dropped.
struct Root(PathBuf);

impl<'a> Keeper<'a> {
    pub(crate) fn new(case: &'a Case, runtime: Runtime, engine: &'a dyn Engine, ground: &'a Ground<'a>) -> Self {
        let name = format!("zoo-{}-{}-{}", std::process::id(), case.name, runtime.name());
        Self { case, runtime, engine, ground, name, sessions: Mutex::default() }
    }

    /// From start to end; returns the container's id.
    pub(crate) fn run(&self) -> Result<String> {
        let result = self.run_and_stop();
        for mut session in self.sessions.lock().map_err(|_| anyhow::anyhow!("a session's thread panicked"))?.drain(..) {
            let _ = session.kill();
            let _ = session.wait();
        }
        result
    }

    fn run_and_stop(&self) -> Result<String> {
        let beside = self.case.beside.as_ref().map(|command| self.start_beside(command)).transpose()?;
        let beside_init = beside.as_ref().map(|container| container.facts.init);
        let mut container = self.start(beside_init)?;
        self.wait_until_ready(&mut container, &self.case.ready)?;
        for step in &self.case.before {
            self.step(&mut container, step, beside_init)?;
        }
        if self.case.stop == "none" {
            until("it ends by itself", || Ok(container.client.try_wait()?))?;
        } else {
            self.stop(&mut container, beside_init)?;
        }
        Ok(container.facts.id.clone())
    }

    fn start(&self, beside: Option<u32>) -> Result<Container<'a>> {
        let words = |of: &BTreeMap<Runtime, Vec<String>>| {
            let words = of.get(&self.runtime.client()).into_iter().flatten();
            words.map(|word| self.filled(word, beside)).collect::<Vec<_>>()
        };
        let first = words(&self.case.first);
        if !first.is_empty() {
            child::read(self.engine.client().args(first))?;
        }
        let plan = Plan {
            name: &self.name,
            command: &self.case.command,
            environment: self.environment(),
            root: &self.root(&self.name),
            stop_signal: if self.case.stop == "none" { "TERM" } else { &self.case.stop },
            grace: self.case.grace(),
            options: words(&self.case.options),
            terminal: self.case.terminal,
        };
        self.launch(&plan)
    }

    /// A word with what is only known now.
    fn filled(&self, word: &str, beside: Option<u32>) -> String {
        let word = word.replace("{name}", &self.name).replace("{beside}", &format!("{}-beside", self.name));
        beside.map_or(word.clone(), |pid| word.replace("{pid}", &pid.to_string()))
    }

    fn root(&self, name: &str) -> PathBuf {
        self.ground.scratch.join("roots").join(name).join("merged")
    }

    fn environment(&self) -> Vec<(&'a str, &'a str)> {
        let own = self.case.environment.iter().map(|(name, value)| (&**name, &**value));
        std::iter::once(("PATH", PATH)).chain(own).collect()
    }

    fn start_beside(&self, command: &[String]) -> Result<Container<'a>> {
        let name = format!("{}-beside", self.name);
        let plan = Plan {
            name: &name,
            command,
            environment: vec![("PATH", PATH)],
            root: &self.root(&name),
            stop_signal: "TERM",
            grace: Duration::ZERO,
            options: Vec::new(),
            terminal: false,
        };
        let mut container = self.launch(&plan)?;
        container.wait_until_said("ready")?;
        Ok(container)
    }

    fn launch(&self, plan: &Plan<'_>) -> Result<Container<'a>> {
        let root = Root::mount(plan.root, self.ground)?;
        let output = self.ground.scratch.join("output").join(plan.name);
        let file = File::create(&output).with_context(|| format!("cannot make {}", output.display()))?;
        let mut command = self.engine.run(plan);
        if plan.terminal {
            command = on_terminal(&command);
        }
        let input = if plan.terminal { Stdio::piped() } else { Stdio::null() };
        let client = command.stdin(input).stderr(file.try_clone()?).stdout(file).spawn();
        let mut client = client.with_context(|| format!("{:?} does not start", command.get_program()))?;
        let facts = until("the container runs", || {
            if let Some(status) = client.try_wait()? {
                // A short life may be over before anybody looks.
                let facts = self.engine.facts(plan.name);
                ensure!(facts.is_some(), "it ended with {status} before it ran: {}", said(&output));
                return Ok(facts);
            }
            Ok(self.engine.facts(plan.name))
        });
        let facts = facts.inspect_err(|_| {
            let _ = client.kill();
            let _ = client.wait();
            self.engine.discard(plan.name);
        })?;
        Ok(Container { engine: self.engine, name: plan.name.to_owned(), client, output, facts, root })
    }

    fn wait_until_ready(&self, container: &mut Container<'_>, ready: &Ready) -> Result<()> {
        if let Some(text) = &ready.says {
            container.wait_until_said(text)?;
        }
        container.wait_for_processes(&ready.processes)?;
        container.wait_for_handlers(&ready.catches)?;
        container.wait_until_settled()
    }

    fn step(&self, container: &mut Container<'_>, step: &Step, beside: Option<u32>) -> Result<()> {
        match step {
            Step::After(seconds) => thread::sleep(Duration::from_secs_f64(*seconds)),
            Step::Signal(signal) => {
                child::read(&mut self.engine.signal(&container.name, signal))?;
            }
            Step::Exec(command) => {
                let mut sessions = self.sessions.lock().map_err(|_| anyhow::anyhow!("a session's thread panicked"))?;
                let name = format!("session-{}", sessions.len());
                let session = self.engine.exec(&container.name, &name, command);
                let mut session = session.context("nothing can be started in what is no container")?;
                let output = File::options().append(true).open(&container.output)?;
                session.stdin(Stdio::null()).stderr(output.try_clone()?).stdout(output);
                sessions.push(session.spawn().context("the session does not start")?);
            }
            Step::Host(script) => {
                let mut shell = Command::new("sh");
                shell.args(["-ec", script]).env("INIT", container.facts.init.to_string());
                shell.env("CGROUP", cgroup(container.facts.init)?).env("ROOT", &container.root.0);
                if let Some(beside) = beside {
                    shell.env("BESIDE_CGROUP", cgroup(beside)?);
                }
                child::read(&mut shell)?;
            }
            Step::Type(text) => {
                let terminal = container.client.stdin.as_mut().context("it has no terminal")?;
                terminal.write_all(text.as_bytes())?;
                terminal.flush()?;
            }
            Step::Says(text) => container.wait_until_said(text)?,
            Step::Processes(names) => container.wait_for_processes(names)?,
        }
        Ok(())
    }

    /// The stop signal, the grace, SIGKILL: by the runtime, or where that only sends signals, by ourselves.
    fn stop(&self, container: &mut Container<'_>, beside: Option<u32>) -> Result<()> {
        let grace = self.case.grace();
        let with = self.case.stop_with.get(&self.runtime).map(Vec::as_slice);
        if let Some(mut command) = self.engine.stop(&container.name, grace, with) {
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
            let mut stopper = command.spawn().context("the runtime's client does not start")?;
            for step in &self.case.during {
                self.step(container, step, beside)?;
            }
            let status = until("the runtime has stopped it", || Ok(stopper.try_wait()?))?;
            ensure!(status.success(), "stopping it ended with {status}");
        } else {
            child::read(&mut self.engine.signal(&container.name, &self.case.stop))?;
            let deadline = Instant::now() + grace;
            for step in &self.case.during {
                self.step(container, step, beside)?;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if within(left, || Ok(container.client.try_wait()?))?.is_none() {
                // It may end just now.
                let killed = child::read(&mut self.engine.signal(&container.name, "KILL"));
                if within(PATIENCE, || Ok(container.client.try_wait()?))?.is_none() {
                    killed?;
                }
            }
        }
        until("the container has ended", || Ok(container.client.try_wait()?)).map(drop)
    }
}

impl Container<'_> {
    fn wait_until_said(&mut self, text: &str) -> Result<()> {
        let waited = until(&format!("it says {text:?}"), || {
            let whole = said(&self.output);
            if whole.contains(text) {
                return Ok(Some(()));
            }
            self.require_running(&whole)?;
            Ok(None)
        });
        waited.with_context(|| said(&self.output))
    }

    fn wait_for_processes(&mut self, names: &[String]) -> Result<()> {
        if names.is_empty() {
            return Ok(());
        }
        let cgroup = cgroup(self.facts.init);
        let waited = until(&format!("the processes {names:?}"), || {
            self.require_running(&said(&self.output))?;
            let Ok(cgroup) = &cgroup else { return Ok(None) };
            let mut there = processes(cgroup);
            let all =
                names.iter().all(|name| there.iter().position(|t| t == name).map(|at| there.remove(at)).is_some());
            Ok(all.then_some(()))
        });
        waited.with_context(|| format!("{:?}, {}", cgroup.map(|c| processes(&c)), said(&self.output)))
    }

    fn wait_for_handlers(&mut self, catches: &BTreeMap<String, String>) -> Result<()> {
        for (name, signal) in catches {
            let number = number(signal).with_context(|| format!("no signal {signal}"))?;
            until(&format!("every {name} has a handler for {signal}"), || {
                self.require_running(&said(&self.output))?;
                let pids = pids(&cgroup(self.facts.init)?);
                let named: Vec<_> = pids.iter().filter(|pid| comm(pid).as_ref() == Some(name)).collect();
                let ready = !named.is_empty() && named.iter().all(|pid| catches_signal(pid, number));
                Ok(ready.then_some(()))
            })?;
        }
        Ok(())
    }

    /// Every process sleeps: a shell that has just started a program, for one, still blocks its signals.
    fn wait_until_settled(&mut self) -> Result<()> {
        until("all its processes sleep", || {
            if self.client.try_wait()?.is_some() {
                return Ok(Some(()));
            }
            let Ok(cgroup) = cgroup(self.facts.init) else { return Ok(None) };
            let pids = pids(&cgroup);
            Ok((!pids.is_empty() && pids.iter().all(|pid| sleeps(pid))).then_some(()))
        })
    }

    fn require_running(&mut self, output: &str) -> Result<()> {
        match self.client.try_wait()? {
            Some(status) => bail!("the container ended with {status} before it was ready: {output}"),
            None => Ok(()),
        }
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        if self.client.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = child::read(&mut self.engine.signal(&self.name, "KILL"));
            if !within(Duration::from_secs(10), || Ok(self.client.try_wait()?)).is_ok_and(|ended| ended.is_some()) {
                let _ = self.client.kill();
                let _ = self.client.wait();
            }
        }
        self.engine.discard(&self.name);
    }
}

impl Root {
    fn mount(merged: &Path, ground: &Ground<'_>) -> Result<Self> {
        let part = |name: &str| merged.with_file_name(name);
        for directory in [part("upper"), part("work"), merged.to_owned()] {
            fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        }
        let layers = format!(
            "lowerdir={}:{},upperdir={},workdir={}",
            ground.files.parent().unwrap_or(ground.files).display(),
            ground.system.display(),
            part("upper").display(),
            part("work").display()
        );
        child::read(Command::new("mount").args(["-t", "overlay", "-o", &layers, "overlay"]).arg(merged))?;
        Ok(Self(merged.to_owned()))
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = child::read(Command::new("umount").arg("--lazy").arg(&self.0));
        if let Some(directory) = self.0.parent() {
            let _ = fs::remove_dir_all(directory);
        }
    }
}

/// The same command with a terminal as its own: ours may be none.
fn on_terminal(command: &Command) -> Command {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let mut script = Command::new("script");
    script.args(["--quiet", "--flush", "--return", "--command", &child::words_of(words), "/dev/null"]);
    script
}

fn said(output: &Path) -> String {
    String::from_utf8_lossy(&fs::read(output).unwrap_or_default()).into_owned()
}

/// The directory of a process's cgroup in the v2 hierarchy.
fn cgroup(pid: u32) -> Result<PathBuf> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).context("the container is gone")?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::/")).context("no v2 cgroup")?;
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let mut fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let mount =
        fields.find(|fields| fields.get(2) == Some(&"cgroup2")).context("no cgroup v2 is mounted")?[1].to_owned();
    Ok(Path::new(&mount).join(path))
}

/// The names of the processes in a cgroup and below it.
fn processes(cgroup: &Path) -> Vec<String> {
    pids(cgroup).iter().filter_map(|pid| comm(pid)).collect()
}

fn pids(cgroup: &Path) -> Vec<String> {
    let own = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    let below = fs::read_dir(cgroup).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir());
    own.lines().map(str::to_owned).chain(below.flat_map(|entry| pids(&entry.path()))).collect()
}

fn comm(pid: &str) -> Option<String> {
    Some(fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim_end().to_owned())
}

/// Its first thread waits for something.
fn sleeps(pid: &str) -> bool {
    // The name in it need not be text.
    let stat = fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
    String::from_utf8_lossy(&stat).rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('S'))
}

fn catches_signal(pid: &str, number: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mask = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigCgt:")?.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (number - 1) & 1 == 1)
}

fn number(signal: &str) -> Option<u32> {
    let signals = [("HUP", 1), ("INT", 2), ("QUIT", 3), ("USR1", 10), ("TERM", 15)];
    signals.into_iter().find(|(name, _)| *name == signal).map(|(_, number)| number)
}
