//! What the engine in memory refuses, as every engine does.

use crate::model::facts::{Facts, HealthState, WorkloadFacts};
use crate::model::plan::DeployMode;
use crate::model::{Address, Fingerprint, Slot};
use crate::port::engine::{EngineError, NotReady, Placement};

pub(super) fn moved(address: Address, before: &Facts) -> EngineError {
    EngineError::Moved {
        address,
        by: before.changed_by.clone(),
        at: before.changed_at,
    }
}

pub(super) fn may_be_deployed(
    placement: &Placement,
    wanted: &WorkloadFacts,
    found: Option<&Fingerprint>,
    (facts, before): (&Facts, &Facts),
) -> Result<(), EngineError> {
    let (slot, service) = (placement.slot, &placement.workload.service);
    if found != placement.expects.as_ref() {
        return Err(moved(Address::Workload(slot, service.clone()), before));
    }

    let is_fresh = placement.mode == DeployMode::Fresh;
    let there = facts.slots.get(&slot);
    let there = there.and_then(|there| there.workloads.get(service));
    let is_stopped = there.is_some_and(|there| !there.running);
    if is_fresh && facts.traffic.reaches(slot) && !is_stopped {
        return Err(EngineError::Refused {
            reason: format!("{slot} has live traffic: {service} cannot be placed into it afresh"),
            help: String::new(),
        });
    }
    if !is_fresh && wanted.health() == HealthState::Failed {
        return Err(EngineError::NotReady {
            slot,
            not_ready: NotReady {
                reason: format!("{service} is failed"),
                log: Vec::new(),
            },
        });
    }
    Ok(())
}

pub(super) fn not_ready(slot: Slot, facts: &Facts) -> EngineError {
    let reason = match facts.slots.get(&slot) {
        None => "it is empty".to_owned(),
        Some(there) => {
            let unready = there
                .workloads
                .iter()
                .find(|(_, w)| w.health() != HealthState::Ready);
            unready.map_or_else(String::new, |(name, w)| {
                format!("{name} is {}", w.health().word())
            })
        }
    };

    EngineError::NotReady {
        slot,
        not_ready: NotReady {
            reason,
            log: Vec::new(),
        },
    }
}
