//! `deploy`: what is generated below `deploy/` and `docs/`, made anew or held against what it is made of.
//!
//! The chart is the one source of everything that Kubernetes is given: Helm renders the plain manifests from it. Runbooks
//! and the reference of metrics are the product's own words, so a test of the product writes and checks those.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::helm::{self, Helm};
use crate::{child, dashboards, machine};

/// What to do with a file that is not as it is generated.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Write it.
    Write,
    /// Complain.
    Check,
}

impl Mode {
    fn settle(self, file: &str, text: &str) -> Result<()> {
        let path = machine::workspace().join(file);
        match self {
            Self::Write => {
                fs::write(&path, text).with_context(|| format!("cannot write {file}"))?;
                anstream::println!("{0}written{0:#} {file}", child::GOOD);
            }
            Self::Check => {
                let kept = fs::read_to_string(&path).with_context(|| format!("cannot read {file}"))?;
                ensure!(kept == text, "{file} is not as it is generated: run `cargo xtask deploy`");
            }
        }
        Ok(())
    }
}

/// A rendering of the chart that is kept.
struct Rendering {
    file: &'static str,
    arguments: &'static [&'static str],
}

const RENDERINGS: [Rendering; 3] = [
    // Everything that a cluster without the Prometheus operator takes.
    Rendering { file: "deploy/manifests/signal-trace.yaml", arguments: &["--set", "namespace.create=true"] },
    // For clusters that are audited every week.
    Rendering {
        file: "deploy/examples/audit-cronjob.yaml",
        arguments: &["--values=deploy/chart/ci/audit.yaml", "--show-only=templates/audit.yaml"],
    },
    // The rest, for those that have it.
    Rendering {
        file: "deploy/manifests/monitoring/monitoring.yaml",
        arguments: &[
            "--set=podMonitor.enabled=true,prometheusRule.enabled=true,dashboards.enabled=true",
            "--show-only=templates/podmonitor.yaml",
            "--show-only=templates/prometheusrule.yaml",
            "--show-only=templates/dashboards.yaml",
        ],
    },
];

/// Values that the schema has to refuse: a name that is not there, a wrong type, and each kind of wrong form.
const REFUSED: [&str; 10] = [
    "podMonitr.enabled=true",
    "agent.listen.port=metrics",
    "agent.listen.port=70000",
    "image.digest=latest",
    "image.pullPolicy=Sometimes",
    "extraCapabilities={SYS_ADMIN}",
    "seccompProfile.type=Localhost",
    "seccompProfile.localhostProfile=x",
    "audit.since=month",
    "audit.prometheus={prometheus:9090}",
];

/// Writes all that is generated.
pub(crate) fn write() -> Result<()> {
    dashboards(Mode::Write)?;
    renderings(&helm::provide()?, Mode::Write)?;
    let mut cargo = machine::cargo();
    child::show(cargo.env("WRITE_FILES", "1").args([
        "test",
        "--quiet",
        "--package",
        "signal-trace",
        "--test",
        "deploy",
    ]))
}

/// Checks the chart, and what is rendered from it.
pub(crate) fn check() -> Result<()> {
    let helm = helm::provide()?;
    child::show(&mut helm.lint(None))?;
    for values in values_files()? {
        child::show(&mut helm.lint(Some(&values)))?;
    }
    for value in REFUSED {
        let refusal = child::read(&mut helm.template(&["--set", value]));
        let error = refusal.err().with_context(|| format!("the schema of the chart's values lets `{value}` pass"))?;
        ensure!(error.to_string().contains("values don't meet the specifications"), "{error:#}");
    }
    dashboards(Mode::Check)?;
    renderings(&helm, Mode::Check)
}

fn dashboards(mode: Mode) -> Result<()> {
    dashboards::files()
        .iter()
        .try_for_each(|(name, text)| mode.settle(&format!("{}/{name}", dashboards::DIRECTORY), text))
}

fn renderings(helm: &Helm, mode: Mode) -> Result<()> {
    for Rendering { file, arguments } in RENDERINGS {
        mode.settle(file, &plain(&child::read(&mut helm.template(arguments))?))?;
    }
    Ok(())
}

/// Without what is true only of what Helm installs.
fn plain(rendered: &str) -> String {
    let of_helm = |line: &&str| {
        let line = line.trim_start();
        ["# Source: ", "helm.sh/chart: ", "app.kubernetes.io/managed-by: "].iter().any(|start| line.starts_with(start))
    };
    rendered.lines().filter(|line| !of_helm(line)).map(|line| format!("{line}\n")).collect()
}

/// Values that use the chart in other ways than the defaults do.
fn values_files() -> Result<Vec<std::path::PathBuf>> {
    let directory = machine::workspace().join(helm::CHART).join("ci");
    let entries = fs::read_dir(&directory).with_context(|| format!("cannot read {}", directory.display()))?;
    let mut files = entries
        .map(|entry| Ok(Path::new(helm::CHART).join("ci").join(entry?.file_name())))
        .collect::<Result<Vec<_>>>()?;
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_manifests_do_not_speak_of_helm() {
        let rendered = "---\n# Source: signal-trace/templates/a.yaml\nmetadata:\n  labels:\n    \
                        app.kubernetes.io/managed-by: Helm\n    helm.sh/chart: signal-trace-0.1.0\n    a: b\n";
        assert_eq!(plain(rendered), "---\nmetadata:\n  labels:\n    a: b\n");
    }

    #[test]
    fn the_chart_has_the_version_of_the_product() {
        let read = |path: &str| fs::read_to_string(machine::workspace().join(path)).unwrap();
        let chart = read("deploy/chart/Chart.yaml");
        for key in ["version: ", "appVersion: "] {
            let version = chart.lines().find_map(|line| line.strip_prefix(key)).unwrap();
            assert_eq!(version, env!("CARGO_PKG_VERSION"), "{key}");
        }
    }
}
