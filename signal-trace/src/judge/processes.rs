//! The process table of one container: who lives there and whose child each was at birth.
//!
//! Lineage is parentage before any signal: a shell that dies of a signal is gone, and its child reparented, long before
//! anybody could read `/proc`. So the table is fed by fork, move and exit records; a look at `/proc` only seeds it and
//! repairs it after a loss. It knows nothing of windows or verdicts.

use std::collections::hash_map::Entry;

use foldhash::{HashMap, HashSet};

use crate::event::{Comm, Pid, ProcessKey, SeenProcess, StartTick, Task};
use crate::judge::shutdown::Named;

/// Entries of one container's table, the dead that still have living descendants included.
const MAX_PROCESSES: usize = 32_768;

/// A process of a container.
#[derive(Clone, Debug)]
pub(super) struct Process {
    /// Host pid and start.
    pub(super) key: ProcessKey,
    /// Pid in the container's own namespace, where it is known.
    pub(super) ns_pid: Option<Pid>,
    /// The last name it was seen with.
    pub(super) comm: Comm,
    /// Depth of its pid namespace.
    pub(super) level: Option<u32>,
    /// It was seen to be init of a pid namespace.
    pub(super) unkillable: bool,
    /// The nearest ancestor by birth that is in this table.
    pub(super) parent: Option<ProcessKey>,
    /// The process at the top of its lineage: one whose parent at birth was outside of the container.
    pub(super) root: ProcessKey,
    /// A parent in the container by whose birth record it would hang, had that not been lost.
    missing: Option<Pid>,
    /// No such hole is between it and its root.
    pub(super) certain: bool,
    /// A look found it below somebody who takes orphans in, and nothing tells whose child it was at birth.
    may_be_orphan: bool,
    /// It was born after the stop signal of the window that is open, if only by less than a tick.
    pub(super) later: bool,
    dead: bool,
    children: u32,
}

impl Process {
    /// As evidence names it.
    pub(super) fn named(&self) -> Named {
        Named { pid: self.key.pid, ns_pid: self.ns_pid, comm: self.comm }
    }
}

/// Where the parent of a process was at its birth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Birthplace {
    /// In the container.
    Inside,
    /// Elsewhere: the process is a root.
    Outside,
}

/// Where the processes of a look live.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Home {
    /// The session that the container's init is of.
    session: Option<Pid>,
    /// That init is its pid namespace's too, and takes orphans in. Else somebody outside does.
    own_namespace: bool,
}

impl Home {
    /// Whether it is of a session that is neither its own nor init's. Of one who leads a session there is no telling where it
    /// comes from; daemons do so much more often than what an exec session leaves behind.
    fn is_of_another_session(self, seen: &SeenProcess) -> bool {
        self.session.is_some() && seen.session != self.session && seen.session != Some(seen.key.pid)
    }
}

fn is_namespace_init(seen: &SeenProcess) -> bool {
    seen.ns_pid == Pid(1) && seen.level > 0
}

/// What the table could not take.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TableFull;

#[derive(Debug, Default)]
pub(super) struct Processes {
    by_key: HashMap<ProcessKey, Process>,
    /// The living, by pid alone: parents in `/proc` and senders on old kernels have no start time.
    by_pid: HashMap<Pid, ProcessKey>,
}

impl Processes {
    /// A process was born to `parent`, or entered the cgroup while it was `parent`'s child.
    pub(super) fn insert(&mut self, task: &Task, parent: ProcessKey, place: Birthplace) -> Result<(), TableFull> {
        let seen = SeenProcess {
            key: task.key,
            cgroup: task.cgroup,
            comm: task.comm,
            parent: parent.pid,
            session: None,
            ns_pid: task.ns_pid.unwrap_or_default(),
            level: task.level.unwrap_or_default(),
        };
        self.add(&seen, Some(parent), place, (task.ns_pid, task.level, task.unkillable))?;
        if self.by_key.get(&task.key).is_some_and(|process| process.may_be_orphan) {
            self.hang(task.key, parent, place);
        }
        Ok(())
    }

