//! The processes of one container, as `/proc` shows them at one time: what seeds the process table when this program
//! starts, and repairs it after a loss.
//!
//! Raw bytes are parsed, because a process chooses its own name (spaces, parentheses, line feeds, broken UTF-8).
//! A process that ends while it is read is left out: whoever keeps the table has the exit record of it.

use std::collections::HashSet;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::str::FromStr;

use rustix::fs::CWD;
use rustix::io::Errno;

use super::Cgroup;
use super::scan::{Directory, Hierarchy, is_gone};
use crate::event::{CgroupId, Comm, KernelTime, Pid, ProcessKey, SeenProcess, Snapshot, StartTick};

/// A snapshot, and what it has no room for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// What was seen.
    pub snapshot: Snapshot,
    /// Processes and cgroups that exist and are not in it: beyond a bound, of a pid namespace that `/proc` does not
    /// show (the reader lacks the host's), or unreadable. Not 0: the table it seeds is incomplete.
    pub left_out: usize,
}

impl Look {
    /// The processes, if nobody is missing: a table with holes would blame init for children that are only not in it.
    pub fn whole(self) -> Option<Snapshot> {
        (self.left_out == 0).then_some(self.snapshot)
    }
}

/// A pid namespace, as the kernel's helpers name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PidNamespace {
    /// The kernel's own `dev_t` of nsfs: major << 20 | minor.
    pub device: u32,
    /// Its inode there.
    pub inode: u64,
}

/// The pid namespace of `pid`.
///
/// Takes `CAP_SYS_PTRACE`, or the process's own user and no fewer capabilities: refused with `EACCES` otherwise.
pub fn pid_namespace(proc: &Path, pid: Pid) -> io::Result<PidNamespace> {
    namespace(&proc.join(pid.0.to_string()))
}

/// This process's own pid namespace, which takes no privilege: the host's, where `proc` shows the host's processes.
pub fn own_pid_namespace(proc: &Path) -> io::Result<PidNamespace> {
    namespace(&proc.join("self"))
}

/// Whether the end of `pid` may have been told already; not where that cannot be read.
pub fn is_ending(proc: &Path, pid: Pid) -> bool {
    let stat = Directory::open(CWD, &proc.join(pid.0.to_string())).and_then(|process| read(&process, "stat"));
    match stat {
        Ok(stat) => Stat::parse(&stat).is_some_and(|stat| stat.is_ending()),
        Err(error) => is_gone(&error),
    }
}

fn namespace(process: &Path) -> io::Result<PidNamespace> {
    let found = std::fs::metadata(process.join("ns/pid"))?;
    let device = rustix::fs::major(found.dev()) << 20 | rustix::fs::minor(found.dev());
    Ok(PidNamespace { device, inode: found.ino() })
}

impl Hierarchy {
    /// The processes in a container's own cgroup and below it, without those of containers nested in it.
    ///
    /// `proc` is a `/proc` of the host's pid namespace; `now` is read before this is called. A container whose cgroup
    /// is gone has none. Fails where its own cgroup cannot be read.
    pub fn snapshot(&self, proc: &Path, container: &Cgroup, now: KernelTime) -> io::Result<Look> {
        let mut looking =
            Looking { hierarchy: self, proc, pids: HashSet::new(), processes: Vec::new(), cgroups: 0, left_out: 0 };
        match looking.container(container) {
            Err(error) if !is_gone(&error) => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let snapshot = Snapshot { container: container.id, time: now, processes: looking.processes };
        Ok(Look { snapshot, left_out: looking.left_out })
    }
}

/// A snapshot being taken.
struct Looking<'a> {
    hierarchy: &'a Hierarchy,
    proc: &'a Path,
    /// A process that moves meanwhile is listed twice.
    pids: HashSet<u32>,
    processes: Vec<SeenProcess>,
    cgroups: usize,
    left_out: usize,
}

