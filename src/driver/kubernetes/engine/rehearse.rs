//! Asking the server beforehand whether it would take a slot's objects, and the pods that they
//! make: by dry runs, all of them side by side. What the server refuses is known while the plan is
//! made, and not in the middle of apply.

use std::collections::BTreeSet;

use futures_util::future::{join_all, try_join_all};
use http::StatusCode;
use serde_json::{Value, json};

use crate::driver::kubernetes::client::api::{Api, ApiError, is_permission};
use crate::driver::kubernetes::engine::KubernetesEngine;
use crate::driver::kubernetes::engine::apply::{self, refusals, refused, replacement, said};
use crate::driver::kubernetes::engine::complete::{Finish, bind, finish};
use crate::driver::kubernetes::engine::holds::is_protected;
use crate::driver::kubernetes::engine::observe::of_route;
use crate::driver::kubernetes::engine::unknown_kind::unknown;
use crate::driver::kubernetes::engine::{missing_owner, owner};
use crate::model::object::{ObjectFault, mark};
use crate::model::plan::DeployMode;
use crate::model::route::Route;
use crate::model::secret::HashKey;
use crate::model::workload::Known;
use crate::model::{LiveTraffic, Manifest, ObjectKey};
use crate::port::engine::{EngineError, Pull, Rehearsal, Rehearsed, Scope};

/// Stands for a digest that a build has still to give.
const UNBUILT: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// What came of asking about one object.
enum Answer {
    Taken,
    /// What must never be replaced would be.
    Protected(ObjectKey),
    Refused(ObjectKey, Vec<ObjectFault>),
    /// It could not be asked, and why.
    Unchecked(String),
}

impl Answer {
    /// A refusal of an object as a whole.
    fn refused(key: ObjectKey, reason: String) -> Self {
        Self::Refused(key, vec![ObjectFault::plain(reason)])
    }
}

pub(super) async fn rehearse(
    engine: &KubernetesEngine,
    scope: &Scope,
    what: &Rehearsal<'_>,
) -> Result<Rehearsed, EngineError> {
    // A cluster that is not there yet cannot be asked.
    let Some(api) = engine.try_api().await? else {
        return Ok(Rehearsed::default());
    };
    let set = engine.records(api, scope).set();
    let Some(manifests) = manifests(what, &set) else {
        return Ok(Rehearsed::default());
    };
    let asker = Asker {
        engine,
        api,
        what,
        set,
    };

    let objects = try_join_all(manifests.iter().map(|manifest| asker.object(manifest)));
    let pods = manifests
        .iter()
        .filter_map(|manifest| Some((manifest, pod_of(manifest, &manifests)?)))
        .map(|(manifest, pod)| asker.pod(manifest, pod));
    let (objects, pods) = tokio::try_join!(objects, try_join_all(pods))?;

    let mut rehearsed = Rehearsed::default();
    for answer in objects.into_iter().chain(pods) {
        match answer {
            Answer::Taken => {}
            Answer::Protected(key) => rehearsed.protected.push(key),
            Answer::Refused(key, faults) => {
                let faults = faults.into_iter().map(|fault| (key.clone(), fault));
                rehearsed.refused.extend(faults);
            }
            Answer::Unchecked(reason) => rehearsed.unchecked.push(reason),
        }
    }
    rehearsed.unchecked.sort();
    rehearsed.unchecked.dedup();
    Ok(rehearsed)
}

/// Which of these objects of an entry point the server would not change in place.
pub(super) async fn replaced(
    engine: &KubernetesEngine,
    scope: &Scope,
    route: &Route,
    traffic: LiveTraffic,
    among: &BTreeSet<ObjectKey>,
) -> Result<Vec<ObjectKey>, EngineError> {
    let Some(api) = engine.try_api().await? else {
        return Ok(Vec::new());
    };
    let set = engine.records(api, scope).set();
    let mut manifests = of_route(route, traffic, &set);
    manifests.retain(|manifest| among.contains(&manifest.key()));

    let policy = engine.settings.conflict;
    let asked = manifests.iter().map(|manifest| async move {
        let Err(fault) = apply::would_apply(api, policy, manifest).await else {
            return None;
        };
        // Why else it would be refused is for its step to say.
        let is_replaced = replacement(api, manifest.body(), None, fault).await.is_ok();
        is_replaced.then(|| manifest.key())
    });
    Ok(join_all(asked).await.into_iter().flatten().collect())
}

