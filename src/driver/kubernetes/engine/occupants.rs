//! What runs on a provider's machines, and would end with them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::driver::kubernetes::client::api::{Api, ApiError, Kind, Selector};
use crate::driver::kubernetes::engine::{KubernetesEngine, traffic};
use crate::model::LiveTraffic;
use crate::model::loss::Holding;
use crate::model::object::mark;
use crate::model::resource::{ResourceKey, ResourceKind};
use crate::port::engine::{EngineError, Scope};

/// Amazon's label on the pods of a Fargate profile.
const PROFILE: &str = "eks.amazonaws.com/fargate-profile";
/// Amazon's label on the nodes of a group.
const GROUP: &str = "eks.amazonaws.com/nodegroup";

/// The pods that a resource runs: those with live traffic, and those of others. A release without
/// traffic, and what runs on every node, are started again elsewhere.
pub(super) async fn occupants(
    engine: &KubernetesEngine,
    scope: &Scope,
    resource: &ResourceKey,
) -> Result<Vec<Holding>, EngineError> {
    let Some(api) = engine.try_api().await? else {
        return Ok(Vec::new());
    };
    let failed = |fault: ApiError| fault.while_(format!("looking at what runs on {resource}"));
    let found = match resource.kind {
        ResourceKind::FargateProfile => {
            let label = Selector::Labels(format!("{PROFILE}={}", resource.name));
            list(api, &kind("Pod", "pods", true), &label).await
        }
        ResourceKind::NodeGroup => on_nodes(api, &resource.name).await,
        ResourceKind::Repository
        | ResourceKind::PullThrough
        | ResourceKind::Replication
        | ResourceKind::Cluster
        | ResourceKind::Addon
        | ResourceKind::AccessEntry => Ok(Vec::new()),
    };

    let pods = match found {
        Err(fault @ ApiError::Refused(_)) => {
            let (what, why) = (format!("what runs on {resource}"), fault.to_string());
            return Ok(vec![Holding::Unseen { what, why }]);
        }
        other => other.map_err(failed)?,
    };

    if pods.is_empty() {
        return Ok(Vec::new());
    }
    let read = engine.records(api, scope).read().await.map_err(failed)?;
    let traffic = traffic::current(engine, api, &read).await?;
    Ok(sorted_out(&pods, scope, traffic))
}

async fn on_nodes(api: &Api, group: &str) -> Result<Vec<Value>, ApiError> {
    let label = Selector::Labels(format!("{GROUP}={group}"));
    let nodes = list(api, &kind("Node", "nodes", false), &label).await?;
    let names: BTreeSet<&str> = nodes
        .iter()
        .filter_map(|node| node["metadata"]["name"].as_str())
        .collect();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let mut pods = list(api, &kind("Pod", "pods", true), &Selector::All).await?;
    pods.retain(|pod| {
        pod["spec"]["nodeName"]
            .as_str()
            .is_some_and(|node| names.contains(node))
    });
    Ok(pods)
}

fn kind(kind: &str, plural: &str, namespaced: bool) -> Kind {
    Kind {
        api_version: "v1".to_owned(),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
        namespaced,
    }
}

async fn list(api: &Api, kind: &Kind, selector: &Selector) -> Result<Vec<Value>, ApiError> {
    let mut found = Vec::new();
    api.list(kind, None, selector, |object| found.push(object))
        .await?;
    Ok(found)
}

/// Pods by what they are: with live traffic, or of others.
fn sorted_out(pods: &[Value], scope: &Scope, traffic: LiveTraffic) -> Vec<Holding> {
    let mut live: BTreeMap<String, usize> = BTreeMap::new();
    let mut others: BTreeMap<&str, usize> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| !is_of_node(pod)) {
        let labels = &pod["metadata"]["labels"];
        let is_ours = labels[mark::PROJECT] == scope.project.as_str()
            && labels[mark::ENVIRONMENT] == scope.environment.as_str();
        let namespace = pod["metadata"]["namespace"].as_str().unwrap_or_default();
        if !is_ours {
            *others.entry(namespace).or_default() += 1;
        } else if traffic
            .slot()
            .is_some_and(|slot| labels[mark::SLOT] == slot.as_str())
        {
            let service = labels[mark::SERVICE].as_str().unwrap_or_default();
            *live.entry(service.to_owned()).or_default() += 1;
        }
    }

    let count = |count: usize| {
        if count == 1 {
            "1 pod".to_owned()
        } else {
            format!("{count} pods")
        }
    };

    let live = live
        .into_iter()
        .map(|(service, number)| Holding::LiveTraffic {
            what: format!("{} of {service}", count(number)),
        });
    let others = others
        .into_iter()
        .map(|(namespace, number)| Holding::Others {
            what: count(number),
            owner: format!("namespace {namespace}"),
        });
    live.chain(others).collect()
}

/// Whether a pod belongs to its node, and to every other: it ends with it, and is on the next.
fn is_of_node(pod: &Value) -> bool {
    let owners = pod["metadata"]["ownerReferences"].as_array();
    let is_owned = owners
        .into_iter()
        .flatten()
        .any(|owner| owner["kind"] == "DaemonSet" || owner["kind"] == "Node");
    let phase = pod["status"]["phase"].as_str().unwrap_or_default();
    is_owned || matches!(phase, "Succeeded" | "Failed")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn live_pods_and_those_of_others_are_named_and_those_of_a_node_are_not() {
        let scope = Scope {
            project: "shop".parse().expect("a name"),
            environment: "staging".parse().expect("a name"),
        };
        let pod = |namespace: &str, slot: &str, owner: &str| {
            let mut labels = json!({});
            if !slot.is_empty() {
                labels = json!({mark::PROJECT: "shop", mark::ENVIRONMENT: "staging",
                    mark::SERVICE: "web", mark::SLOT: slot});
            }
            json!({"metadata": {"namespace": namespace, "labels": labels,
                "ownerReferences": [{"kind": owner}]}})
        };
        let pods = [
            pod("shop", "blue", "ReplicaSet"),
            pod("shop", "blue", "ReplicaSet"),
            pod("shop", "green", "ReplicaSet"),
            pod("team", "", "ReplicaSet"),
            pod("kube-system", "", "DaemonSet"),
        ];
        let words: Vec<String> =
            sorted_out(&pods, &scope, LiveTraffic::All(crate::model::Slot::Blue))
                .iter()
                .map(ToString::to_string)
                .collect();
        assert_eq!(
            words,
            [
                "2 pods of web, with live traffic",
                "1 pod, of namespace team"
            ]
        );
    }
}
