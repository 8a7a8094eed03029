//! The pods of this node, as the API server tells them.
//!
//! A watch that heals itself: it goes on after a broken or a silently dead connection, lists anew when its place in the
//! history is gone or when it was out of touch, asks again more and more slowly, and says that it is out of touch once
//! and not each time. Full objects live for one call only; what goes on is a [`PodRecord`].

use std::pin::Pin;
use std::time::Duration;

use ::kube::runtime::watcher::{self, Event, InitialListStrategy, ListSemantic, watcher};
use ::kube::{Api, Client};
use futures_util::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::kube::attribution::MAX_PODS;
use crate::kube::client::RetryAfter;
use crate::kube::labels::Labels;
use crate::kube::pod::{PodChange, PodRecord, strip};
use crate::kube::stable_hash;

/// A server that never says that it has listed everything does not know how to list by a watch.
const STREAMED_LIST: Duration = Duration::from_secs(30);
/// The server is asked to end a watch after this, and up to a minute more so that nodes do not come back together.
const WATCH_FOR: u32 = 240;
/// Failures that are further apart than this have nothing to do with each other: a connection attempt takes 30 s at most.
const UNRELATED: Duration = Duration::from_secs(90);
/// A watch that breaks after it has lived for this long had been in touch.
const LIVED: Duration = Duration::from_secs(5);
/// Failing for so long is being out of touch.
const TOLERATED: Duration = Duration::from_secs(10);
/// The wait after a first failure; each later one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// The longest wait between two tries.
const LAST_WAIT: Duration = Duration::from_secs(30);

type Pods = Pin<Box<dyn Stream<Item = watcher::Result<Event<PodRecord>>> + Send>>;

/// A watch on the pods of one node.
pub struct PodWatch {
    client: Client,
    node: String,
    labels: Labels,
    retry_after: RetryAfter,
    strategy: InitialListStrategy,
    stream: Option<Pods>,
    listing: Option<Listing>,
    resume_at: Option<Instant>,
    failing: Option<Failing>,
}

/// A list in the making.
struct Listing {
    pods: Vec<PodRecord>,
    until: Instant,
    times: u32,
}

/// A row of failures.
struct Failing {
    since: Instant,
    /// When it is tried again.
    next: Instant,
    times: u32,
    said: bool,
}

impl PodWatch {
    /// On the pods whose `spec.nodeName` this is; those without the labels are told too, as not selected. Connects when
    /// it is first asked for news.
    pub fn new(client: Client, retry_after: RetryAfter, node: &str, labels: Labels) -> Self {
        Self {
            client,
            node: node.to_owned(),
            labels,
            retry_after,
            strategy: InitialListStrategy::StreamingList,
            stream: None,
            listing: None,
            resume_at: None,
            failing: None,
        }
    }

    /// The next piece of news; waits until there is one. May be dropped and called again without loss.
    pub async fn next(&mut self) -> PodChange {
        loop {
            if let Some(at) = self.resume_at {
                sleep_until(at).await;
                self.resume_at = None;
            }
            let Self { client, node, labels, strategy, stream, .. } = self;
            let stream = stream.get_or_insert_with(|| pods(client.clone(), node, labels.clone(), strategy.clone()));
            let item = match &self.listing {
                Some(listing) if self.strategy == InitialListStrategy::StreamingList => {
                    timeout_at(listing.until, stream.next()).await
                }
                Some(_) | None => Ok(stream.next().await),
            };
            let change = match item {
                Ok(Some(Ok(event))) => self.event(event),
                Ok(Some(Err(error))) => self.failed(&error),
                Ok(None) => {
                    self.start_over();
                    None
                }
                Err(_elapsed) => {
                    self.list_instead();
                    None
                }
            };
            if let Some(change) = change {
                return change;
            }
        }
    }

    fn event(&mut self, event: Event<PodRecord>) -> Option<PodChange> {
        match event {
            Event::Init => {
                let now = Instant::now();
                // A list that was cut off and begins anew.
                let before = self.listing.take();
                let times = before.as_ref().map_or(0, |l| l.times + 1);
                self.resume_at = before.as_ref().map(|_| now + wait(times, &self.node));
                let until = before.map_or(now + STREAMED_LIST, |l| l.until);
                self.listing = Some(Listing { pods: Vec::new(), until, times });
                None
            }
            Event::InitApply(pod) => {
                let listing = self.listing.as_mut()?;
                if listing.pods.len() < MAX_PODS {
                    listing.pods.push(pod);
                }
                None
            }
            Event::InitDone => {
                let listing = self.listing.take()?;
                self.in_touch();
                Some(PodChange::Relisted(listing.pods))
            }
            Event::Apply(pod) => Some(PodChange::Applied(Box::new(pod))),
            Event::Delete(pod) => Some(PodChange::Deleted(Box::new(pod))),
        }
    }

