//! `signal-trace watch` over the whole run: its records by container, and its recording.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::wait::{until, within};
use crate::child;

/// How long another watch on this machine is waited for.
const OTHERS_END_WITHIN: Duration = Duration::from_mins(10);

/// It is given what a watcher needs and nothing else.
const LEAST: [&str; 3] = ["setpriv", "--bounding-set", "-all,+bpf,+perfmon"];

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Follow {
    Containers,
    /// systemd's services too.
    Services,
}

/// It runs, until it is finished.
pub(crate) struct Watch {
    process: Child,
    output: PathBuf,
    errors: PathBuf,
    pub(crate) recording: PathBuf,
}

/// What it said in the end.
pub(crate) struct Said {
    /// One a shutdown.
    pub(crate) records: Vec<Value>,
    /// Standard output and standard error, as they were.
    pub(crate) raw: Vec<u8>,
    /// The closing counts.
    pub(crate) closing: String,
}

impl Watch {
    pub(crate) fn start(product: &Path, directory: &Path, follow: Follow) -> Result<Self> {
        // There is one watch a machine, and another may be about to end.
        let attempt = within(OTHERS_END_WITHIN, || match Self::attempt(product, directory, follow) {
            Ok(watch) => Ok(Some(watch)),
            Err(error) if error.to_string().contains("already runs") => Ok(None),
            Err(error) => Err(error),
        });
        attempt?.context("another signal-trace watch runs on this machine: stop that one first")
    }

    fn attempt(product: &Path, directory: &Path, follow: Follow) -> Result<Self> {
        let at = |name: &str| directory.join(name);
        let recording = at("recording.jsonl");
        let mut command = Command::new(LEAST[0]);
        command
            .args(&LEAST[1..])
            .arg(product)
            .args(["watch", "--json", "--record"])
            .arg(&recording)
            .stdin(Stdio::null());
        command.args((follow == Follow::Services).then_some("--services"));
        command.stdout(File::create(at("records.jsonl"))?).stderr(File::create(at("watch.log"))?);
        let process = command.spawn().with_context(|| format!("{} does not start", product.display()))?;
        let mut watch = Self { process, output: at("records.jsonl"), errors: at("watch.log"), recording };
        until("watch is ready", || {
            let said = fs::read_to_string(&watch.errors).unwrap_or_default();
            if let Some(status) = watch.process.try_wait()? {
                bail!("watch ended with {status} before it was ready: {}", said.trim());
            }
            Ok(said.starts_with("ready: ").then_some(()))
        })?;
        Ok(watch)
    }

    /// The containers that have had their verdict so far.
    pub(crate) fn judged(&self) -> Result<Vec<String>> {
        let records = parse(&fs::read(&self.output)?)?;
        Ok(records.iter().filter_map(|record| Some(record["container"]["id"].as_str()?.to_owned())).collect())
    }

    /// Ends it as an operator would.
    pub(crate) fn finish(mut self) -> Result<Said> {
        child::read(Command::new("kill").arg(self.process.id().to_string()))?;
        let status = until("watch ends", || Ok(self.process.try_wait()?))?;
        let (output, errors) = (fs::read(&self.output)?, fs::read(&self.errors)?);
        let closing = String::from_utf8_lossy(&errors).into_owned();
        ensure!(status.success(), "watch ended with {status}: {closing}");
        Ok(Said { records: parse(&output)?, raw: [output, errors].concat(), closing })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Whole lines only: the last may still be written.
fn parse(output: &[u8]) -> Result<Vec<Value>> {
    let end = output.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let lines = output[..end].split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).context("a line of watch is no JSON")).collect()
}

