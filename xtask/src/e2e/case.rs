//! A case: what is put on the node, what is done to it, and what must be said about it. One YAML file each below
//! `xtask/e2e/cases/`, named after it; this is their form, and a key that is not in it is refused.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{images, node, pattern};

/// How long a case may take once its pods are wanted, where it does not say.
const WITHIN: u64 = 120;

/// One case.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    /// Its file's stem; the namespace is called after it.
    #[serde(skip)]
    pub(crate) name: String,
    /// One line for people.
    pub(crate) about: String,
    /// Part of the short run.
    #[serde(default)]
    pub(crate) quick: bool,
    /// Has the node for itself, after all others: it would slow them down.
    #[serde(default)]
    pub(crate) alone: bool,
    /// Is about what the agent infers from when things happen, which an emulated machine cannot keep to.
    #[serde(default)]
    pub(crate) prompt: bool,
    /// Created in the case's own namespace, before any step.
    #[serde(default)]
    pub(crate) manifests: Vec<Value>,
    /// Done in this order. Before the first, the pods among the manifests are waited for.
    #[serde(default)]
    pub(crate) steps: Vec<Step>,
    /// All records of the namespace, and none beside them.
    #[serde(default)]
    pub(crate) verdicts: Vec<Expected>,
    /// Series beyond the count of the verdicts, which is always checked.
    #[serde(default)]
    pub(crate) metrics: Vec<Series>,
    /// The pods among the manifests become ready before the first step.
    #[serde(default = "yes")]
    pub(crate) ready: bool,
    /// Seconds, from its start to the last of what is expected.
    #[serde(default = "within")]
    pub(crate) within: u64,
}

/// Something that is done.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Step {
    /// `kubectl` in the case's namespace.
    Kubectl(Words),
    /// `ctr` in containerd's namespace of the kubelet; `@POD/CONTAINER` stands for a container's id.
    Ctr(Words),
    /// An object is posted to a path of the API, where `@NS` stands for the namespace.
    Post {
        /// Of the API server.
        path: String,
        /// As it is sent.
        body: Value,
    },
    /// A manifest for the kubelet itself: a static pod.
    Static {
        /// What the file is called.
        file: String,
        /// What is in it.
        manifest: Value,
    },
    /// Such a file is removed.
    Remove(String),
    /// Waits for pods.
    Until(Until),
    /// Waits for a record like this one.
    Record(Value),
}

/// A command's arguments: a text without blanks in its words, or the list of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Words {
    /// Words that hold no blanks.
    Text(String),
    /// Any words.
    List(Vec<String>),
}

/// A number of pods in a state.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Until {
    /// Their names, with `*` for any text.
    #[serde(default = "any")]
    pub(crate) pods: String,
    /// How many there are.
    #[serde(default = "one")]
    pub(crate) count: usize,
    /// What they all are.
    pub(crate) are: State,
}

/// What a pod can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// All its containers run and are ready.
    Ready,
    /// Started, ready or not.
    Running,
    /// Ended well.
    Succeeded,
    /// Ended badly.
    Failed,
    /// Somebody asked to delete it.
    Terminating,
    /// One of its containers runs for the second time at least, and all are ready.
    Restarted,
    /// No longer there: `count` does not matter.
    Gone,
}

/// A verdict, or several alike.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expected {
    /// What the record looks like, in its own words (see `pattern`).
    pub(crate) record: Value,
    /// The reason of the Kubernetes event; without it there is none.
    #[serde(default)]
    pub(crate) event: Option<String>,
    /// How many records there are of it.
    #[serde(default = "one")]
    pub(crate) times: usize,
    /// Whether the metrics count it.
    #[serde(default = "yes")]
    pub(crate) counted: bool,
}

/// The value of a metric.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Series {
    /// Its name.
    pub(crate) metric: String,
    /// Labels beside the namespace's; all series that have them are added up.
    #[serde(default)]
    pub(crate) labels: std::collections::BTreeMap<String, String>,
    /// What it is: a number or a range.
    pub(crate) is: Value,
}

impl Case {
    /// All of a directory's, in the order of their names.
    pub(crate) fn all(directory: &Path) -> Result<Vec<Self>> {
        let files = std::fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
        let mut paths = files.map(|file| Ok(file?.path())).collect::<Result<Vec<_>>>()?;
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
        paths.sort();
        paths.iter().map(|path| Self::read(path)).collect()
    }

    fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        Self::parse(&name, &text).with_context(|| format!("{} is no case", path.display()))
    }

    /// The same on a machine on which everything takes so many times longer.
    pub(crate) fn slow_down(&mut self, times: u32) {
        let stretch = |value: &mut Value| *value = pattern::stretched(value, times.into());
        self.within *= u64::from(times);
        self.verdicts.iter_mut().for_each(|expected| stretch(&mut expected.record));
        self.metrics.iter_mut().for_each(|series| stretch(&mut series.is));
    }

    /// Reads the text of a case called `name`.
    pub(crate) fn parse(name: &str, text: &str) -> Result<Self> {
        let mut case: Self = serde_saphyr::from_str(text)?;
        name.clone_into(&mut case.name);
        let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        ensure!(name.chars().all(letters) && name.len() <= 50, "{name} cannot name a namespace");
        ensure!(!case.about.is_empty() && !case.about.contains('\n'), "`about` is one line");
        let kinds = case.manifests.iter().all(|manifest| manifest["kind"].is_string());
        ensure!(kinds, "every manifest has a kind");
        for expected in &case.verdicts {
            ensure!(expected.times > 0, "a verdict that is expected 0 times is left out");
            ensure!(expected.record["outcome"].is_string(), "every verdict says its outcome");
            ensure!(expected.record["cause"].is_string(), "every verdict says its cause");
        }
        case.manifests.iter_mut().for_each(tolerate);
        Ok(case)
    }

    /// Whether it does something to the node or the cluster itself, which only our own has to bear, or needs what only
    /// that has.
    pub(crate) fn is_for_our_node(&self) -> bool {
        let ours =
            |manifest: &Value| manifest["kind"] == "PriorityClass" || manifest.to_string().contains(images::TOOLS_QUIT);
        let touches = |step: &Step| match step {
            Step::Ctr(_) | Step::Static { .. } | Step::Remove(_) => true,
            Step::Kubectl(words) => words.each(str::to_owned).iter().any(|word| word == node::NAME),
            Step::Post { .. } | Step::Until(_) | Step::Record(_) => false,
        };
        self.alone || self.manifests.iter().any(ours) || self.steps.iter().any(touches)
    }

    /// The names of the pods among the manifests.
    pub(crate) fn pods(&self) -> impl Iterator<Item = &str> {
        let pods = self.manifests.iter().filter(|manifest| manifest["kind"] == "Pod");
        pods.filter_map(|pod| pod["metadata"]["name"].as_str())
    }
}

