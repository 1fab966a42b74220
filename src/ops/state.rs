//! `state`: look at the state, and mend one that was damaged.

use crate::config::schema::StateConfig;
use crate::model::state::State;
use crate::ops::wiring::LocalStore;
use crate::ops::{Error, Session, behind, wiring};

/// The state as it is, and that it is behind, in words.
pub async fn show(session: &Session) -> Result<(State, Option<String>), Error> {
    let state = session.state().await?;
    let note = behind::note(session, &state).await?;
    Ok((state, note))
}

/// Goes back to the state before a damaged one.
pub async fn restore(session: &Session) -> Result<State, Error> {
    Ok(local(session)?.restore(&session.environment).await?)
}

/// Takes a hand-edited state as it is.
pub async fn accept(session: &Session) -> Result<State, Error> {
    Ok(local(session)?.accept(&session.environment).await?)
}

/// Only a folder can be mended by hand.
fn local(session: &Session) -> Result<LocalStore, Error> {
    let configuration = session.configuration()?;
    match configuration.state {
        StateConfig::Local(_) => Ok(wiring::local_store(&session.root, configuration)),
        StateConfig::S3(_) => Err(Error::Usage {
            what: "only a state in a folder is mended this way".to_owned(),
            help: "where the bucket keeps versions, bring the object's version before back; or delete it: what runs is found again"
                .to_owned(),
        }),
        StateConfig::Kubernetes(_) => Err(Error::Usage {
            what: "only a state in a folder is mended this way".to_owned(),
            help:
                "an object of the cluster is mended by `kubectl edit`, or deleted: what runs is found again"
                    .to_owned(),
        }),
    }
}
