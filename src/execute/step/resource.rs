//! A provider's resources.

use std::sync::Arc;

use crate::execute::Run;
use crate::execute::step::outcome::{Done, StepError};
use crate::model::Fingerprint;
use crate::model::journal::Direction;
use crate::model::plan::Step;
use crate::model::resource::{Resource, ResourceFacts, ResourceKey, images_held};
use crate::port::provider::ProviderError;

/// Makes a resource what it should be.
pub(super) async fn ensure(
    run: &Arc<Run>,
    step: &Step,
    direction: Direction,
    resource: &Resource,
    replace: bool,
) -> Result<Done, StepError> {
    let key = &resource.key;
    if replace && direction == Direction::Forward {
        holds_what_it_held(run, step, key).await?;
    }
    let expects = match direction {
        Direction::Forward => step.expects.clone(),
        Direction::Back => fingerprint(run, resource).await?,
    };

    let (say, permit) = (run.teller(step), run.permit());
    let provider = &run.acting().await?.provider;
    provider
        .ensure(permit, resource, replace, expects, &say, &run.soft)
        .await?;
    Ok(Done::say(format!("{key} is as it should be")))
}

/// Deletes a resource that holds no more than the plan said.
pub(super) async fn delete(
    run: &Arc<Run>,
    step: &Step,
    key: &ResourceKey,
) -> Result<Done, StepError> {
    holds_what_it_held(run, step, key).await?;
    let (say, permit) = (run.teller(step), run.permit());
    let provider = &run.acting().await?.provider;
    provider
        .delete(permit, key, step.expects.clone(), &say, &run.soft)
        .await?;
    Ok(Done::say(format!("{key} is gone")))
}

/// During the rollback a resource is as this run left it.
async fn fingerprint(run: &Run, resource: &Resource) -> Result<Option<Fingerprint>, StepError> {
    let wanted = std::slice::from_ref(resource);
    let found = run.job.ports.provider.observe(run.scope(), wanted).await?;
    Ok(found
        .iter()
        .find(|facts| facts.key == resource.key)
        .and_then(ResourceFacts::fingerprint))
}

/// What runs on a resource may have become more since the plan was made.
async fn holds_what_it_held(run: &Run, step: &Step, key: &ResourceKey) -> Result<(), StepError> {
    let account = run.plan().losses.iter().find(|loss| loss.step == step.id);
    let Some(account) = account.filter(|loss| loss.name == key.to_string()) else {
        return Ok(());
    };
    let images = run.job.ports.provider.images(key).await?;
    let mut now = images_held(key, &images);
    now.extend(run.engine().occupants(run.scope(), key).await?);
    if now == account.holds {
        return Ok(());
    }
    Err(ProviderError::Moved {
        address: step.address.clone(),
    }
    .into())
}
