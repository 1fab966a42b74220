//! What the engine remembers between the steps of one command, and how long it counts: the record
//! and who may write it, what stands in the slots, and what an observation has seen.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::driver::kubernetes::client::api::{Api, ApiError, Kind};
use crate::driver::kubernetes::engine::autoscale::Scalers;
use crate::driver::kubernetes::engine::leavings::Leavings;
use crate::driver::kubernetes::engine::record::{Read, Record, Workloads};
use crate::driver::kubernetes::engine::{KubernetesEngine, TRIES};
use crate::model::facts::Facts;
use crate::model::{Manifest, ObjectKey, Slot};
use crate::port::engine::{EngineError, Permit, Scope};
use crate::port::hold::clock;

/// How long before a step begins its record may have been asked for. Steps side by side share one
/// answer; a run that was stopped for longer asks again.
const RELIED_ON: Duration = Duration::from_secs(2);
/// How old an observation may be for who asks more about the same moment.
const SAME_MOMENT: Duration = Duration::from_secs(10);

/// An object as an observation saw it, and what scales it.
pub(super) struct Seen {
    pub live: Value,
    pub scalers: Scalers,
}

/// A record with the time at which it was asked for, or written.
pub(super) struct Newest {
    scope: Scope,
    read: Read,
    at: Duration,
}

/// The kinds and objects that a step will make.
pub(super) type Announced = (BTreeSet<Kind>, Vec<Manifest>);

impl KubernetesEngine {
    /// The record as it was not long before now, for who only looks.
    pub(super) async fn record(&self, api: &Api, scope: &Scope) -> Result<Read, ApiError> {
        let begun = clock();
        let mut newest = self.newest.lock().await;
        if let Some(known) = newest.as_ref().filter(|known| known.counts(scope, begun)) {
            return Ok(known.read.clone());
        }
        let at = clock();
        let read = self.records(api, scope).read().await?;
        *newest = Some(Newest {
            scope: scope.clone(),
            read: read.clone(),
            at,
        });
        Ok(read)
    }

    /// Shows a permit: writes into the record whose run this is. Steps that begin together ask for
    /// it once.
    pub(super) async fn enter(&self, api: &Api, permit: &Permit) -> Result<Read, EngineError> {
        let begun = clock();
        let mut newest = self.newest.lock().await;
        api.under(&permit.hold);
        if let Some(known) = newest.as_ref()
            && known.counts(&permit.scope, begun)
            && is_of(&known.read, permit)
        {
            return Ok(known.read.clone());
        }

        *newest = None;
        let at = clock();
        let read = self.enter_anew(api, permit).await?;
        *newest = Some(Newest {
            scope: permit.scope.clone(),
            read: read.clone(),
            at,
        });
        Ok(read)
    }

    /// The same, with a record that is read now.
    pub(super) async fn enter_anew(&self, api: &Api, permit: &Permit) -> Result<Read, EngineError> {
        api.under(&permit.hold);
        let records = self.records(api, &permit.scope);
        let what = |doing: &str| format!("{doing} the record of {}", permit.scope);
        for _ in 0..TRIES {
            let read = records.read().await;
            let mut read = read.map_err(|fault| fault.while_(what("reading")))?;
            let record = &read.record;
            let is_empty = record.slots.is_empty() && record.routes.is_empty();
            let lineage = record.lineage.as_ref().filter(|_| !is_empty);
            permit.enters(lineage, record.fence, record.changed_by.as_ref())?;
            if is_of(&read, permit) {
                return Ok(read);
            }
            let record = &mut read.record;
            record.lineage = Some(permit.lineage.clone());
            record.fence = permit.fence;
            record.changed_by = Some(permit.actor.clone());
            record.changed_at = Some(Timestamp::now());
            for (kinds, manifests) in self.waiting().drain(..) {
                self.will_have(record, &kinds, &manifests);
            }
            self.leavings().vacate(record);
            let written = records.write(&mut read).await;
            if written.map_err(|fault| fault.while_(what("writing")))? {
                return Ok(read);
            }
        }

        Err(EngineError::Failed {
            what: what("writing"),
            reason:
                "it was given up after several conflicts: somebody else writes it at the same time"
                    .to_owned(),
        })
    }

