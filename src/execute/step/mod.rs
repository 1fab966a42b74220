//! One step: from its action to a call through a port. A file for each kind of step.

mod check;
mod documents;
mod image;
mod listeners;
mod object;
pub(super) mod outcome;
mod resource;
pub(super) mod room;
mod secrets;
mod switch;
mod task;
mod workload;

use std::sync::Arc;

use jiff::Timestamp;

use crate::execute::Run;
use crate::execute::step::outcome::{Done, StepError};
use crate::model::Address;
use crate::model::facts::Facts;
use crate::model::journal::Direction;
use crate::model::plan::{Action, Step};
use crate::rollout::Impact;

/// Does one step.
pub(super) async fn perform(
    run: &Arc<Run>,
    step: &Step,
    direction: Direction,
) -> Result<Done, StepError> {
    if Impact::of(&step.action) == Impact::Live && direction == Direction::Forward {
        run.probe.start_before(run).await;
    }

    match (&step.action, &step.address) {
        (Action::Build { spec, inputs }, Address::Image(service)) => {
            image::build(run, step, service, spec, inputs).await
        }
        (Action::Fetch { name, image }, Address::Image(_)) => {
            image::fetch(run, step, name, image).await
        }
        (Action::Apply { manifest, replace }, Address::Object(_)) => {
            object::apply(run, step, direction, manifest, *replace).await
        }
        (Action::Delete, Address::Object(key)) => object::delete(run, step, direction, key).await,
        (Action::Forget, Address::Object(key)) => object::forget(run, key).await,
        (Action::Ensure { resource, replace }, Address::Resource(_)) => {
            resource::ensure(run, step, direction, resource, *replace).await
        }
        (Action::Delete, Address::Resource(key)) => resource::delete(run, step, key).await,
        (Action::Listen { .. }, _) => listeners::listen(run, step, direction).await,
        (Action::StopListening, Address::Route(service)) => {
            listeners::stop_listening(run, service).await
        }
        (Action::Deploy { workload, .. }, Address::Workload(slot, _)) => {
            workload::deploy(run, step, direction, *slot, workload).await
        }
        (Action::Stop, Address::Workload(slot, service)) => {
            workload::stop(run, step, direction, *slot, service).await
        }
        (Action::Undeploy, Address::Workload(slot, service)) => {
            workload::undeploy(run, step, direction, *slot, service).await
        }
        (Action::Clear, Address::Slot(slot)) => workload::clear(run, step, direction, *slot).await,
        (Action::WaitUntilReady { within }, Address::Slot(slot)) => {
            workload::wait_until_ready(run, step, direction, *slot, *within).await
        }
        (Action::Task(of), Address::Task(slot, name)) => {
            task::task(run, step, (*slot, name), of).await
        }
        (Action::Check { stage, checks }, _) => check::check(run, step, *stage, checks).await,
        (Action::Switch { from, to }, _) => switch::switch(run, direction, *from, *to).await,
        (Action::Retain { keep }, Address::Slot(slot)) => {
            let until = Timestamp::now().checked_add(keep.get());
            workload::retain(run, *slot, until.unwrap_or(Timestamp::MAX)).await
        }
        (Action::RetainUntil { until }, Address::Slot(slot)) => {
            workload::retain(run, *slot, *until).await
        }
        (action, address) => Err(StepError::Plan(format!(
            "`{}` cannot be done to {address}",
            action.title()
        ))),
    }
}

/// Runs something that is cancelled when the run should stop soon.
async fn unless_stopped<T>(
    run: &Run,
    direction: Direction,
    work: impl Future<Output = Result<T, StepError>>,
) -> Result<T, StepError> {
    if direction == Direction::Back {
        return work.await;
    }
    tokio::select! {
        biased;
        result = work => result,
        () = run.soft.cancelled() => Err(StepError::Stopped),
    }
}

async fn facts(run: &Run) -> Result<Facts, StepError> {
    Ok(run.engine().observe(run.scope()).await?)
}
