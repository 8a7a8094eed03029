//! The v2 hierarchy on disk: where it is mounted, which cgroups it has, and what a new id is called.
//!
//! This is an edge: it reads directories and nothing else, takes every root as a parameter, and knows neither the
//! kernel's records nor the index that is filled from it. Cgroups come and go while it reads: what vanishes is left
//! out, and a directory that another cgroup replaced under the same name is not mistaken for the first.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, FileType, Mode, OFlags, RawDir};
use rustix::io::Errno;
use thiserror::Error;

use super::Cgroup;
use super::path::{Forms, Place};
use crate::event::CgroupId;

/// Whose mounts are looked through for the hierarchy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// This process's own.
    Own,
    /// Those of pid 1, through `<proc>/1/root`, which takes `CAP_SYS_PTRACE`: for a process that shares the host's pid
    /// namespace and was not given the host's `/sys/fs/cgroup`.
    Init,
}

/// How much of the hierarchy the mount shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All of it.
    Whole,
    /// What is below one cgroup: the mount of a container with a cgroup namespace of its own. Everything works for the
    /// cgroups in there, their paths begin at that one, and the containers beside it stay unseen.
    Part,
}

/// Why there is no hierarchy to read.
#[derive(Debug, Error)]
pub enum Unsupported {
    /// The list of mounts cannot be read.
    #[error("cannot read the mounts in {path}")]
    Unreadable {
        /// The list.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A pure v1 host: every task would have the same cgroup id.
    #[error(
        "this host has cgroup v1 only, where containers cannot be told apart by id: \
         boot it with systemd.unified_cgroup_hierarchy=1"
    )]
    V1Only,
    /// No cgroup2 file system is mounted here, though the kernel has the hierarchy: a container was not given the host's.
    #[error(
        "the host's cgroup v2 hierarchy is not mounted here: in a pod, mount the host's /sys/fs/cgroup at /sys/fs/cgroup, \
         read-only, as a hostPath; elsewhere, mount -t cgroup2 none DIRECTORY"
    )]
    NotMounted,
    /// Every cgroup2 mount has something else mounted over it, or cannot be entered.
    #[error("the cgroup2 file system at {mount} cannot be reached: something is mounted over it, or access is denied")]
    Hidden {
        /// One of them.
        mount: PathBuf,
    },
}

/// How much is read before the rest is refused, so that a container that floods itself with cgroups cannot grow us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Levels below the mount, or below a container.
    pub depth: usize,
    /// Cgroups in one scan or one snapshot.
    pub cgroups: usize,
    /// Processes in one snapshot.
    pub processes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { depth: 64, cgroups: 32_768, processes: 16_384 }
    }
}

/// The mounted v2 hierarchy.
#[derive(Clone, Debug)]
pub struct Hierarchy {
    mount: PathBuf,
    reach: Reach,
    forms: Forms,
    bounds: Bounds,
}

/// What a walk of the whole hierarchy found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// The cgroups, parents before their children, and level by level: a bound refuses the deepest.
    pub cgroups: Vec<Cgroup>,
    /// Paths that look like a container's, in a form that is not known.
    pub unrecognised: Vec<String>,
    /// Directories that were seen and not read: beyond a bound, or failing. What is below them is not counted.
    pub refused: usize,
}

