//! Prometheus and what speaks its HTTP API: a fixed, small number of questions to each server, summed by the server.
//!
//! Servers are asked side by side. What one of them does not answer is a gap in the report and no end of it. Two servers
//! that have the same cluster are replicas of each other, not more shutdowns.

mod answer;
mod client;
mod collect;
mod endpoint;
mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
mod queries;

use std::collections::btree_map::Entry;

use futures_util::future::join_all;

use self::collect::Collector;
pub use self::endpoint::{Access, Endpoint, Webhook};
pub use self::error::EndpointError;
pub use self::queries::Names;
use self::queries::{Ask, Range, When};
use super::Window;
use crate::audit::tally::{Tallies, Watched};

/// Questions that one server is asked, where none of them is too much for it.
pub const QUESTIONS: usize = Ask::ALL.len();

/// What is asked of all servers.
#[derive(Clone, Debug)]
pub struct Question {
    range: Range,
    names: Names,
    nodes: Option<u64>,
}

impl Question {
    /// About a period with both ends; none where one is missing. `nodes`: how many there are, where no server tells.
    pub fn new(window: Window, names: Names, nodes: Option<u64>) -> Option<Self> {
        Some(Self { range: Range { from: window.from?, to: window.to? }, names, nodes })
    }

    /// Asks them all; `progress` is called for every answer.
    pub async fn ask(&self, endpoints: &[Endpoint], tallies: &mut Tallies, progress: &dyn Fn()) {
        let asked = endpoints
            .iter()
            .map(|endpoint| Collector::new(endpoint, &self.names, self.nodes).run(self.range, progress));
        for counted in join_all(asked).await {
            merge(tallies, counted);
        }
    }

    /// What would be asked, for people.
    pub fn explain(&self, endpoints: &[Endpoint]) -> String {
        let mut text = format!(
            "{QUESTIONS} queries to each of {} servers: {} in all, and more only where a server finds one too much.\n",
            endpoints.len(),
            QUESTIONS * endpoints.len()
        );
        for ask in Ask::ALL {
            let query = self.names.query(ask, ask.range(self.range));
            let when = match query.when {
                When::At(time) => format!("at {time}"),
                When::Every { range, step } => format!("from {} to {}, every {step} s", range.from, range.to),
            };
            text.push_str(&format!("\n# {}, {when}\n{}\n", ask.about(), query.text));
        }
        text
    }
}

/// Adds what one server said to what others did.
fn merge(tallies: &mut Tallies, counted: Tallies) {
    tallies.sources.extend(counted.sources);
    tallies.gaps.extend(counted.gaps);
    for (key, tally) in counted.containers {
        match tallies.containers.entry(key) {
            Entry::Vacant(entry) => {
                entry.insert(tally);
            }
            Entry::Occupied(entry) => entry.into_mut().merge_replica(tally),
        }
    }
    for (cluster, watched) in counted.watched {
        match tallies.watched.entry(cluster) {
            Entry::Vacant(entry) => {
                entry.insert(watched);
            }
            Entry::Occupied(entry) => larger(entry.into_mut(), watched),
        }
    }
}

/// Of two replicas the one that saw more, number by number.
fn larger(mine: &mut Watched, theirs: Watched) {
    let more = |a: Option<f64>, b: Option<f64>| match (a, b) {
        (Some(a), Some(b)) => Some(a.max(b)),
        (a, b) => a.or(b),
    };
    mine.nodes = mine.nodes.max(theirs.nodes);
    mine.agents = mine.agents.max(theirs.agents);
    mine.hidden_nodes = mine.hidden_nodes.max(theirs.hidden_nodes);
    mine.hidden_pods = mine.hidden_pods.max(theirs.hidden_pods);
    mine.lost_events = mine.lost_events.max(theirs.lost_events);
    mine.watched_hours = more(mine.watched_hours, theirs.watched_hours);
    mine.all_hours = more(mine.all_hours, theirs.all_hours);
    for (reason, count) in theirs.unattributed {
        let mine = mine.unattributed.entry(reason).or_default();
        *mine = (*mine).max(count);
    }
}
