//! The programs of the node: Kubernetes, containerd, runc and what connects a pod to the network, built from their Go
//! modules below `xtask/e2e/` into `target/e2e/bin`.
//!
//! All are static, so that they also run in a guest that has nothing else. A stamp beside them names what they were
//! built from: a second run builds nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{child, machine};

/// A Go module and what is built from it in one go.
struct Module {
    directory: &'static str,
    packages: &'static [&'static str],
    /// What the files are called; the first of a module that names its packages by `.` has to be renamed.
    programs: &'static [&'static str],
    tags: &'static str,
    cgo: Cgo,
}

/// Whether C is part of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cgo {
    Without,
    /// Linked statically all the same.
    With,
}

/// In the order in which they are built: what fails soonest comes first.
const MODULES: [Module; 4] = [
    Module {
        directory: "oci",
        packages: &["github.com/opencontainers/runc"],
        programs: &["runc"],
        // Names of users and hosts are looked up in Go: a static C library would want its shared parts for that.
        tags: "seccomp,netgo,osusergo",
        cgo: Cgo::With,
    },
    Module {
        directory: "oci",
        packages: &[
            "github.com/containernetworking/plugins/plugins/main/bridge",
            "github.com/containernetworking/plugins/plugins/main/loopback",
            "github.com/containernetworking/plugins/plugins/ipam/host-local",
        ],
        programs: &["bridge", "loopback", "host-local"],
        tags: "",
        cgo: Cgo::Without,
    },
    Module {
        directory: "containerd",
        packages: &["tool"],
        programs: &["containerd", "containerd-shim-runc-v2", "ctr"],
        tags: "",
        cgo: Cgo::Without,
    },
    Module { directory: "kubernetes", packages: &["."], programs: &["kubernetes"], tags: "", cgo: Cgo::Without },
];

/// Builds what is not there, and returns the directory that holds them all.
pub(crate) fn provide() -> Result<PathBuf> {
    let bin = machine::workspace().join("target/e2e/bin");
    fs::create_dir_all(&bin)?;
    for module in &MODULES {
        module.provide(&bin)?;
    }
    pause(&bin)?;
    Ok(bin)
}

/// The program of every pod's sandbox.
fn pause(bin: &Path) -> Result<()> {
    let source = machine::workspace().join("xtask/e2e/config/pause.c");
    let program = bin.join("pause");
    let age = |path: &Path| fs::metadata(path).and_then(|file| file.modified()).ok();
    if age(&program) < age(&source) {
        let mut compiler = Command::new("cc");
        child::show(compiler.args(["-static", "-Os", "-s", "-o"]).arg(&program).arg(&source))
            .context("the sandbox's program could not be compiled: install a C compiler and its static C library")?;
    }
    Ok(())
}

impl Module {
    fn provide(&self, bin: &Path) -> Result<()> {
        let directory = machine::workspace().join("xtask/e2e").join(self.directory);
        let manifest = fs::read_to_string(directory.join("go.mod"))
            .with_context(|| format!("cannot read go.mod in {}", directory.display()))?;
        let stamp = bin.join(format!(".{}", self.programs[0]));
        let source = self.source(&directory, &manifest)?;
        let there = self.programs.iter().all(|program| bin.join(program).exists());
        if there && fs::read_to_string(&stamp).is_ok_and(|built| built == source) {
            return Ok(());
        }
        let go = machine::find("go").context(
            "there is no `go`, which builds the Kubernetes node of the tests: install Go 1.26 or later from \
             https://go.dev/dl, and have it in PATH",
        )?;
        anstream::eprintln!(
            "{0}building {1}: minutes the first time, seconds with Go's cache warm{0:#}",
            child::QUIET,
            self.programs.join(", ")
        );
        let mut command = Command::new(go);
        command.current_dir(&directory).env("GOFLAGS", "-buildvcs=false -mod=readonly");
        command.env("CGO_ENABLED", if self.cgo == Cgo::With { "1" } else { "0" });
        command.args(["build", "-tags", self.tags, "-ldflags", &self.linking(&manifest)?, "-o"]);
        // A directory takes each program under its own name.
        command.arg(bin).args(self.packages);
        child::show(&mut command).context("the programs of the node could not be built")?;
        for program in self.programs {
            let path = bin.join(program);
            let bytes = fs::read(&path).with_context(|| format!("go did not make {}", path.display()))?;
            ensure!(crate::build::is_static(&bytes), "{} is not a static binary", path.display());
        }
        fs::write(stamp, source)?;
        Ok(())
    }

    /// Everything that decides what comes out, but for the compiler.
    fn source(&self, directory: &Path, manifest: &str) -> Result<String> {
        let main = directory.join("main.go");
        let code = if main.exists() { fs::read_to_string(main)? } else { String::new() };
        Ok(format!("{} {} {}\n{manifest}{code}", self.packages.join(" "), self.tags, self.linking(manifest)?))
    }

    fn linking(&self, manifest: &str) -> Result<String> {
        let mut flags = "-s -w".to_owned();
        if self.cgo == Cgo::With {
            flags.push_str(" -extldflags -static");
        }
        if self.directory == "kubernetes" {
            let version = required(manifest, "k8s.io/kubernetes").context("go.mod requires no k8s.io/kubernetes")?;
            flags.push_str(&stamped(version)?);
        }
        Ok(flags)
    }
}

/// The version of a module that `go.mod` requires.
fn required<'a>(manifest: &'a str, module: &str) -> Option<&'a str> {
    manifest.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some(module)).then(|| words.next()).flatten().filter(|version| version.starts_with('v'))
    })
}

/// The linker's flags by which Kubernetes knows its own version: without one it takes itself for 0.0.0.
fn stamped(version: &str) -> Result<String> {
    let mut numbers = version.trim_start_matches('v').split('.');
    let (major, minor) = numbers.next().zip(numbers.next()).context("a version without a minor number")?;
    let base = "k8s.io/component-base/version";
    Ok(format!(" -X {base}.gitVersion={version} -X {base}.gitMajor={major} -X {base}.gitMinor={minor}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "module x\n\nrequire (\n\tk8s.io/kubectl v0.0.0\n\tk8s.io/kubernetes v1.36.3\n)\n\n\
        replace (\n\tk8s.io/kubectl => k8s.io/kubectl v0.36.3\n)\n";

    #[test]
    fn the_version_is_the_one_that_is_required() {
        assert_eq!(required(MANIFEST, "k8s.io/kubernetes"), Some("v1.36.3"));
        assert_eq!(required(MANIFEST, "k8s.io/kubelet"), None);
        assert_eq!(required("replace (\n\tk8s.io/api => k8s.io/api v1\n)", "k8s.io/api"), None);
    }

    #[test]
    fn kubernetes_is_told_its_version() {
        let flags = stamped("v1.36.3").unwrap();
        assert!(flags.contains("gitVersion=v1.36.3 ") && flags.contains("gitMajor=1 "), "{flags}");
        assert!(flags.ends_with("gitMinor=36"), "{flags}");
        assert!(stamped("v1").is_err());
    }
}
