//! Workloads in their slots: deployed, retained, stopped, undeployed. What a slot should hold is
//! recorded before any object of it is touched, so that a run that is killed in between leaves
//! drift, and nothing unknown.

mod apply;
mod contents;
mod deploy;
mod existing;
mod ready;
mod restart;
mod retain;
mod rollback;
mod scale;
mod stop;
mod sweep;
mod undeploy;

pub(super) use deploy::deploy;
pub(super) use ready::is_ready;
pub(super) use restart::restart;
pub(super) use retain::{finish_due, retain};
pub(super) use rollback::rollback_blockers;
pub(super) use stop::stop;
pub(super) use undeploy::undeploy;

use serde_json::Value;

use crate::driver::kubernetes::client::api::{Api, ApiError, Selector};
use crate::driver::kubernetes::engine::holds::{Asked, ClaimHolder, NOTHING};
use crate::driver::kubernetes::engine::observe;
use crate::driver::kubernetes::engine::record::{Read, Workloads};
use crate::driver::kubernetes::engine::{Conflict, KubernetesEngine};
use crate::model::object::mark;
use crate::model::{Address, ServiceName, Slot};
use crate::port::engine::{EngineError, Permit, Scope};

/// What a slot's service is found by.
pub(super) fn selector(scope: &Scope, slot: Slot, service: Option<&ServiceName>) -> String {
    let mut text = format!("{},{}={slot}", observe::of_scope(scope), mark::SLOT);
    if let Some(service) = service {
        text = format!("{text},{}={service}", mark::SERVICE);
    }
    text
}

fn moved(address: Address, read: &Read) -> EngineError {
    EngineError::Moved {
        address,
        by: read.record.changed_by.clone(),
        at: read.record.changed_at,
    }
}

/// Where work in a slot happens.
struct Slots<'a> {
    engine: &'a KubernetesEngine,
    api: &'a Api,
    permit: &'a Permit,
    slot: Slot,
    set: String,
}

impl<'a> Slots<'a> {
    async fn open(
        engine: &'a KubernetesEngine,
        permit: &'a Permit,
        slot: Slot,
    ) -> Result<Slots<'a>, EngineError> {
        let api = engine.api().await?;
        let set = engine.records(api, &permit.scope).set();
        Ok(Slots {
            engine,
            api,
            permit,
            slot,
            set,
        })
    }

    fn namespace(&self) -> &str {
        &self.engine.settings.namespaces.slots[&self.slot]
    }

    fn holder(&self) -> ClaimHolder<'_> {
        ClaimHolder {
            api: self.api,
            scope: &self.permit.scope,
            set: &self.set,
            going: &NOTHING,
            asked: Asked::ForStep,
        }
    }

    async fn workloads(&self, read: &Read) -> Result<Workloads, EngineError> {
        let (scope, slot) = (&self.permit.scope, self.slot);
        let workloads = self.engine.workloads(self.api, scope, read, slot).await;
        workloads.map_err(|fault| fault.while_(format!("reading what is deployed in {slot}")))
    }
}

/// The pods of a slot that run, for whom it may concern.
pub(super) async fn pods(
    engine: &KubernetesEngine,
    api: &Api,
    scope: &Scope,
    slot: Slot,
) -> Result<Vec<Value>, ApiError> {
    let kind = api.must(("v1", "Pod")).await?;
    let mut pods = Vec::new();
    let namespace = &engine.settings.namespaces.slots[&slot];
    api.list(
        &kind,
        Some(namespace),
        &Selector::Labels(selector(scope, slot, None)),
        |pod| pods.push(pod),
    )
    .await?;
    Ok(pods)
}

/// The rule for other managers' fields, where one object decides about traffic.
pub(super) const fn policy(engine: &KubernetesEngine) -> Conflict {
    engine.settings.conflict
}
