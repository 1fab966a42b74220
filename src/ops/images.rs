//! Images: that those a plan needs are whole, and that those nobody needs go.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::try_join_all;

use crate::config::EnvironmentConfig;
use crate::config::schema::RegistryConfig;
use crate::model::desired::Desired;
use crate::model::garbage::{Collect, Collected};
use crate::model::image::ImageHome;
use crate::model::observed::Observed;
use crate::model::plan::{Action, Plan};
use crate::model::release::ReleaseStatus;
use crate::model::resource::ResourceFacts;
use crate::model::state::{LockHolder, State};
use crate::model::{Digest, EnvironmentName};
use crate::ops::actor::actor;
use crate::ops::{Error, Session, behind, lock};
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
    for environment in behind::environments(session).await? {
        let store = behind::store_of(session, &environment)?;
        let Some(state) = store.load(&environment).await? else {
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

    let lease = lock::take(session, &actor(), "images --collect", lock_wait).await?;
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
/// Nothing is deleted when any environment's state cannot be asked for, or while another
/// environment's run is under way: what that is about to use is recorded only at its end.
pub async fn collect(session: &Session, how: Collect) -> Result<Collected, Error> {
    let needed = needed(session).await?;
    let against = match how {
        Collect::Report => needed.unknown,
        Collect::Delete => needed.unknown.or(needed.under_way),
    };
    let how = if against.is_some() {
        Collect::Report
    } else {
        how
    };
    let found = session.ports.registry.collect(&needed.images, how).await?;
    Ok(Collected {
        refused: found.refused.or(against),
        ..found
    })
}

/// Takes the images away that were brought to this machine and that nothing here needs any more;
/// they are still where they came from. Gives why none was taken away, if none could be.
pub async fn prune_copies(session: &Session) -> Result<Option<String>, Error> {
    if !session.ports.registry.keeps_copies() {
        return Ok(None);
    }
    let needed = needed(session).await?;
    if needed.unknown.is_none() {
        session.ports.registry.prune_copies(&needed.images).await?;
    }
    Ok(needed.unknown)
}

/// What the environments of a project need.
#[derive(Default)]
struct Needed {
    /// The images that a slot or a kept release of any environment uses.
    images: BTreeSet<Digest>,
    /// Which other environment's run is under way, if one is.
    under_way: Option<String>,
    /// Why it is not known what an environment uses, if of one it is not.
    unknown: Option<String>,
}

async fn needed(session: &Session) -> Result<Needed, Error> {
    let own = session.configuration()?;
    let keep = own.retention.releases;
    let mut needed = Needed::default();
    for environment in behind::environments(session).await? {
        let other = session.project.environments.get(&environment);
        if other.is_some_and(|other| uses_nothing_of(other, own)) {
            continue;
        }
        match of_environment(session, &environment).await {
            Ok((state, holder)) => {
                needed
                    .images
                    .extend(state.iter().flat_map(|state| kept(state, keep)));
                let other = holder.filter(|_| environment != session.environment);
                if let Some(holder) = other {
                    let command = &holder.command;
                    needed.under_way = Some(format!("`{command}` is under way for {environment}"));
                }
            }
            Err(error) => {
                let reason = format!("what {environment} uses is not known: {error}");
                needed.unknown = Some(reason);
            }
        }
    }

    let facts = session.ports.engine.observe(&session.scope()).await?;
    let placed = facts
        .slots
        .values()
        .flat_map(|slot| slot.workloads.values());
    let placed = placed.filter_map(|workload| workload.spec.image.value().cloned());
    needed.images.extend(placed);
    Ok(needed)
}

/// The state of an environment, and who has its lock.
async fn of_environment(
    session: &Session,
    environment: &EnvironmentName,
) -> Result<(Option<State>, Option<LockHolder>), Error> {
    let store = behind::store_of(session, environment)?;
    let state = store.load(environment).await?;
    Ok((state, store.holder(environment).await?))
}

/// Whether an environment cannot use what another one has: a cluster takes no image from a folder.
const fn uses_nothing_of(environment: &EnvironmentConfig, of: &EnvironmentConfig) -> bool {
    matches!(of.registry, RegistryConfig::Layout(_)) && environment.cluster.host().is_none()
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
