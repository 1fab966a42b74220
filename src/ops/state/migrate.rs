//! `state migrate`: from the store of before to the one that the configuration names now.
//!
//! Journals and commands go first, then the state, and the last thing is a mark on what is left
//! behind. So a migration that was killed anywhere is run again, and a checkout that still names
//! the store of before is told where the state is.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::config::schema::{LocalState, StateConfig};
use crate::model::EnvironmentName;
use crate::model::release::{Actor, Release};
use crate::model::state::{Migrated, State};
use crate::ops::state::change::{Asked, change};
use crate::ops::state::wiring;
use crate::ops::{Error, Session};
use crate::policy::Refusal;
use crate::port::StateStore;
use crate::port::store::{Lease, StoreError};

/// How a migration ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Migrating {
    /// All of it was copied.
    Copied,
    /// It was there already; what is left behind was marked.
    Marked,
    /// It was done before.
    Already,
}

/// What a migration did.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Migration {
    /// The environment.
    pub environment: EnvironmentName,
    /// Where the state was.
    pub from: String,
    /// Where it is.
    pub to: String,
    /// What was done.
    pub what: Migrating,
    /// Its serial there.
    pub serial: u64,
    /// How many releases it has.
    pub releases: usize,
    /// How many journals went along.
    pub journals: usize,
    /// How many commands went along.
    pub commands: usize,
}

/// Where the state was when nobody says so: in the folder, when the configuration names another
/// place and something is there.
pub async fn former(session: &Session, named: Option<StateConfig>) -> Result<StateConfig, Error> {
    if let Some(named) = named {
        return Ok(named);
    }
    let missing = || Error::Usage {
        what: "nothing says where the state was before".to_owned(),
        help: "name it: --from local:FOLDER, --from host:, --from kubernetes:NAMESPACE, --from \
             s3://BUCKET/PREFIX"
            .to_owned(),
    };
    let local = StateConfig::Local(LocalState::default());
    if let StateConfig::Local(_) = session.configuration()?.state {
        return Err(missing());
    }
    let store = wiring::former_store(session, &local)?.store;
    match store.read(&session.environment).await? {
        Some(_) => Ok(local),
        None => Err(missing()),
    }
}

/// Migrates the environment's state from where it was to where the configuration keeps it.
pub async fn migrate(
    session: &Session,
    from: &StateConfig,
    lock_wait: Duration,
) -> Result<Migration, Error> {
    let former = wiring::former_store(session, from)?;
    let environment = &session.environment;
    let places = (
        former.store.place(environment),
        session.ports.store.place(environment),
    );
    if places.0 == places.1 {
        return Err(Error::Usage {
            what: format!("the state is in {} before and after", places.0),
            help: "change `state:` first; --from names the place of before".to_owned(),
        });
    }

    let words = vec!["migrate".to_owned(), "--from".to_owned(), places.0.clone()];
    change(
        session,
        Asked::new(words, lock_wait),
        async |lease, actor| {
            let own = if former.shares_lock {
                None
            } else {
                let words = "state migrate";
                let lock = former.store.lock(environment, actor, words, 0, lock_wait);
                Some(lock.await?)
            };
            let moving = Moving {
                session,
                source: &former.store,
                places,
                actor: actor.clone(),
            };
            let moved = moving
                .carry_out(lease, own.as_deref().unwrap_or(lease))
                .await;
            if let Some(own) = own {
                let _ = own.release().await;
            }
            moved
        },
    )
    .await
}

/// A migration under both locks.
struct Moving<'a> {
    session: &'a Session,
    source: &'a Arc<dyn StateStore>,
    /// From where, and to where.
    places: (String, String),
    actor: Actor,
}