impl Hierarchy {
    /// Finds the mount of the hierarchy by `<proc>/self/mountinfo` or `<proc>/1/mountinfo`.
    ///
    /// Where several are mounted (a container has its own, and may have been given the host's) the one that reaches
    /// furthest up is taken. On a hybrid host this is the v2 hierarchy beside the v1 ones.
    pub fn find(proc: &Path, view: View, forms: Forms) -> Result<Self, Unsupported> {
        let (process, prefix) = match view {
            View::Own => (proc.join("self"), PathBuf::new()),
            View::Init => (proc.join("1"), proc.join("1/root")),
        };
        let path = process.join("mountinfo");
        let text = std::fs::read(&path).map_err(|source| Unsupported::Unreadable { path, source })?;
        let all: Vec<_> = text.split(|b| *b == b'\n').filter_map(Mount::parse).collect();
        let mut mounts: Vec<_> = all.iter().filter(|mount| mount.file_system == b"cgroup2").collect();
        let Some(first) = mounts.first() else {
            let v1 = all.iter().any(|mount| mount.file_system == b"cgroup");
            return Err(if v1 && !has_v2(&process) { Unsupported::V1Only } else { Unsupported::NotMounted });
        };
        let hidden = Unsupported::Hidden { mount: first.point.clone() };
        mounts.sort_by_key(|mount| mount.height());
        let reachable = mounts.iter().find_map(|mount| mount.reach(&prefix));
        let (mount, reach) = reachable.ok_or(hidden)?;
        Ok(Self { mount, reach, forms, bounds: Bounds::default() })
    }

    /// With other bounds than the default ones.
    #[must_use]
    pub fn with_bounds(self, bounds: Bounds) -> Self {
        Self { bounds, ..self }
    }

    /// Where it is mounted.
    pub fn mount(&self) -> &Path {
        &self.mount
    }

    /// How much of it that mount shows.
    pub fn reach(&self) -> Reach {
        self.reach
    }

    /// What is read as a container.
    pub fn forms(&self) -> &Forms {
        &self.forms
    }

    pub(super) fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Every cgroup there is.
    ///
    /// Fails only where the root itself cannot be read. A name that is not UTF-8 has replacement characters in its
    /// path: its id and its parent are right all the same, which is what membership goes by.
    pub fn scan(&self) -> io::Result<Scan> {
        let root = Directory::open(CWD, &self.mount)?;
        let id = root.id()?;
        let mut scan = Scan::default();
        scan.cgroups.push(Cgroup { id, parent: id, path: "/".to_owned(), container: None });
        let mut queue = VecDeque::new();
        let top = Level { directory: self.mount.clone(), id, path: String::new(), depth: 0 };
        self.enter(&top, root.children()?, &mut queue, &mut scan);
        while let Some(level) = queue.pop_front() {
            match level.children() {
                Ok(children) => self.enter(&level, children, &mut queue, &mut scan),
                Err(error) if is_gone(&error) => {}
                Err(_) => scan.refused += 1,
            }
        }
        Ok(scan)
    }

    fn enter(&self, level: &Level, children: Vec<Child>, queue: &mut VecDeque<Level>, scan: &mut Scan) {
        for child in children {
            if level.depth == self.bounds.depth || scan.cgroups.len() >= self.bounds.cgroups {
                scan.refused += 1;
                continue;
            }
            let path = child.path(&level.path);
            let place = self.forms.identify(&path);
            if place == Place::Unrecognised {
                scan.unrecognised.push(path.clone());
            }
            queue.push_back(Level {
                directory: level.directory.join(&child.name),
                id: child.id,
                path: path.clone(),
                depth: level.depth + 1,
            });
            scan.cgroups.push(Cgroup { id: child.id, parent: level.id, path, container: place.container() });
        }
    }

    /// The cgroup of that id in the group at `parent_path`, which a record named by its id alone; none if it is gone.
    pub fn find_child(&self, parent_path: &str, id: CgroupId) -> io::Result<Option<Cgroup>> {
        match self.child(parent_path.trim_end_matches('/'), id) {
            Err(error) if is_gone(&error) => Ok(None),
            found => found,
        }
    }

    fn child(&self, parent_path: &str, id: CgroupId) -> io::Result<Option<Cgroup>> {
        let parent = Directory::open(CWD, &self.directory(parent_path))?;
        let parent_id = parent.id()?;
        let found = parent.children()?.into_iter().find(|child| child.id == id);
        Ok(found.map(|child| {
            let path = child.path(parent_path);
            let container = self.forms.identify(&path).container();
            Cgroup { id, parent: parent_id, path, container }
        }))
    }

    /// The directory of the cgroup at `path`.
    pub(super) fn directory(&self, path: &str) -> PathBuf {
        self.mount.join(path.trim_start_matches('/'))
    }
}

