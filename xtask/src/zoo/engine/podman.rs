//! podman with runc: no daemon, one `conmon` a container.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::{Engine, Plan, debian, quiet};

/// The file's name.
const CONFIGURATION: &str = "containers.conf";
/// More than our own limits would need CAP_SYS_RESOURCE, also for the container that holds a pod's namespaces.
const LIMITS: &str = "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=10000:10000\"]\n";

pub(super) struct Podman {
    directory: PathBuf,
}

impl Podman {
    pub(super) fn start(directory: PathBuf) -> Result<Self> {
        fs::write(directory.join(CONFIGURATION), LIMITS).context("cannot write podman's configuration")?;
        Ok(Self { directory })
    }
}

impl Engine for Podman {
    fn client(&self) -> Command {
        let mut command = Command::new(debian("podman"));
        command.env("CONTAINERS_CONF", self.directory.join(CONFIGURATION));
        command.arg("--root").arg(self.directory.join("root")).arg("--runroot").arg(self.directory.join("run"));
        command.arg("--tmpdir").arg(self.directory.join("tmp"));
        command.args(["--cgroup-manager", "cgroupfs", "--events-backend", "none", "--runtime", "runc"]);
        command
    }

    fn run(&self, plan: &Plan<'_>) -> Command {
        let mut command = self.client();
        command.args(["run", "--rm", "--name", plan.name, "--network", "none"]);
        command.args(["--stop-signal", plan.stop_signal]);
        for (name, value) in &plan.environment {
            command.args(["--env", &format!("{name}={value}")]);
        }
        command.args(&plan.options).arg("--rootfs").arg(plan.root).args(plan.command);
        command
    }

    fn discard(&self, name: &str) {
        quiet(self.client().args(["rm", "--force", "--time", "0", name]));
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        quiet(self.client().args(["pod", "rm", "--all", "--force", "--time", "0"]));
        quiet(self.client().args(["rm", "--all", "--force", "--time", "0"]));
        super::remove_group("libpod_parent");
    }
}
