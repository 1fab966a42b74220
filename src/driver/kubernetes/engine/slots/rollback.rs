//! What stands in the way of a rollback into a slot.

use serde_json::Value;

use crate::driver::kubernetes::client::api::{Api, Selector};
use crate::driver::kubernetes::engine::apply::said;
use crate::driver::kubernetes::engine::{KubernetesEngine, observe};
use crate::model::Slot;
use crate::port::engine::{EngineError, Scope};

/// Why a slot's release could not be started again.
pub(in super::super) async fn rollback_blockers(
    engine: &KubernetesEngine,
    scope: &Scope,
    slot: Slot,
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
    reasons.extend(quota(engine, api, slot, pods).await);
    Ok(reasons)
}

/// Whether the namespace's quotas have room for both slots at once. Who may not read them is not
/// told.
async fn quota(engine: &KubernetesEngine, api: &Api, slot: Slot, pods: usize) -> Vec<String> {
    let namespaces = &engine.settings.namespaces.slots;
    let (own, other) = (&namespaces[&slot], &namespaces[&slot.other()]);
    let needed = if own == other { pods * 2 } else { pods };
    let mut reasons = Vec::new();
    let Ok(kind) = api.must(("v1", "ResourceQuota")).await else {
        return reasons;
    };

    let take = |quota: Value| {
        let hard = quota["status"]["hard"]["pods"]
            .as_str()
            .and_then(|text| text.parse::<usize>().ok());
        if let Some(hard) = hard.filter(|hard| *hard < needed) {
            let name = quota["metadata"]["name"].as_str().unwrap_or_default();
            reasons.push(format!(
                "the quota {name} in {own} allows {hard} pods, and both slots need {needed}"
            ));
        }
    };
    let _ = api.list(&kind, Some(own), &Selector::All, take).await;
    reasons
}
