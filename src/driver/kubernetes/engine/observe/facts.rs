//! The facts of an environment, of what was seen of it at one moment.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::try_join_all;
use jiff::Timestamp;
use serde_json::Value;

use super::snapshot::Snapshot;
use super::{bound_of_route, drift, pods_of, sent, traffic};
use crate::driver::kubernetes::client::api::{Api, ApiError};
use crate::driver::kubernetes::engine::autoscale::Pods;
use crate::driver::kubernetes::engine::command::is_commands;
use crate::driver::kubernetes::engine::holds::{Asked, ClaimHolder, NOTHING, name_of};
use crate::driver::kubernetes::engine::list::ObjectsFound;
use crate::driver::kubernetes::engine::ready::{Ready, instance, trouble};
use crate::driver::kubernetes::engine::record::{Placed, SlotRecord, Workloads};
use crate::driver::kubernetes::engine::{Conflict, KubernetesEngine};
use crate::model::facts::{Facts, HealthState, SlotFacts, WorkloadFacts, WorkloadHealth};
use crate::model::object::Drift;
use crate::model::route::Route;
use crate::model::{LiveTraffic, Manifest, ObjectKey, ReleaseNumber, ServiceName, Slot};
use crate::port::engine::Scope;

pub(super) async fn facts(
    engine: &KubernetesEngine,
    api: &Api,
    scope: &Scope,
    snapshot: &Snapshot,
) -> Result<Facts, ApiError> {
    let reading = Reading {
        policy: engine.settings.conflict,
        api,
        scope,
        snapshot,
    };
    let record = &snapshot.read.record;
    let traffic = traffic(record, &reading.live_routes());

    let mut slots = BTreeMap::new();
    for (slot, workloads) in &snapshot.slots {
        if let Some(recorded) = record.slots.get(slot) {
            slots.insert(*slot, reading.slot(*slot, recorded, workloads).await?);
        }
    }
    let route_drift = reading.route_drift(traffic).await?;

    Ok(Facts {
        route_files: BTreeMap::new(),
        certificates: BTreeMap::new(),
        unopened: BTreeMap::new(),
        unseen: Vec::new(),
        lineage: record.lineage.clone(),
        fence: record.fence,
        changed_by: record.changed_by.clone(),
        changed_at: record.changed_at,
        traffic,
        switched_at: record.switched_at,
        slots,
        routes: record.routes.clone(),
        route_drift,
        protected_entries: reading.protected_entries(),
        commands: reading.commands(),
        claims: snapshot.claims.clone(),
    })
}

/// A snapshot, and what may still be asked about it.
struct Reading<'a> {
    policy: Conflict,
    api: &'a Api,
    scope: &'a Scope,
    snapshot: &'a Snapshot,
}

