//! The capabilities that stay.
//!
//! Attaching takes BPF and PERFMON, and what is attached stays so without them. To read the programs' tables takes none
//! since Linux 5.19 (`__sys_bpf` asks for one to make maps and programs alone), and BPF before where
//! `kernel.unprivileged_bpf_disabled` is set. Distributions carry that change back and forth: so it is tried.

use rustix::io;
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, set_capabilities};

/// What makes files and processes of others readable, where it was given: a runtime's bundles, and the pid namespaces
/// that blame depends on.
const READ: CapabilitySet = CapabilitySet::DAC_READ_SEARCH.union(CapabilitySet::SYS_PTRACE);

/// Gives up all but those; what is left.
pub(super) fn give_up(tables_answer: impl Fn() -> bool) -> io::Result<CapabilitySet> {
    let held = capabilities(None)?.permitted;
    let without = CapabilitySets { effective: held & READ, permitted: held, inheritable: CapabilitySet::empty() };
    set_capabilities(None, without)?;
    let kept = kept(held, tables_answer());
    set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, ..without })?;
    // The kernel takes them off with the permitted ones; this says so where it did not.
    clear_ambient_capability_set()?;
    Ok(kept)
}

/// Of these, those that stay.
fn kept(held: CapabilitySet, tables_answer: bool) -> CapabilitySet {
    // Before BPF was a capability of its own, and where only the old one was given.
    let for_tables = if held.contains(CapabilitySet::BPF) { CapabilitySet::BPF } else { CapabilitySet::SYS_ADMIN };
    let needed = if tables_answer { READ } else { READ | for_tables };
    held & needed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_following_does_not_need_is_given_up() {
        let pod = CapabilitySet::BPF | CapabilitySet::PERFMON;
        assert_eq!(kept(pod, true), CapabilitySet::empty());
        assert_eq!(kept(pod, false), CapabilitySet::BPF);
        assert_eq!(kept(CapabilitySet::all(), true), READ);
        assert_eq!(kept(CapabilitySet::all(), false), READ | CapabilitySet::BPF);
        assert_eq!(kept(CapabilitySet::SYS_ADMIN, false), CapabilitySet::SYS_ADMIN);
        assert_eq!(kept(CapabilitySet::SYS_ADMIN, true), CapabilitySet::empty());
    }
}
