//! What an object holds that goes with it when it is deleted or replaced: claims with their
//! volumes, the objects of a definition, all that is in a namespace, the pods that run on a
//! provider's machines.
//!
//! What may not be looked at is [`Holding::Unseen`], and never taken for nothing.

mod change;
mod own;
mod schema;
mod storage;

pub(super) use storage::{asks_for_storage, claims};

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::try_join_all;
use serde_json::Value;

use crate::driver::kubernetes::client::api::{Api, ApiError, Kind, Selector};
use crate::driver::kubernetes::engine::apply::said;
use crate::driver::kubernetes::engine::list::{ObjectsFound, key_of};
use crate::driver::kubernetes::engine::owner::{belongs_to, manager};
use crate::model::first_of::first_of;
use crate::model::loss::{Held, Holding, can_hold};
use crate::model::object::{is_kept, mark};
use crate::model::{Fingerprint, Manifest, ObjectKey};
use crate::port::engine::{EngineError, Scope};

/// How many things of one kind are named; the others are counted.
const NAMED: usize = 6;

/// What becomes of a claim whose template a set has no more.
const NO_POD: &str = "it stays, and no pod has it any more: the new ones start without its data";

/// Nothing else goes.
pub(super) static NOTHING: BTreeSet<ObjectKey> = BTreeSet::new();

/// What becomes of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is deleted, with all that its owner references say.
    Deleted,
    /// It is deleted and made again; a `StatefulSet` without its pods and claims.
    Replaced,
}

/// Whose objects are looked into.
pub(super) struct ClaimHolder<'a> {
    pub api: &'a Api,
    pub scope: &'a Scope,
    /// The environment's `ApplySet`.
    pub set: &'a str,
    /// What of the environment's own objects goes by a step of its own.
    pub going: &'a BTreeSet<ObjectKey>,
    pub asked: Asked,
}

/// What for it is looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// A plan is to say what goes.
    ForPlan,
    /// A step is about to do what a plan said. What is found must be what the plan was bound to.
    ForStep,
}

/// What an object is bound to, with what it holds. What is the environment's own goes or stays by
/// its own steps.
pub(super) fn bound(fingerprint: Fingerprint, holds: &[Holding]) -> Fingerprint {
    let others: Vec<&Holding> = holds.iter().filter(|holding| !holding.is_own()).collect();
    if others.is_empty() {
        return fingerprint;
    }
    Fingerprint::of_json(&(fingerprint, others))
}

/// Refuses to delete what no consent lets go.
pub(super) fn guard(key: &ObjectKey, holds: &[Holding]) -> Result<(), EngineError> {
    let Some(holding) = holds.iter().find(|holding| !holding.may_go()) else {
        return Ok(());
    };
    Err(EngineError::Refused {
        reason: format!("{} is not deleted: it holds {holding}", said(key)),
        help: "look at a new plan with `shipit plan`".to_owned(),
    })
}

/// Whether an object says of itself that it must never be deleted or replaced.
pub(super) fn is_protected(live: &Value) -> bool {
    live["metadata"]["annotations"][mark::PROTECTED] == "true"
}

