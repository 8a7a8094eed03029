//! Debian packages that the build and the tests need beside a Rust toolchain: what is missing is installed, and said.
//!
//! A need is judged by the file that is used, not by the package's name: another package, or no package, may have
//! brought it. Where there is no apt, what is missing is named.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::{build, child, machine};

/// A package, and whether this machine lacks what it brings.
pub(crate) struct Package {
    name: &'static str,
    missing: fn() -> bool,
}

/// The C compiler of the static binary: parts of its cryptography are in C.
pub(crate) const STATIC: [Package; 1] =
    [Package { name: "musl-tools", missing: || machine::find("musl-gcc").is_none() }];

/// The shell that containers and virtual machines are made of.
pub(crate) const BUSYBOX: &str = "/bin/busybox";
/// A second shell for them, whose traps and jobs differ.
pub(crate) const BASH: &str = "/bin/bash-static";
/// An init that passes signals on, for containers.
pub(crate) const TINI: &str = "/usr/bin/tini-static";
/// The keys that Debian's archives are signed with, of all releases.
pub(crate) const DEBIAN_KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Real containers: a runtime, and something to put into them.
pub(crate) const CONTAINERS: [Package; 3] = [
    Package { name: "containerd", missing: || machine::find("containerd").is_none() || machine::find("ctr").is_none() },
    Package { name: "runc", missing: || machine::find("runc").is_none() },
    Package { name: "busybox-static", missing: || !static_file(BUSYBOX) },
];

/// A Debian system below `target`.
pub(crate) const DEBIAN: [Package; 2] = [
    Package { name: "debootstrap", missing: || machine::find("debootstrap").is_none() },
    Package { name: "debian-archive-keyring", missing: || !Path::new(DEBIAN_KEYS).exists() },
];

/// Container runtimes besides containerd, with what they use as init.
pub(crate) const ENGINES: [Package; 3] = [
    Package { name: "catatonit", missing: || !Path::new("/usr/libexec/podman/catatonit").exists() },
    Package { name: "docker.io", missing: || machine::find("dockerd").is_none() },
    Package { name: "podman", missing: || machine::find("podman").is_none() },
];

/// Virtual machines: an emulator, what boots in it, and the keys that Debian's kernels are signed with.
pub(crate) const MACHINES: [Package; 4] = [
    Package { name: "qemu-system-x86", missing: || machine::find("qemu-system-x86_64").is_none() },
    Package { name: "busybox-static", missing: || !static_file(BUSYBOX) },
    Package { name: "bash-static", missing: || !static_file(BASH) },
    Package { name: "debian-archive-keyring", missing: || !Path::new(DEBIAN_KEYS).exists() },
];

/// What the C parts include, which the compiler only recommends.
const ARM_HEADERS: &str = "/usr/aarch64-linux-gnu/include/stdint.h";

/// Virtual machines of the other architecture, and the compiler for what runs in them, whose shells are fetched.
pub(crate) const ARM_MACHINES: [Package; 4] = [
    Package { name: "qemu-system-arm", missing: || machine::find("qemu-system-aarch64").is_none() },
    Package { name: "gcc-aarch64-linux-gnu", missing: || machine::find("aarch64-linux-gnu-gcc").is_none() },
    Package { name: "libc6-dev-arm64-cross", missing: || !Path::new(ARM_HEADERS).exists() },
    Package { name: "debian-archive-keyring", missing: || !Path::new(DEBIAN_KEYS).exists() },
];

/// A Kubernetes node of our own, beside what is built for it: its network, its certificates, and what its pods run.
pub(crate) const NODE: [Package; 7] = [
    Package { name: "iproute2", missing: || machine::find("ip").is_none() },
    Package { name: "openssl", missing: || machine::find("openssl").is_none() },
    Package { name: "busybox-static", missing: || !static_file(BUSYBOX) },
    Package { name: "bash-static", missing: || !static_file(BASH) },
    Package { name: "tini", missing: || !static_file(TINI) },
    // runc is built with it, which asks for it in this way.
    Package { name: "libseccomp-dev", missing: || !Path::new("/usr/include/seccomp.h").exists() },
    Package { name: "pkg-config", missing: || machine::find("pkg-config").is_none() },
];

/// Who counts instructions.
pub(crate) const COUNTERS: [Package; 1] =
    [Package { name: "valgrind", missing: || machine::find("valgrind").is_none() }];

/// Other tracers of signals, to be measured beside ours.
pub(crate) const PEERS: [Package; 2] = [
    Package { name: "bpftrace", missing: || machine::find("killsnoop.bt").is_none() },
    Package { name: "libbpf-tools", missing: || machine::find("sigsnoop").is_none() },
];

/// Who lists what is loaded into the kernel.
pub(crate) const LISTERS: [Package; 1] = [Package { name: "bpftool", missing: || machine::find("bpftool").is_none() }];

/// Who scrapes the metrics, and checks their form.
pub(crate) const METRICS: [Package; 1] = [Package {
    name: "prometheus",
    missing: || machine::find("prometheus").is_none() || machine::find("promtool").is_none(),
}];

/// Who draws the dashboards, and with which letters.
pub(crate) const BROWSER: [Package; 2] = [
    Package { name: "chromium", missing: || machine::find("chromium").is_none() },
    Package {
        name: "fonts-dejavu-core",
        missing: || !Path::new("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf").exists(),
    },
];

/// Installs those whose files are not here.
pub(crate) fn provide<'a>(packages: impl IntoIterator<Item = &'a Package>) -> Result<()> {
    let mut missing: Vec<_> = packages.into_iter().filter(|package| (package.missing)()).collect();
    missing.sort_by_key(|package| package.name);
    missing.dedup_by_key(|package| package.name);
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = missing.iter().map(|package| package.name).collect();
    let list = names.join(" ");
    ensure!(
        machine::find("apt-get").is_some(),
        "this needs what Debian calls {list}: install it as this distribution does"
    );
    anstream::eprintln!("missing here, installed now: {list}");
    let apt = || -> Result<_> {
        let mut command = machine::as_root("apt-get")?;
        command.env("DEBIAN_FRONTEND", "noninteractive");
        Ok(command)
    };
    child::show(apt()?.args(["update", "--quiet"]))?;
    child::show(apt()?.args(["install", "--quiet", "--yes", "--no-install-recommends"]).args(&names))?;
    let still: Vec<_> = missing.iter().filter(|package| (package.missing)()).map(|package| package.name).collect();
    ensure!(still.is_empty(), "apt installed {}, yet what it should bring is not here", still.join(" "));
    Ok(())
}

fn static_file(path: &str) -> bool {
    std::fs::read(path).is_ok_and(|bytes| build::is_static(&bytes))
}
