//! Docker Engine, with a containerd of its own. Its one image is empty but for the links of a Debian system, and the
//! system itself is mounted into every container: importing gigabytes would take minutes.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{Daemon, Engine, Ground, Plan, debian, path_with_system_programs, quiet, remove_group};
use crate::child;
use crate::zoo::wait::until;

const IMAGE: &str = "zoo";
const GROUP: &str = "signal-trace-zoo";

pub(super) struct Docker {
    _daemon: Daemon,
    directory: PathBuf,
    system: PathBuf,
    files: PathBuf,
}

impl Docker {
    pub(super) fn start(directory: PathBuf, ground: &Ground<'_>) -> Result<Self> {
        let at = |name: &str| directory.join(name);
        let mut command = Command::new(debian("dockerd"));
        command.arg("--data-root").arg(at("data")).arg("--exec-root").arg(at("exec")).arg("--pidfile").arg(at("pid"));
        command.arg("--host").arg(format!("unix://{}", at("socket").display()));
        command.args(["--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver=vfs"]);
        command.args(["--cgroup-parent", &format!("/{GROUP}")]).env("PATH", path_with_system_programs());
        let daemon = Daemon::spawn(&mut command, &directory)?;
        let (system, files) = (ground.system.to_owned(), ground.files.to_owned());
        let docker = Self { _daemon: daemon, directory, system, files };
        until("dockerd answers", || Ok(quiet(docker.client().arg("version")).then_some(())))?;
        docker.import(&docker.directory.join("image"))?;
        Ok(docker)
    }

    fn import(&self, image: &Path) -> Result<()> {
        for directory in ["usr", "sbin", "etc", "tmp", "run", "root", "var/tmp", "zoo"] {
            fs::create_dir_all(image.join(directory))?;
        }
        // `/sbin` is a folder: Docker mounts its init there, which a mounted `/usr` would hide.
        for link in ["bin", "lib", "lib64"] {
            symlink(format!("usr/{link}"), image.join(link))?;
        }
        let archive = self.directory.join("image.tar");
        child::read(
            Command::new("tar").arg("--create").arg("--file").arg(&archive).arg("--directory").arg(image).arg("."),
        )?;
        child::read(self.client().arg("import").arg(&archive).arg(IMAGE)).context("dockerd takes no image")?;
        Ok(())
    }
}

impl Engine for Docker {
    fn client(&self) -> Command {
        let mut command = Command::new(debian("docker"));
        command.arg("--host").arg(format!("unix://{}", self.directory.join("socket").display()));
        command
    }

    fn run(&self, plan: &Plan<'_>) -> Command {
        let mut command = self.client();
        command.args(["run", "--rm", "--name", plan.name, "--network", "none"]);
        command.args(["--stop-signal", plan.stop_signal]);
        for (source, target) in [(self.system.join("usr"), "/usr"), (self.files.clone(), "/zoo")] {
            command.arg("--volume").arg(format!("{}:{target}:ro", source.display()));
        }
        for (name, value) in &plan.environment {
            command.args(["--env", &format!("{name}={value}")]);
        }
        command.args(&plan.options).arg(IMAGE).args(plan.command);
        command
    }

    fn discard(&self, name: &str) {
        quiet(self.client().args(["rm", "--force", name]));
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        remove_group(GROUP);
    }
}