/// A cgroup whose children are still to be read.
struct Level {
    directory: PathBuf,
    id: CgroupId,
    /// Empty for the root.
    path: String,
    depth: usize,
}

impl Level {
    fn children(&self) -> io::Result<Vec<Child>> {
        let directory = Directory::open(CWD, &self.directory)?;
        // Another cgroup has the name by now: its children are not this one's.
        if directory.id()? == self.id { directory.children() } else { Ok(Vec::new()) }
    }
}

/// An open directory: what is read of it is of one cgroup, or one process, whatever becomes of its name.
pub(super) struct Directory {
    fd: OwnedFd,
}

/// A cgroup as its parent's directory lists it.
pub(super) struct Child {
    pub(super) name: OsString,
    pub(super) id: CgroupId,
}

impl Child {
    /// Its path below that of its parent, which is empty for the root.
    pub(super) fn path(&self, parent: &str) -> String {
        format!("{parent}/{}", self.name.to_string_lossy())
    }
}

impl Directory {
    pub(super) fn open(at: impl AsFd, path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self { fd: rustix::fs::openat(at, path, flags, Mode::empty())? })
    }

    /// Whose it is: a cgroup's id is the inode of its directory (`kernfs_node.id`, all 64 bits of it).
    pub(super) fn id(&self) -> io::Result<CgroupId> {
        Ok(CgroupId(rustix::fs::fstat(&self.fd)?.st_ino))
    }

    pub(super) fn open_child(&self, child: &Child) -> io::Result<Self> {
        Self::open(&self.fd, Path::new(&child.name))
    }

    /// A file of it.
    pub(super) fn file(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(&self.fd, name, flags, Mode::empty())?))
    }

    /// The cgroups in it, which it lists once.
    pub(super) fn children(&self) -> io::Result<Vec<Child>> {
        let mut children = Vec::new();
        // A cgroup has dozens of files: one or two calls read them all.
        let mut buffer = [MaybeUninit::uninit(); 8192];
        let mut entries = RawDir::new(&self.fd, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if entry.file_type() == FileType::Directory && name != b"." && name != b".." {
                children.push(Child { name: OsStr::from_bytes(name).to_owned(), id: CgroupId(entry.ino()) });
            }
        }
        Ok(children)
    }
}

/// Whether an error says that the thing was there and is not any more: a removed cgroup's files answer `ENODEV`, a dead
/// process's `ESRCH`.
pub(super) fn is_gone(error: &io::Error) -> bool {
    let gone = [Errno::NOENT, Errno::NODEV, Errno::SRCH];
    error.raw_os_error().is_some_and(|code| gone.iter().any(|errno| errno.raw_os_error() == code))
}

/// Whether the kernel has the v2 hierarchy in use, wherever it is mounted: only then a process's cgroup in it is listed.
fn has_v2(process: &Path) -> bool {
    std::fs::read(process.join("cgroup"))
        .is_ok_and(|text| text.split(|b| *b == b'\n').any(|line| line.starts_with(b"0::")))
}

/// One line of `mountinfo`.
struct Mount {
    device: u64,
    root: Vec<u8>,
    point: PathBuf,
    file_system: Vec<u8>,
}

impl Mount {
    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.split(|b| *b == b' ').skip(2);
        let (major, minor) = std::str::from_utf8(fields.next()?).ok()?.split_once(':')?;
        let device = rustix::fs::makedev(major.parse().ok()?, minor.parse().ok()?);
        let root = unescape(fields.next()?);
        let point = PathBuf::from(OsString::from_vec(unescape(fields.next()?)));
        // Options, and optional fields up to a lone dash.
        fields.find(|field| *field == b"-")?;
        Some(Self { device, root, point, file_system: fields.next()?.to_vec() })
    }

    /// How far below the root of the reader's cgroup namespace it begins; negative above it (`/../..`).
    fn height(&self) -> i64 {
        let names = self.root.split(|b| *b == b'/').filter(|name| !name.is_empty());
        names.map(|name| if name == b".." { -1 } else { 1 }).sum()
    }

    /// Its mount point below `prefix`, if it is what is seen there.
    fn reach(&self, prefix: &Path) -> Option<(PathBuf, Reach)> {
        let mount = if prefix.as_os_str().is_empty() {
            self.point.clone()
        } else {
            prefix.join(self.point.strip_prefix("/").unwrap_or(&self.point))
        };
        let seen = std::fs::metadata(&mount).ok()?;
        if seen.dev() != self.device {
            return None;
        }
        // Every cgroup but the root has a type; the mount's root field is relative to the reader's namespace.
        let reach = if mount.join("cgroup.type").exists() { Reach::Part } else { Reach::Whole };
        Some((mount, reach))
    }
}

