//! Objects of a slot, applied in the order in which they need each other.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;
use serde_json::Value;

use super::Slots;
use super::existing::Existing;
use crate::driver::kubernetes::client::api::ApiError;
use crate::driver::kubernetes::engine::apply::{self, refused, replacement, said};
use crate::driver::kubernetes::engine::autoscale::{Pods, Scalers};
use crate::driver::kubernetes::engine::holds::Fate;
use crate::driver::kubernetes::engine::owner;
use crate::model::object::{LAST, mark, rank};
use crate::model::{Manifest, ObjectKey};
use crate::port::Progress;
use crate::port::engine::EngineError;

/// How objects of a slot are applied.
#[derive(Clone, Copy)]
pub(super) struct Applying {
    pub replacing: Replacing,
    pub pods: Pods,
}

/// What becomes of an object that cannot be changed in place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Replacing {
    Allowed,
    Refused,
}

impl Slots<'_> {
    /// Applies objects, kind after kind as they need each other: the server takes what runs
    /// together with what only refers to it.
    pub(super) async fn apply(
        &self,
        manifests: &[Manifest],
        scalers: &Scalers,
        how: Applying,
        progress: Progress<'_>,
    ) -> Result<(), EngineError> {
        let mut ranks: BTreeMap<u8, Vec<&Manifest>> = BTreeMap::new();
        for manifest in manifests {
            ranks
                .entry(stage(manifest.kind()))
                .or_default()
                .push(manifest);
        }

        for group in ranks.values() {
            let all = group
                .iter()
                .map(|manifest| self.apply_one(manifest, scalers, how, progress));
            try_join_all(all).await?;
            for text in self.api.warnings() {
                progress(&text);
            }
        }
        Ok(())
    }

    async fn apply_one(
        &self,
        whole: &Manifest,
        scalers: &Scalers,
        how: Applying,
        progress: Progress<'_>,
    ) -> Result<(), EngineError> {
        let key = whole.key();
        let live = match scalers.of_workload(whole) {
            Some(_) => {
                let live = self.api.get(&key).await;
                live.map_err(|fault| fault.while_(format!("looking at {}", said(&key))))?
            }
            None => None,
        };
        if live.is_some() && how.pods.are_ended_by(whole) {
            // Applied first, the number would be a conflict with whoever has set it.
            self.scale_to(&key, 0).await?;
        }

        let left = live.map(|live| scalers.leave(whole, &live, how.pods));
        let manifest = left.as_ref().unwrap_or(whole);
        let policy = self.engine.settings.conflict;
        let Err(fault) = apply::apply(self.api, policy, manifest, None).await else {
            return Ok(());
        };

        let reason = replacement(self.api, manifest.body(), None, fault)
            .await
            .map_err(|fault| refused(&key, fault))?;
        if how.replacing == Replacing::Refused {
            return Err(EngineError::Refused {
                reason: format!("{}: {reason} while it has live traffic", said(&key)),
                help: "`strategy: blue_green` replaces it beside the live one, `strategy: \
                       recreate` in its place"
                    .to_owned(),
            });
        }

        progress(&format!("{} is replaced: {reason}", said(&key)));
        self.make_room(whole, &reason).await?;
        apply::apply(self.api, policy, whole, None)
            .await
            .map(drop)
            .map_err(|fault| refused(&key, fault))
    }

    /// Takes an object out of the way of a new one of its name, unless something goes with it: no
    /// plan said so.
    async fn make_room(&self, manifest: &Manifest, reason: &str) -> Result<(), EngineError> {
        let key = manifest.key();
        let failed = |fault: ApiError| fault.while_(format!("replacing {}", said(&key)));
        let Some(live) = self.api.get(&key).await.map_err(failed)? else {
            return Ok(());
        };
        let holds = self.holder().of(&key, &live, Fate::Replaced).await;
        if let Some(holding) = holds.map_err(failed)?.first() {
            return Err(EngineError::Refused {
                reason: format!("{}: {reason}, and it holds {holding}", said(&key)),
                help: "write it as it is, or give the new one another name".to_owned(),
            });
        }
        apply::make_room(self.api, &live, manifest).await
    }

    /// Nothing of another owner's is taken over silently: the first time that a service comes into
    /// a slot, what has its objects' names already is looked at.
    pub(super) fn refuse_foreign(
        &self,
        names: &BTreeMap<ObjectKey, Value>,
        existing: &Existing,
    ) -> Result<(), EngineError> {
        let new = names
            .iter()
            .filter(|(key, _)| !existing.objects.contains_key(key));

        for (key, live) in new {
            if live["metadata"]["labels"][mark::PART_OF] != self.set.as_str() {
                return Err(EngineError::Refused {
                    reason: format!(
                        "{} is there and belongs to {}",
                        said(key),
                        owner::manager(live)
                    ),
                    help: "`shipit import` takes it over; or delete it, or name yours differently"
                        .to_owned(),
                });
            }
        }
        Ok(())
    }

    /// What is there under the names of these manifests.
    pub(super) async fn under_names_of(
        &self,
        manifests: &[Manifest],
    ) -> Result<BTreeMap<ObjectKey, Value>, EngineError> {
        let asked = manifests.iter().map(|manifest| async move {
            let key = manifest.key();
            let live = self.api.get(&key).await;
            let live = live.map_err(|fault| fault.while_(format!("looking for {}", said(&key))))?;
            Ok::<_, EngineError>(live.map(|live| (key, live)))
        });
        Ok(try_join_all(asked).await?.into_iter().flatten().collect())
    }
}

/// The rank in which an object of a slot is made. From the Services on nothing needs the other to
/// be there.
fn stage(kind: &str) -> u8 {
    match rank(kind) {
        LAST => LAST,
        early => early.min(rank("Service")),
    }
}
