//! From the answers of one server to what was counted.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use jiff::Timestamp;

use super::super::super::tally::{Gap, Key, Source, Tallies, Watched};
use super::answer::{Labels, Series, parse};
use super::endpoint::Endpoint;
use super::error::AskError;
use super::queries::{Ask, Names, Query, Range, When};
use crate::judge::shutdown::{Cause, Outcome, Verdict};

/// A range that is too much for a server is asked in halves, down to this length.
const SHORTEST: i64 = 3600;
/// Questions to one server, whatever it finds too much.
const MOST: usize = 400;

/// Questions that are on their way to one server at a time: it answers each with one thread, and one of them takes longer
/// than all others together.
const AT_ONCE: usize = 2;

/// What one server says.
pub(super) struct Collector<'e> {
    endpoint: &'e Endpoint,
    names: &'e Names,
    nodes: Option<u64>,
    tallies: Tallies,
    buckets: BTreeMap<Key, BTreeMap<Edge, u64>>,
    before: Vec<(Key, Verdict, u64)>,
    agents: BTreeMap<String, Line>,
    all_nodes: BTreeMap<String, Line>,
    unknown_names: u64,
    asked: usize,
}

/// An upper edge in thousandths, the infinite one last.
type Edge = u64;
/// Values by time, in seconds.
type Line = BTreeMap<i64, f64>;

impl<'e> Collector<'e> {
    pub(super) fn new(endpoint: &'e Endpoint, names: &'e Names, nodes: Option<u64>) -> Self {
        let source = Source { kind: "prometheus", name: endpoint.address.clone() };
        Self {
            endpoint,
            names,
            nodes,
            tallies: Tallies { sources: vec![source], ..Tallies::default() },
            buckets: BTreeMap::new(),
            before: Vec::new(),
            agents: BTreeMap::new(),
            all_nodes: BTreeMap::new(),
            unknown_names: 0,
            asked: 0,
        }
    }

    /// Asks everything. What is not answered is a gap; a server that cannot be talked to is asked no further.
    pub(super) async fn run(self, period: Range, progress: &dyn Fn()) -> Tallies {
        let collector = RefCell::new(self);
        let answered = async |ask: Ask| {
            let result = Self::ask(&collector, ask, period).await;
            progress();
            (ask, result)
        };
        let mut results = stream::iter(Ask::ALL).map(answered).buffer_unordered(AT_ONCE);
        while let Some((ask, result)) = results.next().await {
            if let Err(error) = result {
                let is_over =
                    !matches!(error, AskError::Refused { .. } | AskError::TooMuch { .. } | AskError::TooLong { .. });
                let about = if is_over { String::new() } else { format!(" ({})", ask.about()) };
                let mut collector = collector.borrow_mut();
                let message = format!("{}{about} {error}", collector.endpoint.address);
                collector.gap(&message);
                if is_over {
                    break;
                }
            }
        }
        drop(results);
        collector.into_inner().close(period)
    }

