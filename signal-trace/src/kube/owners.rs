//! What owns a pod in the end: a Deployment rather than its ReplicaSet, a CronJob rather than its Job.
//!
//! One GET of metadata only for each ReplicaSet or Job that has pods on this node; every other controller is the workload
//! itself. What the API server refuses leaves the direct owner, is said once, and is asked again much later: whoever wants
//! to know in the meantime is told the direct owner at once. What failed for another reason is asked again soon. [`Owners`]
//! decides that without I/O; [`run`] does the asking.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::kube::{Api, Client, Resource};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use lru::LruCache;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use crate::judge::shutdown::Workload;
use crate::kube::pod::OwnerRef;
use crate::kube::wait;

/// Owners that are remembered: far more than a node's pods have.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(2048).expect("not zero");
/// Questions that wait to be asked for the first time.
const MAX_WAITING: usize = 256;
/// Questions that wait for their next try.
const MAX_RETRIES_WAITING: usize = 1024;
/// Whoever was refused asks again this much later: somebody may have granted it.
const AFTER_REFUSAL: Duration = Duration::from_secs(600);
/// The first further try after another failure; each later one waits twice as long.
const FIRST_RETRY: Duration = Duration::from_secs(2);
/// The longest wait between tries.
const LAST_RETRY: Duration = Duration::from_secs(300);

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Namespace of the owner.
    pub namespace: Box<str>,
    /// The owner.
    pub owner: OwnerRef,
}

/// What is answered: for [`super::attribution::Attribution::owned_by`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The owner that was asked about.
    pub owner_uid: Box<str>,
    /// What it belongs to, or itself.
    pub workload: Arc<Workload>,
}

/// Takes questions, for whoever [`run`]s with the other end.
#[derive(Debug)]
pub struct Asker(mpsc::Sender<Question>);

/// Both ends: so many questions may wait between them.
pub fn asker() -> (Asker, mpsc::Receiver<Question>) {
    let (questions, asked) = mpsc::channel(MAX_WAITING);
    (Asker(questions), asked)
}

impl Asker {
    /// Whether there was room for it: one that finds none is asked again with a later change of its pod.
    #[must_use]
    pub fn ask(&self, question: Question) -> bool {
        self.0.try_send(question).is_ok()
    }
}

/// Whether this controller is of a kind that is made by another one, and that this program may read.
pub fn is_owned_itself(owner: &OwnerRef) -> bool {
    made_by_another(owner).is_some()
}

#[derive(Clone, Copy, Debug)]
enum Made {
    ReplicaSet,
    Job,
}

fn made_by_another(owner: &OwnerRef) -> Option<Made> {
    match (&*owner.kind, owner.api_version.split('/').next()) {
        ("ReplicaSet", Some("apps")) => Some(Made::ReplicaSet),
        ("Job", Some("batch")) => Some(Made::Job),
        _ => None,
    }
}

/// How a question ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The owner is there, and this is its own controller if it has one.
    Controller(Option<Workload>),
    /// It is there no more, or another one has its name.
    Gone,
    /// The API server will not tell.
    Refused,
    /// Anything else; another try may do better.
    Failed,
}

/// What to do about a question.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The answer is known.
    Answer(Answer),
    /// Ask the API server.
    Ask(Question),
    /// It was asked and failed: a later try is planned.
    Planned,
}

/// What is remembered of owners.
#[derive(Debug)]
pub struct Owners {
    known: LruCache<Box<str>, Arc<Workload>>,
    /// In no order: few at any time.
    retries: VecDeque<Retry>,
}

#[derive(Debug)]
struct Retry {
    at: Instant,
    tries: u32,
    question: Question,
    /// What is answered until then, where the API server refused.
    stand_in: Option<Arc<Workload>>,
}

impl Default for Owners {
    fn default() -> Self {
        Self { known: LruCache::sparse(REMEMBERED), retries: VecDeque::new() }
    }
}

impl Owners {
    /// Somebody wants to know.
    pub fn asked(&mut self, question: Question) -> Step {
        let retry = self.retries.iter().find(|retry| retry.question.owner.uid == question.owner.uid);
        let known = self.known.get(&question.owner.uid).or(retry.and_then(|retry| retry.stand_in.as_ref()));
        if let Some(workload) = known {
            return Step::Answer(Answer { workload: Arc::clone(workload), owner_uid: question.owner.uid });
        }
        if retry.is_some() { Step::Planned } else { Step::Ask(question) }
    }

