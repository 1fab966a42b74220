//! What is lost with an object of the environment's own beside what it stores: where traffic
//! arrives from outside, what others have written into it, what refers to it, and what a controller
//! has made for it elsewhere.
//!
//! What stands in a slot is made anew with each release, and is not looked at like this.

use serde_json::{Map, Value};

use super::{ClaimHolder, Fate, by_owner, listed};
use crate::driver::kubernetes::client::api::{ApiError, Kind};
use crate::driver::kubernetes::engine::addresses::addresses;
use crate::driver::kubernetes::engine::apply::said;
use crate::driver::kubernetes::engine::compare::owned;
use crate::model::ObjectKey;
use crate::model::loss::{Holding, can_hold, is_of_definition};

/// Finalizers of the API itself: they wait, and delete nothing elsewhere.
const WAITING: [&str; 4] = [
    "foregroundDeletion",
    "orphan",
    "kubernetes.io/pvc-protection",
    "kubernetes.io/pv-protection",
];

/// Groups whose objects are rules and orders that their controllers carry out inside the cluster:
/// what goes with one comes again with one.
const RULES: [&str; 12] = [
    "acme.cert-manager.io",
    "cert-manager.io",
    "cilium.io",
    "external-secrets.io",
    "keda.sh",
    "kyverno.io",
    "monitoring.coreos.com",
    "networking.istio.io",
    "policy.networking.k8s.io",
    "security.istio.io",
    "traefik.io",
    "karpenter.sh",
];

/// On a node: the pool that it is of.
const POOL: &str = "karpenter.sh/nodepool";