    async fn ask(collector: &RefCell<Self>, ask: Ask, period: Range) -> Result<(), AskError> {
        let (endpoint, names) = {
            let collector = collector.borrow();
            (collector.endpoint, collector.names)
        };
        let mut left = vec![ask.range(period)];
        while let Some(part) = left.pop() {
            let query = names.query(ask, part);
            let (status, body) = endpoint.client.ask(&query).await?;
            let mut collector = collector.borrow_mut();
            collector.asked += 1;
            let may_split = ask.can_be_split() && part.seconds() > SHORTEST && collector.asked < MOST;
            match parse(status, &body) {
                Err(AskError::TooMuch { .. }) if may_split => {
                    let [first, second] = part.halves();
                    left.extend([second, first]);
                }
                Err(error) => return Err(error),
                Ok(answer) => {
                    for warning in &answer.warnings {
                        let message = format!("{} warns ({}): {warning}", endpoint.address, ask.about());
                        collector.gap(&message);
                    }
                    for series in &answer.series {
                        collector.take(ask, series, &query, period);
                    }
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, ask: Ask, series: &Series<'_>, query: &Query, period: Range) {
        let key = self.key(&series.metric);
        match ask {
            Ask::Shutdowns | Ask::Newborn => {
                let count = series.last().map_or(0, whole);
                let verdict = self.verdict(&series.metric);
                let tally = self.tallies.containers.entry(key).or_default();
                tally.verdicts.entry(verdict).or_default().shutdowns += count;
            }
            Ask::Before => {
                let (count, verdict) = (series.last().map_or(0, whole), self.verdict(&series.metric));
                if count > 0 {
                    self.before.push((key, verdict, count));
                }
            }
            Ask::Durations => {
                if let (Some(edge), Some(count)) = (edge(&series.metric.le), series.last()) {
                    *self.buckets.entry(key).or_default().entry(edge).or_default() += whole(count);
                }
            }
            Ask::Avoidable => {
                let wait = Duration::try_from_secs_f64(series.last().unwrap_or_default().max(0.0)).unwrap_or_default();
                let tally = self.tallies.containers.entry(key).or_default();
                tally.avoidable = tally.avoidable.saturating_add(wait);
            }
            Ask::Grace => {
                let grace = series.last().and_then(|grace| Duration::try_from_secs_f64(grace).ok());
                let tally = self.tallies.containers.entry(key).or_default();
                tally.grace = tally.grace.max(grace);
            }
            Ask::Seen => self.seen(key, series, query, period),
            Ask::Lost => *self.watched(&key.cluster).lost_events.get_or_insert(0) += series.last().map_or(0, whole),
            Ask::Unattributed => {
                let reason = series.metric.reason.clone().into_owned();
                *self.watched(&key.cluster).unattributed.entry(reason).or_default() += series.last().map_or(0, whole);
            }
            Ask::Agents => self.agents.entry(key.cluster).or_default().extend(line(series)),
            Ask::Nodes => self.all_nodes.entry(key.cluster).or_default().extend(line(series)),
            Ask::HiddenNodes => self.watched(&key.cluster).hidden_nodes = series.last().map(whole),
            Ask::HiddenPods => self.watched(&key.cluster).hidden_pods = series.last().map(whole),
        }
    }

    /// A part of the period ends at its point, and had a shutdown somewhere in it.
    fn seen(&mut self, key: Key, series: &Series<'_>, query: &Query, period: Range) {
        let step = match query.when {
            When::Every { step, .. } => step,
            When::At(_) => 0,
        };
        let at = |second: i64| Timestamp::from_second(second).unwrap_or(period.to).clamp(period.from, period.to);
        let tally = self.tallies.containers.entry(key).or_default();
        for (second, _) in line(series) {
            tally.seen_at(at(second - step));
            tally.seen_at(at(second));
        }
    }

    fn key(&self, labels: &Labels<'_>) -> Key {
        let cluster =
            if labels.cluster.is_empty() { self.endpoint.name.clone() } else { labels.cluster.clone().into_owned() };
        Key {
            cluster,
            namespace: labels.namespace.clone().into_owned(),
            kind: labels.workload_type.clone().into_owned(),
            workload: labels.workload.clone().into_owned(),
            container: labels.container.clone().into_owned(),
        }
    }

    /// A name that this version does not know was written by a later one: it is not judged here.
    fn verdict(&mut self, labels: &Labels<'_>) -> Verdict {
        let outcome = Outcome::ALL.into_iter().find(|outcome| outcome.name() == labels.outcome);
        let cause = Cause::ALL.into_iter().find(|cause| cause.name() == labels.cause);
        if let (Some(outcome), Some(cause)) = (outcome, cause) {
            return Verdict { outcome, cause };
        }
        self.unknown_names += 1;
        Verdict { outcome: Outcome::Unknown, cause: Cause::Unknown }
    }

    fn watched(&mut self, cluster: &str) -> &mut Watched {
        self.tallies.watched.entry(cluster.to_owned()).or_default()
    }

    fn gap(&mut self, message: &str) {
        let cluster = (!self.endpoint.name.is_empty()).then(|| self.endpoint.name.clone());
        self.tallies.gaps.push(Gap { cluster, message: message.to_owned() });
    }

    fn close(mut self, period: Range) -> Tallies {
        if self.unknown_names > 0 {
            let message =
                format!("{} has verdicts that this version does not know: use a later one", self.endpoint.address);
            self.gap(&message);
        }
        if self.tallies.gaps.is_empty() && self.tallies.containers.is_empty() && self.agents.is_empty() {
            let message = format!(
                "{} has no series of signal-trace in that period: is it the right server, and does it scrape the agents?",
                self.endpoint.address
            );
            self.gap(&message);
        }
        for (key, buckets) in std::mem::take(&mut self.buckets) {
            let tally = self.tallies.containers.entry(key).or_default();
            let mut below = 0;
            for (edge, cumulative) in buckets {
                tally.durations.add_between(upper(edge), cumulative.saturating_sub(below));
                below = below.max(cumulative);
            }
        }
        for (key, verdict, count) in std::mem::take(&mut self.before) {
            // A workload that is no more has no part in the period.
            if let Some(tally) = self.tallies.containers.get_mut(&key) {
                tally.before.entry(verdict).or_default().shutdowns += count;
            }
        }
        self.cover(period);
        self.tallies.gaps.sort();
        self.tallies
    }

    /// Node-hours: at every point of time the agents of as many nodes as there were.
    fn cover(&mut self, period: Range) {
        let mut clusters: Vec<String> = self.agents.keys().chain(self.all_nodes.keys()).cloned().collect();
        clusters.extend(self.tallies.containers.keys().map(|key| key.cluster.clone()));
        clusters.sort();
        clusters.dedup();
        let is_only = clusters.len() == 1;
        let step = step(self.names, period);
        for cluster in clusters {
            let agents = self.agents.remove(&cluster).unwrap_or_default();
            let all = self.all_nodes.remove(&cluster).unwrap_or_default();
            let watched = self.tallies.watched.entry(cluster).or_default();
            watched.agents = Some(last(&agents, period, step).unwrap_or(0));
            let [part, whole] = match self.nodes.filter(|_| is_only) {
                Some(nodes) => {
                    watched.nodes = Some(nodes);
                    of_constant(&agents, nodes, period.seconds() / step + 1)
                }
                None if all.is_empty() => continue,
                None => {
                    watched.nodes = last(&all, period, step);
                    of_counted(&agents, &all)
                }
            };
            watched.watched_hours = Some(part * hours(step));
            watched.all_hours = Some(whole * hours(step));
        }
    }
}

fn line(series: &Series<'_>) -> impl Iterator<Item = (i64, f64)> {
    series.points().map(|(time, value)| (seconds(time), value))
}

fn step(names: &Names, period: Range) -> i64 {
    match names.query(Ask::Agents, period).when {
        When::Every { step, .. } => step,
        When::At(_) => 1,
    }
}

/// Watched nodes and all nodes, summed over the points at which they were counted.
fn of_counted(agents: &Line, nodes: &Line) -> [f64; 2] {
    let at = |time: &i64| agents.get(time).copied().unwrap_or(0.0);
    [nodes.iter().map(|(time, nodes)| at(time).min(*nodes)).sum(), nodes.values().sum()]
}

/// The same where there were as many nodes all the time, at so many points that were asked for. Which points they are a
/// server decides: one that moves them to multiples of the step may have one more.
#[expect(clippy::cast_precision_loss, reason = "numbers of nodes and points")]
fn of_constant(agents: &Line, nodes: u64, points: i64) -> [f64; 2] {
    let nodes = nodes as f64;
    let points = (points as f64).max(agents.len() as f64);
    [agents.values().map(|agents| agents.min(nodes)).sum(), points * nodes]
}

/// The value at the end of the period.
fn last(line: &Line, period: Range, step: i64) -> Option<u64> {
    let (time, value) = line.last_key_value()?;
    (*time > period.to.as_second() - 2 * step).then(|| whole(*value))
}

#[expect(clippy::cast_precision_loss, reason = "seconds of a period")]
fn hours(step: i64) -> f64 {
    step as f64 / 3600.0
}

/// The whole number that a sum of whole numbers is.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates, and is cut at 0")]
fn whole(value: f64) -> u64 {
    value.round().max(0.0) as u64
}

#[expect(clippy::cast_possible_truncation, reason = "seconds since 1970")]
fn seconds(time: f64) -> i64 {
    time.round() as i64
}

fn edge(le: &str) -> Option<Edge> {
    let upper: f64 = le.parse().ok()?;
    if upper.is_infinite() { Some(Edge::MAX) } else { Some(whole(upper * 1000.0)) }
}

#[expect(clippy::cast_precision_loss, reason = "thousandths of some hundred seconds")]
fn upper(edge: Edge) -> f64 {
    if edge == Edge::MAX { f64::INFINITY } else { edge as f64 / 1000.0 }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::endpoint::Access;
    use super::*;
    use crate::audit::score::tenth;

    /// 120 steps of 3 minutes, from a fraction of a second that is no multiple of one.
    fn period() -> Range {
        let at = |text: &str| text.parse().unwrap();
        Range { from: at("2026-11-22T06:01:40.7Z"), to: at("2026-11-22T12:01:40.7Z") }
    }

    /// What is said of two nodes, if a server counted two agents at these seconds after 06:00.
    fn covered(seconds: impl Iterator<Item = f64>) -> Watched {
        let endpoint = Access::default().endpoint("http://127.0.0.1:9090").unwrap();
        let names = Names::default();
        let mut collector = Collector::new(&endpoint, &names, Some(2));
        let values: Vec<_> = seconds.map(|second| json!([1_795_327_200.0 + second, "2"])).collect();
        let body = json!({ "status": "success", "data": { "result": [{ "metric": {}, "values": values }] } });
        let body = body.to_string();
        let query = names.query(Ask::Agents, period());
        for series in &parse(200, body.as_bytes()).unwrap().series {
            collector.take(Ask::Agents, series, &query, period());
        }
        collector.close(period()).watched.remove("").unwrap()
    }

    fn every_step(points: std::ops::Range<i32>) -> impl Iterator<Item = f64> {
        points.map(|n| 180.0 * f64::from(n))
    }

    #[test]
    fn an_agent_on_each_of_so_many_nodes_watches_them_all() {
        let as_asked = covered(every_step(0..121).map(|second| second + 100.7));
        let at_multiples = covered(every_step(0..121));
        let with_one_more = covered(every_step(0..122));
        for watched in [as_asked, at_multiples, with_one_more] {
            assert_eq!((watched.nodes, watched.agents), (Some(2), Some(2)));
            assert_eq!(watched.watched_hours, watched.all_hours);
            assert!(watched.all_hours.is_some_and(|hours| hours > 12.0));
        }
    }

    #[test]
    fn where_no_agent_was_counted_none_of_so_many_nodes_was_watched() {
        let late = covered(every_step(91..121).map(|second| second + 100.7));
        assert_eq!((late.nodes, late.agents), (Some(2), Some(2)));
        assert_eq!((late.watched_hours.map(tenth), late.all_hours.map(tenth)), (Some(3.0), Some(12.1)));
    }
}
