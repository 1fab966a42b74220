//! Whether the release that the state says is live was left behind somewhere else: the
//! configuration names another namespace than it was placed in, or another cluster. What is there
//! would go on for ever, and no later command would find it.
//!
//! A host has one place, and a state in the cluster is where the release is.

use std::collections::BTreeSet;

use crate::config::EnvironmentConfig;
use crate::config::schema::ClusterConfig;
use crate::model::facts::Overview;
use crate::model::loss::{Holding, Loss};
use crate::model::object::Namespaces;
use crate::model::plan::Plan;
use crate::model::release::Release;
use crate::model::state::State;
use crate::model::{Address, Manifest};
use crate::ops::{Error, Session, wiring};
use crate::plan::{self, LastRun};
use crate::policy::Refusal;

/// A release that the state says is live, and of which nothing is where the configuration says.
pub(super) struct Missing {
    release: Release,
    /// Where it is not.
    here: String,
}

/// What is missing here, if anything is.
///
/// # Errors
/// It is live in another namespace of this cluster, or that could not be looked at.
pub(super) async fn missing(
    session: &Session,
    state: &State,
    found: &Overview,
) -> Result<Option<Missing>, Error> {
    let configuration = session.configuration()?;
    let Some(release) = state.live() else {
        return Ok(None);
    };
    let then = namespaces(release);
    if configuration.cluster.kubernetes().is_none() || then.is_empty() {
        return Ok(None);
    }

    let environment = &session.environment;
    let now =
        crate::desired::cluster::namespaces(&session.project.name, environment, configuration)?;
    if !has_nothing(found) {
        stays_in_its_slot(release, &then, &now)?;
        return Ok(None);
    }
    let known: BTreeSet<&String> = now.slots.values().chain([&now.home]).collect();
    for namespace in then.iter().filter(|name| !known.contains(name)) {
        is_not_in(session, configuration, state, (namespace, &now.home)).await?;
    }

    // What was deleted by a run that was killed before its end is not missing.
    let journal = session.ports.store.last_journal(environment).await?;
    if let LastRun::CutOff(_) = plan::last_run(journal.as_ref(), found) {
        return Ok(None);
    }
    Ok(Some(Missing {
        release: release.clone(),
        here: now.home,
    }))
}

/// The namespace of a slot does not move under the release that is live in it: where its pods are,
/// and what leads to them, would be looked for in the other one.
fn stays_in_its_slot(
    release: &Release,
    then: &BTreeSet<String>,
    now: &Namespaces,
) -> Result<(), Refusal> {
    let (slot, number) = (release.slot, release.number);
    let own = &now.slots[&slot];
    let Some(there) = then.first().filter(|_| !then.contains(own)) else {
        return Ok(());
    };
    Err(Refusal {
        what: format!(
            "release {number} is live in {there}, and the configuration says that {slot} is {own}"
        ),
        help: format!(
            "set `slots: {{{slot}: {{namespace: {there}}}}}`; to move it, `shipit destroy` it \
             there first, or give {own} to an environment of its own"
        ),
    })
}

fn has_nothing(found: &Overview) -> bool {
    found.labels.is_empty() && found.traffic.is_off()
}

/// The namespaces that the pods of a release were placed in; none of a host's.
fn namespaces(release: &Release) -> BTreeSet<String> {
    let workloads = release.workloads.values();
    workloads
        .flat_map(|workload| workload.objects(release.slot))
        // What makes pods is in the slot's own namespace; anything else may say another.
        .filter(|manifest| (*manifest).clone().pod_template().is_some())
        .map(Manifest::key)
        .filter_map(|key| key.namespace)
        .collect()
}

/// Looks into a namespace in which the live release was placed.
async fn is_not_in(
    session: &Session,
    configuration: &EnvironmentConfig,
    state: &State,
    (then, now): (&String, &String),
) -> Result<(), Error> {
    let mut there = configuration.clone();
    match &mut there.cluster {
        ClusterConfig::Host(_) => return Ok(()),
        ClusterConfig::Kubernetes(any, _) | ClusterConfig::Eks(any, _) => {
            any.namespace = Some(then.clone());
        }
    }
    let (project, name) = (&session.project, &session.environment);
    let redactor = &session.ports.redactor;
    let ports = wiring::ports(&session.root, project, name, &there, redactor)?;

    let found = match ports.engine.overview(&session.scope()).await {
        Ok(found) if has_nothing(&found) || found.lineage != state.lineage => return Ok(()),
        Ok(found) => found
            .traffic
            .slot()
            .and_then(|slot| found.number(slot))
            .map_or_else(
                || format!("a release of {name} is still in {then}"),
                |number| format!("release {number} is live in {then}"),
            ),
        Err(error) => format!("whether a release is still live in {then} is not known: {error}"),
    };
    Err(Refusal {
        what: format!("{found}, and the configuration says {now}: it would be left there for ever"),
        help: format!(
            "set `cluster: {{namespace: {then}}}` again; to move it, `shipit destroy` it there \
             first, or give {now} to an environment of its own"
        ),
    }
    .into())
}

impl Missing {
    /// That live traffic ends with a plan that knows nothing of the release: where its services
    /// were reached, something else answers, or the old release does so for ever.
    pub(super) fn losses(&self, plan: &Plan) -> Vec<Loss> {
        let Self { release, here } = self;
        let lost = |step: &crate::model::plan::Step| {
            let Address::Route(service) = &step.address else {
                return None;
            };
            let of_service = release.workloads.contains_key(service);
            of_service.then(|| Loss {
                step: step.id,
                name: step.address.to_string(),
                holds: vec![Holding::Entry {
                    what: format!(
                        "release {} by this state, and nothing of it is in {here}: it was deleted \
                         there, or this is another cluster, and it goes on in the old one",
                        release.number
                    ),
                }],
                is_protected: false,
            })
        };
        plan.steps.iter().filter_map(lost).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::release::Label;
    use crate::model::{LiveTraffic, Slot};

    #[test]
    fn what_has_a_release_or_live_traffic_has_something() {
        assert!(has_nothing(&Overview::default()));
        let label = Label {
            number: crate::model::ReleaseNumber(1),
            commit: None,
            branch: None,
            dirty: false,
            config: crate::model::ContentHash::of_json(&1),
            inputs: std::collections::BTreeMap::new(),
        };
        let placed = Overview {
            labels: [(Slot::Blue, label)].into(),
            ..Overview::default()
        };
        assert!(!has_nothing(&placed));
        let live = Overview {
            traffic: LiveTraffic::All(Slot::Blue),
            ..Overview::default()
        };
        assert!(!has_nothing(&live));
    }
}
