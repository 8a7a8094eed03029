//! What can be set, by flag, by environment variable or in a file: one list for all three.
//!
//! Nothing is checked here but its form; see [`super::settings`] for what comes of it. A flag goes before its variable,
//! a variable before the file, the file before the default.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use serde::{Deserialize, Serialize};

/// Fifty times what it takes on a busy node.
pub(super) const CPU_LIMIT: u32 = 50;

/// Every option; what is not set is not there. In the file each has its field's name in camel case: `nodeName`.
#[derive(Args, Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Options {
    /// The node whose pods are watched, as Kubernetes names it; without it, this machine's host name
    #[arg(long, env = "NODE_NAME", value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,

    /// How to reach the API server; without it, $KUBECONFIG, ~/.kube/config or the pod's service account
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubeconfig: Option<PathBuf>,

    /// Where /metrics and the other pages are served [default: 0.0.0.0:9469]
    #[arg(long, env = "SIGNAL_TRACE_LISTEN", value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,

    /// A bearer token that /shutdowns and /debug/containers ask for; without it they answer the loopback alone
    #[arg(long, env = "SIGNAL_TRACE_TOKEN_FILE", value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,

    /// Whether /metrics asks for that token too; probes never do [default: false]
    #[arg(
        long,
        env = "SIGNAL_TRACE_TOKEN_FOR_METRICS",
        value_name = "BOOL",
        num_args = 0..=1,
        default_missing_value = "true"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_for_metrics: Option<bool>,

    /// A certificate with its chain, in PEM: then all pages are served over TLS alone. It is read again as it is renewed
    #[arg(long, env = "SIGNAL_TRACE_TLS_CERTIFICATE", value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_certificate: Option<PathBuf>,

    /// The certificate's private key, in PEM
    #[arg(long, env = "SIGNAL_TRACE_TLS_KEY", value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_key: Option<PathBuf>,

    /// Only pods of this namespace; * stands for any text. Repeatable
    #[arg(long = "namespace", env = "SIGNAL_TRACE_NAMESPACES", value_delimiter = ',', value_name = "NAME")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,

    /// No pods of this namespace; * stands for any text. Repeatable
    #[arg(
        long = "exclude-namespace",
        env = "SIGNAL_TRACE_EXCLUDE_NAMESPACES",
        value_delimiter = ',',
        value_name = "NAME"
    )]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exclude_namespaces: Vec<String>,

    /// Only pods with such a label: KEY=VALUE, KEY!=VALUE, KEY or !KEY. Repeatable, all must hold
    #[arg(long, env = "SIGNAL_TRACE_POD_SELECTOR", value_delimiter = ',', value_name = "LABEL")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pod_selector: Vec<String>,

    /// Whether Kubernetes events are written about shutdowns that did not go well [default: true]
    #[arg(long, env = "SIGNAL_TRACE_EVENTS", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<bool>,

    /// No events about verdicts with this outcome or cause. Repeatable
    #[arg(long = "no-event-for", env = "SIGNAL_TRACE_NO_EVENT_FOR", value_delimiter = ',', value_name = "NAME")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub no_event_for: Vec<String>,

    /// Whether metrics have a label `pod`: new series for every pod [default: false]
    #[arg(long, env = "SIGNAL_TRACE_POD_LABEL", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_label: Option<bool>,

    /// Containers of workloads that have series of their own; those beyond share one [default: 1000]
    #[arg(long, env = "SIGNAL_TRACE_LABEL_SETS", value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_sets: Option<usize>,

    /// Whether names are also read from the runtime's bundles, which hold the containers' environments [default: false]
    #[arg(long, env = "SIGNAL_TRACE_BUNDLES", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bundles: Option<bool>,

    /// Where a runtime keeps its state, if not in a usual place: the folder with io.containerd.runtime.v2.task or
    /// overlay-containers in it. Repeatable, implies --bundles
    #[arg(long, env = "SIGNAL_TRACE_RUNTIME_STATE", value_delimiter = ',', value_name = "FOLDER")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub runtime_state: Vec<PathBuf>,

    /// The host's /proc, where it is mounted elsewhere [default: /proc]
    #[arg(long, env = "SIGNAL_TRACE_PROC", value_name = "FOLDER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proc: Option<PathBuf>,

    /// Percent of a core that the programs and reading what they say may take over half a minute; above it they are
    /// detached, and the agent is not ready until it is started anew. 0 is no bound [default: 50]
    #[arg(long, env = "SIGNAL_TRACE_CPU_LIMIT", value_name = "PERCENT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_limit: Option<u32>,

    /// Whether privileges are given up once the programs are attached: capabilities, files and system calls; false to look
    /// for a fault [default: true]
    #[arg(long, env = "SIGNAL_TRACE_CONFINE", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confine: Option<bool>,
}

