//! Cgroups like those of a kubelet, and processes that do exactly what a benchmark wants, born straight into them.
//!
//! A script runs after a bare `clone3` in a copy of a process that may have other threads: it makes system calls and
//! nothing else, so nothing in it allocates, locks or panics.
#![expect(unsafe_code, reason = "the scripts are system calls")]

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use signal_trace::containers::path::Forms;
use signal_trace::containers::scan::{Hierarchy, View};
use signal_trace::event::{CgroupId, Signal};

use crate::clone::clone;

/// Bound of every wait.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at what is waited for.
pub(crate) const POLL: Duration = Duration::from_millis(1);

/// A part of the v2 hierarchy that is ours, in which containers are made; dropping it kills all that lives in it.
pub(crate) struct Tree {
    root: PathBuf,
}

/// A container: its cgroup, and its init in a pid namespace of its own.
pub(crate) struct Container {
    /// Which pod it is, by number.
    pub(crate) number: usize,
    /// Its own cgroup.
    pub(crate) cgroup: CgroupId,
    /// Host pid of its init.
    pub(crate) init: i32,
    directory: PathBuf,
}

/// The uid of the pod with this number.
pub(crate) fn uid(number: usize) -> String {
    format!("5bd7e1c0-6f1a-4c51-8d1c-{number:012}")
}

/// The id of its container.
pub(crate) fn id(number: usize) -> String {
    format!("{:064x}", number + 1)
}

impl Tree {
    /// An empty one.
    pub(crate) fn new() -> Result<Self> {
        let hierarchy = Hierarchy::find(Path::new("/proc"), View::Own, Forms::default())?;
        let root = hierarchy.mount().join(format!("signal-trace-bench-{}", std::process::id()));
        fs::create_dir(&root).with_context(|| format!("cannot make {}: run as root", root.display()))?;
        Ok(Self { root })
    }

    /// A container with that number whose init plays this script.
    pub(crate) fn container(&self, number: usize, script: impl FnOnce() -> i32) -> Result<Container> {
        let directory = self.root.join(format!("kubepods/besteffort/pod{}/{}", uid(number), id(number)));
        fs::create_dir_all(&directory)?;
        let cgroup = CgroupId(fs::metadata(&directory)?.ino());
        let init = spawn(libc::CLONE_NEWPID as u64, Some(&File::open(&directory)?), script)?;
        Ok(Container { number, cgroup, init, directory })
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::write(self.root.join("cgroup.kill"), "1");
        reap_all();
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = remove(&self.root) {
            if Instant::now() > deadline {
                eprintln!("{} stays behind: {error}", self.root.display());
                return;
            }
            std::thread::sleep(POLL);
        }
    }
}

impl Container {
    /// Sends its init a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        send(self.init, signal);
    }

    /// Waits for the end of its init, which is our child.
    pub(crate) fn reap(&self) {
        reap(self.init);
    }

    /// Removes its cgroup and its pod's, as a runtime and the kubelet do once nobody is left.
    pub(crate) fn remove(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = fs::remove_dir(&self.directory) {
            ensure!(Instant::now() < deadline, "{} stays: {error}", self.directory.display());
            std::thread::sleep(POLL);
        }
        self.directory.parent().map_or(Ok(()), fs::remove_dir).context("a pod's cgroup stays")
    }

    /// How many processes live in it.
    pub(crate) fn processes(&self) -> Result<usize> {
        Ok(fs::read_to_string(self.directory.join("cgroup.procs"))?.lines().count())
    }
}

/// A directory of the hierarchy and all below it; the files in it are the kernel's.
fn remove(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)?.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove(&entry.path())?;
    }
    fs::remove_dir(directory)
}

/// Forks, into that cgroup; the child plays the script and exits with what it returns.
pub(crate) fn spawn(flags: u64, cgroup: Option<&File>, script: impl FnOnce() -> i32) -> Result<i32> {
    let pid = clone(flags, cgroup.map(AsRawFd::as_raw_fd), script);
    ensure!(pid > 0, "no new process: {}", io::Error::last_os_error());
    Ok(pid)
}

/// Forks from within a script.
pub(crate) fn child(script: impl FnOnce() -> i32) -> i32 {
    // SAFETY: as for `spawn`.
    unsafe {
        match libc::fork() {
            0 => libc::_exit(script()),
            pid => pid,
        }
    }
}

/// Blocks a signal: it is kept for whoever waits for it.
pub(crate) fn block(signal: Signal) {
    let set = only(signal);
    // SAFETY: the set is a value on this stack.
    unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
}