    /// A process that a look found is told to have been born to `parent`: it hangs there, with all that hang from it. Not from
    /// one of these, which only what is no record of a kernel's can say.
    fn hang(&mut self, key: ProcessKey, parent: ProcessKey, place: Birthplace) {
        if parent == key || self.descends(parent, key) {
            return;
        }
        let (parent, root, certain) = match (place, self.by_key.get_mut(&parent)) {
            (Birthplace::Outside, _) => (None, key, true),
            (Birthplace::Inside, Some(above)) => {
                above.children += 1;
                (Some(above.key), above.root, above.certain)
            }
            (Birthplace::Inside, None) => return,
        };
        let Some(process) = self.by_key.get_mut(&key) else { return };
        let before = std::mem::replace(&mut process.parent, parent);
        (process.root, process.certain, process.may_be_orphan) = (root, certain, false);
        let below: Vec<_> = match process.children {
            0 => Vec::new(),
            _ => self.by_key.keys().copied().filter(|below| self.descends(*below, key)).collect(),
        };
        for below in below {
            self.by_key.entry(below).and_modify(|below| (below.root, below.certain) = (root, certain));
        }
        self.release(before);
    }

    /// A process that a look at `/proc` found: known already, or missed. One that is missed may be an orphan, and not be the
    /// child by birth of whoever is its parent now; who leads its session is above it all the same. `filled`: the table
    /// was complete before, so that a record of its birth was lost.
    pub(super) fn insert_seen(&mut self, seen: &SeenProcess, home: Home, filled: bool) -> Result<(), TableFull> {
        let missed = !self.by_key.contains_key(&seen.key);
        let parent = self.by_pid.get(&seen.parent).copied();
        let unkillable = is_namespace_init(seen);
        let adopted = match parent.and_then(|parent| self.by_key.get(&parent)) {
            Some(parent) => parent.unkillable,
            None => !home.own_namespace,
        };
        let may_be_orphan = missed && !unkillable && adopted;
        let leader = seen.session.filter(|_| may_be_orphan).and_then(|leader| self.by_pid.get(&leader).copied());
        let unknown = may_be_orphan && (filled || (leader.is_none() && home.is_of_another_session(seen)));
        let above = leader.or(parent);
        self.add(seen, above, Birthplace::Outside, (Some(seen.ns_pid), Some(seen.level), unkillable))?;
        self.mend(seen, parent);
        self.by_key.entry(seen.key).and_modify(|process| {
            process.may_be_orphan |= unknown;
            process.certain &= !unknown;
        });
        Ok(())
    }

    /// It was born after the stop signal.
    pub(super) fn note_later(&mut self, key: ProcessKey) {
        self.by_key.entry(key).and_modify(|process| process.later = true);
    }

    /// Another stop signal came: all that are there were born before it.
    pub(super) fn none_is_later(&mut self) {
        self.by_key.values_mut().for_each(|process| process.later = false);
    }

    /// What a look at all of these tells of the container.
    pub(super) fn home(&self, seen: &[&SeenProcess]) -> Home {
        let first = |process: &&&SeenProcess| (process.key.start, process.key.pid);
        let namespace_init = seen.iter().filter(|process| is_namespace_init(process)).min_by_key(first);
        let known = || self.init().and_then(|init| seen.iter().find(|process| process.key == init.key));
        let init = namespace_init.or_else(known).or_else(|| seen.iter().min_by_key(first));
        Home { session: init.and_then(|init| init.session), own_namespace: namespace_init.is_some() }
    }

    fn add(
        &mut self,
        seen: &SeenProcess,
        parent: Option<ProcessKey>,
        place: Birthplace,
        (ns_pid, level, unkillable): (Option<Pid>, Option<u32>, bool),
    ) -> Result<(), TableFull> {
        let full = self.by_key.len() >= MAX_PROCESSES;
        if let Some(known) = self.by_key.get_mut(&seen.key) {
            known.comm = seen.comm;
            known.ns_pid = known.ns_pid.or(ns_pid);
            known.level = known.level.or(level);
            known.unkillable |= unkillable;
            if place == Birthplace::Inside && known.parent.is_none() {
                self.note_hole(seen, parent);
            }
            return Ok(());
        }
        if full {
            return Err(TableFull);
        }
        let above = parent.and_then(|parent| self.by_key.get_mut(&parent));
        let missing = (place == Birthplace::Inside && above.is_none()).then_some(seen.parent);
        let (parent, root, certain) = match above {
            Some(above) => {
                above.children += 1;
                (Some(above.key), above.root, above.certain)
            }
            None => (None, seen.key, missing.is_none()),
        };
        let process = Process {
            key: seen.key,
            ns_pid,
            comm: seen.comm,
            level,
            unkillable,
            parent,
            root,
            missing,
            certain,
            may_be_orphan: false,
            later: false,
            dead: false,
            children: 0,
        };
        self.by_key.insert(seen.key, process);
        self.by_pid.insert(seen.key.pid, seen.key);
        Ok(())
    }