impl Reading<'_> {
    /// The live objects of the entry points.
    fn live_routes(&self) -> Vec<&Value> {
        let known = &self.snapshot.found.known;
        let routes = self.snapshot.read.record.routes.values();
        routes
            .filter_map(Route::objects)
            .filter_map(|route| known.get(&route.off.key())?.live.as_ref())
            .collect()
    }

    /// The pods of commands that are not on their way out.
    fn commands(&self) -> BTreeSet<ObjectKey> {
        let is_there = |pod: &&Value| pod["metadata"].get("deletionTimestamp").is_none();
        let pods = self.snapshot.pods.iter().filter(|pod| is_commands(pod));
        let keys = pods.filter(is_there).map(|pod| ObjectKey {
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
            namespace: pod["metadata"]["namespace"].as_str().map(str::to_owned),
            name: name_of(pod).to_owned(),
        });
        keys.collect()
    }

    /// The objects of the entry points that are ours and protected, by service.
    fn protected_entries(&self) -> BTreeMap<ServiceName, BTreeSet<ObjectKey>> {
        let known = &self.snapshot.found.known;
        let is_protected = |key: &ObjectKey| {
            let item = known.get(key);
            item.is_some_and(|item| item.is_protected && item.uid.is_some())
        };
        let routes = self.snapshot.read.record.routes.iter();
        let protected = routes.map(|(service, route)| {
            let keys = route
                .objects()
                .into_iter()
                .flat_map(crate::model::route::ObjectsRoute::keys);
            (service.clone(), keys.filter(is_protected).collect())
        });
        protected
            .filter(|(_, keys): &(_, BTreeSet<ObjectKey>)| !keys.is_empty())
            .collect()
    }

    async fn slot(
        &self,
        slot: Slot,
        recorded: &SlotRecord,
        workloads: &Workloads,
    ) -> Result<SlotFacts, ApiError> {
        let number = recorded.label.number;
        let all = workloads.iter().map(|(service, placed)| async move {
            let facts = self.service(slot, number, service, placed).await?;
            Ok::<_, ApiError>((service.clone(), facts))
        });
        let workloads = try_join_all(all).await?.into_iter().collect();
        Ok(SlotFacts {
            label: recorded.label.clone(),
            workloads,
            placed_at: recorded.placed_at,
            stops_at: recorded.stops_at,
        })
    }

    async fn service(
        &self,
        slot: Slot,
        number: ReleaseNumber,
        service: &ServiceName,
        placed: &Placed,
    ) -> Result<WorkloadFacts, ApiError> {
        let found = &self.snapshot.found;
        let traffic = self.snapshot.read.record.traffic;
        let manifests = sent(placed, slot, (number, traffic), &self.snapshot.set);
        let pods = pods_of(&self.snapshot.pods, slot, service);
        let mut facts = workload(self.api, self.policy, placed, &manifests, found, &pods).await?;

        let holder = ClaimHolder {
            api: self.api,
            scope: self.scope,
            set: &self.snapshot.set,
            going: &NOTHING,
            asked: Asked::ForPlan,
        };
        facts.held = holder.held(&manifests, found).await?;
        Ok(facts)
    }

    async fn route_drift(
        &self,
        traffic: LiveTraffic,
    ) -> Result<BTreeMap<ServiceName, Vec<Drift>>, ApiError> {
        let Snapshot {
            read, found, set, ..
        } = self.snapshot;
        let drifts = read
            .record
            .routes
            .iter()
            .map(|(service, route)| async move {
                let bound = bound_of_route(route, traffic, set);
                let drift = drift(self.api, self.policy, &bound, found, Pods::Wanted).await?;
                Ok::<_, ApiError>((service.clone(), drift))
            });
        let drifts = try_join_all(drifts).await?;
        Ok(drifts
            .into_iter()
            .filter(|(_, drift)| !drift.is_empty())
            .collect())
    }
}

/// One workload: what drifted, its pods, and how it is as a whole.
pub(in super::super) async fn workload(
    api: &Api,
    policy: Conflict,
    placed: &Placed,
    manifests: &[Manifest],
    found: &ObjectsFound,
    pods: &[&Value],
) -> Result<WorkloadFacts, ApiError> {
    let wanted = Pods::of(placed.running);
    let drift = drift(api, policy, manifests, found, wanted).await?;
    let instances = pods
        .iter()
        .enumerate()
        .map(|(index, pod)| instance(index, pod))
        .collect();
    let verdict = Some(verdict(manifests, found, pods));
    Ok(WorkloadFacts {
        spec: placed.spec.clone(),
        running: placed.running,
        instances,
        drift,
        changed_on_disk: None,
        unit_files: Vec::new(),
        verdict,
        held: Vec::new(),
        secrets: placed.bindings.values.clone(),
    })
}

fn verdict(manifests: &[Manifest], found: &ObjectsFound, pods: &[&Value]) -> WorkloadHealth {
    let mut worst = WorkloadHealth {
        health: HealthState::Ready,
        reason: "all of it is ready".to_owned(),
    };
    for manifest in manifests {
        let key = manifest.key();
        let state = found.known.get(&key).map(|item| &item.ready);
        let (health, reason) = match state {
            Some(Ready::Yes) => continue,
            Some(Ready::Not(reason)) => {
                (HealthState::Starting, format!("{}: {reason}", key.short()))
            }
            // Nothing that shipit could do by starting it again: the cluster does that itself.
            Some(Ready::Failed(reason)) => {
                (HealthState::Unhealthy, format!("{}: {reason}", key.short()))
            }
            None => (
                HealthState::Unhealthy,
                format!("{} is not there", key.short()),
            ),
        };
        if health > worst.health {
            worst = WorkloadHealth { health, reason };
        }
    }

    if worst.health != HealthState::Ready
        && let Some(reason) = pods.iter().find_map(|pod| trouble(pod, Timestamp::now()))
    {
        worst = WorkloadHealth {
            health: HealthState::Unhealthy,
            reason,
        };
    }
    worst
}