/// The objects as they would be sent, but for what is not known yet: the digest of an image, and
/// the values of secrets.
fn manifests(what: &Rehearsal<'_>, set: &str) -> Option<Vec<Manifest>> {
    let Pull::Repository(repository) = &what.pull else {
        return None;
    };
    let image = match &what.workload.image {
        Known::Value(digest) => format!("{repository}@{digest}"),
        Known::After(_) => format!("{repository}@{UNBUILT}"),
    };
    let nothing = std::collections::BTreeMap::new();
    let bindings = bind(
        what.workload,
        what.slot,
        image,
        &nothing,
        &HashKey(Vec::new()),
    );
    let how = Finish {
        slot: what.slot,
        release: what.release,
        running: true,
        traffic: LiveTraffic::Off,
        bindings: &bindings,
        values: None,
        set,
    };

    let mut manifests = finish(what.workload, &how);
    manifests.iter_mut().for_each(without_values);
    Some(manifests)
}

/// A secret is never sent for a question.
fn without_values(manifest: &mut Manifest) {
    if manifest.kind() != "Secret" {
        return;
    }
    manifest.edit(|body| {
        let data = body.get_mut("data").and_then(Value::as_object_mut);
        for value in data.into_iter().flat_map(serde_json::Map::values_mut) {
            *value = "".into();
        }
    });
}

/// A pod as a workload would make it. Its account may be one that comes with it: then it is asked
/// about with another.
fn pod_of(manifest: &Manifest, all: &[Manifest]) -> Option<Value> {
    let template = manifest.clone().pod_template()?.clone();
    let mut spec = template.get("spec")?.clone();
    let account = spec["serviceAccountName"].as_str().unwrap_or_default();
    let comes_with_it = all
        .iter()
        .any(|one| one.kind() == "ServiceAccount" && one.name() == account);
    if comes_with_it && let Some(map) = spec.as_object_mut() {
        map.remove("serviceAccountName");
        map.remove("serviceAccount");
    }
    let meta = &template["metadata"];
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": manifest.name(), "namespace": manifest.key().namespace,
            "labels": meta.get("labels"), "annotations": meta.get("annotations")},
        "spec": spec,
    });
    Some(pod)
}

struct Asker<'a> {
    engine: &'a KubernetesEngine,
    api: &'a Api,
    what: &'a Rehearsal<'a>,
    set: String,
}

