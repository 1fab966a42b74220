//! Images: that those a plan needs are whole, and that those nobody needs go.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::try_join_all;

use crate::model::desired::Desired;
use crate::model::observed::Observed;
use crate::model::plan::{Action, Plan};
use crate::model::release::Status;
use crate::model::resource::ResourceFacts;
use crate::model::state::State;
use crate::model::{Digest, ServiceName};
use crate::ops::{Error, Session};
use crate::policy::lifecycle;
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

/// Refuses a lifecycle policy that would take away an image which is live, previous or can be promoted, in whichever
/// environment of the project.
pub async fn survive_their_lifecycle(
    session: &Session,
    desired: &Desired,
    observed: &Observed,
) -> Result<(), Error> {
    let policy_of = |facts: &ResourceFacts| {
        let wanted = desired.resources.iter().find(|resource| resource.key == facts.key)?;
        wanted.settings.get("lifecycle").cloned()
    };
    let repositories: Vec<_> = observed
        .resources
        .iter()
        .filter(|facts| !facts.images.is_empty())
        .filter_map(|facts| Some((facts, policy_of(facts)?)))
        .collect();
    if repositories.is_empty() {
        return Ok(());
    }
    let mut needed: BTreeMap<Digest, String> = BTreeMap::new();
    for environment in session.ports.store.environments().await? {
        let Some(state) = session.ports.store.load(&environment).await? else { continue };
        let live = state.live();
        let previous = live.and_then(|live| state.previous_good(live.number));
        let waiting = state.releases.iter().find(|release| release.status == Status::Waiting);
        let all = [(previous, "the way back"), (waiting, "waiting for its promotion"), (live, "live")];
        for (release, role) in all {
            let images = release.iter().flat_map(|release| release.workloads.values());
            for image in images.filter_map(|workload| workload.image.value()) {
                needed.insert(image.clone(), format!("is {role} in {environment}"));
            }
        }
    }
    for (facts, policy) in repositories {
        let now = jiff::Timestamp::now();
        lifecycle::keeps_what_is_needed(&facts.key.name, &policy, &facts.images, &needed, now)?;
    }
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
