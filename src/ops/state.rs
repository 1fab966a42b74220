//! `state`: look at the state, and mend one that was damaged.

use crate::model::state::State;
use crate::ops::{Error, Session, wiring};

/// The state as it is.
pub async fn show(session: &Session) -> Result<State, Error> {
    session.state().await
}

/// Goes back to the state before a damaged one.
pub async fn restore(session: &Session) -> Result<State, Error> {
    Ok(wiring::local_store(&session.root, session.configuration()?).restore(&session.environment).await?)
}

/// Takes a hand-edited state as it is.
pub async fn accept(session: &Session) -> Result<State, Error> {
    Ok(wiring::local_store(&session.root, session.configuration()?).accept(&session.environment).await?)
}
