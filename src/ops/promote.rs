//! Images that are live in another environment: all of them by `promote A --to B`, or a service's
//! by `image: {from: A}`, without a build.

use std::collections::BTreeMap;

use crate::model::desired::{Desired, DesiredService, ImageSource, PromotedImage};
use crate::model::release::{PromotedFrom, Release};
use crate::model::state::State;
use crate::model::workload::Known;
use crate::model::{EnvironmentName, ServiceName};
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
        take(name, service, &release, (from, to))?;
    }

    desired.promoted_from = Some(promoted_from(from, &release));
    Ok(desired)
}

/// Looks up the images that services take from other environments. What must not be promoted from
/// there, must not come from there like this either.
pub async fn look_up(session: &Session, desired: &mut Desired) -> Result<(), Error> {
    let to = &session.environment;
    let mut releases: BTreeMap<EnvironmentName, Release> = BTreeMap::new();
    for (name, service) in &mut desired.services {
        let ImageSource::LiveIn(from) = service.image.clone() else {
            continue;
        };
        if !releases.contains_key(&from) {
            policy::may_promote_from(&session.project.branch_rules(), &from, to)?;
            let found = live(session, &from).await;
            releases.insert(
                from.clone(),
                found.map_err(|error| of_service(name, error))?,
            );
        }
        take(name, service, &releases[&from], (&from, to))
            .map_err(|error| of_service(name, error))?;
    }
    Ok(())
}

/// Why a service has no image, with the key that asks for it.
fn of_service(name: &ServiceName, error: Error) -> Error {
    match error {
        Error::Usage { what, help } => Error::Usage {
            what: format!("services.{name}.image: {what}"),
            help,
        },
        other => other,
    }
}

/// Gives a service the image that a release of another environment has.
fn take(
    name: &ServiceName,
    service: &mut DesiredService,
    release: &Release,
    (from, to): (&EnvironmentName, &EnvironmentName),
) -> Result<(), Error> {
    let there = release.workloads.get(name);
    let image = there.and_then(|workload| Some((workload.image.value()?, &workload.repository)));
    let (image, repository) = image.ok_or_else(|| Error::Usage {
        what: format!(
            "release {} of {from} has no service {name}, which {to} wants",
            release.number
        ),
        help: format!("apply {from} with {name} first"),
    })?;

    service.workload.image = Known::Value(image.clone());
    service.workload.repository.clone_from(repository);
    service.image = ImageSource::Promoted(PromotedImage {
        from: promoted_from(from, release),
        name: release.names.get(name).cloned(),
    });
    Ok(())
}

fn promoted_from(from: &EnvironmentName, release: &Release) -> PromotedFrom {
    PromotedFrom {
        environment: from.clone(),
        release: release.number,
    }
}

async fn live(session: &Session, from: &EnvironmentName) -> Result<Release, Error> {
    if !session.project.environments.contains_key(from) {
        let known = session.project.environments.keys();
        let known: Vec<&str> = known.map(EnvironmentName::as_str).collect();
        return Err(Error::Usage {
            what: format!("{} has no environment `{from}`", session.project.name),
            help: format!("the environments are: {}", known.join(", ")),
        });
    }
    let state = behind::store_of(session, from)?.load(from).await?;
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
