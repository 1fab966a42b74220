//! `unlock`: take the lock away from who holds it.

use crate::model::state::LockHolder;
use crate::ops::{Error, Session};

/// Takes the lock away. The run that had it stops before its next effect.
pub async fn unlock(session: &Session) -> Result<Option<LockHolder>, Error> {
    Ok(session.ports.store.break_lock(&session.environment).await?)
}
