//! One environment of the agent's: who may change it, what becomes of its instances, and whether a
//! slot is ready.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::MutexGuard;

use crate::agent::engine::environment_state::{EnvironmentState, InstanceKey, Serving};
use crate::agent::engine::held::Held;
use crate::agent::engine::record::EnvironmentRecord;
use crate::agent::engine::{Agent, failed};
use crate::agent::instance::Supervisor;
use crate::agent::log::instances;
use crate::model::facts::{Facts, HealthState};
use crate::model::route::Route;
use crate::model::{ServiceName, Slot};
use crate::port::engine::{EngineError, NotReady, Permit, Scope};

/// How many of a log's last lines a failure shows.
const LAST_LINES: usize = 20;

/// How long requests may take to leave an instance that is taken out, when no route says otherwise.
const DRAIN: Duration = Duration::from_secs(30);

/// One environment: its state, and what is done to it, one thing at a time.
pub(in crate::agent) struct Environment {
    pub state: Arc<EnvironmentState>,
    pub work: tokio::sync::Mutex<Work>,
}

/// What only the one who changes an environment may touch.
#[derive(Default)]
pub(in crate::agent) struct Work {
    pub instances: BTreeMap<InstanceKey, Supervisor>,
    /// The values of secrets, in memory only.
    pub secrets: BTreeMap<(Slot, ServiceName), Held>,
    /// Counts up with each placement.
    pub generation: u64,
}

impl Agent {
    /// Stops every service. Without this call they outlive the agent.
    pub async fn stop_services(&self) {
        for scope in self.scopes() {
            let environment = self.environment(&scope);
            let instances = std::mem::take(&mut environment.work.lock().await.instances);
            futures_util::future::join_all(instances.into_values().map(Supervisor::stop)).await;
        }
    }

    /// Whether a permit would be let in.
    pub(in crate::agent) fn check(&self, permit: &Permit) -> Result<(), EngineError> {
        let record = self.environment(&permit.scope).state.record();
        permit.enters(record.owner(), record.fence, record.changed_by.as_ref())
    }

