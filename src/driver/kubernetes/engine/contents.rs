//! What is in a namespace and goes with it. Every kind is asked for, in whatever version it is
//! served: what was not listed would be deleted without a word.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::try_join_all;
use http::{Method, StatusCode};
use serde_json::Value;

use crate::driver::kubernetes::client::api::{Api, ApiError, Kind};
use crate::driver::kubernetes::engine::holds::{
    Asked, ClaimHolder, by_owner, listed, name_of, number_of,
};
use crate::driver::kubernetes::engine::list::key_of;
use crate::driver::kubernetes::engine::owner::owners;
use crate::driver::kubernetes::engine::owner::{belongs_to, manager};
use crate::model::ObjectKey;
use crate::model::loss::{Holding, can_hold};
use crate::model::object::{is_kept, mark};

/// Who makes the claims of a `StatefulSet`.
const CONTROLLER: &str = "kube-controller-manager";

impl ClaimHolder<'_> {
    /// All that is in a namespace and is not this environment's, whatever its kind.
    pub async fn contents(&self, namespace: &str) -> Result<Vec<Holding>, ApiError> {
        let (kinds, mut holds) = match kinds(self.api).await {
            Err(fault) if !fault.is(StatusCode::UNAUTHORIZED) => {
                let (what, why) = ("what kinds there are".to_owned(), fault.to_string());
                return Ok(vec![Holding::Unseen { what, why }]);
            }
            other => other?,
        };

        let lists = kinds.iter().map(|kind| self.list(kind, Some(namespace)));
        let mut objects = Vec::new();
        for list in try_join_all(lists).await? {
            match list {
                Err(unseen) => holds.push(unseen),
                Ok(found) => objects.extend(found),
            }
        }

        let following = self.following(&objects, namespace).await?;
        let sets: Vec<Value> = objects.iter().filter(|one| is_set(one)).cloned().collect();
        let (kept, mut others): (Vec<Value>, Vec<Value>) = objects
            .into_iter()
            .partition(|object| self.is_of_scope(object) && is_kept(object));
        if !kept.is_empty() {
            holds.push(Holding::Others {
                what: listed(kept.iter()),
                owner: "what is to be kept (`helm.sh/resource-policy`)".to_owned(),
            });
        }

        let claims = others.iter().filter(|object| {
            self.is_own_claim(object, &sets) && !self.goes_before(object, &following)
        });
        holds.extend(try_join_all(claims.map(|claim| self.claim(claim))).await?);
        if others.iter().any(|object| self.is_state(object)) {
            let what = format!("the history of {}", self.scope);
            holds.push(Holding::State { what });
        }

        others.retain(|object| {
            !self.is_own_claim(object, &sets)
                && !self.is_of_scope(object)
                && !is_everywhere(object)
                && !uid_of(object).is_some_and(|uid| following.contains(uid))
        });
        holds.extend(by_owner(&others));
        Ok(holds)
    }

    /// Whether an object is history. The lock is none: it is let go of with its place.
    fn is_state(&self, object: &Value) -> bool {
        self.is_of_scope(object)
            && object["metadata"]["labels"].get(mark::STATE).is_some()
            && object["kind"] != "Lease"
    }

    /// Whether a claim is this environment's: one of its own, or one that a `StatefulSet` of its
    /// own has made.
    fn is_own_claim(&self, object: &Value, sets: &[Value]) -> bool {
        if object["kind"] != "PersistentVolumeClaim" {
            return false;
        }
        if self.is_of_scope(object) {
            return true;
        }
        if manager(object) != CONTROLLER {
            return false;
        }

        let mut makers = sets
            .iter()
            .filter(|set| number_of(name_of(object), name_of(set), set).is_some())
            .peekable();
        match (makers.peek(), self.asked) {
            (Some(_), _) => makers.all(|set| self.is_of_scope(set)),
            // Whose set it was cannot be known any more.
            (None, Asked::ForPlan) => false,
            // The steps before this one have deleted the sets. A claim that the plan has not named
            // is no surprise: the step is bound to what the plan named.
            (None, Asked::ForStep) => true,
        }
    }

    /// Whether a claim of this environment goes before its namespace does, by a step of its own or
    /// with what has made it. That step says so, and asks for consent.
    fn goes_before(&self, claim: &Value, following: &BTreeSet<String>) -> bool {
        let is_going = claim["metadata"].get("deletionTimestamp").is_some()
            || key_of(claim).is_some_and(|key| self.going.contains(&key));
        // A namespace goes when the environment ends, and then both slots are cleared.
        let is_of_slot = self.asked == Asked::ForPlan
            && belongs_to(claim, self.set)
            && claim["metadata"]["labels"].get(mark::SLOT).is_some();
        let follows = uid_of(claim).is_some_and(|uid| following.contains(uid))
            && owners(claim).iter().all(is_accounted_for);
        is_going || is_of_slot || follows
    }

    /// The uids of what goes with its owners: they are listed themselves, or gone already.
    async fn following(
        &self,
        objects: &[Value],
        namespace: &str,
    ) -> Result<BTreeSet<String>, ApiError> {
        let listed: BTreeSet<&str> = objects.iter().filter_map(uid_of).collect();
        let unlisted: BTreeMap<&str, &Value> = objects
            .iter()
            .flat_map(owners)
            .filter_map(|owner| Some((owner["uid"].as_str()?, owner)))
            .filter(|(uid, _)| !listed.contains(uid))
            .collect();
        let asked = unlisted.into_iter().map(|(uid, owner)| async move {
            let is_gone = self.is_gone(owner, namespace).await?;
            Ok::<_, ApiError>(is_gone.then_some(uid))
        });
        let gone: BTreeSet<&str> = try_join_all(asked).await?.into_iter().flatten().collect();

        let goes = |owner: &Value| {
            let uid = owner["uid"].as_str().unwrap_or_default();
            listed.contains(uid) || gone.contains(uid)
        };
        Ok(objects
            .iter()
            .filter(|object| !owners(object).is_empty() && owners(object).iter().all(goes))
            .filter_map(uid_of)
            .map(str::to_owned)
            .collect())
    }

    /// Whether an owner is known not to be there: the garbage collector is about to take what it
    /// owned.
    async fn is_gone(&self, owner: &Value, namespace: &str) -> Result<bool, ApiError> {
        let text = |name: &str| owner[name].as_str().unwrap_or_default().to_owned();
        let key = ObjectKey {
            api_version: text("apiVersion"),
            kind: text("kind"),
            namespace: Some(namespace.to_owned()),
            name: text("name"),
        };

        let found = async {
            if self.api.kind(&key.api_version, &key.kind).await?.is_none() {
                return Ok::<_, ApiError>(false);
            }
            let live = self.api.get(&key).await?;
            Ok(live.is_none_or(|live| live["metadata"]["uid"] != owner["uid"]))
        };

        match found.await {
            // What may not be looked at may be there.
            Err(fault) if fault.is(StatusCode::FORBIDDEN) => Ok(false),
            other => other,
        }
    }
}

