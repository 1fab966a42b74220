//! Images: that those a plan needs are whole, and that those nobody needs go.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::try_join_all;

use crate::config::schema::RegistryConfig;
use crate::model::Digest;
use crate::model::desired::Desired;
use crate::model::garbage::{Collect, Collected};
use crate::model::image::ImageHome;
use crate::model::observed::Observed;
use crate::model::plan::{Action, Plan};
use crate::model::release::ReleaseStatus;
use crate::model::resource::ResourceFacts;
use crate::model::state::State;
use crate::ops::actor::actor;
use crate::ops::{Error, Session, behind};
use crate::policy::lifecycle;

/// Reads every image that the plan starts and that is there already: a corrupt blob is found before
/// anything begins.
pub async fn must_be_there(session: &Session, plan: &Plan) -> Result<(), Error> {
    let needed: BTreeSet<(ImageHome<'_>, &Digest)> = plan
        .steps
        .iter()
        .filter_map(|step| match &step.action {
            Action::Deploy {
                workload,
                running: true,
                ..
            } => workload.image.value().map(|image| (workload.home(), image)),
            _ => None,
        })
        .collect();

    try_join_all(
        needed
            .into_iter()
            .map(|(home, image)| session.ports.registry.verify(home, image)),
    )
    .await?;
    Ok(())
}

/// Refuses a lifecycle policy that would take away an image which is live, previous or can be
/// promoted, in whichever environment of the project.
pub async fn survive_their_lifecycle(
    session: &Session,
    desired: &Desired,
    observed: &Observed,
) -> Result<(), Error> {
    let policy_of = |facts: &ResourceFacts| {
        let wanted = desired
            .resources
            .iter()
            .find(|resource| resource.key == facts.key)?;
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
        let Some(state) = session.ports.store.load(&environment).await? else {
            continue;
        };
        let live = state.live();
        let previous = live.and_then(|live| state.previous_good(live.number));
        let waiting = state
            .releases
            .iter()
            .find(|release| release.status == ReleaseStatus::Waiting);
        let all = [
            (previous, "what a rollback goes to"),
            (waiting, "waiting for its promotion"),
            (live, "live"),
        ];
        for (release, role) in all {
            let images = release
                .iter()
                .flat_map(|release| release.workloads.values());
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

/// Whether a run deletes images by itself when it is done: in a folder, which nobody else uses; in
/// a registry on the network when `registry.retention` says how many are kept.
pub fn are_collected(session: &Session) -> Result<bool, Error> {
    let registry = &session.configuration()?.registry;
    Ok(match registry {
        RegistryConfig::Layout(_) => true,
        RegistryConfig::Oci(_, oci) => oci.retention.is_some(),
        RegistryConfig::Ecr(..) => false,
    })
}

/// Finds the images that nobody needs; with [`Collect::Delete`], under the environment's lock,
/// deletes them.
pub async fn garbage(
    session: &Session,
    how: Collect,
    lock_wait: Duration,
) -> Result<Collected, Error> {
    if session.configuration()?.registry.ecr().is_some() {
        return Err(Error::Usage {
            what: "in ECR the lifecycle policy of a repository deletes images".to_owned(),
            help: "`registry.retention` says how many are kept, and `shipit plan` shows what that changes"
                .to_owned(),
        });
    }
    if how == Collect::Report {
        return collect_if_complete(session, how).await;
    }

    let (environment, store) = (&session.environment, &session.ports.store);
    let fence = session.ports.engine.observe(&session.scope()).await?.fence;
    let lease = store
        .lock(environment, &actor(), "images --collect", fence, lock_wait)
        .await?;
    let result = collect_if_complete(session, how).await;
    let _ = lease.release().await;
    result
}

/// Deletes nothing by a state that is behind: what its missing releases need is not known here.
async fn collect_if_complete(session: &Session, how: Collect) -> Result<Collected, Error> {
    let state = session.state().await?;
    let found = session.ports.engine.overview(&session.scope()).await?;
    let Some(note) = behind::compared(session, &state, &found).await? else {
        return collect(session, how).await;
    };

    let found = collect(session, Collect::Report).await?;
    Ok(Collected {
        refused: found.refused.or(Some(note)),
        ..found
    })
}

/// Finds, or takes away, the images that no slot and no kept release of any environment uses.
/// Nothing is deleted when any environment's state cannot be read, or while another environment's
/// run is under way: what that is about to use is recorded only at its end.
pub async fn collect(session: &Session, how: Collect) -> Result<Collected, Error> {
    let (needed, other) = needed(session).await?;
    let other = other.filter(|_| how == Collect::Delete);
    let how = if other.is_some() {
        Collect::Report
    } else {
        how
    };
    let found = session.ports.registry.collect(&needed, how).await?;
    Ok(Collected {
        refused: found.refused.or(other),
        ..found
    })
}

/// Takes the images away that were brought to this machine and that nothing here needs any more;
/// they are still where they came from.
pub async fn prune_copies(session: &Session) -> Result<(), Error> {
    if !session.ports.registry.keeps_copies() {
        return Ok(());
    }
    let (needed, _) = needed(session).await?;
    Ok(session.ports.registry.prune_copies(&needed).await?)
}

/// The images that a slot or a kept release of any environment uses; and which other environment's
/// run is under way, if one is.
async fn needed(session: &Session) -> Result<(BTreeSet<Digest>, Option<String>), Error> {
    let keep = session.configuration()?.retention.releases;
    let (mut needed, mut under_way) = (BTreeSet::new(), None);
    for environment in session.ports.store.environments().await? {
        let state = session.ports.store.load(&environment).await?;
        needed.extend(state.iter().flat_map(|state| kept(state, keep)));
        if environment != session.environment
            && let Some(holder) = session.ports.store.holder(&environment).await?
        {
            under_way = Some(format!(
                "`{}` is under way for {environment}",
                holder.command
            ));
        }
    }

    let facts = session.ports.engine.observe(&session.scope()).await?;
    let placed = facts
        .slots
        .values()
        .flat_map(|slot| slot.workloads.values());
    needed.extend(placed.filter_map(|workload| workload.spec.image.value().cloned()));
    Ok((needed, under_way))
}

/// The images of the newest releases, and of the live and the last good one however old they are.
fn kept(state: &State, keep: usize) -> Vec<Digest> {
    let live = state.live();
    let previous = live.and_then(|live| state.previous_good(live.number));
    let always = live
        .into_iter()
        .chain(previous)
        .flat_map(|release| release.workloads.values());
    state
        .images(keep)
        .cloned()
        .chain(always.filter_map(|workload| workload.image.value().cloned()))
        .collect()
}
