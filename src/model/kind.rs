//! Kinds of objects, and whether theirs are in a namespace.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Manifest, group_of};

/// A kind, whatever the version it is asked for in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupKind {
    /// Empty for the core group.
    pub group: String,
    /// `Deployment`.
    pub kind: String,
}

impl GroupKind {
    /// The kind of an object.
    #[must_use]
    pub fn of(manifest: &Manifest) -> Self {
        let version = manifest.body()["apiVersion"].as_str().unwrap_or_default();
        Self {
            group: group_of(version).to_owned(),
            kind: manifest.kind().to_owned(),
        }
    }
}

/// What a server is, for what asks before it says which objects it has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Its version: `v1.36.0`.
    pub version: String,
    /// What it serves, as `VERSION` and as `VERSION/KIND`.
    pub apis: BTreeSet<String>,
}

/// Where the objects of a kind are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KindScope {
    /// Each in a namespace.
    Namespaced,
    /// In none.
    Cluster,
}

/// Where the objects of kinds are, as a server or a definition says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KindScopes(BTreeMap<GroupKind, KindScope>);

impl KindScopes {
    /// What the definitions among these manifests say.
    #[must_use]
    pub fn defined_by<'a>(manifests: impl IntoIterator<Item = &'a Manifest>) -> Self {
        manifests.into_iter().filter_map(definition).collect()
    }

    /// Whether anything is said about a kind.
    #[must_use]
    pub fn knows(&self, kind: &GroupKind) -> bool {
        self.0.contains_key(kind)
    }

    /// Where an object's kind is. Of one that nobody has said anything about it is taken to be in a
    /// namespace, as most are.
    #[must_use]
    pub fn of(&self, manifest: &Manifest) -> KindScope {
        let kind = GroupKind::of(manifest);
        let said = self.0.get(&kind).copied();
        said.or_else(|| well_known(&kind))
            .unwrap_or(KindScope::Namespaced)
    }

    /// Takes over what others say.
    pub fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }
}

impl FromIterator<(GroupKind, KindScope)> for KindScopes {
    fn from_iter<I: IntoIterator<Item = (GroupKind, KindScope)>>(all: I) -> Self {
        Self(all.into_iter().collect())
    }
}

/// The `apiVersion` and kind of manifests whose scope only a server can tell.
#[must_use]
pub fn unknown_kinds<'a>(
    manifests: impl IntoIterator<Item = &'a Manifest>,
    known: &KindScopes,
) -> BTreeSet<(String, String)> {
    let is_unknown = |manifest: &&Manifest| {
        let kind = GroupKind::of(manifest);
        well_known(&kind).is_none() && !known.knows(&kind)
    };
    let manifests = manifests.into_iter().filter(is_unknown);
    let keys = manifests.map(Manifest::key);
    keys.map(|key| (key.api_version, key.kind)).collect()
}

/// The kind that a definition defines, and where its objects are.
fn definition(manifest: &Manifest) -> Option<(GroupKind, KindScope)> {
    if manifest.kind() != "CustomResourceDefinition" {
        return None;
    }
    let spec = &manifest.body()["spec"];
    let kind = GroupKind {
        group: spec["group"].as_str()?.to_owned(),
        kind: spec["names"]["kind"].as_str()?.to_owned(),
    };
    let scope = match spec["scope"].as_str()? {
        "Cluster" => KindScope::Cluster,
        _ => KindScope::Namespaced,
    };
    Some((kind, scope))
}

/// What the API itself has promised for ever: where the objects of its own kinds are. It saves
/// asking; what is not here is asked for.
fn well_known(kind: &GroupKind) -> Option<KindScope> {
    let is_in_a_namespace = match (kind.group.as_str(), kind.kind.as_str()) {
        (
            "",
            "ConfigMap"
            | "Endpoints"
            | "LimitRange"
            | "PersistentVolumeClaim"
            | "Pod"
            | "ReplicationController"
            | "ResourceQuota"
            | "Secret"
            | "Service"
            | "ServiceAccount",
        )
        | ("apps", "DaemonSet" | "Deployment" | "ReplicaSet" | "StatefulSet")
        | ("autoscaling", "HorizontalPodAutoscaler")
        | ("batch", "CronJob" | "Job")
        | ("coordination.k8s.io", "Lease")
        | ("discovery.k8s.io", "EndpointSlice")
        | ("networking.k8s.io", "Ingress" | "NetworkPolicy")
        | ("policy", "PodDisruptionBudget")
        | ("rbac.authorization.k8s.io", "Role" | "RoleBinding") => true,
        ("", "Namespace" | "PersistentVolume")
        | ("apiextensions.k8s.io", "CustomResourceDefinition")
        | ("networking.k8s.io", "IngressClass")
        | ("node.k8s.io", "RuntimeClass")
        | ("rbac.authorization.k8s.io", "ClusterRole" | "ClusterRoleBinding")
        | ("scheduling.k8s.io", "PriorityClass")
        | ("storage.k8s.io", "StorageClass") => false,
        _ => return None,
    };

    Some(if is_in_a_namespace {
        KindScope::Namespaced
    } else {
        KindScope::Cluster
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(api_version: &str, kind: &str) -> Manifest {
        let body = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "a"}});
        Manifest::try_from(body).expect("a manifest")
    }

    fn defines(scope: &str) -> Manifest {
        let mut manifest = object("apiextensions.k8s.io/v1", "CustomResourceDefinition");
        manifest.edit(|body| {
            body["spec"] =
                json!({"group": "example.org", "scope": scope, "names": {"kind": "Storage"}});
        });
        manifest
    }

    #[test]
    fn a_definition_says_where_its_objects_are() {
        let of = |scope: &str| {
            let all = [defines(scope)];
            KindScopes::defined_by(&all).of(&object("example.org/v1beta1", "Storage"))
        };
        assert_eq!(of("Cluster"), KindScope::Cluster);
        assert_eq!(of("Namespaced"), KindScope::Namespaced);
    }

    #[test]
    fn a_kinds_name_says_nothing_in_another_group() {
        let known = KindScopes::default();
        let cluster = object("rbac.authorization.k8s.io/v1", "ClusterRole");
        assert_eq!(known.of(&cluster), KindScope::Cluster);
        let other = object("example.org/v1", "ClusterRole");
        assert_eq!(known.of(&other), KindScope::Namespaced);
        let asked = unknown_kinds([&cluster, &other], &known);
        let only = ("example.org/v1".to_owned(), "ClusterRole".to_owned());
        assert_eq!(asked, BTreeSet::from([only]));
    }

    #[test]
    fn what_a_definition_says_is_not_asked_for() {
        let all = [defines("Cluster"), object("example.org/v1", "Storage")];
        let known = KindScopes::defined_by(&all);
        assert_eq!(unknown_kinds(&all, &known), BTreeSet::new());
    }
}