    /// A process that a look found first turns out to be the child of somebody in the container, whom the table may lack.
    fn note_hole(&mut self, seen: &SeenProcess, parent: Option<ProcessKey>) {
        if parent.is_some_and(|parent| self.by_key.contains_key(&parent)) {
            return;
        }
        if let Some(process) = self.by_key.get_mut(&seen.key) {
            process.missing.get_or_insert(seen.parent);
            process.certain = false;
        }
    }

    /// A process whose parent's record was lost is seen to be still that one's child: now it hangs where it was born.
    fn mend(&mut self, seen: &SeenProcess, parent: Option<ProcessKey>) {
        let Some(parent) = parent.filter(|parent| *parent != seen.key) else { return };
        let Some((root, certain)) = self.by_key.get(&parent).map(|above| (above.root, above.certain)) else { return };
        let process = self.by_key.get_mut(&seen.key).filter(|process| process.missing == Some(seen.parent));
        let Some(process) = process.filter(|process| root != process.key) else { return };
        process.parent = Some(parent);
        process.missing = None;
        for below in self.by_key.values_mut().filter(|below| below.root == seen.key) {
            below.root = root;
            below.certain = certain;
        }
        if let Some(above) = self.by_key.get_mut(&parent) {
            above.children += 1;
        }
    }

    /// Whether the lineage of somebody who lives, init apart, is not known.
    pub(super) fn has_holes(&self, init: ProcessKey) -> bool {
        self.living().any(|process| !process.certain && process.key != init)
    }

    /// A record showed the process: its name may be newer, and its pid in the container known for the first time. Whether the
    /// table holds it.
    pub(super) fn refresh(&mut self, task: &Task) -> bool {
        let Some(process) = self.by_key.get_mut(&task.key) else { return false };
        process.comm = task.comm;
        process.ns_pid = process.ns_pid.or(task.ns_pid);
        process.level = process.level.or(task.level);
        true
    }

    /// It ended, or left the container. Its entry stays while descendants need it for their lineage.
    pub(super) fn remove(&mut self, key: ProcessKey) {
        if let Entry::Occupied(living) = self.by_pid.entry(key.pid)
            && *living.get() == key
        {
            living.remove();
        }
        let Entry::Occupied(mut process) = self.by_key.entry(key) else { return };
        if process.get().children == 0 {
            let parent = process.remove().parent;
            self.release(parent);
        } else {
            process.get_mut().dead = true;
            self.splice(key);
        }
    }

    /// Its entry has one child less. One of the dead that waited for this goes too, and so on upwards.
    fn release(&mut self, parent: Option<ProcessKey>) {
        let mut next = parent;
        while let Some(key) = next {
            let Entry::Occupied(mut parent) = self.by_key.entry(key) else { return };
            parent.get_mut().children -= 1;
            if !parent.get().dead || parent.get().children > 0 {
                return;
            }
            next = parent.remove().parent;
        }
    }

    /// Takes dead only-child ancestors out of the line, so that a process which for ever forks and exits leaves no trail.
    fn splice(&mut self, key: ProcessKey) {
        while let Some(parent) = self.by_key.get(&key).and_then(|p| p.parent).and_then(|p| self.by_key.get(&p))
            && parent.dead
            && parent.children == 1
        {
            let (gone, grandparent) = (parent.key, parent.parent);
            self.by_key.remove(&gone);
            if let Some(process) = self.by_key.get_mut(&key) {
                process.parent = grandparent;
            }
        }
    }

    /// The process, dead or alive, as long as the table holds it.
    pub(super) fn get(&self, key: ProcessKey) -> Option<&Process> {
        if key.start == StartTick::default() {
            return self.by_pid.get(&key.pid).and_then(|key| self.by_key.get(key));
        }
        self.by_key.get(&key)
    }

