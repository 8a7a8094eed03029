//! What happened, in the words of the domain: the events of the kernel and the newtypes of its ids and clocks.
//!
//! Values only. Nothing here knows how a record crosses the kernel boundary (`kernel/`), who asks, or what it means.

use std::fmt;
use std::time::Duration;

/// Nanoseconds since boot, suspend included (`CLOCK_BOOTTIME`): the one clock that the judge knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KernelTime(pub u64);

impl KernelTime {
    /// How long after `earlier` this is; zero if it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// This instant and `duration` more.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// Id of a cgroup in the v2 hierarchy (its kernfs inode): never reused within a boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CgroupId(pub u64);

/// A thread group's id in the namespace that its owner's documentation names; the host's unless it says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pid(pub u32);

/// Start of a process in clock ticks (1/100 s) since boot: field 22 of `/proc/PID/stat`, and `start_boottime` rounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StartTick(pub u64);

impl StartTick {
    /// From `start_boottime`; `USER_HZ` is 100 on every architecture that runs these programs.
    pub fn from_nanos(start_boottime: u64) -> Self {
        Self(start_boottime / 10_000_000)
    }
}

/// A process that cannot be confused with a later one of the same pid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessKey {
    /// Host pid of the thread group.
    pub pid: Pid,
    /// When it started.
    pub start: StartTick,
}

/// A signal's number, 1..=64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal(u8);

impl Signal {
    /// Hang-up.
    pub const HUP: Self = Self(1);
    /// Terminal interrupt.
    pub const INT: Self = Self(2);
    /// Terminal quit.
    pub const QUIT: Self = Self(3);
    /// Abort.
    pub const ABRT: Self = Self(6);
    /// Kill.
    pub const KILL: Self = Self(9);
    /// User-defined 1.
    pub const USR1: Self = Self(10);
    /// Segmentation fault.
    pub const SEGV: Self = Self(11);
    /// User-defined 2.
    pub const USR2: Self = Self(12);
    /// Terminate.
    pub const TERM: Self = Self(15);
    /// Continue.
    pub const CONT: Self = Self(18);
    /// Window size changed.
    pub const WINCH: Self = Self(28);
    /// Power failure.
    pub const PWR: Self = Self(30);

    const NAMES: [&'static str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM",
        "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF",
        "WINCH", "IO", "PWR", "SYS",
    ];

    /// The signal of that number, if there is one.
    pub fn from_number(number: u32) -> Option<Self> {
        u8::try_from(number).ok().filter(|n| (1..=64).contains(n)).map(Self)
    }

    /// Its number.
    pub fn number(self) -> u8 {
        self.0
    }

    /// From `TERM`, `SIGTERM`, `15`, `SIG15`, `RTMIN+3` or `SIGRTMIN+3`, in any case.
    pub fn parse(text: &str) -> Option<Self> {
        let upper = text.trim().to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        if let Ok(number) = name.parse::<u32>() {
            return Self::from_number(number);
        }
        if let Some(index) = Self::NAMES.iter().position(|n| *n == name) {
            return Self::from_number(u32::try_from(index).ok()? + 1);
        }
        match name.strip_prefix("RTMIN") {
            Some("") => Some(Self(34)),
            Some(rest) => {
                rest.strip_prefix('+')?.parse::<u32>().ok().filter(|n| *n <= 30).and_then(|n| Self::from_number(34 + n))
            }
            None => match name.strip_prefix("RTMAX")? {
                "" => Some(Self(64)),
                rest => rest
                    .strip_prefix('-')?
                    .parse::<u32>()
                    .ok()
                    .filter(|n| *n <= 30)
                    .and_then(|n| Self::from_number(64 - n)),
            },
        }
    }

    /// Whether stopping something is a usual meaning of it: the family of verdicts.md.
    pub fn is_terminating(self) -> bool {
        matches!(
            self,
            Self::TERM | Self::INT | Self::QUIT | Self::HUP | Self::USR1 | Self::USR2 | Self::WINCH | Self::PWR
        ) || self.0 >= 34
    }

    /// Whether it is also sent all day, from process to process, for what has nothing to do with an end.
    pub fn has_other_uses(self) -> bool {
        matches!(self, Self::HUP | Self::USR1 | Self::USR2 | Self::WINCH) || self.0 >= 34
    }

