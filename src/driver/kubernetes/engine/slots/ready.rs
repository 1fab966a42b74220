//! Whether a slot is ready at this moment.

use futures_util::future::try_join_all;

use super::Slots;
use crate::driver::kubernetes::client::api::Api;
use crate::driver::kubernetes::engine::KubernetesEngine;
use crate::driver::kubernetes::engine::record::{Read, Workloads};
use crate::model::facts::HealthState;
use crate::model::{ServiceName, Slot};
use crate::port::engine::{EngineError, NotReady, Permit};

/// Whether a slot is ready at this moment, and why not.
pub(in super::super) async fn is_ready(
    engine: &KubernetesEngine,
    api: &Api,
    permit: &Permit,
    read: &Read,
    slot: Slot,
) -> Result<(), EngineError> {
    let slots = Slots {
        engine,
        api,
        permit,
        slot,
        set: engine.records(api, &permit.scope).set(),
    };
    let workloads = slots.workloads(read).await?;
    if workloads.is_empty() {
        return Err(not_ready(slot, "it is empty".to_owned()));
    }

    let all = workloads
        .keys()
        .map(|service| slots.blocker(read, &workloads, service));
    match try_join_all(all).await?.into_iter().flatten().next() {
        Some(reason) => Err(not_ready(slot, reason)),
        None => Ok(()),
    }
}

fn not_ready(slot: Slot, reason: String) -> EngineError {
    let not_ready = NotReady {
        reason,
        log: Vec::new(),
    };
    EngineError::NotReady { slot, not_ready }
}

impl Slots<'_> {
    /// Why a service of the slot is not ready; none when it is.
    async fn blocker(
        &self,
        read: &Read,
        workloads: &Workloads,
        service: &ServiceName,
    ) -> Result<Option<String>, EngineError> {
        let Some(facts) = self.existing(read, workloads, service).await?.facts else {
            return Ok(None);
        };
        if facts.health() == HealthState::Ready {
            return Ok(None);
        }

        let verdict = facts.verdict.filter(|_| facts.running);
        let reason = verdict.map_or_else(|| "it is stopped".to_owned(), |verdict| verdict.reason);
        Ok(Some(format!("{service}: {reason}")))
    }
}
