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

/// Group, resource, verb.
type Right = (&'static str, &'static str, &'static str);

/// What the agent cannot do without there.
const NEEDED: [Right; 4] =
    [("", "pods", "list"), ("", "pods", "watch"), ("apps", "replicasets", "get"), ("batch", "jobs", "get")];

/// What it writes events with.
const EVENTS: [Right; 2] = [("events.k8s.io", "events", "create"), ("events.k8s.io", "events", "patch")];

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
    let (mut granted, mut refused) = (Vec::new(), Vec::new());
    for right @ (group, resource, verb) in NEEDED.into_iter().chain(EVENTS) {
        let (parameters, review) = (PostParams::default(), review(group, resource, verb));
        match tokio::time::timeout(ANSWER_WITHIN, reviews.create(&parameters, &review)).await {
            Ok(Ok(answer)) if answer.status.as_ref().is_some_and(|status| status.allowed) => granted.push(right),
            Ok(Ok(_)) => refused.push(right),
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
    answered(&granted, &refused)
}

/// The finding that this makes.
fn answered(granted: &[Right], refused: &[Right]) -> Check {
    let named = |rights: &[Right]| {
        let rights: Vec<_> = rights.iter().map(|(_, resource, verb)| format!("{verb} {resource}")).collect();
        rights.join(", ")
    };
    if refused.is_empty() {
        return Check::ok("api", format!("granted: {}", named(granted)));
    }
    let found = format!("not granted: {}", named(refused));
    if refused.iter().all(|right| EVENTS.contains(right)) {
        return Check::warn("api", found, "nothing, if events are turned off; else set events.enabled of the chart");
    }
    Check::fail("api", found, "apply the ClusterRole of the chart to this service account")
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
    use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};

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

    #[test]
    fn without_events_it_works_with_less() {
        assert_eq!(answered(&NEEDED, &EVENTS).level, Level::Warn);
        assert_eq!(answered(&EVENTS, &NEEDED).level, Level::Fail);
        let all = answered(&NEEDED, &[]);
        assert_eq!(
            (all.level, all.found.as_str()),
            (Level::Ok, "granted: list pods, watch pods, get replicasets, get jobs")
        );
    }

    #[test]
    fn what_is_asked_for_is_what_the_chart_grants() {
        let manifests = include_str!("../../../deploy/manifests/signal-trace.yaml");
        let role = manifests.split("\n---\n").find(|document| document.contains("kind: ClusterRole\n")).unwrap();
        let role: ClusterRole = serde_saphyr::from_str(role).unwrap();
        let mut granted = Vec::new();
        for PolicyRule { api_groups, resources, verbs, .. } in role.rules.unwrap() {
            let (groups, resources) = (api_groups.unwrap(), resources.unwrap());
            assert_eq!((groups.len(), resources.len()), (1, 1), "one a rule");
            granted.extend(verbs.into_iter().map(|verb| (groups[0].clone(), resources[0].clone(), verb)));
        }
        let asked = NEEDED
            .into_iter()
            .chain(EVENTS)
            .map(|(group, resource, verb)| (group.into(), resource.into(), verb.into()));
        assert_eq!(granted, asked.collect::<Vec<(String, String, String)>>());
    }
}
