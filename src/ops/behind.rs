//! Whether the state in this folder is behind what the engine has. Two folders may have a state
//! each of one environment (two workspaces of a job, two clones); what is done from one is not in
//! the other.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::config::EnvironmentConfig;
use crate::config::schema::StateConfig;
use crate::model::EnvironmentName;
use crate::model::facts::Overview;
use crate::model::state::{Behind, State};
use crate::ops::{Error, Session, wiring};
use crate::plan::{self, LastRun};
use crate::port::StateStore;
use crate::port::engine::Scope;

/// What is said after a run that did not come to its end.
pub(super) const CUT_OFF: &str = "the last run was cut off: `shipit apply` goes on where it was";

/// What to tell who reads a state that is behind; nothing while it is not, or while a run is
/// changing it.
pub async fn note(session: &Session, state: &State) -> Result<Option<String>, Error> {
    if !is_of_a_folder(session.configuration()?) {
        return Ok(None);
    }
    let store = &session.ports.store;
    if store.holder(&session.environment).await?.is_some() {
        return Ok(None);
    }

    // What is recorded here can be read without an engine; only that it is all cannot be known
    // then.
    match session.ports.engine.overview(&session.scope()).await {
        Ok(found) => compared(session, state, &found).await,
        Err(error) => Ok(Some(format!(
            "whether this state is behind is not known: {error}"
        ))),
    }
}

/// The same for another environment than the session's. One that cannot be asked, or has nothing on
/// this machine, is taken by its record.
pub(super) async fn of_another(session: &Session, state: &State) -> Result<Option<String>, Error> {
    let (project, name) = (&session.project, &state.environment);
    let Some(configuration) = project.environments.get(name) else {
        return Ok(None);
    };
    if !is_of_a_folder(configuration) {
        return Ok(None);
    }

    let redactor = &session.ports.redactor;
    let ports = wiring::ports(&session.root, project, name, configuration, redactor)?;
    match ports.engine.overview(&scope_of(session, name)).await {
        Ok(found) if !found.traffic.is_off() => {
            compared_in(session, ports.store.as_ref(), state, &found).await
        }
        Ok(_) | Err(_) => Ok(None),
    }
}

/// Whether an environment of the project has a release, as far as its engine says.
pub(super) async fn has_releases(session: &Session, name: &EnvironmentName) -> Result<bool, Error> {
    let project = &session.project;
    let Some(configuration) = project.environments.get(name) else {
        return Ok(false);
    };
    let redactor = &session.ports.redactor;
    let ports = wiring::ports(&session.root, project, name, configuration, redactor)?;
    let found = ports.engine.overview(&scope_of(session, name)).await?;
    Ok(!found.labels.is_empty())
}

fn scope_of(session: &Session, environment: &EnvironmentName) -> Scope {
    Scope {
        project: session.project.name.clone(),
        environment: environment.clone(),
    }
}

/// The same, where what the engine has was looked at already.
pub(super) async fn compared(
    session: &Session,
    state: &State,
    found: &Overview,
) -> Result<Option<String>, Error> {
    compared_in(session, session.ports.store.as_ref(), state, found).await
}

/// The same by the store of that environment: journal and lock are in it.
async fn compared_in(
    session: &Session,
    store: &dyn StateStore,
    state: &State,
    found: &Overview,
) -> Result<Option<String>, Error> {
    let name = &state.environment;
    let configuration = session.project.environments.get(name);
    let Some(behind) = state.behind(found) else {
        return Ok(None);
    };
    if !configuration.is_some_and(is_of_a_folder) {
        return Ok(None);
    }

    // The state is written at the end of a run: of one that was cut off in this folder this says
    // more.
    let journal = store.last_journal(name).await?;
    match (plan::last_run(journal.as_ref(), found), &behind) {
        (LastRun::CutOff(_), _) => {
            // That run may be under way.
            let holder = store.holder(name).await?;
            let is_another = holder.is_some_and(|holder| holder.pid != std::process::id());
            return Ok((!is_another).then(|| CUT_OFF.to_owned()));
        }
        // What its own last run has prepared and left when it was stopped is not missing.
        (LastRun::Prepared(left), Behind::Release { number, .. }) if left == *number => {
            return Ok(None);
        }
        (LastRun::Prepared(_) | LastRun::Ended, _) => {}
    }

    let by = found.changed_by.as_ref();
    let by = by.map(|actor| format!("; {actor} was the last to act"));
    Ok(Some(format!(
        "this state is behind: {behind}{}",
        by.unwrap_or_default()
    )))
}

/// A state in the cluster is one for all folders.
const fn is_of_a_folder(configuration: &EnvironmentConfig) -> bool {
    match configuration.state {
        // With another prefix a bucket has another history.
        StateConfig::Local(_) | StateConfig::S3(_) => true,
        StateConfig::Kubernetes(_) | StateConfig::Host(_) => false,
    }
}

/// Where the state of an environment is, by its own configuration: not all of a project are in one
/// store. One that the project does not have any more is looked for where the session's is.
pub(super) fn store_of(
    session: &Session,
    name: &EnvironmentName,
) -> Result<Arc<dyn StateStore>, Error> {
    let project = &session.project;
    let other = project.environments.get(name);
    let Some(configuration) = other.filter(|_| *name != session.environment) else {
        return Ok(Arc::clone(&session.ports.store));
    };
    let redactor = &session.ports.redactor;
    Ok(wiring::ports(&session.root, project, name, configuration, redactor)?.store)
}

/// The environments that have a state, or may have one: those of the project, and those in the
/// session's store.
pub(super) async fn environments(session: &Session) -> Result<BTreeSet<EnvironmentName>, Error> {
    let mut names: BTreeSet<EnvironmentName> =
        session.project.environments.keys().cloned().collect();
    names.extend(session.ports.store.environments().await?);
    Ok(names)
}
