//! The machine as it shows itself: kernel, types, capabilities, lockdown, cgroups, runtimes, `/proc`, clock.
//!
//! Reads files below roots that come in as parameters, and loads nothing.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;

use super::Check;
use crate::containers::Runtime;
use crate::containers::path::{Forms, Services};
use crate::containers::scan::{Hierarchy, Reach, View};
use crate::containers::snapshot::own_pid_namespace;
use crate::kernel::{Examination, Host, LoadError, Settings, btf, examine};

/// The initial pid namespace's inode (include/linux/proc_ns.h, PROC_PID_INIT_INO).
const INITIAL_PID_NAMESPACE: u64 = 0xEFFF_FFFC;
/// Before this nobody ran this program: the clock was never set.
const FIRST_RELEASE: &str = "2026-01-01T00:00:00Z";
/// Where runtimes listen.
const SOCKETS: [(&str, &str); 5] = [
    ("containerd", "run/containerd/containerd.sock"),
    ("k3s containerd", "run/k3s/containerd/containerd.sock"),
    ("cri-o", "run/crio/crio.sock"),
    ("docker", "run/docker.sock"),
    ("podman", "run/podman/podman.sock"),
];

/// Looks at everything, without loading anything.
pub fn look(settings: &Settings, root: &Path, now: Timestamp) -> Vec<Check> {
    let mut checks = kernel(&examine(&settings.host, settings.locked_bytes()));
    checks.extend(cgroups(&settings.host, root));
    checks.push(proc_view(&settings.host));
    checks.push(clock(now));
    checks
}

fn kernel(found: &Examination) -> Vec<Check> {
    let release = found.release.map_or_else(|| "of unknown release".to_owned(), |release| format!("Linux {release}"));
    let mut lacking: BTreeMap<&'static str, Check> = BTreeMap::new();
    for lack in &found.lacks {
        let name = topic(lack);
        lacking.entry(name).or_insert_with(|| Check::failed(name, lack));
    }
    let members = found.offsets.as_ref().map_or(0, |offsets| btf::located(offsets).len());
    let lockdown = found.lockdown.as_ref().map_or_else(
        || "the kernel is not locked down".to_owned(),
        |mode| format!("the kernel is locked down ({mode}), which the programs are made for"),
    );
    let good = [
        Check::ok("kernel", release),
        Check::ok("types", format!("all {members} members that the programs read are where the kernel says")),
        Check::ok("capabilities", "CAP_BPF and CAP_PERFMON, or all of them"),
        Check::ok("locked memory", "the maps fit"),
        Check::ok("lockdown", lockdown),
    ];
    good.into_iter().map(|check| lacking.remove(check.name).unwrap_or(check)).collect()
}

fn topic(lack: &LoadError) -> &'static str {
    match lack {
        LoadError::TooOld { .. } => "kernel",
        LoadError::Unreadable { path, .. } | LoadError::Unintelligible { path } => match path.file_name() {
            Some(name) if name == "osrelease" => "kernel",
            Some(name) if name == "limits" => "locked memory",
            Some(_) | None => "capabilities",
        },
        LoadError::Capabilities { .. } => "capabilities",
        LoadError::Memlock { .. } | LoadError::RaiseMemlock(_) => "locked memory",
        LoadError::NoBtf { .. } | LoadError::Btf(_) | LoadError::Types(_) => "types",
        LoadError::Forbidden { .. }
        | LoadError::Object(_)
        | LoadError::Refused { .. }
        | LoadError::Attach { .. }
        | LoadError::Map { .. }
        | LoadError::Log(_)
        | LoadError::Poll(_) => "programs",
    }
}

fn cgroups(host: &Host, root: &Path) -> Vec<Check> {
    let forms = Forms { services: Services::Skip, roots: Vec::new() };
    let hierarchy = match Hierarchy::find(&host.proc, View::Own, forms) {
        Ok(hierarchy) => hierarchy,
        Err(error) => return vec![Check::failed("cgroups", &error)],
    };
    let mount = hierarchy.mount().display().to_string();
    let check = match hierarchy.reach() {
        Reach::Whole => Check::ok("cgroups", format!("the whole v2 hierarchy is at {mount}")),
        Reach::Part => Check::warn(
            "cgroups",
            format!("only a part of the v2 hierarchy is at {mount}: containers beside this one are not seen"),
            "mount the host's /sys/fs/cgroup into this container, read-only",
        ),
    };
    vec![check, runtimes(&hierarchy, root)]
}

