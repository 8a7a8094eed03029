//! What this account may do at the API server, verb by verb, as the server itself says.

use std::path::Path;
use std::time::Duration;

use ::kube::Api;
use ::kube::api::PostParams;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};

use super::Check;
use crate::kube::client::Clients;

/// For one question.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// What the agent does there: group, resource, verb.
const NEEDED: [(&str, &str, &str); 7] = [
    ("", "pods", "get"),
    ("", "pods", "list"),
    ("", "pods", "watch"),
    ("apps", "replicasets", "get"),
    ("batch", "jobs", "get"),
    ("events.k8s.io", "events", "create"),
    ("events.k8s.io", "events", "patch"),
];

/// Where to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cluster<'a> {
    /// As this kubeconfig says.
    Kubeconfig(&'a Path),
    /// The one that this pod is in.
    Around,
    /// None: nothing is asked.
    None,
}

/// One finding for all that is granted, and one for what is not.
pub async fn look(cluster: Cluster<'_>) -> Check {
    let path = match cluster {
        Cluster::None => return Check::ok("api", "not asked: neither in a pod nor with --kubeconfig"),
        Cluster::Around => None,
        Cluster::Kubeconfig(path) => Some(path),
    };
    let clients = match Clients::connect(path).await {
        Ok(clients) => clients,
        Err(error) => return Check::fail("api", error.to_string(), "give --kubeconfig, or a service account's token"),
    };
    let reviews: Api<SelfSubjectAccessReview> = Api::all(clients.requests);
    let mut refused = Vec::new();
    for (group, resource, verb) in NEEDED {
        let (parameters, review) = (PostParams::default(), review(group, resource, verb));
        match tokio::time::timeout(ANSWER_WITHIN, reviews.create(&parameters, &review)).await {
            Ok(Ok(answer)) if answer.status.as_ref().is_some_and(|status| status.allowed) => {}
            Ok(Ok(_)) => refused.push(format!("{verb} {resource}")),
            Ok(Err(error)) => {
                return Check::fail(
                    "api",
                    format!("the API server does not answer ({error})"),
                    "check the network and the token",
                );
            }
            Err(_) => {
                let found = format!("the API server does not answer within {} s", ANSWER_WITHIN.as_secs());
                return Check::fail("api", found, "check the network");
            }
        }
    }
    if refused.is_empty() {
        let granted: Vec<String> = NEEDED.iter().map(|(_, resource, verb)| format!("{verb} {resource}")).collect();
        return Check::ok("api", format!("granted: {}", granted.join(", ")));
    }
    Check::fail(
        "api",
        format!("not granted: {}", refused.join(", ")),
        "apply the ClusterRole of the chart to this service account",
    )
}

fn review(group: &str, resource: &str, verb: &str) -> SelfSubjectAccessReview {
    let resource_attributes = ResourceAttributes {
        group: Some(group.to_owned()),
        resource: Some(resource.to_owned()),
        verb: Some(verb.to_owned()),
        ..ResourceAttributes::default()
    };
    let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(resource_attributes), ..Default::default() };
    SelfSubjectAccessReview { spec, ..Default::default() }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn nothing_is_asked_where_there_is_no_cluster() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        assert_eq!(runtime.block_on(look(Cluster::None)).level, Level::Ok);
        let nowhere = runtime.block_on(look(Cluster::Kubeconfig(Path::new("/nowhere"))));
        assert_eq!(nowhere.level, Level::Fail);
        assert!(nowhere.found.contains("/nowhere"), "{nowhere:?}");
    }
}
