//! What a script may do: system calls, one by one.
//!
//! A script runs after a bare `clone3` in a copy of a process that had other threads, so nothing here allocates, locks
//! or panics.
#![expect(unsafe_code, reason = "system calls")]
#![expect(
    clippy::undocumented_unsafe_blocks,
    reason = "every call is given numbers, or pointers to whole values on this stack, and may be made at any time"
)]

use std::os::fd::RawFd;

use signal_trace::event::Signal;

use crate::clone::clone;

/// What a script may do.
#[derive(Clone, Copy)]
pub(crate) struct Stage {
    pub(crate) cue: RawFd,
    pub(crate) mark: RawFd,
}

impl Stage {
    /// Tells the test that this point was reached.
    pub(crate) fn ready(&self) {
        unsafe { libc::write(self.mark, [0u8].as_ptr().cast(), 1) };
    }

    /// Waits for a cue of the test.
    pub(crate) fn wait(&self) {
        let mut byte = [0u8];
        while unsafe { libc::read(self.cue, byte.as_mut_ptr().cast(), 1) } < 0 {}
    }

    /// Sets the name that the kernel shows.
    pub(crate) fn name(&self, name: &std::ffi::CStr) {
        unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
    }

    /// Installs a handler that only returns.
    pub(crate) fn handle(&self, signal: Signal) {
        extern "C" fn nothing(_: libc::c_int) {}
        self.set(signal, nothing as *const () as usize);
    }

    /// Ignores a signal.
    pub(crate) fn ignore(&self, signal: Signal) {
        self.set(signal, libc::SIG_IGN);
    }

    /// Restores the default action.
    pub(crate) fn default(&self, signal: Signal) {
        self.set(signal, libc::SIG_DFL);
    }

    fn set(&self, signal: Signal, handler: usize) {
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler;
            libc::sigaction(signal.number().into(), &raw const action, std::ptr::null_mut());
        }
    }

    /// Blocks a signal.
    pub(crate) fn block(&self, signal: Signal) {
        let set = only(signal);
        unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
    }

    /// Waits in `sigtimedwait` for a blocked signal.
    pub(crate) fn await_signal(&self, signal: Signal) {
        let set = only(signal);
        while unsafe { libc::sigwaitinfo(&raw const set, std::ptr::null_mut()) } < 0 {}
    }

    /// Waits until a handler ran, after telling that it is ready: no signal is missed in between.
    pub(crate) fn ready_for(&self, signal: Signal) {
        self.block(signal);
        self.ready();
        unsafe {
            let mut open: libc::sigset_t = std::mem::zeroed();
            libc::sigprocmask(libc::SIG_BLOCK, std::ptr::null(), &raw mut open);
            libc::sigdelset(&raw mut open, signal.number().into());
            libc::sigsuspend(&raw const open);
            libc::sigprocmask(libc::SIG_SETMASK, &raw const open, std::ptr::null_mut());
        }
    }

    /// Sleeps for ever.
    pub(crate) fn sleep(&self) -> ! {
        loop {
            unsafe { libc::pause() };
        }
    }

    /// Sends a signal to a process.
    pub(crate) fn kill(&self, pid: i32, signal: Signal) {
        unsafe { libc::kill(pid, signal.number().into()) };
    }

    /// Sends a signal to this very thread, as `raise` does.
    pub(crate) fn raise(&self, signal: Signal) {
        unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), libc::gettid(), i32::from(signal.number())) };
    }

    /// Makes a child, and tells its pid in this namespace.
    pub(crate) fn child(&self, flags: u64, script: impl FnOnce(&Self) -> i32) -> i32 {
        clone(flags, None, || script(self))
    }

    /// Waits for any child to end.
    pub(crate) fn reap(&self) {
        unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) };
    }

    /// Ends this thread alone, while another one, started before, waits for a cue and ends with another code.
    pub(crate) fn end_leader_before_thread(&self, leader: i32, thread: i32) -> ! {
        extern "C" fn wait_and_exit(argument: *mut libc::c_void) -> libc::c_int {
            // SAFETY: the leader's stack, which holds the argument, outlives the process's last thread.
            let (stage, code) = unsafe { *argument.cast::<(Stage, i32)>() };
            stage.wait();
            unsafe { libc::syscall(libc::SYS_exit, code) };
            0
        }
        const STACK: usize = 64 << 10;
        let mut argument = (*self, thread);
        unsafe {
            let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            let stack = libc::mmap(std::ptr::null_mut(), STACK, access, kind, -1, 0);
            let shared = libc::CLONE_VM | libc::CLONE_FS | libc::CLONE_FILES | libc::CLONE_SIGHAND | libc::CLONE_THREAD;
            libc::clone(wait_and_exit, stack.byte_add(STACK), shared, (&raw mut argument).cast());
            self.ready();
            libc::syscall(libc::SYS_exit, leader);
        }
        self.sleep()
    }

    /// Touches memory until something gives.
    pub(crate) fn eat_memory(&self) -> ! {
        const CHUNK: usize = 1 << 20;
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        loop {
            unsafe {
                let chunk = libc::mmap(std::ptr::null_mut(), CHUNK, access, kind, -1, 0);
                if chunk != libc::MAP_FAILED {
                    libc::memset(chunk, 1, CHUNK);
                }
            }
        }
    }

    /// Leads a session on a terminal, whose other end the test holds.
    pub(crate) fn take_terminal(&self, terminal: RawFd) {
        unsafe {
            libc::setsid();
            libc::ioctl(terminal, libc::TIOCSCTTY, 0);
        }
    }
}

fn only(signal: Signal) -> libc::sigset_t {
    // SAFETY: a signal set is plain memory, which the calls fill.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, signal.number().into());
        set
    }
}
