//! What the kernel counts of a program: how often it was skipped because it was already running on that CPU, and how long
//! it ran.
//!
//! Skips are counted from 5.12 on, time while `kernel.bpf_stats_enabled` is set. The library that loads the programs does
//! not show them, and the kernel prints them next to the program's descriptor in procfs, so they are read there.

use std::fs;
use std::io;
use std::iter::Sum;
use std::ops::Add;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::path::Path;
use std::time::Duration;

use super::load::SIGNALS;

/// Totals since the programs were loaded; 0 where the kernel does not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Times that a program was skipped.
    pub skipped: u64,
    /// Of these, times that it was the one that sees signals. It runs where nothing can come between, but on a kernel whose
    /// locks sleep.
    pub signals_skipped: u64,
    /// Time that was spent in programs.
    pub run_time: Duration,
}

impl Tally {
    /// Of one loaded program, by its name.
    pub(super) fn of(proc: &Path, name: &str, program: BorrowedFd<'_>) -> io::Result<Self> {
        let path = proc.join("self/fdinfo").join(program.as_raw_fd().to_string());
        Ok(Self::parse(&fs::read_to_string(path)?)?.of_program(name))
    }

    fn of_program(self, name: &str) -> Self {
        Self { signals_skipped: if name == SIGNALS { self.skipped } else { 0 }, ..self }
    }

    fn parse(fdinfo: &str) -> io::Result<Self> {
        let number = |name: &str| match fdinfo.lines().find_map(|line| line.strip_prefix(name)) {
            Some(count) => count.trim().parse().map_err(io::Error::other),
            None => Ok(0),
        };
        let (skipped, run_time) = (number("recursion_misses:")?, Duration::from_nanos(number("run_time_ns:")?));
        Ok(Self { skipped, run_time, ..Self::default() })
    }
}

impl Tally {
    /// The larger of each.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            skipped: self.skipped.max(other.skipped),
            signals_skipped: self.signals_skipped.max(other.signals_skipped),
            run_time: self.run_time.max(other.run_time),
        }
    }
}

impl Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            skipped: self.skipped + other.skipped,
            signals_skipped: self.signals_skipped + other.signals_skipped,
            run_time: self.run_time + other.run_time,
        }
    }
}

impl Sum for Tally {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Add::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_stand_among_other_things() {
        let fdinfo =
            "pos:\t0\nprog_type:\t26\nrun_time_ns:\t1500\nrun_cnt:\t7\nrecursion_misses:\t42\nverified_insns:\t9\n";
        let tally = Tally { skipped: 42, signals_skipped: 0, run_time: Duration::from_nanos(1500) };
        assert_eq!(Tally::parse(fdinfo).unwrap(), tally);
        let all: Tally = [SIGNALS, "sched_process_exit"].map(|name| tally.of_program(name)).into_iter().sum();
        assert_eq!(all, Tally { skipped: 84, signals_skipped: 42, run_time: Duration::from_micros(3) });
        assert_eq!(all.max(tally), all);
    }

    #[test]
    fn a_kernel_that_does_not_count_has_missed_none() {
        assert_eq!(Tally::parse("pos:\t0\nprog_type:\t26\nrun_cnt:\t7\n").unwrap(), Tally::default());
    }

    #[test]
    fn what_is_no_number_is_an_error() {
        assert!(Tally::parse("recursion_misses:\tmany\n").is_err());
    }
}
