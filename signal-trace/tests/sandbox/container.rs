//! The container maker: who is where, what a stop does, and that nothing is left behind.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::mount::{MountFlags, MountPropagationFlags, mount_bind, mount_change, mount_remount};
use rustix::process::getsid;
use rustix::thread::{CapabilitySet, UnshareFlags, capabilities, set_capabilities, unshare_unsafe};
use signal_trace::event::{CgroupId, ExitStatus, Pid, Signal};
use signal_trace::sandbox::{Running, Sandbox, SandboxError, Step};

use super::support::{
    SOON, all, app, cgroup_root, create, directory, ends, heard, members, pidfd, raw, sh, start, start_app, status,
    stderr, stdout,
};

/// Set in the copies of this test program that stand for another process with a sandbox.
const COPY: &str = "SIGNAL_TRACE_TEST_COPY";

/// A container with a process below a process below its init.
fn start_tree() -> Running {
    start_app(&["--child", "--name middle --child '--name leaf --setsid'"])
}

/// This test program again, running `test` alone with [`COPY`] set.
fn copy_of(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("a path"));
    command.args(["--exact", test, "--nocapture"]).env(COPY, "1");
    command
}

fn is_copy() -> bool {
    std::env::var_os(COPY).is_some()
}

/// A line of a copy's output that starts with `key`, without it.
fn told(copy: &mut Child, key: &str) -> String {
    let out = copy.stdout.as_mut().expect("piped");
    let mut lines = BufReader::new(out).lines().map(|line| line.expect("text"));
    lines.find_map(|line| line.strip_prefix(key).map(str::to_owned)).expect("the copy says it")
}

/// A root of the hierarchy that no other test uses.
struct OwnRoot(PathBuf);

impl OwnRoot {
    fn make(name: &str) -> Self {
        let path = cgroup_root().join(format!("signal-trace-test-{}-{name}", std::process::id()));
        fs::create_dir(&path).expect("a cgroup can be made");
        Self(path)
    }
}

impl Drop for OwnRoot {
    fn drop(&mut self) {
        // Only after a failure there is anything in it, which must not outlive the test either.
        let begun = Instant::now();
        while remove_tree(&self.0).is_err() && begun.elapsed() < SOON {
            let _ = fs::write(self.0.join("cgroup.kill"), "1");
            thread::yield_now();
        }
    }
}

fn remove_tree(directory: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)?.flatten().filter(|entry| entry.path().is_dir()) {
        remove_tree(&entry.path())?;
    }
    fs::remove_dir(directory)
}

/// Another process, killed with the test at the latest.
struct OtherProcess(Child);

impl Drop for OtherProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_command_is_pid_1_and_sees_only_its_own() {
    let mut running = start(sh("echo $$; echo /proc/[0-9]*; read name </proc/1/comm; echo $name; sleep 60; true"));
    let out = stdout(running.init_mut());
    assert!(out.wait_for_lines("sh", 1, SOON), "{}", out.text());
    assert_eq!(out.text(), "1\n/proc/1\nsh\n");
    let host_view = fs::read_to_string(format!("/proc/{}/comm", running.init().pid().0)).unwrap();
    assert_eq!(host_view, "sh\n", "the host keeps its /proc");
    assert_eq!(getsid(Some(raw(running.init().pid()))).unwrap(), raw(running.init().pid()), "a session of its own");
}

#[test]
fn its_mounts_are_seen_nowhere_else() {
    // As under systemd, which shares all mounts with whoever copies them.
    with_own_mounts(MountPropagationFlags::SHARED, || {
        let mounts = || fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        let before = mounts();
        assert!(before.contains(" shared:"), "{before}");
        let _running = start_app(&[]);
        assert_eq!(mounts(), before);
    });
}

#[test]
fn the_cgroup_is_there_first_and_holds_all_of_it_and_nobody_else() {
    let sandbox = create();
    let cgroup = sandbox.cgroup().clone();
    let path = cgroup_root().join(cgroup.path.trim_start_matches('/'));
    assert_eq!(cgroup.id, CgroupId(fs::metadata(&path).unwrap().ino()));
    assert_eq!(cgroup.parent, CgroupId(fs::metadata(path.parent().unwrap()).unwrap().ino()));
    assert_eq!(members(&path), []);
    drop(sandbox);
    assert!(!path.exists(), "also without a process");

    let running = start_tree();
    let inside = members(&directory(&running));
    assert_eq!(inside.len(), 3, "init, its child, and the session of its own below that");
    assert!(inside.contains(&running.init().pid()));
    let me = std::process::id();
    assert!(!inside.contains(&Pid(me)));
    let status = status(running.init().pid());
    assert!(status.contains(&format!("PPid:\t{me}\n")), "its parent is outside: {status}");
}

