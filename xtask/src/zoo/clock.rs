//! The seconds of a record held against the kernel's own clock: the stamps that the kernel programs put on the stop signal,
//! the SIGKILL and the end of init, as the recording has them.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

/// How far a record may be off.
const TOLERANCE_SECONDS: f64 = 0.001;

/// Every signal that a process sent and every end, with the kernel's stamps.
pub(crate) struct Stamps(Vec<Value>);

impl Stamps {
    pub(crate) fn read(recording: &Path) -> Result<Self> {
        let text = fs::read_to_string(recording).with_context(|| format!("cannot read {}", recording.display()))?;
        Ok(Self(text.lines().filter_map(stamp).collect()))
    }

    /// Everything in which a record's seconds differ from the stamps.
    pub(crate) fn faults(&self, record: &Value) -> Vec<String> {
        let (init, cgroup) = (&record["init"]["pid"], &record["container"]["cgroup_id"]);
        let own = |task: &Value| task["key"]["pid"] == *init && task["cgroup"] == *cgroup;
        let sent = |signal: &Value| {
            self.0.iter().find_map(|event| {
                let sent = &event["kind"]["signal"];
                let outside = sent["sender"]["cgroup"] != *cgroup;
                (sent["signal"] == *signal && outside && own(&sent["target"])).then(|| seconds(event)).flatten()
            })
        };
        let stop = sent(&record["stop_signal"]);
        let kill = sent(&"SIGKILL".into());
        let exit = self.0.iter().find(|event| own(&event["kind"]["exit"]["task"])).and_then(seconds);
        [
            ("stop_to_exit_seconds", stop, exit),
            ("stop_to_kill_seconds", stop, kill),
            ("kill_to_exit_seconds", kill, exit),
        ]
        .into_iter()
        .filter_map(|(field, from, to)| {
            let said = record[field].as_f64()?;
            let Some((from, to)) = from.zip(to) else {
                return Some(format!("{field}: {said}, of which the recording has no two ends"));
            };
            let off = (to - from - said).abs();
            (off > TOLERANCE_SECONDS).then(|| format!("{field}: {said}, by the kernel's clock {}", to - from))
        })
        .collect()
    }
}

/// The event of a line that is of use here.
fn stamp(line: &str) -> Option<Value> {
    // Most lines are of no use, and parsing is what takes long.
    if !line.contains(r#""exit":{"task""#) && !line.contains(r#""kernel_made":false"#) {
        return None;
    }
    let mut line: Value = serde_json::from_str(line).ok()?;
    Some(line["input"]["event"].take())
}

fn seconds(event: &Value) -> Option<f64> {
    let nanos = event["time"].as_u64()?;
    Some(std::time::Duration::from_nanos(nanos).as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn stamps() -> Stamps {
        let init = json!({"key": {"pid": 7}, "cgroup": 3});
        let signal = |time: u64, signal: &str, from: u64| {
            let sent = json!({"signal": signal, "kernel_made": false, "sender": {"cgroup": from}, "target": init});
            json!({"input": {"event": {"time": time, "kind": {"signal": sent}}}}).to_string()
        };
        let exit = json!({"input": {"event": {"time": 3_500_000_000_u64, "kind": {"exit": {"task": init}}}}});
        let lines = [
            signal(0, "SIGTERM", 3),
            signal(1_000_000_000, "SIGTERM", 1),
            signal(3_000_000_000, "SIGKILL", 1),
            exit.to_string(),
        ];
        Stamps(lines.iter().filter_map(|line| stamp(line)).collect())
    }

    fn record(stop_to_exit: f64, kill_to_exit: f64) -> Value {
        json!({"init": {"pid": 7}, "container": {"cgroup_id": 3}, "stop_signal": "SIGTERM",
            "stop_to_exit_seconds": stop_to_exit, "stop_to_kill_seconds": null, "kill_to_exit_seconds": kill_to_exit})
    }

    #[test]
    fn a_millisecond_is_right_and_more_is_wrong() {
        assert_eq!(stamps().faults(&record(2.5, 0.5)), Vec::<String>::new());
        assert_eq!(stamps().faults(&record(2.5009, 0.4991)), Vec::<String>::new());
        assert_eq!(stamps().faults(&record(2.502, 0.5)).len(), 1);
        assert_eq!(stamps().faults(&record(2.502, 0.498)).len(), 2);
    }

    #[test]
    fn a_number_without_its_ends_is_wrong() {
        let mut record = record(2.5, 0.5);
        record["stop_signal"] = "SIGQUIT".into();
        assert_eq!(stamps().faults(&record).len(), 1);
    }
}
