//! `signal-trace agent`: one node of a Kubernetes cluster, for as long as it runs.
//!
//! Records go to standard output and nothing else does.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::output::node_name;
use super::watch::kernel_log;
use super::{ready_line, runtime};
use crate::agent::options::Options;
use crate::agent::settings::Settings;
use crate::instance::{Instance, Role};
use crate::kernel::LogLevel;
use crate::yaml;

/// Follow every pod of a Kubernetes node: metrics, Kubernetes events, and one JSON record a line.
#[derive(Debug, Args)]
pub struct Agent {
    #[command(flatten)]
    options: Options,

    /// A YAML file with the same options, under the keys that --print-config writes. Flags and variables go before it
    #[arg(long, env = "SIGNAL_TRACE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    /// Print the options that are in force, as such a file, and end
    #[arg(long)]
    print_config: bool,

    /// Let the kernel programs log what they refuse: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", value_parser = kernel_log)]
    kernel_log: Option<LogLevel>,

    /// A cgroup whose children are containers, for a runtime that names them freely: /shop for `ctr -n shop`
    #[arg(long, value_name = "CGROUP")]
    root: Vec<String>,
}

impl Agent {
    /// Follows until stopped.
    ///
    /// # Errors
    ///
    /// An option makes no sense, or tracing cannot start.
    pub fn run(self) -> anyhow::Result<()> {
        let file = self.config.as_deref().map(yaml::read::<Options>).transpose()?.unwrap_or_default();
        let options = self.options.clone().or(file).or_default();
        let settings = Settings::new(options.clone(), node_name())?;
        if self.print_config {
            let options = Options { node_name: Some(settings.node), ..options };
            print!("{}", serde_saphyr::to_string(&options).context("cannot write the options as YAML")?);
            return Ok(());
        }
        runtime()?.block_on(self.follow(settings))
    }

    async fn follow(self, settings: Settings) -> anyhow::Result<()> {
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
        let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
        let _instance = Instance::acquire(Role::Agent)?;
        let node = settings.node.clone();
        let mut agent = crate::agent::Agent::start(settings, self.kernel_log, self.root).await?;
        eprintln!("{}; node {node}, pages on {}", ready_line(agent.daemon()), agent.address());
        let stop = async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        };
        let ended = agent.run(stop).await.context("cannot read the kernel's records");
        agent.stop().await;
        ended
    }
}
