//! Work for the container while it is stopped: a command beside it, in a process group of its own.

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process_group};

use super::network;
use crate::event;

/// A load that runs until it is dropped.
#[derive(Debug)]
pub(super) struct Load {
    child: Child,
}

impl Load {
    /// Starts it with a shell, outside of the container but in the network of this process of it, if it has its own.
    ///
    /// # Errors
    ///
    /// There is no shell.
    pub(super) async fn start(command: &str, network: Option<event::Pid>) -> anyhow::Result<Self> {
        let mut shell = Command::new("/bin/sh");
        // Standard output is the verdict's.
        shell.args(["-c", command]).stdin(Stdio::null()).stdout(Stdio::null()).process_group(0);
        let child = network::inside(network, move || shell.spawn()).await;
        Ok(Self { child: child.context("cannot start the load with /bin/sh")? })
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // A load that has ended already leaves only its own entry to be waited for.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}