    fn in_touch(&mut self) {
        if let Some(failing) = self.failing.take().filter(|f| f.said) {
            let after_seconds = failing.since.elapsed().as_secs();
            tracing::info!(node = %self.node, after_seconds, "in touch with the API server again");
        }
    }

    fn failed(&mut self, error: &watcher::Error) -> Option<PodChange> {
        let status = status_of(error);
        match status {
            Some(410) => self.start_over(),
            // It does not know the parameters of a list by watch, or will not have them.
            Some(400 | 422) if self.strategy == InitialListStrategy::StreamingList => {
                self.list_instead();
                return None;
            }
            Some(_) | None => {}
        }
        let now = Instant::now();
        let broke = matches!(error, watcher::Error::WatchFailed(_));
        let same_row = |f: &Failing| f.said || now - f.next < if broke { LIVED } else { UNRELATED };
        let first = Failing { since: now, next: now, times: 0, said: false };
        let mut failing = self.failing.take().filter(same_row).unwrap_or(first);
        failing.times = failing.times.saturating_add(1);
        let wait = wait(failing.times, &self.node).max(self.retry_after.take().unwrap_or_default());
        failing.next = now + wait;
        self.resume_at = Some(failing.next);
        let refused = matches!(status, Some(401 | 403));
        let lost = refused || (failing.times > 1 && now - failing.since >= TOLERATED);
        tracing::debug!(%error, times = failing.times, ?wait, "the watch on pods failed");
        let news = lost && !failing.said;
        if news {
            self.say_lost(error, refused);
            failing.said = true;
        }
        self.failing = Some(failing);
        if lost {
            // Only a whole list shows that nothing is missing any more.
            self.start_over();
        }
        news.then_some(PodChange::OutOfTouch)
    }

    fn say_lost(&self, error: &watcher::Error, refused: bool) {
        let node = &self.node;
        if refused {
            tracing::warn!(
                %error, %node,
                "not allowed to watch pods: grant get, list and watch on pods; shutdowns have no names until then"
            );
        } else {
            tracing::warn!(%error, %node, "out of touch with the API server: news of pods is late until it is back");
        }
    }

    fn list_instead(&mut self) {
        tracing::debug!("the API server does not list by a watch: listing the ordinary way");
        self.strategy = InitialListStrategy::ListWatch;
        self.start_over();
    }

    fn start_over(&mut self) {
        self.stream = None;
        self.listing = None;
    }
}

/// Lists from the server's cache: a thousand agents that start at once must not make it read all pods from its store, and
/// what is a moment too old is set right by the watch that follows. A limit would mean nothing there.
fn pods(client: Client, node: &str, labels: Labels, strategy: InitialListStrategy) -> Pods {
    let spread = u32::try_from(stable_hash(&[node.as_bytes()]) % 60).unwrap_or_default();
    let config = watcher::Config {
        field_selector: Some(format!("spec.nodeName={node}")),
        timeout: Some(WATCH_FOR + spread),
        list_semantic: ListSemantic::Any,
        page_size: None,
        initial_list_strategy: strategy,
        ..watcher::Config::default()
    };
    Box::pin(watcher(Api::<Pod>::all(client), config).map(move |item| item.map(|event| read(event, &labels))))
}

fn read(event: Event<Pod>, labels: &Labels) -> Event<PodRecord> {
    let record = |pod: &Pod| {
        let selected = labels.hold(pod.metadata.labels.as_ref());
        PodRecord { selected, ..PodRecord::from(pod) }
    };
    match event.modify(strip) {
        Event::Apply(pod) => Event::Apply(record(&pod)),
        Event::Delete(pod) => Event::Delete(record(&pod)),
        Event::Init => Event::Init,
        Event::InitApply(pod) => Event::InitApply(record(&pod)),
        Event::InitDone => Event::InitDone,
    }
}

fn status_of(error: &watcher::Error) -> Option<u16> {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => {
            if let ::kube::Error::Api(status) = error {
                Some(status.code)
            } else {
                None
            }
        }
        watcher::Error::WatchError(status) => Some(status.code),
        watcher::Error::NoResourceVersion => None,
    }
}

/// Twice as long each time, less up to a half by which nodes differ, so that they do not all come back at once.
fn wait(times: u32, node: &str) -> Duration {
    let whole = FIRST_WAIT.saturating_mul(1 << times.saturating_sub(1).min(16)).min(LAST_WAIT);
    let percent = stable_hash(&[node.as_bytes(), &times.to_le_bytes()]) % 50;
    whole - whole / 100 * u32::try_from(percent).unwrap_or_default()
}

#[cfg(test)]
mod tests;
