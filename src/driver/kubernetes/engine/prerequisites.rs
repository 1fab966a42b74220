//! What somebody else has to have installed before the live objects do anything: the class of an
//! Ingress, the controller of a load balancer, the Gateway of a route.

use std::collections::BTreeSet;

use futures_util::future::try_join_all;
use http::StatusCode;
use serde_json::Value;

use crate::driver::kubernetes::client::api::{Api, ApiError};
use crate::model::alb::{ACTIONS, GATE};
use crate::model::{Manifest, ObjectKey};
use crate::port::engine::CheckResult;

/// Something that has to be there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Need {
    /// An object, and what makes it.
    Object { key: ObjectKey, help: &'static str },
    /// A kind, which comes with its controller.
    Kind {
        api_version: &'static str,
        kind: &'static str,
        help: &'static str,
    },
    /// The label on a namespace.
    Gate { namespace: String },
}

/// Whether what these objects need is there. What may not be looked at is left out: the objects
/// themselves say then what is missing.
pub(super) async fn examine(api: &Api, wanted: &[Manifest]) -> Result<Vec<CheckResult>, ApiError> {
    let mut needs: BTreeSet<Need> = wanted.iter().flat_map(needs).collect();
    // What the configuration makes itself need not be there before.
    let is_made = |needed: &ObjectKey| wanted.iter().any(|manifest| manifest.key() == *needed);
    needs.retain(|need| !matches!(need, Need::Object { key, .. } if is_made(key)));
    let found = needs.iter().map(|need| async move {
        match look(api, need).await {
            Err(fault) if fault.is(StatusCode::FORBIDDEN) => Ok(None),
            other => other.map(Some),
        }
    });
    Ok(try_join_all(found).await?.into_iter().flatten().collect())
}

fn needs(manifest: &Manifest) -> Vec<Need> {
    let body = manifest.body();
    let group = manifest.key().group().to_owned();
    match (group.as_str(), manifest.kind()) {
        ("networking.k8s.io", "Ingress") => of_ingress(manifest),
        ("gateway.networking.k8s.io", "HTTPRoute") => {
            let parents = body["spec"]["parentRefs"].as_array();
            let parents = parents.into_iter().flatten();
            let own = manifest.key().namespace;
            parents
                .filter_map(|parent| gateway(parent, own.clone()))
                .collect()
        }
        _ => Vec::new(),
    }
}

fn of_ingress(manifest: &Manifest) -> Vec<Need> {
    let body = manifest.body();
    let class = body["spec"]["ingressClassName"].as_str();
    let class = class.map(|name| Need::Object {
        key: ObjectKey {
            api_version: "networking.k8s.io/v1".to_owned(),
            kind: "IngressClass".to_owned(),
            namespace: None,
            name: name.to_owned(),
        },
        help: "install the ingress controller, which brings its class, or write another \
               `traffic.class`",
    });

    let annotations = body["metadata"]["annotations"].as_object();
    let mut keys = annotations.into_iter().flat_map(serde_json::Map::keys);
    if !keys.any(|key| key.starts_with(ACTIONS)) {
        return class.into_iter().collect();
    }
    let controller = Need::Kind {
        api_version: "elbv2.k8s.aws/v1beta1",
        kind: "TargetGroupBinding",
        help: "install the AWS Load Balancer Controller with its role; docs/guide/aws.md says how",
    };
    let namespace = manifest.key().namespace.unwrap_or_default();
    let gate = Need::Gate { namespace };
    class.into_iter().chain([controller, gate]).collect()
}

fn gateway(parent: &Value, own: Option<String>) -> Option<Need> {
    let namespace = parent["namespace"].as_str().map(str::to_owned).or(own);
    Some(Need::Object {
        key: ObjectKey {
            api_version: "gateway.networking.k8s.io/v1".to_owned(),
            kind: "Gateway".to_owned(),
            namespace,
            name: parent["name"].as_str()?.to_owned(),
        },
        help: "make the Gateway, or write another `traffic.gateway`",
    })
}

async fn look(api: &Api, need: &Need) -> Result<CheckResult, ApiError> {
    let (what, is_there, help) = match need {
        Need::Object { key, help } => {
            let found = api.get(key).await?;
            (format!("{} is there", key.short()), found.is_some(), *help)
        }
        Need::Kind {
            api_version,
            kind,
            help,
        } => {
            let found = api.kind(api_version, kind).await?;
            (format!("the cluster has {kind}s"), found.is_some(), *help)
        }
        Need::Gate { namespace } => return gate(api, namespace).await,
    };
    let fault = (!is_there).then(|| "it is not there".to_owned());
    let help = fault.as_ref().map(|_| help.to_owned());
    Ok(CheckResult { what, fault, help })
}

/// Whether pods of a namespace wait for their target group. A namespace that is still to be made
/// gets the label then, if shipit makes it.
async fn gate(api: &Api, namespace: &str) -> Result<CheckResult, ApiError> {
    let key = ObjectKey {
        api_version: "v1".to_owned(),
        kind: "Namespace".to_owned(),
        namespace: None,
        name: namespace.to_owned(),
    };
    let found = api.get(&key).await?;
    let lacks = found.is_some_and(|live| live["metadata"]["labels"][GATE] != "enabled");
    Ok(CheckResult {
        what: format!("pods in {namespace} wait until the load balancer reaches them"),
        fault: lacks.then(|| format!("the namespace has no label {GATE}=enabled")),
        help: lacks.then(|| format!("kubectl label namespace {namespace} {GATE}=enabled")),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn words(body: Value) -> Vec<String> {
        let manifest = Manifest::try_from(body).expect("a manifest");
        let words = needs(&manifest).into_iter().map(|need| match need {
            Need::Object { key, .. } => key.to_string(),
            Need::Kind { kind, .. } => kind.to_owned(),
            Need::Gate { namespace } => format!("label on {namespace}"),
        });
        words.collect()
    }

    #[test]
    fn each_kind_of_traffic_names_what_it_cannot_make_itself() {
        let ingress = |annotations: Value| {
            json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
                "metadata": {"name": "web", "namespace": "shop", "annotations": annotations},
                "spec": {"ingressClassName": "alb"}})
        };
        let class = "networking.k8s.io/v1/IngressClass//alb";
        assert_eq!(words(ingress(json!({}))), [class]);
        let action = json!({"alb.ingress.kubernetes.io/actions.web": "{}"});
        assert_eq!(
            words(ingress(action)),
            [class, "TargetGroupBinding", "label on shop"]
        );

        let route = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"parentRefs": [{"name": "front"}, {"name": "edge", "namespace": "infra"}]}});
        let gateway = "gateway.networking.k8s.io/v1/Gateway";
        assert_eq!(
            words(route),
            [
                format!("{gateway}/shop/front"),
                format!("{gateway}/infra/edge")
            ]
        );
    }
}
