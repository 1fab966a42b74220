//! `promote A --to B`: the same images in another environment, without a build.

use crate::model::EnvironmentName;
use crate::model::desired::Desired;
use crate::model::release::{PromotedFrom, Release};
use crate::model::state::State;
use crate::model::workload::Known;
use crate::ops::{Error, Session, behind};
use crate::policy;

/// What should be true in this environment with the images that are live in `from`.
pub async fn desired(session: &Session, from: &EnvironmentName) -> Result<Desired, Error> {
    let to = &session.environment;
    if from == to {
        return Err(Error::Usage {
            what: format!("{from} cannot be promoted to itself"),
            help: "name another environment with --to".to_owned(),
        });
    }

    policy::may_promote_from(&session.project.branch_rules(), from, to)?;
    let release = live(session, from).await?;
    let mut desired = session.resolve(&release.source).await?;
    for (name, service) in &mut desired.services {
        let image = release
            .workloads
            .get(name)
            .and_then(|workload| workload.image.value())
            .ok_or_else(|| Error::Usage {
                what: format!(
                    "release {} of {from} has no service {name}, which {to} wants",
                    release.number
                ),
                help: format!("apply {from} with {name} first"),
            })?;
        service.workload.image = Known::Value(image.clone());
    }

    desired.promoted_from = Some(PromotedFrom {
        environment: from.clone(),
        release: release.number,
    });
    Ok(desired)
}

async fn live(session: &Session, from: &EnvironmentName) -> Result<Release, Error> {
    let state = session.ports.store.load(from).await?;
    let live = state.as_ref().and_then(State::live);
    let (Some(state), Some(live)) = (&state, live) else {
        return Err(Error::Usage {
            what: format!("{from} has no live release to promote"),
            help: format!("`shipit apply --env {from}` makes one"),
        });
    };

    // What was live once is not what was looked at in `from`.
    match behind::of_another(session, state).await? {
        None => Ok(live.clone()),
        Some(note) => Err(Error::Usage {
            what: format!("what is live in {from} is not in this folder's state: {note}"),
            help: format!("promote from the folder that {from} was deployed from"),
        }),
    }
}
