//! What the judge was told, kept as lines of JSON, and read back: a verdict that looks wrong becomes a test.
//!
//! The first line names the schema, who wrote it and when; every other line is one input of the judge and the instant
//! at which it got it. The judge is pure, so the same lines give the same verdicts on any machine. A recording holds
//! cgroup paths, the ids, names and images of containers and the names of their pods, and of processes their pids and
//! names: no environment, no arguments, no file names.
//!
//! The format has its own version and its own shapes (`shape`), so that the core's types may change. Nothing here
//! knows where inputs come from, or what a verdict is.

mod read;
mod shape;
mod write;

pub use read::{Recording, RecordingError};
pub use write::Recorder;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::event::KernelTime;
use crate::judge::Input;
use crate::report::clock::WallClock;
use crate::report::json::Time;

/// Name and version of the format. Fields may be added within a version; none is renamed or removed.
pub const SCHEMA: &str = "signal-trace.dev/recording/v1";

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`SCHEMA`].
    schema: String,
    /// The release that wrote it.
    version: String,
    /// Name of the machine.
    pub node: String,
    /// The wall clock when the recording began.
    time: Time,
    /// The kernel's boot-time clock at that instant, in nanoseconds.
    now: u64,
}

impl Header {
    /// For a recording that begins now on this machine.
    pub fn new(node: String, now: KernelTime, time: Timestamp) -> Self {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Self { schema: SCHEMA.to_owned(), version, node, time: Time(time), now: now.0 }
    }

    /// Places the instants of the recording on the wall clock.
    pub fn clock(&self) -> WallClock {
        WallClock::new(KernelTime(self.now), self.time.0)
    }
}

/// Every other line.
#[derive(Serialize, Deserialize)]
struct Line {
    now: u64,
    #[serde(with = "shape::InputShape")]
    input: Input,
}

#[cfg(test)]
mod tests;
