//! Workloads in their slots: deployed, undeployed, waited for and retained.

use std::sync::Arc;

use jiff::Timestamp;

use crate::execute::Run;
use crate::execute::step::outcome::{Done, StepError};
use crate::execute::step::{facts, room, secrets, unless_stopped};
use crate::model::journal::Direction;
use crate::model::plan::{Action, Step};
use crate::model::release::Label;
use crate::model::workload::Workload;
use crate::model::{Fingerprint, Period, ServiceName, Slot};
use crate::port::engine::{EngineError, Placement};

pub(super) async fn deploy(
    run: &Arc<Run>,
    step: &Step,
    direction: Direction,
    slot: Slot,
    workload: &Workload,
) -> Result<Done, StepError> {
    let Action::Deploy {
        mode,
        running,
        label,
        ..
    } = &step.action
    else {
        return Err(StepError::Plan("not a deployment".to_owned()));
    };
    let unbuilt = || {
        StepError::Plan(format!(
            "no step of this plan built the image of {}",
            workload.service
        ))
    };
    let workload = run.known(workload).ok_or_else(unbuilt)?;
    let say = run.teller(step);
    let image = workload.image.value().ok_or_else(unbuilt)?;
    if direction == Direction::Forward {
        room::look(run, &say).await?;
    }
    let placement = Placement {
        slot,
        label: the_label(run, label.as_ref())?,
        mode: *mode,
        running: *running,
        pull: run
            .job
            .ports
            .registry
            .bring(workload.home(), image, &say)
            .await?,
        secrets: secrets::of_workload(run, direction, &workload).await?,
        expects: expected(run, step, direction, slot, &workload.service).await?,
        workload,
    };

    let count = placement.workload.replicas;
    run.acting()
        .await?
        .engine
        .deploy(run.permit(), placement, &say)
        .await?;
    Ok(Done::say(match (*running, count) {
        (false, _) => "kept, stopped".to_owned(),
        (true, 1) => "1 instance".to_owned(),
        (true, count) => format!("{count} instances"),
    }))
}

fn the_label(run: &Run, label: Option<&Label>) -> Result<Label, StepError> {
    label
        .cloned()
        .or_else(|| run.target_label())
        .ok_or_else(|| StepError::Plan("the plan places a workload and has no target".to_owned()))
}

/// What a step on a workload expects to find. During the rollback, and behind a step of the same
/// plan that put it there or stopped it, it is whatever is there: this run put it there, or did not
/// come to it, and the lock keeps everybody else away.
async fn expected(
    run: &Run,
    step: &Step,
    direction: Direction,
    slot: Slot,
    service: &ServiceName,
) -> Result<Option<Fingerprint>, StepError> {
    let own = run.plan().steps.iter().take_while(|one| one.id != step.id);
    let is_changed = |one: &Step| {
        let changes = matches!(one.action, Action::Deploy { .. } | Action::Stop);
        changes && one.address == step.address
    };
    if direction == Direction::Forward && !own.into_iter().any(is_changed) {
        return Ok(step.expects.clone());
    }
    Ok(facts(run).await?.workload_fingerprint(slot, service))
}

pub(super) async fn stop(
    run: &Run,
    step: &Step,
    direction: Direction,
    slot: Slot,
    service: &ServiceName,
) -> Result<Done, StepError> {
    let expects = expected(run, step, direction, slot, service).await?;
    let say = run.teller(step);
    run.acting()
        .await?
        .engine
        .stop(run.permit(), slot, service, expects, &say)
        .await?;
    Ok(Done::say("stopped"))
}

pub(super) async fn undeploy(
    run: &Run,
    step: &Step,
    direction: Direction,
    slot: Slot,
    service: &ServiceName,
) -> Result<Done, StepError> {
    let expects = expected(run, step, direction, slot, service).await?;
    run.acting()
        .await?
        .engine
        .undeploy(run.permit(), slot, service, expects)
        .await?;
    Ok(Done::say("undeployed"))
}

pub(super) async fn clear(
    run: &Run,
    step: &Step,
    direction: Direction,
    slot: Slot,
) -> Result<Done, StepError> {
    let facts = facts(run).await?;
    let Some(there) = facts.slots.get(&slot) else {
        return Ok(Done::say("was empty"));
    };
    if direction == Direction::Forward && facts.slot_fingerprint(slot) != step.expects {
        let (by, at) = (facts.changed_by, facts.changed_at);
        return Err(EngineError::Moved {
            address: step.address.clone(),
            by,
            at,
        }
        .into());
    }

    if direction == Direction::Forward {
        let say = run.teller(step);
        room::look(run, &say).await?;
    }

    for (service, workload) in &there.workloads {
        let expects = Some(workload.fingerprint());
        run.acting()
            .await?
            .engine
            .undeploy(run.permit(), slot, service, expects)
            .await?;
    }

    Ok(Done::say(format!("release {} cleared", there.label.number)))
}

pub(super) async fn wait_until_ready(
    run: &Arc<Run>,
    step: &Step,
    direction: Direction,
    slot: Slot,
    within: Period,
) -> Result<Done, StepError> {
    let say = run.teller(step);
    let scope = run.scope();
    let wait = async { Ok(run.engine().ready(scope, slot, within, &say).await?) };
    unless_stopped(run, direction, wait).await?;
    Ok(Done::say(format!("{slot} is ready")))
}

pub(super) async fn retain(run: &Run, slot: Slot, until: Timestamp) -> Result<Done, StepError> {
    let engine = &run.acting().await?.engine;
    engine.retain(run.permit(), slot, until).await?;
    Ok(Done::say(format!("until {until:.0}")))
}
