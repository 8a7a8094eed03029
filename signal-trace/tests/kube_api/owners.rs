//! From the owner of a pod to its workload.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use kube::api::ListParams;
use kube::{Api, Client};
use serde_json::json;
use signal_trace::judge::shutdown::Workload;
use signal_trace::kube::owners::{self, Question};
use signal_trace::kube::pod::OwnerRef;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::{PATIENCE, clients, clients_of, create, eventually, image, in_namespace};

/// What one owner belongs to.
pub(crate) async fn ask(client: Client, namespace: &str, owner: OwnerRef) -> Workload {
    let (questions, asked) = mpsc::channel(1);
    let (answers, mut answered) = mpsc::channel(1);
    let run = tokio::spawn(owners::run(client, asked, answers));
    questions.send(Question { namespace: namespace.into(), owner }).await.unwrap();
    let answer = timeout(PATIENCE, answered.recv()).await.expect("an answer in time").expect("an answer");
    drop(questions);
    run.await.unwrap();
    Workload::clone(&answer.workload)
}

/// An owner.
pub(crate) fn owner(api_version: &str, kind: &str, name: &str, uid: &str) -> OwnerRef {
    OwnerRef { api_version: api_version.into(), kind: kind.into(), name: name.into(), uid: uid.into() }
}

#[tokio::test]
async fn owners_are_followed_to_the_workload() {
    in_namespace("owners", |namespace| async move {
        let client = clients().await.requests;
        let labels = json!({ "app": "cart" });
        let template = json!({
            "metadata": { "labels": labels },
            "spec": { "containers": [{ "name": "app", "image": image() }] },
        });
        let deployments: Api<Deployment> = Api::namespaced(client.clone(), &namespace);
        create(&deployments, json!({
            "metadata": { "name": "cart" },
            "spec": { "replicas": 0, "selector": { "matchLabels": labels }, "template": template },
        }))
        .await;
        let sets: Api<ReplicaSet> = Api::namespaced(client.clone(), &namespace);
        let set = eventually("ReplicaSet", async || sets.list(&ListParams::default()).await.unwrap().items.pop()).await;
        let (name, uid) = (set.metadata.name.unwrap(), set.metadata.uid.unwrap());
        let cron_jobs: Api<CronJob> = Api::namespaced(client.clone(), &namespace);
        let mut job = json!({ "spec": { "template": template } });
        job["spec"]["template"]["spec"]["restartPolicy"] = json!("Never");
        let nightly = create(&cron_jobs, json!({
            "metadata": { "name": "nightly" },
            "spec": { "schedule": "0 0 1 1 *", "suspend": true, "jobTemplate": job },
        }))
        .await;
        job["metadata"] = json!({ "name": "nightly-1", "ownerReferences": [{
            "apiVersion": "batch/v1", "kind": "CronJob", "name": "nightly", "uid": nightly.metadata.uid, "controller": true,
        }] });
        job["spec"]["suspend"] = json!(true);
        let jobs: Api<Job> = Api::namespaced(client.clone(), &namespace);
        let job_uid = create(&jobs, job).await.metadata.uid.unwrap();
        let workload = |kind: &str, name: &str| Workload { kind: kind.into(), name: name.into() };
        for (asked, expected) in [
            (owner("apps/v1", "ReplicaSet", &name, &uid), workload("Deployment", "cart")),
            (owner("batch/v1", "Job", "nightly-1", &job_uid), workload("CronJob", "nightly")),
            (owner("apps/v1", "ReplicaSet", &name, "an-older-one-of-that-name"), workload("ReplicaSet", &name)),
            (owner("batch/v1", "Job", "long-gone", "u"), workload("Job", "long-gone")),
            (owner("argoproj.io/v1alpha1", "Rollout", "cart", "u"), workload("Rollout", "cart")),
        ] {
            assert_eq!(ask(client.clone(), &namespace, asked).await, expected);
        }
        let refused = ask(clients_of("nobody").await.requests, &namespace, owner("apps/v1", "ReplicaSet", &name, &uid));
        assert_eq!(refused.await, workload("ReplicaSet", &name));
    })
    .await;
}