/// Undoes the kernel's `\ooo` for space, tab, line feed, backslash and number sign (`mangle`).
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        match after {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] if byte == b'\\' => {
                out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = after;
            }
            _ => {
                out.push(byte);
                rest = after;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::super::Runtime;
    use super::*;

    const ID: &str = "5bd7c1f3a2e94d60b8f7a6c5d4e3f2015bd7c1f3a2e94d60b8f7a6c5d4e3f201";

    /// A made hierarchy and a made `/proc` beside it.
    struct Host(TempDir);

    impl Host {
        fn new() -> Self {
            let host = Self(tempfile::tempdir().unwrap());
            for directory in ["proc/self", "proc/1/root", "cgroup"] {
                fs::create_dir_all(host.0.path().join(directory)).unwrap();
            }
            host
        }

        fn path(&self, path: &str) -> PathBuf {
            self.0.path().join(path)
        }

        fn make(&self, path: &str) -> CgroupId {
            fs::create_dir_all(self.path(path)).unwrap();
            self.id(path)
        }

        fn id(&self, path: &str) -> CgroupId {
            CgroupId(fs::metadata(self.path(path)).unwrap().ino())
        }

        /// A line of mountinfo, for the device that the made directories are on.
        fn line(&self, root: &str, point: &str, file_system: &str) -> String {
            let dev = fs::metadata(self.0.path()).unwrap().dev();
            let (major, minor) = (rustix::fs::major(dev), rustix::fs::minor(dev));
            format!("41 31 {major}:{minor} {root} {point} rw,relatime shared:9 - {file_system} none rw\n")
        }

        fn here(&self, root: &str, path: &str) -> String {
            self.line(root, self.path(path).to_str().unwrap(), "cgroup2")
        }

        fn find(&self, mountinfo: &str) -> Result<Hierarchy, Unsupported> {
            fs::write(self.path("proc/self/mountinfo"), mountinfo).unwrap();
            Hierarchy::find(&self.path("proc"), View::Own, Forms::default())
        }

        fn hierarchy(&self) -> Hierarchy {
            self.find(&self.here("/", "cgroup")).unwrap()
        }
    }

    const OTHERS: &str = "22 27 0:21 / /proc rw - proc proc rw\n\
                          32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n\
                          not a line\n";

    #[test]
    fn the_hierarchy_is_found_beside_v1_and_under_any_name() {
        let host = Host::new();
        host.make("c group\\040");
        let escaped = host.0.path().to_str().unwrap().to_owned() + "/c\\040group\\134040";
        for (point, path) in
            [(host.here("/", "cgroup"), "cgroup"), (host.line("/", &escaped, "cgroup2"), "c group\\040")]
        {
            let hierarchy = host.find(&format!("{OTHERS}{point}")).unwrap();
            assert_eq!((hierarchy.mount(), hierarchy.reach()), (host.path(path).as_path(), Reach::Whole));
        }
    }

    #[test]
    fn the_mount_that_reaches_furthest_up_is_taken() {
        let host = Host::new();
        host.make("own");
        fs::write(host.path("own/cgroup.type"), "domain\n").unwrap();
        let own = host.here("/", "own");
        let given = host.here("/../..", "cgroup");
        for mountinfo in [format!("{own}{given}"), format!("{given}{own}")] {
            let hierarchy = host.find(&mountinfo).unwrap();
            assert_eq!((hierarchy.mount(), hierarchy.reach()), (host.path("cgroup").as_path(), Reach::Whole));
        }
        let hierarchy = host.find(&own).unwrap();
        assert_eq!((hierarchy.mount(), hierarchy.reach()), (host.path("own").as_path(), Reach::Part));
    }

    #[test]
    fn what_is_mounted_over_is_passed_over() {
        let host = Host::new();
        let hidden = format!("40 31 0:9999 / {} rw - cgroup2 none rw\n", host.path("cgroup").display());
        assert!(matches!(host.find(&hidden), Err(Unsupported::Hidden { mount }) if mount == host.path("cgroup")));
        host.make("other");
        let found = host.find(&(hidden + &host.here("/", "other"))).unwrap();
        assert_eq!(found.mount(), host.path("other"));
    }

    #[test]
    fn hosts_without_it_are_refused_with_a_way_out() {
        let host = Host::new();
        let v1 = host.find(OTHERS).unwrap_err();
        assert!(matches!(v1, Unsupported::V1Only) && v1.to_string().contains("systemd.unified_cgroup_hierarchy=1"));
        // A pod on a hybrid host, which was given the controllers of v1 and not the hierarchy of v2 beside them.
        for (cgroups, blamed) in [("4:memory:/\n0::/kubepods/podx\n", false), ("4:memory:/\n1:name=0::/\n", true)] {
            fs::write(host.path("proc/self/cgroup"), cgroups).unwrap();
            let error = host.find(OTHERS).unwrap_err();
            assert_eq!(matches!(error, Unsupported::V1Only), blamed, "{error}");
            assert_eq!(error.to_string().contains("hostPath"), !blamed, "{error}");
        }
        let none = host.find("22 27 0:21 / /proc rw - proc proc rw\n").unwrap_err();
        assert!(matches!(none, Unsupported::NotMounted) && none.to_string().contains("/sys/fs/cgroup"));
        let unreadable = Hierarchy::find(&host.path("nothing"), View::Own, Forms::default()).unwrap_err();
        assert!(unreadable.to_string().ends_with("nothing/self/mountinfo"), "{unreadable}");
    }

    #[test]
    fn the_hosts_mounts_are_reached_through_its_init() {
        let host = Host::new();
        host.make("proc/1/root/sys/fs/cgroup");
        fs::write(host.path("proc/1/mountinfo"), host.line("/", "/sys/fs/cgroup", "cgroup2")).unwrap();
        let hierarchy = Hierarchy::find(&host.path("proc"), View::Init, Forms::default()).unwrap();
        assert_eq!(hierarchy.mount(), host.path("proc/1/root/sys/fs/cgroup"));
    }

    #[test]
    fn a_scan_lists_every_cgroup_after_its_parent() {
        let host = Host::new();
        host.make(&format!("cgroup/docker/{ID}/init.scope"));
        host.make("cgroup/kubepods/podu/weird");
        fs::write(host.path("cgroup/docker/cgroup.procs"), "").unwrap();
        std::os::unix::fs::symlink(host.path("cgroup/docker"), host.path("cgroup/link")).unwrap();

        let scan = host.hierarchy().scan().unwrap();

        let mut paths: Vec<_> = scan.cgroups.iter().map(|cgroup| cgroup.path.clone()).collect();
        paths.sort();
        let container = format!("/docker/{ID}");
        let expected = [
            "/",
            "/docker",
            &container,
            &format!("{container}/init.scope"),
            "/kubepods",
            "/kubepods/podu",
            "/kubepods/podu/weird",
        ];
        assert_eq!(paths, expected);
        assert_eq!((scan.unrecognised, scan.refused), (vec!["/kubepods/podu/weird".to_owned()], 0));
        let mut known = vec![host.id("cgroup")];
        for cgroup in &scan.cgroups {
            assert_eq!(cgroup.id, host.id(&format!("cgroup{}", cgroup.path)), "{}", cgroup.path);
            assert!(known.contains(&cgroup.parent), "{} before its parent", cgroup.path);
            known.push(cgroup.id);
            let identity = cgroup.container.as_ref().map(|identity| (identity.runtime, identity.id.as_str()));
            assert_eq!(identity, (cgroup.path == container).then_some((Runtime::Docker, ID)), "{}", cgroup.path);
        }
    }

    #[test]
    fn a_name_that_is_no_text_keeps_its_id_and_its_children() {
        let host = Host::new();
        let odd = host.path("cgroup").join(OsStr::from_bytes(b"a\xff"));
        fs::create_dir_all(odd.join("b")).unwrap();
        let scan = host.hierarchy().scan().unwrap();
        let id = CgroupId(fs::metadata(&odd).unwrap().ino());
        assert_eq!((scan.cgroups[1].id, scan.cgroups[1].path.as_str()), (id, "/a\u{fffd}"));
        assert_eq!((scan.cgroups[2].parent, scan.cgroups[2].path.as_str()), (id, "/a\u{fffd}/b"));
    }

    #[test]
    fn a_scan_has_bounds_and_counts_what_they_refuse() {
        let host = Host::new();
        for path in ["cgroup/a/b/c", "cgroup/d", "cgroup/e"] {
            host.make(path);
        }
        let scan = |bounds| host.hierarchy().with_bounds(bounds).scan().unwrap();
        let all = Bounds::default();
        assert_eq!((scan(all).cgroups.len(), scan(all).refused), (6, 0));
        let shallow = scan(Bounds { depth: 1, ..all });
        assert_eq!((shallow.cgroups.len(), shallow.refused), (4, 1));
        let few = scan(Bounds { cgroups: 3, ..all });
        assert_eq!(few.cgroups.len(), 3);
        assert!(few.refused >= 1 && few.cgroups.iter().all(|cgroup| cgroup.path.len() <= 2), "level by level");
    }

    #[test]
    fn a_path_too_long_to_be_opened_is_counted() {
        let host = Host::new();
        let name = "x".repeat(250);
        let mut parent = Directory::open(CWD, &host.path("cgroup")).unwrap();
        for _ in 0..20 {
            rustix::fs::mkdirat(&parent.fd, &name, Mode::RWXU).unwrap();
            parent = Directory::open(&parent.fd, Path::new(&name)).unwrap();
        }
        let scan = host.hierarchy().scan().unwrap();
        assert_eq!(scan.refused, 1);
        assert!((2..1 + 20).contains(&scan.cgroups.len()), "{} of them are within the limit", scan.cgroups.len());
    }

    #[test]
    fn a_root_that_is_gone_is_an_error() {
        let host = Host::new();
        let hierarchy = host.hierarchy();
        fs::remove_dir(host.path("cgroup")).unwrap();
        assert_eq!(hierarchy.scan().unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn children_of_another_cgroup_by_the_same_name_are_not_listed() {
        let host = Host::new();
        let id = host.make("cgroup/a");
        host.make("cgroup/a/b");
        let mut level = Level { directory: host.path("cgroup/a"), id, path: "/a".to_owned(), depth: 1 };
        assert_eq!(level.children().unwrap().len(), 1);
        level.id = CgroupId(id.0 + 1);
        assert!(level.children().unwrap().is_empty());
    }

    #[test]
    fn a_new_id_is_found_in_its_parents_directory() {
        let host = Host::new();
        let id = host.make(&format!("cgroup/docker/{ID}"));
        let hierarchy = host.hierarchy();
        let found = hierarchy.find_child("/docker", id).unwrap().unwrap();
        assert_eq!((found.id, found.parent), (id, host.id("cgroup/docker")));
        assert_eq!((found.path, found.container.unwrap().id), (format!("/docker/{ID}"), ID.to_owned()));
        let docker = hierarchy.find_child("/", host.id("cgroup/docker")).unwrap().unwrap();
        assert_eq!((docker.path.as_str(), docker.parent), ("/docker", host.id("cgroup")));
        assert_eq!(hierarchy.find_child("/docker", CgroupId(id.0 + 1)).unwrap(), None);
        assert_eq!(hierarchy.find_child("/gone", id).unwrap(), None);
    }
}
