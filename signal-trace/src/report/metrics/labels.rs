//! Whose: the label sets of the series that belong to a workload.
//!
//! Label values are names that strangers chose. They are cut here; the encoder escapes them. Ids, images and process
//! names are never labels: they would make a series of every container.

use std::sync::Arc;

use prometheus_client::encoding::{EncodeLabel, EncodeLabelSet, LabelSetEncoder};

use crate::containers::Runtime;
use crate::judge::shutdown::{ContainerFacts, KilledBy, Verdict};

/// Bytes of one label value: the longest name that Kubernetes allows.
const MAX_VALUE: usize = 253;
/// What stands in every label of the set that takes what found no room. No name in Kubernetes can be it.
const OTHER: &str = "_other";

/// Whether series are also told apart by the pod's name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PodLabel {
    /// No: a series belongs to a container of a workload.
    #[default]
    Off,
    /// Yes: every pod has its own, and makes new series when it is replaced.
    On,
}

/// A container of a workload.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Labels {
    namespace: String,
    workload: String,
    workload_type: String,
    container: String,
    pod: Option<String>,
}

impl Labels {
    /// Of a container. A pod that nothing owns is its own workload; outside Kubernetes there is none, and all that is
    /// known is the container's name, or the unit's.
    pub(super) fn of(facts: &ContainerFacts, pod_label: PodLabel) -> Self {
        let name = match (&facts.name, facts.runtime) {
            (Some(name), _) => name.as_str(),
            (None, Runtime::Systemd) => facts.id.as_str(),
            (None, _) => "",
        };
        let mut labels = Self {
            namespace: String::new(),
            workload: String::new(),
            workload_type: String::new(),
            container: cut(name),
            pod: match pod_label {
                PodLabel::Off => None,
                PodLabel::On => Some(String::new()),
            },
        };
        if let Some(pod) = &facts.pod {
            let (kind, workload) = match &pod.workload {
                Some(workload) => (workload.kind.as_str(), workload.name.as_str()),
                None => ("pod", pod.name.as_str()),
            };
            labels.namespace = cut(&pod.namespace);
            labels.workload = cut(workload);
            labels.workload_type = cut(&kind.to_ascii_lowercase());
            labels.pod = labels.pod.map(|_| cut(&pod.name));
        }
        labels
    }

    /// The set for what found no room.
    pub(super) fn other(pod_label: PodLabel) -> Self {
        let other = || OTHER.to_owned();
        let pod = match pod_label {
            PodLabel::Off => None,
            PodLabel::On => Some(other()),
        };
        Self { namespace: other(), workload: other(), workload_type: other(), container: other(), pod }
    }
}

impl EncodeLabelSet for Labels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        ("namespace", self.namespace.as_str()).encode(encoder.encode_label())?;
        ("workload", self.workload.as_str()).encode(encoder.encode_label())?;
        ("workload_type", self.workload_type.as_str()).encode(encoder.encode_label())?;
        ("container", self.container.as_str()).encode(encoder.encode_label())?;
        match &self.pod {
            Some(pod) => ("pod", pod.as_str()).encode(encoder.encode_label()),
            None => Ok(()),
        }
    }
}

/// A container of a workload, and nothing else.
#[derive(Debug)]
pub(super) struct Whose(pub(super) Arc<Labels>);

impl EncodeLabelSet for Whose {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        self.0.encode(encoder)
    }
}

/// A container of a workload, and what became of it.
#[derive(Debug)]
pub(super) struct WhoseVerdict(pub(super) Arc<Labels>, pub(super) Verdict);

impl EncodeLabelSet for WhoseVerdict {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Self(labels, Verdict { outcome, cause }) = self;
        labels.encode(encoder)?;
        ("outcome", outcome.name()).encode(encoder.encode_label())?;
        ("cause", cause.name()).encode(encoder.encode_label())
    }
}

/// A container of a workload, and who killed its processes.
#[derive(Debug)]
pub(super) struct WhoseKiller(pub(super) Arc<Labels>, pub(super) KilledBy);

impl EncodeLabelSet for WhoseKiller {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Self(labels, by) = self;
        labels.encode(encoder)?;
        ("by", by.name()).encode(encoder.encode_label())
    }
}

/// One label with a value of ours.
#[derive(Debug)]
pub(super) struct One(pub(super) &'static str, pub(super) &'static str);

impl EncodeLabelSet for One {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        (self.0, self.1).encode(encoder.encode_label())
    }
}

fn cut(value: &str) -> String {
    value[..value.floor_char_boundary(MAX_VALUE)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::CgroupId;
    use crate::judge::shutdown::{PodFacts, Workload};

    #[test]
    fn a_deployment_is_named_by_its_kind_in_lower_case() {
        let labels = Labels::of(&facts(), PodLabel::Off);
        assert_eq!(values(&labels), ["shop", "cart", "deployment", "app"]);
        assert_eq!(labels.pod, None);
        assert_eq!(Labels::of(&facts(), PodLabel::On).pod.as_deref(), Some("cart-7d9f-x2k"));
    }

    #[test]
    fn a_bare_pod_is_its_own_workload() {
        let mut facts = facts();
        facts.pod.as_mut().unwrap().workload = None;
        assert_eq!(values(&Labels::of(&facts, PodLabel::Off)), ["shop", "cart-7d9f-x2k", "pod", "app"]);
    }

    #[test]
    fn outside_kubernetes_only_a_name_is_left_and_never_an_id() {
        let docker = ContainerFacts { pod: None, ..facts() };
        assert_eq!(values(&Labels::of(&docker, PodLabel::Off)), ["", "", "", "app"]);
        assert_eq!(Labels::of(&docker, PodLabel::On).pod.as_deref(), Some(""));
        let nameless = ContainerFacts { name: None, ..docker.clone() };
        assert_eq!(values(&Labels::of(&nameless, PodLabel::Off)), ["", "", "", ""]);
        let unit = ContainerFacts { runtime: Runtime::Systemd, id: "nginx.service".into(), ..nameless };
        assert_eq!(values(&Labels::of(&unit, PodLabel::Off)), ["", "", "", "nginx.service"]);
    }

    #[test]
    fn long_values_are_cut_between_characters() {
        let long = ContainerFacts { name: Some("é".repeat(200)), pod: None, ..facts() };
        assert_eq!(Labels::of(&long, PodLabel::Off).container, "é".repeat(126));
    }

    fn values(labels: &Labels) -> [&str; 4] {
        [&labels.namespace, &labels.workload, &labels.workload_type, &labels.container]
    }

    fn facts() -> ContainerFacts {
        ContainerFacts {
            cgroup: CgroupId(7),
            cgroup_path: "/kubepods/x".into(),
            runtime: Runtime::Containerd,
            id: "5bd7".into(),
            name: Some("app".into()),
            image: None,
            pod: Some(PodFacts {
                namespace: "shop".into(),
                name: "cart-7d9f-x2k".into(),
                uid: "u".into(),
                revision: None,
                workload: Some(Workload { kind: "Deployment".into(), name: "cart".into() }),
            }),
        }
    }
}
