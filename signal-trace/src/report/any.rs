//! Any shutdown, for properties that hold of all: whatever the judge may say, and what it may not.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::select;

use crate::containers::Runtime;
use crate::event::{CgroupId, Comm, ExitStatus, KernelTime, Pid, Signal};
use crate::judge::shutdown::{
    Cause, Confidence, ContainerFacts, Counts, Delivery, Finding, Grace, GraceSource, InitDisposition, KilledBy,
    Missed, Named, Outcome, PodFacts, Shutdown, Step, StepKind, Trigger, Verdict, Where, Workload,
};

fn named() -> impl Strategy<Value = Named> {
    let comm = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..16),
        any::<[char; 4]>().prop_map(|c| c.iter().collect::<String>().into_bytes())
    ];
    (any::<u32>(), any::<Option<u32>>(), comm).prop_map(|(pid, ns_pid, comm)| Named {
        pid: Pid(pid),
        ns_pid: ns_pid.map(Pid),
        comm: Comm::new(&comm),
    })
}

fn signal() -> impl Strategy<Value = Signal> {
    (1u32..=64).prop_map(|number| Signal::from_number(number).unwrap())
}

fn status() -> impl Strategy<Value = ExitStatus> {
    prop_oneof![any::<u8>().prop_map(ExitStatus::Code), signal().prop_map(ExitStatus::Signal)]
}

fn span() -> impl Strategy<Value = Duration> {
    prop_oneof![any::<u64>().prop_map(Duration::from_nanos), (0u64..100_000_000_000).prop_map(Duration::from_nanos)]
}

fn step() -> impl Strategy<Value = Step> {
    let what = prop_oneof![
        (signal(), named(), select(&Where::ALL), named(), select(&Delivery::ALL))
            .prop_map(|(signal, from, origin, to, result)| StepKind::Signal { signal, from, origin, to, result }),
        (named(), status()).prop_map(|(process, status)| StepKind::Exit { process, status }),
        named().prop_map(|process| StepKind::OomMark { process }),
    ];
    (span(), what).prop_map(|(at, what)| Step { at, what })
}

fn container() -> impl Strategy<Value = ContainerFacts> {
    let runtime = select(&[Runtime::Containerd, Runtime::Crio, Runtime::Docker, Runtime::Systemd, Runtime::Unknown]);
    let workload =
        prop::option::of((any::<String>(), any::<String>()).prop_map(|(kind, name)| Workload { kind, name }));
    let pod = (any::<[String; 3]>(), any::<Option<String>>(), workload)
        .prop_map(|([namespace, name, uid], revision, workload)| PodFacts { namespace, name, uid, revision, workload });
    (any::<u64>(), any::<[String; 2]>(), runtime, any::<[Option<String>; 2]>(), prop::option::of(pod)).prop_map(
        |(cgroup, [cgroup_path, id], runtime, [name, image], pod)| ContainerFacts {
            cgroup: CgroupId(cgroup),
            cgroup_path,
            runtime,
            id,
            name,
            image,
            pod,
        },
    )
}

/// Any shutdown at all, possible or not.
pub(super) fn shutdown() -> impl Strategy<Value = Shutdown> {
    let verdict = (select(&Outcome::ALL), select(&Cause::ALL)).prop_map(|(outcome, cause)| Verdict { outcome, cause });
    let labels = (verdict, select(&Confidence::ALL), select(&Trigger::ALL), select(&InitDisposition::ALL));
    let grace =
        (prop::option::of(span()), select(&GraceSource::ALL)).prop_map(|(period, source)| Grace { period, source });
    let counts =
        any::<[usize; 4]>().prop_map(|[at_stop, leaves, told, killed]| Counts { at_stop, leaves, told, killed });
    let missed = (named(), prop::option::of(named())).prop_map(|(process, broke_at)| Missed { process, broke_at });
    let lists = (
        prop::collection::vec(missed, 0..3),
        prop::collection::vec(select(&Finding::ALL), 0..3),
        prop::collection::vec(step(), 0..6),
        prop::option::of(select(&KilledBy::ALL)),
    );
    let ends = (prop::option::of(signal()), prop::option::of(named()), prop::option::of(status()));
    let spans = (prop::array::uniform5(prop::option::of(span())), any::<[u32; 2]>());
    (container(), labels, (grace, counts, any::<String>(), any::<usize>()), lists, ends, spans).prop_map(
        |(container, labels, (grace, processes, advice, timeline_cut), lists, ends, (spans, [opened, ended]))| {
            Shutdown {
                container: Arc::new(container),
                verdict: labels.0,
                confidence: labels.1,
                trigger: labels.2,
                init_disposition: labels.3,
                stop_signal: ends.0,
                init: ends.1,
                exit: ends.2,
                grace,
                prestop: spans[0],
                opened: KernelTime(u64::from(opened) * 1_001),
                ended: KernelTime(u64::from(ended) * 1_001),
                stop_to_kill: spans[1],
                stop_to_exit: spans[2],
                kill_to_exit: spans[3],
                avoidable_wait: spans[4],
                processes,
                killed_by: lists.3,
                killed: [0; KilledBy::ALL.len()],
                missed: lists.0,
                findings: lists.1,
                advice,
                timeline: lists.2,
                timeline_cut,
            }
        },
    )
}
