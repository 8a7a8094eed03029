//! The daemon's side of the kernel boundary: the programs are loaded, told what to track, and emptied.
//!
//! [`Kernel`] owns all that lives in the kernel and hands out events of the domain, in the order of the kernel's clock.
//! Nothing here knows containers, verdicts or reports, and nothing decides when to read: the caller waits for
//! [`Kernel::readable`] or for the time that [`Kernel::next_due`] names, and then calls [`Kernel::drain`].

pub mod btf;
pub mod decode;
mod error;
mod load;
mod merge;
mod preflight;
mod rings;
mod tables;
mod tally;

use std::io;
use std::os::fd::AsFd as _;
use std::path::PathBuf;

use aya::Ebpf;
use aya::programs::BtfTracePoint;
pub use aya::programs::ProgramError;
use rustix::time::{ClockId, clock_gettime};

pub use self::error::{Forbidder, LoadError};
pub use self::load::Settings;
pub use self::preflight::{Examination, Host, Release, examine};
pub use self::tables::{Losses, TableError};
pub use self::tally::{Skips, Tally};
pub use aya_log::Level as LogLevel;
pub use signal_trace_ebpf::Tracked;

use self::merge::Merge;
use self::rings::Rings;
use self::tables::Tables;
use crate::event::{CgroupId, Event, KernelTime, Signal};

/// The programs, loaded and attached; they are detached when this is dropped.
pub struct Kernel {
    rings: Rings,
    tables: Tables,
    merge: Merge,
    /// Passes on what the programs log; none where they were told not to.
    log: Option<Box<dyn FnMut() + Send>>,
    ebpf: Ebpf,
    proc: PathBuf,
}

impl Kernel {
    /// Examines the machine, loads the programs and attaches them. Nothing is tracked yet.
    ///
    /// Must be called within a tokio runtime, because the rings are waited for by its reactor.
    ///
    /// # Errors
    ///
    /// When something is missing; the message says what, and what to do about it.
    pub fn load(settings: &Settings) -> Result<Self, LoadError> {
        let mut ebpf = load::load(settings)?;
        Ok(Self {
            rings: Rings::take(&mut ebpf)?,
            tables: Tables::take(&mut ebpf)?,
            merge: Merge::default(),
            log: settings.log_level.map(|_| load::logger(&mut ebpf)).transpose()?,
            ebpf,
            proc: settings.host.proc.clone(),
        })
    }

    /// Waits until a record came that must be acted on, or until many others lie there. Then call [`Self::drain`].
    ///
    /// Nothing is lost if the future is dropped. It may return though there is nothing to read.
    ///
    /// # Errors
    ///
    /// When the runtime's reactor is gone.
    pub async fn readable(&self) -> io::Result<()> {
        self.rings.readable().await
    }

    /// Empties both rings and appends, in order of the kernel's time, what no unseen record can precede any more.
    ///
    /// `now` is the present [`boot_time`]. What is younger than two milliseconds is held back: see [`Self::next_due`].
    pub fn drain(&mut self, now: KernelTime, out: &mut Vec<Event>) {
        let reached = self.rings.empty_into(&mut self.merge);
        self.merge.settle(now, reached, out);
        if let Some(pass_on) = &mut self.log {
            pass_on();
        }
    }

    /// When to drain again though nothing becomes readable; none while nothing is held back.
    ///
    /// While a window is open the caller drains by a timer of its own as well: bulk records ring no bell.
    pub fn next_due(&self) -> Option<KernelTime> {
        self.merge.next_due()
    }

    /// Tracks a cgroup, or replaces what is known of it. Cgroups that are made below it are tracked by the programs.
    ///
    /// # Errors
    ///
    /// When the table is full; that is counted in [`Losses::map_full`].
    pub fn track(&mut self, cgroup: CgroupId, entry: Tracked) -> Result<(), TableError> {
        self.tables.track(cgroup, entry)
    }

    /// What is known of a cgroup, if it is tracked.
    ///
    /// # Errors
    ///
    /// When the kernel refuses the call.
    pub fn tracked(&self, cgroup: CgroupId) -> Result<Option<Tracked>, TableError> {
        self.tables.tracked(cgroup)
    }

    /// Lets go of a cgroup. The programs do so themselves when it is removed.
    ///
    /// # Errors
    ///
    /// When the kernel refuses the call.
    pub fn untrack(&mut self, cgroup: CgroupId) -> Result<(), TableError> {
        self.tables.untrack(cgroup)
    }

    /// Opens a container's window from here, so that every wanted signal in it is recorded. The programs open one
    /// themselves at the first stop signal to init.
    ///
    /// # Errors
    ///
    /// When the table is full; that is counted in [`Losses::map_full`].
    pub fn open_window(&mut self, container: CgroupId, now: KernelTime) -> Result<(), TableError> {
        self.tables.open_window(container, now)
    }

    /// Closes a container's window: only the next stop signal to its init will be recorded.
    ///
    /// # Errors
    ///
    /// When the kernel refuses the call.
    pub fn close_window(&mut self, container: CgroupId) -> Result<(), TableError> {
        self.tables.close_window(container)
    }

    /// When a container's window was opened, if it is open.
    ///
    /// # Errors
    ///
    /// When the kernel refuses the call.
    pub fn window(&self, container: CgroupId) -> Result<Option<KernelTime>, TableError> {
        self.tables.window(container)
    }

    /// Whether a container's window is open.
    ///
    /// # Errors
    ///
    /// When the kernel refuses the call.
    pub fn is_open(&self, container: CgroupId) -> Result<bool, TableError> {
        Ok(self.window(container)?.is_some())
    }

    /// Has the programs take this signal for a stop signal too, when it comes to an init from outside; of most they do so
    /// anyway.
    ///
    /// # Errors
    ///
    /// When the kernel refuses the call.
    pub fn watch_signal(&mut self, signal: Signal) -> Result<(), TableError> {
        self.tables.watch_signal(signal)
    }

    /// Records that never came, by reason.
    ///
    /// # Errors
    ///
    /// When the kernel refuses the call.
    pub fn losses(&self) -> Result<Losses, TableError> {
        Ok(Losses { short_record: self.rings.refused(), ..self.tables.losses()? })
    }

    /// What the kernel counted of all programs together; of those that are still attached.
    ///
    /// # Errors
    ///
    /// When procfs cannot be read.
    pub fn tally(&self) -> io::Result<Tally> {
        let programs = self.ebpf.programs().filter_map(|(name, program)| Some((name, program.fd().ok()?)));
        programs.map(|(name, program)| Tally::of(&self.proc, name, program.as_fd())).sum()
    }

    /// Lets go of every program for good: nothing runs in the kernel any more, and no record comes.
    ///
    /// # Errors
    ///
    /// When a program cannot be let go of; the others are.
    pub fn detach(&mut self) -> Result<(), ProgramError> {
        let mut failure = Ok(());
        for (_, program) in self.ebpf.programs_mut() {
            let detached = <&mut BtfTracePoint>::try_from(program).and_then(BtfTracePoint::unload);
            failure = detached.and(failure);
        }
        failure
    }

    /// The programs that are attached, each by the name of its tracepoint.
    pub fn attached(&self) -> &'static [&'static str] {
        &load::PROGRAMS
    }
}

/// The present on the clock of every [`KernelTime`].
pub fn boot_time() -> KernelTime {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    KernelTime(seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0))
}
