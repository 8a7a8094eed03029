//! The same node and cases inside a stock Debian kernel that has cgroups of version 2 alone, under QEMU's emulation.
//!
//! What boots is one archive: this very program, linked statically, the product, the programs of the node, and the few
//! tools of this machine that it calls, with their libraries. Nothing is installed in the guest and no disk is needed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::architecture::Architecture;
use crate::setup::Toolchain;
use crate::vm::cpio::Archive;
use crate::vm::guest::{Lockdown, Machine};
use crate::vm::{Series, kernels};
use crate::{build, child, machine, packages};

/// The kernel: what a current long-term distribution runs.
const KERNEL: [u32; 2] = [6, 12];
/// What pods need of a kernel and is not built into it; each after what it needs itself.
const MODULES: [&str; 5] = ["llc", "stp", "bridge", "veth", "overlay"];
/// Called by the runner, and found in no busybox.
const TOOLS: [&str; 3] = ["ip", "openssl", "setpriv"];
/// A node under emulation, with all its programs in memory.
const MEMORY: &str = "5G";
/// Three minutes until the node is ready and more for the cases; several times that beside other work.
const BOUND: Duration = Duration::from_secs(2700);
/// Everything takes so many times longer.
pub(crate) const SLOWER: u32 = 5;

/// Boots it, plays the cases, and lets their table through.
pub(crate) fn run(toolchain: &Toolchain, product: &Path, bin: &Path, arguments: &[String]) -> Result<()> {
    packages::provide(&packages::MACHINES)?;
    let runner = build::tasks(toolchain)?;
    let directory = machine::workspace().join("target/vm");
    let kernels = kernels::provide(Architecture::Amd64, &[Series::Of(KERNEL.into())], &directory)?;
    let kernel = kernels.first().context("no kernel was provided")?;
    let modules = kernels::modules(kernel, &MODULES, &directory)?;
    let initramfs = directory.join("initramfs-e2e");
    let content = pack(&runner, product, bin, &modules, arguments)?;
    fs::write(&initramfs, content).with_context(|| format!("cannot write {}", initramfs.display()))?;
    let log = machine::workspace().join("target/e2e/guest.log");
    anstream::eprintln!("{0}booting {kernel}; its console: {1}{0:#}", child::QUIET, log.display());
    let guest = Machine {
        architecture: Architecture::Amd64,
        kernel: &kernel.image,
        initramfs: &initramfs,
        lockdown: Lockdown::None,
        memory: MEMORY,
        disks: &[],
        bound: BOUND,
    };
    let ended = guest.boot(&log)?;
    let console = fs::read(&log)?;
    let (said, status) = said(&String::from_utf8_lossy(&console));
    print!("\n{said}");
    ended?;
    let status = status.with_context(|| format!("the guest did not come to its end: {}", log.display()))?;
    ensure!(status == 0, "the cases ended with exit status {status} in the guest: {}", log.display());
    Ok(())
}

/// What the guest printed for people, and the status of its run.
fn said(console: &str) -> (String, Option<i32>) {
    let mut said = String::new();
    let mut status = None;
    for line in console.lines() {
        let Some((_, words)) = line.split_once("guest: ") else { continue };
        let (word, rest) = words.trim_end().split_once(' ').unwrap_or((words.trim_end(), ""));
        match word {
            "kernel" => said.push_str(&format!("kernel {rest}, cgroup v2 only\n")),
            "said" | "err" => said.push_str(&format!("{rest}\n")),
            "exit" => status = rest.parse().ok(),
            _ => {}
        }
    }
    (said, status)
}