impl ClaimHolder<'_> {
    /// What goes with an object.
    pub async fn of(
        &self,
        key: &ObjectKey,
        live: &Value,
        fate: Fate,
    ) -> Result<Vec<Holding>, ApiError> {
        if !can_hold(key) {
            return Ok(Vec::new());
        }

        match (key.group(), key.kind.as_str(), fate) {
            ("apps", "StatefulSet", Fate::Deleted) => self.claims_that_go(key, live).await,
            ("apps", "StatefulSet", Fate::Replaced) => Ok(Vec::new()),
            ("", "PersistentVolumeClaim", _) => Ok(vec![self.claim(live).await?]),
            ("", "PersistentVolume", _) => self.volume(live, fate).await,
            ("", "Namespace", _) => self.contents(&key.name).await,
            ("apiextensions.k8s.io", _, _) => self.instances(live, fate).await,
            ("snapshot.storage.k8s.io", ..) => Ok(vec![snapshot(key, live)]),
            _ => self.claims_of(key, live, |_| false).await,
        }
    }

    /// What goes when an object becomes what is wanted, in place or by being replaced.
    pub async fn changed(
        &self,
        wanted: &Manifest,
        live: &Value,
        replace: bool,
    ) -> Result<Vec<Holding>, ApiError> {
        if replace {
            let mut holds = self.of_own(&wanted.key(), live, Fate::Replaced).await?;
            // The new one takes the old one's pods, and deletes those beyond its own number.
            holds.extend(self.scaled(live, wanted.body()).await?);
            holds.extend(self.left(live, wanted.body()).await?);
            return Ok(holds);
        }

        let after = change::applied(live, wanted.body());
        let mut holds = self.scaled(live, &after).await?;
        holds.extend(change::given_up(&wanted.key(), live, &after));
        holds.extend(change::owned_since(&wanted.key(), live, &after));
        holds.extend(self.narrowed(&wanted.key(), live, &after).await?);
        Ok(holds)
    }

    /// What the objects of a definition lose when it is changed in place: fields that it has no
    /// more, and versions that nobody can ask for any more. Of others' objects nothing goes.
    async fn narrowed(
        &self,
        key: &ObjectKey,
        live: &Value,
        after: &Value,
    ) -> Result<Vec<Holding>, ApiError> {
        if key.group() != "apiextensions.k8s.io" {
            return Ok(Vec::new());
        }
        let lost = schema::lost(live, after);
        if lost.is_empty() {
            return Ok(Vec::new());
        }
        let mut holds = self.instances(live, Fate::Replaced).await?;
        for holding in &mut holds {
            if let Holding::Data { policy, .. } = holding {
                *policy = Some(format!("they lose {}", first_of(&lost, NAMED)));
            }
        }
        Ok(holds)
    }

    /// The claims that no pod has any more when a `StatefulSet` is replaced by one without their
    /// template: they stay, and what takes their place starts empty.
    async fn left(&self, live: &Value, wanted: &Value) -> Result<Vec<Holding>, ApiError> {
        let Some(key) = key_of(live).filter(|key| key.kind == "StatefulSet") else {
            return Ok(Vec::new());
        };
        let is_left = |claim: &str| {
            number_of(claim, &key.name, live).is_some()
                && number_of(claim, &key.name, wanted).is_none()
        };
        let mut left = self
            .claims_by(&key, |claim| is_left(name_of(claim)))
            .await?;
        for holding in &mut left {
            if let Holding::Data { policy, .. } = holding {
                *policy = Some(NO_POD.to_owned());
            }
        }
        Ok(left)
    }

    /// What goes when a `StatefulSet` becomes another: the claims beyond its new numbers, where the
    /// policy says so.
    async fn scaled(&self, live: &Value, after: &Value) -> Result<Vec<Holding>, ApiError> {
        let Some(key) = key_of(live).filter(|key| key.kind == "StatefulSet") else {
            return Ok(Vec::new());
        };
        if !is_shrinking(live, after) {
            return Ok(Vec::new());
        }
        let (from, to) = (ordinals(live), ordinals(after));
        let goes = |claim: &str| {
            number_of(claim, &key.name, live)
                .is_some_and(|number| from.contains(&number) && !to.contains(&number))
        };
        self.claims_by(&key, |claim| goes(name_of(claim))).await
    }

    /// The claims that go with a `StatefulSet`: only where its policy says so.
    async fn claims_that_go(
        &self,
        key: &ObjectKey,
        live: &Value,
    ) -> Result<Vec<Holding>, ApiError> {
        let policy = &live["spec"]["persistentVolumeClaimRetentionPolicy"];
        if policy["whenDeleted"] != "Delete" {
            return Ok(Vec::new());
        }
        let is_own = |claim: &Value| number_of(name_of(claim), &key.name, live).is_some();
        self.claims_of(key, live, is_own).await
    }

    /// The objects of a definition.
    async fn instances(&self, definition: &Value, fate: Fate) -> Result<Vec<Holding>, ApiError> {
        let Some(kind) = defined(definition) else {
            // They are stored, whether or not anybody can look at them.
            return Ok(vec![Holding::Unseen {
                what: format!("the {}", name_of(definition)),
                why: "no version of them is served".to_owned(),
            }]);
        };
        let objects = match self.list(&kind, None).await? {
            Ok(objects) => objects,
            Err(unseen) => return Ok(vec![unseen]),
        };

        let (own, others): (Vec<Value>, Vec<Value>) =
            objects.into_iter().partition(|object| self.is_ours(object));
        let mut holds = by_owner(&others);
        let own: Vec<&Value> = own
            .iter()
            .filter(|object| {
                fate == Fate::Replaced
                    || key_of(object).is_none_or(|key| !self.going.contains(&key))
            })
            .collect();

        if own.is_empty() {
            return Ok(holds);
        }

        let what = listed(own.iter().copied());
        holds.push(match fate {
            Fate::Replaced => Holding::Data {
                what,
                size: None,
                policy: Some("made again from the configuration, without their status".to_owned()),
            },
            Fate::Deleted => Holding::Own { what },
        });
        Ok(holds)
    }

    fn is_ours(&self, object: &Value) -> bool {
        belongs_to(object, self.set)
    }

    /// Whether shipit made it for this environment, as an object of its own or as its record.
    pub fn is_of_scope(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        self.is_ours(object)
            || labels[mark::PROJECT] == self.scope.project.as_str()
                && labels[mark::ENVIRONMENT] == self.scope.environment.as_str()
    }

    /// The objects of a kind in a namespace, or everywhere; what may not be listed is not known.
    pub async fn list(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
    ) -> Result<Result<Vec<Value>, Holding>, ApiError> {
        let mut found = Vec::new();
        let listed = self
            .api
            .list(kind, namespace, &Selector::All, |object| found.push(object))
            .await;

        match listed {
            Ok(_) => Ok(Ok(found)),
            // A kind that is not served has no objects.
            Err(fault)
                if fault.is(http::StatusCode::NOT_FOUND)
                    || fault.is(http::StatusCode::METHOD_NOT_ALLOWED) =>
            {
                Ok(Ok(Vec::new()))
            }
            Err(fault @ ApiError::Refused(_)) => {
                let place = namespace.map_or_else(
                    || "in all namespaces".to_owned(),
                    |namespace| format!("in {namespace}"),
                );
                Ok(Err(Holding::Unseen {
                    what: format!("the {} {place}", kind.plural),
                    why: fault.to_string(),
                }))
            }
            Err(fault) => Err(fault),
        }
    }

    /// What of a workload's objects can hold something or is protected, and what goes with each
    /// when it is taken out. Whoever has protected an object may have done so in the cluster alone.
    pub async fn held(
        &self,
        manifests: &[Manifest],
        found: &ObjectsFound,
    ) -> Result<Vec<Held>, ApiError> {
        let holders = manifests.iter().filter(|manifest| {
            let key = manifest.key();
            can_hold(&key)
                || crate::model::loss::is_protected(manifest)
                || found.known.get(&key).is_some_and(|item| item.is_protected)
        });

        let held = holders.map(|manifest| async move {
            let key = manifest.key();
            let (holds, is_protected) = match self.api.get(&key).await? {
                None => (Vec::new(), false),
                // It stays, with all that it holds.
                Some(live) if is_kept(&live) => (Vec::new(), false),
                Some(live) => (
                    self.of(&key, &live, Fate::Deleted).await?,
                    is_protected(&live),
                ),
            };
            Ok::<_, ApiError>(Held {
                key,
                holds,
                is_protected,
            })
        });
        try_join_all(held).await
    }
}

