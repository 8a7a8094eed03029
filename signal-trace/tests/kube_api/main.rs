//! The Kubernetes part against a real API server and kubelet.
//!
//! Built with the feature `cluster-tests`. Whoever runs it says which cluster by `SIGNAL_TRACE_TEST_KUBECONFIG`, the
//! kubeconfig of an administrator. Everything is made in namespaces of its own, and removed with them. Pods run the image
//! in `SIGNAL_TRACE_TEST_IMAGE`, which has to be on the node and to run until it is stopped.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::FutureExt;
use k8s_openapi::api::core::v1::{Namespace, Node, ServiceAccount};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Config};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use signal_trace::kube::client::Clients;
use tokio::time::{sleep, timeout};

mod events;
mod owners;
mod watch;
mod wire;

/// Longer than anything here takes on a node that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

async fn config() -> Config {
    let path = std::env::var_os("SIGNAL_TRACE_TEST_KUBECONFIG")
        .expect("set SIGNAL_TRACE_TEST_KUBECONFIG to an administrator's kubeconfig of a cluster to test against");
    let file = Kubeconfig::read_from(PathBuf::from(path)).expect("a kubeconfig that can be read");
    Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.expect("a kubeconfig that makes sense")
}

fn image() -> String {
    std::env::var("SIGNAL_TRACE_TEST_IMAGE")
        .expect("set SIGNAL_TRACE_TEST_IMAGE to an image on the node that runs until it is stopped")
}

async fn clients() -> Clients {
    Clients::new(config().await).unwrap()
}

/// As somebody else, who may only do what was granted to them.
async fn clients_of(user: &str) -> Clients {
    let mut config = config().await;
    config.auth_info.impersonate = Some(user.into());
    Clients::new(config).unwrap()
}

fn object<K: DeserializeOwned>(object: Value) -> K {
    serde_json::from_value(object).unwrap()
}

async fn create<K>(api: &Api<K>, what: Value) -> K
where
    K: Clone + DeserializeOwned + Serialize + std::fmt::Debug,
{
    api.create(&PostParams::default(), &object(what)).await.unwrap()
}

/// Runs a test in a namespace that is removed afterwards, however it ends.
async fn in_namespace<F: Future<Output = ()>>(name: &str, test: impl FnOnce(String) -> F) {
    let namespaces: Api<Namespace> = Api::all(clients().await.requests);
    let name = format!("signal-trace-{name}-{}", std::process::id());
    create(&namespaces, json!({ "metadata": { "name": name } })).await;
    let accounts: Api<ServiceAccount> = Api::namespaced(clients().await.requests, &name);
    eventually("service account", async || accounts.get_opt("default").await.unwrap()).await;
    let result = AssertUnwindSafe(test(name.clone())).catch_unwind().await;
    let _ = namespaces.delete(&name, &DeleteParams::default()).await;
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

async fn node() -> String {
    let nodes: Api<Node> = Api::all(clients().await.requests);
    nodes.list(&ListParams::default()).await.unwrap().items.remove(0).metadata.name.unwrap()
}

/// Tries until there is something.
async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, attempt: impl Fn() -> F) -> T {
    let tries = async {
        loop {
            if let Some(found) = attempt().await {
                return found;
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(PATIENCE, tries).await.unwrap_or_else(|_| panic!("no {what} in time"))
}