#[test]
fn signals_start_at_their_defaults() {
    const TEST: &str = "container::signals_start_at_their_defaults";
    if is_copy() {
        block_usr1();
        let mut running = start(heard("cat", &["/proc/self/status"]));
        println!("{}", all(&stdout(running.init_mut())));
        return;
    }
    // As under nohup, or as a careless parent's child.
    let copy = copy_of(TEST);
    let mut careless = Command::new("sh");
    careless.args(["-c", r#"trap '' TERM HUP; exec "$@""#, "sh"]).arg(copy.get_program()).args(copy.get_args());
    let output = careless.env(COPY, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let masks: Vec<&str> =
        said.lines().filter(|line| ["SigBlk", "SigIgn", "SigCgt"].contains(&&line[..line.len().min(6)])).collect();
    assert_eq!(masks, ["SigBlk", "SigIgn", "SigCgt"].map(|mask| format!("{mask}:\t0000000000000000")));
}

#[expect(unsafe_code, reason = "the mask of a thread is set through the C library")]
fn block_usr1() {
    let mut set = std::mem::MaybeUninit::uninit();
    // SAFETY: `sigemptyset` initialises the set that the other two use.
    let blocked = unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGUSR1);
        libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut())
    };
    assert_eq!(blocked, 0);
}

#[test]
fn a_stop_signal_is_dropped_by_an_init_without_a_handler() {
    let mut command = sh("echo ready; read word; echo $word; exit 7");
    command.stdin(Stdio::piped());
    let mut running = start(command);
    let out = stdout(running.init_mut());
    assert!(out.wait_for_lines("ready", 1, SOON));
    running.init().signal(Signal::TERM).unwrap();
    running.init_mut().take_stdin().unwrap().write_all(b"still here\n").unwrap();
    assert_eq!(running.init_mut().wait().unwrap(), ExitStatus::Code(7));
    assert_eq!(all(&out), "ready\nstill here\n");
}

#[test]
fn the_kill_of_init_takes_everything_down() {
    let mut running = start_tree();
    let everybody: Vec<OwnedFd> = members(&directory(&running)).into_iter().map(pidfd).collect();
    running.init().signal(Signal::KILL).unwrap();
    assert_eq!(running.init_mut().wait().unwrap(), ExitStatus::Signal(Signal::KILL));
    assert!(everybody.iter().all(|process| ends(process, Duration::ZERO)), "the namespace is gone before its init is");
    assert_eq!(running.init_mut().wait().unwrap(), ExitStatus::Signal(Signal::KILL), "it is remembered");
    let again = running.init().signal(Signal::TERM).unwrap_err();
    assert_eq!(again.raw_os_error(), Some(libc::ESRCH));
}

#[test]
fn a_stop_is_a_signal_a_grace_and_a_kill() {
    let grace = Duration::from_millis(100);
    let mut deaf = start_app(&[]);
    assert_eq!(deaf.init_mut().wait_within(Duration::ZERO).unwrap(), None);
    let stopped = deaf.stop(Signal::TERM, grace).unwrap();
    assert!(stopped.killed && stopped.after >= grace, "{stopped:?}");
    assert_eq!(stopped.status, ExitStatus::Signal(Signal::KILL));

    let realtime = Signal::parse("RTMIN+3").unwrap();
    let mut quick = start_app(&["--on", "RTMIN+3=exit:5"]);
    let stopped = quick.stop(realtime, SOON).unwrap();
    assert!(!stopped.killed && stopped.after < SOON, "{stopped:?}");
    assert_eq!(stopped.status, ExitStatus::Code(5));
    assert_eq!(quick.stop(realtime, SOON).unwrap().status, ExitStatus::Code(5), "a stop of the stopped is no error");
    assert!(quick.init().signal(Signal::from_number(32).unwrap()).is_err(), "the C library's own");
}

#[test]
fn much_output_hangs_nobody() {
    let mut running = start(sh("head -c 10485760 /dev/zero; head -c 10485760 /dev/zero >&2; echo done"));
    let (out, err) = (stdout(running.init_mut()), stderr(running.init_mut()));
    assert_eq!(running.init_mut().wait_within(SOON).unwrap(), Some(ExitStatus::Code(0)));
    assert!(out.wait_for_end(SOON) && err.wait_for_end(SOON));
    assert_eq!((out.total_bytes(), err.total_bytes()), (10_485_760 + 5, 10_485_760));
}