    /// The API server was asked for the `tries`th time: the answer to give now, if there is one.
    pub fn ended(&mut self, question: Question, tries: u32, found: Found, now: Instant) -> Option<Answer> {
        let direct = Workload { kind: question.owner.kind.to_string(), name: question.owner.name.to_string() };
        let owner_uid = question.owner.uid.clone();
        let workload = match found {
            Found::Controller(controller) => self.remember(&owner_uid, controller.unwrap_or(direct)),
            Found::Gone => self.remember(&owner_uid, direct),
            Found::Refused => {
                let direct = Arc::new(direct);
                let stand_in = Some(Arc::clone(&direct));
                self.plan(Retry { at: now + AFTER_REFUSAL, tries, question, stand_in });
                direct
            }
            Found::Failed => {
                let wait = FIRST_RETRY.saturating_mul(1 << tries.min(16)).min(LAST_RETRY);
                self.plan(Retry { at: now + wait, tries, question, stand_in: None });
                return None;
            }
        };
        Some(Answer { owner_uid, workload })
    }

    /// When the next try is due.
    pub fn next_retry(&self) -> Option<Instant> {
        self.retries.iter().map(|retry| retry.at).min()
    }

    /// A question whose next try is due, and how often it was tried.
    pub fn due(&mut self, now: Instant) -> Option<(Question, u32)> {
        let index = self.retries.iter().position(|retry| retry.at <= now)?;
        self.retries.remove(index).map(|retry| (retry.question, retry.tries + 1))
    }

    fn remember(&mut self, uid: &str, workload: Workload) -> Arc<Workload> {
        let workload = Arc::new(workload);
        self.known.put(uid.into(), Arc::clone(&workload));
        workload
    }

    /// A question that the bound drops is asked anew by whoever needs it.
    fn plan(&mut self, retry: Retry) {
        if self.retries.len() >= MAX_RETRIES_WAITING {
            self.retries.pop_front();
        }
        self.retries.push_back(retry);
    }
}

/// Answers questions until nobody can ask any more or wants to hear.
pub async fn run(client: Client, mut questions: mpsc::Receiver<Question>, answers: mpsc::Sender<Answer>) {
    let mut owners = Owners::default();
    let mut said_refused = false;
    loop {
        let retry = owners.next_retry();
        let (question, tries) = tokio::select! {
            asked = questions.recv() => match asked.map(|question| owners.asked(question)) {
                Some(Step::Ask(question)) => (question, 0),
                Some(Step::Answer(answer)) => {
                    if answers.send(answer).await.is_err() {
                        return;
                    }
                    continue;
                }
                Some(Step::Planned) => continue,
                None => return,
            },
            () = wait::until(retry) => match owners.due(wait::now()) {
                Some(due) => due,
                None => continue,
            },
        };
        let found = find(&client, &question).await;
        if found == Found::Refused && !said_refused {
            said_refused = true;
            tracing::warn!(
                kind = %question.owner.kind,
                "not allowed to read what owns pods: grant `get` on replicasets and jobs; their names stand for their owners' until then"
            );
        }
        if let Some(answer) = owners.ended(question, tries, found, wait::now())
            && answers.send(answer).await.is_err()
        {
            return;
        }
    }
}

async fn find(client: &Client, question: &Question) -> Found {
    match made_by_another(&question.owner) {
        Some(Made::ReplicaSet) => metadata::<ReplicaSet>(client, question).await,
        Some(Made::Job) => metadata::<Job>(client, question).await,
        None => Found::Controller(None),
    }
}

async fn metadata<K>(client: &Client, question: &Question) -> Found
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), &question.namespace);
    match api.get_metadata_opt(&question.owner.name).await {
        Ok(Some(object)) => from_metadata(&object.metadata, &question.owner.uid),
        Ok(None) => Found::Gone,
        Err(::kube::Error::Api(status)) if matches!(status.code, 401 | 403) => Found::Refused,
        Err(error) => {
            tracing::debug!(%error, kind = %question.owner.kind, "could not read what owns a pod; will try again");
            Found::Failed
        }
    }
}