/// The guest's file system.
fn pack(runner: &Path, product: &Path, bin: &Path, modules: &[Vec<u8>], arguments: &[String]) -> Result<Vec<u8>> {
    let mut files: Vec<(PathBuf, Vec<u8>)> = Vec::new();
    let read = |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let mut put = |place: &str, content: Vec<u8>| files.push((place.into(), content));
    put("init", include_bytes!("../../e2e/guest/init.sh").to_vec());
    put("arguments", arguments.join(" ").into_bytes());
    put("bin/busybox", read(Path::new(packages::BUSYBOX))?);
    put("bin/xtask", read(runner)?);
    put("bin/signal-trace", read(product)?);
    // Both are given to every pod.
    put("etc/resolv.conf", Vec::new());
    put("etc/hosts", b"127.0.0.1 localhost\n".to_vec());
    // The kubelet looks for a user of its own in them.
    put("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n".to_vec());
    put("etc/group", b"root:x:0:\n".to_vec());
    put("etc/ssl/openssl.cnf", read(Path::new("/etc/ssl/openssl.cnf"))?);
    for (number, (name, module)) in MODULES.iter().zip(modules).enumerate() {
        put(&format!("modules/{number}-{name}.ko"), module.clone());
    }
    let tools = TOOLS.map(|tool| machine::find(tool).with_context(|| format!("there is no {tool} here")));
    let mut copied: BTreeSet<PathBuf> = [packages::BASH, packages::TINI].map(PathBuf::from).into();
    for tool in tools {
        let tool = tool?;
        copied.extend(libraries(&child::read(Command::new("ldd").arg(&tool))?));
        put(&format!("bin/{}", tool.file_name().unwrap_or_default().to_string_lossy()), read(&tool)?);
    }
    // At the same places: the programs, and the cases, which the runner finds where they were when it was built.
    let cases = machine::workspace().join("xtask/e2e/cases");
    for directory in [bin, &cases] {
        for entry in fs::read_dir(directory)? {
            copied.insert(entry?.path());
        }
    }
    for path in copied {
        put(&path.display().to_string(), read(&path)?);
    }
    Ok(archive(&files))
}

/// The files with all directories above them, and those that have to be mounted on.
fn archive(files: &[(PathBuf, Vec<u8>)]) -> Vec<u8> {
    let places: Vec<_> = files.iter().map(|(place, _)| place.strip_prefix("/").unwrap_or(place)).collect();
    let mut directories: BTreeSet<&Path> = places.iter().flat_map(|place| place.ancestors().skip(1)).collect();
    directories.extend(["new", "root"].map(Path::new));
    directories.remove(Path::new(""));
    let mut archive = Archive::default();
    directories.iter().for_each(|directory| archive.directory(&directory.display().to_string()));
    for (place, (_, content)) in places.iter().zip(files) {
        archive.program(&place.display().to_string(), content);
    }
    archive.finish()
}

/// The files in what `ldd` prints.
fn libraries(list: &str) -> impl Iterator<Item = PathBuf> {
    list.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_from_the_list() {
        let list = "\tlinux-vdso.so.1 (0x7ffd)\n\tlibc.so.6 => /lib/x/libc.so.6 (0x7f)\n\t/lib64/ld.so.2 (0x7f)\n";
        assert_eq!(libraries(list).collect::<Vec<_>>(), ["/lib/x/libc.so.6", "/lib64/ld.so.2"].map(PathBuf::from));
        assert_eq!(libraries("\tnot a dynamic executable\n").count(), 0);
    }

    #[test]
    fn every_file_has_the_directories_above_it() {
        let bytes = archive(&[("/a/b/c".into(), vec![1]), ("init".into(), vec![])]);
        let text = String::from_utf8_lossy(&bytes);
        let at = |name: &str| text.find(&format!("{name}\0")).unwrap_or_else(|| panic!("{name}"));
        assert!(at("a/b") < at("a/b/c"));
        assert!(text.contains("new\0") && !text.contains("/a/b\0"));
    }

    #[test]
    fn a_console_is_read() {
        let console =
            "SeaBIOS\nguest: kernel 6.12\r\nguest: said case  ok\r\nnoise\nguest: err gone\nguest: exit 1\r\n";
        assert_eq!(said(console), ("kernel 6.12, cgroup v2 only\ncase  ok\ngone\n".into(), Some(1)));
        assert_eq!(said("guest: kernel x\n").1, None);
    }
}
