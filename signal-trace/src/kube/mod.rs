//! Everything of the node agent that knows Kubernetes.
//!
//! [`watch`] turns the API server's pods into [`pod::PodRecord`]s, [`attribution`] says, in memory and without I/O, which
//! container a cgroup is and what is configured for it, [`held`] keeps a verdict until that is known, [`owners`] finds
//! what owns a pod in the end, and [`events`] writes what came out. [`fleet`] reads what all agents said, for `top` and
//! `events`. Nothing outside this directory knows the `kube` crate,
//! and nothing in it knows how a verdict is found.

use jiff::Timestamp;

use crate::event::KernelTime;

pub mod annotations;
pub mod attribution;
pub mod client;
pub mod events;
pub mod fleet;
pub mod held;
pub mod labels;
pub mod owners;
pub mod pod;
pub mod termination;
mod wait;
pub mod watch;

/// One instant on both clocks: the kernel's for arithmetic, the wall's because the API knows no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Boot time.
    pub kernel: KernelTime,
    /// Wall clock.
    pub wall: Timestamp,
}

impl Moment {
    /// The kernel's time of an instant that the API server wrote down, as far as the two wall clocks agree.
    pub fn kernel_time_of(self, wall: Timestamp) -> KernelTime {
        let ago = self.wall.as_nanosecond().saturating_sub(wall.as_nanosecond());
        let at = i128::from(self.kernel.0).saturating_sub(ago).max(0);
        KernelTime(u64::try_from(at).unwrap_or(u64::MAX))
    }
}

/// The same number for the same parts on every node and in every version (FNV-1a).
fn stable_hash(parts: &[&[u8]]) -> u64 {
    // A length before each part, so that they cannot run into each other.
    let bytes = parts.iter().flat_map(|part| part.len().to_le_bytes().into_iter().chain(part.iter().copied()));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
pub(crate) mod testing;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_past_and_the_future_of_the_wall_clock() {
        let wall = Timestamp::from_second(1_000_000).unwrap();
        let now = Moment { kernel: KernelTime(60_000_000_000), wall };
        let second = Duration::from_secs(1);
        assert_eq!(now.kernel_time_of(wall), now.kernel);
        assert_eq!(now.kernel_time_of(wall.checked_sub(second * 10).unwrap()), KernelTime(50_000_000_000));
        assert_eq!(now.kernel_time_of(wall.checked_add(second).unwrap()), KernelTime(61_000_000_000));
        assert_eq!(now.kernel_time_of(Timestamp::UNIX_EPOCH), KernelTime(0), "before the boot");
    }
}
