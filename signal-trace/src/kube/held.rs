//! Verdicts that wait for what is still to be learnt about their containers.
//!
//! Pure. Each is let go as soon as [`Attribution::resolve`] knows enough, at its deadline at the latest, and the oldest
//! one early when there is no room: late news never holds up memory.

use std::collections::VecDeque;

use crate::event::KernelTime;
use crate::judge::shutdown::Shutdown;
use crate::kube::attribution::{Attribution, Resolution};
use crate::report::metrics::Unattributed;

/// Verdicts that may wait at a time.
const MAX_HELD: usize = 1024;

/// Past every deadline.
const END_OF_TIME: KernelTime = KernelTime(u64::MAX);

/// A verdict that waits no more.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Released {
    /// To be told, with all that is known.
    Attributed(Box<Shutdown>),
    /// To be told and counted, though nobody knows all of whose it is.
    Unattributed(Box<Shutdown>, Unattributed),
}

/// The waiting verdicts.
#[derive(Debug, Default)]
pub struct Held(VecDeque<(KernelTime, Box<Shutdown>)>);

impl Held {
    /// Takes a verdict that just fell. A pod's sandbox makes none.
    pub fn take(&mut self, shutdown: Box<Shutdown>, index: &Attribution, now: KernelTime, out: &mut Vec<Released>) {
        if self.is_full()
            && let Some((_, oldest)) = self.0.pop_front()
        {
            self.settle(oldest, index, END_OF_TIME, out);
        }
        self.settle(shutdown, index, now, out);
    }

    /// Lets go of those about which enough is known by now: after news, and when [`Self::next_deadline`] has come.
    pub fn release(&mut self, index: &Attribution, now: KernelTime, out: &mut Vec<Released>) {
        for (_, shutdown) in std::mem::take(&mut self.0) {
            self.settle(shutdown, index, now, out);
        }
    }

    /// Lets all of them go, with what is known by now: nobody will wait for more.
    pub fn flush(&mut self, index: &Attribution, out: &mut Vec<Released>) {
        self.release(index, END_OF_TIME, out);
    }

    /// When one of them has waited long enough.
    pub fn next_deadline(&self) -> Option<KernelTime> {
        self.0.iter().map(|(until, _)| *until).min()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the oldest must go when another comes.
    pub fn is_full(&self) -> bool {
        self.0.len() >= MAX_HELD
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn settle(&mut self, mut shutdown: Box<Shutdown>, index: &Attribution, now: KernelTime, out: &mut Vec<Released>) {
        match index.resolve(&shutdown, now) {
            Resolution::Known => {
                index.amend(&mut shutdown);
                out.push(Released::Attributed(shutdown));
            }
            Resolution::Wait(until) => self.0.push_back((until, shutdown)),
            Resolution::Sandbox => {}
            Resolution::Unattributed(reason) => {
                index.amend(&mut shutdown);
                out.push(Released::Unattributed(shutdown, reason));
            }
        }
    }
}
