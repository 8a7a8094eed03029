//! What the kernel really refuses once privileges were given up, and that following goes on without them.
//!
//! Without the usual harness: what is given up belongs to a thread, and threads of the harness would keep theirs. Each
//! check starts a process that gives up, and holds what it says of itself, or what `/proc` says of it, against the list.
//! Needs root.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal as Kill, kill_process};
use signal_trace::confine::{Confined, Extent, confine};
use signal_trace::event::Signal;
use signal_trace::sandbox::{Capture, Running, Sandbox};

/// Bound of every wait: reached only where something is broken.
const PATIENCE: Duration = Duration::from_secs(30);
const PROGRAM: &str = env!("CARGO_BIN_EXE_signal-trace");
/// What a chart gives: these two and no more.
const POD: &str = "+bpf,+perfmon";
const F_SETSIG: libc::c_long = 10;
const SYS_PTRACE: u64 = 1 << 19;
const DAC_READ_SEARCH: u64 = 1 << 2;

fn main() {
    let words: Vec<_> = std::env::args().collect();
    match words.get(1).map(String::as_str) {
        Some("calls") => return calls(),
        Some("files") => return files(&words[2]),
        Some("abort") => return abort(),
        _ => {}
    }
    for (name, check) in [
        ("no_call_signals_starts_looks_into_or_changes", no_call_signals as fn()),
        ("files_beyond_the_list_are_not_there", files_beyond_the_list_are_not_there),
        ("a_process_that_aborts_ends", a_process_that_aborts_ends),
        ("watch_judges_with_what_is_left", watch_judges_with_what_is_left),
        ("watch_judges_as_a_pod_without_any_capability", watch_judges_as_a_pod),
        ("watch_keeps_all_where_it_is_told_to", watch_keeps_all),
        ("the_agent_counts_and_answers_without_any_capability", the_agent_answers),
        ("the_breaker_detaches_and_says_so", the_breaker_detaches),
    ] {
        check();
        println!("test {name} ... ok");
    }
}

fn no_call_signals() {
    let (status, said) = child(Command::new(std::env::current_exe().unwrap()).arg("calls"));
    assert!(status.success(), "{said}");
}

fn files_beyond_the_list_are_not_there() {
    if !landlock() {
        println!("this kernel has no Landlock: only system calls hold files");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut command = as_pod(&std::env::current_exe().unwrap());
    let (status, said) = child(command.arg("files").arg(folder.path()));
    assert!(status.success(), "{said}");
}

fn a_process_that_aborts_ends() {
    let (status, said) = child(Command::new(std::env::current_exe().unwrap()).arg("abort"));
    assert!(!status.success() && said.contains("confined"), "{status}: {said}");
}

fn watch_judges_with_what_is_left() {
    let watch = Watch::start(&mut Command::new(PROGRAM), &[]);
    let status = Status::of(watch.child.id());
    status.is_confined(SYS_PTRACE | DAC_READ_SEARCH | bpf_where_needed());
    watch.judges();
}

fn watch_judges_as_a_pod() {
    let watch = Watch::start(&mut as_pod(Path::new(PROGRAM)), &[]);
    Status::of(watch.child.id()).is_confined(bpf_where_needed());
    watch.judges();
}

fn watch_keeps_all() {
    let watch = Watch::start(&mut Command::new(PROGRAM), &["--confine=false"]);
    let (status, own) = (Status::of(watch.child.id()), Status::of(std::process::id()));
    assert_eq!((status.capabilities, status.filters), (own.capabilities, own.filters));
    watch.judges();
}

fn the_agent_answers() {
    let (mut agent, address, _) = start_agent(&[]);
    Status::of(agent.id()).is_confined(bpf_where_needed());
    let running = container("trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done");
    // Found after privileges were given up: the hierarchy and procfs are read, and a table is written.
    let id = running.cgroup().id.0.to_string();
    eventually(address, "/debug/containers", |page| page.contains(&id));
    running.init().signal(Signal::TERM).unwrap();
    let counted = "signal_trace_kernel_events_total{kind=\"signal\"} ";
    let is_counted = |line: &str| line.strip_prefix(counted).is_some_and(|count| count != "0");
    let page = eventually(address, "/metrics", |page| page.lines().any(is_counted));
    assert!(page.contains("\nprocess_open_fds "), "{page}");
    kill_process(Pid::from_child(&agent), Kill::TERM).unwrap();
    assert!(agent.wait().unwrap().success(), "it ends as it is told to");
}

fn the_breaker_detaches() {
    let (agent, address, said) = start_agent(&["--cpu-limit", "1"]);
    let own_programs = || programs_of(agent.id());
    assert!(own_programs() > 0);
    let unready = "the kernel programs were detached";
    // Every control group that comes and goes costs it something: that is more than is allowed.
    let storm = Path::new(cgroups()).join(format!("signal-trace-storm-{}", agent.id()));
    let deadline = Instant::now() + Duration::from_secs(90);
    while !support::http::get(address, "/readyz").1.contains(unready) {
        assert!(Instant::now() < deadline, "it never tripped: {}", said.text());
        for _ in 0..1000 {
            fs::create_dir(&storm).unwrap();
            fs::remove_dir(&storm).unwrap();
        }
    }
    assert_eq!(own_programs(), 0, "nothing is left in the kernel");
    assert_eq!(support::http::get(address, "/healthz").0, 200, "a restart would load them again");
    eventually(address, "/metrics", |page| page.contains("\nsignal_trace_detached 1\n"));
    assert!(said.text().contains("% of a core over 30 s, and --cpu-limit is 1"), "{}", said.text());
}

/// Kernel programs that a process holds descriptors of.
fn programs_of(pid: u32) -> usize {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    links.filter(|link| fs::read_link(link.path()).is_ok_and(|to| to.ends_with("anon_inode:bpf-prog"))).count()
}

/// An agent with the capabilities of a pod whose API server is not there: names never come, and everything else does.
fn start_agent(more: &[&str]) -> (Ended, SocketAddr, Capture) {
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("config");
    let text = "{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: k, user: u}}], \
                clusters: [{name: k, cluster: {server: 'http://127.0.0.1:9'}}], users: [{name: u, user: {}}]}";
    fs::write(&kubeconfig, text).unwrap();
    let mut command = as_pod(Path::new(PROGRAM));
    command.args(["agent", "--node-name", "n", "--listen", "127.0.0.1:0", "--root", "/signal-trace"]).args(more);
    let (agent, ready, said) = start(command.arg("--kubeconfig").arg(&kubeconfig), "ready: ");
    let address = ready.rsplit(' ').next().unwrap().parse().unwrap();
    (agent, address, said)
}

/// The page once it is as it should be.
fn eventually(address: SocketAddr, path: &str, right: impl Fn(&str) -> bool) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (code, page) = support::http::get(address, path);
        assert_eq!(code, 200, "{page}");
        if right(&page) {
            return page;
        }
        assert!(Instant::now() < deadline, "{path} never said it: {page}");
    }
}

