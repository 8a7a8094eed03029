//! `signal-trace top`: the workloads that shut down worst, by what the agents of a cluster logged. No Prometheus.
//!
//! An audit of a short time and of all there is, with the table alone. Nodes that did not answer are named first.

use std::fmt;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use jiff::Timestamp;

use super::audit::read_policy;
use super::cluster::Cluster;
use super::{duration, runtime};
use crate::audit::assess;
use crate::audit::render::{visible_json, write_workloads};
use crate::audit::report::{Period, Report};
use crate::audit::source::Window;
use crate::audit::source::records::Records;
use crate::audit::tally::{Gap, Tallies};
use crate::kube::fleet::{Said, logs};
use crate::policy::file::Policy;
use crate::report::escape;
use crate::report::json::Time;
use crate::report::style::Style;

/// Columns that what a node said may take.
const REASON: usize = 200;

/// Show the workloads that shut down worst, from the agents' logs: no Prometheus is needed.
///
/// Asks the API server for the agents' pods and their logs: it takes the rights `list pods` and `get pods/log` in the agents'
/// namespace. A log goes back to the start of its agent, or to its last rotation.
#[derive(Debug, Args)]
pub struct Top {
    #[command(flatten)]
    cluster: Cluster,

    /// Only workloads of this namespace
    #[arg(long, short, value_name = "NAMESPACE")]
    namespace: Option<String>,

    /// The time up to now
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = duration)]
    since: Duration,

    /// The agents' namespace
    #[arg(long, value_name = "NAMESPACE", default_value = "signal-trace")]
    agents: String,

    /// The agents' labels
    #[arg(
        long,
        value_name = "LABELS",
        default_value = "app.kubernetes.io/name=signal-trace,app.kubernetes.io/component=agent"
    )]
    selector: String,

    /// Rules to judge by, in YAML, as for an audit
    #[arg(long, value_name = "FILE")]
    policy: Option<std::path::PathBuf>,

    /// The same as the JSON of an audit
    #[arg(long)]
    json: bool,
}

