//! A container of an engine: made, started in the foreground, entered, stopped by the engine. Removed when dropped.
//!
//! The engine's client ends with the container and says what the container says, so that there is no log to be followed.

use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::{ANSWER_WITHIN, Call, Engine, Image, Kind};
use crate::event::Signal;
use crate::sandbox::Capture;

/// How it is to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// All words of its command.
    pub words: Vec<String>,
    /// Variables besides the image's.
    pub environment: Vec<(String, String)>,
    /// Its working directory, if not the image's.
    pub directory: Option<String>,
    /// Its user, if not the image's.
    pub user: Option<String>,
    /// What stops it.
    pub stop_signal: Signal,
}

/// Where its output goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Streams {
    /// To our standard error.
    Shown,
    /// It is kept.
    Kept,
}

/// A container.
#[derive(Debug)]
pub struct Container {
    engine: Engine,
    name: String,
    id: String,
    stop_signal: Signal,
    client: Option<Call>,
}

impl Container {
    /// Makes one and does not start it, but for containerd, which has no such thing.
    ///
    /// # Errors
    ///
    /// The engine refuses.
    pub async fn create(image: &Image, plan: &Plan) -> anyhow::Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("signal-trace-check-{}-{number}", std::process::id());
        let engine = image.engine().clone();
        let mut container = Self { engine, id: name.clone(), name, stop_signal: plan.stop_signal, client: None };
        if container.engine.kind() != Kind::Containerd {
            let words = create_words(&container.name, image, plan)?;
            let said = container.engine.ask(&words).await?;
            container.id = said.lines().last().unwrap_or_default().trim().to_owned();
        }
        Ok(container)
    }

    /// Starts it, with its client in the foreground of nobody.
    ///
    /// # Errors
    ///
    /// The client does not start. What else goes wrong ends it.
    pub fn start(&mut self, image: &Image, plan: &Plan, streams: Streams) -> anyhow::Result<()> {
        let mut command = self.engine.command();
        match self.engine.kind() {
            Kind::Podman | Kind::Docker => command.args(["start", "--attach", &self.name]),
            Kind::Containerd => command.args(run_words(&self.name, image, plan)?),
        };
        self.client = Some(match streams {
            Streams::Shown => Call::start_with(command.stdout(std::io::stderr()).stderr(Stdio::inherit()))?,
            Streams::Kept => Call::start(&mut command)?,
        });
        Ok(())
    }

    /// The id that its cgroup is named by.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What it said, where that is kept.
    pub fn captures(&self) -> impl Iterator<Item = &Capture> {
        self.client.iter().flat_map(Call::captures)
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    ///
    /// Its client cannot be waited for.
    pub fn has_ended(&mut self) -> anyhow::Result<Option<String>> {
        let Some(client) = &mut self.client else { bail!("it was not started") };
        Ok(client.has_ended().context("the engine's client cannot be waited for")?.map(|status| status.to_string()))
    }

    /// Has the engine stop it. containerd only sends the signal: the grace and what follows are for [`Self::kill`].
    ///
    /// # Errors
    ///
    /// The engine's program does not start.
    pub fn stop(&self, grace: Duration) -> anyhow::Result<Call> {
        let mut command = self.engine.command();
        match self.engine.kind() {
            Kind::Podman | Kind::Docker => command.args(["stop", "-t", &grace.as_secs().to_string(), &self.name]),
            Kind::Containerd => {
                command.args(["tasks", "kill", "--signal", &self.stop_signal.number().to_string(), &self.name])
            }
        };
        Call::start(&mut command)
    }

    /// Whether [`Self::stop`] includes SIGKILL when the grace is over.
    pub fn is_killed_by_engine(&self) -> bool {
        match self.engine.kind() {
            Kind::Podman | Kind::Docker => true,
            Kind::Containerd => false,
        }
    }

    /// Has the engine send SIGKILL.
    ///
    /// # Errors
    ///
    /// The engine's program does not start.
    pub fn kill(&self) -> anyhow::Result<Call> {
        let words: &[&str] = match self.engine.kind() {
            Kind::Podman | Kind::Docker => &["kill"],
            Kind::Containerd => &["tasks", "kill", "--signal", "KILL"],
        };
        Call::start(self.engine.command().args(words).arg(&self.name))
    }

    /// Enters it with a command.
    ///
    /// # Errors
    ///
    /// The engine's program does not start.
    pub fn exec(&self, words: &[String]) -> anyhow::Result<Call> {
        let mut command = self.engine.command();
        match self.engine.kind() {
            Kind::Podman | Kind::Docker => command.arg("exec"),
            Kind::Containerd => command.args(["tasks", "exec", "--exec-id", "hook"]),
        };
        Call::start(command.arg(&self.name).args(words))
    }

    /// How long an engine may take besides the grace.
    pub fn patience() -> Duration {
        ANSWER_WITHIN
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        match self.engine.kind() {
            Kind::Podman => self.engine.quietly(&["rm", "--force", "--ignore", "--time", "0", "--volumes", &self.name]),
            Kind::Docker => self.engine.quietly(&["rm", "--force", "--volumes", &self.name]),
            Kind::Containerd => {
                // Its own client does this too, if it still lives.
                self.engine.quietly(&["tasks", "delete", "--force", &self.name]);
                self.engine.quietly(&["containers", "delete", &self.name]);
            }
        }
    }
}

fn first_word(plan: &Plan) -> anyhow::Result<(&String, &[String])> {
    plan.words.split_first().context("the image has neither ENTRYPOINT nor CMD: give the command after --")
}

/// Of podman and Docker, whose options are the same here.
fn create_words(name: &str, image: &Image, plan: &Plan) -> anyhow::Result<Vec<String>> {
    let (first, rest) = first_word(plan)?;
    let mut words = list(&["create", "--name", name, "--log-driver", "none", "--pull", "never"]);
    words.extend(list(&["--stop-signal", &plan.stop_signal.number().to_string(), "--entrypoint", first]));
    for (name, value) in &plan.environment {
        words.extend(list(&["--env", &format!("{name}={value}")]));
    }
    for (option, value) in [("--workdir", &plan.directory), ("--user", &plan.user)] {
        words.extend(value.iter().flat_map(|value| list(&[option, value])));
    }
    if image.is_folder() {
        words.push("--rootfs".to_owned());
    }
    words.push(image.name().to_owned());
    words.extend(rest.iter().cloned());
    Ok(words)
}

fn run_words(name: &str, image: &Image, plan: &Plan) -> anyhow::Result<Vec<String>> {
    first_word(plan)?;
    // Below a group that says whose it is, whatever containerd's namespace; and with what other engines allow.
    let cgroup = format!("/default/{name}");
    let mut words = list(&["run", "--rm", "--cgroup", &cgroup, "--allow-new-privs"]);
    for (name, value) in &plan.environment {
        words.extend(list(&["--env", &format!("{name}={value}")]));
    }
    words.extend(plan.directory.iter().flat_map(|directory| list(&["--cwd", directory])));
    if image.is_folder() {
        words.push("--rootfs".to_owned());
    }
    words.extend(list(&[image.name(), name]));
    words.extend(plan.words.iter().cloned());
    Ok(words)
}

fn list(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}