    /// All that live.
    pub(super) fn living(&self) -> impl Iterator<Item = &Process> {
        self.by_key.values().filter(|p| !p.dead)
    }

    /// The nearest living ancestor by birth.
    pub(super) fn living_ancestor(&self, process: &Process) -> Option<&Process> {
        let mut next = process.parent;
        while let Some(ancestor) = next.and_then(|key| self.by_key.get(&key)) {
            if !ancestor.dead {
                return Some(ancestor);
            }
            next = ancestor.parent;
        }
        None
    }

    /// Whether `ancestor` is above `process` by birth.
    pub(super) fn descends(&self, process: ProcessKey, ancestor: ProcessKey) -> bool {
        let mut next = self.by_key.get(&process).and_then(|p| p.parent);
        while let Some(key) = next {
            if key == ancestor {
                return true;
            }
            next = self.by_key.get(&key).and_then(|p| p.parent);
        }
        false
    }

    /// The container's init: the namespace's, or where the namespace is shared, the first that came from outside.
    pub(super) fn init(&self) -> Option<&Process> {
        let roots = || self.living().filter(|p| p.root == p.key);
        let first = |p: &&Process| (p.key.start, p.key.pid);
        roots().filter(|p| p.unkillable).min_by_key(first).or_else(|| roots().min_by_key(first))
    }

    /// It was held for dead, and is not.
    pub(super) fn revive(&mut self, key: ProcessKey) {
        if let Some(process) = self.by_key.get_mut(&key) {
            process.dead = false;
            self.by_pid.insert(key.pid, key);
        }
    }

