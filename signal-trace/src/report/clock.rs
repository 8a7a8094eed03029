//! From the kernel's clock to the one on the wall.
//!
//! A value, not a clock: whoever starts a run reads both clocks once (and again when the wall clock was set) and hands
//! the difference down, so that rendering stays a function of its arguments.

use jiff::Timestamp;

use crate::event::KernelTime;

/// What the wall clock says when the kernel's does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WallClock {
    /// Nanoseconds from boot's instant back to 1970 (UTC).
    boot_nanos: i128,
}

impl WallClock {
    /// From one reading of both clocks.
    pub fn new(kernel: KernelTime, wall: Timestamp) -> Self {
        Self { boot_nanos: wall.as_nanosecond() - i128::from(kernel.0) }
    }

    /// The wall clock at that instant, to the microsecond.
    pub fn at(self, time: KernelTime) -> Timestamp {
        let micros = (self.boot_nanos + i128::from(time.0)).div_euclid(1000);
        i64::try_from(micros).ok().and_then(|m| Timestamp::from_microsecond(m).ok()).unwrap_or(Timestamp::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_reading_places_every_instant() {
        let wall = Timestamp::from_microsecond(1_795_343_311_716_054).unwrap();
        let clock = WallClock::new(KernelTime(5_000_000_000), wall);
        assert_eq!(clock.at(KernelTime(5_000_000_000)), wall);
        assert_eq!(clock.at(KernelTime(5_000_001_999)).as_microsecond(), wall.as_microsecond() + 1);
        assert_eq!(clock.at(KernelTime(0)).as_microsecond(), wall.as_microsecond() - 5_000_000);
    }

    #[test]
    fn an_instant_beyond_the_calendar_is_its_end() {
        let clock = WallClock::new(KernelTime(0), Timestamp::MAX);
        assert_eq!(clock.at(KernelTime(u64::MAX)), Timestamp::MAX);
    }
}