impl Options {
    /// These, and where they say nothing, those.
    #[must_use]
    pub fn or(self, file: Self) -> Self {
        fn list<T>(ours: Vec<T>, theirs: Vec<T>) -> Vec<T> {
            if ours.is_empty() { theirs } else { ours }
        }
        Self {
            node_name: self.node_name.or(file.node_name),
            kubeconfig: self.kubeconfig.or(file.kubeconfig),
            listen: self.listen.or(file.listen),
            token_file: self.token_file.or(file.token_file),
            token_for_metrics: self.token_for_metrics.or(file.token_for_metrics),
            tls_certificate: self.tls_certificate.or(file.tls_certificate),
            tls_key: self.tls_key.or(file.tls_key),
            namespaces: list(self.namespaces, file.namespaces),
            exclude_namespaces: list(self.exclude_namespaces, file.exclude_namespaces),
            pod_selector: list(self.pod_selector, file.pod_selector),
            events: self.events.or(file.events),
            no_event_for: list(self.no_event_for, file.no_event_for),
            pod_label: self.pod_label.or(file.pod_label),
            label_sets: self.label_sets.or(file.label_sets),
            bundles: self.bundles.or(file.bundles),
            runtime_state: list(self.runtime_state, file.runtime_state),
            proc: self.proc.or(file.proc),
            cpu_limit: self.cpu_limit.or(file.cpu_limit),
            confine: self.confine.or(file.confine),
        }
    }

    /// With the defaults where nothing is set, but for those that depend on the machine.
    #[must_use]
    pub fn or_default(self) -> Self {
        let bundles = !self.runtime_state.is_empty();
        self.or(Self {
            listen: Some(SocketAddr::from(([0, 0, 0, 0], 9469))),
            events: Some(true),
            pod_label: Some(false),
            label_sets: Some(1000),
            bundles: Some(bundles),
            proc: Some("/proc".into()),
            cpu_limit: Some(CPU_LIMIT),
            confine: Some(true),
            ..Self::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_goes_before_the_file_and_the_file_before_the_default() {
        let flags = Options { events: Some(false), namespaces: vec!["shop".into()], ..Options::default() };
        let file = Options {
            events: Some(true),
            pod_label: Some(true),
            namespaces: vec!["bank".into()],
            no_event_for: vec!["no_handler".into()],
            ..Options::default()
        };
        let all = flags.or(file).or_default();
        assert_eq!((all.events, all.pod_label, all.bundles), (Some(false), Some(true), Some(false)));
        assert_eq!((all.namespaces, all.no_event_for), (vec!["shop".to_owned()], vec!["no_handler".to_owned()]));
        assert_eq!(all.listen, Some("0.0.0.0:9469".parse().unwrap()));
    }

    #[test]
    fn a_folder_of_a_runtime_asks_for_bundles() {
        let named = Options { runtime_state: vec!["/srv/containerd".into()], ..Options::default() };
        assert_eq!(named.clone().or_default().bundles, Some(true));
        assert_eq!(Options { bundles: Some(false), ..named }.or_default().bundles, Some(false));
    }

    #[test]
    fn what_is_printed_is_read_back() {
        let options = Options {
            node_name: Some("worker-1".into()),
            pod_selector: vec!["tier=front".into(), "!legacy".into()],
            token_file: Some("/etc/signal-trace/token".into()),
            ..Options::default()
        }
        .or_default();
        let text = serde_saphyr::to_string(&options).unwrap();
        assert!(text.contains("nodeName: worker-1") && text.contains("podLabel: false"), "{text}");
        assert_eq!(crate::yaml::parse::<Options>(&text, "printed".as_ref()).unwrap(), options);
    }
}