impl Top {
    /// Asks, judges and shows.
    ///
    /// # Errors
    ///
    /// There is no way to the API server, or no agent answered.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let policy = read_policy(self.policy.as_deref())?;
        let said = runtime()?.block_on(async {
            let clients = self.cluster.connect().await?;
            anyhow::Ok(logs(&clients.requests, &self.agents, &self.selector, self.since).await?)
        })?;
        if said.is_empty() {
            bail!("no agent in namespace {}: name theirs by --agents, or their labels by --selector", self.agents);
        }
        if said.iter().all(|agent| agent.log.is_err()) {
            let reasons: Vec<String> = silent(&said).collect();
            bail!("no agent answered: {}", reasons.join("; "));
        }
        let report = report(&said, self.namespace.as_deref(), self.since, &policy, Timestamp::now());
        if self.json {
            let Ok(text) = visible_json(&report) else { bail!("cannot write the report") };
            print!("{}", String::from_utf8_lossy(&text));
        } else {
            let mut text = String::new();
            write(&mut text, &said, &report, self.since, &Style::of(&std::io::stdout()))
                .context("cannot draw the table")?;
            print!("{text}");
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// An audit of what they said.
fn report(said: &[Said], namespace: Option<&str>, since: Duration, policy: &Policy, now: Timestamp) -> Report {
    // Of an hour, every shutdown is of interest, and nothing is known of who was not there.
    let policy = Policy { min_shutdowns: 1, min_coverage: None, ..policy.clone() };
    let from = now.checked_sub(since).unwrap_or(Timestamp::MIN);
    let mut tallies = Tallies::default();
    let mut records = Records::new(&policy, Window { from: Some(from), to: None });
    for agent in said {
        match &agent.log {
            Ok(log) => records.read("", &agent.node, &mut log.as_bytes(), &mut tallies),
            Err(problem) => {
                tallies.gaps.push(Gap { cluster: None, message: format!("{} did not answer: {problem}", agent.node) });
            }
        }
    }
    if let Some(namespace) = namespace {
        tallies.containers.retain(|key, _| key.namespace == namespace);
    }
    assess(&tallies, &policy, Period { from: Some(Time(from)), to: Some(Time(now)) }, now)
}

fn silent(said: &[Said]) -> impl Iterator<Item = String> {
    let silent = said.iter().filter_map(|agent| Some((&agent.node, agent.log.as_ref().err()?)));
    silent.map(|(node, problem)| format!("{node} did not answer: {problem}"))
}

fn write(out: &mut String, said: &[Said], report: &Report, since: Duration, style: &Style) -> fmt::Result {
    use fmt::Write as _;
    for line in silent(said) {
        writeln!(out, "{}", escape::word(&line, REASON, style.charset()))?;
    }
    for gap in report.gaps.iter().filter(|gap| !gap.message.contains(" did not answer: ")) {
        writeln!(out, "{}", escape::word(&gap.message, REASON, style.charset()))?;
    }
    let answered = said.iter().filter(|agent| agent.log.is_ok()).count();
    let all = report.totals.shutdowns.all;
    writeln!(
        out,
        "Last {since:#}: {all} shutdowns of {} workloads; {answered} of {} agents answered",
        report.totals.workloads,
        said.len(),
        since = jiff::SignedDuration::try_from(since).unwrap_or(jiff::SignedDuration::MAX),
    )?;
    if report.workloads.is_empty() {
        return Ok(());
    }
    out.push('\n');
    write_workloads(out, &report.workloads, style)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::style::{Charset, Colors};

    /// What an agent logs: other lines, and records.
    fn log(records: &[(&str, &str, &str, &str)]) -> String {
        let record = |(second, workload, outcome, cause): &(&str, &str, &str, &str)| {
            let mut record: serde_json::Value = serde_json::from_str(RECORD).unwrap();
            record["time"] = format!("2026-11-22T10:{second}.000000Z").into();
            record["pod"]["workload"]["name"] = (*workload).into();
            record["outcome"] = (*outcome).into();
            record["cause"] = (*cause).into();
            format!("{}\n", serde_json::to_string(&record).unwrap())
        };
        format!("ready: 6 programs attached\n{}", records.iter().map(record).collect::<String>())
    }

    fn shown(said: &[Said], namespace: Option<&str>) -> String {
        let now = "2026-11-22T11:00:00Z".parse().unwrap();
        let since = Duration::from_secs(3600);
        let report = report(said, namespace, since, &Policy::default(), now);
        let mut text = String::new();
        write(&mut text, said, &report, since, &Style::new(80, Charset::Unicode, Colors::Plain)).unwrap();
        text
    }

    #[test]
    fn the_worst_are_on_top_and_who_did_not_answer_is_named_first() {
        let said = [
            Said {
                node: "worker-1".into(),
                log: Ok(log(&[
                    ("01:00", "cart", "grace_exceeded", "not_forwarded"),
                    ("02:00", "till", "graceful", "none"),
                    ("03:00", "till", "graceful", "none"),
                ])),
            },
            Said { node: "worker-2".into(), log: Err("its agent does not run (Pending)".into()) },
        ];
        insta::assert_snapshot!(shown(&said, None));
        assert!(shown(&said, Some("other")).ends_with("Last 1h: 0 shutdowns of 0 workloads; 1 of 2 agents answered\n"));
    }

    #[test]
    fn what_was_before_does_not_count() {
        let mut early = log(&[("01:00", "cart", "grace_exceeded", "not_forwarded")]);
        early = early.replace("2026-11-22T10:01", "2026-11-22T09:59");
        let text = shown(&[Said { node: "worker-1".into(), log: Ok(early) }], None);
        assert_eq!(text, "Last 1h: 0 shutdowns of 0 workloads; 1 of 1 agents answered\n");
    }

    const RECORD: &str = r#"{"schema":"signal-trace.dev/shutdown/v1","time":"2026-11-23T03:35:32.589057Z","node":"worker-1",
"container":{"id":"c","name":"app","runtime":"signal-trace","image":null,
"cgroup":"/signal-trace/check-20211-0","cgroup_id":3635331},"pod":{"namespace":"shop",
"name":"cart-7d9f-x2k","uid":"u","revision":null,"workload":{"kind":"Deployment","name":"cart"}},
"outcome":"grace_exceeded","cause":"ignored","confidence":"proven","trigger":"runtime_stop",
"stop_signal":"SIGTERM","init_disposition":"no_handler","grace":{"seconds":1.0,"source":"flag"},
"prestop_seconds":null,"stop_to_kill_seconds":1.155983,"stop_to_exit_seconds":1.16161,
"kill_to_exit_seconds":0.005627,"avoidable_wait_seconds":1.155983,"init":{"pid":27063,"ns_pid":1,
"comm":"sleep"},"exit":{"code":null,"signal":"SIGKILL"},"processes":{"at_stop":0,"leaves":0,
"told":0,"killed":0},"killed_by":"runtime","missed":[],"findings":[],
"advice":"Add a SIGTERM handler to sleep, or run it under an init such as tini: as PID 1 it drops the signal.",
"timeline":[],"timeline_cut":0}"#;
}
