//! What storage goes with an object: its claims, and their volumes.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::{BoxFuture, try_join_all};
use http::StatusCode;
use serde_json::Value;

use super::{ClaimHolder, Fate, name_of};
use crate::driver::kubernetes::client::api::{Api, ApiError, Kind, Selector};
use crate::driver::kubernetes::engine::owner::manager;
use crate::model::loss::{Claim, Holding};
use crate::model::{Manifest, ObjectKey};

/// How many owners a claim is followed through.
const DEPTH: usize = 6;

impl ClaimHolder<'_> {
    /// The claims that an object owns, through whatever is between them, and those that are `also`
    /// its own. What a pod owns is gone with every pod, and not meant to stay.
    pub(super) async fn claims_of(
        &self,
        key: &ObjectKey,
        live: &Value,
        also: impl Fn(&Value) -> bool,
    ) -> Result<Vec<Holding>, ApiError> {
        let uid = live["metadata"]["uid"].as_str().unwrap_or_default();
        let claims = match self.list(&claim_kind(), key.namespace.as_deref()).await? {
            Ok(claims) => claims,
            Err(unseen) => return Ok(vec![unseen]),
        };

        let mut holds = Vec::new();
        for claim in claims {
            if also(&claim) {
                holds.push(self.claim(&claim).await?);
                continue;
            }
            match self.leads_to(&claim, uid, DEPTH).await {
                Ok(true) => holds.push(self.claim(&claim).await?),
                Ok(false) => {}
                // Whether it goes depends on an owner that may not be looked at.
                Err(fault) if fault.is(StatusCode::FORBIDDEN) => {
                    let what = format!("the owner of claim {}", name_of(&claim));
                    let why = fault.to_string();
                    holds.push(Holding::Unseen { what, why });
                }
                Err(fault) => return Err(fault),
            }
        }
        Ok(holds)
    }

    pub(super) async fn claims_by(
        &self,
        key: &ObjectKey,
        is_meant: impl Fn(&Value) -> bool,
    ) -> Result<Vec<Holding>, ApiError> {
        let claims = match self.list(&claim_kind(), key.namespace.as_deref()).await? {
            Ok(claims) => claims,
            Err(unseen) => return Ok(vec![unseen]),
        };
        let meant = claims.iter().filter(|claim| is_meant(claim));
        try_join_all(meant.map(|claim| self.claim(claim))).await
    }

    /// Whether an object is owned, directly or not, by the one with this uid.
    fn leads_to<'b>(
        &'b self,
        object: &'b Value,
        uid: &'b str,
        depth: usize,
    ) -> BoxFuture<'b, Result<bool, ApiError>> {
        Box::pin(async move {
            let owners = object["metadata"]["ownerReferences"].as_array();
            for owner in owners.into_iter().flatten() {
                if owner["uid"] == uid {
                    return Ok(true);
                }

                let text = |name: &str| owner[name].as_str().unwrap_or_default().to_owned();
                if owner["kind"] == "Pod" || depth == 0 {
                    continue;
                }
                let key = ObjectKey {
                    api_version: text("apiVersion"),
                    kind: text("kind"),
                    namespace: object["metadata"]["namespace"].as_str().map(str::to_owned),
                    name: text("name"),
                };

                if let Some(above) = self.api.get(&key).await?
                    && self.leads_to(&above, uid, depth - 1).await?
                {
                    return Ok(true);
                }
            }
            Ok(false)
        })
    }

    /// A claim, how much it has, and what becomes of its volume.
    pub async fn claim(&self, claim: &Value) -> Result<Holding, ApiError> {
        let namespace = claim["metadata"]["namespace"].as_str().unwrap_or_default();
        let policy = match claim["spec"]["volumeName"].as_str() {
            None | Some("") => "not bound to a volume yet".to_owned(),
            Some(volume) => self.fate_of(volume).await?,
        };
        Ok(Holding::Data {
            what: format!("claim {} in {namespace}", name_of(claim)),
            size: claim_size(claim),
            policy: Some(policy),
        })
    }

    async fn fate_of(&self, volume: &str) -> Result<String, ApiError> {
        let key = ObjectKey {
            api_version: "v1".to_owned(),
            kind: "PersistentVolume".to_owned(),
            namespace: None,
            name: volume.to_owned(),
        };

        let found = match self.api.get(&key).await {
            Err(fault) if fault.is(StatusCode::FORBIDDEN) => None,
            other => other?,
        };
        let policy = found
            .as_ref()
            .and_then(|volume| volume["spec"]["persistentVolumeReclaimPolicy"].as_str());
        Ok(match policy {
            Some("Retain") => {
                format!("reclaim policy Retain: volume {volume} stays, without a claim")
            }
            Some(policy) => format!("reclaim policy {policy}: volume {volume} goes with it"),
            None => format!("volume {volume}, whose reclaim policy is not known"),
        })
    }

    pub(super) async fn volume(
        &self,
        volume: &Value,
        fate: Fate,
    ) -> Result<Vec<Holding>, ApiError> {
        let policy = volume["spec"]["persistentVolumeReclaimPolicy"]
            .as_str()
            .map(|policy| format!("reclaim policy {policy}"));
        let mut holds = vec![Holding::Data {
            what: format!("volume {}", name_of(volume)),
            size: volume["spec"]["capacity"]["storage"]
                .as_str()
                .map(str::to_owned),
            policy,
        }];

        let of = &volume["spec"]["claimRef"];
        let (Some(namespace), Some(name)) = (of["namespace"].as_str(), of["name"].as_str()) else {
            return Ok(holds);
        };
        let key = ObjectKey {
            api_version: "v1".to_owned(),
            kind: "PersistentVolumeClaim".to_owned(),
            namespace: Some(namespace.to_owned()),
            name: name.to_owned(),
        };
        let what = format!("{} in {namespace}, which is bound to it", key.short());
        let claim = match self.api.get(&key).await {
            Err(fault) if fault.is(StatusCode::FORBIDDEN) => {
                let why = fault.to_string();
                holds.push(Holding::Unseen { what, why });
                return Ok(holds);
            }
            other => other?,
        };

        let claim = claim.filter(|claim| claim["spec"]["volumeName"] == volume["metadata"]["name"]);
        match claim {
            None => {}
            Some(claim) if !self.is_ours(&claim) => {
                let owner = manager(&claim);
                holds.push(Holding::Others { what, owner });
            }
            Some(_) if fate == Fate::Deleted && self.going.contains(&key) => {}
            Some(_) => holds.push(Holding::Own { what }),
        }
        Ok(holds)
    }
}

