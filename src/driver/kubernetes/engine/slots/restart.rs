//! A rolling restart of a service in a slot, as `kubectl rollout restart` does it: its pods'
//! template is marked with the time. The mark is no field of shipit's own, so that no plan shows it
//! and no apply takes it away.

use jiff::Timestamp;
use serde_json::json;

use super::{Slots, moved};
use crate::driver::kubernetes::client::api::ApiError;
use crate::driver::kubernetes::engine::KubernetesEngine;
use crate::driver::kubernetes::engine::apply::said;
use crate::driver::kubernetes::engine::observe::sent;
use crate::driver::kubernetes::engine::wait::SlotWait;
use crate::model::{Address, Manifest, Period};
use crate::port::Progress;
use crate::port::engine::{EngineError, Permit, Restart};

/// Under which name the mark is written.
const MANAGER: &str = "shipit-restart";

/// The mark, which other tools know.
const MARK: &str = "kubectl.kubernetes.io/restartedAt";

/// How long the new pods may take; the workload's own deadline is shorter.
const REPLACED: Period = Period::from_secs(1800);

pub(in super::super) async fn restart(
    engine: &KubernetesEngine,
    permit: &Permit,
    restart: Restart,
    progress: Progress<'_>,
) -> Result<(), EngineError> {
    let Restart { slot, service, .. } = restart;
    let slots = Slots::open(engine, permit, slot).await?;
    let read = engine.enter(slots.api, permit).await?;
    let workloads = slots.workloads(&read).await?;
    let recorded = read.record.slots.get(&slot).zip(workloads.get(&service));
    let (recorded, placed) =
        recorded.ok_or_else(|| moved(Address::Workload(slot, service.clone()), &read))?;
    if !placed.running {
        return Err(EngineError::Refused {
            reason: format!("{service} in {slot} is stopped"),
            help: "`shipit status` shows what runs".to_owned(),
        });
    }

    let as_recorded = (recorded.label.number, read.record.traffic);
    let manifests = sent(placed, slot, as_recorded, &slots.set);
    let restarted: Vec<&Manifest> = manifests.iter().filter(|one| has_pods(one)).collect();
    if restarted.is_empty() {
        return Err(EngineError::Refused {
            reason: format!("{service} in {slot} has no Deployment, StatefulSet or DaemonSet"),
            help: "only these are restarted; a Job runs once".to_owned(),
        });
    }
    if let Some(stuck) = restarted.iter().find(|one| waits_for_deletion(one)) {
        return Err(EngineError::Refused {
            reason: format!(
                "{} replaces no pod by itself (OnDelete)",
                said(&stuck.key())
            ),
            help: "delete its pods one after the other, or take `updateStrategy` out".to_owned(),
        });
    }

    let now = Timestamp::now().to_string();
    let body = json!({"spec": {"template": {"metadata": {"annotations": {MARK: now}}}}});
    for manifest in restarted {
        let key = manifest.key();
        permit.hold.confirmed().await?;
        progress(&format!("{} is restarted", said(&key)));
        let marked = slots.api.merge(&key, "", &body, MANAGER).await;
        marked.map_err(|fault: ApiError| fault.while_(format!("restarting {}", said(&key))))?;
    }

    let wait = SlotWait {
        engine,
        scope: &permit.scope,
        slot,
        service: Some(&service),
        within: REPLACED,
        progress,
    };
    wait.run().await
}

/// Whether it has pods that it replaces by new ones.
fn has_pods(manifest: &Manifest) -> bool {
    matches!(manifest.kind(), "Deployment" | "StatefulSet" | "DaemonSet")
}

fn waits_for_deletion(manifest: &Manifest) -> bool {
    let strategy = manifest.body().pointer("/spec/updateStrategy/type");
    strategy.is_some_and(|strategy| strategy == "OnDelete")
}
