//! Kubernetes events about shutdowns that did not go well.
//!
//! One worker with a bounded queue writes them; whoever offers one never waits. What is written is decided without I/O:
//! [`notice`] says what, [`series`] whether it is a repeat, [`rate`] whether it may be written now, [`api`] what an answer
//! of the server means. Every event ends in exactly one [`KubeEvent`], so none is lost unseen.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ::kube::Client;
use tokio::sync::mpsc;

use api::{Answer, Api};
use notice::Notice;
use rate::Rates;
use series::{Flush, Series};

use crate::kube::wait;
use crate::report::metrics::KubeEvent;

pub mod api;
pub mod notice;
pub mod rate;
pub mod series;

/// Events that may wait to be written.
const QUEUE: usize = 256;
/// How often one event is tried.
const TRIES: u32 = 4;
/// The wait before the second try; each later one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// Whoever counts what became of events.
pub trait CountEvents: Send + Sync + 'static {
    /// One more ended like this.
    fn count(&self, result: KubeEvent);
}

impl<F: Fn(KubeEvent) + Send + Sync + 'static> CountEvents for F {
    fn count(&self, result: KubeEvent) {
        self(result);
    }
}

/// Where events are offered.
#[derive(Clone)]
pub struct EventWriter {
    queue: mpsc::Sender<Box<Notice>>,
    counter: Arc<dyn CountEvents>,
}

impl EventWriter {
    /// Has it written soon, or counts it as dropped. Never waits.
    pub fn offer(&self, notice: Box<Notice>) {
        if self.queue.try_send(notice).is_err() {
            self.counter.count(KubeEvent::DroppedQueue);
        }
    }
}

/// What writes them: a future to be spawned.
pub struct Worker {
    queue: mpsc::Receiver<Box<Notice>>,
    counter: Arc<dyn CountEvents>,
    api: Api,
    rates: Rates,
    series: Series,
    said_refused: bool,
}

/// A writer of events in the name of `node`, and its worker. The client must not try again by itself.
pub fn writer(client: Client, node: &str, counter: Arc<dyn CountEvents>) -> (EventWriter, Worker) {
    let (sender, queue) = mpsc::channel(QUEUE);
    let worker = Worker {
        queue,
        counter: Arc::clone(&counter),
        api: Api::new(client, node),
        rates: Rates::default(),
        series: Series::default(),
        said_refused: false,
    };
    (EventWriter { queue: sender, counter }, worker)
}

impl Worker {
    /// Writes until every [`EventWriter`] is gone and the queue is empty.
    pub async fn run(mut self) {
        loop {
            let flush_at = self.series.next_flush();
            tokio::select! {
                notice = self.queue.recv() => match notice {
                    Some(notice) => self.take(notice).await,
                    None => break,
                },
                () = wait::until(flush_at) => self.flush(wait::now()).await,
            }
        }
        for flush in self.series.drain() {
            self.update(flush).await;
        }
    }

    async fn take(&mut self, notice: Box<Notice>) {
        let now = wait::now();
        let Some(notice) = self.series.repeated(notice, now) else { return };
        self.create(notice, now).await;
    }

    async fn create(&mut self, notice: Box<Notice>, now: Instant) {
        if !self.rates.allow(&notice.pod_uid, now) {
            self.counter.count(KubeEvent::DroppedRate);
            return;
        }
        let mut name = 0;
        let mut tries = 1;
        let result = loop {
            let answer = self.api.create(&notice, name).await;
            if answer == Answer::NameTaken && name < TRIES {
                name += 1;
            } else if let Answer::Later(wait) = answer
                && tries < TRIES
            {
                tokio::time::sleep(wait.unwrap_or(FIRST_WAIT * (1 << (tries - 1)))).await;
                tries += 1;
            } else {
                break self.result_of(&answer, KubeEvent::Written);
            }
        };
        if result == KubeEvent::Written {
            self.said_refused = false;
            let evicted = self.series.written(&notice, notice.event_name(name), wait::now());
            if let Some(flush) = evicted {
                self.update(flush).await;
            }
        }
        self.counter.count(result);
    }

    async fn flush(&mut self, now: Instant) {
        while self.series.next_flush().is_some_and(|at| at <= now) {
            if !self.rates.allow_update(now) {
                self.series.postpone(now);
            } else if let Some(flush) = self.series.due(now) {
                self.update(flush).await;
            }
        }
    }

    /// One try: what it does not write is in the next update of this series, with its count.
    async fn update(&mut self, flush: Flush) {
        let answer = self.api.update(&flush).await;
        if answer == Answer::Gone {
            // The event has expired, or was deleted: the repeat is news again.
            self.series.forget(&flush);
            Box::pin(self.create(flush.notice, wait::now())).await;
        } else {
            let result = self.result_of(&answer, KubeEvent::Updated);
            self.counter.count(result);
        }
    }

    fn result_of(&mut self, answer: &Answer, done: KubeEvent) -> KubeEvent {
        match answer {
            Answer::Done => done,
            Answer::Gone | Answer::NamespaceTerminating => KubeEvent::DroppedNamespaceGone,
            Answer::Malformed(message) => {
                tracing::error!(answer = %message, "the API server found an event malformed: a mistake of this program");
                KubeEvent::Rejected
            }
            Answer::Refused(message) => {
                if !self.said_refused {
                    self.said_refused = true;
                    tracing::warn!(
                        answer = %message,
                        "not allowed to write events: grant create and patch on events in events.k8s.io"
                    );
                }
                KubeEvent::Failed
            }
            Answer::NameTaken | Answer::Later(_) => KubeEvent::Failed,
        }
    }
}

#[cfg(test)]
mod tests;
