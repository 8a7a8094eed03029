//! Real containers under Debian's containerd and runc, stopped as a container runtime stops them, judged by `watch`.
//!
//! The daemon, its shims, the runtime's state and the containers belong to this test alone, below one directory, and
//! are gone afterwards however it ends. Needs root, containerd with `ctr`, runc and a static busybox. Knows the product
//! by its command line and its records only.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long a stopped container has, well above what counts as killed by design.
const GRACE: Duration = Duration::from_secs(1);
/// Bound of every wait: generous, because it is reached only where something is broken.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(20);

#[test]
fn containers_of_containerd_get_the_verdicts_that_are_true() {
    let containerd = Containerd::start();
    let watch = Watch::start(&containerd, 3);

    // The classic wrapper: a shell without a handler, and the program behind it that nobody tells.
    let wrapper = containerd.run("wrapper", "echo ready; sleep 1000; true");
    wrapper.wait_for_child("sleep");
    let wrapper_id = wrapper.id.clone();
    assert_eq!(wrapper.stop(), Some(128 + 9), "the wrapper is killed after its grace");

    // Passes the signal on to a child that has no handler either, and waits for it.
    let forwarding =
        containerd.run("forwarding", "sleep 1000 & child=$!; trap 'kill $child; wait; exit 0' TERM; echo ready; wait");
    forwarding.wait_for_child("sleep");
    let forwarding_id = forwarding.id.clone();
    assert_eq!(forwarding.stop(), Some(0), "the forwarding shell ends by its handler");

    // Alone, with a handler: what blocks it is the read of a pipe that it holds open itself.
    let alone =
        containerd.run("alone", "trap 'exit 0' TERM; mkfifo /pipe; exec 3<>/pipe; echo ready; read -r line <&3");
    let alone_id = alone.id.clone();
    assert_eq!(alone.stop(), Some(0), "the shell with a handler ends by it");

    let records = watch.records();
    assert_eq!(records.len(), 3, "{records:#?}");
    let of = |id: &str| {
        let found = records.iter().find(|record| record["container"]["id"] == id);
        found.unwrap_or_else(|| panic!("no record of {id} in {records:#?}"))
    };

    let record = of(&wrapper_id);
    expect(
        record,
        &[
            ("/outcome", json!("grace_exceeded")),
            ("/cause", json!("not_forwarded")),
            ("/init_disposition", json!("no_handler")),
            ("/stop_signal", json!("SIGTERM")),
            ("/exit/signal", json!("SIGKILL")),
            ("/exit/code", Value::Null),
            ("/processes", json!({"at_stop": 1, "leaves": 1, "told": 0, "killed": 1})),
            ("/missed/0/comm", json!("sleep")),
            ("/missed/1", Value::Null),
            ("/container/runtime", json!("containerd")),
            ("/container/cgroup", json!(format!("/default/{wrapper_id}"))),
            ("/pod", Value::Null),
        ],
    );
    let waited = record["stop_to_kill_seconds"].as_f64().unwrap_or_default();
    assert!(waited >= GRACE.as_secs_f64(), "killed {waited} s after the stop signal: {record:#}");

    expect(
        of(&forwarding_id),
        &[
            ("/outcome", json!("died_on_signal")),
            ("/cause", json!("no_handler")),
            ("/init_disposition", json!("handled")),
            ("/exit/code", json!(0)),
            ("/processes", json!({"at_stop": 1, "leaves": 1, "told": 1, "killed": 0})),
            ("/missed", json!([])),
        ],
    );
    expect(
        of(&alone_id),
        &[
            ("/outcome", json!("graceful")),
            ("/cause", json!("none")),
            ("/init_disposition", json!("handled")),
            ("/exit/code", json!(0)),
            ("/processes", json!({"at_stop": 0, "leaves": 0, "told": 0, "killed": 0})),
            ("/missed", json!([])),
        ],
    );
}

/// Compares the values at these places of a record; what is not there counts as null.
fn expect(record: &Value, fields: &[(&str, Value)]) {
    for (place, expected) in fields {
        let actual = record.pointer(place).unwrap_or(&Value::Null);
        assert_eq!(actual, expected, "{place} of {record:#}");
    }
}

/// A containerd of our own, and all that comes of it.
struct Containerd {
    daemon: Child,
    directory: Scratch,
    /// Starts the id of every container, so that the ids are ours alone on this machine.
    prefix: String,
    /// Groups of containerd's namespace that were not there before us.
    new_groups: Vec<PathBuf>,
}

