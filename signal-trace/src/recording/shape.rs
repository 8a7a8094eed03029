//! The shape of every input in a recording, beside the core's types: derived field by field for those types, so that a
//! field which the core gains does not compile here until the format says how it is written.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::containers::{Cgroup, Identity, Runtime};
use crate::event::{
    CgroupId, Comm, Event, EventKind, ExitEvent, ExitStatus, Generated, Handler, KernelTime, Mask, Pid, ProcessEvent,
    ProcessKey, SeenProcess, Signal, SignalEvent, Snapshot, StartTick, Task,
};
use crate::judge::shutdown::{ContainerFacts, Grace, GraceSource, PodFacts, Trigger, Workload};
use crate::judge::{CgroupChange, Input, Loss, Spec};

#[derive(Serialize, Deserialize)]
#[serde(remote = "Input", rename_all = "snake_case")]
pub(super) enum InputShape {
    Event(#[serde(with = "EventShape")] Event),
    Cgroup(#[serde(with = "CgroupChangeShape")] CgroupChange),
    Spec(#[serde(with = "CgroupIdShape")] CgroupId, #[serde(with = "SpecShape")] Spec),
    Processes(#[serde(with = "SnapshotShape")] Snapshot),
    Lost(#[serde(with = "LossShape")] Loss),
    Tick,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Event")]
struct EventShape {
    #[serde(with = "KernelTimeShape")]
    time: KernelTime,
    #[serde(with = "EventKindShape")]
    kind: EventKind,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "EventKind", rename_all = "snake_case")]
enum EventKindShape {
    Signal(#[serde(with = "SignalEventShape")] SignalEvent),
    Fork(#[serde(with = "ProcessEventShape")] ProcessEvent),
    Move(#[serde(with = "ProcessEventShape")] ProcessEvent),
    Exit(#[serde(with = "ExitEventShape")] ExitEvent),
    OomMark(#[serde(with = "PidShape")] Pid),
    CgroupMade {
        #[serde(with = "CgroupIdShape")]
        id: CgroupId,
        #[serde(with = "CgroupIdShape")]
        parent: CgroupId,
    },
    CgroupGone(#[serde(with = "CgroupIdShape")] CgroupId),
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "SignalEvent")]
struct SignalEventShape {
    #[serde(with = "signal")]
    signal: Signal,
    #[serde(with = "TaskShape")]
    sender: Task,
    #[serde(with = "TaskShape")]
    target: Task,
    kernel_made: bool,
    #[serde(with = "GeneratedShape")]
    result: Generated,
    #[serde(with = "HandlerShape")]
    handler: Handler,
    #[serde(with = "MaskShape")]
    mask: Mask,
    pending: u64,
    to_group: bool,
    traced: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "ProcessEvent")]
struct ProcessEventShape {
    #[serde(with = "TaskShape")]
    task: Task,
    #[serde(with = "ProcessKeyShape")]
    parent: ProcessKey,
    #[serde(with = "CgroupIdShape")]
    parent_cgroup: CgroupId,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "ExitEvent")]
struct ExitEventShape {
    #[serde(with = "TaskShape")]
    task: Task,
    #[serde(with = "ExitStatusShape")]
    status: ExitStatus,
    pending: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Task")]
struct TaskShape {
    #[serde(with = "ProcessKeyShape")]
    key: ProcessKey,
    #[serde(with = "CgroupIdShape")]
    cgroup: CgroupId,
    #[serde(with = "comm")]
    comm: Comm,
    level: Option<u32>,
    #[serde(with = "maybe_pid")]
    ns_pid: Option<Pid>,
    unkillable: bool,
    dying: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "ProcessKey")]
struct ProcessKeyShape {
    #[serde(with = "PidShape")]
    pid: Pid,
    #[serde(with = "StartTickShape")]
    start: StartTick,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "ExitStatus", rename_all = "snake_case")]
enum ExitStatusShape {
    Code(u8),
    Signal(#[serde(with = "signal")] Signal),
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Generated", rename_all = "snake_case")]
enum GeneratedShape {
    Delivered,
    Ignored,
    AlreadyPending,
    Overflow,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Handler", rename_all = "snake_case")]
enum HandlerShape {
    Unknown,
    Default,
    Ignore,
    Function,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Mask", rename_all = "snake_case")]
enum MaskShape {
    Open,
    Blocked,
    Awaited,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Loss", rename_all = "snake_case")]
enum LossShape {
    Lives,
    Bulk,
    Exits,
    Init,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "CgroupChange", rename_all = "snake_case")]
enum CgroupChangeShape {
    Present(#[serde(with = "CgroupShape")] Cgroup),
    Made(#[serde(with = "CgroupShape")] Cgroup),
    Gone(#[serde(with = "CgroupIdShape")] CgroupId),
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Cgroup")]
struct CgroupShape {
    #[serde(with = "CgroupIdShape")]
    id: CgroupId,
    #[serde(with = "CgroupIdShape")]
    parent: CgroupId,
    path: String,
    #[serde(with = "maybe_identity")]
    container: Option<Identity>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Identity")]
struct IdentityShape {
    #[serde(with = "RuntimeShape")]
    runtime: Runtime,
    id: String,
    pod_uid: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Runtime", rename_all = "kebab-case")]
enum RuntimeShape {
    Containerd,
    #[serde(rename = "cri-o")]
    Crio,
    Docker,
    Podman,
    Systemd,
    SignalTrace,
    Unknown,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Snapshot")]
struct SnapshotShape {
    #[serde(with = "CgroupIdShape")]
    container: CgroupId,
    #[serde(with = "KernelTimeShape")]
    time: KernelTime,
    #[serde(with = "processes")]
    processes: Vec<SeenProcess>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "SeenProcess")]
struct SeenProcessShape {
    #[serde(with = "ProcessKeyShape")]
    key: ProcessKey,
    #[serde(with = "CgroupIdShape")]
    cgroup: CgroupId,
    #[serde(with = "comm")]
    comm: Comm,
    #[serde(with = "PidShape")]
    parent: Pid,
    #[serde(with = "maybe_pid", default)]
    session: Option<Pid>,
    #[serde(with = "PidShape")]
    ns_pid: Pid,
    level: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Spec")]
struct SpecShape {
    #[serde(with = "maybe_facts")]
    facts: Option<Arc<ContainerFacts>>,
    #[serde(with = "maybe_signal")]
    stop_signal: Option<Signal>,
    #[serde(with = "GraceShape")]
    grace: Grace,
    #[serde(with = "maybe_time")]
    terminating_since: Option<KernelTime>,
    #[serde(with = "name")]
    trigger: Trigger,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Grace")]
struct GraceShape {
    period: Option<Duration>,
    #[serde(with = "name")]
    source: GraceSource,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "ContainerFacts")]
struct FactsShape {
    #[serde(with = "CgroupIdShape")]
    cgroup: CgroupId,
    cgroup_path: String,
    #[serde(with = "RuntimeShape")]
    runtime: Runtime,
    id: String,
    name: Option<String>,
    image: Option<String>,
    #[serde(with = "maybe_pod")]
    pod: Option<PodFacts>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "PodFacts")]
struct PodShape {
    namespace: String,
    name: String,
    uid: String,
    revision: Option<String>,
    #[serde(with = "maybe_workload")]
    workload: Option<Workload>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Workload")]
struct WorkloadShape {
    kind: String,
    name: String,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "KernelTime")]
struct KernelTimeShape(u64);

#[derive(Serialize, Deserialize)]
#[serde(remote = "CgroupId")]
struct CgroupIdShape(u64);

#[derive(Serialize, Deserialize)]
#[serde(remote = "Pid")]
struct PidShape(u32);

#[derive(Serialize, Deserialize)]
#[serde(remote = "StartTick")]
struct StartTickShape(u64);

/// The shape of an `Option` is that of its value, or null.
macro_rules! optional {
    ($($module:ident: $type:ty, $shape:literal;)*) => {$(
        mod $module {
            use super::*;
            use serde::{Deserializer, Serializer};

            #[derive(Serialize, Deserialize)]
            struct Value(#[serde(with = $shape)] $type);

            pub(super) fn serialize<S: Serializer>(value: &Option<$type>, serializer: S) -> Result<S::Ok, S::Error> {
                value.clone().map(Value).serialize(serializer)
            }

            pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<$type>, D::Error> {
                Ok(Option::<Value>::deserialize(from)?.map(|value| value.0))
            }
        }
    )*};
}

optional! {
    maybe_pid: Pid, "PidShape";
    maybe_time: KernelTime, "KernelTimeShape";
    maybe_signal: Signal, "signal";
    maybe_identity: Identity, "IdentityShape";
    maybe_pod: PodFacts, "PodShape";
    maybe_workload: Workload, "WorkloadShape";
    maybe_facts: Arc<ContainerFacts>, "facts";
}

/// What several containers share is written for each.
mod facts {
    use super::{Arc, ContainerFacts, FactsShape};
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(facts: &Arc<ContainerFacts>, serializer: S) -> Result<S::Ok, S::Error> {
        FactsShape::serialize(facts, serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<ContainerFacts>, D::Error> {
        FactsShape::deserialize(from).map(Arc::new)
    }
}

mod processes {
    use super::{Deserialize, SeenProcess, SeenProcessShape, Serialize};
    use serde::{Deserializer, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Seen(#[serde(with = "SeenProcessShape")] SeenProcess);

    pub(super) fn serialize<S: Serializer>(seen: &[SeenProcess], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(seen.iter().copied().map(Seen))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<SeenProcess>, D::Error> {
        Ok(Vec::<Seen>::deserialize(from)?.into_iter().map(|seen| seen.0).collect())
    }
}

/// A signal by its name, as in records.
mod signal {
    use super::{Deserialize, Serialize, Signal};
    use crate::report::json::SignalName;
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(signal: &Signal, serializer: S) -> Result<S::Ok, S::Error> {
        SignalName(*signal).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Signal, D::Error> {
        Ok(SignalName::deserialize(from)?.0)
    }
}

/// A value of a closed set by its name, as in records.
mod name {
    use super::{Deserialize, Serialize};
    use crate::report::json::{Closed, Name};
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<T: Closed, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        Name(*value).serialize(serializer)
    }

    pub(super) fn deserialize<'de, T: Closed, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
        Ok(Name::deserialize(from)?.0)
    }
}

/// Text where it is text; else the bytes, one number each, so that any name reads back as it was.
mod comm {
    use super::{Comm, Deserialize, Serialize};
    use serde::{Deserializer, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Text(String),
        Bytes(Vec<u8>),
    }

    pub(super) fn serialize<S: Serializer>(comm: &Comm, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(comm.as_bytes()) {
            Ok(text) => text.serialize(serializer),
            Err(_) => comm.as_bytes().serialize(serializer),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Comm, D::Error> {
        Ok(match Either::deserialize(from)? {
            Either::Text(text) => Comm::new(text.as_bytes()),
            Either::Bytes(bytes) => Comm::new(&bytes),
        })
    }
}