/// The lines of a recording that have to do with a container, and of others only that they are there, where it met them.
pub(crate) fn excerpt(recording: &Path, container: &str) -> Result<String> {
    let text = fs::read_to_string(recording).with_context(|| format!("cannot read {}", recording.display()))?;
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let lines: Vec<(&str, Value)> = whole.map(|line| Ok((line, serde_json::from_str(line)?))).collect::<Result<_>>()?;
    let own = lines.iter().filter_map(|(_, value)| cgroup(value)).find(|c| c["container"]["id"] == container);
    let own = own.and_then(|cgroup| cgroup["id"].as_u64());
    let mut met = BTreeSet::from_iter(own);
    let its: Vec<bool> = lines
        .iter()
        .map(|(_, value)| {
            let mut ids = BTreeSet::new();
            collect(&value["input"], &CGROUPS, &mut ids);
            let its = own.is_some_and(|own| ids.contains(&own));
            if its {
                met.append(&mut ids);
                collect(&value["input"], &["pid"], &mut met);
            }
            its
        })
        .collect();
    let keep = |value: &Value| {
        let input = &value["input"];
        let known = |id: &Value| id.as_u64().is_some_and(|id| met.contains(&id));
        match cgroup(value) {
            Some(cgroup) => cgroup["container"].is_null() || known(&cgroup["id"]),
            None => {
                !value["schema"].is_null() || !input["lost"].is_null() || known(&input["event"]["kind"]["oom_mark"])
            }
        }
    };
    Ok(lines.iter().zip(its).filter(|((_, value), its)| *its || keep(value)).map(|((line, _), _)| *line).collect())
}

/// What an input says of a cgroup that is there.
fn cgroup(line: &Value) -> Option<&Value> {
    let change = &line["input"]["cgroup"];
    change.get("made").or_else(|| change.get("present"))
}

/// Where ids of cgroups stand.
const CGROUPS: [&str; 7] = ["cgroup", "container", "id", "parent", "parent_cgroup", "cgroup_gone", "gone"];

/// The numbers at these keys, anywhere in a value.
fn collect(value: &Value, keys: &[&str], into: &mut BTreeSet<u64>) {
    match value {
        Value::Object(fields) => {
            into.extend(
                fields.iter().filter(|(key, _)| keys.contains(&&***key)).filter_map(|(_, value)| value.as_u64()),
            );
            fields.values().for_each(|value| collect(value, keys, into));
        }
        // A spec is a list: of the id, and what it says.
        Value::Array(values) => {
            into.extend(values.iter().filter_map(Value::as_u64));
            values.iter().for_each(|value| collect(value, keys, into));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unfinished_line_waits() {
        assert_eq!(parse(b"{\"a\":1}\n{\"a\"").unwrap(), [serde_json::json!({"a": 1})]);
        assert!(parse(b"a\n").is_err());
    }

    #[test]
    fn an_excerpt_is_about_one_container() {
        let file = std::env::temp_dir().join(format!("zoo-excerpt-{}", std::process::id()));
        let lines = [
            r#"{"schema":"s"}"#,
            r#"{"now":1,"input":{"cgroup":{"made":{"id":7,"container":{"id":"mine"}}}}}"#,
            r#"{"now":1,"input":{"cgroup":{"made":{"id":8,"container":{"id":"other"}}}}}"#,
            r#"{"now":2,"input":{"processes":{"container":8}}}"#,
            r#"{"now":2,"input":{"processes":{"container":7}}}"#,
            r#"{"now":3,"input":{"event":{"kind":{"exit":{"task":{"cgroup":7}}}}}}"#,
            r#"{"now":3,"input":{"event":{"kind":{"exit":{"task":{"cgroup":8,"key":{"pid":7}}}}}}}"#,
            r#"{"now":4,"input":{"lost":"bulk"}}"#,
            r#"{"now":5,"input":{"event":{"kind":{"signal":{"sender":{"cgroup":9},"target":{"cgroup":7}}}}}}"#,
            r#"{"now":6,"input":{"cgroup":{"present":{"id":9,"container":{"id":"met"}}}}}"#,
        ];
        fs::write(&file, lines.map(|line| format!("{line}\n")).concat()).unwrap();
        let excerpt = excerpt(&file, "mine");
        fs::remove_file(&file).unwrap();
        let kept: Vec<_> = [0, 1, 4, 5, 7, 8, 9].map(|index: usize| lines[index]).into();
        assert_eq!(excerpt.unwrap().lines().collect::<Vec<_>>(), kept);
    }
}
