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

use super::load::{LIVES, SIGNALS};

/// Totals since the programs were loaded; 0 where the kernel does not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Times that programs were skipped.
    pub skips: Skips,
    /// Time that was spent in programs.
    pub run_time: Duration,
}

/// Times that programs were skipped, by what they would have seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skips {
    /// Births and ends, where a kernel that preempts its tasks may let another in.
    pub lives: u64,
    /// Signals: nothing can come between there, but on a kernel whose locks sleep.
    pub signals: u64,
    /// All else.
    pub others: u64,
}

impl Skips {
    /// All of them.
    pub fn total(self) -> u64 {
        self.lives + self.signals + self.others
    }

    fn of(name: &str, count: u64) -> Self {
        match name {
            SIGNALS => Self { signals: count, ..Self::default() },
            name if LIVES.contains(&name) => Self { lives: count, ..Self::default() },
            _ => Self { others: count, ..Self::default() },
        }
    }
}

impl Tally {
    /// Of one loaded program, by its name.
    pub(super) fn of(proc: &Path, name: &str, program: BorrowedFd<'_>) -> io::Result<Self> {
        let path = proc.join("self/fdinfo").join(program.as_raw_fd().to_string());
        Self::parse(name, &fs::read_to_string(path)?)
    }

    fn parse(program: &str, fdinfo: &str) -> io::Result<Self> {
        let number = |name: &str| match fdinfo.lines().find_map(|line| line.strip_prefix(name)) {
            Some(count) => count.trim().parse().map_err(io::Error::other),
            None => Ok(0),
        };
        let skips = Skips::of(program, number("recursion_misses:")?);
        Ok(Self { skips, run_time: Duration::from_nanos(number("run_time_ns:")?) })
    }
}

impl Tally {
    /// The larger of each.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            skips: Skips {
                lives: self.skips.lives.max(other.skips.lives),
                signals: self.skips.signals.max(other.skips.signals),
                others: self.skips.others.max(other.skips.others),
            },
            run_time: self.run_time.max(other.run_time),
        }
    }
}

impl Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            skips: Skips {
                lives: self.skips.lives + other.skips.lives,
                signals: self.skips.signals + other.skips.signals,
                others: self.skips.others + other.skips.others,
            },
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
        let of = |program| Tally::parse(program, fdinfo).unwrap();
        let all: Tally = super::super::load::PROGRAMS.into_iter().map(of).sum();
        let skips = Skips { lives: 84, signals: 42, others: 168 };
        assert_eq!(all, Tally { skips, run_time: Duration::from_nanos(7 * 1500) });
        assert_eq!(skips.total(), 7 * 42);
        assert_eq!(all.max(of(SIGNALS)), all);
    }

    #[test]
    fn a_kernel_that_does_not_count_has_missed_none() {
        assert_eq!(Tally::parse(SIGNALS, "pos:\t0\nprog_type:\t26\nrun_cnt:\t7\n").unwrap(), Tally::default());
    }

    #[test]
    fn what_is_no_number_is_an_error() {
        assert!(Tally::parse(SIGNALS, "recursion_misses:\tmany\n").is_err());
    }
}