/// What refers to an object of a class by its name.
struct Referrer {
    group: &'static str,
    kind: &'static str,
    by: (&'static str, &'static str, &'static str),
    field: &'static str,
}

const REFERRERS: [Referrer; 10] = [
    Referrer {
        group: "",
        kind: "ServiceAccount",
        by: ("v1", "Pod", "pods"),
        field: "/spec/serviceAccountName",
    },
    Referrer {
        group: "",
        kind: "ServiceAccount",
        by: ("v1", "Secret", "secrets"),
        field: "/metadata/annotations/kubernetes.io~1service-account.name",
    },
    Referrer {
        group: "",
        kind: "Node",
        by: ("v1", "Pod", "pods"),
        field: "/spec/nodeName",
    },
    Referrer {
        group: "networking.k8s.io",
        kind: "IngressClass",
        by: ("networking.k8s.io/v1", "Ingress", "ingresses"),
        field: "/spec/ingressClassName",
    },
    Referrer {
        group: "gateway.networking.k8s.io",
        kind: "GatewayClass",
        by: ("gateway.networking.k8s.io/v1", "Gateway", "gateways"),
        field: "/spec/gatewayClassName",
    },
    Referrer {
        group: "storage.k8s.io",
        kind: "StorageClass",
        by: ("v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
        field: "/spec/storageClassName",
    },
    Referrer {
        group: "node.k8s.io",
        kind: "RuntimeClass",
        by: ("v1", "Pod", "pods"),
        field: "/spec/runtimeClassName",
    },
    Referrer {
        group: "scheduling.k8s.io",
        kind: "PriorityClass",
        by: ("v1", "Pod", "pods"),
        field: "/spec/priorityClassName",
    },
    Referrer {
        group: "rbac.authorization.k8s.io",
        kind: "ClusterRole",
        by: (
            "rbac.authorization.k8s.io/v1",
            "ClusterRoleBinding",
            "clusterrolebindings",
        ),
        field: "/roleRef/name",
    },
    Referrer {
        group: "rbac.authorization.k8s.io",
        kind: "ClusterRole",
        by: (
            "rbac.authorization.k8s.io/v1",
            "RoleBinding",
            "rolebindings",
        ),
        field: "/roleRef/name",
    },
];

impl ClaimHolder<'_> {
    /// What goes with one of the environment's own objects.
    pub async fn of_own(
        &self,
        key: &ObjectKey,
        live: &Value,
        fate: Fate,
    ) -> Result<Vec<Holding>, ApiError> {
        let mut holds = self.of(key, live, fate).await?;
        if !can_hold(key) {
            holds.extend(self.hanging(key, live).await?);
        }
        holds.extend(entry(key, live));
        holds.extend(written(key, live));
        holds.extend(elsewhere(key, live));
        holds.extend(self.referring(key).await?);
        holds.extend(self.nodes_of(key).await?);
        Ok(holds)
    }

    /// The claims that hang on an object which holds nothing itself: whoever made them has named it
    /// as their owner. Where claims may not be listed, none are known.
    async fn hanging(&self, key: &ObjectKey, live: &Value) -> Result<Vec<Holding>, ApiError> {
        if key.namespace.is_none() {
            return Ok(Vec::new());
        }
        let claims = self.claims_of(key, live, |_| false).await?;
        let is_data = |holding: &Holding| matches!(holding, Holding::Data { .. });
        Ok(claims.into_iter().filter(is_data).collect())
    }

    /// The nodes of a pool, which are taken away with all pods on them, whosever they are.
    async fn nodes_of(&self, key: &ObjectKey) -> Result<Vec<Holding>, ApiError> {
        if (key.group(), key.kind.as_str()) != ("karpenter.sh", "NodePool") {
            return Ok(Vec::new());
        }
        let kind = Kind {
            api_version: "v1".to_owned(),
            kind: "Node".to_owned(),
            plural: "nodes".to_owned(),
            namespaced: false,
        };
        Ok(match self.list(&kind, None).await? {
            Ok(mut nodes) => {
                nodes.retain(|node| node["metadata"]["labels"][POOL] == key.name.as_str());
                let what = || format!("the pods on {}", listed(nodes.iter()));
                let why = "its controller drains the nodes of a pool that is deleted".to_owned();
                let what = (!nodes.is_empty()).then(what);
                what.map(|what| Holding::Unknown { what, why })
                    .into_iter()
                    .collect()
            }
            Err(unseen) => vec![unseen],
        })
    }

    /// What others have that goes by this object's name.
    async fn referring(&self, key: &ObjectKey) -> Result<Vec<Holding>, ApiError> {
        let mut holds = Vec::new();
        let asked = REFERRERS
            .iter()
            .filter(|it| (it.group, it.kind) == (key.group(), key.kind.as_str()));
        for Referrer { by, field, .. } in asked {
            let (api_version, kind, plural) = *by;
            let kind = Kind {
                api_version: api_version.to_owned(),
                kind: kind.to_owned(),
                plural: plural.to_owned(),
                namespaced: kind != "ClusterRoleBinding",
            };
            // What is in a namespace is referred to from there.
            match self.list(&kind, key.namespace.as_deref()).await? {
                Ok(mut found) => {
                    found.retain(|object| {
                        object.pointer(field).and_then(Value::as_str) == Some(&key.name)
                            && !self.is_of_scope(object)
                    });
                    holds.extend(by_owner(&found));
                }
                Err(Holding::Unseen { what, why }) => holds.push(Holding::Unknown {
                    what: format!("which of {what} go by {}", said(key)),
                    why,
                }),
                Err(other) => holds.push(other),
            }
        }
        Ok(holds)
    }
}

/// Where traffic arrives from outside.
pub(super) fn entry(key: &ObjectKey, live: &Value) -> Option<Holding> {
    let places: Vec<String> = match (key.group(), key.kind.as_str()) {
        ("", "Service") if live["spec"]["type"] == "NodePort" => {
            let ports = live["spec"]["ports"].as_array().into_iter().flatten();
            ports
                .filter_map(|port| Some(format!("node port {}", port["nodePort"].as_u64()?)))
                .collect()
        }
        ("", "Service")
        | ("networking.k8s.io", "Ingress")
        | ("gateway.networking.k8s.io", "Gateway") => {
            addresses(live).map(|it| it.text.to_owned()).collect()
        }
        ("gateway.networking.k8s.io", _) if is_attached(live) => {
            let names = live["spec"]["hostnames"].as_array().into_iter().flatten();
            let names: Vec<String> = names
                .filter_map(|name| name.as_str().map(str::to_owned))
                .collect();
            if names.is_empty() {
                vec!["every name of its gateway".to_owned()]
            } else {
                names
            }
        }
        _ => Vec::new(),
    };
    (!places.is_empty()).then(|| Holding::Entry {
        what: format!("{} ({})", said(key), places.join(", ")),
    })
}

/// Whether a gateway takes a route.
pub(super) fn is_attached(live: &Value) -> bool {
    let parents = live["status"]["parents"].as_array().into_iter().flatten();
    parents
        .flat_map(|parent| parent["conditions"].as_array().into_iter().flatten())
        .any(|condition| condition["type"] == "Accepted" && condition["status"] == "True")
}

/// The keys that somebody else has written: an authority's certificate, a password that was made
/// once.
fn written(key: &ObjectKey, live: &Value) -> Option<Holding> {
    if !key.group().is_empty() || !matches!(key.kind.as_str(), "Secret" | "ConfigMap") {
        return None;
    }
    let own = owned(live).map(|entry| &entry["fieldsV1"]);
    let is_own = |part: &str, name: &str| {
        let field = own.and_then(|fields| fields.get(format!("f:{part}")));
        field.is_some_and(|fields| fields.get(format!("f:{name}")).is_some())
    };
    let mut others: Vec<&str> = Vec::new();
    for part in ["data", "binaryData"] {
        let keys = live[part].as_object().into_iter().flat_map(Map::keys);
        others.extend(keys.map(String::as_str).filter(|name| !is_own(part, name)));
    }
    (!others.is_empty()).then(|| Holding::Data {
        what: format!(
            "what others wrote into {}: {}",
            said(key),
            others.join(", ")
        ),
        size: None,
        policy: None,
    })
}

/// What the controller of a kind that a definition adds has made for it: nobody can look there.
fn elsewhere(key: &ObjectKey, live: &Value) -> Option<Holding> {
    if !is_of_definition(key) {
        return None;
    }
    let spec = &live["spec"];
    let policy = spec["deletionPolicy"]
        .as_str()
        .or(spec["reclaimPolicy"].as_str());
    if policy.is_some_and(|policy| matches!(policy, "Orphan" | "Retain" | "None")) {
        return None;
    }
    // Whoever only carries out what it says has a finalizer for its own order.
    if policy.is_none() && RULES.contains(&key.group()) {
        return None;
    }
    let finalizers = live["metadata"]["finalizers"]
        .as_array()
        .into_iter()
        .flatten();
    let finalizer = finalizers
        .filter_map(Value::as_str)
        .find(|name| !WAITING.contains(name));
    let why = match (policy, finalizer) {
        (Some(policy), _) => format!("its deletion policy is {policy}"),
        (None, Some(name)) => format!("{name} acts when it is deleted"),
        (None, None) => return None,
    };
    Some(Holding::Unknown {
        what: format!("what its controller keeps for {}", said(key)),
        why,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key(text: &str) -> ObjectKey {
        text.parse().expect(text)
    }

    #[test]
    fn where_traffic_arrives_is_told_by_its_address() {
        let lb = json!({"status": {"loadBalancer": {"ingress": [{"hostname": "a.example.com"}]}}});
        let said = |text: &str, live: &Value| entry(&key(text), live).map(|it| it.to_string());
        let mut service = lb.clone();
        service["spec"] = json!({"type": "LoadBalancer"});
        assert_eq!(
            said("v1/Service/shop/web", &service).as_deref(),
            Some("live traffic arrives at Service/web in shop (a.example.com)")
        );
        assert!(said("networking.k8s.io/v1/Ingress/shop/web", &lb).is_some());
        let node = json!({"spec": {"type": "NodePort", "ports": [{"nodePort": 30080}]}});
        assert!(said("v1/Service/shop/web", &node).is_some_and(|it| it.contains("30080")));
        let gateway = json!({"status": {"addresses": [{"value": "10.0.0.1"}]}});
        assert!(said("gateway.networking.k8s.io/v1/Gateway/shop/web", &gateway).is_some());
        let route = json!({"spec": {"hostnames": ["shop.example.com"]},
            "status": {"parents": [{"conditions": [{"type": "Accepted", "status": "True"}]}]}});
        assert!(said("gateway.networking.k8s.io/v1/HTTPRoute/shop/web", &route).is_some());

        for (text, live) in [
            (
                "v1/Service/shop/web",
                json!({"spec": {"type": "ClusterIP"}}),
            ),
            (
                "v1/Service/shop/web",
                json!({"spec": {"type": "LoadBalancer"}}),
            ),
            (
                "networking.k8s.io/v1/Ingress/shop/web",
                json!({"status": {"loadBalancer": {}}}),
            ),
            (
                "gateway.networking.k8s.io/v1/HTTPRoute/shop/web",
                json!({"spec": {}}),
            ),
        ] {
            assert_eq!(said(text, &live), None, "{text}");
        }
    }

    #[test]
    fn what_others_wrote_is_data() {
        let live = json!({"data": {"own": "YQ==", "tls.key": "Yg=="}, "metadata": {"managedFields": [
            {"manager": "shipit", "operation": "Apply", "fieldsV1": {"f:data": {"f:own": {}}}},
            {"manager": "cert-manager", "operation": "Update", "fieldsV1": {"f:data": {"f:tls.key": {}}}},
        ]}});
        let held = written(&key("v1/Secret/shop/tls"), &live).expect("data");
        assert_eq!(
            held.to_string(),
            "what others wrote into Secret/tls in shop: tls.key"
        );
        let own = json!({"data": {"own": "YQ=="}, "metadata": live["metadata"]});
        assert_eq!(written(&key("v1/Secret/shop/tls"), &own), None);
    }

    #[test]
    fn a_kind_of_others_whose_controller_acts_is_not_taken_for_empty() {
        let bucket = key("s3.services.k8s.aws/v1alpha1/Bucket/shop/data");
        let finalizer =
            json!({"metadata": {"finalizers": ["finalizers.s3.services.k8s.aws/Bucket"]}});
        assert!(elsewhere(&bucket, &finalizer).is_some_and(|it| it.may_go()));
        let deletes = json!({"spec": {"deletionPolicy": "Delete"}});
        assert!(elsewhere(&bucket, &deletes).is_some());

        let keeps =
            json!({"spec": {"deletionPolicy": "Orphan"}, "metadata": finalizer["metadata"]});
        assert_eq!(elsewhere(&bucket, &keeps), None);
        assert_eq!(elsewhere(&bucket, &json!({})), None);
        assert_eq!(
            elsewhere(&key("keda.sh/v1alpha1/ScaledObject/shop/web"), &finalizer),
            None
        );
        assert_eq!(
            elsewhere(&key("apps/v1/Deployment/shop/web"), &finalizer),
            None
        );
    }
}
