//! The loop on the real kernel: what is lost is seen in the verdict, and a second instance is refused.
//!
//! Needs root.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use signal_trace::containers::path::Forms;
use signal_trace::daemon::Daemon;
use signal_trace::event::{ExitStatus, Signal};
use signal_trace::judge::Spec;
use signal_trace::judge::shutdown::{Confidence, Outcome, Shutdown};
use signal_trace::kernel::{Host, Settings};
use signal_trace::sandbox::{Capture, Running, Sandbox};

/// Bound of every wait: reached only where something is broken.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_ring_that_overflows_makes_the_verdict_unknown() {
    event_loop().block_on(async {
        let settings = Settings { bulk_ring_bytes: 4096, ..Settings::default() };
        let mut daemon = Daemon::start(&settings, Forms::default()).expect("the programs load");
        let running = start(&mut daemon, sh("trap 'exit 0' TERM; echo ready; while :; do /bin/true; done"));
        // Nobody reads meanwhile: every process that the shell starts is two records.
        let deadline = Instant::now() + PATIENCE;
        while daemon.kernel().losses().expect("the kernel counts").ring_full == 0 {
            assert!(Instant::now() < deadline, "the ring never overflowed");
            std::thread::yield_now();
        }
        running.init().signal(Signal::TERM).expect("init can be told");
        let shutdown = verdict(&mut daemon, &running).await;
        assert_eq!(shutdown.verdict.outcome, Outcome::Unknown, "{shutdown:#?}");
        assert_eq!(shutdown.confidence, Confidence::Partial);
        assert!(daemon.losses().ring_full > 0);
    });
}

#[test]
fn a_program_that_the_kernel_skipped_makes_the_verdict_unknown() {
    event_loop().block_on(async {
        let proc = Proc::new();
        let settings = Settings { host: Host { proc: proc.path(), ..Host::default() }, ..Settings::default() };
        let mut daemon = Daemon::start(&settings, Forms::default()).expect("the programs load");
        proc.set_skipped(0);
        let running = start(&mut daemon, app(&["--ready", "--on", "TERM=exit:0"]));
        proc.set_skipped(3);
        running.init().signal(Signal::TERM).expect("init can be told");
        let shutdown = verdict(&mut daemon, &running).await;
        assert_eq!(shutdown.verdict.outcome, Outcome::Unknown, "{shutdown:#?}");
        assert!(daemon.losses().program_skipped >= 3);
    });
}

/// This machine's `/proc`, but for what the kernel counted of the programs of this process.
struct Proc(tempfile::TempDir);

impl Proc {
    fn new() -> Self {
        let proc = Self(tempfile::tempdir().expect("a folder"));
        let own = proc.0.path().join("self");
        std::fs::create_dir(&own).expect("a folder");
        std::fs::create_dir(own.join("fdinfo")).expect("a folder");
        for (from, to) in [("/proc", proc.path()), ("/proc/self", own)] {
            for entry in std::fs::read_dir(from).expect("procfs").flatten() {
                // What is made above stays.
                let _ = std::os::unix::fs::symlink(entry.path(), to.join(entry.file_name()));
            }
        }
        proc
    }

    fn path(&self) -> PathBuf {
        self.0.path().to_owned()
    }

    fn set_skipped(&self, count: u64) {
        for entry in std::fs::read_dir("/proc/self/fdinfo").expect("procfs").flatten() {
            let file = self.path().join("self/fdinfo").join(entry.file_name());
            std::fs::write(file, format!("recursion_misses:\t{count}\n")).expect("a file");
        }
    }
}

#[test]
fn the_kernels_clock_times_a_shutdown() {
    event_loop().block_on(async {
        let mut daemon = Daemon::start(&Settings::default(), Forms::default()).expect("the programs load");
        let running = start(&mut daemon, app(&["--ready", "--on", "TERM=exit:3"]));
        running.init().signal(Signal::TERM).expect("init can be told");
        let shutdown = verdict(&mut daemon, &running).await;
        assert_eq!(shutdown.exit, Some(ExitStatus::Code(3)), "{shutdown:#?}");
        let init = shutdown.init.expect("init is named");
        assert_eq!(init.pid, running.init().pid());
        assert_eq!(shutdown.stop_to_exit, Some(shutdown.ended.since(shutdown.opened)));
    });
}

#[test]
fn a_stop_signal_that_stops_few_is_one_where_it_is_configured() {
    event_loop().block_on(async {
        let mut daemon = Daemon::start(&Settings::default(), Forms::default()).expect("the programs load");
        let running = start(&mut daemon, app(&["--ready", "--on", "ALRM=exit:0"]));
        let alarm = Signal::parse("ALRM").expect("a signal");
        daemon.configure(running.cgroup().id, Spec { stop_signal: Some(alarm), ..Spec::default() });
        running.init().signal(alarm).expect("init can be told");
        let shutdown = verdict(&mut daemon, &running).await;
        assert_eq!(shutdown.verdict.outcome, Outcome::Graceful, "{shutdown:#?}");
        assert_eq!(shutdown.stop_signal, Some(alarm));
    });
}

#[test]
fn a_second_watch_is_told_who_holds_the_place() {
    let program = env!("CARGO_BIN_EXE_signal-trace");
    let mut first = Command::new(program)
        .args(["watch", "--json"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("watch starts");
    let said = Capture::start(first.stderr.take().expect("a pipe")).expect("a reader");
    let deadline = Instant::now() + PATIENCE;
    while !said.text().contains("ready") && Instant::now() < deadline && first.try_wait().is_ok_and(|s| s.is_none()) {
        said.wait_for_end(Duration::from_millis(20));
    }
    let second = Command::new(program).args(["watch", "--json"]).output().expect("a second watch starts");
    let told = String::from_utf8_lossy(&second.stderr).into_owned();
    let pid = first.id().to_string();
    first.kill().expect("it can be ended");
    first.wait().expect("it ends");
    assert_eq!(second.status.code(), Some(1), "{told}");
    assert!(told.contains(&pid), "{told}");
}

fn event_loop() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("an event loop")
}

fn sh(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]);
    command
}

fn app(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_signal-trace"));
    command.arg("app").args(args);
    command
}

/// A container that prints `ready` once it has settled.
fn start(daemon: &mut Daemon, mut command: Command) -> Running {
    let sandbox = Sandbox::create(daemon.hierarchy().mount(), "test").expect("a cgroup");
    daemon.adopt(sandbox.cgroup().clone(), Spec::default());
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut running = sandbox.start(command).expect("the container starts");
    let stdout = running.init_mut().take_stdout().expect("a pipe");
    let said = Capture::start(stdout).expect("a reader");
    assert!(said.wait_for_lines("ready", 1, PATIENCE), "it never settled: {}", said.text());
    running
}

async fn verdict(daemon: &mut Daemon, running: &Running) -> Shutdown {
    let next = async {
        loop {
            let shutdown = daemon.next_shutdown().await.expect("the rings can be read");
            if shutdown.container.cgroup == running.cgroup().id {
                return shutdown;
            }
        }
    };
    tokio::time::timeout(PATIENCE, next).await.expect("a verdict falls")
}
