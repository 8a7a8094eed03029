//! Processes that do exactly what a test's script says, born straight into a cgroup and a pid namespace.
//!
//! Dropping an actor ends it, and with it all of its pid namespace.
#![expect(unsafe_code, reason = "the scripts are system calls")]

use std::fs;
use std::io::{PipeReader, PipeWriter, Read as _, Write as _, pipe};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use signal_trace::event::{ExitStatus, Pid, Signal};

use crate::cgroup::Cgroup;
use crate::clone::clone;
use crate::stage::Stage;
use crate::story::POLL;

/// In a pid namespace of its own, whose init it is.
pub(crate) const OWN_NAMESPACE: u64 = libc::CLONE_NEWPID as u64;
/// In the namespace of the test.
pub(crate) const SAME_NAMESPACE: u64 = 0;

/// A running script.
pub(crate) struct Actor {
    pid: i32,
    cues: PipeWriter,
    ready: PipeReader,
}

impl Actor {
    /// Starts a script in a cgroup and waits for its first [`Stage::ready`].
    pub(crate) fn start(
        name: &'static std::ffi::CStr,
        cgroup: &Cgroup,
        flags: u64,
        script: impl FnOnce(&Stage) -> i32,
    ) -> Self {
        let (cue, cues) = pipe().unwrap();
        let (ready, mark) = pipe().unwrap();
        let directory = fs::File::open(cgroup.path()).unwrap();
        let stage = Stage { cue: cue.as_raw_fd(), mark: mark.as_raw_fd() };
        let pid = clone(flags, Some(directory.as_raw_fd()), || {
            stage.name(name);
            script(&stage)
        });
        let mut actor = Self { pid, cues, ready };
        drop(mark);
        actor.wait_ready();
        actor
    }

    /// Its pid here.
    pub(crate) fn pid(&self) -> Pid {
        Pid(self.pid.cast_unsigned())
    }

    /// Waits until the script calls [`Stage::ready`] once more.
    pub(crate) fn wait_ready(&mut self) {
        self.ready.read_exact(&mut [0]).unwrap();
    }

    /// Lets one [`Stage::wait`] of the script go on.
    pub(crate) fn cue(&mut self) {
        self.cues.write_all(&[0]).unwrap();
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        send(self.pid, signal);
    }

    /// Waits until a line of its `/proc/PID/status` is as wanted.
    pub(crate) fn until_status(&self, field: &str, wanted: impl Fn(&str) -> bool) {
        let path = format!("/proc/{}/status", self.pid);
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let status = fs::read_to_string(&path).unwrap();
            let value =
                status.lines().find_map(|line| line.strip_prefix(field)).unwrap().trim_start_matches(':').trim();
            if wanted(value) {
                return;
            }
            assert!(Instant::now() < deadline, "{field} stayed {value}");
            std::thread::sleep(POLL);
        }
    }

    /// Waits until it ended, and tells what `wait(2)` says of it.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut status = 0;
        // SAFETY: the call writes one status.
        unsafe { libc::waitpid(self.pid, &raw mut status, 0) };
        ExitStatus::from_wait(status.cast_unsigned())
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        // SAFETY: no pointer is passed, and the pid is this test's own child until it is waited for.
        unsafe { libc::kill(self.pid, libc::SIGKILL) };
        self.wait();
    }
}

/// Sends a signal to a process.
pub(crate) fn send(pid: i32, signal: Signal) {
    // SAFETY: no pointer is passed.
    assert_eq!(unsafe { libc::kill(pid, i32::from(signal.number())) }, 0);
}

/// Ends a process, if it is still there.
pub(crate) fn end(pid: i32) {
    // SAFETY: no pointer is passed.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}

/// A pseudo terminal.
pub(crate) struct Terminal {
    master: OwnedFd,
    end: OwnedFd,
}

impl Terminal {
    /// A new one.
    pub(crate) fn open() -> Self {
        let mut ends = [-1; 2];
        // SAFETY: the call writes two descriptors, which nobody else owns.
        unsafe {
            let [master, end] = &mut ends;
            let none = (std::ptr::null_mut(), std::ptr::null_mut(), std::ptr::null_mut());
            assert_eq!(libc::openpty(master, end, none.0, none.1, none.2), 0);
            Self { master: OwnedFd::from_raw_fd(ends[0]), end: OwnedFd::from_raw_fd(ends[1]) }
        }
    }

    /// The end that a script can take for its controlling terminal.
    pub(crate) fn child_end(&self) -> RawFd {
        self.end.as_raw_fd()
    }

    /// Has the kernel signal the foreground.
    pub(crate) fn resize(&self, rows: u16) {
        let size = libc::winsize { ws_row: rows, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: the call reads one `winsize`.
        assert_eq!(unsafe { libc::ioctl(self.master.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) }, 0);
    }
}
