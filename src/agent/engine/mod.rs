//! The agent's engine: every call of the engine port, with its permits, fingerprints and records.

pub mod environment_state;
pub mod record;

mod command;
pub(in crate::agent) mod deploy;
mod environment;
mod hash_key;
pub(in crate::agent) mod held;
mod images;
pub(in crate::agent) mod listeners;
mod logs;
mod moved;
mod ready;
mod restart;
pub(in crate::agent) mod resume;
pub(in crate::agent) mod schedule;
mod stop;
pub(in crate::agent) mod task;
mod undeploy;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::agent::engine::environment::{Environment, Work};
use crate::agent::engine::environment_state::EnvironmentState;
use crate::agent::engine::record::{EnvironmentRecord, SlotRecord};
use crate::agent::front::nginx::{self, Mark};
use crate::agent::instance::{InstanceSpec, Prober};
use crate::agent::log::file::LogFile;
use crate::agent::rootfs;
use crate::agent::router::{Options, Router};
use crate::agent::runtime::Runtimes;
use crate::agent::{Descriptors, Directory};
use crate::model::facts::Facts;
use crate::model::outcome::Url;
use crate::model::route::Route;
use crate::model::schedule::ScheduleFacts;
use crate::model::secret::{HashKey, SecretValue};
use crate::model::task::TaskId;
use crate::model::{
    Address, Digest, Fingerprint, LiveTraffic, Period, Role, ServiceName, Slot, TaskName,
};
use crate::port::Progress;
use crate::port::engine::{
    CommandRequest, Engine, EngineError, Incoming, LogLine, LogQuery, Permit, Placement, Restart,
    RunningCommand, Scope, TaskEnd, TaskRun,
};
use crate::redact::Redactor;

/// The agent.
pub struct Agent {
    directory: Directory,
    router: Router,
    runtimes: Runtimes,
    prober: Prober,
    environments: Mutex<HashMap<Scope, Arc<Environment>>>,
    /// How many more commands may run.
    commands: command::Room,
    tasks: task::Tasks,
    schedules: schedule::Schedules,
    /// Held while an image is fetched: what nobody refers to is taken away at another time.
    fetching: tokio::sync::RwLock<()>,
    /// Knows every secret that a service here was given since the agent began.
    redactor: Redactor,
    /// What the hashes of secrets are keyed with.
    hash_key: HashKey,
}

impl Agent {
    /// An agent in its folder, with everything that an earlier one left: processes are taken back,
    /// listeners opened, traffic routed as it was. `redactor` learns the secrets that services are
    /// given.
    pub async fn start(
        directory: Directory,
        inherited: Vec<std::net::TcpListener>,
        redactor: Redactor,
    ) -> Result<Arc<Self>, EngineError> {
        rootfs::prepare(&directory)
            .map_err(|reason| failed("preparing the images' folder", &reason))?;
        let hash_key = hash_key::load(&directory)
            .map_err(|error| failed("reading the key of secrets' hashes", &error))?;
        let router = Router::new(Options {
            access_log: Some(LogFile::access(directory.access_log())),
            inherited,
            descriptors: Descriptors::of_this_process(),
            redactor: redactor.clone(),
        });

        let agent = Arc::new(Self {
            directory,
            router,
            runtimes: Runtimes::default(),
            prober: Prober::default(),
            fetching: tokio::sync::RwLock::default(),
            environments: Mutex::default(),
            commands: command::Room::default(),
            tasks: task::Tasks::default(),
            schedules: schedule::Schedules::default(),
            redactor,
            hash_key,
        });

        let records = EnvironmentRecord::load_all(&agent.directory)
            .map_err(|error| failed("reading what an earlier agent wrote down", &error))?;
        resume::remove_strays(&agent, &records).await;
        for record in records {
            resume::resume(&agent, record).await?;
        }
        agent.sweep().await;
        Ok(agent)
    }

    /// The agent's folder.
    #[must_use]
    pub const fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The router, for closing it at the end.
    #[must_use]
    pub const fn router(&self) -> &Router {
        &self.router
    }

    /// The environments that it knows.
    #[must_use]
    pub fn scopes(&self) -> Vec<Scope> {
        let environments = self
            .environments
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut scopes: Vec<Scope> = environments.keys().cloned().collect();
        scopes.sort();
        scopes
    }

    /// What stands for these values, by their names.
    pub(in crate::agent) fn hashes(
        &self,
        values: &BTreeMap<String, SecretValue>,
    ) -> BTreeMap<String, String> {
        self.hash_key.hashes(values)
    }