/// In a process of its own: gives up, and tries everything.
fn calls() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("file");
    fs::write(&file, "text").unwrap();
    let opened = File::open(&file).unwrap();
    let left = give_up(&[]);
    assert!(left.calls, "{left:?}");

    let path = std::ffi::CString::new(file.to_str().unwrap()).unwrap();
    let path = path.as_ptr() as libc::c_long;
    let (own, parent) = (libc::c_long::from(libc::pid_t::try_from(std::process::id()).unwrap()), parent());
    let descriptor = libc::c_long::from(std::os::fd::AsRawFd::as_raw_fd(&opened));
    let at = libc::c_long::from(libc::AT_FDCWD);
    for (what, call, arguments) in [
        ("kill the parent", libc::SYS_kill, [parent, 0, 0, 0]),
        ("kill itself", libc::SYS_kill, [own, 0, 0, 0]),
        ("kill everybody", libc::SYS_kill, [-1, 0, 0, 0]),
        ("tkill", libc::SYS_tkill, [own, 0, 0, 0]),
        ("tgkill", libc::SYS_tgkill, [own, own, 0, 0]),
        ("rt_sigqueueinfo", libc::SYS_rt_sigqueueinfo, [parent, 15, 0, 0]),
        ("rt_tgsigqueueinfo", libc::SYS_rt_tgsigqueueinfo, [parent, parent, 15, 0]),
        ("pidfd_open", libc::SYS_pidfd_open, [parent, 0, 0, 0]),
        ("pidfd_send_signal", libc::SYS_pidfd_send_signal, [descriptor, 15, 0, 0]),
        ("pidfd_getfd", libc::SYS_pidfd_getfd, [descriptor, 0, 0, 0]),
        ("own a descriptor's signal", libc::SYS_fcntl, [descriptor, libc::F_SETOWN.into(), parent, 0]),
        ("choose a descriptor's signal", libc::SYS_fcntl, [descriptor, F_SETSIG, 15, 0]),
        ("ptrace", libc::SYS_ptrace, [libc::PTRACE_SEIZE.into(), parent, 0, 0]),
        ("process_vm_writev", libc::SYS_process_vm_writev, [parent, 0, 0, 0]),
        ("execve", libc::SYS_execve, [path, 0, 0, 0]),
        ("execveat", libc::SYS_execveat, [at, path, 0, 0]),
        ("clone a process", libc::SYS_clone, [libc::SIGCHLD.into(), 0, 0, 0]),
        ("open for writing", libc::SYS_openat, [at, path, libc::O_WRONLY.into(), 0]),
        ("open for both", libc::SYS_openat, [at, path, libc::O_RDWR.into(), 0]),
        ("make a file", libc::SYS_openat, [at, path, libc::O_CREAT.into(), 0o600]),
        ("cut a file", libc::SYS_openat, [at, path, libc::O_TRUNC.into(), 0]),
        ("truncate", libc::SYS_truncate, [path, 0, 0, 0]),
        ("unlinkat", libc::SYS_unlinkat, [at, path, 0, 0]),
        ("mkdirat", libc::SYS_mkdirat, [at, path, 0o700, 0]),
        ("fchmodat", libc::SYS_fchmodat, [at, path, 0o777, 0]),
        ("a runtime's socket", libc::SYS_socket, [libc::AF_UNIX.into(), libc::SOCK_STREAM.into(), 0, 0]),
        ("a packet socket", libc::SYS_socket, [libc::AF_PACKET.into(), libc::SOCK_RAW.into(), 0, 0]),
        ("load a program", libc::SYS_bpf, [5, 0, 0, 0]),
        ("make a map", libc::SYS_bpf, [0, 0, 0, 0]),
        ("perf_event_open", libc::SYS_perf_event_open, [0, 0, 0, 0]),
        ("type into a terminal", libc::SYS_ioctl, [0, 0x5412, 0, 0]),
        ("unshare", libc::SYS_unshare, [libc::CLONE_NEWUSER.into(), 0, 0, 0]),
        ("setns", libc::SYS_setns, [descriptor, 0, 0, 0]),
        ("take back capabilities", libc::SYS_capset, [0, 0, 0, 0]),
        ("undo by prctl", libc::SYS_prctl, [libc::PR_SET_SECCOMP.into(), 0, 0, 0]),
        ("io_uring_setup", libc::SYS_io_uring_setup, [1, 0, 0, 0]),
        ("another's limits", libc::SYS_prlimit64, [parent, libc::c_long::from(libc::RLIMIT_NOFILE), 0, 0]),
        ("reboot", libc::SYS_reboot, [0, 0, 0, 0]),
    ] {
        assert_eq!(attempt(call, arguments), Err(Errno::PERM), "{what}");
    }
    for (what, call) in [("clone3", libc::SYS_clone3), ("openat2", libc::SYS_openat2)] {
        assert_eq!(attempt(call, [0; 4]), Err(Errno::NOSYS), "{what}: the library takes another call");
    }
    what_is_needed_goes_on(&listener, &file);
    println!("confined");
}