/// The claims in these namespaces, for who has to know what a `StatefulSet` will find. None where
/// there is no such place; that they may not be listed is an error.
pub(in super::super) async fn claims(
    api: &Api,
    namespaces: &BTreeSet<&str>,
) -> Result<Vec<Claim>, ApiError> {
    let lists = namespaces.iter().map(|namespace| async move {
        let mut found = Vec::new();
        let listed = api
            .list(&claim_kind(), Some(namespace), &Selector::All, |claim| {
                found.push(claim);
            })
            .await;
        match listed {
            Err(fault) if fault.is(StatusCode::NOT_FOUND) => Ok(Vec::new()),
            other => other.map(|_| found),
        }
    });
    let found: Vec<Value> = try_join_all(lists).await?.concat();

    let names: BTreeSet<String> = found.iter().filter_map(class_of).collect();
    let asked = names.into_iter().map(|name| async move {
        let expands = expands(api, &name).await?;
        Ok::<_, ApiError>((name, expands))
    });
    let classes: BTreeMap<String, Option<bool>> = try_join_all(asked).await?.into_iter().collect();

    Ok(found
        .iter()
        .map(|claim| claim_facts(claim, &classes))
        .collect())
}

fn class_of(claim: &Value) -> Option<String> {
    claim["spec"]["storageClassName"]
        .as_str()
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
}

fn claim_facts(claim: &Value, classes: &BTreeMap<String, Option<bool>>) -> Claim {
    let class = class_of(claim);
    Claim {
        namespace: claim["metadata"]["namespace"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
        name: name_of(claim).to_owned(),
        size: claim_size(claim),
        expands: class.as_ref().and_then(|class| *classes.get(class)?),
        class,
    }
}

/// Whether a class lets its volumes grow. None where it is not there, and where it may not be
/// looked at: classes are the cluster's, and a role of one namespace has none.
async fn expands(api: &Api, class: &str) -> Result<Option<bool>, ApiError> {
    let key = ObjectKey {
        api_version: "storage.k8s.io/v1".to_owned(),
        kind: "StorageClass".to_owned(),
        namespace: None,
        name: class.to_owned(),
    };
    match api.get(&key).await {
        Err(fault) if fault.is(StatusCode::FORBIDDEN) => Ok(None),
        other => Ok(other?.map(|class| class["allowVolumeExpansion"] == true)),
    }
}

/// Whether a manifest asks for storage by templates.
pub(in super::super) fn asks_for_storage(manifest: &Manifest) -> bool {
    manifest.kind() == "StatefulSet"
        && manifest.body()["spec"]
            .get("volumeClaimTemplates")
            .is_some()
}

fn claim_kind() -> Kind {
    Kind {
        api_version: "v1".to_owned(),
        kind: "PersistentVolumeClaim".to_owned(),
        plural: "persistentvolumeclaims".to_owned(),
        namespaced: true,
    }
}

fn claim_size(claim: &Value) -> Option<String> {
    let has = claim["status"]["capacity"]["storage"].as_str();
    let asks = claim["spec"]["resources"]["requests"]["storage"].as_str();
    has.or(asks).map(str::to_owned)
}
