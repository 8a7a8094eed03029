//! `process_*`: what the kernel says of this process, under the names that every Prometheus client uses.
//!
//! Read from `/proc/self` when a page is written, off the event loop. What cannot be read is left out, never 0.

use std::fmt::Error;
use std::fs;
use std::time::{Duration, SystemTime};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::page::gauge;

/// One look at this process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Process {
    /// `process_cpu_seconds_total`.
    pub(super) cpu_seconds: Option<f64>,
    /// `process_start_time_seconds`: Unix time.
    pub(super) start_time: Option<f64>,
    /// `process_resident_memory_bytes`.
    pub(super) resident_memory: Option<u64>,
    /// `process_virtual_memory_bytes`.
    pub(super) virtual_memory: Option<u64>,
    /// `process_threads`.
    pub(super) threads: Option<u64>,
    /// `process_open_fds`.
    pub(super) open_fds: Option<u64>,
    /// `process_max_fds`: the soft limit.
    pub(super) max_fds: Option<u64>,
}

impl Process {
    /// Looks; when it started does not change, and was asked before.
    pub(super) fn read(start_time: Option<f64>) -> Self {
        let stat = Stat::read();
        let page = u64::try_from(rustix::param::page_size()).ok();
        Self {
            cpu_seconds: stat.map(|stat| duration(stat.cpu_ticks).as_secs_f64()),
            start_time,
            resident_memory: stat.zip(page).map(|(stat, page)| stat.resident_pages * page),
            virtual_memory: stat.map(|stat| stat.virtual_bytes),
            threads: stat.map(|stat| stat.threads),
            open_fds: open_fds(),
            max_fds: getrlimit(Resource::Nofile).current,
        }
    }
}

/// When this process started, in Unix time. To be asked once: it is now minus an age, by two clocks, and a value that
/// wavered by a hundredth of a second would look like a restart at every scrape.
pub(super) fn start_time() -> Option<f64> {
    let boot = clock_gettime(ClockId::Boottime);
    let uptime = Duration::new(u64::try_from(boot.tv_sec).ok()?, u32::try_from(boot.tv_nsec).ok()?);
    let age = uptime.checked_sub(duration(Stat::read()?.start_ticks))?;
    let since_epoch = SystemTime::now().checked_sub(age)?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some((since_epoch.as_secs_f64() * 100.0).round() / 100.0)
}

fn duration(ticks: u64) -> Duration {
    Duration::from_millis(ticks.saturating_mul(1000) / rustix::param::clock_ticks_per_second())
}

/// Without the descriptor that looks.
fn open_fds() -> Option<u64> {
    let count = fs::read_dir("/proc/self/fd").ok()?.count();
    u64::try_from(count).ok()?.checked_sub(1)
}

/// The fields of `/proc/PID/stat` that are wanted, in the kernel's units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    cpu_ticks: u64,
    threads: u64,
    start_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    fn read() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/self/stat").ok()?)
    }

    /// The second field is a name that may hold anything, so fields are counted from the last parenthesis.
    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // proc(5) numbers from 1, and the first here is field 3.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu_ticks: field(14)?.checked_add(field(15)?)?,
            threads: field(20)?,
            start_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        if let Some(seconds) = &self.cpu_seconds {
            let help = "User and system CPU time spent.";
            encoder
                .encode_descriptor("cpu", help, Some(&Unit::Seconds), MetricType::Counter)?
                .encode_counter::<NoLabelSet, _, f64>(seconds, None)?;
        }
        if let Some(time) = &self.start_time {
            gauge(&mut encoder, ("start_time", "Unix time at which the process started."), Some(&Unit::Seconds), time)?;
        }
        let sizes = [
            ("resident_memory", "Resident memory size.", Some(Unit::Bytes), self.resident_memory),
            ("virtual_memory", "Virtual memory size.", Some(Unit::Bytes), self.virtual_memory),
            ("threads", "Threads of the process.", None, self.threads),
            ("open_fds", "Open file descriptors.", None, self.open_fds),
            ("max_fds", "Most file descriptors that may be open.", None, self.max_fds),
        ];
        for (name, help, unit, value) in sizes {
            if let Some(value) = value {
                gauge(&mut encoder, (name, help), unit.as_ref(), &value)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_moves_no_field() {
        let text =
            "7 (a) b (c) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 3 0 12345 1048576 42 18446744073709551615";
        let expected =
            Stat { cpu_ticks: 300, threads: 3, start_ticks: 12345, virtual_bytes: 1_048_576, resident_pages: 42 };
        assert_eq!(Stat::parse(text), Some(expected));
        assert_eq!(Stat::parse("7 (a) S 1 2"), None);
        assert_eq!(Stat::parse(""), None);
    }

    #[test]
    fn this_process_is_one_that_could_be() {
        let process = Process::read(start_time());
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
        let age = now - process.start_time.unwrap();
        assert!((-1.0..86_400.0).contains(&age), "{age}");
        assert!(process.cpu_seconds.unwrap() < age.max(1.0) * 1024.0);
        assert!(process.resident_memory.unwrap() > 100_000);
        assert!(process.virtual_memory.unwrap() > process.resident_memory.unwrap());
        assert!(process.threads.unwrap() >= 1);
        assert!((3..1_000_000).contains(&process.open_fds.unwrap()));
    }
}
