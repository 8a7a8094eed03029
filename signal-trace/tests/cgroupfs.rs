//! The scan and the snapshot against the real kernel: made cgroups, with real processes in them.
//!
//! Needs the right to make cgroups at the root of a mounted v2 hierarchy. Without it there is nothing to try, and the
//! tests say so and end.
#![expect(clippy::unwrap_used, reason = "what makes and reads the cgroups of a test fails it where it stands")]

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use signal_trace::containers::index::Index;
use signal_trace::containers::path::Forms;
use signal_trace::containers::scan::{Hierarchy, Reach, View};
use signal_trace::containers::snapshot::{Look, own_pid_namespace, pid_namespace};
use signal_trace::containers::{Cgroup, Runtime};
use signal_trace::event::{CgroupId, Comm, KernelTime, Pid, SeenProcess, StartTick};

const PROC: &str = "/proc";

/// A group at the root of the real hierarchy, and what a test makes below it; both are gone when it is dropped.
struct Group {
    hierarchy: Hierarchy,
    path: String,
}

impl Group {
    fn new(name: &str) -> Option<Self> {
        let hierarchy = Hierarchy::find(Path::new(PROC), View::Own, Forms::default())
            .inspect_err(|error| eprintln!("skipped: {error}"))
            .ok()?;
        let group = Self { hierarchy, path: format!("/cgroupfs-test-{name}-{}", std::process::id()) };
        match fs::create_dir(group.directory("")) {
            Ok(()) => Some(group),
            Err(error)
                if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) =>
            {
                eprintln!("skipped: cannot make a cgroup: {error}");
                None
            }
            Err(error) => panic!("cannot make {}: {error}", group.path),
        }
    }

    fn directory(&self, below: &str) -> PathBuf {
        self.hierarchy.mount().join(self.path.trim_start_matches('/')).join(below)
    }

    fn make(&self, below: &str) -> CgroupId {
        fs::create_dir_all(self.directory(below)).unwrap();
        CgroupId(fs::metadata(self.directory(below)).unwrap().ino())
    }

    /// The cgroup at a path below this group, as a scan of everything has it.
    fn scanned(&self, below: &str) -> Cgroup {
        let path = format!("{}/{below}", self.path);
        self.hierarchy.scan().unwrap().cgroups.into_iter().find(|cgroup| cgroup.path == path).unwrap()
    }

    fn look(&self, container: &Cgroup) -> Look {
        self.hierarchy.snapshot(Path::new(PROC), container, KernelTime(1)).unwrap()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        remove(&self.directory(""));
    }
}

/// Removes a cgroup and those below it.
fn remove(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    if let Err(error) = fs::remove_dir(directory)
        && error.kind() != io::ErrorKind::NotFound
    {
        eprintln!("{} stays: {error}", directory.display());
    }
}

/// A `cat` in a cgroup, that has begun to run and ends when it is dropped.
struct Cat(Child);

