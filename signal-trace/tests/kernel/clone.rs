//! A new process by `clone3`, straight into a cgroup where one is given: what neither libc nor the library has a call for.
#![expect(unsafe_code, reason = "a system call without a wrapper")]

use std::os::fd::RawFd;

/// `struct clone_args` of the kernel, as long as it is since `CLONE_INTO_CGROUP`.
#[repr(C, align(8))]
#[derive(Default)]
struct CloneArguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Forks; the child runs the script and exits with what it returns. Its pid, or -1 with the reason in `errno`.
pub(crate) fn clone(flags: u64, cgroup: Option<RawFd>, script: impl FnOnce() -> i32) -> i32 {
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    let exit_signal = if flags & libc::CLONE_PARENT as u64 == 0 { libc::SIGCHLD as u64 } else { 0 };
    let mut arguments = CloneArguments { flags, exit_signal, ..CloneArguments::default() };
    if let Some(directory) = cgroup {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = u64::from(directory.cast_unsigned());
    }
    // SAFETY: without CLONE_VM the child has a copy of this memory, stack included; it makes system calls only.
    unsafe {
        let pid = libc::syscall(libc::SYS_clone3, &raw mut arguments, size_of::<CloneArguments>());
        if pid == 0 {
            libc::_exit(script());
        }
        i32::try_from(pid).unwrap_or(-1)
    }
}
