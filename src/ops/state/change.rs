//! Changing a state: under the lock, and kept in the history.

use std::time::Duration;

use jiff::Timestamp;

use crate::model::command::{CommandRecord, RecordedPlace};
use crate::ops::actor::actor;
use crate::ops::{Error, Session};
use crate::port::store::Lease;

/// What somebody asks for.
pub(super) struct Asked {
    /// The command's words, without `state`.
    words: Vec<String>,
    /// How long a lock that another run holds is waited for.
    lock_wait: Duration,
}

impl Asked {
    pub const fn new(words: Vec<String>, lock_wait: Duration) -> Self {
        Self { words, lock_wait }
    }
}

/// Does what changes the state, while nobody else does. That somebody does so is kept first, and how
/// it ended after it.
pub(super) async fn change<T>(
    session: &Session,
    asked: Asked,
    work: impl AsyncFnOnce(&dyn Lease) -> Result<T, Error>,
) -> Result<T, Error> {
    let (store, environment) = (&session.ports.store, &session.environment);
    let actor = actor();
    // Its own number only goes up; the engine's is for who acts on that, and asks it before.
    let fence = session.ports.engine.fence(&session.scope()).await;
    let words = format!("state {}", asked.words.join(" "));
    let lease = store
        .lock(
            environment,
            &actor,
            &words,
            fence.unwrap_or(0),
            asked.lock_wait,
        )
        .await?;

    let record = CommandRecord {
        id: actor.run.clone(),
        at: Timestamp::now(),
        actor,
        place: RecordedPlace::State,
        slot: None,
        service: None,
        command: asked.words,
        exit: None,
    };
    let changed = async {
        store.keep_command(environment, &record).await?;
        let changed = work(lease.as_ref()).await;
        let exit = Some(u8::from(changed.is_err()));
        let record = CommandRecord { exit, ..record };
        let kept = store.keep_command(environment, &record).await;
        let changed = changed?;
        kept?;
        Ok(changed)
    };
    let changed = changed.await;
    let _ = lease.release().await;
    changed
}
