//! The images of workloads: whether there is room for them, and bringing them here.

use crate::agent::engine::{Agent, failed};
use crate::agent::rootfs;
use crate::model::workload::Workload;
use crate::port::Progress;
use crate::port::engine::{EngineError, Incoming, Pull};

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
    let runtime = agent.runtimes().of(workload);
    let fetched = runtime.prepare(agent.folder(), pull, &digest).await;
    fetched
        .map(drop)
        .map_err(|error| failed("fetching the image", &error))
}
