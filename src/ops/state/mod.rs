//! `state`: look at what is held, bring a state from elsewhere or to another store, let something
//! go, and mend a state that was damaged.

mod change;
mod list;
mod migrate;
mod remove;
pub(in crate::ops) mod wiring;

pub use list::list;
pub use migrate::{Migrating, Migration, former, migrate};
pub use remove::{Removal, consider, remove};

use std::path::Path;
use std::time::Duration;

use serde::Deserialize as _;
use serde_json::Value;

use crate::config::schema::StateConfig;
use crate::files;
use crate::model::state::{FORMAT, State};
use crate::ops::state::change::{Asked, change};
use crate::ops::state::wiring::LocalStore;
use crate::ops::{Error, Session, behind};
use crate::policy::Refusal;
use crate::port::StateStore as _;
use crate::port::store::StoreError;

/// The largest state that is read from a file.
const LARGEST: u64 = 64 << 20;

/// The state as it is, and that it is behind, in words.
pub async fn show(session: &Session) -> Result<(State, Option<String>), Error> {
    let state = session.state().await?;
    let note = behind::note(session, &state).await?;
    Ok((state, note))
}

/// How a state is brought from elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Push {
    /// Whether it may take the place of one that is newer, or of another lineage.
    pub force: bool,
    /// How long a lock that another run holds is waited for.
    pub lock_wait: Duration,
}

/// Makes the state of a file, as `state show` prints it, that of the environment: history moves to
/// where the configuration keeps it now.
pub async fn push(session: &Session, file: &Path, how: Push) -> Result<State, Error> {
    let state = read(file)?;
    let (scope, found) = (session.scope(), (&state.project, &state.environment));
    if found != (&scope.project, &scope.environment) {
        return Err(Refusal {
            what: format!(
                "it is the state of {} of the project {}, and this is {} of {}",
                found.1, found.0, scope.environment, scope.project
            ),
            help: "-e names the environment".to_owned(),
        }
        .into());
    }

    let (environment, store) = (&session.environment, &session.ports.store);
    let mut words = vec!["push".to_owned(), file.display().to_string()];
    words.extend(how.force.then(|| "--force".to_owned()));
    let asked = Asked::new(words, how.lock_wait);
    change(session, asked, async |lease, _| {
        // A plan file that was carried out, or made by another state, is known by its serial.
        let next = |found: u64| State {
            serial: found.max(state.serial) + 1,
            ..state.clone()
        };
        if how.force {
            return Ok(store.replace(lease, &next(0)).await?);
        }

        let there = store.load(environment).await?;
        if let Some(there) = &there {
            may_replace(there, &state)?;
        }
        let next = next(there.map_or(0, |there| there.serial));
        store.save(lease, &next).await?;
        Ok(next)
    })
    .await
}

/// A state that goes on from what is there, and forgets nothing of it.
fn may_replace(there: &State, state: &State) -> Result<(), Error> {
    let what = if there.lineage.is_some() && there.lineage != state.lineage {
        "the state that is there is of another lineage: it began on its own".to_owned()
    } else if let Some(lost) = state.lacks(there) {
        format!(
            "the state that is there knows release {} otherwise, or alone",
            lost.number
        )
    } else {
        return Ok(());
    };
    let help =
        "look at both with `shipit state show`; --force lets the one that is there go".to_owned();
    Err(Refusal { what, help }.into())
}

/// A state, as `state show` prints it in either form.
fn read(file: &Path) -> Result<State, Error> {
    let wrong = |reason: String| Error::Usage {
        what: format!("{} is no state: {reason}", file.display()),
        help: "`shipit state pull > state.json` writes one, where the state is now".to_owned(),
    };
    let bytes = files::read(file, LARGEST).map_err(|error| wrong(error.to_string()))?;
    let document: Value =
        serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
    let inside = document.get("state").filter(|state| state.is_object());
    let document = inside.unwrap_or(&document);
    match document["format"].as_u64() {
        Some(format) if format == u64::from(FORMAT) => {}
        Some(format) => {
            return Err(wrong(format!(
                "it has format {format}, and this shipit reads {FORMAT}"
            )));
        }
        None => return Err(wrong("it has no format".to_owned())),
    }
    let state = State::deserialize(document).map_err(|error| wrong(error.to_string()))?;
    Ok(State {
        // Where it is brought to, it is in use.
        migrated_to: None,
        ..state
    })
}

/// Goes back to the state before a damaged one.
pub async fn restore(session: &Session) -> Result<State, Error> {
    let (store, environment) = (local(session)?, &session.environment);
    let asked = Asked::new(vec!["restore".to_owned()], Duration::ZERO);
    change(session, asked, async |_, _| {
        match store.load(environment).await {
            // The one before it is in use no more.
            Err(error @ StoreError::Migrated { .. }) => Err(error.into()),
            _ => Ok(store.restore(environment).await?),
        }
    })
    .await
}

/// Takes a hand-edited state as it is.
pub async fn accept(session: &Session) -> Result<State, Error> {
    let (store, environment) = (local(session)?, &session.environment);
    let asked = Asked::new(vec!["accept".to_owned()], Duration::ZERO);
    change(session, asked, async |_, _| {
        Ok(store.accept(environment).await?)
    })
    .await
}

/// Only a folder can be mended by hand.
fn local(session: &Session) -> Result<LocalStore, Error> {
    let configuration = session.configuration()?;
    match configuration.state {
        StateConfig::Local(_) => Ok(wiring::local_store(&session.root, configuration)),
        StateConfig::S3(_) => Err(Error::Usage {
            what: "only a state in a folder is mended this way".to_owned(),
            help: "`shipit state push FILE --force` puts a copy in its place; where the bucket \
                   keeps versions, the object's version before is one"
                .to_owned(),
        }),
        StateConfig::Kubernetes(_) | StateConfig::Host(_) => Err(Error::Usage {
            what: "only a state in a folder is mended this way".to_owned(),
            help: "`shipit state push FILE --force` puts a copy in its place".to_owned(),
        }),
    }
}
