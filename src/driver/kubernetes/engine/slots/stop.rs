//! A service that stops in its slot, and stays startable there.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tokio::time::Instant;

use super::apply::{Applying, Replacing};
use super::{Slots, moved, selector};
use crate::driver::kubernetes::client::api::{ApiError, Selector};
use crate::driver::kubernetes::engine::KubernetesEngine;
use crate::driver::kubernetes::engine::autoscale::Pods;
use crate::driver::kubernetes::engine::observe::sent;
use crate::driver::kubernetes::engine::record::Placed;
use crate::driver::kubernetes::engine::wait::{Need, Watched, until};
use crate::model::facts::WorkloadFacts;
use crate::model::{
    Address, Fingerprint, LiveTraffic, Manifest, ObjectKey, Period, ReleaseNumber, ServiceName,
    Slot,
};
use crate::port::Progress;
use crate::port::engine::{EngineError, Permit};

/// How long pods may take to end, whatever grace they have.
const ENDED: Period = Period::from_secs(900);

pub(in super::super) async fn stop(
    engine: &KubernetesEngine,
    permit: &Permit,
    (slot, service): (Slot, &ServiceName),
    expects: Option<Fingerprint>,
    progress: Progress<'_>,
) -> Result<(), EngineError> {
    let slots = Slots::open(engine, permit, slot).await?;
    let mut read = engine.enter(slots.api, permit).await?;
    let mut workloads = slots.workloads(&read).await?;
    let label = read
        .record
        .slots
        .get(&slot)
        .map(|found| found.label.clone());
    let Some((placed, label)) = workloads.get(service).zip(label) else {
        return Ok(());
    };

    // One that is recorded as stopped may have been left before its objects were told.
    if placed.running {
        let existing = slots.existing(&read, &workloads, service).await?;
        if existing.facts.as_ref().map(WorkloadFacts::fingerprint) != expects {
            return Err(moved(Address::Workload(slot, service.clone()), &read));
        }
        if let Some(placed) = workloads.get_mut(service) {
            placed.running = false;
        }
        slots
            .write(&mut read, &workloads, &label, &BTreeSet::new(), &[])
            .await?;
    }
    slots.scale_down(&workloads[service], label.number).await?;
    slots.await_end(service, progress).await
}

impl Slots<'_> {
    /// Scales a workload that is recorded as stopped to none; its objects stay.
    pub(super) async fn scale_down(
        &self,
        placed: &Placed,
        release: ReleaseNumber,
    ) -> Result<(), EngineError> {
        let how = Applying {
            replacing: Replacing::Refused,
            pods: Pods::Stopped,
        };
        // What is stopped runs nothing by itself either, wherever traffic goes.
        let all = sent(placed, self.slot, (release, LiveTraffic::Off), &self.set);
        // A Secret stays as it is: its values are not here, and they do not change.
        let stops = |one: &&Manifest| one.scales() || one.scheduled_task().is_some();
        let manifests: Vec<Manifest> = all.iter().filter(stops).cloned().collect();
        let scalers = self.scalers(&all).await?;
        self.apply(&manifests, &scalers, how, &|_| {}).await?;
        self.scale(&all, &scalers, Some(0)).await
    }

    /// Waits until no pod of a service runs in the slot any more.
    async fn await_end(
        &self,
        service: &ServiceName,
        progress: Progress<'_>,
    ) -> Result<(), EngineError> {
        let failed = |fault: ApiError| fault.while_(format!("waiting for {service} to stop"));
        let kind = self.api.must(("v1", "Pod")).await.map_err(failed)?;
        let watched = Watched {
            kind,
            namespace: Some(self.namespace().to_owned()),
            selector: Selector::Labels(selector(&self.permit.scope, self.slot, Some(service))),
            need: Need::Must,
        };

        let mut said = None;
        let check = |objects: &BTreeMap<ObjectKey, Value>| {
            let left = objects.values().filter(|pod| runs(pod)).count();
            if left > 0 && said != Some(left) {
                progress(&format!("{service}: {left} pods end"));
                said = Some(left);
            }
            (left == 0).then_some(())
        };
        let deadline = Instant::now() + ENDED.get();
        let api = self.engine.api().await?;
        let ended = until(api, &[watched], deadline, check).await;
        ended.map_err(failed)?.ok_or_else(|| EngineError::Failed {
            what: format!("waiting for {service} to stop in {}", self.slot),
            reason: format!("its pods have not ended within {ENDED}"),
        })
    }
}

/// Whether a pod is not over.
fn runs(pod: &Value) -> bool {
    !matches!(
        pod["status"]["phase"].as_str(),
        Some("Succeeded" | "Failed")
    )
}
