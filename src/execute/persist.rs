//! What is written down of a run that is over.

use crate::model::facts::Facts;
use crate::model::journal::{JournalEntry, What};
use crate::model::outcome::Ending;
use crate::model::plan::Plan;
use crate::model::state::State;
use crate::plan::with_unrecorded;
use crate::port::StateStore;
use crate::port::store::{Lease, StoreError};
use crate::rollout::record::{Ended, record};
use crate::rollout::{End, Traffic};

/// Records what came of a run in the state and in its journal. What was cut off is not recorded:
/// its journal stays open, and the next run finds out what stands. Gives how it ended, and the
/// state after it.
///
/// # Errors
/// The lock is lost, or the store does not take it.
pub async fn persist(
    store: &dyn StateStore,
    lease: &dyn Lease,
    state: &State,
    ended: &Ended<'_>,
) -> Result<(Ending, State), StoreError> {
    let (ending, environment) = (ending(ended.end), &ended.plan.environment);
    let is_open = matches!(
        ended.end,
        End::LockLost | End::Interrupted(Traffic::Unknown) | End::RollbackFailed { .. }
    );
    if is_open {
        return Ok((ending, state.clone()));
    }

    let next = record(state, ended);
    save(store, lease, &next).await?;
    let release = ended.plan.target.as_ref().map(|target| target.release);
    let entry = JournalEntry {
        at: ended.now,
        what: What::Ended {
            ending: ending.clone(),
            release,
        },
    };
    store.append(environment, &ended.actor.run, &entry).await?;
    Ok((ending, next))
}

/// Records the release that an earlier run gave live traffic and did not come to record, where that
/// run was killed; before the next one does anything, which may be killed too. Gives the state after
/// it.
///
/// # Errors
/// The lock is lost, or the store does not take it.
pub async fn persist_unrecorded(
    store: &dyn StateStore,
    lease: &dyn Lease,
    state: State,
    plan: &Plan,
    facts: &Facts,
) -> Result<State, StoreError> {
    let journal = store.last_journal(&plan.environment).await?;
    let Some(next) = with_unrecorded(&state, plan, journal.as_ref(), facts) else {
        return Ok(state);
    };
    save(store, lease, &next).await?;
    Ok(next)
}

async fn save(store: &dyn StateStore, lease: &dyn Lease, next: &State) -> Result<(), StoreError> {
    let lost = |reason: String| StoreError::Lost {
        environment: next.environment.clone(),
        reason,
    };
    let confirmed = lease.hold().confirmed().await;
    confirmed.map_err(|error| lost(error.to_string()))?;
    store.save(lease, next).await
}

/// How a run ended, in the words of its outcome.
#[must_use]
pub fn ending(end: &End) -> Ending {
    match end.clone() {
        End::Done => Ending::Done,
        End::Failed(reason) => Ending::Failed { reason },
        End::Refused(reason) => Ending::Refused { reason },
        End::Reverted(reason) => Ending::Reverted { reason },
        End::RollbackFailed { reason, back } => Ending::RollbackFailed { reason, back },
        End::Stale(reason) => Ending::Stale { reason },
        End::Interrupted(Traffic::Untouched) => Ending::Interrupted { reverted: false },
        End::Interrupted(Traffic::MovedBack) => Ending::Interrupted { reverted: true },
        End::Interrupted(Traffic::Unknown) => Ending::Killed,
        End::LockLost => Ending::LockLost,
    }
}