fn uid_of(object: &Value) -> Option<&str> {
    object["metadata"]["uid"].as_str()
}

/// Whether an owner says itself what goes with it. What a pod owns is gone with every pod.
fn is_accounted_for(owner: &Value) -> bool {
    let text = |name: &str| owner[name].as_str().unwrap_or_default().to_owned();
    let key = ObjectKey {
        api_version: text("apiVersion"),
        kind: text("kind"),
        namespace: None,
        name: text("name"),
    };
    key.kind == "Pod" || can_hold(&key)
}

fn is_set(object: &Value) -> bool {
    object["kind"] == "StatefulSet" && object["apiVersion"] == "apps/v1"
}

/// What is in every namespace, or is going already.
fn is_everywhere(object: &Value) -> bool {
    let by_kind = match (object["kind"].as_str().unwrap_or_default(), name_of(object)) {
        ("Event" | "Endpoints" | "EndpointSlice", _)
        | ("ConfigMap", "kube-root-ca.crt")
        | ("ServiceAccount", "default") => true,
        ("Secret", _) => object["type"] == "kubernetes.io/service-account-token",
        _ => false,
    };
    by_kind || object["metadata"].get("deletionTimestamp").is_some()
}

/// Every kind that can be in a namespace, be listed and be deleted, each by one of its versions;
/// and the groups that do not answer, which keep nothing of the others from being seen.
async fn kinds(api: &Api) -> Result<(Vec<Kind>, Vec<Holding>), ApiError> {
    let groups = api.call(Method::GET, "/apis", None).await?;
    let lists = versions(&groups).into_iter().map(|version| async move {
        let root = if version.contains('/') { "apis" } else { "api" };
        let path = format!("/{root}/{version}");
        match api.call(Method::GET, &path, None).await {
            Ok(list) => Ok(Ok((version, list))),
            // Whoever serves the group behind the server is away.
            Err(fault @ ApiError::Refused(_)) if !fault.is(StatusCode::UNAUTHORIZED) => {
                Ok(Err(Holding::Unseen {
                    what: format!("the objects of {version}"),
                    why: format!("whoever serves them does not answer: {fault}"),
                }))
            }
            Err(fault) => Err(fault),
        }
    });

    let (mut known, mut unseen) = (Vec::new(), Vec::new());
    for list in try_join_all(lists).await? {
        match list {
            Ok(list) => known.push(list),
            Err(holding) => unseen.push(holding),
        }
    }
    Ok((once_each(&known), unseen))
}