impl Containerd {
    fn start() -> Self {
        let prefix = format!("signal-trace-test-{}", std::process::id());
        let directory = Scratch(std::env::temp_dir().join(&prefix));
        let rootfs = directory.0.join("rootfs/bin");
        fs::create_dir_all(&rootfs).expect("a directory for the test");
        fs::copy("/bin/busybox", rootfs.join("busybox")).expect("busybox-static is installed");
        for applet in ["sh", "sleep", "mkfifo"] {
            std::os::unix::fs::symlink("busybox", rootfs.join(applet)).expect("an applet");
        }
        let at = directory.0.display();
        let configuration = format!(
            "version = 2\nroot = '{at}/root'\nstate = '{at}/state'\n\
             disabled_plugins = ['io.containerd.grpc.v1.cri', 'io.containerd.internal.v1.opt']\n\
             [grpc]\naddress = '{at}/socket'\n[ttrpc]\naddress = '{at}/ttrpc'\n"
        );
        fs::write(directory.0.join("config.toml"), configuration).expect("a configuration");
        let new_groups = groups("default").into_iter().filter(|group| !group.exists()).collect();
        let log = File::create(directory.0.join("log")).expect("a log");
        let mut command = Command::new("containerd");
        command.arg("--config").arg(directory.0.join("config.toml")).env("PATH", path_with_system_programs());
        let output = log.try_clone().expect("a second handle of the log");
        let daemon = command.stdin(Stdio::null()).stdout(output).stderr(log).spawn().expect("containerd is installed");
        let containerd = Self { daemon, directory, prefix, new_groups };
        until("containerd answers", || containerd.ctr(&["version"]).then_some(()));
        containerd
    }

    /// Starts a container whose init is a shell with this script, and waits until it says that it is ready.
    fn run(&self, name: &str, script: &str) -> Container<'_> {
        let id = format!("{}-{name}", self.prefix);
        let output = self.directory.0.join(&id);
        let rootfs = self.directory.0.join("rootfs");
        let mut command = self.command();
        command.args(["run", "--rm", "--env", "PATH=/bin", "--rootfs"]);
        command.arg("--fifo-dir").arg(self.directory.0.join("fifo"));
        command.arg("--runc-root").arg(self.directory.0.join("runc"));
        command.arg(rootfs).arg(&id).args(["/bin/sh", "-c", script]);
        let file = File::create(&output).expect("a file for the container's output");
        command.stdin(Stdio::null()).stderr(file.try_clone().expect("a second handle")).stdout(file);
        let client = command.spawn().expect("ctr is installed");
        let mut container = Container { containerd: self, id, client };
        until("the container is ready", || {
            let said = fs::read_to_string(&output).unwrap_or_default();
            let ended = container.client.try_wait().expect("ctr is our child");
            assert!(ended.is_none(), "the container ended before it was ready: {said}");
            said.contains("ready").then_some(())
        });
        container
    }

    fn command(&self) -> Command {
        let mut command = Command::new("ctr");
        command.arg("--address").arg(self.directory.0.join("socket")).args(["--namespace", "default"]);
        command
    }

    /// Whether this call of `ctr` succeeds.
    fn ctr(&self, arguments: &[&str]) -> bool {
        let mut command = self.command();
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().expect("ctr is installed").success()
    }

    /// What a call of `ctr` prints.
    fn ask(&self, arguments: &[&str]) -> String {
        let output = self.command().args(arguments).stdin(Stdio::null()).output().expect("ctr is installed");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
        // Shims outlive the daemon by design; each names our socket in its arguments.
        for shim in processes_that_mention(&self.directory.0) {
            let _ = Command::new("kill").args(["-KILL", &shim]).status();
        }
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let ours = mounts
            .lines()
            .filter_map(|line| line.split(' ').nth(1))
            .filter(|path| Path::new(path).starts_with(&self.directory.0));
        for mount in ours.collect::<Vec<_>>().into_iter().rev() {
            let _ = Command::new("umount").args(["--lazy", mount]).status();
        }
        for group in &self.new_groups {
            let _ = fs::remove_dir(group);
        }
        if std::thread::panicking() {
            eprintln!("{}", fs::read_to_string(self.directory.0.join("log")).unwrap_or_default());
        }
    }
}

/// A directory that goes with us, and last.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A running container, killed when dropped.
struct Container<'a> {
    containerd: &'a Containerd,
    id: String,
    /// `ctr run` in the foreground: it ends with the container, and as the container did.
    client: Child,
}