    /// What stands in a slot, by a record that this run has entered: what the same run has read or
    /// written is not read again.
    pub(super) async fn workloads(
        &self,
        api: &Api,
        scope: &Scope,
        read: &Read,
        slot: Slot,
    ) -> Result<Workloads, ApiError> {
        let Some(there) = read.record.slots.get(&slot) else {
            return Ok(Workloads::new());
        };
        let fence = read.record.fence;
        let known = self.placed().get(&slot).cloned();
        if let Some((_, workloads)) = known.filter(|(of, _)| *of == fence) {
            return Ok(workloads);
        }
        let workloads = self.records(api, scope).workloads(slot, there).await?;
        self.placed().insert(slot, (fence, workloads.clone()));
        Ok(workloads)
    }

    pub(super) fn placed(&self) -> MutexGuard<'_, BTreeMap<Slot, (u64, Workloads)>> {
        self.placed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The objects that an observation saw and that are not as they should be.
    pub(super) fn seen(&self) -> MutexGuard<'_, BTreeMap<ObjectKey, Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the facts of an observation for who asks more about the same moment.
    pub(super) fn keep_facts(&self, at: Duration, scope: &Scope, facts: &Facts) {
        let mut observed = self.observed.lock().unwrap_or_else(PoisonError::into_inner);
        *observed = Some((at, scope.clone(), facts.clone()));
    }

    /// The facts of an observation of just now; they are given once.
    pub(super) fn kept_facts(&self, scope: &Scope) -> Option<Facts> {
        let mut observed = self.observed.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, of, facts) = observed.take()?;
        (of == *scope && at + SAME_MOMENT >= clock()).then_some(facts)
    }

    /// Writes down in the record what is true whoever's run it is; nothing where there is no
    /// record.
    pub(super) async fn note(
        &self,
        api: &Api,
        scope: &Scope,
        change: impl Fn(&mut Record),
    ) -> Result<(), EngineError> {
        let records = self.records(api, scope);
        let failed = |fault: ApiError| fault.while_(format!("writing the record of {scope}"));
        let mut newest = self.newest.lock().await;
        for _ in 0..TRIES {
            let at = clock();
            let mut read = records.read().await.map_err(failed)?;
            let before = read.record.clone();
            change(&mut read.record);
            if read.version.is_none() || read.record == before {
                return Ok(());
            }
            if records.write(&mut read).await.map_err(failed)? {
                let scope = scope.clone();
                *newest = Some(Newest { scope, read, at });
                return Ok(());
            }
        }

        let what = format!("writing the record of {scope}");
        Err(EngineError::Failed {
            what,
            reason:
                "it was given up after several conflicts: somebody else writes it at the same time"
                    .to_owned(),
        })
    }

    /// Says which objects a step may make. Whoever writes the record next writes it down, too.
    pub(super) fn will_announce(&self, own: &Announced) {
        self.waiting().push(own.clone());
    }

    pub(super) fn waiting(&self) -> MutexGuard<'_, Vec<Announced>> {
        self.announced
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Says in a record which objects there will be.
    pub(super) fn will_have(
        &self,
        record: &mut Record,
        kinds: &BTreeSet<Kind>,
        manifests: &[Manifest],
    ) {
        self.leavings().keep(manifests);
        record.will_have(kinds, manifests);
    }

    pub(super) fn leavings(&self) -> MutexGuard<'_, Leavings> {
        self.leavings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down which objects there will be, before any of them is made. Steps side by side do
    /// not wait for a write each: who writes next writes what the others have announced by then,
    /// too.
    pub(super) async fn announce(
        &self,
        api: &Api,
        permit: &Permit,
        read: &mut Read,
        own: &Announced,
    ) -> Result<(), EngineError> {
        // Whose turn comes after a write that failed still has its own.
        let taken = std::sync::Mutex::new(vec![own.clone()]);
        let change = |record: &mut Record| {
            let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
            taken.append(&mut self.waiting());
            for (kinds, manifests) in taken.iter() {
                self.will_have(record, kinds, manifests);
            }
        };
        self.remember(api, permit, read, change).await
    }

    /// Changes the record under a permit; what `change` says is done on the newest version of it.
    pub(super) async fn remember(
        &self,
        api: &Api,
        permit: &Permit,
        read: &mut Read,
        change: impl Fn(&mut Record),
    ) -> Result<(), EngineError> {
        let records = self.records(api, &permit.scope);
        // One after the other: steps side by side would only undo each other's tries.
        let mut newest = self.newest.lock().await;
        let mut at = Duration::ZERO;
        if let Some(known) = newest.take().filter(|known| known.scope == permit.scope) {
            (*read, at) = (known.read, known.at);
        }

        let now = |read: &Read, at| Newest {
            scope: permit.scope.clone(),
            read: read.clone(),
            at,
        };

        for _ in 0..TRIES {
            let before = read.record.clone();
            change(&mut read.record);
            self.leavings().vacate(&mut read.record);
            if read.record == before {
                *newest = Some(now(read, at));
                return Ok(());
            }

            // What is written over the version that was read was still so when it was written.
            at = clock();
            read.record.changed_at = Some(Timestamp::now());
            let written = records.write(read).await;
            if written
                .map_err(|fault| fault.while_(format!("writing the record of {}", permit.scope)))?
            {
                *newest = Some(now(read, at));
                return Ok(());
            }
            *read = self.enter_anew(api, permit).await?;
        }

        let what = format!("writing the record of {}", permit.scope);
        Err(EngineError::Failed {
            what,
            reason:
                "it was given up after several conflicts: somebody else writes it at the same time"
                    .to_owned(),
        })
    }
}

