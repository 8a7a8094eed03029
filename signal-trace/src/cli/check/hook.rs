//! A preStop hook, run as the kubelet runs it, and what it leaves of the grace period.

use std::time::{Duration, Instant};

use anyhow::ensure;
use tokio::time::timeout;

use super::network;
use crate::cli::stopping::follow_while;
use crate::daemon::Daemon;
use crate::engine::Container;
use crate::event::Pid;

/// What the kubelet leaves at least.
const FLOOR: Duration = Duration::from_secs(2);

/// What is done before the stop signal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hook {
    /// A command in the container.
    Exec(Vec<String>),
    /// Nothing, for a time.
    Sleep(Duration),
    /// A GET of the container.
    Get { address: String, path: String },
}

impl Hook {
    /// Runs it, for no longer than the grace; the container is stopped whatever comes of it. Says how long it took.
    pub(super) async fn run(
        &self,
        daemon: &mut Daemon,
        container: &Container,
        network: Option<Pid>,
        grace: Duration,
    ) -> anyhow::Result<Duration> {
        let began = Instant::now();
        match follow_while(daemon, async { Ok(timeout(grace, self.work(container, network, grace)).await) }).await? {
            Ok(Ok(())) => {}
            Ok(Err(error)) => eprintln!("signal-trace: preStop failed, and the stop goes on without it: {error:#}"),
            Err(_) => eprintln!("signal-trace: preStop is not done within the grace period, and the stop goes on"),
        }
        Ok(began.elapsed())
    }

    async fn work(&self, container: &Container, network: Option<Pid>, grace: Duration) -> anyhow::Result<()> {
        match self {
            Self::Exec(words) => container.exec(words)?.done(grace).await.map(drop),
            Self::Sleep(time) => {
                tokio::time::sleep(*time).await;
                Ok(())
            }
            Self::Get { address, path } => {
                let status = network::get(address, path, network, grace).await?;
                ensure!((200..400).contains(&status), "http://{address}{path} answers {status}");
                Ok(())
            }
        }
    }
}

/// What is left of the grace after a hook, by the kubelet's reckoning: whole seconds are taken off, and two remain.
pub(super) fn left_after(grace: Duration, hook: Duration) -> Duration {
    grace.saturating_sub(Duration::from_secs(hook.as_secs())).max(FLOOR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kubelet_takes_whole_seconds_off_and_leaves_two() {
        for (grace, hook_millis, left) in [(30, 0, 30), (30, 999, 30), (30, 5_900, 25), (30, 29_500, 2), (0, 0, 2)] {
            let found = left_after(Duration::from_secs(grace), Duration::from_millis(hook_millis));
            assert_eq!(found, Duration::from_secs(left), "{grace} - {hook_millis}");
        }
    }
}
