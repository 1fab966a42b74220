//! `state rm`: shipit forgets something, and leaves it as it is.

use std::str::FromStr as _;
use std::time::Duration;

use crate::model::facts::Facts;
use crate::model::object::ObjectFacts;
use crate::model::release::{Actor, Release, ReleaseStatus};
use crate::model::state::State;
use crate::model::{Address, ObjectKey, ReleaseNumber};
use crate::ops::apply::permit;
use crate::ops::state::change::{Asked, change};
use crate::ops::{Error, Session};
use crate::policy::Refusal;
use crate::port::store::Lease;

/// What is forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    /// A release of the history.
    Release(ReleaseNumber),
    /// An object of the cluster, which stays there.
    Object(ObjectKey),
}

/// Something that may be forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// Its address.
    pub address: String,
    /// What it is, for a reader.
    pub about: String,
    /// What follows from it, for a reader.
    pub follows: Vec<String>,
    what: What,
}

/// Whether something may be forgotten, and what follows from it. Changes nothing.
pub async fn consider(session: &Session, address: &str) -> Result<Removal, Error> {
    let what = what(address)?;
    let (engine, scope) = (&session.ports.engine, session.scope());
    let state = session.state().await?;
    match what {
        What::Release(number) => {
            let facts = engine.observe(&scope).await?;
            let release = removable(&state, &facts, number)?;
            Ok(Removal {
                address: address.to_owned(),
                about: format!(
                    "release {number}: {}, {}, by {}",
                    release.status.word(),
                    release.source.short(),
                    release.created_by
                ),
                follows: of_release(&state, number),
                what: What::Release(number),
            })
        }
        What::Object(key) => {
            let (_, found) = engine.observe_with(&scope, &[]).await?;
            held(&found, &key)?;
            Ok(Removal {
                address: address.to_owned(),
                about: format!("{key}: it stays in the cluster as it is"),
                follows: vec![
                    "while the configuration has it, a plan finds one that belongs to others: \
                     `shipit import` takes it back"
                        .to_owned(),
                    "`shipit destroy` leaves it".to_owned(),
                ],
                what: What::Object(key),
            })
        }
    }
}

/// Forgets it. Gives the state since.
pub async fn remove(
    session: &Session,
    removal: &Removal,
    lock_wait: Duration,
) -> Result<State, Error> {
    let words = vec!["rm".to_owned(), removal.address.clone()];
    change(
        session,
        Asked::new(words, lock_wait),
        async |lease, actor| {
            let state = session.state().await?;
            match &removal.what {
                What::Release(number) => without(session, lease, state, *number).await,
                What::Object(key) => {
                    forget(session, (lease, actor), &state, key).await?;
                    Ok(state)
                }
            }
        },
    )
    .await
}

async fn without(
    session: &Session,
    lease: &dyn Lease,
    state: State,
    number: ReleaseNumber,
) -> Result<State, Error> {
    let facts = session.ports.engine.observe(&session.scope()).await?;
    removable(&state, &facts, number)?;
    let state = State {
        serial: state.serial + 1,
        ..state.without(number)
    };
    session.ports.store.save(lease, &state).await?;
    Ok(state)
}

async fn forget(
    session: &Session,
    (lease, actor): (&dyn Lease, &Actor),
    state: &State,
    key: &ObjectKey,
) -> Result<(), Error> {
    let (engine, scope) = (&session.ports.engine, session.scope());
    let (facts, found) = engine.observe_with(&scope, &[]).await?;
    held(&found, key)?;
    let lineage = state.lineage.clone().or(facts.lineage);
    // What is held was made under one.
    let permit = permit(session, actor, lineage.unwrap_or_default(), lease);
    Ok(engine.forget(&permit, key).await?)
}