fn from_metadata(metadata: &ObjectMeta, uid: &str) -> Found {
    if metadata.uid.as_deref() != Some(uid) {
        return Found::Gone;
    }
    let is_controller = |owner: &&OwnerReference| owner.controller == Some(true);
    let controller = metadata.owner_references.iter().flatten().find(is_controller).map(OwnerRef::from);
    Found::Controller(controller.map(|o| Workload { kind: o.kind.into(), name: o.name.into() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(uid: &str) -> Question {
        let owner = OwnerRef {
            api_version: "apps/v1".into(),
            kind: "ReplicaSet".into(),
            name: "cart-7d9f".into(),
            uid: uid.into(),
        };
        Question { namespace: "shop".into(), owner }
    }

    fn workload(kind: &str, name: &str) -> Workload {
        Workload { kind: kind.into(), name: name.into() }
    }

    fn ask(owners: &mut Owners, uid: &str) -> Question {
        match owners.asked(question(uid)) {
            Step::Ask(question) => question,
            other @ (Step::Answer(_) | Step::Planned) => panic!("{other:?}"),
        }
    }

    #[test]
    fn more_questions_than_have_room_are_refused() {
        let (asker, mut asked) = asker();
        assert!((0..MAX_WAITING).all(|_| asker.ask(question("a"))));
        assert!(!asker.ask(question("b")));
        assert_eq!(asked.try_recv(), Ok(question("a")));
        assert!(asker.ask(question("b")));
    }

    #[test]
    fn is_asked_once_for_each_owner() {
        let mut owners = Owners::default();
        let question = ask(&mut owners, "a");
        let found = Found::Controller(Some(workload("Deployment", "cart")));
        let answer = owners.ended(question, 0, found, Instant::now()).unwrap();
        assert_eq!(*answer.workload, workload("Deployment", "cart"));
        assert_eq!(owners.asked(self::question("a")), Step::Answer(answer));
        assert!(matches!(owners.asked(self::question("b")), Step::Ask(_)));
    }

    #[test]
    fn an_owner_without_a_controller_is_the_workload() {
        for found in [Found::Controller(None), Found::Gone] {
            let mut owners = Owners::default();
            let question = ask(&mut owners, "a");
            let answer = owners.ended(question, 0, found, Instant::now()).unwrap();
            assert_eq!(*answer.workload, workload("ReplicaSet", "cart-7d9f"));
            assert_eq!(owners.next_retry(), None);
        }
    }

    #[test]
    fn a_refusal_answers_with_the_direct_owner_and_is_tried_again_much_later() {
        let mut owners = Owners::default();
        let now = Instant::now();
        let asked = ask(&mut owners, "a");
        let answer = owners.ended(asked, 0, Found::Refused, now).unwrap();
        assert_eq!(*answer.workload, workload("ReplicaSet", "cart-7d9f"));
        assert_eq!(owners.asked(question("a")), Step::Answer(answer), "told at once, and not asked before its time");
        assert_eq!(owners.due(now + Duration::from_secs(599)), None);
        let (asked, tries) = owners.due(now + AFTER_REFUSAL).unwrap();
        let found = Found::Controller(Some(workload("Rollout", "cart")));
        let answer = owners.ended(asked, tries, found, now).unwrap();
        assert_eq!(*answer.workload, workload("Rollout", "cart"));
    }

    #[test]
    fn a_failure_answers_nothing_and_waits_longer_each_time() {
        let mut owners = Owners::default();
        let mut now = Instant::now();
        let mut asked = ask(&mut owners, "a");
        let mut waits = Vec::new();
        for tries in 0..12 {
            assert_eq!(owners.ended(asked, tries, Found::Failed, now), None);
            assert_eq!(owners.asked(question("a")), Step::Planned);
            let at = owners.next_retry().unwrap();
            waits.push((at - now).as_secs());
            now = at;
            let (due, counted) = owners.due(now).unwrap();
            assert_eq!(counted, tries + 1);
            asked = due;
        }
        assert_eq!(waits, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300, 300]);
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut owners = Owners::default();
        for n in 0..2000 {
            let asked = ask(&mut owners, &n.to_string());
            assert_eq!(owners.ended(asked, 0, Found::Failed, Instant::now()), None);
        }
        assert_eq!(owners.retries.len(), MAX_RETRIES_WAITING);
    }

    #[test]
    fn another_owner_of_the_same_name_is_not_it() {
        let mut metadata = ObjectMeta { uid: Some("new".into()), ..ObjectMeta::default() };
        assert_eq!(from_metadata(&metadata, "old"), Found::Gone);
        metadata.owner_references = Some(vec![OwnerReference {
            kind: "CronJob".into(),
            name: "nightly".into(),
            controller: Some(true),
            ..OwnerReference::default()
        }]);
        assert_eq!(from_metadata(&metadata, "new"), Found::Controller(Some(workload("CronJob", "nightly"))));
    }

    #[test]
    fn only_what_another_controller_makes_is_asked_about() {
        let owner = |api_version: &str, kind: &str| OwnerRef {
            api_version: api_version.into(),
            kind: kind.into(),
            name: "x".into(),
            uid: "u".into(),
        };
        assert!(is_owned_itself(&owner("apps/v1", "ReplicaSet")));
        assert!(is_owned_itself(&owner("batch/v1", "Job")));
        for (api, kind) in [("apps/v1", "StatefulSet"), ("v1", "Node"), ("batch.volcano.sh/v1alpha1", "Job")] {
            assert!(!is_owned_itself(&owner(api, kind)), "{api} {kind}");
        }
    }
}
