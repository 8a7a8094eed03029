//! `--audit`: what the cases leave behind, as a fleet's audit sees it: by the agent's records, and by a Prometheus that
//! scraped it the while. Both have to tell the same. The report is written in every format, and the API server has to take
//! what is an object of its own, as the rules and monitors beside it, by the real definitions of those.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::agent::LISTEN;
use super::cluster::Cluster;
use super::definitions;
use crate::machine;
use crate::prometheus::Prometheus;

/// How long after the last verdict a scrape may be on its way.
const BOUND: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_secs(1);

/// As `--output` calls them, and how each file is called then.
const FORMATS: [(&str, &str); 9] = [
    ("table", "txt"),
    ("json", "json"),
    ("csv", "csv"),
    ("markdown", "md"),
    ("html", "html"),
    ("junit", "junit.xml"),
    ("sarif", "sarif"),
    ("openreports", "openreports.json"),
    ("policyreport", "policyreport.json"),
];

/// A Prometheus that scrapes the agent.
pub(super) struct Scraping {
    server: Prometheus,
    directory: PathBuf,
}

/// What an audit says of workloads: how many shutdowns came to which verdict.
type Verdicts = BTreeMap<String, u64>;

impl Scraping {
    pub(super) fn start(directory: &Path) -> Result<Self> {
        let directory = directory.join("audit");
        drop(fs::remove_dir_all(&directory));
        fs::create_dir_all(&directory)?;
        let configuration = format!(
            "global: {{scrape_interval: 1s}}\n\
             scrape_configs:\n- job_name: signal-trace\n  static_configs: [{{targets: ['{LISTEN}']}}]\n"
        );
        Ok(Self { server: Prometheus::start(&directory, &configuration, &[])?, directory })
    }

    /// Audits by both, and gives the objects to the cluster.
    pub(super) fn hold(&self, product: &Path, records: &Path, cluster: &Cluster) -> Result<()> {
        let said = self.audit(product, "records", &records.display().to_string())?;
        ensure!(!said.is_empty(), "an audit of {} names no workload", records.display());
        let deadline = Instant::now() + BOUND;
        let scraped = loop {
            let scraped = self.audit(product, "prometheus", &self.server.url)?;
            if scraped == said || Instant::now() >= deadline {
                break scraped;
            }
            std::thread::sleep(LOOK);
        };
        let differ = differences(&said, &scraped);
        ensure!(differ.is_empty(), "audits of the records and of Prometheus differ:\n{}", differ.join("\n"));
        let shutdowns: u64 = said.values().sum();
        println!("\naudits by records and by Prometheus agree: {shutdowns} shutdowns, {} verdicts", said.len());
        for purpose in ["openreports", "policyreport", "monitoring"] {
            for file in definitions::provide(purpose)? {
                cluster.apply(&fs::read_to_string(&file)?).with_context(|| file.display().to_string())?;
            }
        }
        cluster.ask("wait --for=condition=Established customresourcedefinitions --all --timeout=60s")?;
        for format in ["openreports", "policyreport"] {
            println!("the API server took {} objects of {format}", self.give(format, cluster)?);
        }
        let monitoring = machine::workspace().join("deploy/manifests/monitoring/monitoring.yaml");
        cluster.apply(&fs::read_to_string(&monitoring)?).context("the monitors and rules of deploy/")?;
        println!("the API server took the monitors and rules; reports in every format: {}", self.directory.display());
        Ok(())
    }

    /// In every format; what it says.
    fn audit(&self, product: &Path, source: &str, of: &str) -> Result<Verdicts> {
        let file = |extension: &str| self.directory.join(format!("{source}.{extension}"));
        let mut command = Command::new(product);
        command.args(["audit", &format!("--{source}"), of]);
        if source == "prometheus" {
            command.args(["--since", "1h"]);
        }
        for (format, extension) in FORMATS {
            command.arg("--output").arg(format!("{format}={}", file(extension).display()));
        }
        let output = command.output().context("the audit could not be started")?;
        // Findings are what the cases are for.
        if !matches!(output.status.code(), Some(0 | 3)) {
            bail!("the audit by {source} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
        }
        verdicts(&serde_json::from_str(&fs::read_to_string(file("json"))?)?)
    }

    /// Creates the objects of a format, all in one namespace: those of the cases are going. How many there were.
    fn give(&self, format: &str, cluster: &Cluster) -> Result<usize> {
        let (_, extension) = FORMATS.into_iter().find(|(name, _)| *name == format).context("a format")?;
        let text = fs::read_to_string(self.directory.join(format!("records.{extension}")))?;
        let mut list: Value = serde_json::from_str(&text)?;
        let objects = list["items"].as_array_mut().context("a list of objects")?;
        for (number, object) in objects.iter_mut().enumerate() {
            let name = format!("{}-{number}", object["metadata"]["name"].as_str().unwrap_or_default());
            object["metadata"]["name"] = name.into();
            object["metadata"]["namespace"] = "default".into();
        }
        cluster.add("default", objects)?;
        Ok(objects.len())
    }
}

/// By `namespace/kind/name/container outcome/cause`.
fn verdicts(report: &Value) -> Result<Verdicts> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut verdicts = Verdicts::new();
    for workload in list(&report["workloads"]) {
        for container in list(&workload["containers"]) {
            for verdict in list(&container["verdicts"]) {
                let of = ["namespace", "kind", "name"].map(|field| word(&workload[field])).join("/");
                let said = ["outcome", "cause"].map(|field| word(&verdict[field])).join("/");
                let shutdowns = verdict["shutdowns"].as_u64().context("a count")?;
                *verdicts.entry(format!("{of}/{} {said}", word(&container["name"]))).or_default() += shutdowns;
            }
        }
    }
    Ok(verdicts)
}

fn differences(said: &Verdicts, scraped: &Verdicts) -> Vec<String> {
    let keys = said.keys().chain(scraped.keys()).collect::<std::collections::BTreeSet<_>>();
    let count = |of: &Verdicts, key: &String| of.get(key).copied().unwrap_or(0);
    let lines = keys.into_iter().map(|key| (key, count(said, key), count(scraped, key)));
    let differ = lines.filter(|(_, said, scraped)| said != scraped);
    differ.map(|(key, said, scraped)| format!("  {key}: {said} in records, {scraped} in Prometheus")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_report_is_counts_by_verdict() {
        let verdict = |shutdowns| json!({"outcome": "graceful", "cause": "none", "shutdowns": shutdowns});
        let report = json!({"workloads": [{"namespace": "shop", "kind": "deployment", "name": "web",
            "containers": [{"name": "app", "verdicts": [verdict(3)]}, {"name": "proxy", "verdicts": [verdict(1)]}]}]});
        let said = verdicts(&report).unwrap();
        assert_eq!(said["shop/deployment/web/app graceful/none"], 3);
        assert_eq!(said.len(), 2);
        let mut scraped = said.clone();
        assert!(differences(&said, &scraped).is_empty());
        scraped.remove("shop/deployment/web/proxy graceful/none");
        let only = "  shop/deployment/web/proxy graceful/none: 1 in records, 0 in Prometheus";
        assert_eq!(differences(&said, &scraped), [only]);
    }
}
