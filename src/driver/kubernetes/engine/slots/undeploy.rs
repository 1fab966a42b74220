//! A service that leaves its slot.

use super::sweep::held;
use super::{Slots, moved};
use crate::driver::kubernetes::engine::{KubernetesEngine, traffic};
use crate::model::facts::WorkloadFacts;
use crate::model::{Address, Fingerprint, ServiceName, Slot};
use crate::port::engine::{EngineError, Permit};

pub(in super::super) async fn undeploy(
    engine: &KubernetesEngine,
    permit: &Permit,
    slot: Slot,
    service: &ServiceName,
    expects: Option<Fingerprint>,
) -> Result<(), EngineError> {
    let slots = Slots::open(engine, permit, slot).await?;
    let mut read = engine.enter(slots.api, permit).await?;
    let mut workloads = slots.workloads(&read).await?;
    if !workloads.contains_key(service) {
        return Ok(());
    }

    let existing = slots.existing(&read, &workloads, service).await?;
    if existing.facts.as_ref().map(WorkloadFacts::fingerprint) != expects {
        return Err(moved(Address::Workload(slot, service.clone()), &read));
    }

    let traffic = traffic::current(engine, slots.api, &read).await?;
    if traffic.reaches(slot) && read.record.routes.contains_key(service) {
        return Err(EngineError::Refused {
            reason: format!("{service} in {slot} has live traffic"),
            help: "switch traffic away, or close its entry point, first".to_owned(),
        });
    }

    slots.sweep(existing.objects, &held(existing.facts)).await?;
    workloads.remove(service);
    slots.forget(&mut read, &workloads).await
}
