//! `abort` while a run is under way: ask it to stop.

use crate::model::state::LockHolder;
use crate::ops::{Error, Session};

/// Asks the run that holds the lock to stop, as if by Ctrl-C; none when nobody holds it.
pub async fn ask_holder(session: &Session) -> Result<Option<LockHolder>, Error> {
    let store = &session.ports.store;
    let Some(holder) = store.holder(&session.environment).await? else {
        return Ok(None);
    };
    let asked = store.request_abort(&session.environment).await?;
    Ok(asked.then_some(holder))
}
