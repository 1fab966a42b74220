//! Undeploying a workload from its slot.

use std::sync::Arc;

use crate::agent::engine::environment_state::InstanceKey;
use crate::agent::engine::{Agent, moved};
use crate::model::{Address, Fingerprint, ServiceName, Slot};
use crate::port::engine::{EngineError, Permit};

/// Takes a workload out of its slot.
pub(in crate::agent) async fn undeploy(
    agent: &Arc<Agent>,
    permit: &Permit,
    slot: Slot,
    service: &ServiceName,
    expects: Option<Fingerprint>,
) -> Result<(), EngineError> {
    let environment = agent.environment(&permit.scope);
    let before = environment.state.record();
    let mut work = agent.enter(&environment, permit).await?;
    let record = environment.state.record();

    let Some(there) = record
        .slots
        .get(&slot)
        .and_then(|there| there.workloads.get(service))
    else {
        return Ok(());
    };
    if Some(Fingerprint::of_json(&(&there.spec, there.running))) != expects {
        return Err(moved(Address::Workload(slot, service.clone()), &before));
    }
    if record.traffic.reaches(slot) && record.routes.contains_key(service) {
        return Err(EngineError::Refused {
            reason: format!("{service} in {slot} has live traffic and cannot be taken out"),
            help: "promote the other slot, or take its listeners away first".to_owned(),
        });
    }

    let keys: Vec<InstanceKey> = work
        .instances
        .keys()
        .filter(|key| key.slot == slot && key.service == *service)
        .cloned()
        .collect();
    let drain = Agent::drain(&environment, service);
    agent.retire(&environment, &mut work, &keys, drain).await;
    if let Some(held) = work.secrets.get_mut(&(slot, service.clone())) {
        *held = std::mem::take(held).removed();
    }

    agent.write(&environment, |record| {
        let emptied = record.slots.get_mut(&slot).is_some_and(|there| {
            there.workloads.remove(service);
            there.workloads.is_empty()
        });
        if emptied {
            record.slots.remove(&slot);
        }
    })?;

    drop(work);
    agent.sweep().await;
    Ok(())
}
