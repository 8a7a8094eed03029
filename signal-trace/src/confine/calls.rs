//! The system calls that stay: a list, by seccomp. All others fail with EPERM.
//!
//! None of them can signal a process (`kill`, `tgkill`, a descriptor's owner), start one, look into one, or change a
//! file: files are opened for reading alone, sockets are of the network alone, so that no runtime's socket can be asked
//! to do it either. The list has what the C libraries, the event loop and TLS use on the architectures that are built.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter_all_threads,
};

/// Calls that may be made with any arguments.
const FREE: &[c_long] = &[
    // Descriptors that are open.
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_getdents64,
    libc::SYS_fdatasync,
    // What files there are.
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_readlinkat,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_getcwd,
    // Waiting.
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_eventfd2,
    libc::SYS_futex,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_restart_syscall,
    // Clocks and chance.
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    // The network, but for taking a port.
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_accept4,
    libc::SYS_accept,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_shutdown,
    // Memory.
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    // This thread and this process.
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_set_tid_address,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getrusage,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// The same by their old names, which only the oldest architecture has and musl uses there.
#[cfg(target_arch = "x86_64")]
const OLD: &[c_long] = &[
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_epoll_wait,
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_time,
];
#[cfg(not(target_arch = "x86_64"))]
const OLD: &[c_long] = &[];

/// `bpf` for the elements of a table that is open: look up, update, delete, next key.
const TABLE_COMMANDS: [u64; 4] = [1, 2, 3, 4];
/// `ioctl`: FIONBIO, FIOCLEX, TCGETS, TIOCGWINSZ. The C libraries disagree about the type of these numbers.
const DEVICE_REQUESTS: [u64; 4] = [0x5421, 0x5451, 0x5401, 0x5413];
const PR_SET_VMA: u64 = 0x5356_4d41;

/// The filters cannot be made or are refused.
#[derive(Debug, thiserror::Error)]
pub enum CallsError {
    /// They make no sense here.
    #[error("no filter can be made for this architecture")]
    Filter(#[from] BackendError),
    /// The kernel refuses.
    #[error("the kernel takes no filter: it needs CONFIG_SECCOMP_FILTER")]
    Refused(#[from] seccompiler::Error),
}

/// Leaves the calls of the list, to all threads.
pub(super) fn list() -> Result<(), CallsError> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    let deny = |errno: i32| SeccompAction::Errno(errno.unsigned_abs());
    let listed = SeccompFilter::new(rules()?, deny(libc::EPERM), SeccompAction::Allow, architecture)?;
    // What takes its arguments in memory, where no filter sees them: the C libraries know an older call for each.
    let blind = [libc::SYS_clone3, libc::SYS_openat2].map(|call| (call, Vec::new()));
    let blind = SeccompFilter::new(BTreeMap::from(blind), SeccompAction::Allow, deny(libc::ENOSYS), architecture)?;
    for filter in [blind, listed] {
        apply_filter_all_threads(&BpfProgram::try_from(filter)?)?;
    }
    Ok(())
}

type Rules = BTreeMap<c_long, Vec<SeccompRule>>;

fn rules() -> Result<Rules, BackendError> {
    let mut rules: Rules = FREE.iter().chain(OLD).map(|call| (*call, Vec::new())).collect();
    // Else the first filter's answer would be overruled by this one's.
    rules.extend([libc::SYS_clone3, libc::SYS_openat2].map(|call| (call, Vec::new())));
    let writing = word(libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC);
    let reading = SeccompCmpOp::MaskedEq(writing);
    rules.insert(libc::SYS_openat, vec![rule(2, reading.clone(), 0)?]);
    #[cfg(target_arch = "x86_64")]
    rules.insert(libc::SYS_open, vec![rule(1, reading, 0)?]);
    let thread = word(libc::CLONE_THREAD);
    rules.insert(libc::SYS_clone, vec![rule(0, SeccompCmpOp::MaskedEq(thread), thread)?]);
    let families = [libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];
    rules.insert(libc::SYS_socket, one_of(0, families.map(word))?);
    // A descriptor's owner would be signalled: it may not be set.
    let on_descriptors = [libc::F_DUPFD_CLOEXEC, libc::F_GETFD, libc::F_SETFD, libc::F_GETFL, libc::F_SETFL];
    rules.insert(libc::SYS_fcntl, one_of(1, on_descriptors.map(word))?);
    rules.insert(libc::SYS_ioctl, one_of(1, DEVICE_REQUESTS)?);
    rules.insert(libc::SYS_prctl, one_of(0, [word(libc::PR_SET_NAME), PR_SET_VMA])?);
    rules.insert(libc::SYS_bpf, one_of(0, TABLE_COMMANDS)?);
    let own_limits = SeccompRule::new(vec![condition(0, SeccompCmpOp::Eq, 0)?, pointer(2, 0)?])?;
    rules.insert(libc::SYS_prlimit64, vec![own_limits]);
    Ok(rules)
}

fn word(value: i32) -> u64 {
    u64::from(value.cast_unsigned())
}

fn one_of<const N: usize>(argument: u8, values: [u64; N]) -> Result<Vec<SeccompRule>, BackendError> {
    values.into_iter().map(|value| rule(argument, SeccompCmpOp::Eq, value)).collect()
}

fn rule(argument: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(vec![condition(argument, operator, value)?])
}

fn condition(argument: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
}

fn pointer(argument: u8, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_signals_starts_looks_into_or_changes_is_on_the_list() {
        let rules = rules().unwrap();
        for (name, call) in [
            ("kill", libc::SYS_kill),
            ("tkill", libc::SYS_tkill),
            ("tgkill", libc::SYS_tgkill),
            ("rt_sigqueueinfo", libc::SYS_rt_sigqueueinfo),
            ("rt_tgsigqueueinfo", libc::SYS_rt_tgsigqueueinfo),
            ("pidfd_send_signal", libc::SYS_pidfd_send_signal),
            ("pidfd_open", libc::SYS_pidfd_open),
            ("pidfd_getfd", libc::SYS_pidfd_getfd),
            ("ptrace", libc::SYS_ptrace),
            ("process_vm_readv", libc::SYS_process_vm_readv),
            ("process_vm_writev", libc::SYS_process_vm_writev),
            ("process_madvise", libc::SYS_process_madvise),
            ("execve", libc::SYS_execve),
            ("execveat", libc::SYS_execveat),
            ("unlinkat", libc::SYS_unlinkat),
            ("renameat2", libc::SYS_renameat2),
            ("linkat", libc::SYS_linkat),
            ("symlinkat", libc::SYS_symlinkat),
            ("mkdirat", libc::SYS_mkdirat),
            ("mknodat", libc::SYS_mknodat),
            ("fchmodat", libc::SYS_fchmodat),
            ("fchownat", libc::SYS_fchownat),
            ("truncate", libc::SYS_truncate),
            ("mount", libc::SYS_mount),
            ("setns", libc::SYS_setns),
            ("unshare", libc::SYS_unshare),
            ("setuid", libc::SYS_setuid),
            ("capset", libc::SYS_capset),
            ("init_module", libc::SYS_init_module),
            ("perf_event_open", libc::SYS_perf_event_open),
            ("io_uring_setup", libc::SYS_io_uring_setup),
            ("userfaultfd", libc::SYS_userfaultfd),
            ("reboot", libc::SYS_reboot),
            ("listen", libc::SYS_listen),
            ("timer_create", libc::SYS_timer_create),
        ] {
            assert!(!rules.contains_key(&call), "{name}");
        }
    }

    #[test]
    fn the_filters_can_be_made() {
        let architecture = TargetArch::try_from(std::env::consts::ARCH).unwrap();
        let filter =
            SeccompFilter::new(rules().unwrap(), SeccompAction::Errno(1), SeccompAction::Allow, architecture).unwrap();
        let program = BpfProgram::try_from(filter).unwrap();
        // The kernel's bound.
        assert!(program.len() <= 4096, "{}", program.len());
    }
}
