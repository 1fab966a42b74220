//! Who else of a project uses the infrastructure of an environment: by what the configuration says
//! of the other environments, and by what their states say of the images.

use std::collections::BTreeSet;

use crate::config::{ConfigError, EnvironmentConfig};
use crate::desired::{self, DesiredError};
use crate::model::desired::Desired;
use crate::model::resource::{ResourceFacts, ResourceKey, ResourceKind};
use crate::model::{Digest, EnvironmentName};
use crate::ops::error::problems;
use crate::ops::{Error, Session, images};

/// Fills in who uses each resource that is there besides the session's environment. An environment
/// that cannot be asked counts as one that uses the images.
pub(super) async fn look(
    session: &Session,
    wanted: &Desired,
    found: &mut [ResourceFacts],
) -> Result<(), Error> {
    let own = session.configuration()?;
    let environments = session.project.environments.iter();
    for (name, other) in environments.filter(|(name, _)| **name != wanted.environment) {
        let named = desired::outline(&session.project, name, &session.source);
        let named = named
            .map_err(|error| untold(session, name, error))?
            .resources;
        let keys: BTreeSet<&ResourceKey> = named.iter().map(|resource| &resource.key).collect();
        for facts in found.iter_mut().filter(|facts| keys.contains(&facts.key)) {
            if is_one_place(facts.key.kind, own, other) {
                facts
                    .used_by
                    .push(format!("{name}, whose configuration names it"));
            }
        }
    }
    by_their_states(session, found).await
}

/// Another environment cannot be resolved: whether it uses something cannot be told.
fn untold(session: &Session, other: &EnvironmentName, error: DesiredError) -> Error {
    let what = format!(
        "whether {other} uses what would be deleted cannot be told: {}",
        error.what
    );
    let help = format!("{}; or delete environments/{other}.yaml", error.help);
    let error = DesiredError {
        what,
        help,
        ..error
    };
    ConfigError::of(problems(&session.project, other, &error.into())).into()
}

/// Whether a name means the same thing in two environments. What is not written may be the same.
fn is_one_place(kind: ResourceKind, own: &EnvironmentConfig, other: &EnvironmentConfig) -> bool {
    let may_be = |one: Option<&String>, two: Option<&String>| match (one, two) {
        (Some(one), Some(two)) => one == two,
        (None, _) | (_, None) => true,
    };
    if kind.is_of_cluster() {
        let (Some(one), Some(two)) = (own.cluster.eks(), other.cluster.eks()) else {
            return false;
        };
        return may_be(one.name.as_ref(), two.name.as_ref())
            && may_be(one.region.as_ref(), two.region.as_ref());
    }
    let (Some(one), Some(two)) = (own.registry.ecr(), other.registry.ecr()) else {
        return false;
    };
    may_be(one.account.as_ref(), two.account.as_ref())
        && may_be(one.region.as_ref(), two.region.as_ref())
}

/// An image of one environment may be live in another, whatever their configurations name: it was
/// promoted.
async fn by_their_states(session: &Session, found: &mut [ResourceFacts]) -> Result<(), Error> {
    let mut stocked: Vec<&mut ResourceFacts> = found
        .iter_mut()
        .filter(|facts| !facts.images.is_empty())
        .collect();
    if stocked.is_empty() {
        return Ok(());
    }

    let is_other = |name: &EnvironmentName| *name != session.environment;
    for (environment, known) in images::others(session, is_other).await? {
        let states = match known {
            Ok(known) => known.states,
            Err(reason) => {
                let words = format!("{environment}, perhaps: what it uses is not known ({reason})");
                for facts in &mut stocked {
                    facts.used_by.push(words.clone());
                }
                continue;
            }
        };
        let needed: Vec<(Digest, String)> = states
            .iter()
            .flat_map(|state| images::by_role(state, &environment))
            .collect();
        for facts in &mut stocked {
            let is_here = |digest: &Digest| facts.images.iter().any(|it| it.digest == *digest);
            if let Some((digest, role)) = needed.iter().find(|(digest, _)| is_here(digest)) {
                let words = format!("{environment}: {} {role}", digest.short());
                facts.used_by.push(words);
            }
        }
    }
    Ok(())
}
