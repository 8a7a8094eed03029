//! From cgroup ids to containers.
//!
//! [`path`] reads a container out of a cgroup path, [`scan`] reads the cgroup file system, [`snapshot`] reads the
//! processes of a container, and [`index`] answers, in memory and without I/O, whose a cgroup id is. Nothing here knows
//! the kernel programs, a clock, or what a verdict is.

pub mod bundles;
pub mod index;
pub mod path;
pub mod scan;
pub mod snapshot;

use std::fmt;

use crate::event::CgroupId;

/// What made a container, as far as its cgroup path tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Runtime {
    /// containerd, below a kubelet or alone.
    Containerd,
    /// CRI-O.
    Crio,
    /// Docker Engine.
    Docker,
    /// podman.
    Podman,
    /// A systemd service: no container, but stopped the same way.
    Systemd,
    /// This program's own container maker.
    SignalTrace,
    /// The path is a container's and does not say whose.
    Unknown,
}

impl Runtime {
    /// Its name in records; none where it is not known.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::Containerd => Some("containerd"),
            Self::Crio => Some("cri-o"),
            Self::Docker => Some("docker"),
            Self::Podman => Some("podman"),
            Self::Systemd => Some("systemd"),
            Self::SignalTrace => Some("signal-trace"),
            Self::Unknown => None,
        }
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name().unwrap_or("unknown runtime"))
    }
}

/// What a cgroup path says about the container that lives in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Who made it.
    pub runtime: Runtime,
    /// The runtime's id of it, or the unit's name.
    pub id: String,
    /// The pod's uid with dashes, for a path below `kubepods`; a static pod has a hash here.
    pub pod_uid: Option<String>,
}

/// One directory of the v2 hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    /// Its id.
    pub id: CgroupId,
    /// Its parent's id; the root of the hierarchy names itself.
    pub parent: CgroupId,
    /// Path below the mount of the hierarchy, with a leading slash.
    pub path: String,
    /// The container whose own cgroup this is, if it is one.
    pub container: Option<Identity>,
}