impl Moving<'_> {
    async fn carry_out(self, lease: &dyn Lease, held: &dyn Lease) -> Result<Migration, Error> {
        let environment = &self.session.environment;
        let target = &self.session.ports.store;
        let (from, to) = (&self.places.0, &self.places.1);
        let found = self.source.read(environment).await?;
        let found = found.ok_or_else(|| Error::Usage {
            what: format!("there is no state of {environment} in {from}"),
            help: "--from names where it is".to_owned(),
        })?;
        let there = target.read(environment).await?;
        let next = next(&found, there.as_ref(), to)?;

        let (mut journals, mut commands) = (0, 0);
        if let Next::Copy { serial } = next {
            (journals, commands) = self.copy_records().await?;
            let state = State {
                serial,
                migrated_to: None,
                ..found.clone()
            };
            target.save(lease, &state).await?;
        }

        let state = target.load(environment).await?;
        let state = state.ok_or_else(|| vanished(to))?;
        if next != Next::Nothing && found.migrated_to.is_none() {
            let marked = State {
                serial: found.serial + 1,
                migrated_to: Some(Migrated {
                    to: to.clone(),
                    by: self.actor.clone(),
                    at: Timestamp::now(),
                }),
                ..found
            };
            self.source.save(held, &marked).await?;
        }
        Ok(Migration {
            environment: environment.clone(),
            from: from.clone(),
            to: to.clone(),
            what: match next {
                Next::Copy { .. } => Migrating::Copied,
                Next::Mark => Migrating::Marked,
                Next::Nothing => Migrating::Already,
            },
            serial: state.serial,
            releases: state.releases.len(),
            journals,
            commands,
        })
    }

    /// Copies what is kept beside the state: how many journals, and how many commands, as far as
    /// the store of now keeps that many.
    async fn copy_records(&self) -> Result<(usize, usize), Error> {
        let environment = &self.session.environment;
        let target = &self.session.ports.store;
        let journals = self.source.journals(environment).await?;
        target.keep_journals(environment, &journals).await?;
        let commands = self.source.commands(environment).await?;
        target.keep_commands(environment, &commands).await?;

        for notice in self.source.notices(environment).await? {
            target.keep_notice(environment, &notice).await?;
        }

        // What the store of now had before may have taken the place of old ones.
        let kept = target.journals(environment).await?;
        let kept: BTreeSet<&str> = kept.iter().map(|journal| journal.run.as_str()).collect();
        let journals = journals.iter().filter(|it| kept.contains(it.run.as_str()));
        let kept = target.commands(environment).await?;
        let kept: BTreeSet<&str> = kept.iter().map(|command| command.id.as_str()).collect();
        let commands = commands.iter().filter(|it| kept.contains(it.id.as_str()));
        Ok((journals.count(), commands.count()))
    }
}

fn vanished(place: &str) -> StoreError {
    StoreError::Damaged {
        path: place.to_owned(),
        reason: "what was written is not there".to_owned(),
        help: "the state of before is as it was; run the command again".to_owned(),
    }
}

/// What is still to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Everything: the state gets this serial.
    Copy { serial: u64 },
    /// It is there, and what is left behind has to be marked.
    Mark,
    /// Nothing.
    Nothing,
}

/// What is to be done with a state that was found, and with what is where it goes.
fn next(found: &State, there: Option<&State>, to: &str) -> Result<Next, Refusal> {
    if let Some(migrated) = &found.migrated_to
        && migrated.to != to
    {
        return Err(Refusal {
            what: format!(
                "the state is not there any more: {} migrated it to {} at {:.0}",
                migrated.by, migrated.to, migrated.at
            ),
            help: "--from names where it is now".to_owned(),
        });
    }
    let Some(there) = there else {
        return Ok(Next::Copy {
            serial: found.serial,
        });
    };

    if there.lineage.is_some() && found.lineage.is_some() && there.lineage != found.lineage {
        return Err(Refusal {
            what: format!("what is in {to} is of another lineage: it began on its own"),
            help: "look at both with `shipit state show`; `shipit state pull` and `shipit state \
                   push FILE --force` let the one that is there go"
                .to_owned(),
        });
    }
    let copy = Next::Copy {
        serial: found.serial.max(there.serial + 1),
    };
    let is_used = there.migrated_to.is_none();
    if found.migrated_to.is_some() && is_used {
        // Done before. What was forgotten there since, or came back to an older release, is as
        // somebody wanted it.
        return Ok(Next::Nothing);
    }
    match (has_all(found, there), has_all(there, found)) {
        (true, true) if is_used && there.serial >= found.serial => Ok(Next::Mark),
        // It was gone on with since it was copied.
        (false, true) if is_used => Ok(Next::Mark),
        // Something was forgotten there since it was copied.
        (true, false) if is_used && there.serial > found.serial => {
            Err(gone_on(to, "lacks releases that the other has"))
        }
        (true, _) => Ok(copy),
        (false, _) => Err(gone_on(to, "has releases that the other lacks")),
    }
}

fn gone_on(to: &str, how: &str) -> Refusal {
    Refusal {
        what: format!("both states were gone on with: what is in {to} {how}"),
        help: "look at both with `shipit state show`, and bring the one that counts by `shipit \
               state push FILE --force`"
            .to_owned(),
    }
}