    /// Whom `seen` does not list, of those that started before `since`.
    pub(super) fn missing_from(&self, seen: &[SeenProcess], since: StartTick) -> Vec<ProcessKey> {
        let alive: HashSet<_> = seen.iter().map(|s| s.key).collect();
        self.living().map(|p| p.key).filter(|key| key.start < since && !alive.contains(key)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::CgroupId;

    fn task(pid: u32) -> Task {
        Task {
            key: ProcessKey { pid: Pid(pid), start: StartTick(u64::from(pid)) },
            cgroup: CgroupId(1),
            comm: Comm::new(b"x"),
            level: Some(1),
            ns_pid: None,
            unkillable: pid == 10,
            dying: false,
        }
    }

    fn key(pid: u32) -> ProcessKey {
        task(pid).key
    }

    #[test]
    fn lineage_outlives_the_parent() {
        let mut table = Processes::default();
        for (pid, parent) in [(10, 1), (11, 10), (12, 11)] {
            table.insert(&task(pid), key(parent), Birthplace::Inside).unwrap();
        }
        table.remove(key(11));
        let orphan = table.get(key(12)).unwrap();
        assert_eq!(table.living_ancestor(orphan).unwrap().key, key(10));
        assert!(table.descends(key(12), key(11)));
        assert_eq!(orphan.root, key(10));
    }

    #[test]
    fn a_process_that_forks_and_exits_for_ever_leaves_no_trail() {
        let mut table = Processes::default();
        table.insert(&task(10), key(1), Birthplace::Outside).unwrap();
        table.insert(&task(11), key(10), Birthplace::Outside).unwrap();
        for pid in 12..2000 {
            table.insert(&task(pid), key(pid - 1), Birthplace::Outside).unwrap();
            table.remove(key(pid - 1));
            assert!(table.by_key.len() <= 4, "{}", table.by_key.len());
        }
        table.remove(key(1999));
        table.remove(key(10));
        assert!(table.by_key.is_empty() && table.by_pid.is_empty());
    }

    #[test]
    fn the_namespaces_init_is_init_whoever_came_first() {
        let mut table = Processes::default();
        table.insert(&task(8), key(1), Birthplace::Outside).unwrap();
        table.insert(&task(9), key(1), Birthplace::Outside).unwrap();
        assert_eq!(table.init().unwrap().key, key(8));
        table.insert(&task(10), key(1), Birthplace::Outside).unwrap();
        assert_eq!(table.init().unwrap().key, key(10));
    }

    fn seen(pid: u32, parent: u32) -> SeenProcess {
        let Task { key, cgroup, comm, .. } = task(pid);
        SeenProcess { key, cgroup, comm, parent: Pid(parent), session: None, ns_pid: Pid(pid), level: 1 }
    }

    #[test]
    fn a_look_tells_the_namespaces_init_too_and_nobody_makes_it_less() {
        let look = |pid, ns_pid, level| SeenProcess { ns_pid: Pid(ns_pid), level, ..seen(pid, 1) };
        let mut table = Processes::default();
        table.insert_seen(&look(8, 7, 1), Home::default(), false).unwrap();
        table.insert_seen(&look(9, 1, 1), Home::default(), false).unwrap();
        assert_eq!(table.init().unwrap().key, key(9));
        table.insert(&task(9), key(1), Birthplace::Outside).unwrap();
        assert_eq!(table.init().unwrap().key, key(9), "a record of it without the flag");
        let mut host = Processes::default();
        host.insert_seen(&look(8, 7, 0), Home::default(), false).unwrap();
        host.insert_seen(&look(9, 1, 0), Home::default(), false).unwrap();
        assert_eq!(host.init().unwrap().key, key(8), "the machine's own first process is no container's");
    }

    #[test]
    fn whose_birth_is_told_after_a_look_hangs_where_the_record_says() {
        let mut table = Processes::default();
        table.insert(&task(10), key(1), Birthplace::Outside).unwrap();
        table.insert_seen(&seen(12, 99), Home::default(), false).unwrap();
        assert!(!table.has_holes(key(10)));
        table.insert(&task(12), key(10), Birthplace::Inside).unwrap();
        assert!(!table.has_holes(key(10)), "its parent is known");
        table.insert(&task(12), key(11), Birthplace::Inside).unwrap();
        assert!(table.has_holes(key(10)), "its parent in the container is not");
    }

    #[test]
    fn a_lost_parent_is_a_hole_until_it_is_seen_to_be_the_parent() {
        let mut table = Processes::default();
        table.insert(&task(10), key(1), Birthplace::Outside).unwrap();
        table.insert(&task(12), key(11), Birthplace::Inside).unwrap();
        table.insert(&task(13), key(12), Birthplace::Inside).unwrap();
        assert!(table.has_holes(key(10)));
        // Its parent may have been a session's process that is dead by now: to hang below init proves nothing.
        table.insert_seen(&seen(12, 10), Home::default(), false).unwrap();
        assert!(table.has_holes(key(10)) && !table.descends(key(13), key(10)));
        table.insert_seen(&seen(11, 10), Home::default(), false).unwrap();
        table.insert_seen(&seen(12, 11), Home::default(), false).unwrap();
        assert!(!table.has_holes(key(10)) && table.descends(key(13), key(10)));
        assert_eq!(table.get(key(13)).unwrap().root, key(10));
        for pid in [10, 11, 12, 13] {
            table.remove(key(pid));
        }
        assert!(table.by_key.is_empty() && table.by_pid.is_empty());
    }

    #[test]
    fn nobody_hangs_from_who_hangs_from_it() {
        let mut table = Processes::default();
        table.insert(&task(10), key(1), Birthplace::Outside).unwrap();
        let home = Home { session: Some(Pid(10)), own_namespace: true };
        table.insert_seen(&seen(11, 10), home, true).unwrap();
        table.insert(&task(12), key(11), Birthplace::Inside).unwrap();
        for parent in [11, 12] {
            table.insert(&task(11), key(parent), Birthplace::Inside).unwrap();
            assert_eq!(table.get(key(11)).unwrap().parent, Some(key(10)));
        }
        table.insert(&task(11), key(10), Birthplace::Inside).unwrap();
        assert!(table.get(key(12)).unwrap().certain, "below one whose birth is told");
        for pid in [12, 11, 10] {
            table.remove(key(pid));
        }
        assert!(table.by_key.is_empty() && table.by_pid.is_empty());
    }

    #[test]
    fn the_table_is_bounded() {
        let mut table = Processes::default();
        for pid in 10..10 + u32::try_from(MAX_PROCESSES).unwrap() {
            table.insert(&task(pid), key(1), Birthplace::Outside).unwrap();
        }
        assert_eq!(table.insert(&task(9), key(1), Birthplace::Outside), Err(TableFull));
    }
}
