//! How often the kernel skipped a program because it was already running on that CPU.
//!
//! The kernel counts it from 5.12 on. The library that loads the programs does not show it, and the kernel prints it
//! next to the program's descriptor in procfs, so it is read there.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::path::Path;

/// `recursion_misses` of a loaded program; 0 on kernels that do not count.
pub(super) fn recursion_misses(proc: &Path, program: BorrowedFd<'_>) -> io::Result<u64> {
    let path = proc.join("self/fdinfo").join(program.as_raw_fd().to_string());
    parse(&fs::read_to_string(path)?)
}

fn parse(fdinfo: &str) -> io::Result<u64> {
    match fdinfo.lines().find_map(|line| line.strip_prefix("recursion_misses:")) {
        Some(count) => count.trim().parse().map_err(io::Error::other),
        None => Ok(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_stands_among_other_things() {
        let fdinfo = "pos:\t0\nprog_type:\t26\nrun_cnt:\t7\nrecursion_misses:\t42\nverified_insns:\t9\n";
        assert_eq!(parse(fdinfo).unwrap(), 42);
    }

    #[test]
    fn a_kernel_that_does_not_count_has_missed_none() {
        assert_eq!(parse("pos:\t0\nprog_type:\t26\nrun_cnt:\t7\n").unwrap(), 0);
    }

    #[test]
    fn what_is_no_number_is_an_error() {
        assert!(parse("recursion_misses:\tmany\n").is_err());
    }
}
