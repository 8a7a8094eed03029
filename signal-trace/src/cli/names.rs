//! What containers on this machine are called, from their runtime's bundles: for `watch` on a node.
//!
//! Where there is no bundle a container has the names that its cgroup tells, which are none.

use std::path::PathBuf;
use std::sync::Arc;

use tracing::debug;

use crate::containers::Cgroup;
use crate::containers::bundles::{Bundle, Bundles};
use crate::judge::Spec;
use crate::judge::shutdown::{Grace, GraceSource};

/// The bundles of this machine.
pub(super) struct Names(Bundles);

/// What a bundle tells.
pub(super) enum Known {
    /// Nothing.
    Nothing,
    /// What the container is called, and how it is stopped if that is told.
    Spec(Spec),
    /// It is a pod's sandbox: nobody's program.
    Sandbox,
}

impl Names {
    /// In the usual places, and in these state folders of runtimes.
    pub(super) fn new(folders: &[PathBuf]) -> Self {
        Self(Bundles::with_state_in(folders))
    }

    /// The folders that are read.
    pub(super) fn folders(&self) -> impl Iterator<Item = PathBuf> {
        self.0.folders()
    }

    /// Of the container that this cgroup is.
    pub(super) fn of(&self, cgroup: &Cgroup) -> Known {
        let Some(identity) = &cgroup.container else { return Known::Nothing };
        match self.0.find(&identity.id) {
            Ok(Some(bundle)) if bundle.sandbox == Some(true) => Known::Sandbox,
            Ok(Some(bundle)) => spec(&bundle, cgroup).map_or(Known::Nothing, Known::Spec),
            Ok(None) => Known::Nothing,
            Err(error) => {
                debug!(%error, "a container has no names");
                Known::Nothing
            }
        }
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