/// Every version of every group, the preferred one of each first: a kind may be in another one
/// only.
fn versions(groups: &Value) -> Vec<String> {
    let mut versions = vec!["v1".to_owned()];
    for group in groups["groups"].as_array().into_iter().flatten() {
        let all = group["versions"].as_array().into_iter().flatten();
        for version in std::iter::once(&group["preferredVersion"]).chain(all) {
            let Some(version) = version["groupVersion"].as_str() else {
                continue;
            };
            if !versions.iter().any(|known| known == version) {
                versions.push(version.to_owned());
            }
        }
    }
    versions
}

/// The kinds of these versions, each by the first that has it.
fn once_each(lists: &[(String, Value)]) -> Vec<Kind> {
    let mut kinds: Vec<Kind> = Vec::new();
    for (version, list) in lists {
        for resource in list["resources"].as_array().into_iter().flatten() {
            let Some(kind) = held_kind(version, resource) else {
                continue;
            };
            let is_known = kinds
                .iter()
                .any(|known| known.group() == kind.group() && known.plural == kind.plural);
            if !is_known {
                kinds.push(kind);
            }
        }
    }
    kinds
}

/// A kind that can be in a namespace, be listed and be deleted.
fn held_kind(version: &str, resource: &Value) -> Option<Kind> {
    let has = |verb: &str| {
        let verbs = resource["verbs"].as_array();
        verbs.is_some_and(|verbs| verbs.iter().any(|known| known == verb))
    };
    let plural = resource["name"].as_str()?;
    let is_meant =
        resource["namespaced"] == true && !plural.contains('/') && has("list") && has("delete");
    is_meant.then(|| Kind {
        api_version: version.to_owned(),
        kind: resource["kind"].as_str().unwrap_or_default().to_owned(),
        plural: plural.to_owned(),
        namespaced: true,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn served(plurals: &[&str]) -> Value {
        let resources: Vec<Value> = plurals
            .iter()
            .map(|plural| {
                json!({"name": plural, "kind": plural, "namespaced": true,
                    "verbs": ["list", "delete"]})
            })
            .collect();
        json!({"resources": resources})
    }

    #[test]
    fn a_kind_that_the_preferred_version_of_its_group_has_not_is_listed() {
        let version = |name: &str| json!({"groupVersion": name});
        let groups = json!({"groups": [{
            "name": "monitoring.example.com",
            "preferredVersion": version("monitoring.example.com/v1"),
            "versions": [version("monitoring.example.com/v1alpha1"),
                version("monitoring.example.com/v1")],
        }]});
        let versions = versions(&groups);
        assert_eq!(
            versions,
            [
                "v1",
                "monitoring.example.com/v1",
                "monitoring.example.com/v1alpha1"
            ]
        );

        let lists = [
            (
                versions[1].clone(),
                served(&["monitors", "monitors/status"]),
            ),
            (versions[2].clone(), served(&["monitors", "scrapes"])),
        ];
        let kinds = once_each(&lists);
        let found: Vec<(&str, &str)> = kinds
            .iter()
            .map(|kind| (kind.api_version.as_str(), kind.plural.as_str()))
            .collect();
        assert_eq!(
            found,
            [
                ("monitoring.example.com/v1", "monitors"),
                ("monitoring.example.com/v1alpha1", "scrapes"),
            ]
        );
    }
}
