//! Container engines, through their own command lines: podman, Docker, and containerd by `ctr`.
//!
//! For `check`, which has to run an image as its users will. An engine is whatever answers here: found by PATH, configured
//! by its own files and variables (`DOCKER_HOST`, `CONTAINERD_ADDRESS`, `CONTAINERD_NAMESPACE`, `CONTAINERS_CONF`).
//! Nothing here knows of tracing or verdicts. What is started or loaded is gone when its value is dropped.

mod call;
mod config;
mod container;
mod image;

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::bail;
use clap::ValueEnum;

pub use self::call::Call;
pub use self::config::Config;
pub use self::container::{Container, Plan, Streams};
pub use self::image::{Image, Source};

/// For an answer that is no work.
const ANSWER_WITHIN: Duration = Duration::from_mins(1);
/// For work on an image: it may be gigabytes, and far away.
const WORK_WITHIN: Duration = Duration::from_mins(30);

/// What runs containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// podman, of this very user.
    Podman,
    /// The Docker Engine that `docker` talks to.
    Docker,
    /// containerd, through `ctr`.
    Containerd,
}

impl Kind {
    /// In the order in which they are tried.
    pub const ALL: [Self; 3] = [Self::Podman, Self::Docker, Self::Containerd];

    /// Its name for people, and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Podman => "podman",
            Self::Docker => "docker",
            Self::Containerd => "containerd",
        }
    }

    /// Its command.
    fn program(self) -> &'static str {
        match self {
            Self::Podman => "podman",
            Self::Docker => "docker",
            Self::Containerd => "ctr",
        }
    }

    /// A question that only an engine that can run containers answers.
    fn question(self) -> &'static [&'static str] {
        match self {
            Self::Podman => &["info", "--format", "{{.Version.Version}}"],
            Self::Docker => &["version", "--format", "{{.Server.Version}}"],
            Self::Containerd => &["version"],
        }
    }
}

/// An engine that answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Engine {
    kind: Kind,
    /// Where containerd is to look for an image, if not where it does by itself.
    namespace: Option<String>,
}

impl Engine {
    /// Those that can be used here, of these.
    ///
    /// # Errors
    ///
    /// None of them answers: each is named with its reason.
    pub async fn usable(kinds: &[Kind]) -> anyhow::Result<Vec<Self>> {
        let mut usable = Vec::new();
        let mut lacking = Vec::new();
        for kind in kinds {
            let engine = Self { kind: *kind, namespace: None };
            match engine.ask(kind.question()).await {
                Ok(_) => usable.push(engine),
                Err(error) => lacking.push(format!("{error:#}")),
            }
        }
        if usable.is_empty() {
            bail!(
                "there is no container engine to run an image with ({}): install podman, start Docker or containerd, or \
                 name where they are (DOCKER_HOST, CONTAINERD_ADDRESS)",
                lacking.join("; ")
            );
        }
        Ok(usable)
    }

    /// Which one it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether it can be told another user than the image's.
    pub fn takes_user(&self) -> bool {
        match self.kind {
            Kind::Podman | Kind::Docker => true,
            Kind::Containerd => false,
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.kind.program());
        if let Some(namespace) = &self.namespace {
            command.args(["--namespace", namespace]);
        }
        command
    }

    /// The answer to a question that is soon answered.
    async fn ask<S: AsRef<std::ffi::OsStr>>(&self, words: &[S]) -> anyhow::Result<String> {
        Call::start(self.command().args(words))?.done(ANSWER_WITHIN).await
    }

    /// Does it whatever comes of it: for what is cleaned up as a value is dropped.
    fn quietly<S: AsRef<std::ffi::OsStr>>(&self, words: &[S]) {
        let mut command = self.command();
        command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        match command.output() {
            Ok(output) if output.status.success() => {}
            Ok(output) => tracing::debug!(?command, said = %String::from_utf8_lossy(&output.stderr), "refused"),
            Err(error) => tracing::debug!(?command, %error, "does not start"),
        }
    }
}