impl Cat {
    /// Runs `command`, which is or starts a `cat`, in the cgroup of that directory.
    fn run(directory: &Path, command: &str) -> Self {
        let child = Command::new("sh")
            .args(["-c", &format!("echo $$ > \"$0/cgroup.procs\" && exec {command}")])
            .arg(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut cat = Self(child);
        cat.0.stdin.as_mut().unwrap().write_all(b"ready\n").unwrap();
        let mut line = String::new();
        BufReader::new(cat.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "{command}");
        cat
    }

    fn pid(&self) -> Pid {
        Pid(self.0.id())
    }
}

impl Drop for Cat {
    fn drop(&mut self) {
        // Its input ends, so it does; whoever started it has waited for it.
        let _ = self.0.wait();
    }
}

fn processes(look: &Look) -> Vec<SeenProcess> {
    let mut processes = look.snapshot.processes.clone();
    processes.sort_by_key(|process| process.level);
    processes
}

/// When a process of a harmless name started: field 22 of its stat.
fn start_of(pid: Pid) -> StartTick {
    let stat = fs::read_to_string(format!("{PROC}/{}/stat", pid.0)).unwrap();
    StartTick(stat.split(' ').nth(21).unwrap().parse().unwrap())
}

#[test]
fn a_made_container_is_scanned_found_and_looked_at() {
    let Some(group) = Group::new("made") else { return };
    let root = group.make("signal-trace/outer");
    let part = group.make("signal-trace/outer/part");
    let nested = group.make("signal-trace/outer/part/signal-trace/inner");
    let cats = [
        Cat::run(&group.directory("signal-trace/outer"), "cat"),
        Cat::run(&group.directory("signal-trace/outer/part"), "cat"),
        Cat::run(&group.directory("signal-trace/outer/part/signal-trace/inner"), "cat"),
    ];

    let scan = group.hierarchy.scan().unwrap();
    let whole = group.hierarchy.reach() == Reach::Whole;
    assert_eq!(scan.cgroups[0].id == CgroupId(1), whole, "the id of the root is 1, and no other's");
    let mut index = Index::new(100_000);
    for cgroup in scan.cgroups {
        index.apply(cgroup);
    }
    assert_eq!((index.container_of(part), index.container_of(nested)), (Some(root), Some(nested)));
    assert!(index.encloses(root, nested));
    let identity = index.identity(root).unwrap();
    assert_eq!((identity.runtime, identity.id.as_str()), (Runtime::SignalTrace, "outer"));

    let parent_path = format!("{}/signal-trace", group.path);
    let found = group.hierarchy.find_child(&parent_path, root).unwrap().unwrap();
    assert_eq!(found, group.scanned("signal-trace/outer"));

    let look = group.look(&found);
    let mut seen: Vec<_> = look.snapshot.processes.iter().map(|process| (process.key.pid, process.cgroup)).collect();
    seen.sort();
    let mut expected = vec![(cats[0].pid(), root), (cats[1].pid(), part)];
    expected.sort();
    assert_eq!((seen, look.left_out), (expected, 0), "the nested container's is not in it");
    let inner = processes(&group.look(&group.scanned("signal-trace/outer/part/signal-trace/inner")));
    assert_eq!(inner.len(), 1);
    let cat = inner[0];
    assert_eq!((cat.key.pid, cat.key.start), (cats[2].pid(), start_of(cats[2].pid())));
    assert_eq!((cat.comm, cat.parent, cat.cgroup), (Comm::new(b"cat"), Pid(std::process::id()), nested));

    drop(cats);
    assert_eq!(group.look(&found).snapshot.processes, [], "they have ended");
    remove(&group.directory("signal-trace/outer"));
    assert_eq!(group.look(&found).snapshot.processes, [], "it is gone");
    assert_eq!(group.hierarchy.find_child(&parent_path, root).unwrap(), None);
}

#[test]
fn an_init_is_seen_at_its_level_and_in_its_namespace() {
    let Some(group) = Group::new("init") else { return };
    group.make("signal-trace/c");
    let outer = Cat::run(&group.directory("signal-trace/c"), "unshare --pid --fork cat");

    let seen = processes(&group.look(&group.scanned("signal-trace/c")));

    let [unshare, cat] = seen[..] else { panic!("{seen:?}") };
    assert_eq!((unshare.key.pid, cat.parent), (outer.pid(), outer.pid()));
    assert_eq!((cat.comm, cat.ns_pid, cat.level), (Comm::new(b"cat"), Pid(1), unshare.level + 1));
    let proc = Path::new(PROC);
    let own = own_pid_namespace(proc).unwrap();
    assert_eq!(pid_namespace(proc, unshare.key.pid).unwrap(), own);
    let inside = pid_namespace(proc, cat.key.pid).unwrap();
    assert_eq!(inside.device, own.device);
    assert_ne!(inside.inode, own.inode);
    let link = fs::read_link(format!("{PROC}/{}/ns/pid", cat.key.pid.0)).unwrap();
    assert_eq!(link, PathBuf::from(format!("pid:[{}]", inside.inode)));
}

#[test]
fn a_threaded_cgroup_has_the_processes_of_its_threads() {
    let Some(group) = Group::new("threaded") else { return };
    group.make("signal-trace/c/threads");
    fs::write(group.directory("signal-trace/c/threads/cgroup.type"), "threaded").unwrap();
    let cat = Cat::run(&group.directory("signal-trace/c/threads"), "cat");
    let refused = fs::read(group.directory("signal-trace/c/threads/cgroup.procs")).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::Unsupported, "{refused}");

    for below in ["signal-trace/c", "signal-trace/c/threads"] {
        let look = group.look(&group.scanned(below));
        let seen: Vec<_> = look.snapshot.processes.iter().map(|process| process.key.pid).collect();
        assert_eq!((seen, look.left_out), (vec![cat.pid()], 0), "{below}");
    }
}

#[test]
fn cgroups_that_come_and_go_meanwhile_do_no_harm() {
    let Some(group) = Group::new("churn") else { return };
    let kept = group.make("signal-trace/kept/deeper");
    let container = group.scanned("signal-trace/kept");
    thread::scope(|scope| {
        let churn = scope.spawn(|| {
            for _ in 0..300 {
                for name in ["a", "b", "c"] {
                    group.make(&format!("signal-trace/kept/{name}/{name}/{name}"));
                }
                for name in ["a", "b", "c"] {
                    remove(&group.directory(&format!("signal-trace/kept/{name}")));
                }
            }
        });
        let mut scans = 0;
        while !churn.is_finished() {
            let scan = group.hierarchy.scan().unwrap();
            assert!(scan.cgroups.iter().any(|cgroup| cgroup.id == kept));
            assert_eq!((scan.refused, group.look(&container).left_out), (0, 0));
            scans += 1;
        }
        assert!(scans > 0, "they went before anybody looked");
    });
}
