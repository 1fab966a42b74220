//! Stopping a workload in its slot.

use std::sync::Arc;

use crate::agent::engine::environment_state::InstanceKey;
use crate::agent::engine::{Agent, moved};
use crate::model::{Address, Fingerprint, ServiceName, Slot};
use crate::port::engine::{EngineError, Permit};

/// Stops a workload; it stays in its slot, with the secrets that it was given.
pub(in crate::agent) async fn stop(
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
    let there = record.slots.get(&slot);
    let there = there.and_then(|there| there.workloads.get(service));
    let Some(there) = there else {
        return Ok(());
    };
    let found = Fingerprint::of_json(&(&there.spec, there.running));
    if there.running && Some(found) != expects {
        return Err(moved(Address::Workload(slot, service.clone()), &before));
    }

    // Written first: an agent that is killed here comes back without it, and ends what is left.
    agent.write(&environment, |record| {
        let there = record.slots.get_mut(&slot);
        let there = there.and_then(|there| there.workloads.get_mut(service));
        if let Some(workload) = there {
            workload.running = false;
        }
    })?;
    let mine = |key: &&InstanceKey| key.slot == slot && key.service == *service;
    let keys: Vec<InstanceKey> = work.instances.keys().filter(mine).cloned().collect();
    let drain = Agent::drain(&environment, service);
    agent.retire(&environment, &mut work, &keys, drain).await;
    Ok(())
}