    /// Whether its default action dumps core: the signals of a fault, which nobody sends to stop something.
    pub fn is_fault(self) -> bool {
        matches!(self.0, 4..=8 | 11 | 24 | 25 | 31)
    }

    /// Whether programs get it by the thousand, from the kernel or from themselves: CHLD, URG, VTALRM, PROF and IO.
    pub fn is_flood(self) -> bool {
        matches!(self.0, 17 | 23 | 26 | 27 | 29)
    }

    /// Whether its default action is to end the process.
    pub fn default_is_fatal(self) -> bool {
        !matches!(self.0, 17..=23 | 28)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n @ 1..=31 => write!(f, "SIG{}", Self::NAMES[usize::from(n) - 1]),
            34 => f.write_str("SIGRTMIN"),
            n @ 35.. => write!(f, "SIGRTMIN+{}", n - 34),
            n => write!(f, "SIG{n}"),
        }
    }
}

/// A process name as the kernel holds it: at most 15 bytes that a stranger chose, maybe not UTF-8.
///
/// Printing it is for `report/`, which escapes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Comm([u8; 16]);

impl Comm {
    /// Cut at the first NUL and at 15 bytes; what follows is garbage on old kernels.
    pub fn new(bytes: &[u8]) -> Self {
        let mut comm = [0; 16];
        for (to, from) in comm.iter_mut().zip(bytes.iter().take(15).take_while(|b| **b != 0)) {
            *to = *from;
        }
        Self(comm)
    }

    /// The bytes before the NUL.
    pub fn as_bytes(&self) -> &[u8] {
        let end = self.0.iter().position(|b| *b == 0).unwrap_or(self.0.len());
        &self.0[..end]
    }

    /// With what is not UTF-8 replaced: for comparing with known names, not for printing.
    pub fn to_text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(self.as_bytes())
    }
}

impl fmt::Debug for Comm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_text())
    }
}

/// How a process ended, from the kernel's own encoding (`wait(2)`): 137 and 143 can be plain codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// It ended itself with this code.
    Code(u8),
    /// This signal ended it.
    Signal(Signal),
}

impl ExitStatus {
    /// From `group_exit_code` or `exit_code`: the low seven bits are the signal, bit 7 a core dump.
    pub fn from_wait(code: u32) -> Self {
        match Signal::from_number(code & 0x7f) {
            Some(signal) => Self::Signal(signal),
            None => Self::Code(u8::try_from(code >> 8 & 0xff).unwrap_or(u8::MAX)),
        }
    }
}

/// A process as one record shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task {
    /// Host pid and start.
    pub key: ProcessKey,
    /// Its cgroup at that instant.
    pub cgroup: CgroupId,
    /// Its name at that instant.
    pub comm: Comm,
    /// Depth of its pid namespace, 0 is the host; unknown for senders before Linux 5.11.
    pub level: Option<u32>,
    /// Pid inside the container's own pid namespace, where the record could tell.
    pub ns_pid: Option<Pid>,
    /// It is init of a pid namespace (`SIGNAL_UNKILLABLE`), unharmed so far.
    pub unkillable: bool,
    /// It is exiting as a group (`SIGNAL_GROUP_EXIT`, or a core dump): after `complete_signal`, also because of this very signal.
    pub dying: bool,
}

/// `result` of `signal_generate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generated {
    /// Queued, and the target will see it.
    Delivered,
    /// Dropped: the target ignores it, is a namespace init without a handler, or is dying already.
    Ignored,
    /// One was pending already.
    AlreadyPending,
    /// Queued without, or dropped for want of, memory for its info.
    Overflow,
}

/// What the target had installed for the signal at that instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handler {
    /// Not one of the signals whose handlers the programs read.
    Unknown,
    /// `SIG_DFL`.
    Default,
    /// `SIG_IGN`.
    Ignore,
    /// A function of its own.
    Function,
}

/// Whether the target's first thread let the signal through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mask {
    /// Not blocked.
    Open,
    /// In `task->blocked`.
    Blocked,
    /// In `task->real_blocked`: it sits in `sigtimedwait` or `sigwait`, and will read the signal at once.
    Awaited,
}

