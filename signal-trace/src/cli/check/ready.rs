//! When a container counts as started: a time, an open port, an answer, a line of its output.
//!
//! A condition is looked at again and again while the kernel's records are followed; there is a limit to the patience.

use std::io;
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use regex::Regex;

use super::network;
use crate::cli::duration;
use crate::cli::stopping::follow_while;
use crate::daemon::Daemon;
use crate::event::Pid;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// For each part of an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// A container that is waited for.
pub(super) trait Subject {
    /// How it ended, if it has.
    fn has_ended(&mut self) -> anyhow::Result<Option<String>>;

    /// What it said, where that is kept.
    fn output(&self) -> Vec<String>;

    /// A process with its network, if that is not ours.
    ///
    /// # Errors
    ///
    /// It has none yet.
    fn network(&self) -> io::Result<Option<Pid>>;
}

/// A condition.
#[derive(Clone, Debug)]
pub(super) enum Ready {
    /// This time is over.
    Sleep(Duration),
    /// The port takes connections.
    Tcp { address: String },
    /// A GET is answered with a status from 200 to 399.
    Http { address: String, path: String },
    /// A line of its output matches.
    Log(Regex),
}

impl FromStr for Ready {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("sleep", time)) => duration(time).map(Self::Sleep),
            Some(("tcp", place)) => Ok(Self::Tcp { address: address(place)? }),
            Some(("http", rest)) => {
                let rest = rest.trim_start_matches("//");
                let (place, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                let path = if path.is_empty() { "/" } else { path };
                if path.chars().any(|c| c.is_ascii_control() || c == ' ') {
                    return Err(format!("`{path}` is no path of an address"));
                }
                Ok(Self::Http { address: address(place)?, path: path.to_owned() })
            }
            Some(("log", pattern)) => Regex::new(pattern)
                .map(Self::Log)
                .map_err(|error| format!("`{pattern}` is no regular expression: {error}")),
            _ => Err(format!("`{text}` is no condition: use sleep:500ms, tcp:8080, http:8080/healthz or log:REGEX")),
        }
    }
}

/// A port of this machine, or a host and a port.
fn address(place: &str) -> Result<String, String> {
    let place = if place.contains(':') { place.to_owned() } else { format!("127.0.0.1:{place}") };
    let port = place.rsplit_once(':').and_then(|(host, port)| Some(port).filter(|_| !host.is_empty()));
    match port.and_then(|port| port.parse::<u16>().ok()) {
        Some(1..) => Ok(place),
        Some(0) | None => Err(format!("`{place}` names no port from 1 to 65535")),
    }
}

impl Ready {
    /// Whether the output has to be kept to be looked at.
    pub(super) fn reads_output(&self) -> bool {
        matches!(self, Self::Log(_))
    }

    /// Follows until it holds.
    ///
    /// # Errors
    ///
    /// The container ended before, or the limit is over.
    pub(super) async fn wait(
        &self,
        daemon: &mut Daemon,
        subject: &mut dyn Subject,
        within: Duration,
    ) -> anyhow::Result<()> {
        if let Self::Sleep(time) = self {
            daemon.follow_for(*time).await.context("cannot read the kernel's records")?;
            return still_running(subject);
        }
        let began = Instant::now();
        loop {
            let holds = follow_while(daemon, async { Ok(self.holds(subject).await) }).await?;
            // Whoever answers on that port after its end is somebody else.
            still_running(subject)?;
            if holds {
                return Ok(());
            }
            if began.elapsed() >= within {
                bail!("not ready within {within:?}: {}; raise --ready-within, or look at its output", self.lack());
            }
            daemon.follow_for(LOOK_EVERY).await.context("cannot read the kernel's records")?;
        }
    }

    async fn holds(&self, subject: &dyn Subject) -> bool {
        match self {
            Self::Sleep(_) => true,
            Self::Tcp { address } => {
                let Ok(network) = subject.network() else { return false };
                network::connects(address, network).await
            }
            Self::Http { address, path } => {
                let Ok(network) = subject.network() else { return false };
                matches!(network::get(address, path, network, ANSWER_WITHIN).await, Ok(200..=399))
            }
            Self::Log(pattern) => subject.output().iter().any(|said| said.lines().any(|line| pattern.is_match(line))),
        }
    }

    fn lack(&self) -> String {
        match self {
            Self::Sleep(_) => "the time is not over".to_owned(),
            Self::Tcp { address } => format!("nobody listens on {address}"),
            Self::Http { address, path } => format!("no good answer from http://{address}{path}"),
            Self::Log(pattern) => format!("no line of its output matches {}", pattern.as_str().escape_debug()),
        }
    }
}

fn still_running(subject: &mut dyn Subject) -> anyhow::Result<()> {
    match subject.has_ended()? {
        None => Ok(()),
        Some(status) => {
            bail!("it ended before it was stopped ({status}): give it something to do, or an earlier --ready")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_read_and_what_is_none_is_said() {
        let text = |text: &str| text.parse::<Ready>().map(|ready| ready.lack());
        assert_eq!(text("tcp:8080").unwrap(), "nobody listens on 127.0.0.1:8080");
        assert_eq!(text("http:8080/healthz").unwrap(), "no good answer from http://127.0.0.1:8080/healthz");
        assert_eq!(text("http://app.local:80").unwrap(), "no good answer from http://app.local:80/");
        assert_eq!(text("log:^ready: \\d+").unwrap(), "no line of its output matches ^ready: \\\\d+");
        for wrong in ["", "soon", "tcp:", "tcp:0", "tcp:70000", "log:(", "http:80/a b", "sleep:x", "exec:true"] {
            assert!(text(wrong).is_err(), "{wrong}");
        }
    }
}