fn runtimes(hierarchy: &Hierarchy, root: &Path) -> Check {
    let scan = match hierarchy.scan() {
        Ok(scan) => scan,
        Err(error) => return Check::fail("runtimes", format!("the cgroups cannot be read ({error})"), "run as root"),
    };
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut is_systemd = false;
    for cgroup in &scan.cgroups {
        if let Some(identity) = &cgroup.container
            && identity.runtime != Runtime::SignalTrace
        {
            *counts.entry(identity.runtime.name().unwrap_or("a runtime that does not say its name")).or_default() += 1;
            is_systemd |= cgroup.path.ends_with(".scope");
        }
    }
    let sockets: Vec<&str> =
        SOCKETS.iter().filter(|(_, path)| root.join(path).exists()).map(|(name, _)| *name).collect();
    let running: Vec<String> = counts.iter().map(|(name, count)| format!("{count} of {name}")).collect();
    let driver = if is_systemd { "systemd" } else { "cgroupfs" };
    if !scan.unrecognised.is_empty() {
        return Check::warn(
            "runtimes",
            format!("{} cgroups look like containers in a form that is not known", scan.unrecognised.len()),
            "name the cgroup above them with `watch --root`",
        );
    }
    match (running.is_empty(), sockets.is_empty()) {
        (false, _) => Check::ok("runtimes", format!("containers: {}; cgroup driver {driver}", running.join(", "))),
        (true, false) => Check::ok("runtimes", format!("{} runs, and no container", sockets.join(", "))),
        (true, true) => Check::ok("runtimes", "none seen from here, and no container"),
    }
}

fn proc_view(host: &Host) -> Check {
    match own_pid_namespace(&host.proc) {
        Ok(namespace) if namespace.inode == INITIAL_PID_NAMESPACE => {
            Check::ok("proc", "/proc shows the host's processes")
        }
        Ok(_) => Check::warn(
            "proc",
            "/proc shows a container's processes and not the host's: what ran before the start has no names",
            "share the host's pid namespace (hostPID: true)",
        ),
        Err(error) => {
            Check::fail("proc", format!("the pid namespace cannot be read ({error})"), "mount procfs at /proc")
        }
    }
}

fn clock(now: Timestamp) -> Check {
    let is_set = FIRST_RELEASE.parse::<Timestamp>().is_ok_and(|first| now >= first);
    let shown = now.strftime("%Y-%m-%d %H:%M:%S UTC");
    if is_set {
        Check::ok("clock", format!("{shown}"))
    } else {
        Check::warn("clock", format!("{shown}: it was never set"), "set it (NTP): records carry its time")
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Level, is_ready};
    use super::*;

    fn machine(files: &[(&str, &str)]) -> (tempfile::TempDir, Vec<Check>) {
        let directory = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = directory.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let host = Host { sys: directory.path().join("sys"), proc: directory.path().join("proc") };
        let settings = Settings { host, ..Settings::default() };
        let checks = look(&settings, directory.path(), "2026-11-22T00:00:00Z".parse().unwrap());
        (directory, checks)
    }

    fn level(checks: &[Check], name: &str) -> Level {
        checks.iter().find(|check| check.name == name).unwrap().level
    }

    #[test]
    fn a_kernel_without_types_is_told_so_with_the_fix() {
        let (_directory, checks) = machine(&[
            ("proc/sys/kernel/osrelease", "6.1.0\n"),
            ("proc/self/status", "CapEff:\t0000000000000000\n"),
            ("proc/self/mountinfo", "1 0 0:1 / /sys/fs/cgroup rw - cgroup cgroup rw,memory\n"),
        ]);
        assert!(!is_ready(&checks));
        for (name, says) in [
            ("types", "CONFIG_DEBUG_INFO_BTF=y"),
            ("capabilities", "add the capabilities BPF and PERFMON"),
            ("cgroups", "systemd.unified_cgroup_hierarchy=1"),
            ("proc", "mount procfs"),
        ] {
            let check = checks.iter().find(|check| check.name == name).unwrap();
            assert_eq!(check.level, Level::Fail, "{check:?}");
            assert!(check.fix.as_ref().is_some_and(|fix| fix.contains(says)), "{check:?}");
        }
        assert_eq!((level(&checks, "kernel"), level(&checks, "clock")), (Level::Ok, Level::Ok));
    }

    #[test]
    fn a_clock_that_was_never_set_is_a_warning() {
        assert_eq!(clock(Timestamp::UNIX_EPOCH).level, Level::Warn);
    }

    #[test]
    fn every_finding_that_is_not_good_has_a_fix() {
        let (_directory, checks) = machine(&[]);
        assert!(checks.iter().all(|check| check.level == Level::Ok || check.fix.is_some()), "{checks:?}");
        let names: std::collections::BTreeSet<_> = checks.iter().map(|check| check.name).collect();
        assert_eq!(names.len(), checks.len());
    }
}
