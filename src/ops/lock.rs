//! The lock of an environment: taken by who changes something, and taken away by `unlock`.

use std::time::Duration;

use crate::model::release::Actor;
use crate::model::state::LockHolder;
use crate::ops::{Error, Session};
use crate::port::store::Lease;

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
    let taking = store.lock(&session.environment, actor, words, fence, wait);
    Ok(taking.await?)
}

/// Takes the lock away. The run that had it stops before its next effect.
pub async fn unlock(session: &Session) -> Result<Option<LockHolder>, Error> {
    Ok(session.ports.store.break_lock(&session.environment).await?)
}
