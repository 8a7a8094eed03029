//! What containers on this machine are called, from their runtime's bundles: for `watch` on a node.
//!
//! Where there is no bundle a container has the names that its cgroup tells, which are none.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use tracing::debug;

use crate::containers::Cgroup;
use crate::containers::bundles::{Bundle, Bundles};
use crate::event::CgroupId;
use crate::judge::Spec;
use crate::judge::shutdown::{Grace, GraceSource};

/// The bundles, and the pods' sandboxes that they told of.
pub(super) struct Names {
    bundles: Bundles,
    sandboxes: HashSet<CgroupId>,
}

impl Names {
    /// In the usual places, and in these state folders of runtimes.
    pub(super) fn new(folders: &[PathBuf]) -> Self {
        Self { bundles: Bundles::with_state_in(folders), sandboxes: HashSet::new() }
    }

    /// What the judge should know of a container that was found.
    pub(super) fn found(&mut self, cgroup: &Cgroup) -> Option<Spec> {
        match self.bundles.find(&cgroup.container.as_ref()?.id) {
            Ok(Some(bundle)) if bundle.sandbox == Some(true) => {
                self.sandboxes.insert(cgroup.id);
                None
            }
            Ok(bundle) => spec(&bundle?, cgroup),
            Err(error) => {
                debug!(%error, "a container has no names");
                None
            }
        }
    }

    /// A cgroup is gone.
    pub(super) fn gone(&mut self, id: CgroupId) {
        self.sandboxes.remove(&id);
    }

    /// Whether it is a pod's sandbox: nobody's program, and never judged.
    pub(super) fn is_sandbox(&self, id: CgroupId) -> bool {
        self.sandboxes.contains(&id)
    }
}

fn spec(bundle: &Bundle, cgroup: &Cgroup) -> Option<Spec> {
    let facts = bundle.facts(cgroup)?;
    let source = if bundle.grace.is_some() { GraceSource::Spec } else { GraceSource::Unknown };
    Some(Spec {
        facts: Some(Arc::new(facts)),
        stop_signal: bundle.stop_signal,
        grace: Grace { period: bundle.grace, source },
        ..Spec::default()
    })
}
