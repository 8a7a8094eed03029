//! The two rings: waiting for them, and reading what they hold.
//!
//! They are the only queue between the kernel and the daemon. What order their records come in, and when to read them,
//! is decided elsewhere.

use std::io;

use aya::Ebpf;
use aya::maps::{MapData, RingBuf};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::decode::decode;
use super::error::LoadError;
use super::merge::{Merge, Reached};
use super::tables;
use crate::event::KernelTime;

/// Records that are taken from one ring at a time at most: the rest is due at once, and meanwhile others may run.
const BATCH: usize = 8_192;

type Ring = RingBuf<MapData>;

/// Both rings, and how many of their records were none.
pub(super) struct Rings {
    init: AsyncFd<Ring>,
    bulk: AsyncFd<Ring>,
    refused: u64,
}

impl Rings {
    /// Takes them out of the loaded object and registers them with the reactor of the current runtime.
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, LoadError> {
        let init = register(tables::take(ebpf, "INIT_RECORDS")?)?;
        let bulk = register(tables::take(ebpf, "BULK_RECORDS")?)?;
        Ok(Self { init, bulk, refused: 0 })
    }

    /// Waits until a program rang for one of them.
    pub(super) async fn readable(&self) -> io::Result<()> {
        // What comes after this and before it is read rings again, in vain: that is harmless, and the reverse is not.
        tokio::select! {
            ready = self.init.readable() => ready?.clear_ready(),
            ready = self.bulk.readable() => ready?.clear_ready(),
        }
        Ok(())
    }

    /// Moves what they hold, and tells how far each was read.
    pub(super) fn empty_into(&mut self, merge: &mut Merge) -> [Reached; 2] {
        [&mut self.init, &mut self.bulk].map(|ring| empty(ring.get_mut(), merge, &mut self.refused))
    }

    /// Records that could not be decoded so far.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }
}

#[expect(unsafe_code, reason = "the reactor wants a promise that the descriptor stays open")]
fn register(ring: Ring) -> Result<AsyncFd<Ring>, LoadError> {
    // SAFETY: a ring owns its descriptor, never exchanges it, and is never taken out of the `AsyncFd`.
    let registered = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) };
    registered.map_err(|error| LoadError::Poll(error.into()))
}

fn empty(ring: &mut Ring, merge: &mut Merge, refused: &mut u64) -> Reached {
    let mut last = KernelTime::default();
    for _ in 0..BATCH {
        match ring.next().map(|bytes| decode(&bytes)) {
            Some(Ok(event)) => {
                last = event.time;
                merge.push(event);
            }
            Some(Err(error)) => {
                tracing::debug!(%error, "refused a record");
                *refused += 1;
            }
            None if is_empty(ring) => return Reached::End,
            None => return Reached::Unfinished,
        }
    }
    Reached::More(last)
}

/// Whether nothing at all is in the ring: the kernel calls it readable while a record in it is still being written.
fn is_empty(ring: &Ring) -> bool {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    matches!(poll(&mut [PollFd::new(ring, PollFlags::IN)], Some(&at_once)), Ok(0))
}
