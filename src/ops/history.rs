//! `history`: the releases of an environment.

use crate::model::release::Release;
use crate::ops::{Error, Session};

/// The releases, oldest first.
pub async fn history(session: &Session) -> Result<Vec<Release>, Error> {
    Ok(session.state().await?.releases)
}