impl Looking<'_> {
    fn container(&mut self, container: &Cgroup) -> io::Result<()> {
        let own = Directory::open(CWD, &self.hierarchy.directory(&container.path))?;
        if own.id()? != container.id {
            // Another cgroup has the name by now, and its processes are not this container's.
            return Ok(());
        }
        self.cgroup(&own, container.id, &container.path, self.hierarchy.bounds().depth)
    }

    /// A cgroup and what is below it, `depth` levels at most.
    fn cgroup(&mut self, cgroup: &Directory, id: CgroupId, path: &str, depth: usize) -> io::Result<()> {
        self.cgroups += 1;
        self.processes_of(cgroup, id)?;
        for child in cgroup.children()? {
            let path = child.path(path);
            if self.hierarchy.forms().identify(&path).container().is_some() {
                continue;
            }
            if depth == 0 || self.cgroups >= self.hierarchy.bounds().cgroups {
                self.left_out += 1;
                continue;
            }
            let read = cgroup.open_child(&child).and_then(|below| self.cgroup(&below, child.id, &path, depth - 1));
            if read.is_err_and(|error| !is_gone(&error)) {
                self.left_out += 1;
            }
        }
        Ok(())
    }

    fn processes_of(&mut self, directory: &Directory, cgroup: CgroupId) -> io::Result<()> {
        match self.list(directory, Listed::Processes, cgroup) {
            // A threaded cgroup has threads only. Their processes are listed by a group above it, which may be above
            // the container.
            Err(error) if error.raw_os_error() == Some(Errno::OPNOTSUPP.raw_os_error()) => {
                self.list(directory, Listed::Threads, cgroup)
            }
            done => done,
        }
    }

    fn list(&mut self, directory: &Directory, listed: Listed, cgroup: CgroupId) -> io::Result<()> {
        for line in BufReader::new(directory.file(listed.file())?).split(b'\n') {
            match number(&line?) {
                // The kernel writes 0 for what the reader's pid namespace has no number for.
                None | Some(0) => self.left_out += 1,
                Some(id) => {
                    if self.look_at(id, listed, cgroup).is_err_and(|error| !is_gone(&error)) {
                        self.left_out += 1;
                    }
                }
            }
        }
        Ok(())
    }

    fn look_at(&mut self, id: u32, listed: Listed, cgroup: CgroupId) -> io::Result<()> {
        if self.processes.len() >= self.hierarchy.bounds().processes {
            self.left_out += 1;
            return Ok(());
        }
        let pid = match listed {
            Listed::Processes => id,
            Listed::Threads => leader(self.proc, id)?,
        };
        if self.pids.insert(pid)
            && let Some(process) = read_process(self.proc, pid, cgroup)?
        {
            self.processes.push(process);
        }
        Ok(())
    }
}

/// What a file of a cgroup lists.
#[derive(Clone, Copy)]
enum Listed {
    Processes,
    Threads,
}

impl Listed {
    fn file(self) -> &'static str {
        match self {
            Self::Processes => "cgroup.procs",
            Self::Threads => "cgroup.threads",
        }
    }
}

/// The process at `<proc>/<pid>`; none if it has ended, or is about to. Who is listed after the record of its end would live
/// on for ever.
fn read_process(proc: &Path, pid: u32, cgroup: CgroupId) -> io::Result<Option<SeenProcess>> {
    let process = Directory::open(CWD, &proc.join(pid.to_string()))?;
    let malformed = || io::Error::from(io::ErrorKind::InvalidData);
    let stat = Stat::parse(&read(&process, "stat")?).ok_or_else(malformed)?;
    if stat.is_ending() {
        return Ok(None);
    }
    let status = read(&process, "status")?;
    // A kernel without pid namespaces does not write them.
    let ns_pids = numbers(&status, b"NSpid:").unwrap_or_else(|| vec![pid]);
    let innermost = *ns_pids.last().ok_or_else(malformed)?;
    Ok(Some(SeenProcess {
        key: ProcessKey { pid: Pid(pid), start: stat.start },
        cgroup,
        comm: stat.comm,
        parent: stat.parent,
        session: Some(stat.session),
        ns_pid: Pid(innermost),
        level: u32::try_from(ns_pids.len() - 1).map_err(|_| malformed())?,
    }))
}