#[test]
fn commands_that_cannot_start_say_what_to_do() {
    let root = OwnRoot::make("errors");
    let refusal = |command: Command| {
        let error = Sandbox::create(&root.0, "test").unwrap().start(command).unwrap_err();
        assert_eq!(fs::read_dir(&root.0).unwrap().filter(|e| e.as_ref().unwrap().path().is_dir()).count(), 0);
        error
    };
    let missing = refusal(Command::new("no-such-command"));
    assert!(matches!(&missing, SandboxError::NotFound(name) if name == "no-such-command"), "{missing:?}");
    assert!(missing.to_string().contains(r#""no-such-command" not found: give its path"#), "{missing}");
    assert!(matches!(refusal(Command::new("/no/such/path")), SandboxError::NotFound(_)));

    let scratch = tempfile::tempdir().unwrap();
    let plain = scratch.path().join("plain");
    fs::write(&plain, "#!/bin/sh\n").unwrap();
    for no_program in [&plain, scratch.path()] {
        let error = refusal(Command::new(no_program));
        assert!(matches!(&error, SandboxError::NotExecutable(name) if name == no_program), "{error:?}");
        assert!(error.to_string().contains("chmod +x"), "{error}");
    }

    let mut nowhere = Command::new("true");
    nowhere.current_dir("/no/such/directory");
    let error = refusal(nowhere);
    assert!(matches!(error, SandboxError::Start { step: Step::Fork, .. }), "not the command's fault: {error:?}");
}

#[test]
fn a_command_that_ends_at_once_is_seen_to_end() {
    let mut running = start(Command::new("true"));
    assert_eq!(running.init_mut().wait_within(SOON).unwrap(), Some(ExitStatus::Code(0)));
    let late = running.exec(Command::new("true")).unwrap_err();
    assert!(matches!(late, SandboxError::Ended), "{late:?}");
    let path = directory(&running);
    drop(running);
    assert!(!path.exists());
}

#[test]
fn dropping_it_ends_it_and_leaves_nothing() {
    let root = OwnRoot::make("drop");
    let first = Sandbox::create(&root.0, "test").unwrap();
    let second = Sandbox::create(&root.0, "test").unwrap();
    let path = |sandbox: &Sandbox| root.0.join(sandbox.cgroup().path.trim_start_matches('/'));
    let (first_path, second_path) = (path(&first), path(&second));
    assert!(first_path.is_dir() && second_path.is_dir() && first_path != second_path, "the living are not swept");
    let running = first.start(app(&[])).unwrap();
    let init = pidfd(running.init().pid());
    drop(running);
    assert!(ends(init, Duration::ZERO));
    assert!(!first_path.exists() && second_path.is_dir());
    drop(second);
    assert!(!root.0.join("signal-trace").exists(), "the last one takes the parent along");
}

#[test]
fn a_panic_leaves_nothing() {
    let mut seen = None;
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let running = start_tree();
        let everybody: Vec<OwnedFd> = members(&directory(&running)).into_iter().map(pidfd).collect();
        seen = Some((directory(&running), everybody));
        std::panic::resume_unwind(Box::new("as if"));
    }));
    assert!(panicked.is_err());
    let (path, everybody) = seen.unwrap();
    assert!(everybody.iter().all(|process| ends(process, Duration::ZERO)));
    assert!(!path.exists());
}

