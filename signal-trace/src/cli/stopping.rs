//! Stops a container of our own while it is traced: what `check` and `demo` have in common.

use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::time::timeout;

use crate::daemon::Daemon;
use crate::event::Signal;
use crate::judge::Spec;
use crate::judge::shutdown::{Grace, GraceSource, Shutdown, Trigger};
use crate::sandbox::Running;

/// A verdict is there as soon as the container is gone; this is for a machine under load.
pub(super) const VERDICT_WITHIN: Duration = Duration::from_secs(10);

/// At a time, while something else is waited for.
const FOLLOW_FOR: Duration = Duration::from_millis(50);

/// How to stop it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// The stop signal.
    pub(super) signal: Signal,
    /// Time until SIGKILL.
    pub(super) grace: Duration,
    /// Where that was configured.
    pub(super) source: GraceSource,
}

impl Plan {
    /// What the judge is told of it.
    pub(super) fn spec(self) -> Spec {
        Spec {
            stop_signal: Some(self.signal),
            grace: Grace { period: Some(self.grace), source: self.source },
            trigger: Trigger::RuntimeStop,
            ..Spec::default()
        }
    }
}

/// Sends the stop signal, SIGKILL when the grace is over, and waits for the verdict.
pub(super) async fn stop_and_judge(daemon: &mut Daemon, running: &mut Running, plan: Plan) -> anyhow::Result<Shutdown> {
    let id = running.cgroup().id;
    running.init().signal(plan.signal).context("cannot send the stop signal")?;
    if let Some(shutdown) = verdict_on(daemon, id, plan.grace).await? {
        return Ok(shutdown);
    }
    // Init may be gone already, with others left in its cgroup.
    if running.init_mut().wait_within(Duration::ZERO)?.is_none() {
        running.init().signal(Signal::KILL).context("cannot send SIGKILL")?;
    }
    match verdict_on(daemon, id, VERDICT_WITHIN).await? {
        Some(shutdown) => Ok(shutdown),
        None => bail!("no verdict within {VERDICT_WITHIN:?} of the end: records may have been lost, try again"),
    }
}

/// The verdict on that container, if it comes in time.
pub(super) async fn verdict_on(
    daemon: &mut Daemon,
    id: crate::event::CgroupId,
    within: Duration,
) -> anyhow::Result<Option<Shutdown>> {
    let next = async {
        loop {
            let shutdown = daemon.next_shutdown().await.context("cannot read the kernel's records")?;
            if shutdown.container.cgroup == id {
                return anyhow::Ok(shutdown);
            }
        }
    };
    timeout(within, next).await.ok().transpose()
}

/// Follows the kernel's records while something else is done; what they tell is kept.
pub(super) async fn follow_while<T>(
    daemon: &mut Daemon,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            followed = daemon.follow_for(FOLLOW_FOR) => followed.context("cannot read the kernel's records")?,
        }
    }
}
