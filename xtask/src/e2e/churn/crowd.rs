//! Containers that runc alone starts: a shell each that ends at once when it is told to. They belong to no pod;
//! this file knows nothing of what is measured.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::{Value, json};

use crate::child;
use crate::e2e::images;
use crate::e2e::node::{NAME, STATE};

/// How long one that was told to end may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// All of them; the node ends them with everything else that is below its cgroup.
pub(super) struct Crowd {
    runc: PathBuf,
    /// What `runc spec` says, with what differs from container to container left to be filled in.
    spec: Value,
    members: VecDeque<Member>,
    started: usize,
}

struct Member {
    id: String,
    init: Pid,
}

impl Crowd {
    /// None yet, and what each is made of.
    pub(super) fn create(bin: &Path) -> Result<Self> {
        let place = place();
        fs::create_dir_all(place.join("rootfs"))?;
        tar::Archive::new(&*images::tools()?).unpack(place.join("rootfs"))?;
        let runc = bin.join("runc");
        child::read(Command::new(&runc).args(["spec", "--bundle"]).arg(&place))?;
        let text = fs::read_to_string(place.join("config.json"))?;
        let mut spec: Value = serde_json::from_str(&text).context("runc's own specification")?;
        spec["process"]["terminal"] = json!(false);
        spec["process"]["args"] = json!(["bash", "-c", ENDS_AT_ONCE]);
        spec["root"] = json!({ "path": place.join("rootfs"), "readonly": true });
        Ok(Self { runc, spec, members: VecDeque::new(), started: 0 })
    }

    /// Starts one more.
    pub(super) fn start(&mut self) -> Result<()> {
        let id = format!("{:064x}", self.started);
        let bundle = place().join(&id);
        fs::create_dir_all(&bundle)?;
        // As Docker names it, so that it is seen as a container.
        self.spec["linux"]["cgroupsPath"] = json!(format!("/{NAME}/docker/{id}"));
        fs::write(bundle.join("config.json"), self.spec.to_string())?;
        let pid = bundle.join("pid");
        let mut run = self.runc();
        run.args(["run", "--detach", "--bundle"]).arg(&bundle).arg("--pid-file").arg(&pid).arg(&id);
        // Its outputs become the container's: a pipe would be open as long as that lives.
        run.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        ensure!(run.status()?.success(), "runc could not start {id}");
        let text = fs::read_to_string(&pid)?;
        let init = text.trim().parse().ok().and_then(Pid::from_raw).context("runc wrote no pid")?;
        self.started += 1;
        self.members.push_back(Member { id, init });
        Ok(())
    }

    /// Stops the oldest, and removes what is left of it.
    pub(super) fn stop(&mut self) -> Result<()> {
        let Member { id, init } = self.members.pop_front().context("nobody is left to be stopped")?;
        let init = pidfd_open(init, PidfdFlags::empty()).context("a container ended by itself")?;
        pidfd_send_signal(&init, Signal::TERM)?;
        let patience = Timespec { tv_sec: PATIENCE.as_secs().try_into()?, tv_nsec: 0 };
        let ended = poll(&mut [PollFd::new(&init, PollFlags::IN)], Some(&patience))?;
        ensure!(ended == 1, "{id} did not end when it was told to");
        child::read(self.runc().args(["delete", "--force", &id]))?;
        Ok(fs::remove_dir_all(place().join(id))?)
    }

    fn runc(&self) -> Command {
        let mut command = Command::new(&self.runc);
        command.arg("--root").arg(place().join("runc"));
        command
    }
}

/// Waits for a signal and nothing else: the pipe is never written to.
const ENDS_AT_ONCE: &str = "trap 'exit 0' TERM; exec 3<> <(:); while :; do read -r -t 1000 -u 3; done";

fn place() -> PathBuf {
    Path::new(STATE).join("churn")
}
