//! The closed sets of label values: what happened to the agent itself is told apart by these and nothing else.

use crate::event::EventKind;

/// A closed set of names for one label, in the order of their numbers.
macro_rules! names {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            /// All of them.
            pub const ALL: [Self; [$($text),+].len()] = [$(Self::$variant),+];

            /// Its name as a label value.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }
    };
}

names! {
    /// The kinds of records that the kernel programs write.
    KernelEvent {
        /// A signal was generated.
        Signal = "signal",
        /// A process was born.
        Fork = "fork",
        /// A process moved to another cgroup.
        Move = "move",
        /// A process ended.
        Exit = "exit",
        /// The OOM killer chose a process.
        OomMark = "oom_mark",
        /// A cgroup was made.
        CgroupMade = "cgroup_made",
        /// A cgroup is gone.
        CgroupGone = "cgroup_gone",
    }
}

names! {
    /// Why a record of the kernel programs was lost.
    LossReason {
        /// The ring of bulk records had no room.
        RingFull = "ring_full",
        /// The ring of stop signals and of init's exits had no room.
        InitRingFull = "init_ring_full",
        /// A map had no room.
        MapFull = "map_full",
        /// A record came that is not one.
        ShortRecord = "short_record",
        /// The kernel skipped a program, because it was running already.
        ProgramSkipped = "program_skipped",
    }
}

names! {
    /// Why it is not known whose a shutdown was.
    Unattributed {
        /// No pod has the container's cgroup.
        NoPod = "no_pod",
        /// The pod names no container of that id.
        NoContainerId = "no_container_id",
        /// The runtime hides its containers from the kernel.
        UnsupportedRuntime = "unsupported_runtime",
        /// The names came after the wait for them had ended.
        MetadataLate = "metadata_late",
        /// The names had been forgotten.
        Expired = "expired",
    }
}

names! {
    /// What became of a Kubernetes event.
    KubeEvent {
        /// A new one was written.
        Written = "written",
        /// One that repeats was updated.
        Updated = "updated",
        /// Its namespace is ending, or gone.
        DroppedNamespaceGone = "dropped_namespace_gone",
        /// There were too many.
        DroppedRate = "dropped_rate",
        /// The queue was full.
        DroppedQueue = "dropped_queue",
        /// The API server finds it invalid.
        Rejected = "rejected",
        /// It could not be written.
        Failed = "failed",
    }
}

names! {
    /// What found no room within a bound of the agent, beside what other metrics count.
    Refused {
        /// A cgroup, so that its container is not followed.
        Cgroups = "cgroups",
        /// A pod or a container of one: its shutdowns have no names.
        Pods = "pods",
        /// The wait of a verdict for its names: it was told without.
        Waits = "waits",
        /// A question to the API server whose a pod is: asked again with a later change of it.
        OwnerQuestions = "owner_questions",
        /// A line of the log of records: nobody read it, or it could not be written.
        Records = "records",
        /// A request for /debug/containers.
        PageQuestions = "page_questions",
    }
}

impl From<&EventKind> for KernelEvent {
    fn from(kind: &EventKind) -> Self {
        match kind {
            EventKind::Signal(_) => Self::Signal,
            EventKind::Fork(_) => Self::Fork,
            EventKind::Move(_) => Self::Move,
            EventKind::Exit(_) => Self::Exit,
            EventKind::OomMark(_) => Self::OomMark,
            EventKind::CgroupMade { .. } => Self::CgroupMade,
            EventKind::CgroupGone(_) => Self::CgroupGone,
        }
    }
}
