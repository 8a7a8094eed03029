//! The images of the pods, made without a registry or a builder from static programs of this machine and imported into
//! containerd: one with two shells and an init, the same with another stop signal, and one that holds a pod's sandbox.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

use crate::{child, packages};

/// The sandbox of every pod.
pub(crate) const PAUSE: &str = "e2e.test/pause:1";
/// Two shells, an init, and all of busybox.
pub(crate) const TOOLS: &str = "e2e.test/tools:1";
/// The same with SIGQUIT for a stop signal.
pub(crate) const TOOLS_QUIT: &str = "e2e.test/tools-quit:1";

/// Where images go.
#[derive(Clone, Copy)]
pub(crate) struct Images<'a> {
    pub(crate) bin: &'a Path,
    pub(crate) state: &'a Path,
}

impl Images<'_> {
    /// Makes them all and imports them.
    pub(crate) fn load(self) -> Result<()> {
        let tools = tools()?;
        self.import(TOOLS, &tools, &json!({ "Cmd": ["sh"], "Env": ["PATH=/bin"] }))?;
        self.import(TOOLS_QUIT, &tools, &json!({ "Cmd": ["sh"], "Env": ["PATH=/bin"], "StopSignal": "SIGQUIT" }))?;
        self.import(PAUSE, &self.pause()?, &json!({ "Entrypoint": ["/pause"] }))
    }

    /// A root file system with the sandbox's program alone.
    fn pause(self) -> Result<Vec<u8>> {
        let mut layer = Builder::new(Vec::new());
        let program = self.bin.join("pause");
        let content = fs::read(&program).with_context(|| format!("cannot read {}", program.display()))?;
        file(&mut layer, "pause", 0o755, &content)?;
        Ok(layer.into_inner()?)
    }

    fn import(self, name: &str, layer: &[u8], config: &Value) -> Result<()> {
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let sum: String = Sha256::digest(layer).iter().map(|byte| format!("{byte:02x}")).collect();
        let rootfs = json!({ "type": "layers", "diff_ids": [format!("sha256:{sum}")] });
        let image = json!({ "architecture": architecture, "os": "linux", "config": config, "rootfs": rootfs });
        let manifest = json!([{ "Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"] }]);
        let mut archive = Builder::new(Vec::new());
        file(&mut archive, "manifest.json", 0o644, manifest.to_string().as_bytes())?;
        file(&mut archive, "config.json", 0o644, image.to_string().as_bytes())?;
        file(&mut archive, "layer.tar", 0o644, layer)?;
        let path = self.state.join("image.tar");
        fs::write(&path, archive.into_inner()?)?;
        let mut ctr = Command::new(self.bin.join("ctr"));
        ctr.arg("--address").arg(self.state.join("containerd.sock")).args(["--namespace", "k8s.io"]);
        child::read(ctr.args(["images", "import"]).arg(&path)).with_context(|| format!("cannot import {name}"))?;
        Ok(fs::remove_file(path)?)
    }
}

/// A root file system with busybox under all its names, a second shell, and an init.
pub(crate) fn tools() -> Result<Vec<u8>> {
    let mut layer = Builder::new(Vec::new());
    for directory in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
        entry(&mut layer, EntryType::Directory, directory, 0o755, "")?;
    }
    let real = [(packages::BUSYBOX, "busybox"), (packages::BASH, "bash"), (packages::TINI, "tini")];
    for (program, name) in real {
        let content = fs::read(program).with_context(|| format!("cannot read {program}"))?;
        file(&mut layer, &format!("bin/{name}"), 0o755, &content)?;
    }
    // A link for each of busybox's programs, but not for what is here in person.
    let names = child::read(Command::new(packages::BUSYBOX).arg("--list"))?;
    for name in names.lines().filter(|name| real.iter().all(|(_, real)| real != name)) {
        entry(&mut layer, EntryType::Symlink, &format!("bin/{name}"), 0o777, "busybox")?;
    }
    Ok(layer.into_inner()?)
}

fn file(archive: &mut Builder<Vec<u8>>, path: &str, mode: u32, content: &[u8]) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_mode(mode);
    header.set_size(u64::try_from(content.len())?);
    Ok(archive.append_data(&mut header, path, content)?)
}

fn entry(archive: &mut Builder<Vec<u8>>, kind: EntryType, path: &str, mode: u32, target: &str) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(0);
    if target.is_empty() {
        return Ok(archive.append_data(&mut header, path, std::io::empty())?);
    }
    Ok(archive.append_link(&mut header, path, target)?)
}
