//! Tasks that run by themselves: CronJobs of the slots, of which only those of the slot with live
//! traffic are not suspended.

mod history;

pub(super) use history::schedules;

use std::collections::BTreeMap;

use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::driver::kubernetes::client::api::{Api, ApiError, MANAGER};
use crate::driver::kubernetes::engine::apply::{self, said};
use crate::driver::kubernetes::engine::observe::sent;
use crate::driver::kubernetes::engine::record::Read;
use crate::driver::kubernetes::engine::{Conflict, KubernetesEngine, slots};
use crate::model::{LiveTraffic, Manifest, Slot};
use crate::port::engine::{EngineError, Permit, Scope};

/// The CronJobs of a slot, as they are while traffic goes there.
async fn of_slot(
    engine: &KubernetesEngine,
    api: &Api,
    scope: &Scope,
    read: &Read,
    (slot, traffic): (Slot, LiveTraffic),
) -> Result<Vec<Manifest>, EngineError> {
    // Most environments have none, and need not be asked what stands in them.
    let mut kinds = read.record.kinds.iter();
    let there = read.record.slots.get(&slot);
    let Some(there) = there.filter(|_| kinds.any(|kind| kind.kind == "CronJob")) else {
        return Ok(Vec::new());
    };
    let workloads = engine.workloads(api, scope, read, slot).await;
    let workloads =
        workloads.map_err(|fault| fault.while_(format!("reading what is deployed in {slot}")))?;
    let set = engine.records(api, scope).set();
    let number = there.label.number;
    let all = workloads
        .values()
        .flat_map(|placed| sent(placed, slot, (number, traffic), &set));
    Ok(all.filter(|one| one.scheduled_task().is_some()).collect())
}

/// Suspends what would run by itself where traffic was, and then lets it run where traffic is:
/// never in both. A time that one has begun is none of the other's.
pub(super) async fn hand_over(
    engine: &KubernetesEngine,
    api: &Api,
    permit: &Permit,
    read: &Read,
    to: LiveTraffic,
) -> Result<(), EngineError> {
    let mut begun = BTreeMap::new();
    for slot in Slot::ALL.into_iter().filter(|slot| !to.reaches(*slot)) {
        for manifest in of_slot(engine, api, &permit.scope, read, (slot, to)).await? {
            let live = write(engine, api, permit, &manifest).await?;
            let last = live["status"]["lastScheduleTime"].clone();
            begun.extend(
                manifest
                    .scheduled_task()
                    .map(|task| (task.to_owned(), last)),
            );
        }
    }

    let Some(slot) = to.slot() else {
        return Ok(());
    };
    for manifest in of_slot(engine, api, &permit.scope, read, (slot, to)).await? {
        let last = manifest.scheduled_task().and_then(|task| begun.get(task));
        begin_after(api, permit, &manifest, last).await?;
        write(engine, api, permit, &manifest).await?;
    }
    Ok(())
}

/// Tells the cluster which time of a CronJob was the last one, before it goes on: what it finds
/// missed is begun, and the other slot's may have begun it.
async fn begin_after(
    api: &Api,
    permit: &Permit,
    manifest: &Manifest,
    last: Option<&Value>,
) -> Result<(), EngineError> {
    let key = manifest.key();
    let failed = |fault: ApiError| fault.while_(format!("handing over {}", said(&key)));
    let live = api.get(&key).await.map_err(failed)?;
    if live.is_none_or(|live| live["spec"]["suspend"] != true) {
        return Ok(());
    }
    let now = || json!(format!("{:.0}", Timestamp::now()));
    let last = last.filter(|last| last.is_string()).cloned();
    let body = json!({"status": {"lastScheduleTime": last.unwrap_or_else(now)}});
    permit.hold.confirmed().await?;
    match api.merge(&key, "/status", &body, MANAGER).await {
        // Traffic has moved by now. `shipit doctor` says what is not allowed.
        Err(fault) if fault.is(StatusCode::FORBIDDEN) => Ok(()),
        other => other.map(drop).map_err(failed),
    }
}

/// Writes a CronJob. Whoever has suspended it by hand has done so for where traffic was.
async fn write(
    engine: &KubernetesEngine,
    api: &Api,
    permit: &Permit,
    manifest: &Manifest,
) -> Result<Value, EngineError> {
    permit.hold.confirmed().await?;
    let policy = match slots::policy(engine) {
        Conflict::Stop | Conflict::TakeOver => Conflict::TakeOver,
        Conflict::Leave => Conflict::Leave,
    };
    let applied = apply::apply(api, policy, manifest, None).await;
    applied.map_err(|fault| fault.while_(format!("handing over {}", said(&manifest.key()))))
}
