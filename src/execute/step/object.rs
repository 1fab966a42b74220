//! A cluster's objects.

use std::sync::Arc;

use crate::execute::Run;
use crate::execute::step::outcome::{Done, StepError};
use crate::execute::step::unless_stopped;
use crate::model::journal::Direction;
use crate::model::loss::Holding;
use crate::model::plan::Step;
use crate::model::{Fingerprint, Manifest, ObjectKey};
use crate::port::engine::{EngineError, Foreseen};

/// Makes an object what it should be, and waits until it is.
pub(super) async fn apply(
    run: &Arc<Run>,
    step: &Step,
    direction: Direction,
    manifest: &Manifest,
    replace: bool,
) -> Result<Done, StepError> {
    let say = run.teller(step);
    let expects = match direction {
        Direction::Forward => step.expects.clone(),
        Direction::Back => fingerprint(run, manifest).await?,
    };
    let engine = &run.acting().await?.engine;
    engine
        .apply(run.permit(), manifest, replace, expects, &say)
        .await?;

    let wait = async { Ok(run.engine().settled(run.scope(), manifest, &say).await?) };
    unless_stopped(run, direction, wait).await?;
    let name = manifest.key().named_in(&run.plan().namespaces);
    Ok(Done::say(format!("{name} applied")))
}

/// Deletes an object that is as the plan saw it.
pub(super) async fn delete(
    run: &Run,
    step: &Step,
    direction: Direction,
    key: &ObjectKey,
) -> Result<Done, StepError> {
    let plan = run.plan();
    let name = key.named_in(&plan.namespaces);
    let losses = plan.losses.iter().filter(|loss| loss.step == step.id);
    let holds: Vec<Holding> = losses.flat_map(|loss| loss.holds.clone()).collect();
    let foreseen = match direction {
        Direction::Forward => Foreseen {
            holds: &holds,
            ends_environment: plan.intent.ends_environment(),
        },
        Direction::Back => Foreseen::default(),
    };

    let engine = &run.acting().await?.engine;
    let delete = engine.delete(run.permit(), key, step.expects.clone(), foreseen);
    tokio::select! {
        biased;
        deleted = delete => deleted?,
        () = run.leaving.cancelled(), if direction == Direction::Forward => {
            return Err(StepError::from(EngineError::Failed {
                what: format!("deleting {name}"),
                reason: "it is not gone yet, and somebody has asked to stop".to_owned(),
            }));
        }
    }
    Ok(Done::say(format!("{name} deleted")))
}

/// Leaves an object as it is; it is managed no more.
pub(super) async fn forget(run: &Run, key: &ObjectKey) -> Result<Done, StepError> {
    run.engine().forget(run.permit(), key).await?;
    let name = key.named_in(&run.plan().namespaces);
    Ok(Done::say(format!("{name} is left as it is")))
}

/// During the rollback an object is as this run left it.
async fn fingerprint(run: &Run, manifest: &Manifest) -> Result<Option<Fingerprint>, StepError> {
    let wanted = std::slice::from_ref(manifest);
    let found = run.engine().compare(run.scope(), wanted).await?;
    Ok(found
        .into_iter()
        .find(|object| object.key == manifest.key())
        .and_then(|object| object.fingerprint))
}
