//! Room for every image of a plan is looked for before the first step that stops anything: a plan whose last image does
//! not fit must not cost what runs.

use std::sync::PoisonError;

use crate::execute::Run;
use crate::execute::perform::StepError;
use crate::port::Progress;
use crate::port::engine::Incoming;

/// Looks, unless it was done for all images that are known by now.
pub(super) async fn look(run: &Run, say: Progress<'_>) -> Result<(), StepError> {
    let known: Vec<_> = run
        .target_workloads()
        .into_iter()
        .filter_map(|(service, workload)| {
            let image = workload.image.value()?.clone();
            Some((service, workload, image))
        })
        .collect();
    let is_new = {
        let roomy = run.roomy.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().any(|(_, _, image)| !roomy.contains(image))
    };
    if !is_new {
        return Ok(());
    }

    let ports = &run.job.ports;
    let mut incoming = Vec::new();
    for (service, workload, image) in &known {
        incoming.push(Incoming {
            workload: workload.clone(),
            pull: ports.registry.bring(service, image, say).await?,
        });
    }
    ports.engine.room(&incoming).await?;

    let mut roomy = run.roomy.lock().unwrap_or_else(PoisonError::into_inner);
    roomy.extend(known.into_iter().map(|(_, _, image)| image));
    Ok(())
}
