//! The lock of an environment: taken by who changes something, and taken away by `unlock`.

use std::time::Duration;

use crate::model::release::Actor;
use crate::model::state::LockHolder;
use crate::ops::{Error, Session};
use crate::port::store::{Lease, StoreError};

/// The command that delivers what earlier runs have left, and for how long it has the lock at the
/// most.
const NOTIFY: &str = "notify";
const A_MOMENT: Duration = Duration::from_secs(15);

/// Takes the lock, with a number above every one that acted on the engine. One that another run
/// holds is waited for, `wait` at the most. `words` is the command, for who finds it held.
pub(super) async fn take(
    session: &Session,
    actor: &Actor,
    words: &str,
    wait: Duration,
) -> Result<Box<dyn Lease>, Error> {
    let fence = session.ports.engine.fence(&session.scope()).await?;
    above(session, fence, (actor, words), wait).await
}

/// The same for what changes the state, which needs no engine that answers: the lock's own number
/// only goes up, and who acts on the engine asks it before.
pub(super) async fn take_for_state(
    session: &Session,
    actor: &Actor,
    words: &str,
    wait: Duration,
) -> Result<Box<dyn Lease>, Error> {
    let fence = session.ports.engine.fence(&session.scope()).await;
    above(session, fence.unwrap_or(0), (actor, words), wait).await
}

async fn above(
    session: &Session,
    fence: u64,
    (actor, words): (&Actor, &str),
    wait: Duration,
) -> Result<Box<dyn Lease>, Error> {
    let store = &session.ports.store;
    let lock = async |wait| {
        store
            .lock(&session.environment, actor, words, fence, wait)
            .await
    };
    match lock(wait).await {
        // Whoever only tells others of earlier runs is done in a moment, and holds nobody up.
        Err(StoreError::Locked { holder, .. }) if holder.command == NOTIFY && words != NOTIFY => {
            Ok(lock(A_MOMENT).await?)
        }
        taken => Ok(taken?),
    }
}

/// Takes the lock away. The run that had it stops before its next effect.
pub async fn unlock(session: &Session) -> Result<Option<LockHolder>, Error> {
    Ok(session.ports.store.break_lock(&session.environment).await?)
}