/// Whether a state has all releases of another, however they stand by now.
fn has_all(state: &State, other: &State) -> bool {
    let is_known = |release: &Release| {
        state.release(release.number).is_some_and(|own| {
            (own.created_at, &own.config) == (release.created_at, &release.config)
        })
    };
    other.releases.iter().all(is_known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Slot;
    use crate::model::release::ReleaseStatus;
    use crate::model::state::tests::release;

    fn state(serial: u64, releases: u64, migrated_to: Option<&str>) -> State {
        let empty = State::empty(
            "shop".parse().expect("a name"),
            "staging".parse().expect("a name"),
        );
        let live = |number| {
            if number == releases {
                ReleaseStatus::Live
            } else {
                ReleaseStatus::Superseded
            }
        };
        State {
            serial,
            lineage: Some("ours".to_owned()),
            releases: (1..=releases)
                .map(|number| release(number, Slot::Blue, live(number)))
                .collect(),
            migrated_to: migrated_to.map(|to| Migrated {
                to: to.to_owned(),
                by: Actor {
                    user: "kim".to_owned(),
                    host: "laptop".to_owned(),
                    run: "1".to_owned(),
                    ci: None,
                },
                at: Timestamp::UNIX_EPOCH,
            }),
            ..empty
        }
    }

    /// The same, after release 1 was forgotten.
    fn without_first(serial: u64, releases: u64) -> State {
        let mut state = state(serial, releases, None);
        state.releases.remove(0);
        state
    }

    #[test]
    fn what_is_still_to_be_done_is_told_from_what_is_in_both_places() {
        let cases = [
            (
                "the first time",
                state(4, 2, None),
                None,
                Next::Copy { serial: 4 },
            ),
            (
                "killed before the mark",
                state(4, 2, None),
                Some(state(4, 2, None)),
                Next::Mark,
            ),
            (
                "and gone on with there",
                state(4, 2, None),
                Some(state(9, 3, None)),
                Next::Mark,
            ),
            (
                "done",
                state(5, 2, Some("there")),
                Some(state(4, 2, None)),
                Next::Nothing,
            ),
            (
                "done long ago",
                state(5, 2, Some("there")),
                Some(state(9, 3, None)),
                Next::Nothing,
            ),
            (
                "done, and something was forgotten there",
                state(5, 2, Some("there")),
                Some(without_first(6, 2)),
                Next::Nothing,
            ),
            (
                "done, and gone on with there in both ways",
                state(5, 2, Some("there")),
                Some(without_first(9, 3)),
                Next::Nothing,
            ),
            (
                "deleted there",
                state(5, 2, Some("there")),
                None,
                Next::Copy { serial: 5 },
            ),
            (
                "back again",
                state(9, 3, None),
                Some(state(5, 2, Some("here"))),
                Next::Copy { serial: 9 },
            ),
            (
                "back, with nothing new",
                state(4, 2, None),
                Some(state(5, 2, Some("here"))),
                Next::Copy { serial: 6 },
            ),
            (
                "an older copy is there",
                state(9, 3, None),
                Some(state(4, 2, None)),
                Next::Copy { serial: 9 },
            ),
        ];
        for (about, found, there, expected) in cases {
            assert_eq!(
                next(&found, there.as_ref(), "there").expect(about),
                expected,
                "{about}"
            );
        }
    }

    #[test]
    fn a_history_that_would_be_lost_is_not_written_over() {
        let other = State {
            lineage: Some("theirs".to_owned()),
            ..state(1, 1, None)
        };
        let mut both = state(5, 3, None);
        both.releases[2].created_at = Timestamp::now();
        let cases = [
            (state(4, 2, None), Some(other), "another lineage"),
            (
                state(6, 3, None),
                Some(both),
                "both states were gone on with",
            ),
            (
                state(4, 2, None),
                Some(state(9, 3, Some("elsewhere"))),
                "both states",
            ),
            (
                state(4, 2, None),
                Some(without_first(6, 2)),
                "lacks releases that the other has",
            ),
            (
                state(4, 2, None),
                Some(without_first(9, 3)),
                "has releases that the other lacks",
            ),
            (
                state(5, 2, Some("elsewhere")),
                None,
                "kim@laptop (run 1) migrated it to elsewhere",
            ),
        ];
        for (found, there, words) in cases {
            let refusal = next(&found, there.as_ref(), "there").expect_err(words);
            assert!(refusal.what.contains(words), "{}", refusal.what);
        }
    }
}
