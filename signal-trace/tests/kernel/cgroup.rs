//! Cgroups of the v2 hierarchy that a test makes, and that are gone when it ends, however it ends.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use signal_trace::event::{CgroupId, Pid};

use crate::story::POLL;

/// A directory of a cgroup hierarchy.
pub(crate) struct Cgroup {
    path: PathBuf,
    id: CgroupId,
}

impl Cgroup {
    /// A new one below the root of the v2 hierarchy.
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Self::make(mount_of("cgroup2", "").join(format!("signal-trace-test-{}-{count}", std::process::id())))
    }

    /// A new one below this one.
    pub(crate) fn nested(&self, name: &str) -> Self {
        Self::make(self.path.join(name))
    }

    /// A new one at that path.
    pub(crate) fn make(path: PathBuf) -> Self {
        fs::create_dir(&path).unwrap_or_else(|e| panic!("cannot make {}: {e}; these tests need root", path.display()));
        let id = CgroupId(fs::metadata(&path).unwrap().ino());
        Self { path, id }
    }

    /// Its id, which is its inode.
    pub(crate) fn id(&self) -> CgroupId {
        self.id
    }

    /// Its directory.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Moves a process into it.
    pub(crate) fn take_in(&self, pid: Pid) {
        fs::write(self.path.join("cgroup.procs"), pid.0.to_string()).unwrap();
    }

    /// Removes it, once it is empty.
    pub(crate) fn remove(self) {
        drop(self);
    }

    fn kill_all(&self) {
        let members = fs::read_to_string(self.path.join("cgroup.procs")).unwrap_or_default();
        for pid in members.lines().filter_map(|pid| pid.parse().ok()) {
            crate::actor::end(pid);
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while let Err(error) = fs::remove_dir(&self.path) {
            if error.kind() == ErrorKind::NotFound || Instant::now() > deadline {
                return;
            }
            self.kill_all();
            std::thread::sleep(POLL);
        }
    }
}

/// Where the hierarchy of that type is mounted, with that option if one is named.
pub(crate) fn mount_of(kind: &str, option: &str) -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let found = mounts.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        let fits = fields[2] == kind && (option.is_empty() || fields[3].split(',').any(|o| o == option));
        fits.then(|| PathBuf::from(fields[1]))
    });
    found.unwrap_or_else(|| panic!("no {kind} {option} hierarchy is mounted; these tests need one"))
}

/// Bounds the memory of a process: by its cgroup where v2 has the controller, else by a v1 cgroup that is returned.
pub(crate) fn limit_memory(cgroup: &Cgroup, pid: Pid, bytes: u64) -> Option<Cgroup> {
    let root = mount_of("cgroup2", "");
    if fs::read_to_string(root.join("cgroup.controllers")).unwrap().split(' ').any(|c| c.trim() == "memory") {
        fs::write(root.join("cgroup.subtree_control"), "+memory").unwrap();
        fs::write(cgroup.path().join("memory.max"), bytes.to_string()).unwrap();
        return None;
    }
    let name = cgroup.path().file_name().unwrap();
    let limited = Cgroup::make(mount_of("cgroup", "memory").join(name));
    fs::write(limited.path().join("memory.limit_in_bytes"), bytes.to_string()).unwrap();
    limited.take_in(pid);
    Some(limited)
}
