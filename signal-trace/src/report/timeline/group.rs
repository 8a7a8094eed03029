//! Steps of the evidence that say the same, gathered.
//!
//! Nothing is left out and nothing moves by more than a moment: who reads the lines in order reads what happened.

use std::time::Duration;

use crate::event::{ExitStatus, Signal};
use crate::judge::shutdown::{Delivery, Named, Step, StepKind, Where};

/// Steps that are at most this far apart may be told as one.
pub(super) const BURST: Duration = Duration::from_millis(10);

/// So far at most a step moves forward to those that say the same.
const REACH: Duration = Duration::from_millis(50);

/// Steps that say the same.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) what: What,
    /// When, and of whom.
    pub(super) steps: Vec<(usize, Duration, Named)>,
}

/// What steps must share to be told as one.
#[derive(Clone, Debug)]
pub(super) enum What {
    Signal { signal: Signal, from: Named, origin: Where, result: Delivery },
    Exit(ExitStatus),
    OomMark,
}

impl What {
    fn of(step: &Step) -> (Self, Named) {
        match step.what {
            StepKind::Signal { signal, from, origin, to, result } => {
                (Self::Signal { signal, from, origin, result }, to)
            }
            StepKind::Exit { process, status } => (Self::Exit(status), process),
            StepKind::OomMark { process } => (Self::OomMark, process),
        }
    }

    fn says_the_same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Signal { signal, from, origin, result },
                Self::Signal { signal: s, from: f, origin: o, result: r },
            ) => {
                // A runtime sends each of its signals from a process of its own.
                let same_sender = match origin {
                    Where::Outside | Where::Host => from.comm == f.comm,
                    Where::Inside | Where::ExecSession | Where::Kernel => from.pid == f.pid,
                };
                signal == s && origin == o && result == r && same_sender
            }
            (Self::Exit(a), Self::Exit(b)) => a == b,
            (Self::OomMark, Self::OomMark) => true,
            (Self::Signal { .. } | Self::Exit(_) | Self::OomMark, _) => false,
        }
    }
}

impl Group {
    pub(super) fn last(&self) -> Duration {
        self.steps.last().map(|(_, at, _)| *at).unwrap_or_default()
    }

    /// Each process once.
    pub(super) fn whom(&self) -> Vec<Named> {
        let mut whom: Vec<Named> = Vec::new();
        for (_, _, named) in &self.steps {
            if !whom.iter().any(|known| known.pid == named.pid) {
                whom.push(*named);
            }
        }
        whom
    }

    /// Two processes are told one by one, three as a group, and one that is told again is told so.
    fn is_worth_it(&self) -> bool {
        self.steps.len() > 2 || self.whom().len() == 1
    }

    fn split(self) -> Vec<Self> {
        if self.is_worth_it() {
            return vec![self];
        }
        self.steps.into_iter().map(|step| Self { what: self.what.clone(), steps: vec![step] }).collect()
    }
}

pub(super) fn group(steps: &[Step]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        let (what, whom) = What::of(step);
        match home(&groups, &what, whom, step.at) {
            Some(home) => groups[home].steps.push((index, step.at, whom)),
            None => groups.push(Group { what, steps: vec![(index, step.at, whom)] }),
        }
    }
    let mut groups: Vec<Group> = groups.into_iter().flat_map(Group::split).collect();
    groups.sort_by_key(|group| group.steps[0].0);
    groups
}

/// The group that the step may join: one of the same moment, or the last one if it repeats it.
fn home(groups: &[Group], what: &What, whom: Named, at: Duration) -> Option<usize> {
    let last = groups.len().checked_sub(1)?;
    for (index, group) in groups.iter().enumerate().rev() {
        let is_near =
            at.saturating_sub(group.last()) <= BURST && (index == last || at.saturating_sub(group.steps[0].1) <= REACH);
        let repeats = index == last && group.steps.iter().all(|(_, _, named)| named.pid == whom.pid);
        if (is_near || repeats) && group.what.says_the_same_as(what) {
            return Some(index);
        }
        if !is_near {
            return None;
        }
    }
    None
}
