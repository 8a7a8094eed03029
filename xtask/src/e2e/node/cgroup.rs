//! The cgroup that all pods are below, in every hierarchy that this machine has, and the end of what is in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal};

use super::NAME;

/// A killed process needs a moment; one that hangs in the kernel may need for ever.
const BOUND: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(50);

/// Makes it. The kubelet refuses a root that is not there.
pub(super) fn create() -> Result<()> {
    for mount in mounts()? {
        let own = mount.join(NAME);
        fs::create_dir_all(&own).with_context(|| format!("cannot make {}: this must run as root", own.display()))?;
        // The older hierarchy of processors gives a new group none, and the newer has to be asked for controllers.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if let Ok(all) = fs::read_to_string(mount.join(file))
                && !mount.join("cgroup.controllers").exists()
            {
                fs::write(own.join(file), all.trim())?;
            }
        }
        delegate(&mount)?;
        delegate(&own)?;
    }
    Ok(())
}

/// Hands every controller that a cgroup has to its children, where cgroups are of version 2.
fn delegate(group: &Path) -> Result<()> {
    let Ok(controllers) = fs::read_to_string(group.join("cgroup.controllers")) else { return Ok(()) };
    for controller in controllers.split_whitespace() {
        let file = group.join("cgroup.subtree_control");
        fs::write(&file, format!("+{controller}"))
            .with_context(|| format!("{} refuses {controller}", file.display()))?;
    }
    Ok(())
}

/// Kills every process below it, and waits until none is left.
pub(super) fn kill_all() -> Result<()> {
    let deadline = Instant::now() + BOUND;
    let groups: Vec<_> = mounts()?.into_iter().map(|mount| mount.join(NAME)).filter(|group| group.exists()).collect();
    loop {
        let mut left = Vec::new();
        groups.iter().for_each(|group| processes(group, &mut left));
        if left.is_empty() {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "processes {left:?} of the node do not end");
        for pid in left.into_iter().filter_map(Pid::from_raw) {
            // It may have ended by now.
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(LOOK);
    }
}

/// Removes it; who is not empty stays.
pub(super) fn remove() -> Result<()> {
    mounts()?.iter().for_each(|mount| prune(&mount.join(NAME)));
    Ok(())
}

/// Makes so many below it, in every hierarchy, and removes them again.
pub(crate) fn churn(count: usize) -> Result<()> {
    for number in 0..count {
        for mount in mounts()? {
            let group = mount.join(NAME).join(format!("churn-{number}"));
            fs::create_dir(&group).with_context(|| format!("cannot make {}", group.display()))?;
            fs::remove_dir(group)?;
        }
    }
    Ok(())
}

/// The processes of a container, by the cgroup that has its id for a name; none where there is no such cgroup.
pub(crate) fn processes_of(container: &str) -> Result<Vec<i32>> {
    let mut found = Vec::new();
    for mount in mounts()? {
        if let Some(group) = named(&mount.join(NAME), container) {
            processes(&group, &mut found);
        }
        if !found.is_empty() {
            break;
        }
    }
    Ok(found)
}

fn named(group: &Path, part: &str) -> Option<PathBuf> {
    if group.file_name().is_some_and(|name| name.to_string_lossy().contains(part)) {
        return Some(group.to_owned());
    }
    children(group).iter().find_map(|child| named(child, part))
}

fn prune(group: &Path) {
    children(group).iter().for_each(|child| prune(child));
    drop(fs::remove_dir(group));
}

fn processes(group: &Path, found: &mut Vec<i32>) {
    let listed = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    found.extend(listed.lines().filter_map(|pid| pid.parse::<i32>().ok()).filter(|pid| *pid > 0));
    children(group).iter().for_each(|child| processes(child, found));
}

fn children(group: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(group).into_iter().flatten().filter_map(Result::ok);
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}

/// Where this machine's hierarchies are mounted.
fn mounts() -> Result<Vec<PathBuf>> {
    let table = fs::read_to_string("/proc/self/mounts").context("/proc is not mounted")?;
    Ok(hierarchies(&table))
}

/// Every hierarchy in a table of mounts, once; private ones that only carry a name are left alone.
fn hierarchies(table: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    for line in table.lines() {
        let fields: Vec<_> = line.split(' ').collect();
        let [_, place, kind, options, ..] = fields[..] else { continue };
        let named = options.contains("name=") && !options.contains("name=systemd");
        if matches!(kind, "cgroup" | "cgroup2") && !named && place.starts_with("/sys/fs/cgroup") {
            found.push(place.into());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_found_where_they_are_mounted() {
        let hybrid = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n\
            cgroup /sys/fs/cgroup/cpuset cgroup rw,cpuset 0 0\n\
            cgroup /sys/fs/cgroup/systemd cgroup rw,xattr,name=systemd 0 0\n\
            cgroup /sys/fs/cgroup/test cgroup rw,name=test 0 0\n\
            cgroup /tmp/x cgroup rw,name=y 0 0\n\
            cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        let expected = ["cpuset", "systemd", "unified"].map(|name| Path::new("/sys/fs/cgroup").join(name));
        assert_eq!(hierarchies(hybrid), expected);
        assert_eq!(hierarchies("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n"), [Path::new("/sys/fs/cgroup")]);
        assert_eq!(hierarchies("\nbroken\n"), Vec::<PathBuf>::new());
    }
}
