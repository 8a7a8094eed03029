//! What this process does with its signals, as the kernel holds it.
//!
//! The standard library has no words for it: these are the few calls of the C library that set, block, read and raise,
//! each safe to call between fork and exec and from a handler (no allocation, no lock). Nothing here decides anything.

#![expect(unsafe_code, reason = "signals are set through the C library, which has no safe interface")]

use std::io;
use std::mem::MaybeUninit;
use std::ptr;

use libc::{c_int, sigset_t};
use rustix::process::Pid;

use crate::event::Signal;

/// A function that the kernel calls with the signal's number.
pub(crate) type Handler = extern "C" fn(c_int);

/// The kernel's `_NSIG` on every architecture that these programs run on.
const LAST: i32 = 64;
const MASK_BYTES: usize = 8;

/// Every signal to its default action and none blocked: what a container runtime hands to the process it starts.
///
/// For who is about to exec: it does not spare the signals that the C library works with. An exec would keep what is
/// ignored, those included.
pub(crate) fn reset_all() -> io::Result<()> {
    // The kernel's own `sigaction`: SIG_DFL, no flag, no restorer, an empty mask. `libc::sigaction` refuses 32 and 33.
    let default = [0_u64; 4];
    for number in 1..=libc::c_long::from(LAST) {
        // SAFETY: `default` has the size that the kernel reads, and the old action is not asked for. SIGKILL and SIGSTOP
        // are refused, and are at their default always.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, number, default.as_ptr(), ptr::null::<u64>(), MASK_BYTES) };
    }
    let none = set_of(&[])?;
    // SAFETY: `none` is an initialised set, and the old one is not asked for.
    check(unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut()) })
}

/// Takes back what the Rust runtime set before `main`: SIGPIPE ignored, and handlers that tell a stack overflow apart.
pub(crate) fn disown_runtime() -> io::Result<()> {
    [libc::SIGPIPE, libc::SIGSEGV, libc::SIGBUS].into_iter().try_for_each(|number| set(number, libc::SIG_DFL))
}

/// `SIG_DFL`.
pub(crate) fn set_default(signal: Signal) -> io::Result<()> {
    set(signal.number().into(), libc::SIG_DFL)
}

/// `SIG_IGN`.
pub(crate) fn ignore(signal: Signal) -> io::Result<()> {
    set(signal.number().into(), libc::SIG_IGN)
}

/// Calls `handler` at each `signal`, which is blocked while it runs.
///
/// # Safety
///
/// `handler` and all that it calls must be async-signal-safe.
pub(crate) unsafe fn handle(signal: Signal, handler: Handler) -> io::Result<()> {
    set(signal.number().into(), handler as libc::sighandler_t)
}

/// Adds `signals` to the blocked ones.
pub(crate) fn block(signals: &[Signal]) -> io::Result<()> {
    let set = set_of(signals)?;
    // SAFETY: `set` is an initialised set, and the old one is not asked for.
    check(unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut()) })
}

/// Sleeps until one of `signals`, all blocked, is pending, and takes it; none if a handler ran instead.
pub(crate) fn take_one(signals: &[Signal]) -> io::Result<Option<Signal>> {
    let set = set_of(signals)?;
    // SAFETY: `set` is an initialised set, and no siginfo is asked for.
    let number = unsafe { libc::sigwaitinfo(&raw const set, ptr::null_mut()) };
    match check(number) {
        Ok(()) => Ok(u32::try_from(number).ok().and_then(Signal::from_number)),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
        Err(error) => Err(error),
    }
}

/// Sends `signal` to the calling thread.
pub(crate) fn raise(signal: Signal) -> io::Result<()> {
    // SAFETY: it takes a number and refuses what is no signal.
    check(unsafe { libc::raise(signal.number().into()) })
}

/// Sends `signal` to another process.
pub(crate) fn send(pid: Pid, signal: Signal) -> io::Result<()> {
    // SAFETY: it takes numbers and refuses what is no signal; a `Pid` is never 0 or -1, which would mean many.
    check(unsafe { libc::kill(pid.as_raw_nonzero().get(), signal.number().into()) })
}

/// Ends the process at once: no destructor, no buffer written.
pub(crate) fn exit(code: u8) -> ! {
    // SAFETY: async-signal-safe, and nothing runs after it.
    unsafe { libc::_exit(code.into()) }
}

/// A real fault: the kernel forces SIGSEGV on who writes to a page that it may not, a namespace's init included.
pub(crate) fn fault() -> ! {
    // SAFETY: a fresh anonymous mapping at an address that the kernel chooses touches nobody's memory.
    let page =
        unsafe { libc::mmap(ptr::null_mut(), 1, libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0) };
    if page == libc::MAP_FAILED {
        std::process::abort();
    }
    loop {
        // SAFETY: the byte belongs to the mapping above, which no Rust object lives in; the write traps by design.
        unsafe { page.cast::<u8>().write_volatile(0) };
    }
}

fn set(number: c_int, action: libc::sighandler_t) -> io::Result<()> {
    // SAFETY: all zeroes is a valid `sigaction`: no flag, and nothing else blocked while a handler runs.
    let mut wanted: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    wanted.sa_sigaction = action;
    // SAFETY: `wanted` is initialised; `action` is SIG_DFL, SIG_IGN or a function for which `handle` has the promise.
    check(unsafe { libc::sigaction(number, &raw const wanted, ptr::null_mut()) })
}

fn set_of(signals: &[Signal]) -> io::Result<sigset_t> {
    let mut set = MaybeUninit::uninit();
    // SAFETY: `sigemptyset` initialises what it is given and cannot fail.
    let mut set: sigset_t = unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        set.assume_init()
    };
    for signal in signals {
        // SAFETY: `set` is initialised.
        check(unsafe { libc::sigaddset(&raw mut set, signal.number().into()) })?;
    }
    Ok(set)
}

fn check(result: c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