pub(super) fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// The number of a `StatefulSet`'s claim: `TEMPLATE-NAME-NUMBER`.
pub(super) fn number_of(claim: &str, name: &str, live: &Value) -> Option<i64> {
    let templates = live["spec"]["volumeClaimTemplates"].as_array();
    templates.into_iter().flatten().find_map(|template| {
        let prefix = format!("{}-{name}-", name_of(template));
        claim.strip_prefix(&prefix)?.parse().ok()
    })
}

/// The numbers of a `StatefulSet`'s pods.
fn ordinals(set: &Value) -> std::ops::Range<i64> {
    let start = set["spec"]["ordinals"]["start"].as_i64().unwrap_or(0);
    let replicas = set["spec"]["replicas"].as_i64().unwrap_or(1);
    start..start.saturating_add(replicas)
}

/// Whether pods go for good and take their claims with them.
fn is_shrinking(live: &Value, after: &Value) -> bool {
    let deletes =
        |set: &Value| set["spec"]["persistentVolumeClaimRetentionPolicy"]["whenScaled"] == "Delete";
    let (from, to) = (ordinals(live), ordinals(after));
    (deletes(live) || deletes(after)) && (from.start < to.start || to.end < from.end)
}

fn snapshot(key: &ObjectKey, live: &Value) -> Holding {
    let size = live["status"]["restoreSize"].as_str().map(str::to_owned);
    let policy = live["spec"]["deletionPolicy"]
        .as_str()
        .map(|policy| format!("deletion policy {policy}"));
    Holding::Data {
        what: format!("snapshot {}", key.name),
        size,
        policy,
    }
}

/// The kind that a definition defines, by the version that is stored.
pub(super) fn defined(definition: &Value) -> Option<Kind> {
    let spec = &definition["spec"];
    let versions = spec["versions"].as_array()?;
    let served = versions.iter().filter(|version| version["served"] == true);
    let version = served
        .clone()
        .find(|version| version["storage"] == true)
        .or_else(|| served.clone().next())?;
    Some(Kind {
        api_version: format!("{}/{}", spec["group"].as_str()?, version["name"].as_str()?),
        kind: spec["names"]["kind"].as_str()?.to_owned(),
        plural: spec["names"]["plural"].as_str()?.to_owned(),
        namespaced: spec["scope"] == "Namespaced",
    })
}

/// Objects of others by whose they are.
pub(super) fn by_owner(objects: &[Value]) -> Vec<Holding> {
    let mut owners: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for object in objects {
        owners.entry(manager(object)).or_default().push(object);
    }
    owners
        .into_iter()
        .map(|(owner, objects)| Holding::Others {
            what: listed(objects.into_iter()),
            owner,
        })
        .collect()
}

/// Objects by kind and name, the first few of them.
pub(super) fn listed<'a>(objects: impl Iterator<Item = &'a Value>) -> String {
    let mut names: Vec<String> = objects.filter_map(key_of).map(|key| said(&key)).collect();
    names.sort();
    first_of(&names, NAMED)
}
