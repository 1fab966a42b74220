//! Room for every image of a plan is looked for before the first step that stops anything: a plan
//! whose last image does not fit must not cost what runs.

use std::collections::BTreeSet;

use crate::execute::Run;
use crate::execute::step::outcome::StepError;
use crate::model::Digest;
use crate::port::Progress;
use crate::port::engine::{EngineError, Incoming};

/// What is known of the room. It is looked for by one step at a time, and once there is none the
/// other steps that wait for the answer do not ask again.
#[derive(Debug, Default)]
pub(in crate::execute) struct Room {
    /// The images that there is room for.
    enough_for: BTreeSet<Digest>,
    /// Why there is not enough.
    lack: Option<String>,
}

/// Looks, unless it was done for all images that are known by now.
pub(in crate::execute) async fn look(run: &Run, say: Progress<'_>) -> Result<(), StepError> {
    let mut room = run.room.lock().await;
    if let Some(reason) = &room.lack {
        let (what, reason) = ("looking for room on the disk".to_owned(), reason.clone());
        return Err(EngineError::Failed { what, reason }.into());
    }

    let known: Vec<_> = run
        .target_workloads()
        .into_values()
        .filter_map(|workload| {
            let image = workload.image.value()?.clone();
            Some((workload, image))
        })
        .collect();
    if known
        .iter()
        .all(|(_, image)| room.enough_for.contains(image))
    {
        return Ok(());
    }

    let ports = &run.job.ports;
    let mut incoming = Vec::new();
    for (workload, image) in &known {
        incoming.push(Incoming {
            workload: workload.clone(),
            pull: ports.registry.bring(workload.home(), image, say).await?,
        });
    }
    if let Err(error) = ports.engine.room(&incoming).await {
        room.lack = Some(error.to_string());
        return Err(error.into());
    }
    room.enough_for
        .extend(known.into_iter().map(|(_, image)| image));
    Ok(())
}
