//! What stands in the way of a rollback into a slot.

use serde_json::Value;

use crate::driver::kubernetes::client::api::{Api, Selector};
use crate::driver::kubernetes::engine::apply::said;
use crate::driver::kubernetes::engine::{KubernetesEngine, observe};
use crate::model::{Manifest, Slot};
use crate::port::engine::{EngineError, Scope};

/// Why a slot's release could not be started again.
pub(in super::super) async fn rollback_blockers(
    engine: &KubernetesEngine,
    scope: &Scope,
    slot: Slot,
    objects: &[Manifest],
) -> Result<Vec<String>, EngineError> {
    // A plan asks this about the moment that its facts are of.
    let facts = match engine.kept_facts(scope) {
        Some(facts) => facts,
        None => observe::observe(engine, scope, None).await?.0,
    };
    let Some(there) = facts.slots.get(&slot) else {
        return Ok(vec![format!("nothing is in {slot}")]);
    };

    let api = engine.api().await?;
    let mut reasons = Vec::new();
    for workload in there.workloads.values() {
        for drift in workload.drift.iter().filter(|drift| drift.missing) {
            reasons.push(format!("{} is not there any more", said(&drift.key)));
        }
    }

    let pods: usize = there
        .workloads
        .values()
        .map(|workload| workload.instances.len())
        .sum();
    reasons.extend(quotas(engine, api, slot, pods, objects).await);
    Ok(reasons)
}

/// Whether the namespace's quotas have room for both slots at once, with those of the environment's
/// own as they will be. Who may not read them is not told.
async fn quotas(
    engine: &KubernetesEngine,
    api: &Api,
    slot: Slot,
    pods: usize,
    objects: &[Manifest],
) -> Vec<String> {
    let namespaces = &engine.settings.namespaces.slots;
    let (own, other) = (&namespaces[&slot], &namespaces[&slot.other()]);
    let needed = if own == other { pods * 2 } else { pods };
    let mut reasons = Vec::new();
    let Ok(kind) = api.must(("v1", "ResourceQuota")).await else {
        return reasons;
    };

    let take = |quota: Value| {
        let name = quota["metadata"]["name"].as_str().unwrap_or_default();
        let to_be = objects
            .iter()
            .find(|one| one.kind() == "ResourceQuota" && is_at(one, own, name));
        let hard = to_be.map_or(&quota["status"]["hard"]["pods"], |one| {
            &one.body()["spec"]["hard"]["pods"]
        });
        if let Some(hard) = count(hard).filter(|hard| *hard < needed) {
            reasons.push(format!(
                "the quota {name} in {own} allows {hard} pods, and both slots need {needed}"
            ));
        }
    };
    let _ = api.list(&kind, Some(own), &Selector::All, take).await;
    reasons
}

/// A whole number of objects, which a manifest writes as a number or as text.
fn count(quantity: &Value) -> Option<usize> {
    match quantity {
        Value::Number(number) => number.as_u64()?.try_into().ok(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

fn is_at(object: &Manifest, namespace: &str, name: &str) -> bool {
    object.name() == name && object.key().namespace.as_deref() == Some(namespace)
}
