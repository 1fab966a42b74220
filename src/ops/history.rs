//! `history`: the releases of an environment.

use crate::ops::{Error, Session, behind};
use crate::output::history::HistoryView;

/// Reads the history, and whether it is all.
pub async fn history(session: &Session) -> Result<HistoryView, Error> {
    let state = session.state().await?;
    let note = behind::note(session, &state).await?;
    Ok(HistoryView {
        releases: state.releases,
        commands: session.ports.store.commands(&session.environment).await?,
        note,
    })
}
