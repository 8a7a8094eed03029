//! `--chart`: the agent as an operator installs it, by Helm and from an image, in place of the one that is started by hand.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};

use super::cluster::Cluster;
use super::node::{STATE, admin};
use crate::{child, helm, image};

const NAMESPACE: &str = "signal-trace";

/// Installs it and returns when every agent is ready.
pub(crate) fn install(cluster: &Cluster, product: &Path) -> Result<()> {
    let binary = std::fs::read(product).with_context(|| format!("cannot read {}", product.display()))?;
    let archive = Path::new(STATE).join("agent.oci.tar");
    std::fs::write(&archive, image::around(&binary)?)?;
    let mut ctr = Command::new(cluster.bin.join("ctr"));
    ctr.args(["--address", &format!("{STATE}/containerd.sock"), "--namespace", "k8s.io"]);
    child::read(ctr.args(["images", "import"]).arg(&archive))?;
    cluster.ask(&format!("create namespace {NAMESPACE}"))?;
    // The agent needs the host's processes, which is what this label is about.
    cluster.ask(&format!("label namespace {NAMESPACE} pod-security.kubernetes.io/enforce=privileged"))?;
    let started = Instant::now();
    child::read(&mut helm::provide()?.install(&admin(), NAMESPACE))?;
    anstream::eprintln!(
        "{0}chart installed and ready after {1:.1} s{0:#}",
        child::GOOD,
        started.elapsed().as_secs_f64()
    );
    Ok(())
}