impl Words {
    /// One by one, with `replace` applied to each.
    pub(crate) fn each(&self, replace: impl Fn(&str) -> String) -> Vec<String> {
        match self {
            Self::Text(text) => text.split_whitespace().map(replace).collect(),
            Self::List(words) => words.iter().map(|word| replace(word)).collect(),
        }
    }
}

/// Pods that say nothing of taints bear all: what one case does to the node is no other case's affair. And none of them
/// speaks to the API server: without a token there is less that their start has to wait for.
fn tolerate(manifest: &mut Value) {
    match manifest {
        Value::Object(fields) => {
            if fields.get("containers").is_some_and(Value::is_array) && !fields.contains_key("tolerations") {
                fields.insert("tolerations".into(), json!([{"operator": "Exists"}]));
            }
            if fields.get("containers").is_some_and(Value::is_array) {
                fields.entry("automountServiceAccountToken").or_insert(json!(false));
            }
            fields.values_mut().for_each(tolerate);
        }
        Value::Array(values) => values.iter_mut().for_each(tolerate),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn yes() -> bool {
    true
}

fn within() -> u64 {
    WITHIN
}

fn one() -> usize {
    1
}

fn any() -> String {
    "*".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CASE: &str = r#"
about: a shell around the program
quick: true
manifests:
  - {apiVersion: v1, kind: Pod, metadata: {name: wrapper}, spec: {containers: [{name: app}]}}
  - kind: Deployment
    spec: {template: {spec: {containers: [], tolerations: []}}}
steps:
  - until: {pods: "web-*", count: 2, are: ready}
  - kubectl: delete pod wrapper --wait=false
  - kubectl: [exec, wrapper, --, sh, -c, "kill 1"]
  - record: {outcome: graceful}
  - post: {path: /x, body: {}}
  - remove: file.yaml
verdicts:
  - record: {outcome: grace_exceeded, cause: not_forwarded, stop_to_kill_seconds: 3.9..4.5}
    event: StopSignalNotForwarded
    times: 2
metrics:
  - {metric: signal_trace_processes_killed_total, labels: {by: teardown}, is: 1}
"#;

    #[test]
    fn a_case_is_read() {
        let case = Case::parse("a-case", CASE).unwrap();
        assert!(case.quick && case.ready);
        assert_eq!(case.within, WITHIN);
        assert_eq!(case.pods().collect::<Vec<_>>(), ["wrapper"]);
        let Step::Kubectl(words) = &case.steps[2] else { panic!("{:?}", case.steps[2]) };
        assert_eq!(words.each(str::to_owned).last().unwrap(), "kill 1");
        assert_eq!(case.verdicts[0].record["stop_to_kill_seconds"], "3.9..4.5");
    }

    #[test]
    fn pods_bear_every_taint_unless_they_say_something_about_it() {
        let case = Case::parse("a", CASE).unwrap();
        assert_eq!(case.manifests[0]["spec"]["tolerations"], json!([{"operator": "Exists"}]));
        assert_eq!(case.manifests[1]["spec"]["template"]["spec"]["tolerations"], json!([]));
    }

    #[test]
    fn a_key_that_nobody_knows_is_named() {
        for (known, wrong) in [
            ("quick: true", "quik: true"),
            ("- until: {pods:", "- until: {pod:"),
            ("- kubectl: delete", "- kubctl: delete"),
            ("event: Stop", "reason: Stop"),
            ("labels: {by", "label: {by"),
        ] {
            let text = CASE.replacen(known, wrong, 1);
            let error = Case::parse("a", &text).unwrap_err();
            let key = wrong.trim_start_matches("- ").split([':', ' ']).next().unwrap();
            let key = if key == "until" { "pod" } else { key };
            assert!(format!("{error:#}").contains(key), "{wrong}: {error:#}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (good, bad, complaint) in [
            ("cause: not_forwarded, ", "", "its cause"),
            ("times: 2", "times: 0", "0 times"),
            ("are: ready", "are: fine", "fine"),
            ("kind: Deployment", "name: x", "a kind"),
        ] {
            let error = Case::parse("a", &CASE.replacen(good, bad, 1)).unwrap_err();
            assert!(format!("{error:#}").contains(complaint), "{bad}: {error:#}");
        }
        assert!(Case::parse("Not_a_namespace", CASE).is_err());
    }

    #[test]
    fn every_case_of_the_project_is_one() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/cases");
        let cases = Case::all(&directory).unwrap();
        assert!(cases.len() >= 40, "{}", cases.len());
        assert!((12..=16).contains(&cases.iter().filter(|case| case.quick).count()));
    }
}
