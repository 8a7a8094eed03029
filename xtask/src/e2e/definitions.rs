//! Definitions of custom resources, out of the Go modules of those who define them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{child, machine};

/// By what they are for: the module with its version, and the files in it.
const ALL: [(&str, &str, &[&str]); 3] = [
    (
        "openreports",
        "github.com/openreports/reports-api@v0.2.1",
        &["config/crd/openreports.io_reports.yaml", "config/crd/openreports.io_clusterreports.yaml"],
    ),
    // The working group's own module cannot be had; this is whose reports most clusters hold.
    (
        "policyreport",
        "github.com/kyverno/kyverno@v1.12.5",
        &[
            "config/crds/policyreport/wgpolicyk8s.io_policyreports.yaml",
            "config/crds/policyreport/wgpolicyk8s.io_clusterpolicyreports.yaml",
        ],
    ),
    (
        "monitoring",
        "github.com/prometheus-operator/prometheus-operator@v0.85.0",
        &[
            "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
            "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
        ],
    ),
];

/// Their files, fetched unless they are there.
pub(super) fn provide(purpose: &str) -> Result<Vec<PathBuf>> {
    let (_, module, files) =
        ALL.into_iter().find(|(name, ..)| *name == purpose).context("definitions of no purpose")?;
    let mut go = Command::new(machine::find("go").context("there is no `go`, which fetches modules: install it")?);
    // Outside of any module of ours.
    let said = child::read(go.args(["mod", "download", "-json", module]).current_dir("/"))
        .with_context(|| format!("{module} could not be fetched: it comes over the network, check that"))?;
    let said: Value = serde_json::from_str(&said)?;
    let directory = Path::new(said["Dir"].as_str().context("go names no directory")?);
    let files: Vec<_> = files.iter().map(|file| directory.join(file)).collect();
    ensure!(files.iter().all(|file| file.is_file()), "{module} does not hold its definitions");
    Ok(files)
}