/// One signal, generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignalEvent {
    /// Which.
    pub signal: Signal,
    /// `current`: who sent it, unless the kernel made it.
    pub sender: Task,
    /// Whom it is for.
    pub target: Task,
    /// `info` was `SEND_SIG_PRIV`: the kernel made it, and `sender` merely happened to run.
    pub kernel_made: bool,
    /// What became of it.
    pub result: Generated,
    /// The target's handler for it.
    pub handler: Handler,
    /// The target's mask for it.
    pub mask: Mask,
    /// Shared pending signals of the target, one bit each, this one included.
    pub pending: u64,
    /// Sent to the thread group, not to a thread.
    pub to_group: bool,
    /// A debugger is attached to the target.
    pub traced: bool,
}

/// A process that was born, or moved between cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessEvent {
    /// The process.
    pub task: Task,
    /// Its `real_parent` then.
    pub parent: ProcessKey,
    /// The parent's cgroup.
    pub parent_cgroup: CgroupId,
}

/// A process that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitEvent {
    /// The process.
    pub task: Task,
    /// How it ended.
    pub status: ExitStatus,
    /// Shared pending signals that it never read, one bit each.
    pub pending: u64,
}

/// What the kernel said, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// When the program ran.
    pub time: KernelTime,
    /// What it saw.
    pub kind: EventKind,
}

/// The kinds of [`Event`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// `signal_generate`.
    Signal(SignalEvent),
    /// `sched_process_fork` of a process.
    Fork(ProcessEvent),
    /// `cgroup_attach_task`: `task.cgroup` is where it went.
    Move(ProcessEvent),
    /// `sched_process_exit` of a group's last thread.
    Exit(ExitEvent),
    /// `mark_victim`: the OOM killer chose this process.
    OomMark(Pid),
    /// `cgroup_mkdir`.
    CgroupMade {
        /// The new one.
        id: CgroupId,
        /// Where it was made.
        parent: CgroupId,
    },
    /// `cgroup_release`: nothing lives there any more, nor will.
    CgroupGone(CgroupId),
}

/// One process as `/proc` showed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenProcess {
    /// Host pid and start.
    pub key: ProcessKey,
    /// The cgroup in whose `cgroup.procs` it stood.
    pub cgroup: CgroupId,
    /// Its name.
    pub comm: Comm,
    /// Its parent's host pid then: not the one it was born to, if that one is dead.
    pub parent: Pid,
    /// Host pid of whoever leads, or led, its session, whose descendant it is: it called setsid(2), which no child undoes. A
    /// leader's pid is not used again while one of its session lives.
    pub session: Option<Pid>,
    /// Pid in its innermost pid namespace (`NSpid`, the last).
    pub ns_pid: Pid,
    /// Depth of its pid namespace below the one that `/proc` is mounted in (`NSpid` holds one more).
    pub level: u32,
}

/// The processes of one container, read from `/proc`: seeds the table at start and repairs it after a loss.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The container's own cgroup.
    pub container: CgroupId,
    /// Before the first of them was read.
    pub time: KernelTime,
    /// In the container's cgroup or below it, nested containers left out.
    pub processes: Vec<SeenProcess>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_one_name_and_many_spellings() {
        for number in 1..=64 {
            let signal = Signal::from_number(number).unwrap();
            assert_eq!(Signal::parse(&signal.to_string()), Some(signal), "{signal}");
            assert_eq!(Signal::parse(&number.to_string()), Some(signal));
        }
        assert_eq!(Signal::parse("sigterm"), Some(Signal::TERM));
        assert_eq!(Signal::parse("rtmin+3"), Signal::from_number(37));
        assert_eq!(Signal::parse("RTMAX-1"), Signal::from_number(63));
        for wrong in ["", "SIG", "0", "65", "RTMIN+31", "RTMIN-1", "TERMINATE"] {
            assert_eq!(Signal::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_plain_137_is_no_kill() {
        assert_eq!(ExitStatus::from_wait(137 << 8), ExitStatus::Code(137));
        assert_eq!(ExitStatus::from_wait(9), ExitStatus::Signal(Signal::KILL));
        assert_eq!(ExitStatus::from_wait(0x80 | 11), ExitStatus::Signal(Signal::SEGV));
    }

    #[test]
    fn names_end_at_the_first_nul() {
        assert_eq!(Comm::new(b"sh\0garbage").as_bytes(), b"sh");
        assert_eq!(Comm::new(b"0123456789abcdefgh").as_bytes(), b"0123456789abcde");
    }
}
