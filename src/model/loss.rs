//! What would be lost: what a thing holds that goes with it when a step deletes or replaces it.
//!
//! An engine or a provider says what is in a thing ([`Holding`]), a plan declares it for each of
//! its steps that deletes or replaces something that can hold anything ([`Loss`]), and the rules
//! here say what may go at all.

use std::collections::BTreeSet;
use std::fmt;

use crate::model::object::mark;
use crate::model::plan::StepId;
use crate::model::resource::{ResourceKey, ResourceKind};
use crate::model::{Manifest, ObjectKey};

/// Something in a thing that is not made again from the configuration.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Holding {
    /// Data. It goes only when a person consents by name.
    Data {
        /// What, in words: `claim data-db-0 in shop`.
        what: String,
        /// How much: `10Gi`, `12 images`; none when that is not known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        size: Option<String>,
        /// What becomes of it, where a policy says: `reclaim policy Delete`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        policy: Option<String>,
    },
    /// Where live traffic arrives. Nothing answers there any more, and whoever still goes there is
    /// turned away; it goes only when a person consents by name.
    Entry {
        /// The object or the address: `Service/web`, `127.0.0.1:8080`.
        what: String,
    },
    /// What has live traffic. It never goes by the way.
    LiveTraffic {
        /// What: `2 pods of web in blue`.
        what: String,
    },
    /// shipit's own record or state of an environment. It never goes by the way.
    State {
        /// What, and of which environment.
        what: String,
    },
    /// What this environment itself still has in it, and what is not going by another step.
    Own {
        /// What.
        what: String,
    },
    /// What somebody else made or uses. It never goes.
    Others {
        /// What.
        what: String,
        /// Whose, as far as that is known.
        owner: String,
    },
    /// Nobody can look whether there is anything, for whatever rights: what a controller keeps
    /// elsewhere for an object, or what goes by its name. It goes only when a person consents by
    /// name.
    Unknown {
        /// What.
        what: String,
        /// Why it may be there.
        why: String,
    },
    /// It could not be looked at. What is not known is not deleted.
    Unseen {
        /// What.
        what: String,
        /// Why not.
        why: String,
    },
}

impl Holding {
    /// Whether a person's consent is enough to let it go.
    #[must_use]
    pub const fn may_go(&self) -> bool {
        matches!(
            self,
            Self::Data { .. } | Self::Entry { .. } | Self::Unknown { .. }
        )
    }

    /// Whether it is the environment's own, and goes or stays by its own steps.
    #[must_use]
    pub const fn is_own(&self) -> bool {
        matches!(self, Self::Own { .. })
    }
}

impl fmt::Display for Holding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data { what, size, policy } => {
                let parts = [Some(what), size.as_ref(), policy.as_ref()];
                let parts: Vec<&str> = parts.into_iter().flatten().map(String::as_str).collect();
                f.write_str(&parts.join(", "))
            }
            Self::Entry { what } => write!(f, "live traffic arrives at {what}"),
            Self::LiveTraffic { what } => write!(f, "{what}, with live traffic"),
            Self::State { what } => f.write_str(what),
            Self::Own { what } => write!(f, "{what}, of this environment"),
            Self::Others { what, owner } => write!(f, "{what}, of {owner}"),
            Self::Unknown { what, why } => write!(f, "{what}, if anything: {why}"),
            Self::Unseen { what, why } => write!(f, "{what} could not be looked at: {why}"),
        }
    }
}

/// A claim of storage, as a cluster has it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Claim {
    /// Where it is.
    pub namespace: String,
    /// Its name; those of a `StatefulSet` are `TEMPLATE-NAME-NUMBER`.
    pub name: String,
    /// How much it has, or asks for while it has none.
    pub size: Option<String>,
    /// The storage class.
    pub class: Option<String>,
    /// Whether the class lets it grow; none when that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expands: Option<bool>,
}

/// An object of a workload, and what it holds.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Held {
    /// The object.
    pub key: ObjectKey,
    /// What goes with it.
    pub holds: Vec<Holding>,
    /// Whether it says of itself that it must never be deleted or replaced.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_protected: bool,
}

