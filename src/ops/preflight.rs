//! Before a plan: whether instances can be started here at all. Before a switch: whether the way back that the plan
//! counts on is really there, and what is not signed yet.

use crate::agent::runtime::systemd::Lack;
use crate::model::Slot;
use crate::model::check::{Check, SignatureCheck};
use crate::model::facts::Facts;
use crate::model::plan::{Action, Plan};
use crate::model::signature::{command, signer};
use crate::ops::doctor::name;
use crate::ops::session::lack;
use crate::ops::{Error, Session};
use crate::port::engine::{EngineError, Pull};

/// Fails when this machine cannot start instances as the environment asks for.
pub fn can_start(session: &Session) -> Result<(), Error> {
    let environment = session.configuration()?;
    let Some(Lack { reason, help }) = lack(&session.root, environment) else {
        return Ok(());
    };
    let what = format!(
        "{} cannot be started by the runtime `{}`",
        session.environment,
        name(environment.cluster.runtime)
    );
    Err(EngineError::Unreachable { what, reason, help }.into())
}

/// Why traffic could not go back to where it is now: an image that is gone, an object that is missing, a quota that
/// is too small. Empty when it could, and for a plan that switches nothing.
pub async fn way_back(session: &Session, plan: &Plan, facts: &Facts) -> Result<Vec<String>, Error> {
    let Some(slot) = leaves(plan) else {
        return Ok(Vec::new());
    };
    let Some(there) = facts.slots.get(&slot) else {
        return Ok(Vec::new());
    };
    let registry = &session.ports.registry;
    let images = there
        .workloads
        .iter()
        .map(|(service, workload)| async move {
            // An engine that has unpacked the image does not need the registry for it any more.
            let Pull::Repository(_) = registry.pull(service) else {
                return None;
            };
            let image = workload.spec.image.value()?;
            let fault = registry.verify(service, image).await.err()?;
            Some(format!(
                "the image of {service} in {slot} cannot be pulled again: {fault}"
            ))
        });
    let scope = session.scope();
    let (images, engine) = tokio::join!(
        futures_util::future::join_all(images),
        session.ports.engine.way_back(&scope, slot)
    );
    Ok(images.into_iter().flatten().chain(engine?).collect())
}

/// The images that nobody has signed yet and that the switch would be refused for, as far as they are there already.
pub async fn unsigned(session: &Session, plan: &Plan) -> Result<Vec<String>, Error> {
    let registry = &session.ports.registry;
    let mut notes = Vec::new();
    for check in plan
        .steps
        .iter()
        .filter_map(|step| signatures(&step.action))
        .flatten()
    {
        for workload in plan
            .target
            .iter()
            .flat_map(|target| target.workloads.values())
        {
            let (service, Some(image)) = (&workload.service, workload.image.value()) else {
                continue;
            };
            let found = registry.signatures(service, image).await?;
            let (Err(_), Pull::Repository(repository)) =
                (signer(&found, image, &check.keys), registry.pull(service))
            else {
                continue;
            };
            notes.push(format!(
                "{service} is not signed yet, and must be: `{}`",
                command(&repository, image)
            ));
        }
    }
    Ok(notes)
}

/// The signatures that a step asks for.
fn signatures(action: &Action) -> Option<impl Iterator<Item = &SignatureCheck>> {
    let Action::Check { checks, .. } = action else {
        return None;
    };
    Some(checks.iter().filter_map(|check| match check {
        Check::Signature(check) => Some(check),
        _ => None,
    }))
}

/// The slot that loses its traffic.
fn leaves(plan: &Plan) -> Option<Slot> {
    plan.steps.iter().find_map(|step| match step.action {
        Action::Switch {
            from: Some(from),
            to: Some(_),
        } => Some(from),
        _ => None,
    })
}
