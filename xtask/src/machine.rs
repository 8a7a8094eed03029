//! What this machine is and may do. Each lack is one sentence with the way out; nothing is installed from here.

use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The directory of the workspace.
pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// `cargo` in the workspace, where rust-toolchain.toml says which one that is.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(workspace());
    command
}

/// The programs attach to a Linux kernel, and so does everything here.
pub(crate) fn require_linux() -> Result<()> {
    ensure!(
        cfg!(target_os = "linux"),
        "signal-trace attaches to a Linux kernel: run this on Linux, or in a virtual machine"
    );
    Ok(())
}

/// The kernel must describe its own types, and we must be allowed to load programs.
pub(crate) fn require_tracing() -> Result<()> {
    ensure!(
        Path::new("/sys/kernel/btf/vmlinux").exists(),
        "this kernel does not describe its types in /sys/kernel/btf/vmlinux: boot one built with CONFIG_DEBUG_INFO_BTF=y, \
         as distributions' own kernels are"
    );
    sudo().map(drop)
}

/// A command that runs `program` as root: directly, or through sudo with our environment.
pub(crate) fn as_root(program: impl AsRef<OsStr>) -> Result<Command> {
    let Some(sudo) = sudo()? else {
        return Ok(Command::new(program));
    };
    let mut command = Command::new(sudo);
    command.arg("--preserve-env").arg(program);
    Ok(command)
}

/// `cargo` that builds as ourselves and runs what it built for `host` as root.
pub(crate) fn cargo_as_root(host: &str) -> Result<Command> {
    let mut command = cargo();
    if sudo()?.is_some() {
        let variable = format!("CARGO_TARGET_{}_RUNNER", host.to_uppercase().replace('-', "_"));
        command.env(variable, "sudo --preserve-env");
    }
    Ok(command)
}

/// Where `program` is: in PATH or among the system's own programs, which are not in every user's PATH.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(system).map(|directory| directory.join(program)).find(|file| file.is_file())
}

/// The way to root: none where we are root already.
fn sudo() -> Result<Option<PathBuf>> {
    let ourselves = std::fs::metadata("/proc/self").context("/proc is not mounted")?;
    if ourselves.uid() == 0 {
        return Ok(None);
    }
    find("sudo").map(Some).context("this must run as root and there is no sudo here: run the same command as root")
}
