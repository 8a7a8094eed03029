//! Runs cases, many at a time, each in a namespace of its own, and closes when the agent has said its last word: only
//! then is it known that nothing else was said.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::board::{Board, Seen, container_id};
use super::case::{Case, State, Step, Until};
use super::check;
use super::cluster::Cluster;
use super::images;
use super::metrics::Metrics;
use super::node::{self, STATE};
use crate::{child, pool};

/// How long a counter may lag behind its record.
const LAG: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(250);

/// What cases run against.
pub(crate) struct Bed<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) board: &'a Board,
    /// Ends every namespace's name, so that a node can be used twice.
    pub(crate) run: String,
    pub(crate) at_a_time: usize,
    /// The metrics of all agents.
    pub(crate) scrape: &'a (dyn Fn() -> Result<Metrics> + Sync),
    /// What the pods run, where it is not what is built for our own node.
    pub(crate) image: Option<&'a str>,
}

/// What came of a case.
#[derive(Debug)]
pub(crate) struct Outcome<'a> {
    pub(crate) case: &'a Case,
    pub(crate) namespace: String,
    pub(crate) seconds: f64,
    pub(crate) problems: Vec<String>,
}

impl Bed<'_> {
    /// Runs them all; what takes longest begins first, and what has to be alone comes last.
    pub(crate) fn run<'a>(&self, cases: &'a [Case]) -> Vec<Outcome<'a>> {
        let (alone, mut order): (Vec<_>, Vec<_>) = cases.iter().partition(|case| case.alone);
        order.sort_by_key(|case| std::cmp::Reverse(case.within));
        let mut outcomes = pool::each(self.at_a_time, &order, |case| self.one(case));
        outcomes.extend(alone.into_iter().map(|case| self.one(case)));
        outcomes.sort_by(|one, other| one.case.name.cmp(&other.case.name));
        outcomes
    }

    fn one<'a>(&self, case: &'a Case) -> Outcome<'a> {
        let started = Instant::now();
        let namespace = format!("{}-{}", case.name, self.run);
        let played = self.play(case, &namespace, started + Duration::from_secs(case.within));
        let problems = played.err().map(|error| format!("{error:#}")).into_iter().collect();
        let outcome = Outcome { case, namespace, seconds: started.elapsed().as_secs_f64(), problems };
        let word = if outcome.problems.is_empty() { "done" } else { "failed" };
        anstream::eprintln!("{0}{1}: {word} after {2:.1} s{0:#}", child::QUIET, case.name, outcome.seconds);
        outcome
    }

    fn play(&self, case: &Case, namespace: &str, deadline: Instant) -> Result<()> {
        let objects: Vec<_> = case.manifests.iter().map(|object| self.placed(object, namespace)).collect();
        self.cluster.create(namespace, &objects)?;
        for pod in case.pods().filter(|_| case.ready) {
            self.board.until(namespace, &Until { pods: pod.into(), count: 1, are: State::Ready }, deadline)?;
        }
        for (index, step) in case.steps.iter().enumerate() {
            self.step(step, namespace, deadline).with_context(|| format!("step {}", index + 1))?;
        }
        let complete = |seen: &Seen| {
            let paired = check::pair(&case.verdicts, seen.records_of(namespace));
            (paired.is_complete() && paired.event_problems(events(seen, namespace)).is_empty()).then_some(())
        };
        if self.board.wait(deadline, complete)?.is_none() {
            let seen = self.board.look();
            let paired = check::pair(&case.verdicts, seen.records_of(namespace));
            bail!("{}", [paired.problems(), paired.event_problems(events(&seen, namespace))].concat().join("\n"));
        }
        self.counted(case, namespace)
    }

    /// Waits until the metrics say the same as the records.
    fn counted(&self, case: &Case, namespace: &str) -> Result<()> {
        let deadline = Instant::now() + LAG;
        loop {
            let metrics = (self.scrape)()?;
            let records: Vec<_> = self.board.look().records_of(namespace).cloned().collect();
            let paired = check::pair(&case.verdicts, &records);
            let problems = check::metric_problems(case, namespace, &paired, &metrics);
            if problems.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                bail!("{}", problems.join("\n"));
            }
            self.board.interrupt.check()?;
            std::thread::sleep(LOOK);
        }
    }

    fn step(&self, step: &Step, namespace: &str, deadline: Instant) -> Result<()> {
        match step {
            Step::Kubectl(words) => {
                let mut kubectl = self.cluster.kubectl();
                kubectl.args(["--namespace", namespace]);
                child::read(kubectl.args(words.each(|word| word.replace("@NS", namespace)))).map(drop)
            }
            Step::Ctr(words) => {
                let words = words.each(|word| self.with_id(word, namespace));
                node::ctr(&self.cluster.bin, &words).map(drop)
            }
            Step::Post { path, body } => {
                self.cluster.post(&path.replace("@NS", namespace), &self.placed(body, namespace))
            }
            Step::Static { file, manifest } => {
                // The kubelet reads a file as soon as it sees it, so it has to be there as a whole.
                let whole = std::path::Path::new(STATE).join(file);
                std::fs::write(&whole, self.placed(manifest, namespace).to_string())?;
                Ok(std::fs::rename(whole, static_file(file))?)
            }
            Step::Remove(file) => Ok(std::fs::remove_file(static_file(file))?),
            Step::Until(until) => self.board.until(namespace, until, deadline),
            Step::Record(pattern) => {
                let said = |seen: &Seen| {
                    seen.records_of(namespace).any(|record| super::pattern::matches(pattern, record)).then_some(())
                };
                self.board.wait(deadline, said)?.with_context(|| format!("no record like {pattern}"))
            }
        }
    }

    /// The same object in this namespace, with the image that there is.
    fn placed(&self, object: &Value, namespace: &str) -> Value {
        let image = self.image.unwrap_or(images::TOOLS);
        replaced(object, &|text| text.replace("@NS", namespace).replace(images::TOOLS, image))
    }

    /// `@POD/CONTAINER` becomes the container's id.
    fn with_id(&self, word: &str, namespace: &str) -> String {
        let Some((pod, container)) = word.strip_prefix('@').and_then(|word| word.split_once('/')) else {
            return word.to_owned();
        };
        let seen = self.board.look();
        let found = seen.pods.get(&(namespace.to_owned(), pod.to_owned()));
        found.and_then(|pod| container_id(pod, container)).unwrap_or_else(|| word.to_owned())
    }
}