/// What an address names.
fn what(address: &str) -> Result<What, Error> {
    let unknown = |what: String| Error::Usage {
        what,
        help: "`shipit state list` lists the addresses".to_owned(),
    };
    if let Some(number) = address.strip_prefix("release.") {
        let number = number.parse::<ReleaseNumber>();
        return number
            .map(What::Release)
            .map_err(|_| unknown(format!("`{address}` names no release: `release.NUMBER`")));
    }

    let stays = |what: &str, help: &str| {
        Err(Refusal {
            what: format!("{address} cannot be forgotten: {what}"),
            help: help.to_owned(),
        }
        .into())
    };
    match Address::from_str(address) {
        Ok(Address::Object(key)) => Ok(What::Object(key)),
        Ok(
            Address::Slot(_)
            | Address::Workload(..)
            | Address::Task(..)
            | Address::Route(_)
            | Address::Traffic,
        ) => stays(
            "it is the engine's own record of what runs, and no part of the state",
            "`shipit abort` gives up what waits, `shipit destroy` ends the environment",
        ),
        Ok(Address::Resource(_)) => stays(
            "that it is this environment's is written at the provider, in its tags",
            "take the tags `shipit.dev/project` and `shipit.dev/environment` away from it there",
        ),
        Ok(Address::Image(_)) => stays(
            "an image is a registry's",
            "`shipit images --collect` deletes those that nothing uses",
        ),
        Err(error) => Err(unknown(error.to_string())),
    }
}

/// The object, when it is one that shipit holds and may let go.
fn held<'a>(found: &'a [ObjectFacts], key: &ObjectKey) -> Result<&'a ObjectFacts, Error> {
    let object = found.iter().find(|object| object.key == *key);
    let object = object.ok_or_else(|| Error::Usage {
        what: format!("{key} is none of this environment's objects"),
        help: "`shipit state list` lists them".to_owned(),
    })?;
    if object.is_home {
        return Err(Refusal {
            what: format!("{key} cannot be forgotten: the environment's own record is in it"),
            help: "`shipit destroy` ends an environment".to_owned(),
        }
        .into());
    }
    Ok(object)
}

/// The release, when nothing needs its record.
fn removable<'a>(
    state: &'a State,
    facts: &Facts,
    number: ReleaseNumber,
) -> Result<&'a Release, Error> {
    let release = state.release(number).ok_or_else(|| Error::Usage {
        what: format!("there is no release {number}"),
        help: "`shipit state list` lists the releases".to_owned(),
    })?;
    match still_needed(state, facts, release) {
        None => Ok(release),
        Some(reason) => Err(Refusal {
            what: format!("release {number} cannot be forgotten: {reason}"),
            help: "`shipit status` shows what is in each slot".to_owned(),
        }
        .into()),
    }
}

/// Why the record of a release of this state is still needed; none when it may be forgotten.
pub(super) fn still_needed(state: &State, facts: &Facts, release: &Release) -> Option<String> {
    let number = release.number;
    let mut slots = facts.slots.iter();
    let in_slot = slots.find(|(_, there)| there.label.number == number);
    let newest = state.releases.iter().map(|release| release.number).max();
    match (&release.status, in_slot) {
        (_, Some((slot, _))) => Some(format!("it is in {slot}")),
        (ReleaseStatus::Live, _) => Some("it has live traffic".to_owned()),
        (ReleaseStatus::Waiting, _) => Some("it waits for its promotion".to_owned()),
        _ if newest == Some(number) => {
            Some("it is the newest, and its number would be given a second time".to_owned())
        }
        _ => None,
    }
}

fn of_release(state: &State, number: ReleaseNumber) -> Vec<String> {
    let mut follows = vec![
        format!("`shipit rollback --to {number}` finds it no more"),
        "`shipit images --collect` may delete the images that it alone used".to_owned(),
    ];
    let previous = state
        .live()
        .and_then(|live| state.previous_good(live.number));
    if previous.is_some_and(|previous| previous.number == number) {
        follows.insert(
            0,
            "it is what `shipit rollback` goes back to now".to_owned(),
        );
    }
    follows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_state_or_a_cluster_holds_is_forgotten() {
        assert_eq!(
            what("release.7").expect("one"),
            What::Release(ReleaseNumber(7))
        );
        let object = what("object.v1/ConfigMap/shop/a").expect("one");
        assert!(matches!(object, What::Object(_)));
        for address in [
            "slot.blue",
            "workload.blue/web",
            "route.web",
            "traffic",
            "image.web",
            "repository.shop/web",
        ] {
            let error = what(address).expect_err(address);
            assert!(matches!(error, Error::Refused(_)), "{address}: {error}");
        }
        for address in ["release.x", "nothing", ""] {
            let error = what(address).expect_err(address);
            assert!(matches!(error, Error::Usage { .. }), "{address}: {error}");
        }
    }
}
