//! An engine in memory, for rehearsals and tests: the same contract, without processes and without
//! time. An instance is ready at once, unless its image was said to be broken.

mod refusals;
mod tasks;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use jiff::Timestamp;

use crate::model::facts::{Facts, HealthState, Instance, SlotFacts, WorkloadFacts};
use crate::model::object::ObjectFacts;
use crate::model::outcome::Url;
use crate::model::plan::DeployMode;
use crate::model::route::Route;
use crate::model::secret::{HashKey, SecretValue};
use crate::model::workload::Workload;
use crate::model::{
    Address, Digest, Fingerprint, LiveTraffic, Manifest, ObjectKey, Period, Role, ServiceName, Slot,
};
use crate::port::Progress;
use crate::port::engine::{
    Engine, EngineError, Foreseen, LogLine, LogQuery, Permit, Placement, Scope, TaskEnd, TaskRun,
};
use crate::simulate::engine::refusals::{may_be_deployed, moved, not_ready};
use crate::simulate::engine::tasks::Tasks;
use crate::simulate::objects::Objects;

/// An engine in memory.
#[derive(Debug, Default)]
pub struct MemoryEngine {
    environments: Mutex<BTreeMap<Scope, Facts>>,
    objects: Mutex<Objects>,
    broken: Mutex<BTreeSet<Digest>>,
    /// What stands for the values of secrets where that was observed.
    hashes: BTreeMap<String, String>,
    tasks: Mutex<Tasks>,
}

impl MemoryEngine {
    /// One in which an environment is as it was observed. `hashes`: what stands for the values of
    /// its secrets now, by name.
    #[must_use]
    pub fn seeded(
        scope: Scope,
        facts: Facts,
        objects: &[ObjectFacts],
        hashes: BTreeMap<String, String>,
    ) -> Self {
        Self {
            environments: Mutex::new(BTreeMap::from([(scope, facts)])),
            objects: Mutex::new(Objects::seeded(objects)),
            broken: Mutex::default(),
            hashes,
            tasks: Mutex::default(),
        }
    }

    /// What is there, where there is one environment.
    #[must_use]
    pub fn facts(&self) -> Facts {
        self.lock().values().next().cloned().unwrap_or_default()
    }

    /// How its objects stand against what is wanted.
    pub(super) fn objects_against(&self, wanted: &[Manifest]) -> Vec<ObjectFacts> {
        self.objects().compare(wanted)
    }

