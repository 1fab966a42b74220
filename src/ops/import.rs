//! `import`: take over what is there already and was made by others.

use std::time::Duration;

use crate::model::object::ObjectState;
use crate::model::{Manifest, ObjectKey};
use crate::ops::actor::actor;
use crate::ops::apply::permit;
use crate::ops::{Error, Session, doctor, lock};

/// An object that could be taken over.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Candidate {
    /// Which.
    pub key: ObjectKey,
    /// Who manages it now.
    pub manager: String,
}

/// The objects of the configuration that are there and belong to others.
pub async fn candidates(session: &Session) -> Result<Vec<Candidate>, Error> {
    Ok(foreign(session)
        .await?
        .into_iter()
        .map(|(candidate, _)| candidate)
        .collect())
}

async fn foreign(session: &Session) -> Result<Vec<(Candidate, Manifest)>, Error> {
    // A Secret of a slot is named by its values, and never another's.
    let wanted: Vec<Manifest> = doctor::objects(&session.desired().await?)
        .into_iter()
        .filter(|object| object.kind() != "Secret")
        .collect();
    let found = session
        .ports
        .engine
        .compare(&session.scope(), &wanted)
        .await?;
    let of = |key: &ObjectKey| {
        wanted
            .iter()
            .find(|manifest| manifest.key() == *key)
            .cloned()
    };

    let foreign = found.into_iter().filter_map(|object| match object.state {
        ObjectState::Foreign { manager } => {
            let manifest = of(&object.key)?;
            Some((
                Candidate {
                    key: object.key,
                    manager,
                },
                manifest,
            ))
        }
        _ => None,
    });
    Ok(foreign.collect())
}

/// Takes objects over: those that `wanted` names as `KIND/NAME`, or all. What they say stays as it
/// is; the next plan shows what the configuration would change. Gives each with the managers that
/// it was taken from.
pub async fn import(
    session: &Session,
    wanted: &[String],
) -> Result<Vec<(ObjectKey, Vec<String>)>, Error> {
    let foreign = foreign(session).await?;
    let names: Vec<String> = foreign
        .iter()
        .map(|(candidate, _)| candidate.key.short())
        .collect();
    if let Some(unknown) = wanted.iter().find(|name| !names.contains(name)) {
        return Err(Error::Usage {
            what: format!("{unknown} is not there, or belongs to shipit already"),
            help: format!(
                "what can be imported: {}",
                if names.is_empty() {
                    "nothing".to_owned()
                } else {
                    names.join(", ")
                }
            ),
        });
    }

    let actor = actor();
    let engine = &session.ports.engine;
    let facts = engine.observe(&session.scope()).await?;
    let lease = lock::take(session, &actor, "import", Duration::from_secs(10)).await?;
    let state = session.state().await?;
    let lineage = state.lineage.or(facts.lineage);
    let lineage = lineage.unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
    let permit = permit(session, &actor, lineage, lease.as_ref());
    let mut taken = Vec::new();
    let mut result = Ok(());
    for (candidate, manifest) in foreign {
        if !wanted.is_empty() && !wanted.contains(&candidate.key.short()) {
            continue;
        }
        match engine.adopt(&permit, &manifest).await {
            Ok(from) => taken.push((candidate.key, from)),
            Err(error) => {
                result = Err(error);
                break;
            }
        }
    }

    let _ = lease.release().await;
    result?;
    Ok(taken)
}