fn what_is_needed_goes_on(listener: &TcpListener, file: &Path) {
    assert_eq!(fs::read_to_string(file).unwrap(), "text");
    assert!(fs::read_dir("/proc/self/fd").unwrap().count() > 0);
    let address = listener.local_addr().unwrap();
    // A thread, which has given up the same, as have those that are made later.
    let asking = std::thread::spawn(move || {
        assert_eq!(attempt(libc::SYS_kill, [1, 0, 0, 0]), Err(Errno::PERM));
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"hello").unwrap();
    });
    let mut heard = String::new();
    listener.accept().unwrap().0.read_to_string(&mut heard).unwrap();
    asking.join().unwrap();
    assert_eq!(heard, "hello");
    assert!(("localhost", 80).to_socket_addrs().unwrap().count() > 0, "names are resolved");
}

/// In a process of its own, with the capabilities of a pod: reads what is listed and what is not.
fn files(folder: &str) {
    let folder = Path::new(folder);
    let (listed, other) = (folder.join("listed"), folder.join("other"));
    for folder in [&listed, &other] {
        fs::create_dir(folder).unwrap();
        fs::write(folder.join("file"), "text").unwrap();
    }
    let left = give_up(std::slice::from_ref(&listed));
    assert!(left.files && left.capabilities.is_empty(), "{left:?}");
    assert_eq!(fs::read_to_string(listed.join("file")).unwrap(), "text");
    for refused in [other.join("file"), Path::new("/root").to_owned(), Path::new("/proc/1/environ").to_owned()] {
        let error = if refused.is_dir() { fs::read_dir(&refused).map(drop) } else { File::open(&refused).map(drop) };
        assert_eq!(error.unwrap_err().kind(), std::io::ErrorKind::PermissionDenied, "{}", refused.display());
    }
    assert!(fs::read_to_string("/proc/1/stat").is_ok(), "what every process may know of another");
    println!("confined");
}

fn abort() {
    give_up(&[]);
    println!("confined");
    std::process::abort();
}

fn give_up(reads: &[std::path::PathBuf]) -> Confined {
    confine(Extent::All, reads, || true).unwrap()
}

fn parent() -> libc::c_long {
    rustix::process::getppid().unwrap().as_raw_nonzero().get().into()
}