    pub(super) fn insert(&self, record: EnvironmentRecord) -> Arc<Environment> {
        let mut environments = self
            .environments
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let scope = record.scope.clone();
        let entry = environments.entry(scope).or_insert_with(|| {
            let state = Arc::new(EnvironmentState::new(
                self.directory.clone(),
                self.router.clone(),
                record,
            ));
            Arc::new(Environment {
                state,
                work: tokio::sync::Mutex::default(),
            })
        });
        Arc::clone(entry)
    }

    pub(super) fn environment(&self, scope: &Scope) -> Arc<Environment> {
        self.insert(EnvironmentRecord::new(scope.clone()))
    }

    pub(super) fn instance_spec(
        &self,
        scope: &Scope,
        there: &SlotRecord,
        service: &ServiceName,
        secrets: BTreeMap<String, SecretValue>,
    ) -> Result<InstanceSpec, EngineError> {
        let refused = |why| failed("starting a service", &format!("{service} {why}"));
        let missing = || refused("is not in the slot");
        let objects = || refused("is made of objects of a cluster");
        let workload = there.workloads.get(service).ok_or_else(missing)?;
        let workload = workload.spec.clone();
        let digest = workload.image.value().ok_or_else(missing)?;
        let process = workload.process().cloned().ok_or_else(objects)?;
        let runtime = self.runtimes.of(&workload);
        let image = runtime
            .meta(&self.directory, digest)
            .map_err(|error| failed("reading the image", &error))?;

        for value in secrets.values() {
            self.redactor.remember(value);
        }
        Ok(InstanceSpec {
            directory: self.directory.clone(),
            scope: scope.clone(),
            label: there.label.clone(),
            workload,
            process,
            image,
            secrets,
            runtime,
            prober: self.prober.clone(),
            redactor: self.redactor.clone(),
            reports: None,
        })
    }

    pub(super) const fn folder(&self) -> &Directory {
        &self.directory
    }

    /// The runtimes.
    pub(super) const fn runtimes(&self) -> &Runtimes {
        &self.runtimes
    }

    /// The images that slots refer to, and those that run.
    fn used(&self) -> Vec<Digest> {
        let mut used = self.tasks.images();
        for scope in self.scopes() {
            let state = Arc::clone(&self.environment(&scope).state);
            let record = state.record();
            used.extend(state.images());
            let workloads = record
                .slots
                .values()
                .flat_map(|there| there.workloads.values());
            used.extend(workloads.filter_map(|workload| workload.spec.image.value().cloned()));
        }
        used
    }

    /// Takes unpacked images away that no slot refers to.
    pub(super) async fn sweep(&self) {
        // An image that is being fetched is nobody's yet, and the next sweep finds what this leaves.
        let Ok(_alone) = self.fetching.try_write() else {
            return;
        };
        let used = self.used();
        rootfs::sweep(&self.directory, &used);
        if self.uses_docker() {
            self.runtimes.docker.sweep(&self.directory, &used).await;
        }
    }

    fn uses_docker(&self) -> bool {
        self.scopes()
            .iter()
            .any(|scope| self.environment(scope).state.record().is_dockers())
    }
}

pub(super) fn failed(what: &str, reason: &impl std::fmt::Display) -> EngineError {
    EngineError::Failed {
        what: what.to_owned(),
        reason: reason.to_string(),
    }
}

pub(super) fn moved(address: Address, record: &EnvironmentRecord) -> EngineError {
    EngineError::Moved {
        address,
        by: record.changed_by.clone(),
        at: record.changed_at,
    }
}

#[async_trait]
impl Engine for Arc<Agent> {
    async fn observe(&self, scope: &Scope) -> Result<Facts, EngineError> {
        match self.known(scope) {
            Some(environment) => Ok(moved::observe(self, &environment).await),
            None => Ok(Facts::default()),
        }
    }

    async fn secret_hashes(
        &self,
        _: &Scope,
        values: &BTreeMap<String, SecretValue>,
    ) -> Result<BTreeMap<String, String>, EngineError> {
        Ok(self.hashes(values))
    }

    async fn listen(
        &self,
        permit: &Permit,
        route: &Route,
        expects: Option<Fingerprint>,
    ) -> Result<(), EngineError> {
        listeners::change(self, permit, std::slice::from_ref(route), expects).await
    }

    async fn listen_together(
        &self,
        permit: &Permit,
        routes: &[Route],
        expects: Option<Fingerprint>,
    ) -> Result<(), EngineError> {
        listeners::change(self, permit, routes, expects).await
    }

    async fn stop_listening(
        &self,
        permit: &Permit,
        service: &ServiceName,
    ) -> Result<(), EngineError> {
        listeners::remove(self, permit, service).await
    }

    async fn room(&self, incoming: &[Incoming]) -> Result<(), EngineError> {
        images::room(self, incoming).await
    }

    async fn deploy(
        &self,
        permit: &Permit,
        placement: Placement,
        progress: Progress<'_>,
    ) -> Result<(), EngineError> {
        let gone = CancellationToken::new();
        deploy::deploy(self, permit, placement, progress, &gone).await
    }

