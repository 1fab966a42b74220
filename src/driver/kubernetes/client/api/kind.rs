//! Kinds, and where the server has them.

use super::encode;
use crate::model::{ObjectKey, group_of};

/// A kind as the server serves it. As with an object's key, the version only says how it is asked
/// for: a group's kind is one kind.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
#[allow(clippy::struct_field_names)] // it is the API's own word for this field
pub(in crate::driver) struct Kind {
    pub api_version: String,
    pub kind: String,
    pub plural: String,
    pub namespaced: bool,
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Kind {}

impl PartialOrd for Kind {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Kind {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.group(), &self.kind).cmp(&(other.group(), &other.kind))
    }
}

impl Kind {
    /// The path of an object, or of all objects of the kind. Every segment that comes from outside
    /// is encoded here.
    pub fn path(&self, namespace: Option<&str>, name: Option<&str>) -> String {
        let root = if self.api_version.contains('/') {
            "/apis"
        } else {
            "/api"
        };
        let mut path = root.to_owned();
        let namespace = namespace.filter(|_| self.namespaced);
        let namespace = namespace.into_iter().flat_map(|name| ["namespaces", name]);
        let version = self.api_version.split('/');
        for segment in version.chain(namespace).chain([&*self.plural]).chain(name) {
            path = format!("{path}/{}", encode(segment));
        }
        path
    }

    pub fn group(&self) -> &str {
        group_of(&self.api_version)
    }

    /// Whether an object is of this kind, in whatever version.
    pub fn is_of(&self, key: &ObjectKey) -> bool {
        self.group() == key.group() && self.kind == key.kind
    }
}

/// The kinds that every server has: no request is needed to know them.
pub(super) fn builtin(api_version: &str, kind: &str) -> Option<Kind> {
    let (plural, namespaced) = match (api_version, kind) {
        ("v1", "Namespace") => ("namespaces", false),
        ("v1", "ConfigMap") => ("configmaps", true),
        ("v1", "Secret") => ("secrets", true),
        ("v1", "Service") => ("services", true),
        ("v1", "ServiceAccount") => ("serviceaccounts", true),
        ("v1", "PersistentVolumeClaim") => ("persistentvolumeclaims", true),
        ("v1", "Pod") => ("pods", true),
        ("v1", "Event") => ("events", true),
        ("v1", "ResourceQuota") => ("resourcequotas", true),
        ("v1", "LimitRange") => ("limitranges", true),
        ("apps/v1", "Deployment") => ("deployments", true),
        ("apps/v1", "StatefulSet") => ("statefulsets", true),
        ("apps/v1", "DaemonSet") => ("daemonsets", true),
        ("apps/v1", "ReplicaSet") => ("replicasets", true),
        ("batch/v1", "Job") => ("jobs", true),
        ("batch/v1", "CronJob") => ("cronjobs", true),
        ("autoscaling/v2", "HorizontalPodAutoscaler") => ("horizontalpodautoscalers", true),
        ("policy/v1", "PodDisruptionBudget") => ("poddisruptionbudgets", true),
        ("networking.k8s.io/v1", "Ingress") => ("ingresses", true),
        ("networking.k8s.io/v1", "NetworkPolicy") => ("networkpolicies", true),
        ("discovery.k8s.io/v1", "EndpointSlice") => ("endpointslices", true),
        ("rbac.authorization.k8s.io/v1", "Role") => ("roles", true),
        ("rbac.authorization.k8s.io/v1", "RoleBinding") => ("rolebindings", true),
        ("rbac.authorization.k8s.io/v1", "ClusterRole") => ("clusterroles", false),
        ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding") => ("clusterrolebindings", false),
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition") => {
            ("customresourcedefinitions", false)
        }
        ("coordination.k8s.io/v1", "Lease") => ("leases", true),
        ("authorization.k8s.io/v1", "SelfSubjectAccessReview") => {
            ("selfsubjectaccessreviews", false)
        }
        _ => return None,
    };

    Some(Kind {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
        namespaced,
    })
}
