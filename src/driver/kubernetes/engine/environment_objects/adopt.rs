//! Taking an object over that was made without shipit.

use std::collections::BTreeSet;

use http::StatusCode;
use serde_json::{Value, json};

use crate::driver::kubernetes::client::api::{Api, ApiError, MANAGER};
use crate::driver::kubernetes::engine::apply::{self, refused, said};
use crate::driver::kubernetes::engine::compare::applied;
use crate::driver::kubernetes::engine::owner;
use crate::driver::kubernetes::engine::record::Record;
use crate::driver::kubernetes::engine::{Conflict, KubernetesEngine};
use crate::model::object::mark;
use crate::model::{Manifest, ObjectKey};
use crate::port::engine::{EngineError, Permit};

/// Takes an object over without changing what it says. What `kubectl apply` claimed for itself
/// becomes shipit's, so that a field that is not in the configuration leaves the object with the
/// next apply, as the plan will show.
pub(in super::super) async fn adopt(
    engine: &KubernetesEngine,
    permit: &Permit,
    manifest: &Manifest,
) -> Result<Vec<String>, EngineError> {
    let api = engine.api().await?;
    let mut read = engine.enter(api, permit).await?;
    let set = engine.records(api, &permit.scope).set();
    let key = manifest.key();
    let failed = |fault: ApiError| fault.while_(format!("importing {}", said(&key)));
    let live = api
        .get(&key)
        .await
        .map_err(failed)?
        .ok_or_else(|| EngineError::Refused {
            reason: format!("{} is not there", said(&key)),
            help: "`shipit apply` makes it".to_owned(),
        })?;

    let labels = &live["metadata"]["labels"];
    if labels[mark::PART_OF] == set.as_str() {
        return Ok(Vec::new());
    }
    if labels.get(mark::PART_OF).is_some() {
        return Err(EngineError::Refused {
            reason: format!(
                "{} is part of another ApplySet, of {}",
                said(&key),
                owner::manager(&live)
            ),
            help: "take it out there first".to_owned(),
        });
    }

    let taken = migrate(api, &key, &live).await.map_err(failed)?;
    let kind = api
        .must((&key.api_version, &key.kind))
        .await
        .map_err(failed)?;
    let (kinds, manifests) = (BTreeSet::from([kind]), [manifest.clone()]);
    let change = |record: &mut Record| engine.will_have(record, &kinds, &manifests);
    engine.remember(api, permit, &mut read, change).await?;

    let now = api.get(&key).await.map_err(failed)?.unwrap_or(live);
    let plain = json!({"apiVersion": key.api_version, "kind": key.kind,
        "metadata": {"name": key.name, "namespace": key.namespace}});
    let mut body = applied(&now).unwrap_or(plain);
    body["metadata"]["labels"][mark::PART_OF] = set.into();
    let object =
        Manifest::try_from(body).map_err(|error| failed(ApiError::Malformed(error.to_string())))?;
    apply::apply(api, Conflict::TakeOver, &object, None)
        .await
        .map_err(|fault| refused(&key, fault))?;
    Ok(taken)
}

/// Gives what other tools' client-side applying claimed to shipit: their entries in the server's
/// record take our name. The next apply then removes what they set and we do not want.
async fn migrate(api: &Api, key: &ObjectKey, live: &Value) -> Result<Vec<String>, ApiError> {
    let Some(entries) = live
        .pointer("/metadata/managedFields")
        .and_then(Value::as_array)
    else {
        return Ok(Vec::new());
    };
    let mut taken: Vec<String> = entries
        .iter()
        .filter(|entry| is_client_side(entry))
        .filter_map(|entry| entry["manager"].as_str().map(str::to_owned))
        .collect();
    taken.dedup();
    let Some(first) = entries.iter().find(|entry| is_client_side(entry)) else {
        return Ok(taken);
    };

    let mut union = Value::Null;
    for entry in entries.iter().filter(|entry| is_client_side(entry)) {
        merge(&mut union, &entry["fieldsV1"]);
    }
    let mut new: Vec<Value> = entries
        .iter()
        .filter(|entry| !is_client_side(entry))
        .cloned()
        .collect();
    new.push(json!({
        "manager": MANAGER, "operation": "Apply", "apiVersion": first["apiVersion"], "time": first["time"],
        "fieldsType": "FieldsV1", "fieldsV1": union,
    }));

    let mut body = json!({"metadata": {
        "managedFields": new, "resourceVersion": live["metadata"]["resourceVersion"],
    }});
    // Without it kubectl would still believe that it applied the object.
    body["metadata"]["annotations"] =
        json!({"kubectl.kubernetes.io/last-applied-configuration": null});

    match api.merge(key, "", &body, MANAGER).await {
        Ok(_) => Ok(taken),
        Err(fault) if fault.is(StatusCode::CONFLICT) => Err(ApiError::Unreachable {
            reason: "somebody changed it at this very moment: run it again".to_owned(),
        }),
        Err(fault) => Err(fault),
    }
}

/// Whether an entry of the server's record is of a tool that applies on its own side.
fn is_client_side(entry: &Value) -> bool {
    let manager = entry["manager"].as_str().unwrap_or_default();
    let is_tool = matches!(
        manager,
        "kubectl-client-side-apply" | "before-first-apply" | "kubectl-create" | "helm" | "kapp"
    ) || manager.starts_with("kubectl");
    is_tool && entry.get("subresource").is_none()
}

fn merge(into: &mut Value, from: &Value) {
    match (&mut *into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}
