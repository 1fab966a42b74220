//! The images of workloads: whether there is room for them, and bringing them here.

use crate::agent::engine::{Agent, failed};
use crate::agent::rootfs;
use crate::model::workload::Workload;
use crate::port::Progress;
use crate::port::engine::{EngineError, Incoming, Pull, Scope};

/// Whether the images that are not there yet have room, all together.
pub(in crate::agent) async fn room(
    agent: &Agent,
    incoming: &[Incoming],
) -> Result<(), EngineError> {
    let missing = incoming.iter().filter_map(|incoming| {
        let image = incoming.workload.image.value()?;
        let runtime = agent.runtimes().of(&incoming.workload);
        let unpacked = runtime.unpacked(agent.folder(), image)?;
        Some((unpacked, incoming.pull.clone()))
    });
    let (folder, missing) = (agent.folder().clone(), missing.collect::<Vec<_>>());
    tokio::task::spawn_blocking(move || rootfs::room(&folder, &missing))
        .await
        .map_err(|error| error.to_string())
        .flatten()
        .map_err(|reason| failed("looking for room for the images", &reason))
}

/// Takes away what clients on other machines have sent for an environment and no slot has.
pub(super) async fn prune_sent(agent: &Agent, scope: &Scope) {
    let layout = agent.folder().sent(scope);
    if !layout.exists() {
        return;
    }
    let record = agent.environment(scope).state.record();
    let workloads = record
        .slots
        .values()
        .flat_map(|slot| slot.workloads.values());
    let images = workloads.filter_map(|workload| workload.spec.image.value().cloned());
    let images = images.collect();
    let pruned = tokio::task::spawn_blocking(move || rootfs::sent::prune(&layout, &images)).await;
    if let Err(error) = pruned {
        tracing::warn!(%error, "old images were not deleted");
    }
}

/// Every blob is read and verified before anything is stopped or started.
pub(super) async fn fetch(
    agent: &Agent,
    workload: &Workload,
    pull: &Pull,
    progress: Progress<'_>,
) -> Result<(), EngineError> {
    let digest = workload
        .image
        .value()
        .cloned()
        .ok_or_else(|| EngineError::Refused {
            reason: format!("the image of {} is not known", workload.service),
            help: "this is a fault of shipit; please report it".to_owned(),
        })?;

    progress(&format!("fetching {}", digest.short()));
    let _fetching = agent.fetching.read().await;
    let runtime = agent.runtimes().of(workload);
    let fetched = runtime.prepare(agent.folder(), pull, &digest).await;
    fetched
        .map(drop)
        .map_err(|error| failed("fetching the image", &error))
}
