//! Images: that those a plan needs are whole, and that those nobody needs go.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};

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
use crate::policy::{Refusal, lifecycle};
use crate::port::store::StoreError;

/// How long another environment's store is waited for.
const ASKED: Duration = Duration::from_secs(20);

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
    for (environment, known) in others(session, |_| true).await? {
        let known = known.map_err(|reason| Error::Refused(unknown(&environment, &reason)))?;
        for state in &known.states {
            needed.extend(by_role(state, &environment));
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
            help: "`registry.retention` says how many are kept, and `shipit plan` shows what that \
                   changes"
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

/// What each image of a state is needed for, as long as a rollback or a promotion may want it.
pub(super) fn by_role(state: &State, environment: &EnvironmentName) -> Vec<(Digest, String)> {
    let live = state.live();
    let previous = live.and_then(|live| state.previous_good(live.number));
    let waiting = state
        .releases
        .iter()
        .find(|release| release.status == ReleaseStatus::Waiting);
    let roles = [
        (previous, "what a rollback goes to"),
        (waiting, "waiting for its promotion"),
        (live, "live"),
    ];
    let mut needed = Vec::new();
    for (release, role) in roles {
        let workloads = release
            .iter()
            .flat_map(|release| release.workloads.values());
        for image in workloads.filter_map(|workload| workload.image.value()) {
            needed.push((image.clone(), format!("is {role} in {environment}")));
        }
    }
    needed
}

/// Finds, or takes away, the images that no slot and no kept release of any environment uses.
/// Nothing is deleted when any environment's state cannot be asked for, or while another
/// environment's run is under way: what that is about to use is recorded only at its end.
pub async fn collect(session: &Session, how: Collect) -> Result<Collected, Error> {
    collect_but(session, &needed(session).await?, how).await
}

async fn collect_but(session: &Session, needed: &Needed, how: Collect) -> Result<Collected, Error> {
    let against = match how {
        Collect::Report => needed.unknown.clone(),
        Collect::Delete => needed.unknown.clone().or(needed.under_way.clone()),
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

/// What was cleared up after a run.
pub struct Tidied {
    /// Why the copies of images that nothing here needs are still on this machine, if they are.
    pub copies: Option<String>,
    /// The images that went; none where they are not deleted by a run.
    pub images: Option<Result<Collected, Error>>,
}

/// Deletes what a run leaves behind: the copies on this machine that nothing here needs any more,
/// which are still where they came from, and, where a run deletes them by itself, images that
/// nobody needs.
pub async fn tidy(session: &Session) -> Result<Tidied, Error> {
    let has_copies = session.ports.registry.keeps_copies();
    let is_collected = are_collected(session)?;
    if !has_copies && !is_collected {
        return Ok(Tidied {
            copies: None,
            images: None,
        });
    }

    let needed = needed(session).await?;
    let mut copies = None;
    if has_copies {
        copies = needed.unknown_here.clone().or(needed.under_way.clone());
        if copies.is_none() {
            let pruned = session.ports.registry.prune_copies(&needed.images).await;
            copies = pruned.err().map(|error| error.to_string());
        }
    }
    let images = if is_collected {
        Some(collect_but(session, &needed, Collect::Delete).await)
    } else {
        None
    };
    Ok(Tidied { copies, images })
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
    /// The same of one on a host, which may be this machine.
    unknown_here: Option<String>,
}

async fn needed(session: &Session) -> Result<Needed, Error> {
    let own = session.configuration()?;
    let of = |name: &EnvironmentName| session.project.environments.get(name);
    let may_use = |name: &EnvironmentName| of(name).is_none_or(|it| !uses_nothing_of(it, own));

    let mut needed = Needed::default();
    for (environment, known) in others(session, may_use).await? {
        let configuration = of(&environment);
        match known {
            Ok(Known { states, holder }) => {
                let keep = configuration.unwrap_or(own).retention.releases;
                let kept = states.iter().flat_map(|state| kept(state, keep));
                needed.images.extend(kept);
                if let Some(holder) = holder.filter(|_| environment != session.environment) {
                    let command = &holder.command;
                    needed.under_way = Some(format!("`{command}` is under way for {environment}"));
                }
            }
            Err(error) => {
                let reason = format!("what {environment} uses is not known: {error}");
                if configuration.is_none_or(|it| it.cluster.host().is_some()) {
                    needed.unknown_here = Some(reason.clone());
                }
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

/// What is recorded of an environment.
pub(super) struct Known {
    /// Its state. There may be a second one, where its configuration kept it before.
    pub(super) states: Vec<State>,
    /// Who has its lock.
    holder: Option<LockHolder>,
}

/// Asks for all environments at once, each in its own store.
pub(super) async fn others(
    session: &Session,
    is_meant: impl Fn(&EnvironmentName) -> bool,
) -> Result<Vec<(EnvironmentName, Result<Known, String>)>, Error> {
    let mut names = behind::environments(session).await?;
    names.retain(is_meant);
    let ask = |name: EnvironmentName| async move {
        let known = tokio::time::timeout(ASKED, of_environment(session, &name)).await;
        let known = known.map_err(|_| format!("no answer within {} s", ASKED.as_secs()));
        let known = known.and_then(|known| known.map_err(|error| error.to_string()));
        (name, known)
    };
    Ok(join_all(names.into_iter().map(ask)).await)
}

async fn of_environment(session: &Session, environment: &EnvironmentName) -> Result<Known, Error> {
    let store = behind::store_of(session, environment)?;
    // What a run has changed that ended in between is in no state that was read before.
    let before = store.holder(environment).await?;
    let state = store.load(environment).await?;
    let holder = before.or(store.holder(environment).await?);
    let mut states: Vec<State> = state.into_iter().collect();
    if *environment == session.environment {
        return Ok(Known { states, holder });
    }

    // Its configuration may name another store since then, and nobody has migrated it yet.
    let is_missing = states.is_empty();
    let former = &session.ports.store;
    if former.place(environment) != store.place(environment) {
        match former.load(environment).await {
            Ok(state) => states.extend(state),
            Err(StoreError::Migrated { .. }) if !is_missing => {}
            Err(error) => return Err(error.into()),
        }
    }
    if states.is_empty() && behind::has_releases(session, environment).await? {
        let place = store.place(environment);
        return Err(Error::Usage {
            what: format!(
                "it has releases, and there is no state in {place}: `shipit state migrate --env \
                 {environment}` brings it along"
            ),
            help: String::new(),
        });
    }
    Ok(Known { states, holder })
}

fn unknown(environment: &EnvironmentName, reason: &str) -> Refusal {
    Refusal {
        what: format!("what {environment} uses is not known: {reason}"),
        help:
            "an image that it needs must not go by a lifecycle policy: look at its `state:`, and \
               whether it can be reached from here"
                .to_owned(),
    }
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