#[expect(unsafe_code, reason = "the calls that nobody should make have no safe wrapper")]
fn attempt(call: libc::c_long, [a, b, c, d]: [libc::c_long; 4]) -> Result<(), Errno> {
    // SAFETY: no pointer is valid but that of a path, which lives as long as the caller; and the kernel refuses the call
    // before it looks at any.
    let result = unsafe { libc::syscall(call, a, b, c, d, 0, 0) };
    if result < 0 { Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap()) } else { Ok(()) }
}

/// What the kernel says that a process holds.
#[derive(Debug)]
struct Status {
    capabilities: [u64; 4],
    no_new_privileges: bool,
    filters: u32,
}

impl Status {
    fn of(pid: u32) -> Self {
        let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
        let bits = |name| u64::from_str_radix(&field(name), 16).unwrap();
        Self {
            capabilities: ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"].map(bits),
            no_new_privileges: field("NoNewPrivs:") == "1",
            filters: field("Seccomp_filters:").parse().unwrap(),
        }
    }

    fn is_confined(&self, kept: u64) {
        let [inheritable, permitted, effective, ambient] = self.capabilities;
        assert_eq!((inheritable, ambient), (0, 0), "{self:x?}");
        assert_eq!((permitted & !kept, effective & !kept), (0, 0), "{self:x?}");
        assert!(self.no_new_privileges && self.filters >= 2, "{self:x?}");
    }
}

/// BPF stays on kernels that ask for it at every look into a table: those before 5.19, if not patched.
fn bpf_where_needed() -> u64 {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    let old = (numbers.next().unwrap(), numbers.next().unwrap()) < (5, 19);
    if old { 1 << 39 } else { 0 }
}

fn landlock() -> bool {
    const VERSION: libc::c_long = 1;
    attempt(libc::SYS_landlock_create_ruleset, [0, 0, VERSION, 0]).is_ok()
}

/// `program` with the capabilities of the chart's pod.
fn as_pod(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.arg(format!("--inh-caps=-all,{POD}")).arg(format!("--bounding-set=-all,{POD}")).arg(program);
    command
}

/// A process to its end, and what it said.
fn child(command: &mut Command) -> (ExitStatus, String) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status, String::from_utf8_lossy(&said).into_owned())
}

/// Starts it and waits for a line on standard error that begins like this; the line, and
/// what is said after it.
fn start(command: &mut Command, beginning: &str) -> (Ended, String, Capture) {
    let mut child = Ended(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut all = String::new();
    loop {
        let mut line = String::new();
        assert_ne!(said.read_line(&mut line).unwrap(), 0, "it ended before it was ready: {all}");
        if line.starts_with(beginning) {
            // Read on, so that it never waits for us.
            return (child, line.trim().to_owned(), Capture::start(said).unwrap());
        }
        all += &line;
    }
}

/// A child that does not outlive the test.
struct Ended(Child);

impl std::ops::Deref for Ended {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl std::ops::DerefMut for Ended {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A `watch` that follows the sandboxes of this process.
struct Watch {
    child: Ended,
    good: Running,
    deaf: Running,
}

impl Watch {
    fn start(command: &mut Command, more: &[&str]) -> Self {
        // There before it starts: what is made later may be stopped before it was found.
        let good = container("trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done");
        let deaf = container("sleep 1000 & echo ready; wait");
        // It ends by itself, so that no read waits for ever.
        let words = ["watch", "--json", "--once", "2", "--for", "60s", "--root", "/signal-trace"];
        let (child, _, _) = start(command.args(words).args(more), "ready: ");
        Self { child, good, deaf }
    }

    /// One that ends well and one that is killed are told apart.
    fn judges(mut self) {
        let mut records = BufReader::new(self.child.stdout.take().unwrap());
        let mut next = || {
            let mut line = String::new();
            records.read_line(&mut line).unwrap();
            let record: serde_json::Value = serde_json::from_str(&line).unwrap();
            record["outcome"].as_str().unwrap().to_owned()
        };
        self.good.init().signal(Signal::TERM).unwrap();
        assert_eq!(next(), "graceful");
        self.deaf.init().signal(Signal::TERM).unwrap();
        self.deaf.init().signal(Signal::KILL).unwrap();
        assert_eq!(next(), "forced");
        assert!(self.child.wait().unwrap().success());
    }
}

/// A container that says `ready` once it has settled.
fn container(script: &str) -> Running {
    let sandbox = Sandbox::create(Path::new(cgroups()), "test").unwrap();
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut running = sandbox.start(command).unwrap();
    let said = Capture::start(running.init_mut().take_stdout().unwrap()).unwrap();
    assert!(said.wait_for_lines("ready", 1, PATIENCE), "it never settled: {}", said.text());
    running
}

/// Where control groups of version 2 are, alone or beside the older ones.
fn cgroups() -> &'static str {
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/unified" }
}