impl Newest {
    /// Whether it may be relied on by what began at this time.
    fn counts(&self, scope: &Scope, begun: Duration) -> bool {
        self.scope == *scope && self.at + RELIED_ON >= begun
    }
}

/// Whether a record says that this run has entered, and no other since.
fn is_of(read: &Read, permit: &Permit) -> bool {
    let record = &read.record;
    record.lineage.as_ref() == Some(&permit.lineage)
        && record.fence == permit.fence
        && record.changed_by.as_ref() == Some(&permit.actor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::hold::Hold;

    const READ_AT: Duration = Duration::from_secs(100);

    fn scope(environment: &str) -> Scope {
        Scope {
            project: "shop".parse().expect("a name"),
            environment: environment.parse().expect("a name"),
        }
    }

    #[test]
    fn a_record_counts_for_what_begins_soon_after_it_was_asked_for_and_not_after_a_long_pause() {
        let newest = Newest {
            scope: scope("staging"),
            read: Read::default(),
            at: READ_AT,
        };
        let counts = |environment, begun| newest.counts(&scope(environment), begun);
        assert!(counts("staging", READ_AT + RELIED_ON));
        assert!(!counts(
            "staging",
            READ_AT + RELIED_ON + Duration::from_millis(1)
        ));
        assert!(!counts("production", READ_AT));
        // What began before, and waited for this answer, has the newest there is.
        assert!(counts("staging", Duration::ZERO));
    }

    #[test]
    fn a_record_is_of_a_run_as_long_as_no_other_has_written_it() {
        let actor = |run: &str| crate::model::release::Actor {
            user: "kim".to_owned(),
            host: "here".to_owned(),
            run: run.to_owned(),
            ci: None,
        };
        let permit = Permit {
            scope: scope("staging"),
            lineage: "a".to_owned(),
            fence: 7,
            actor: actor("one"),
            hold: Hold::none(),
        };
        let record = Record {
            lineage: Some("a".to_owned()),
            fence: 7,
            changed_by: Some(actor("one")),
            ..Record::default()
        };
        let is_own = |record: &Record| {
            let record = record.clone();
            is_of(
                &Read {
                    record,
                    version: None,
                },
                &permit,
            )
        };
        assert!(is_own(&record));
        let fence = 8;
        assert!(!is_own(&Record {
            fence,
            ..record.clone()
        }));
        let changed_by = Some(actor("two"));
        assert!(!is_own(&Record {
            changed_by,
            ..record
        }));
    }
}