/// The process that a thread belongs to.
fn leader(proc: &Path, thread: u32) -> io::Result<u32> {
    let thread = Directory::open(CWD, &proc.join(thread.to_string()))?;
    let ids = numbers(&read(&thread, "status")?, b"Tgid:");
    ids.and_then(|ids| ids.first().copied()).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn read(process: &Directory, name: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    process.file(name)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What `/proc/PID/stat` says, as far as it is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    comm: Comm,
    state: u8,
    parent: Pid,
    session: Pid,
    flags: u32,
    threads: u32,
    start: StartTick,
}

/// `PF_EXITING` (include/linux/sched.h), set before `sched_process_exit` fires.
const EXITING: u32 = 0x4;

impl Stat {
    /// The name is in parentheses and may hold any byte, these included: it ends at the last one, for only numbers
    /// follow it.
    fn parse(line: &[u8]) -> Option<Self> {
        let open = line.iter().position(|b| *b == b'(')?;
        let close = line.iter().rposition(|b| *b == b')')?;
        let comm = Comm::new(line.get(open + 1..close)?);
        // Field 3 of proc(5) is the first of these.
        let fields: Vec<_> = line[close + 1..].trim_ascii().split(|b| *b == b' ').collect();
        let [state] = **fields.first()? else { return None };
        Some(Self {
            comm,
            state,
            parent: Pid(number(fields.get(4 - 3)?)?),
            session: Pid(number(fields.get(6 - 3)?)?),
            flags: number(fields.get(9 - 3)?)?,
            threads: number(fields.get(20 - 3)?)?,
            start: StartTick(number(fields.get(22 - 3)?)?),
        })
    }

    /// It has ended, or its last thread is on its way out: the record of its end may have been written before this.
    fn is_ending(&self) -> bool {
        let past = self.state == b'Z' || self.flags & EXITING != 0;
        matches!(self.state, b'X' | b'x') || past && self.threads <= 1
    }
}

fn number<T: FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The numbers of one line of `/proc/PID/status`, where the kernel escapes the line feeds of the name.
fn numbers(status: &[u8], key: &[u8]) -> Option<Vec<u32>> {
    let line = status.split(|b| *b == b'\n').find_map(|line| line.strip_prefix(key))?;
    line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).map(number).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::super::path::Forms;
    use super::super::scan::{Bounds, View};
    use super::*;

    const INNER: &str = "5bd7c1f3a2e94d60b8f7a6c5d4e3f2015bd7c1f3a2e94d60b8f7a6c5d4e3f201";

    /// A made hierarchy and a made `/proc` beside it.
    struct Host {
        temp: TempDir,
        hierarchy: Hierarchy,
    }

    impl Host {
        fn new() -> Self {
            let temp = tempfile::tempdir().unwrap();
            let mount = temp.path().join("cgroup");
            fs::create_dir_all(&mount).unwrap();
            fs::create_dir_all(temp.path().join("proc/self")).unwrap();
            let dev = fs::metadata(&mount).unwrap().dev();
            let (major, minor) = (rustix::fs::major(dev), rustix::fs::minor(dev));
            let line = format!("41 31 {major}:{minor} / {} rw - cgroup2 cgroup2 rw\n", mount.display());
            fs::write(temp.path().join("proc/self/mountinfo"), line).unwrap();
            let hierarchy = Hierarchy::find(&temp.path().join("proc"), View::Own, Forms::default()).unwrap();
            Self { temp, hierarchy }
        }

        fn proc(&self) -> PathBuf {
            self.temp.path().join("proc")
        }

        fn group(&self, path: &str, procs: &str) -> Cgroup {
            let directory = self.hierarchy.directory(path);
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join("cgroup.procs"), procs).unwrap();
            let id = CgroupId(fs::metadata(&directory).unwrap().ino());
            Cgroup { id, parent: CgroupId(0), path: path.to_owned(), container: None }
        }

        fn process(&self, pid: u32, stat: &[u8], ns_pids: &str) {
            let directory = self.proc().join(pid.to_string());
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join("stat"), stat).unwrap();
            fs::write(directory.join("status"), format!("Name:\tx\nTgid:\t{pid}\nNSpid:\t{ns_pids}\n")).unwrap();
        }

        fn look(&self, container: &Cgroup) -> Look {
            self.hierarchy.snapshot(&self.proc(), container, KernelTime(7)).unwrap()
        }
    }

    fn stat(comm: &[u8], state: char, parent: u32, threads: u32, start: u64) -> Vec<u8> {
        let head = [b"7 (", comm, b")"].concat();
        let tail = format!(
            " {state} {parent} 1 1 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 {threads} 0 {start} 100 20 18446744073709551615\n"
        );
        [head, tail.into_bytes()].concat()
    }

    fn pids(look: &Look) -> Vec<u32> {
        let mut pids: Vec<_> = look.snapshot.processes.iter().map(|process| process.key.pid.0).collect();
        pids.sort_unstable();
        pids
    }

    #[test]
    fn a_process_is_read_whatever_its_name_is() {
        for comm in [&b"sh"[..], b"a b", b"a) S 1 (", b"x\n1 (y) R 1", b"\xff\xfe", b"", b") Z 0"] {
            let parsed = Stat::parse(&stat(comm, 'S', 42, 3, 987_654)).unwrap();
            let expected = Stat {
                comm: Comm::new(comm),
                state: b'S',
                parent: Pid(42),
                session: Pid(1),
                flags: 0x40_0100,
                threads: 3,
                start: StartTick(987_654),
            };
            assert_eq!(parsed, expected, "{comm:?}");
        }
        for wrong in
            [&b""[..], b"7", b"7 (sh)", b"7 )sh( S 1", b"7 (sh) S", b"7 (sh) S x 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 1"]
        {
            assert_eq!(Stat::parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_snapshot_holds_what_lives_in_the_container_and_below() {
        let host = Host::new();
        let container = host.group("/kubepods/podu/c", "10\n11\n");
        let below = host.group("/kubepods/podu/c/init.scope", "12\n11\n");
        host.group(&format!("/kubepods/podu/c/docker/{INNER}"), "20\n");
        host.group(&format!("/kubepods/podu/c/docker/{INNER}/init"), "21\n");
        host.group("/kubepods/podu/d", "30\n");
        for pid in [11, 20, 21, 30] {
            host.process(pid, &stat(b"sleep", 'S', 1, 1, 5), &pid.to_string());
        }
        host.process(10, &stat(b"sh", 'S', 4, 1, 1000), "10\t1");
        host.process(12, &stat(b"python3", 'R', 10, 9, 1001), "12\t7\t1");

        let mut look = host.look(&container);

        look.snapshot.processes.sort_by_key(|process| process.key.pid);
        assert_eq!(look.left_out, 0);
        assert_eq!((look.snapshot.container, look.snapshot.time), (container.id, KernelTime(7)));
        assert_eq!(
            pids(&look),
            [10, 11, 12],
            "listed twice, seen once; nested containers and neighbours are not in it"
        );
        assert!(look.clone().whole().is_some());
        let init = SeenProcess {
            key: ProcessKey { pid: Pid(10), start: StartTick(1000) },
            cgroup: container.id,
            comm: Comm::new(b"sh"),
            parent: Pid(4),
            session: Some(Pid(1)),
            ns_pid: Pid(1),
            level: 1,
        };
        assert_eq!(look.snapshot.processes[0], init);
        let deeper = look.snapshot.processes[2];
        assert_eq!((deeper.cgroup, deeper.ns_pid, deeper.level), (below.id, Pid(1), 2));
    }

    #[test]
    fn whoever_is_past_the_start_of_its_exit_is_ending() {
        let host = Host::new();
        let exiting =
            |threads| String::from_utf8(stat(b"sh", 'R', 1, threads, 5)).unwrap().replace("4194560", "4194564");
        host.process(10, exiting(1).as_bytes(), "10");
        host.process(11, exiting(2).as_bytes(), "11");
        host.process(12, &stat(b"zombie", 'Z', 1, 1, 5), "12");
        host.process(13, &stat(b"sh", 'S', 1, 1, 5), "13");
        let ending: Vec<_> = (10..15).filter(|pid| is_ending(&host.proc(), Pid(*pid))).collect();
        assert_eq!(ending, [10, 12, 14], "a thread of 11 lives on; 14 is gone");
    }

    #[test]
    fn the_ended_are_left_out_in_silence() {
        let host = Host::new();
        let container = host.group("/c", "10\n11\n12\n13\n14\n");
        host.process(10, &stat(b"zombie", 'Z', 1, 1, 5), "10");
        host.process(11, &stat(b"dead", 'X', 1, 1, 5), "11");
        host.process(12, &stat(b"main ended", 'Z', 1, 4, 5), "12");
        let exiting = String::from_utf8(stat(b"exiting", 'R', 1, 1, 5)).unwrap().replace("4194560", "4194564");
        host.process(14, exiting.as_bytes(), "14");
        let look = host.look(&container);
        assert_eq!(pids(&look), [12], "13 is gone; 12 has threads that live on");
        assert_eq!(look.left_out, 0);
    }

    #[test]
    fn what_cannot_be_seen_is_counted() {
        let host = Host::new();
        let container = host.group("/c", "0\n10\nx\n11\n12\n");
        host.process(10, b"10 (sh) S", "10");
        host.process(11, &stat(b"sh", 'S', 1, 1, 5), "");
        host.process(12, &stat(b"sh", 'S', 1, 1, 5), "12");
        let look = host.look(&container);
        assert_eq!(pids(&look), [12]);
        assert_eq!(look.left_out, 4, "another pid namespace's, two that do not parse, and a line that does not");
        assert_eq!(look.whole(), None, "who is not in it cannot have been told either");
    }

    #[test]
    fn a_snapshot_has_bounds() {
        let host = Host::new();
        let container = host.group("/c", "1\n2\n3\n");
        host.group("/c/d", "4\n");
        host.group("/c/d/e", "5\n");
        for pid in 1..=5 {
            host.process(pid, &stat(b"sh", 'S', 1, 1, 5), &pid.to_string());
        }
        let look = |bounds| {
            let hierarchy = host.hierarchy.clone().with_bounds(bounds);
            hierarchy.snapshot(&host.proc(), &container, KernelTime(0)).unwrap()
        };
        let all = Bounds::default();
        assert_eq!(pids(&look(all)), [1, 2, 3, 4, 5]);
        let few = look(Bounds { processes: 2, ..all });
        assert_eq!((few.snapshot.processes.len(), few.left_out), (2, 3));
        let shallow = look(Bounds { depth: 1, ..all });
        assert_eq!((pids(&shallow), shallow.left_out), (vec![1, 2, 3, 4], 1));
        let narrow = look(Bounds { cgroups: 1, ..all });
        assert_eq!((pids(&narrow), narrow.left_out), (vec![1, 2, 3], 1));
    }

    #[test]
    fn a_container_that_is_gone_has_no_processes() {
        let host = Host::new();
        let mut container = host.group("/c", "10\n");
        host.process(10, &stat(b"sh", 'S', 1, 1, 5), "10");
        container.id = CgroupId(container.id.0 + 1);
        assert!(pids(&host.look(&container)).is_empty(), "another cgroup has its name");
        container.path = "/gone".to_owned();
        assert!(pids(&host.look(&container)).is_empty());
    }

    #[test]
    fn a_pid_namespace_is_named_as_the_kernel_names_it() {
        let host = Host::new();
        for process in ["self", "10"] {
            let directory = host.proc().join(process).join("ns");
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join("pid"), "").unwrap();
        }
        let file = fs::metadata(host.proc().join("10/ns/pid")).unwrap();
        let found = pid_namespace(&host.proc(), Pid(10)).unwrap();
        assert_eq!(found.inode, file.ino());
        assert_eq!(rustix::fs::makedev(found.device >> 20, found.device & 0xf_ffff), file.dev());
        assert_ne!(own_pid_namespace(&host.proc()).unwrap(), found);
        assert_eq!(pid_namespace(&host.proc(), Pid(11)).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    proptest! {
        #[test]
        fn any_name_is_kept_and_any_line_is_survived(
            comm in prop::collection::vec(any::<u8>().prop_filter("a name has no NUL", |b| *b != 0), 0..16),
            noise in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let parsed = Stat::parse(&stat(&comm, 'S', 1, 1, 5)).unwrap();
            prop_assert_eq!(parsed.comm, Comm::new(&comm));
            prop_assert_eq!((parsed.parent, parsed.start), (Pid(1), StartTick(5)));
            let _ = Stat::parse(&noise);
            let _ = Stat::parse(&[b"7 (".as_slice(), &noise].concat());
            let _ = numbers(&noise, b"NSpid:");
        }
    }
}
