//! Images: that those a plan needs are whole, and that those nobody needs go.

use std::collections::BTreeSet;

use futures_util::future::try_join_all;

use crate::model::plan::{Action, Plan};
use crate::model::state::State;
use crate::model::{Digest, ServiceName};
use crate::ops::{Error, Session};
use crate::port::registry::Collected;

/// Reads every image that the plan starts and that is there already: a corrupt blob is found before anything
/// begins.
pub async fn must_be_there(session: &Session, plan: &Plan) -> Result<(), Error> {
    let needed: BTreeSet<(&ServiceName, &Digest)> = plan
        .steps
        .iter()
        .filter_map(|step| match &step.action {
            Action::Place { workload, running: true, .. } => {
                workload.image.value().map(|image| (&workload.service, image))
            }
            _ => None,
        })
        .collect();
    try_join_all(needed.into_iter().map(|(service, image)| session.ports.registry.verify(service, image)))
        .await?;
    Ok(())
}

/// Takes images away that no slot and no kept release of any environment uses. When any environment's state
/// cannot be read nothing is taken away.
pub async fn collect(session: &Session, keep: usize) -> Result<Collected, Error> {
    let mut needed: BTreeSet<Digest> = BTreeSet::new();
    for environment in session.ports.store.environments().await? {
        let state = session.ports.store.load(&environment).await?;
        needed.extend(state.iter().flat_map(|state| kept(state, keep)));
    }
    let facts = session.ports.engine.observe(&session.scope()).await?;
    let placed = facts.slots.values().flat_map(|slot| slot.workloads.values());
    needed.extend(placed.filter_map(|workload| workload.spec.image.value().cloned()));
    Ok(session.ports.registry.collect(&needed).await?)
}

/// The images of the newest releases, and of the live and the last good one however old they are.
fn kept(state: &State, keep: usize) -> Vec<Digest> {
    let live = state.live();
    let previous = live.and_then(|live| state.previous_good(live.number));
    let always = live.into_iter().chain(previous).flat_map(|release| release.workloads.values());
    state.images(keep).cloned().chain(always.filter_map(|workload| workload.image.value().cloned())).collect()
}
