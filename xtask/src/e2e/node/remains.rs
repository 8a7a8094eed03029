//! What a node leaves on the machine, and its removal: after an orderly end as after one that was killed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::mount::UnmountFlags;
use rustix::process::{Pid, Signal};

use super::{NAME, STATE, cgroup};
use crate::child;

/// Links to containers' logs, which the kubelet puts there whatever it is told.
const LOG_LINKS: &str = "/var/log/containers";
/// What the network plugins' library remembers, likewise.
const NETWORK_RESULTS: &str = "/var/lib/cni/results";

/// Ends and removes everything that has the node's name or lies in its state.
pub(super) fn clear() -> Result<()> {
    // Shims belong to no group of the node's and outlive containerd: they are known by its socket on their command line.
    for pid in processes_of_the_state()? {
        let _ = rustix::process::kill_process(pid, Signal::KILL);
    }
    cgroup::kill_all()?;
    for place in mounts_below(&fs::read_to_string("/proc/self/mounts")?, Path::new(STATE)) {
        let _ = rustix::mount::unmount(&place, UnmountFlags::DETACH);
    }
    let left = mounts_below(&fs::read_to_string("/proc/self/mounts")?, Path::new(STATE));
    ensure!(left.is_empty(), "still mounted, and so not removed: {left:?}");
    if Path::new(STATE).exists() {
        fs::remove_dir_all(STATE).with_context(|| format!("cannot remove {STATE}"))?;
    }
    cgroup::remove()?;
    dangling_links(Path::new(LOG_LINKS));
    for file in entries(Path::new(NETWORK_RESULTS)) {
        if file.file_name().is_some_and(|name| name.to_string_lossy().starts_with(NAME)) {
            drop(fs::remove_file(file));
        }
    }
    if Path::new("/run/netns").join(NAME).exists() {
        child::read(Command::new("ip").args(["netns", "delete", NAME]))?;
    }
    Ok(())
}

fn processes_of_the_state() -> Result<Vec<Pid>> {
    let ourselves = std::process::id().to_string();
    let mut found = Vec::new();
    for entry in entries(Path::new("/proc")) {
        let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(pid) = name.parse().ok().and_then(Pid::from_raw).filter(|_| name != ourselves) else { continue };
        let line = fs::read(entry.join("cmdline")).unwrap_or_default();
        let words: Vec<_> = line.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
        let program = Path::new(words[0].as_ref()).file_name().unwrap_or_default().to_string_lossy().into_owned();
        let ours = ["kubernetes", "containerd", "containerd-shim-runc-v2"].contains(&&*program);
        if ours && words.iter().any(|word| word.contains(STATE)) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// Innermost first.
fn mounts_below(table: &str, directory: &Path) -> Vec<PathBuf> {
    let places = table.lines().filter_map(|line| line.split(' ').nth(1)).map(|place| PathBuf::from(unescaped(place)));
    let mut below: Vec<_> = places.filter(|place| place.starts_with(directory)).collect();
    below.reverse();
    below
}

/// The kernel writes a blank in a path as `\040`, and so on.
fn unescaped(place: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(place.to_owned(), |place, (code, letter)| place.replace(code, letter))
}

fn dangling_links(directory: &Path) {
    for link in entries(directory) {
        if fs::read_link(&link).is_ok_and(|target| target.starts_with(STATE)) {
            drop(fs::remove_file(link));
        }
    }
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mounted_last_goes_first() {
        let table = "a /run/x rw\nb /run/x/one rw\nc /run/xy rw\nd /run/x/one/a\\040b rw\n";
        let below = mounts_below(table, Path::new("/run/x"));
        assert_eq!(below, ["/run/x/one/a b", "/run/x/one", "/run/x"].map(PathBuf::from));
    }
}
