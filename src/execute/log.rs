//! The run's journal and its events: the same happenings, once for the disk and once for the
//! reader.

use std::time::Instant;

use jiff::Timestamp;

use crate::execute::Run;
use crate::execute::step::outcome::{Done, StepError};
use crate::model::event::Event;
use crate::model::hook::Hook;
use crate::model::journal::{Direction, JournalEntry, What};
use crate::model::plan::Step;
use crate::model::task::TaskRecord;
use crate::port::hold::LockLost;
use crate::port::store::StoreError;
use crate::rollout::{Cause, CutOff};

/// Why an entry is not in the journal.
#[derive(Debug, thiserror::Error)]
pub(super) enum JournalError {
    /// Another run has the lock.
    #[error(transparent)]
    LockLost(#[from] LockLost),
    /// The store did not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl JournalError {
    /// Whether it ends the run where it stands.
    pub const fn cut_off(&self) -> Option<CutOff> {
        match self {
            Self::LockLost(_) | Self::Store(StoreError::Lost { .. }) => Some(CutOff::LockLost),
            Self::Store(_) => None,
        }
    }

    /// What it means for the rollout.
    pub fn means(&self) -> Result<Cause, CutOff> {
        match self.cut_off() {
            Some(by) => Err(by),
            None => Ok(Cause::Failed(self.to_string())),
        }
    }
}

async fn append(run: &Run, what: What) -> Result<(), JournalError> {
    let entry = JournalEntry {
        at: Timestamp::now(),
        what,
    };
    let permit = &run.job.permit;
    run.acting()
        .await?
        .store
        .append(&permit.scope.environment, &permit.actor.run, &entry)
        .await?;
    Ok(())
}

pub(super) async fn began(run: &Run) -> Result<(), JournalError> {
    let plan = run.plan();
    run.say(Event::Began {
        run: run.job.permit.actor.run.clone(),
        steps: plan.steps.len(),
    });
    let (actor, hash) = (run.job.permit.actor.clone(), plan.hash());
    append(
        run,
        What::Began {
            actor,
            plan: Box::new(plan.clone()),
            hash,
            approval: Some(run.job.approval.clone()),
            outside_window: run.job.outside_window.clone(),
            fence: Some(run.job.permit.fence),
        },
    )
    .await
}

pub(super) async fn intent(run: &Run, step: &Step, back: Direction) -> Result<(), JournalError> {
    append(
        run,
        What::Intent {
            step: step.id,
            back,
        },
    )
    .await?;
    let (address, title) = (step.address.clone(), step.action.title());
    run.say(Event::StepBegan {
        step: step.id,
        direction: back,
        address,
        title,
    });
    Ok(())
}

pub(super) async fn done(
    run: &Run,
    step: &Step,
    direction: Direction,
    done: &Done,
    since: Instant,
) -> Result<(), JournalError> {
    append(
        run,
        What::Done {
            step: step.id,
            back: direction,
            digest: done.digest.clone(),
        },
    )
    .await?;
    run.say(Event::StepDone {
        step: step.id,
        direction,
        address: step.address.clone(),
        result: done.result.clone(),
        millis: u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX),
    });
    Ok(())
}

/// A failure is said to the reader whether or not the disk takes it.
pub(super) async fn failed(run: &Run, step: &Step, direction: Direction, error: &StepError) {
    let reason = error.reason();
    let _ = append(
        run,
        What::Failed {
            step: step.id,
            back: direction,
            reason: reason.clone(),
        },
    )
    .await;
    run.say(Event::StepFailed {
        step: step.id,
        direction,
        address: step.address.clone(),
        reason,
        detail: error.detail(),
    });
}

/// That a hook was called, and why it has failed, if it has.
pub(super) async fn hook(
    run: &Run,
    hook: &Hook,
    failed: Option<String>,
) -> Result<(), JournalError> {
    let name = hook.name.clone();
    append(run, What::Hook { name, failed }).await
}

/// What a task did and wrote, once it has ended.
pub(super) async fn task(
    run: &Run,
    step: &Step,
    record: TaskRecord,
    output: Vec<String>,
) -> Result<(), StepError> {
    let what = What::Task {
        step: step.id,
        record: Box::new(record),
        output,
    };
    append(run, what).await.map_err(|error| match error {
        JournalError::LockLost(lost) => lost.into(),
        JournalError::Store(error) => error.into(),
    })
}
