//! Objects of a slot that are not wanted any more: deleted, or let go of.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use futures_util::future::try_join_all;

use super::Slots;
use crate::driver::kubernetes::client::api::ApiError;
use crate::driver::kubernetes::engine::apply::{self, said};
use crate::driver::kubernetes::engine::environment_objects;
use crate::driver::kubernetes::engine::holds::Fate;
use crate::model::ObjectKey;
use crate::model::facts::WorkloadFacts;
use crate::model::loss::{Held, can_hold};
use crate::model::object::rank;
use crate::port::engine::EngineError;

/// An object of a slot, as far as it matters when it is not wanted any more.
pub(super) enum Swept {
    /// It is deleted, by the server's own name of it.
    Deleted { uid: String },
    /// It says that it stays.
    Kept,
}

/// What a plan that was bound to these facts has declared.
pub(super) fn held(facts: Option<WorkloadFacts>) -> Vec<Held> {
    facts.map(|facts| facts.held).unwrap_or_default()
}

impl Slots<'_> {
    /// Deletes objects of the service that are not wanted any more, the last made first; lets go of
    /// those that stay.
    pub(super) async fn sweep(
        &self,
        objects: BTreeMap<ObjectKey, Swept>,
        declared: &[Held],
    ) -> Result<(), EngineError> {
        self.refuse_undeclared(&objects, declared).await?;

        let mut ranks: BTreeMap<Reverse<u8>, Vec<(ObjectKey, Swept)>> = BTreeMap::new();
        for (key, fate) in objects {
            let rank = Reverse(rank(&key.kind));
            ranks.entry(rank).or_default().push((key, fate));
        }

        for group in ranks.values() {
            let swept = group.iter().map(|(key, fate)| async move {
                match fate {
                    Swept::Deleted { uid } => apply::delete(self.api, key, uid).await,
                    Swept::Kept => environment_objects::let_go(self.api, key, &self.set).await,
                }
            });
            try_join_all(swept).await?;
        }
        Ok(())
    }

    /// Refuses to sweep what holds something that no plan has declared: what a run that ended left
    /// behind.
    async fn refuse_undeclared(
        &self,
        objects: &BTreeMap<ObjectKey, Swept>,
        declared: &[Held],
    ) -> Result<(), EngineError> {
        let unknown = objects.iter().filter(|(key, fate)| {
            let is_declared = declared.iter().any(|held| held.key == **key);
            can_hold(key) && matches!(fate, Swept::Deleted { .. }) && !is_declared
        });

        for (key, _) in unknown {
            let failed = |fault: ApiError| fault.while_(format!("looking into {}", said(key)));
            let Some(live) = self.api.get(key).await.map_err(failed)? else {
                continue;
            };
            let holds = self.holder().of(key, &live, Fate::Deleted).await;
            if let Some(holding) = holds.map_err(failed)?.first() {
                return Err(EngineError::Refused {
                    reason: format!(
                        "{} is not deleted by the way: it holds {holding}",
                        said(key)
                    ),
                    help: "an earlier run left it there: delete it by hand, if it may go"
                        .to_owned(),
                });
            }
        }
        Ok(())
    }
}
