//! What these tests share.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{PidfdFlags, pidfd_open};
use signal_trace::event::Pid;
use signal_trace::sandbox::{Capture, Process, Running, Sandbox};

/// More than anything here takes on a busy machine; what waits this long has failed.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// The program under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_signal-trace");

/// Where the v2 hierarchy is mounted.
pub(crate) fn cgroup_root() -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mounts").expect("/proc is mounted");
    let mut fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let mount = fields.find(|fields| fields[2] == "cgroup2").expect("a cgroup v2 hierarchy is mounted");
    PathBuf::from(mount[1])
}

/// A container without a process.
pub(crate) fn create() -> Sandbox {
    Sandbox::create(&cgroup_root(), "test").expect("root, and a cgroup v2 hierarchy")
}

/// A container with `command` as its init.
pub(crate) fn start(command: Command) -> Running {
    create().start(command).expect("the command starts")
}

/// A container with that app as its init, which is ready.
pub(crate) fn start_app(arguments: &[&str]) -> Running {
    let mut command = app(&["--ready"]);
    command.args(arguments);
    let mut running = start(command);
    assert!(stdout(running.init_mut()).wait_for_lines("ready", 1, SOON), "the app is not ready: {arguments:?}");
    running
}

/// The cgroup of `running`.
pub(crate) fn directory(running: &Running) -> PathBuf {
    cgroup_root().join(running.cgroup().path.trim_start_matches('/'))
}

/// As rustix has it.
pub(crate) fn raw(pid: Pid) -> rustix::process::Pid {
    i32::try_from(pid.0).ok().and_then(rustix::process::Pid::from_raw).expect("a pid")
}

/// What tells the end of `pid`.
pub(crate) fn pidfd(pid: Pid) -> OwnedFd {
    pidfd_open(raw(pid), PidfdFlags::empty()).expect("the process lives")
}

/// Whether that process ends `within` the time.
pub(crate) fn ends(pidfd: impl AsFd, within: Duration) -> bool {
    let within = Timespec::try_from(within).expect("a short time");
    poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&within)).expect("a pidfd can be polled") == 1
}

/// `/proc/PID/status` of `pid`.
pub(crate) fn status(pid: Pid) -> String {
    fs::read_to_string(format!("/proc/{}/status", pid.0)).expect("the process lives")
}

/// `sh -c script`, heard and not talked to.
pub(crate) fn sh(script: &str) -> Command {
    heard("sh", &["-c", script])
}

/// `signal-trace app arguments`, heard and not talked to.
pub(crate) fn app(arguments: &[&str]) -> Command {
    let mut command = heard(BINARY, &["app"]);
    command.args(arguments);
    command
}

/// A command whose output is piped and whose input is empty.
pub(crate) fn heard(program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Listens to the standard output of `process`.
pub(crate) fn stdout(process: &mut Process) -> Capture {
    Capture::start(process.take_stdout().expect("it was piped")).expect("a thread")
}

/// Listens to the standard error of `process`.
pub(crate) fn stderr(process: &mut Process) -> Capture {
    Capture::start(process.take_stderr().expect("it was piped")).expect("a thread")
}

/// What a capture holds once the process has closed it.
pub(crate) fn all(capture: &Capture) -> String {
    assert!(capture.wait_for_end(SOON), "the output did not end: {}", capture.text());
    capture.text()
}

/// Host pids of the processes in the cgroup at `directory`.
pub(crate) fn members(directory: &Path) -> Vec<Pid> {
    let text = fs::read_to_string(directory.join("cgroup.procs")).expect("the cgroup exists");
    text.lines().map(|line| Pid(line.parse().expect("a pid"))).collect()
}