/// Waits for a signal as inits do, with it blocked, and ends well when it comes.
pub(crate) fn end_at(signal: Signal) -> i32 {
    block(signal);
    let set = only(signal);
    // SAFETY: the set is a value on this stack.
    while unsafe { libc::sigwaitinfo(&raw const set, std::ptr::null_mut()) } < 0 {}
    0
}

fn only(signal: Signal) -> libc::sigset_t {
    // SAFETY: a set is plain memory, which the calls fill.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, signal.number().into());
        set
    }
}

/// Sleeps for so long.
pub(crate) fn rest(period: Duration) {
    let time = libc::timespec {
        tv_sec: i64::try_from(period.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(period.subsec_nanos()),
    };
    // SAFETY: the time is a value on this stack.
    unsafe { libc::nanosleep(&raw const time, std::ptr::null_mut()) };
}

/// Sleeps until it is killed.
pub(crate) fn sleep() -> ! {
    loop {
        // SAFETY: the call takes nothing.
        unsafe { libc::pause() };
    }
}

/// Has a signal ignored.
pub(crate) fn ignore(signal: Signal) {
    // SAFETY: no handler is installed.
    unsafe { libc::signal(signal.number().into(), libc::SIG_IGN) };
}

/// Sends a signal; who is gone gets none.
pub(crate) fn send(pid: i32, signal: Signal) {
    // SAFETY: no pointer is passed.
    unsafe { libc::kill(pid, signal.number().into()) };
}

/// Sends this process so many of a signal, one system call each.
pub(crate) fn send_self(signal: Signal, times: usize) {
    // SAFETY: no pointer is passed.
    let own = unsafe { libc::getpid() };
    for _ in 0..times {
        send(own, signal);
    }
}

/// Makes processes that end at once, one after the other.
pub(crate) fn births(times: usize) {
    for _ in 0..times {
        reap(child(|| 0));
    }
}

/// Waits for the end of a child.
pub(crate) fn reap(pid: i32) {
    // SAFETY: a status is not asked for.
    while unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) } < 0
        && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
    {}
}

/// Waits for the end of all children.
fn reap_all() {
    // SAFETY: a status is not asked for.
    while unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) } > 0 {}
}

/// One byte to whoever reads, from within a script.
pub(crate) fn mark(pipe: RawFd) {
    // SAFETY: one byte of this stack is read.
    unsafe { libc::write(pipe, [0_u8].as_ptr().cast(), 1) };
}

/// Bytes to whoever reads, few enough to go at once, from within a script.
pub(crate) fn tell(pipe: RawFd, bytes: &[u8]) {
    // SAFETY: so many bytes are read, and they are there.
    unsafe { libc::write(pipe, bytes.as_ptr().cast(), bytes.len()) };
}

/// Waits for one byte, from within a script; false at the end of the pipe.
pub(crate) fn cue_byte(pipe: RawFd, byte: &mut u8) -> bool {
    // SAFETY: one byte is written, and it is there.
    unsafe { libc::read(pipe, std::ptr::from_mut(byte).cast(), 1) == 1 }
}

/// Closes a script's copy of a descriptor that is not meant for it.
pub(crate) fn close(descriptor: RawFd) {
    // SAFETY: the process is a copy, in which nothing else has this descriptor.
    unsafe { libc::close(descriptor) };
}

/// Waits until something holds.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !holds()? {
        ensure!(Instant::now() < deadline, "{what} did not come about within {PATIENCE:?}");
        std::thread::sleep(POLL);
    }
    Ok(())
}

/// Keeps the kernel's rings, where this process has mapped them, out of what its children get a copy of: a fork would pay
/// for their pages.
pub(crate) fn keep_rings() -> Result<()> {
    for line in fs::read_to_string("/proc/self/maps")?.lines().filter(|line| line.ends_with("bpf-map")) {
        let (from, to) = line.split(' ').next().and_then(|range| range.split_once('-')).context("a mapping's range")?;
        let (from, to) = (usize::from_str_radix(from, 16)?, usize::from_str_radix(to, 16)?);
        let start = std::ptr::with_exposed_provenance_mut(from);
        // SAFETY: the advice changes nothing for this process.
        let refused = unsafe { libc::madvise(start, to - from, libc::MADV_DONTFORK) };
        ensure!(refused == 0, "a ring cannot be kept: {}", io::Error::last_os_error());
    }
    Ok(())
}

/// Keeps this thread on one processor, so that it does not pay for moving.
pub(crate) fn pin(processor: usize) -> Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    set.set(processor);
    rustix::thread::sched_setaffinity(None, &set).context("cannot stay on one processor")
}