#[test]
fn cgroups_made_by_the_container_go_with_it() {
    let sandbox = create();
    let path = cgroup_root().join(sandbox.cgroup().path.trim_start_matches('/'));
    let mut command = sh(r#"mkdir -p "$1/a/b" "$1/c" && echo 0 >"$1/a/b/cgroup.procs" && echo ready; sleep 60; true"#);
    command.arg("sh").arg(&path);
    let mut running = sandbox.start(command).unwrap();
    assert!(stdout(running.init_mut()).wait_for_lines("ready", 1, SOON));
    assert!(members(&path.join("a/b")).contains(&running.init().pid()));
    drop(running);
    assert!(!path.exists());
}

#[test]
fn who_was_put_into_the_cgroup_goes_with_it() {
    let running = start_app(&[]);
    let path = directory(&running);
    let mut stranger = app(&[]).spawn().unwrap();
    fs::write(path.join("cgroup.procs"), stranger.id().to_string()).unwrap();
    drop(running);
    assert!(!path.exists());
    assert_eq!(stranger.wait().unwrap().signal(), Some(libc::SIGKILL), "no namespace took it along");
}

#[test]
fn the_death_of_the_maker_ends_it_and_the_next_one_cleans_up() {
    const TEST: &str = "container::the_death_of_the_maker_ends_it_and_the_next_one_cleans_up";
    if is_copy() {
        let root = PathBuf::from(std::env::var_os("SIGNAL_TRACE_TEST_ROOT").unwrap());
        let mut running =
            Sandbox::create(&root, "test").unwrap().start(app(&["--ready", "--child", "--setsid"])).unwrap();
        assert!(stdout(running.init_mut()).wait_for_lines("ready", 1, SOON));
        println!("cgroup {}", running.cgroup().path);
        // Until it is killed.
        running.init_mut().wait().unwrap();
        return;
    }
    let root = OwnRoot::make("maker");
    let copy = copy_of(TEST).env("SIGNAL_TRACE_TEST_ROOT", &root.0).stdout(Stdio::piped()).spawn();
    let mut copy = OtherProcess(copy.unwrap());
    let left = root.0.join(told(&mut copy.0, "cgroup /"));
    let everybody: Vec<OwnedFd> = members(&left).into_iter().map(pidfd).collect();
    assert_eq!(everybody.len(), 2);
    let other = Sandbox::create(&root.0, "test").unwrap();
    assert!(left.is_dir(), "a living owner's is not swept");
    drop(copy);
    assert!(everybody.iter().all(|process| ends(process, SOON)));
    assert!(left.is_dir(), "nobody could remove it");
    let next = Sandbox::create(&root.0, "test").unwrap();
    assert!(!left.exists(), "swept");
    drop((next, other));
}

#[test]
fn what_enters_later_lives_in_the_same_place() {
    let running = start_tree();
    let init_namespace = fs::read_link(format!("/proc/{}/ns/pid", running.init().pid().0)).unwrap();
    let mut session = running.exec(sh("echo $$; echo /proc/[0-9]*; read line")).unwrap();
    let said = all(&stdout(&mut session));
    let pids: Vec<&str> = said.lines().collect();
    assert_eq!(pids, ["4", "/proc/1 /proc/2 /proc/3 /proc/4"], "the tree and itself");
    assert_eq!(session.wait().unwrap(), ExitStatus::Code(1), "read met the end of its input");

    let mut session = running.exec(app(&["--ready"])).unwrap();
    assert!(stdout(&mut session).wait_for_lines("ready", 1, SOON));
    let pid = session.pid().0;
    assert_eq!(fs::read_link(format!("/proc/{pid}/ns/pid")).unwrap(), init_namespace);
    assert!(members(&directory(&running)).contains(&session.pid()));
    let status = status(session.pid());
    assert!(status.contains(&format!("PPid:\t{}\n", std::process::id())), "it is not below init: {status}");
    drop(running);
    assert_eq!(session.wait().unwrap(), ExitStatus::Signal(Signal::KILL), "the namespace took it along");
}

#[tokio::test]
async fn its_end_can_be_awaited() {
    let mut running = start_app(&[]);
    let early = tokio::time::timeout(Duration::ZERO, running.init().ended()).await;
    assert!(early.is_err(), "it lives");
    running.init().signal(Signal::KILL).unwrap();
    tokio::time::timeout(SOON, running.init().ended()).await.expect("in time").unwrap();
    assert_eq!(running.init_mut().wait().unwrap(), ExitStatus::Signal(Signal::KILL));
}

#[test]
fn without_privilege_it_names_what_is_missing() {
    let error = thread::spawn(|| {
        let mut sets = capabilities(None).unwrap();
        sets.effective.remove(CapabilitySet::SYS_ADMIN);
        set_capabilities(None, sets).unwrap();
        Sandbox::create(&cgroup_root(), "test").unwrap_err()
    });
    let error = error.join().unwrap();
    assert!(matches!(error, SandboxError::NotPrivileged), "{error:?}");
    assert!(error.to_string().contains("CAP_SYS_ADMIN") && error.to_string().contains("sudo"), "{error}");
}

#[test]
fn a_place_that_is_no_hierarchy_or_read_only_is_named() {
    let scratch = tempfile::tempdir().unwrap();
    let error = Sandbox::create(scratch.path(), "test").unwrap_err();
    assert!(matches!(&error, SandboxError::NoCgroup2(path) if path == scratch.path()), "{error:?}");
    assert!(error.to_string().contains("mount -t cgroup2"), "{error}");

    let error = with_own_mounts(MountPropagationFlags::PRIVATE, || {
        mount_bind(cgroup_root(), scratch.path()).unwrap();
        mount_remount(scratch.path(), MountFlags::BIND | MountFlags::RDONLY, "").unwrap();
        Sandbox::create(scratch.path(), "test").unwrap_err()
    });
    assert!(matches!(&error, SandboxError::ReadOnlyCgroup(_)), "{error:?}");
    assert!(error.to_string().contains("read-only"), "{error}");
}

/// Runs `test` on a thread with mounts of its own, which go with it.
fn with_own_mounts<T: Send>(propagation: MountPropagationFlags, test: impl FnOnce() -> T + Send) -> T {
    let apart = || {
        #[expect(unsafe_code, reason = "a mount namespace of this thread alone")]
        // SAFETY: the table of file descriptors stays shared.
        unsafe { unshare_unsafe(UnshareFlags::NEWNS) }.unwrap();
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
        mount_change("/", propagation | MountPropagationFlags::REC).unwrap();
        test()
    };
    thread::scope(|scope| scope.spawn(apart).join().unwrap())
}