/// Looks at every namespace once more, when nothing can be added any longer.
pub(crate) fn close(outcomes: &mut [Outcome<'_>], seen: &Seen) {
    for outcome in outcomes.iter_mut().filter(|outcome| outcome.problems.is_empty()) {
        let paired = check::pair(&outcome.case.verdicts, seen.records_of(&outcome.namespace));
        outcome.problems = paired.problems();
        outcome.problems.extend(paired.event_problems(events(seen, &outcome.namespace)));
        let mut twice: BTreeMap<String, usize> = BTreeMap::new();
        for record in seen.records_of(&outcome.namespace) {
            *twice.entry(record["container"]["id"].to_string()).or_default() += 1;
        }
        let twice = twice.into_iter().filter(|(_, count)| *count > 1);
        outcome.problems.extend(twice.map(|(id, count)| format!("container {id} was judged {count} times")));
    }
}

/// What is expected of a case and what was said, for a table.
pub(crate) fn verdicts<'v>(records: impl Iterator<Item = (&'v Value, usize)>) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for (record, times) in records {
        *counts.entry(check::verdict(record)).or_default() += times;
    }
    let words =
        counts.into_iter().map(|(verdict, times)| if times > 1 { format!("{times} x {verdict}") } else { verdict });
    let words = words.collect::<Vec<_>>().join(", ");
    if words.is_empty() { "nothing".into() } else { words }
}

fn events<'a>(seen: &'a Seen, namespace: &'a str) -> impl Iterator<Item = &'a Value> {
    seen.events.values().filter(move |event| event["regarding"]["namespace"] == namespace)
}

fn static_file(file: &str) -> std::path::PathBuf {
    std::path::Path::new(STATE).join("static").join(file)
}

/// The same object with every text replaced.
fn replaced(object: &Value, replace: &dyn Fn(&str) -> String) -> Value {
    match object {
        Value::String(text) => Value::String(replace(text)),
        Value::Array(values) => values.iter().map(|value| replaced(value, replace)).collect(),
        Value::Object(fields) => fields.iter().map(|(key, value)| (key.clone(), replaced(value, replace))).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => object.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_are_replaced_wherever_they_stand() {
        let object = json!({"a": ["@NS", {"b": "x.@NS.y"}], "c": 1, "d": null});
        let replaced = replaced(&object, &|text| text.replace("@NS", "shop"));
        assert_eq!(replaced, json!({"a": ["shop", {"b": "x.shop.y"}], "c": 1, "d": null}));
    }

    #[test]
    fn verdicts_are_counted() {
        let graceful = json!({"outcome": "graceful", "cause": "none"});
        let ignored = json!({"outcome": "grace_exceeded", "cause": "ignored"});
        assert_eq!(verdicts([(&ignored, 1), (&graceful, 2)].into_iter()), "grace_exceeded/ignored, 2 x graceful");
        assert_eq!(verdicts(std::iter::empty()), "nothing");
    }

    #[test]
    fn what_is_said_after_a_case_was_done_still_counts() {
        let case = Case::parse("a", "{about: x, verdicts: [{record: {outcome: graceful, cause: none}}]}").unwrap();
        let record = |id: &str| {
            json!({"outcome": "graceful", "cause": "none", "container": {"id": id, "name": "app"},
                "pod": {"namespace": "a-1", "name": "web", "uid": "u"}})
        };
        let outcome = || Outcome { case: &case, namespace: "a-1".into(), seconds: 1.0, problems: Vec::new() };
        let closed = |records: Vec<Value>| {
            let mut outcomes = [outcome()];
            close(&mut outcomes, &Seen { records, ..Seen::default() });
            outcomes[0].problems.len()
        };
        assert_eq!(closed(vec![record("x")]), 0);
        assert_eq!(closed(vec![record("x"), record("x")]), 2, "not expected, and twice");
        assert_eq!(closed(vec![]), 1);
    }
}