impl Asker<'_> {
    async fn object(&self, manifest: &Manifest) -> Result<Answer, EngineError> {
        let key = manifest.key();
        if let Some(reason) = missing_owner::missing(self.api, manifest).await? {
            return Ok(Answer::refused(key, reason));
        }
        let policy = self.engine.settings.conflict;
        let fault = match apply::would_apply(self.api, policy, manifest).await {
            Ok(result) => return self.owned(&key, &result).await,
            Err(fault) => fault,
        };

        match replacement(self.api, manifest.body(), None, fault).await {
            Ok(_) if self.what.mode != DeployMode::Rolling => self.replaced(key).await,
            Ok(reason) => {
                let reason = format!(
                    "{}: {reason} while it has live traffic: `strategy: blue_green` replaces it \
                     beside the live one",
                    said(&key)
                );
                Ok(Answer::refused(key, reason))
            }
            Err(fault) => self.answer(manifest, fault).await,
        }
    }

    /// What is replaced where it stands may say of itself that it must not be.
    async fn replaced(&self, key: ObjectKey) -> Result<Answer, EngineError> {
        let live = self.api.get(&key).await;
        let live = live.map_err(|fault| fault.while_(format!("looking at {}", said(&key))))?;
        Ok(match live {
            Some(live) if is_protected(&live) => Answer::Protected(key),
            _ => Answer::Taken,
        })
    }

    /// Nothing of another owner's is taken over: where a service comes into the slot for the first
    /// time, what has its objects' names already is looked at.
    async fn owned(&self, key: &ObjectKey, result: &Value) -> Result<Answer, EngineError> {
        let service = &self.what.workload.service;
        let is_new =
            |current: &crate::model::facts::SlotFacts| !current.workloads.contains_key(service);
        let is_first = self.what.current.is_none_or(is_new);
        // The server gives a version to what is there, and none to what would be.
        let is_there = result["metadata"]["resourceVersion"].is_string();
        if !is_first || !is_there {
            return Ok(Answer::Taken);
        }

        let live = self
            .api
            .get(key)
            .await
            .map_err(|fault| fault.while_(format!("looking for {}", said(key))))?;
        let foreign =
            live.filter(|live| live["metadata"]["labels"][mark::PART_OF] != self.set.as_str());
        Ok(foreign.map_or(Answer::Taken, |live| {
            let reason = format!(
                "{} is there and belongs to {}: `shipit import` takes it over; or name yours \
                 differently",
                said(key),
                owner::manager(&live)
            );
            Answer::refused(key.clone(), reason)
        }))
    }

    /// What a refusal of an object means.
    async fn answer(&self, manifest: &Manifest, fault: ApiError) -> Result<Answer, EngineError> {
        let key = &manifest.key();
        let ApiError::Refused(status) = &fault else {
            return Err(fault.while_(format!("asking about {}", said(key))));
        };
        let (code, message) = (status.code, status.message.clone());
        let is_refused = match code {
            404 => return Ok(self.missing(key, &message).await),
            // A webhook that would do something cannot be asked.
            _ if message.contains("does not support dry run") => {
                let reason = format!("a webhook cannot be asked beforehand ({message})");
                return Ok(Answer::Unchecked(reason));
            }
            403 if is_permission(&message) => {
                let reason = format!("this account may not ask ({message})");
                return Ok(Answer::Unchecked(reason));
            }
            // Whoever checks images cannot find one that is still to be built.
            _ if self.is_unbuilt() && message.contains("admission webhook") => {
                let reason = format!("its image is not built yet ({message})");
                return Ok(Answer::Unchecked(reason));
            }
            400 | 403 | 409 | 413 | 422 => true,
            // What a manifest's types cannot be made of is an error inside the server.
            500 => message.contains("typed patch") || message.contains("cannot be handled as"),
            _ => false,
        };

        if is_refused {
            let policy = self.engine.settings.conflict;
            let faults = refusals(self.api, policy, manifest, fault).await;
            return Ok(Answer::Refused(key.clone(), faults));
        }
        Err(refused(key, fault))
    }

    /// Whether the image is one that a build has still to give.
    const fn is_unbuilt(&self) -> bool {
        matches!(self.what.workload.image, Known::After(_))
    }

    /// What is not there may come with the environment's own objects; else apply would not find it
    /// either.
    async fn missing(&self, key: &ObjectKey, message: &str) -> Answer {
        let namespace = key.namespace.as_deref().unwrap_or_default();
        let objects = self.what.objects;
        if message.contains(&format!("namespaces \"{namespace}\" not found")) {
            let is_made = objects
                .iter()
                .any(|one| one.kind() == "Namespace" && one.name() == namespace);
            let reason = format!("the namespace {namespace} is not there yet");
            return if is_made {
                Answer::Unchecked(reason)
            } else {
                let reason = format!(
                    "{}: {reason}: `cluster: {{create_namespaces: true}}` makes it",
                    said(key)
                );
                Answer::refused(key.clone(), reason)
            };
        }

        if message.contains("has no kind") {
            let is_made = objects.iter().any(|one| {
                let spec = &one.body()["spec"];
                one.kind() == "CustomResourceDefinition"
                    && spec["group"] == key.group()
                    && spec["names"]["kind"] == key.kind.as_str()
            });
            if is_made {
                return Answer::Unchecked(format!("the kind {} is not defined yet", key.kind));
            }
            return Answer::Refused(key.clone(), vec![unknown(self.api, key).await]);
        }

        Answer::Unchecked(format!("{}: {message}", said(key)))
    }

    /// Whether the server would take a pod of a workload. Only what is certain counts: other things
    /// that a pod needs may come with the release, and who may not make pods is not told.
    async fn pod(&self, manifest: &Manifest, pod: Value) -> Result<Answer, EngineError> {
        let Err(fault) = self.api.would_create(&pod).await else {
            return Ok(Answer::Taken);
        };
        let message = match &fault {
            ApiError::Refused(status) if fault.is(StatusCode::FORBIDDEN) => status.message.as_str(),
            _ => return Ok(Answer::Taken),
        };
        let is_full = message.contains("exceeded quota");

        // What is in the slot goes before, and makes room.
        let is_refused = is_full && self.what.current.is_none()
            || message.contains("violates PodSecurity")
            || message.contains("failed quota")
            || message.contains(" usage per ");
        if !is_refused {
            return Ok(Answer::Taken);
        }
        let key = manifest.key();
        let said_by = message
            .split_once(" is forbidden: ")
            .map_or(message, |(_, reason)| reason);
        if let Some(rule) = self.rule_that_changes(&key, message) {
            let reason = format!(
                "the pods of {} would be refused as it is ({said_by}), and {rule} changes before",
                said(&key)
            );
            return Ok(Answer::Unchecked(reason));
        }
        let reason = format!("{}: its pods would be refused: {said_by}", said(&key));
        Ok(Answer::refused(key, reason))
    }

    /// The environment's own object that makes the rule by which a pod is refused, where the plan
    /// changes it before the pods are made.
    fn rule_that_changes(&self, workload: &ObjectKey, message: &str) -> Option<String> {
        let namespace = workload.namespace.as_deref().unwrap_or_default();
        let makes_it = |key: &&ObjectKey| match key.kind.as_str() {
            "ResourceQuota" => [',', ':']
                .iter()
                .any(|end| message.contains(&format!("quota: {}{end}", key.name))),
            "Namespace" => message.contains("violates PodSecurity"),
            "LimitRange" => message.contains(" usage per "),
            _ => false,
        };
        let place = |key: &ObjectKey| key.namespace.clone().unwrap_or_else(|| key.name.clone());
        let mut changing = self.what.changing.iter();
        changing
            .find(|key| place(key) == namespace && makes_it(key))
            .map(said)
    }
}
