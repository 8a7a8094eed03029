//! Helm, built from its Go module: there is no package of it to ask Debian for.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::{child, machine};

/// The chart, from the workspace on.
pub(crate) const CHART: &str = "deploy/chart";
/// The release that the charts are checked with.
const VERSION: &str = "v4.3.1";

/// The program.
pub(crate) struct Helm(PathBuf);

/// Builds it, unless it is there.
pub(crate) fn provide() -> Result<Helm> {
    let directory = machine::workspace().join("target/tools/helm");
    let program = directory.join(format!("helm-{VERSION}"));
    if program.exists() {
        return Ok(Helm(program));
    }
    let go = machine::find("go").context(
        "there is no `go`, which builds Helm: install Go 1.26 or later from https://go.dev/dl, and have it in PATH",
    )?;
    anstream::eprintln!("building Helm {VERSION}: minutes the first time, and never again");
    let mut command = Command::new(go);
    command.env("GOBIN", &directory).env("CGO_ENABLED", "0").env_remove("GOOS").env_remove("GOARCH");
    command.args(["install", "-trimpath", "-ldflags", "-s -w", &format!("helm.sh/helm/v4/cmd/helm@{VERSION}")]);
    child::show(&mut command).context("Helm could not be built: its modules come over the network, check that")?;
    std::fs::rename(directory.join("helm"), &program).context("go did not make helm")?;
    Ok(Helm(program))
}

impl Helm {
    /// `helm lint`, where a warning is a failure.
    pub(crate) fn lint(&self, values: Option<&Path>) -> Command {
        let mut command = self.command();
        command.args(["lint", "--strict", "--quiet", CHART]);
        if let Some(values) = values {
            command.arg("--values").arg(values);
        }
        command
    }

    /// What it would give to a cluster, in the namespace that the documentation names.
    pub(crate) fn template(&self, arguments: &[&str]) -> Command {
        let mut command = self.command();
        command
            .args(["template", "signal-trace", CHART, "--namespace", "signal-trace", "--skip-tests"])
            .args(arguments);
        command
    }

    /// Installs the chart in a namespace that is there, and waits until all of it is ready.
    pub(crate) fn install(&self, kubeconfig: &Path, namespace: &str) -> Command {
        let mut command = self.command();
        command.args(["install", "signal-trace", CHART, "--wait", "--timeout", "120s"]);
        command.args(["--namespace", namespace, "--kubeconfig"]).arg(kubeconfig);
        command
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.0);
        command.current_dir(machine::workspace());
        command
    }
}