impl Container<'_> {
    /// Waits until init has a child of this name: a shell says that it is ready before its child is what it will be.
    fn wait_for_child(&self, name: &str) {
        let tasks = self.containerd.ask(&["task", "list"]);
        let row = tasks
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .find(|row| row.first() == Some(&&*self.id));
        let init = *row.as_ref().and_then(|row| row.get(1)).unwrap_or_else(|| panic!("{} in {tasks}", self.id));
        until("the child runs", || {
            let children = fs::read_to_string(format!("/proc/{init}/task/{init}/children")).unwrap_or_default();
            let named =
                |pid: &str| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim_end() == name);
            children.split_whitespace().any(named).then_some(())
        });
    }

    /// Stops it as a runtime does: the stop signal, the grace, then SIGKILL. Returns its exit code.
    fn stop(mut self) -> Option<i32> {
        assert!(self.kill("SIGTERM"), "{} takes a signal", self.id);
        let status = self.ended_within(GRACE).unwrap_or_else(|| {
            assert!(self.kill("SIGKILL"), "{} takes SIGKILL", self.id);
            self.ended_within(PATIENCE).expect("SIGKILL ends a container")
        });
        status.code()
    }

    fn kill(&self, signal: &str) -> bool {
        self.containerd.ctr(&["task", "kill", "--signal", signal, &self.id])
    }

    fn ended_within(&mut self, bound: Duration) -> Option<ExitStatus> {
        look(bound, || self.client.try_wait().expect("ctr is our child"))
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        if self.client.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.kill("SIGKILL");
            if self.ended_within(PATIENCE).is_none() {
                let _ = self.client.kill();
                let _ = self.client.wait();
            }
            self.containerd.ctr(&["task", "delete", "--force", &self.id]);
            self.containerd.ctr(&["container", "delete", &self.id]);
        }
        for group in groups(&format!("default/{}", self.id)) {
            let _ = fs::remove_dir(group);
        }
    }
}

/// `signal-trace watch`, until it has seen this many shutdowns.
struct Watch {
    process: Child,
    output: PathBuf,
    errors: PathBuf,
}

impl Watch {
    fn start(containerd: &Containerd, shutdowns: usize) -> Self {
        let (output, errors) = (containerd.directory.0.join("watch.out"), containerd.directory.0.join("watch.err"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_signal-trace"));
        let ours = format!("id={}-*", containerd.prefix);
        command.args(["watch", "--json", "--filter", &ours, "--once", &shutdowns.to_string()]);
        command.stdin(Stdio::null());
        command.stdout(File::create(&output).expect("a file for the records"));
        command.stderr(File::create(&errors).expect("a file for what watch says"));
        let mut watch = Self { process: command.spawn().expect("signal-trace starts"), output, errors };
        until("watch is ready", || {
            let said = fs::read_to_string(&watch.errors).unwrap_or_default();
            let ended = watch.process.try_wait().expect("watch is our child");
            assert!(ended.is_none(), "watch ended before it was ready: {said}");
            said.contains("ready").then_some(())
        });
        watch
    }

    /// The records, once it has ended by itself.
    fn records(mut self) -> Vec<Value> {
        let status = look(PATIENCE, || self.process.try_wait().expect("watch is our child"));
        let said = fs::read_to_string(&self.errors).unwrap_or_default();
        let output = fs::read_to_string(&self.output).unwrap_or_default();
        let status = status.unwrap_or_else(|| panic!("watch has not seen all shutdowns: {output}{said}"));
        assert!(status.success(), "watch ended with {status}: {said}");
        output.lines().map(|line| serde_json::from_str(line).expect("a record is one JSON object a line")).collect()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What `condition` gives, as soon as it does.
fn until<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    look(PATIENCE, condition).unwrap_or_else(|| panic!("not within {PATIENCE:?}: {what}"))
}

fn look<T>(bound: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + bound;
    loop {
        let last = Instant::now() >= deadline;
        if let Some(value) = condition() {
            return Some(value);
        }
        if last {
            return None;
        }
        std::thread::sleep(LOOK);
    }
}

/// The directories of a group in every hierarchy, whether they exist or not.
fn groups(path: &str) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").expect("/proc is mounted");
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let hierarchies = fields.filter(|fields| fields.get(2).is_some_and(|kind| kind.starts_with("cgroup")));
    hierarchies.map(|fields| Path::new(fields[1]).join(path)).collect()
}

/// Pids of the processes with this path among their arguments, ourselves excepted.
fn processes_that_mention(path: &Path) -> Vec<String> {
    let path = path.to_string_lossy();
    let entries = fs::read_dir("/proc").expect("/proc is mounted").flatten();
    let pids = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let pids = pids.filter(|pid| pid.parse::<u32>().is_ok_and(|pid| pid != std::process::id()));
    let mentions = |pid: &String| {
        fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| String::from_utf8_lossy(&line).contains(&*path))
    };
    pids.filter(mentions).collect()
}

/// PATH, and the directories where Debian keeps runc.
fn path_with_system_programs() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}
