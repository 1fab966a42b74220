//! Changing a state: under the lock, and kept in the history.

use std::time::Duration;

use jiff::Timestamp;

use crate::model::command::{CommandRecord, RecordedPlace};
use crate::model::release::Actor;
use crate::ops::actor::actor;
use crate::ops::{Error, Session, lock};
use crate::policy;
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

/// Does what changes the state, while nobody else does, and not of a change request. That somebody
/// does so is kept first, and how it ended after it.
pub(super) async fn change<T>(
    session: &Session,
    asked: Asked,
    work: impl AsyncFnOnce(&dyn Lease, &Actor) -> Result<T, Error>,
) -> Result<T, Error> {
    policy::is_no_change(session.source.change.as_ref())?;
    let (store, environment) = (&session.ports.store, &session.environment);
    let actor = actor();
    let words = format!("state {}", asked.words.join(" "));
    let lease = lock::take_for_state(session, &actor, &words, asked.lock_wait).await?;

    let record = CommandRecord {
        id: actor.run.clone(),
        at: Timestamp::now(),
        actor: actor.clone(),
        place: RecordedPlace::State,
        slot: None,
        service: None,
        command: asked.words,
        exit: None,
    };
    let changed = async {
        store.keep_command(environment, &record).await?;
        let changed = work(lease.as_ref(), &actor).await;
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
