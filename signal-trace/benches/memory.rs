//! Resident memory of `watch` with many containers, each with an init: to be held against its bound.
//!
//! Needs root. Prints kilobytes as `/proc/PID/status` has them; exits with 1 where the bound is missed.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use signal_trace::containers::path::Forms;
use signal_trace::containers::scan::{Hierarchy, View};
use signal_trace::sandbox::{Capture, Running, Sandbox};

/// Containers that are followed at once.
const CONTAINERS: usize = 200;
/// What may be resident then.
const BOUND_KIB: u64 = 20 * 1024;
/// Bound of every wait.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let hierarchy = Hierarchy::find(Path::new("/proc"), View::Own, Forms::default()).expect("a v2 hierarchy");
    let containers: Vec<_> = (0..CONTAINERS).map(|_| container(hierarchy.mount())).collect();
    let started = Instant::now();
    let mut watch = Command::new(env!("CARGO_BIN_EXE_signal-trace"))
        .args(["watch", "--json"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("watch starts");
    let said = Capture::start(watch.stderr.take().expect("a pipe")).expect("a reader");
    while !said.text().contains("ready") {
        assert!(started.elapsed() < PATIENCE && !said.wait_for_end(Duration::from_millis(1)), "{}", said.text());
    }
    let ready = started.elapsed();
    let status = fs::read_to_string(format!("/proc/{}/status", watch.id())).expect("watch runs");
    let field = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or(0)
    };
    let (resident, peak) = (field("VmRSS:"), field("VmHWM:"));
    watch.kill().expect("watch can be ended");
    watch.wait().expect("watch ends");
    drop(containers);

    println!("{}", said.text().trim());
    println!("start to ready {ready:>40.0?}");
    println!("resident with {CONTAINERS} containers {resident:>27} KiB   (at most {BOUND_KIB})");
    println!("peak at the start {peak:>37} KiB");
    if resident > 0 && resident <= BOUND_KIB { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One with an init that waits.
fn container(mount: &Path) -> Running {
    let sandbox = Sandbox::create(mount, "bench").expect("a cgroup");
    let mut command = Command::new(env!("CARGO_BIN_EXE_signal-trace"));
    command.arg("app").stdin(Stdio::null());
    sandbox.start(command).expect("a container")
}