    async fn restart(
        &self,
        permit: &Permit,
        restart: Restart,
        progress: Progress<'_>,
    ) -> Result<(), EngineError> {
        restart::restart(self, permit, restart, progress).await
    }

    async fn stop(
        &self,
        permit: &Permit,
        slot: Slot,
        service: &ServiceName,
        expects: Option<Fingerprint>,
        _: Progress<'_>,
    ) -> Result<(), EngineError> {
        stop::stop(self, permit, slot, service, expects).await
    }

    async fn undeploy(
        &self,
        permit: &Permit,
        slot: Slot,
        service: &ServiceName,
        expects: Option<Fingerprint>,
    ) -> Result<(), EngineError> {
        undeploy::undeploy(self, permit, slot, service, expects).await
    }

    async fn ready(
        &self,
        scope: &Scope,
        slot: Slot,
        within: Period,
        progress: Progress<'_>,
    ) -> Result<(), EngineError> {
        ready::ready(self, scope, slot, within, progress).await
    }

    async fn switch(
        &self,
        permit: &Permit,
        from: LiveTraffic,
        to: LiveTraffic,
    ) -> Result<(), EngineError> {
        let environment = self.environment(&permit.scope);
        let before = environment.state.record();
        let _work = self.enter(&environment, permit).await?;
        let active = environment.state.record().traffic;
        if active == to {
            return Ok(());
        }
        if active != from {
            return Err(moved(Address::Traffic, &before));
        }

        let record = environment.state.record();
        let (routes, mark) = (&record.routes, Mark::of(&record));
        let is_ready = |slot: Slot| {
            environment
                .state
                .facts()
                .slots
                .get(&slot)
                .is_some_and(crate::model::facts::SlotFacts::is_ready)
        };
        // What stands in front is led there while the slot is seen ready; the record follows, and
        // is what counts.
        if to.slot().is_none_or(is_ready)
            && let Err(reason) = nginx::lead(routes, &mark, to).await
        {
            return Err(EngineError::Failed {
                what: "leading the proxy to the other slot".to_owned(),
                reason,
            });
        }

        let switched = environment.state.switch(to, Timestamp::now(), |record| {
            if let Some(there) = to.slot().and_then(|slot| record.slots.get_mut(&slot)) {
                there.stops_at = None;
            }
        });
        let error = match switched {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(slot)) => {
                let not_ready = self.not_ready(&permit.scope, slot, &environment.state.facts());
                EngineError::NotReady { slot, not_ready }
            }
            Err(error) => failed("writing the switch down", &error),
        };

        if let Err(error) = nginx::lead(routes, &mark, active).await {
            tracing::error!(%error, "the proxy could not be pointed back");
        }
        Err(error)
    }

    async fn retain(
        &self,
        permit: &Permit,
        slot: Slot,
        until: Timestamp,
    ) -> Result<(), EngineError> {
        let environment = self.environment(&permit.scope);
        let _work = self.enter(&environment, permit).await?;
        if environment.state.record().traffic.reaches(slot) {
            return Err(EngineError::Refused {
                reason: format!("{slot} has live traffic and cannot be stopped"),
                help: "promote the other slot first".to_owned(),
            });
        }

        self.write(&environment, |record| {
            if let Some(there) = record.slots.get_mut(&slot) {
                there.stops_at = Some(until);
            }
        })?;
        self.stop_later(&permit.scope, slot, until);
        Ok(())
    }

    async fn run_task(
        &self,
        permit: &Permit,
        run: TaskRun,
        progress: Progress<'_>,
    ) -> Result<TaskEnd, EngineError> {
        task::run(self, permit, run, progress).await
    }

    async fn stop_task(&self, permit: &Permit, id: &TaskId) -> Result<(), EngineError> {
        task::stop(self, permit, id).await
    }

    async fn schedules(
        &self,
        scope: &Scope,
        task: Option<&TaskName>,
    ) -> Result<Vec<ScheduleFacts>, EngineError> {
        Ok(schedule::facts(self, scope, task))
    }

    async fn urls(&self, scope: &Scope, role: Role) -> Result<Vec<Url>, EngineError> {
        Ok(self.recorded(scope).urls(role))
    }

    async fn command(
        &self,
        scope: &Scope,
        request: CommandRequest,
    ) -> Result<RunningCommand, EngineError> {
        command::run(self, scope, request).await
    }

    async fn logs(
        &self,
        scope: &Scope,
        query: LogQuery,
    ) -> Result<BoxStream<'static, Result<LogLine, EngineError>>, EngineError> {
        Ok(logs::stream(self, scope, &query, &self.recorded(scope)))
    }
}