    fn objects(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What stands for these values.
    fn hashed(&self, values: &BTreeMap<String, SecretValue>) -> BTreeMap<String, String> {
        let mut hashes = key().hashes(values);
        for (name, hash) in &mut hashes {
            if let Some(observed) = self.hashes.get(name) {
                hash.clone_from(observed);
            }
        }
        hashes
    }

    /// From now on instances of this image fail.
    pub fn breaks(&self, image: Digest) {
        self.broken
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(image);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Scope, Facts>> {
        self.environments
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes an environment under a permit.
    fn change<T>(
        &self,
        permit: &Permit,
        change: impl FnOnce(&mut Facts, &Facts) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let mut environments = self.lock();
        let facts = environments.entry(permit.scope.clone()).or_default();
        let is_empty = facts.slots.is_empty() && facts.routes.is_empty();
        let lineage = facts.lineage.as_ref().filter(|_| !is_empty);
        permit.enters(lineage, facts.fence, facts.changed_by.as_ref())?;
        let before = facts.clone();
        facts.lineage = Some(permit.lineage.clone());
        facts.fence = permit.fence;
        facts.changed_by = Some(permit.actor.clone());
        facts.changed_at = Some(Timestamp::now());
        change(facts, &before)
    }

    fn instances(&self, workload: &Workload) -> Vec<Instance> {
        let broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        let fails = workload
            .image
            .value()
            .is_some_and(|image| broken.contains(image));
        let health = if fails {
            HealthState::Failed
        } else {
            HealthState::Ready
        };

        let instance = |index| Instance {
            index,
            pid: None,
            port: None,
            ports: BTreeMap::new(),
            health,
            restarts: 0,
            last_exit: fails.then(|| "exit code 1".to_owned()),
            since: Timestamp::now(),
        };
        (0..workload.replicas).map(instance).collect()
    }
}

/// Puts a workload into its slot; without a changed one only the label is new.
fn put(facts: &mut Facts, placement: &Placement, changed: Option<WorkloadFacts>) {
    let fresh = || SlotFacts {
        label: placement.label.clone(),
        workloads: BTreeMap::new(),
        placed_at: Timestamp::now(),
        stops_at: None,
    };
    let there = facts.slots.entry(placement.slot).or_insert_with(fresh);
    let is_fresh = placement.mode == DeployMode::Fresh;
    if is_fresh && there.label != placement.label && changed.is_some() {
        there.workloads.clear();
    }

    there.label = placement.label.clone();
    if let Some(wanted) = changed {
        there.stops_at = None;
        let service = placement.workload.service.clone();
        there.workloads.insert(service, wanted);
    }
}

/// What its hashes of secrets are keyed with.
fn key() -> HashKey {
    HashKey(vec![7; 32])
}

#[async_trait]
impl Engine for MemoryEngine {
    async fn observe(&self, scope: &Scope) -> Result<Facts, EngineError> {
        Ok(self.lock().get(scope).cloned().unwrap_or_default())
    }

    async fn secret_hashes(
        &self,
        _: &Scope,
        values: &BTreeMap<String, SecretValue>,
    ) -> Result<BTreeMap<String, String>, EngineError> {
        Ok(self.hashed(values))
    }

    async fn listen(
        &self,
        permit: &Permit,
        route: &Route,
        expects: Option<Fingerprint>,
    ) -> Result<(), EngineError> {
        self.listen_together(permit, std::slice::from_ref(route), expects)
            .await
    }

    async fn listen_together(
        &self,
        permit: &Permit,
        routes: &[Route],
        expects: Option<Fingerprint>,
    ) -> Result<(), EngineError> {
        self.change(permit, |facts, before| {
            let is_done = |route: &Route| facts.routes.get(&route.service) == Some(route);
            let services = routes.iter().map(|route| &route.service);
            let found = facts.routes_fingerprint(services);
            if let Some(route) = routes.iter().find(|route| !is_done(route))
                && found != expects
            {
                return Err(moved(Address::Route(route.service.clone()), before));
            }
            let by_service = |route: &Route| (route.service.clone(), route.clone());
            facts.routes.extend(routes.iter().map(by_service));
            Ok(())
        })
    }

    async fn stop_listening(
        &self,
        permit: &Permit,
        service: &ServiceName,
    ) -> Result<(), EngineError> {
        self.change(permit, |facts, _| {
            facts.routes.remove(service);
            Ok(())
        })
    }

    async fn deploy(
        &self,
        permit: &Permit,
        placement: Placement,
        _: Progress<'_>,
    ) -> Result<(), EngineError> {
        let instances = if placement.running {
            self.instances(&placement.workload)
        } else {
            Vec::new()
        };
        let wanted = WorkloadFacts {
            spec: placement.workload.clone(),
            running: placement.running,
            instances,
            drift: Vec::new(),
            changed_on_disk: None,
            unit_files: Vec::new(),
            verdict: None,
            held: Vec::new(),
            secrets: self.hashed(&placement.secrets),
        };

        self.change(permit, |facts, before| {
            let (slot, service) = (placement.slot, &placement.workload.service);
            let there = facts
                .slots
                .get(&slot)
                .and_then(|there| there.workloads.get(service));
            let is_same = there.is_some_and(|there| there.fingerprint() == wanted.fingerprint());
            if !is_same {
                let found = there.map(WorkloadFacts::fingerprint);
                may_be_deployed(&placement, &wanted, found.as_ref(), (facts, before))?;
            }
            let is_given = there.is_some_and(|there| there.secrets == wanted.secrets);
            put(facts, &placement, (!is_same || !is_given).then_some(wanted));
            Ok(())
        })
    }

    async fn stop(
        &self,
        permit: &Permit,
        slot: Slot,
        service: &ServiceName,
        expects: Option<Fingerprint>,
        _: Progress<'_>,
    ) -> Result<(), EngineError> {
        self.change(permit, |facts, before| {
            let found = facts.workload_fingerprint(slot, service);
            let there = facts.slots.get_mut(&slot);
            let there = there.and_then(|there| there.workloads.get_mut(service));
            let Some(there) = there.filter(|there| there.running) else {
                return Ok(());
            };
            if found != expects {
                return Err(moved(Address::Workload(slot, service.clone()), before));
            }
            there.running = false;
            there.instances.clear();
            Ok(())
        })
    }

    async fn undeploy(
        &self,
        permit: &Permit,
        slot: Slot,
        service: &ServiceName,
        expects: Option<Fingerprint>,
    ) -> Result<(), EngineError> {
        self.change(permit, |facts, before| {
            let Some(fingerprint) = facts.workload_fingerprint(slot, service) else {
                return Ok(());
            };
            if Some(fingerprint) != expects {
                return Err(moved(Address::Workload(slot, service.clone()), before));
            }
            if facts.traffic.reaches(slot) && facts.routes.contains_key(service) {
                let reason =
                    format!("{service} in {slot} has live traffic and cannot be taken out");
                return Err(EngineError::Refused {
                    reason,
                    help: String::new(),
                });
            }
            if let Some(there) = facts.slots.get_mut(&slot) {
                there.workloads.remove(service);
                if there.workloads.is_empty() {
                    facts.slots.remove(&slot);
                }
            }
            Ok(())
        })
    }

    async fn ready(
        &self,
        scope: &Scope,
        slot: Slot,
        _: Period,
        _: Progress<'_>,
    ) -> Result<(), EngineError> {
        let facts = self.observe(scope).await?;
        if facts.slots.get(&slot).is_some_and(SlotFacts::is_up) {
            Ok(())
        } else {
            Err(not_ready(slot, &facts))
        }
    }

    async fn switch(
        &self,
        permit: &Permit,
        from: LiveTraffic,
        to: LiveTraffic,
    ) -> Result<(), EngineError> {
        self.change(permit, |facts, before| {
            if facts.traffic == to {
                return Ok(());
            }
            if facts.traffic != from {
                return Err(moved(Address::Traffic, before));
            }
            if let Some(slot) = to.slot() {
                if !facts.slots.get(&slot).is_some_and(SlotFacts::is_ready) {
                    return Err(not_ready(slot, facts));
                }
                if let Some(there) = facts.slots.get_mut(&slot) {
                    there.stops_at = None;
                }
            }
            facts.traffic = to;
            facts.switched_at = Some(Timestamp::now());
            Ok(())
        })
    }

    async fn retain(
        &self,
        permit: &Permit,
        slot: Slot,
        until: Timestamp,
    ) -> Result<(), EngineError> {
        self.change(permit, |facts, _| {
            if facts.traffic.reaches(slot) {
                let reason = format!("{slot} has live traffic and cannot be stopped");
                return Err(EngineError::Refused {
                    reason,
                    help: String::new(),
                });
            }
            if let Some(there) = facts.slots.get_mut(&slot) {
                there.stops_at = Some(until);
            }
            Ok(())
        })
    }

    async fn compare(
        &self,
        _: &Scope,
        wanted: &[Manifest],
    ) -> Result<Vec<ObjectFacts>, EngineError> {
        Ok(self.objects().compare(wanted))
    }

    async fn apply(
        &self,
        permit: &Permit,
        manifest: &Manifest,
        _: bool,
        expects: Option<Fingerprint>,
        _: Progress<'_>,
    ) -> Result<(), EngineError> {
        self.change(permit, |_, before| {
            let was_as_expected = self.objects().apply(manifest, expects.as_ref());
            was_as_expected.map_err(|key| moved(Address::Object(key), before))
        })
    }

    async fn delete(
        &self,
        permit: &Permit,
        key: &ObjectKey,
        expects: Option<Fingerprint>,
        foreseen: Foreseen<'_>,
    ) -> Result<(), EngineError> {
        self.change(permit, |_, before| {
            let was_as_expected = self.objects().delete(key, expects.as_ref(), foreseen);
            was_as_expected.map_err(|key| moved(Address::Object(key), before))
        })
    }

    async fn forget(&self, permit: &Permit, key: &ObjectKey) -> Result<(), EngineError> {
        self.change(permit, |_, _| {
            self.objects().forget(key);
            Ok(())
        })
    }

    async fn run_task(
        &self,
        permit: &Permit,
        run: TaskRun,
        progress: Progress<'_>,
    ) -> Result<TaskEnd, EngineError> {
        self.change(permit, |facts, _| Self::task_can_run(&run, facts))?;
        Ok(self.begin(&permit.scope, run, progress))
    }

    async fn urls(&self, scope: &Scope, role: Role) -> Result<Vec<Url>, EngineError> {
        Ok(self.observe(scope).await?.urls(role))
    }

    async fn logs(
        &self,
        _: &Scope,
        _: LogQuery,
    ) -> Result<BoxStream<'static, Result<LogLine, EngineError>>, EngineError> {
        Ok(stream::empty().boxed())
    }
}