/// What one step of a plan destroys: declared for every step that deletes or replaces something
/// that can hold anything. With an empty `holds` it says that it was looked at, and that nothing
/// goes with it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Loss {
    /// The step.
    pub step: StepId,
    /// What is deleted or replaced: the name by which a person consents.
    pub name: String,
    /// What goes with it.
    pub holds: Vec<Holding>,
    /// Whether the object forbids it, whoever consents.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_protected: bool,
}

impl Loss {
    /// Whether anything goes at all.
    #[must_use]
    pub const fn is_loss(&self) -> bool {
        !self.holds.is_empty()
    }
}

/// The names of what a person lets go, as the plan prints them.
pub type Consents = BTreeSet<String>;

/// What is lost and no consent names yet.
#[must_use]
pub fn unconsented<'a>(losses: &'a [Loss], consents: &Consents) -> Vec<&'a Loss> {
    losses
        .iter()
        .filter(|loss| loss.is_loss() && !consents.contains(&loss.name))
        .collect()
}

/// The groups that the API itself has, and that of the Gateway API, whose objects only lead
/// traffic.
const GROUPS: [&str; 24] = [
    "",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "apps",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "extensions",
    "flowcontrol.apiserver.k8s.io",
    "gateway.networking.k8s.io",
    "internal.apiserver.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
    "storagemigration.k8s.io",
];

/// Whether an object can hold what is not in its manifest: data, or things of others. Of the kinds
/// that the API itself has, these five; of a kind that a definition adds nobody can say that it
/// does not.
#[must_use]
pub fn can_hold(key: &ObjectKey) -> bool {
    let is_holder = matches!(
        (key.group(), key.kind.as_str()),
        ("apps", "StatefulSet")
            | (
                "",
                "PersistentVolumeClaim" | "PersistentVolume" | "Namespace"
            )
            | ("apiextensions.k8s.io", "CustomResourceDefinition")
    );
    is_holder || is_of_definition(key)
}

/// Whether it is of a kind that a definition adds.
#[must_use]
pub fn is_of_definition(key: &ObjectKey) -> bool {
    !GROUPS.contains(&key.group())
}

/// Whether a provider's resource can hold what its settings do not say.
#[must_use]
pub const fn resource_can_hold(key: &ResourceKey) -> bool {
    match key.kind {
        ResourceKind::Repository
        | ResourceKind::Cluster
        | ResourceKind::NodeGroup
        | ResourceKind::FargateProfile => true,
        ResourceKind::PullThrough
        | ResourceKind::Replication
        | ResourceKind::Addon
        | ResourceKind::AccessEntry => false,
    }
}

/// Whether an object says of itself that it must never be deleted or replaced.
#[must_use]
pub fn is_protected(manifest: &Manifest) -> bool {
    manifest.body()["metadata"]["annotations"][mark::PROTECTED] == "true"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_knows_counts_as_holding_something() {
        let key = |text: &str| text.parse::<ObjectKey>().expect(text);
        for holder in [
            "apps/v1/StatefulSet/shop/db",
            "v1/PersistentVolumeClaim/shop/data",
            "v1/PersistentVolume//disk",
            "v1/Namespace//shop",
            "apiextensions.k8s.io/v1/CustomResourceDefinition//deltas.example.com",
            "postgresql.cnpg.io/v1/Cluster/shop/db",
            "snapshot.storage.k8s.io/v1/VolumeSnapshot/shop/monday",
        ] {
            assert!(can_hold(&key(holder)), "{holder}");
        }
        for plain in [
            "apps/v1/Deployment/shop/web",
            "v1/ConfigMap/shop/settings",
            "networking.k8s.io/v1/Ingress/shop/web",
            "gateway.networking.k8s.io/v1/HTTPRoute/shop/web",
            "scheduling.k8s.io/v1/PriorityClass//high",
            "storage.k8s.io/v1/StorageClass//fast",
        ] {
            assert!(!can_hold(&key(plain)), "{plain}");
        }
    }

    #[test]
    fn a_holding_says_what_how_much_and_what_becomes_of_it() {
        let data = Holding::Data {
            what: "claim data-db-0 in shop".to_owned(),
            size: Some("1Gi".to_owned()),
            policy: Some("reclaim policy Delete".to_owned()),
        };
        assert_eq!(
            data.to_string(),
            "claim data-db-0 in shop, 1Gi, reclaim policy Delete"
        );
        let json = serde_json::to_value(&data).expect("json");
        assert_eq!(json["is"], "data");
    }
}
