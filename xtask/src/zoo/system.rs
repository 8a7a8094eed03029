//! Debian systems below `target/zoo`, made once by debootstrap, and given the packages that cases ask for when they first
//! do: the one that containers are made of, and the one that virtual machines boot. And `/zoo`, the animals that are no
//! package of Debian's.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::vm::Mirrors;
use crate::{child, machine, packages};

/// Cases name versions of it in their paths.
const RELEASE: &str = "bookworm";

/// Services would start as they are installed, and documentation is for nobody here.
const POLICY: &str = "#!/bin/sh\nexit 101\n";
/// No runtime brings it everywhere, and servers listen there.
const HOSTS: &str = "127.0.0.1 localhost\n::1 localhost\n";
const DPKG: &str =
    "path-exclude=/usr/share/doc/*\npath-exclude=/usr/share/man/*\npath-exclude=/usr/share/locale/*\nforce-unsafe-io\n";

/// Containers are made of it.
pub(crate) const CONTAINERS: &str = RELEASE;
/// Virtual machines boot it.
pub(crate) const MACHINE: &str = "machine";

/// A Debian system.
pub(crate) struct System {
    pub(crate) root: PathBuf,
    /// The packages that were asked for, a line each.
    pub(crate) packages: PathBuf,
}

/// The system of this name, with these packages.
pub(crate) fn provide<'a>(name: &str, wanted: impl IntoIterator<Item = &'a str>) -> Result<System> {
    let directory = machine::workspace().join("target/zoo");
    fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let root = directory.join(name);
    if !root.exists() {
        let unfinished = directory.join(format!("{name}.unfinished"));
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished).context("cannot remove what an earlier run left")?;
        }
        bootstrap(&unfinished)?;
        fs::rename(&unfinished, &root)?;
    }
    // Also of one that an earlier run made.
    configure(&root)?;
    let packages = directory.join(format!("{name}.packages"));
    let text = fs::read_to_string(&packages).unwrap_or_default();
    let mut there: BTreeSet<_> = text.lines().collect();
    let missing: BTreeSet<_> = wanted.into_iter().filter(|package| !there.contains(package)).collect();
    if !missing.is_empty() {
        install(&root, &missing)?;
        there.extend(missing);
        fs::write(&packages, there.into_iter().map(|name| format!("{name}\n")).collect::<String>())?;
    }
    Ok(System { root, packages })
}

fn bootstrap(root: &Path) -> Result<()> {
    let mirrors = Mirrors::of_this_machine()?;
    let mut command = Command::new("debootstrap");
    command.args(["--variant=minbase", &format!("--keyring={}", packages::DEBIAN_KEYS), RELEASE]);
    command.env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default()));
    child::show(command.arg(root).arg(mirrors.main()).stdout(std::io::stderr()))
}

fn configure(root: &Path) -> Result<()> {
    for (file, text) in [("usr/sbin/policy-rc.d", POLICY), ("etc/dpkg/dpkg.cfg.d/zoo", DPKG), ("etc/hosts", HOSTS)] {
        fs::write(root.join(file), text)?;
    }
    Ok(fs::set_permissions(root.join("usr/sbin/policy-rc.d"), fs::Permissions::from_mode(0o755))?)
}

fn install(root: &Path, missing: &BTreeSet<&str>) -> Result<()> {
    let names = missing.iter().copied().collect::<Vec<_>>().join(" ");
    fs::copy("/etc/resolv.conf", root.join("etc/resolv.conf")).context("cannot copy resolv.conf")?;
    // In a mount namespace of its own, so that /proc is gone with it.
    let script = format!(
        "mount -t proc proc \"$1/proc\" && exec chroot \"$1\" sh -ec 'apt-get update --quiet && \
         apt-get install --quiet --yes --no-install-recommends {names} && apt-get clean'"
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", &script, "sh"]).arg(root);
    command.env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C").stdout(std::io::stderr());
    child::show(&mut command).with_context(|| format!("cannot install {names} in {}", root.display()))
}

/// What is `/zoo` in every container, made anew at `to`: the repository's own files, and the product as one more program.
pub(crate) fn animals(to: &Path, product: &Path) -> Result<()> {
    let from = machine::workspace().join("xtask/zoo/files");
    child::read(Command::new("cp").arg("--recursive").arg("--dereference").arg(&from).arg(to))?;
    fs::copy(product, to.join("signal-trace")).context("cannot copy the product")?;
    Ok(())
}