    /// Lets a permit in: the lineage must own the environment, and the fence must not be behind.
    /// What it brings is recorded before anything is done under it.
    pub(super) async fn enter<'a>(
        &self,
        environment: &'a Environment,
        permit: &Permit,
    ) -> Result<MutexGuard<'a, Work>, EngineError> {
        let work = environment.work.lock().await;
        let record = environment.state.record();

        permit.enters(record.owner(), record.fence, record.changed_by.as_ref())?;

        self.write(environment, |record| {
            record.lineage = Some(permit.lineage.clone());
            record.fence = permit.fence;
            record.changed_by = Some(permit.actor.clone());
            record.changed_at = Some(Timestamp::now());
        })?;
        Ok(work)
    }

    #[allow(clippy::unused_self)]
    pub(super) fn write(
        &self,
        environment: &Environment,
        change: impl FnOnce(&mut EnvironmentRecord),
    ) -> Result<(), EngineError> {
        environment
            .state
            .write(change)
            .map_err(|error| failed("writing the environment down", &error))
    }

    /// Takes instances out of traffic, waits for their requests, and stops them.
    pub(super) async fn retire(
        &self,
        environment: &Environment,
        work: &mut Work,
        keys: &[InstanceKey],
        drain: Duration,
    ) {
        for key in keys {
            environment
                .state
                .set(key, |entry| entry.serving = Serving::No);
        }

        self.router
            .drained(&environment.state.addresses(keys), drain)
            .await;
        let gone: Vec<Supervisor> = keys
            .iter()
            .filter_map(|key| work.instances.remove(key))
            .collect();
        futures_util::future::join_all(gone.into_iter().map(Supervisor::stop)).await;

        for key in keys {
            environment.state.drop_entry(key);
        }
    }

    pub(super) fn drain(environment: &Environment, service: &ServiceName) -> Duration {
        let record = environment.state.record();
        let listeners = record.routes.get(service).and_then(Route::listeners);
        listeners.map_or(DRAIN, |listeners| listeners.limits.drain.get())
    }

    /// Stops a slot at a time, unless it is active by then or the time was changed.
    pub(super) fn stop_later(self: &Arc<Self>, scope: &Scope, slot: Slot, until: Timestamp) {
        let (agent, scope) = (Arc::downgrade(self), scope.clone());
        tokio::spawn(async move {
            let pause = until.duration_since(Timestamp::now());
            tokio::time::sleep(Duration::try_from(pause).unwrap_or_default()).await;
            if let Some(agent) = agent.upgrade() {
                agent.stop_now(&scope, slot, until).await;
            }
        });
    }

    async fn stop_now(&self, scope: &Scope, slot: Slot, until: Timestamp) {
        let environment = self.environment(scope);
        let mut work = environment.work.lock().await;
        let record = environment.state.record();
        let due = record
            .slots
            .get(&slot)
            .is_some_and(|there| there.stops_at == Some(until));
        if !due || record.traffic.reaches(slot) {
            return;
        }

        let written = self.write(&environment, |record| {
            if let Some(there) = record.slots.get_mut(&slot) {
                there.stops_at = None;
                for workload in there.workloads.values_mut() {
                    workload.running = false;
                }
            }
        });
        if let Err(error) = written {
            tracing::error!(%error, %scope, %slot, "a kept slot could not be stopped");
            return;
        }

        let keys: Vec<InstanceKey> = work
            .instances
            .keys()
            .filter(|key| key.slot == slot)
            .cloned()
            .collect();
        self.retire(&environment, &mut work, &keys, DRAIN).await;
    }

    /// Why a slot cannot become ready any more; none while it still can.
    pub(super) fn hopeless(&self, scope: &Scope, slot: Slot, facts: &Facts) -> Option<NotReady> {
        let there = facts.slots.get(&slot)?;
        for (service, workload) in &there.workloads {
            let failed = workload
                .instances
                .iter()
                .find(|instance| instance.health == HealthState::Failed);
            let Some(instance) = failed else {
                continue;
            };

            let why = instance.last_exit.clone().unwrap_or_default();
            let reason = format!("{service}.{} failed: {why}", instance.index);
            let (number, index) = (there.label.number, instance.index);
            let log = self
                .folder()
                .instance_log(scope, slot, number, service, index);
            return Some(self.with_log(reason, &log));
        }
        None
    }

    /// What is wrong with a slot that is not ready now.
    pub(super) fn not_ready(&self, scope: &Scope, slot: Slot, facts: &Facts) -> NotReady {
        if let Some(hopeless) = self.hopeless(scope, slot, facts) {
            return hopeless;
        }
        let Some(there) = facts.slots.get(&slot) else {
            return without_log("it is empty");
        };
        let unready = there
            .workloads
            .iter()
            .find(|(_, workload)| workload.health() != HealthState::Ready);
        let Some((service, workload)) = unready else {
            return without_log("it holds no service");
        };

        let exit = workload
            .instances
            .iter()
            .find_map(|instance| instance.last_exit.clone());
        let exit = exit.map(|exit| format!(" ({exit})")).unwrap_or_default();
        let reason = format!("{service} is {}{exit}", workload.health().word());
        let number = there.label.number;
        let log = self.folder().instance_log(scope, slot, number, service, 0);
        self.with_log(reason, &log)
    }

    fn with_log(&self, reason: String, log: &Path) -> NotReady {
        let lines = instances::tail(log, LAST_LINES);
        NotReady {
            reason,
            log: self.redactor.lines(lines),
        }
    }
}

pub(super) fn without_log(reason: &str) -> NotReady {
    NotReady {
        reason: reason.to_owned(),
        log: Vec::new(),
    }
}
