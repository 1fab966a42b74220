//! The engine `kubernetes`: server-side apply, watches, and one record per environment.
//!
//! On the API server's [`client`](super::client): `record` keeps what shipit must remember, and
//! `complete` makes the manifests of a workload those that are sent. [`compare`] and [`ready`] are
//! pure. On top of them `observe` reads what is there, `slots` deploys and undeploys, `traffic`
//! switches, `environment_objects` is for the objects that belong to no slot, `wait` watches, and
//! `doctor` asks what is allowed.

mod addresses;
mod apply;
mod autoscale;
mod cache;
mod capabilities;
mod command;
pub mod compare;
mod complete;
mod connection;
mod contents;
mod definition;
mod diagnose;
mod doctor;
mod done;
mod environment_objects;
mod holds;
#[cfg(any(test, fuzzing))]
mod hostile;
mod leavings;
mod list;
mod logs;
mod missing_owner;
mod observe;
mod occupants;
mod openapi;
mod owner;
mod prerequisites;
pub mod ready;
mod record;
mod rehearse;
mod schedules;
mod slots;
mod spelling;
mod taken;
mod task;
mod traffic;
mod unknown_kind;
mod wait;

#[cfg(any(test, fuzzing))]
pub(crate) use hostile::bytes as hostile_object;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use jiff::Timestamp;
use tokio::sync::{Mutex, OnceCell};

use crate::driver::kubernetes::client::api::Api;
use crate::driver::kubernetes::client::{ClusterConnection, connect};
use crate::driver::kubernetes::engine::cache::{Announced, Newest, Seen};
use crate::driver::kubernetes::engine::leavings::Leavings;
use crate::driver::kubernetes::engine::ready::Rule;
use crate::driver::kubernetes::engine::record::Workloads;
use crate::model::facts::{Facts, Overview};
use crate::model::kind::{Capabilities, KindScopes};
use crate::model::loss::Holding;
use crate::model::object::{Namespaces, ObjectFacts};
use crate::model::outcome::Url;
use crate::model::port::PortName;
use crate::model::resource::ResourceKey;
use crate::model::route::Route;
use crate::model::schedule::ScheduleFacts;
use crate::model::secret::{HashKey, SecretValue};
use crate::model::task::{TaskId, TaskProgram};
use crate::model::{
    Fingerprint, LiveTraffic, Manifest, ObjectKey, Period, ReleaseNumber, Role, ServiceName, Slot,
    TaskName,
};
use crate::port::Progress;
use crate::port::engine::{
    CheckResult, CommandRequest, Diagnosis, Engine, EngineError, Foreseen, LogLine, LogQuery,
    Permit, Placement, Rehearsal, Rehearsed, Restart, RunningCommand, Scope, TaskEnd, TaskRun,
};

/// What to do with a field that another manager has changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Conflict {
    /// Say who, and change nothing.
    #[default]
    Stop,
    /// Take it over.
    TakeOver,
    /// Leave it to them.
    Leave,
}

/// What the engine is told by the configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How the cluster is reached.
    pub connection: ClusterConnection,
    /// Where the objects are.
    pub namespaces: Namespaces,
    /// What to do about other managers' fields.
    pub conflict: Conflict,
    /// When an object of a kind is ready, by `GROUP/KIND`.
    pub rules: BTreeMap<String, Rule>,
    /// How long an object has to become ready.
    pub within: Period,
}

/// A cluster as an engine.
pub struct KubernetesEngine {
    settings: Settings,
    api: OnceCell<Arc<Api>>,
    /// The record as this process read or wrote it last: who writes next begins there, and not with
    /// what it read before.
    newest: Mutex<Option<Newest>>,
    /// What stands in the slots as the run of this fence read or wrote it last.
    placed: std::sync::Mutex<BTreeMap<Slot, (u64, Workloads)>>,
    /// What an observation saw of objects that differ from what is wanted: a step that is bound to
    /// them need not look again where the server can tell that they are the same still.
    seen: std::sync::Mutex<BTreeMap<ObjectKey, Seen>>,
    /// The facts that a plan is made from, for who asks more about the same moment.
    observed: std::sync::Mutex<Option<(Duration, Scope, Facts)>>,
    /// The key of the secrets' hashes: it is made once.
    key: std::sync::Mutex<Option<HashKey>>,
    /// What steps under way will make, and whoever writes the record next writes for them.
    announced: std::sync::Mutex<Vec<Announced>>,
    /// What of ours nothing asks for, as the last observation found it.
    leavings: std::sync::Mutex<Leavings>,
}

/// How often a record is read again when somebody else wrote it in between.
const TRIES: usize = 8;

#[async_trait]
impl Engine for KubernetesEngine {
    async fn observe(&self, scope: &Scope) -> Result<Facts, EngineError> {
        Ok(observe::observe(self, scope, None).await?.0)
    }

    async fn overview(&self, scope: &Scope) -> Result<Overview, EngineError> {
        traffic::overview(self, scope).await
    }

    async fn fence(&self, scope: &Scope) -> Result<u64, EngineError> {
        traffic::fence(self, scope).await
    }

    async fn observe_with(
        &self,
        scope: &Scope,
        wanted: &[Manifest],
    ) -> Result<(Facts, Vec<ObjectFacts>), EngineError> {
        observe::observe(self, scope, Some(wanted)).await
    }

    async fn compare(
        &self,
        scope: &Scope,
        wanted: &[Manifest],
    ) -> Result<Vec<ObjectFacts>, EngineError> {
        Ok(observe::observe(self, scope, Some(wanted)).await?.1)
    }

    async fn kind_scopes(
        &self,
        kinds: &BTreeSet<(String, String)>,
    ) -> Result<KindScopes, EngineError> {
        // A cluster that is not there yet knows none.
        match self.try_api().await? {
            Some(api) => capabilities::kind_scopes(api, kinds).await,
            None => Ok(KindScopes::default()),
        }
    }

    async fn capabilities(&self) -> Result<Option<Capabilities>, EngineError> {
        capabilities::of(self).await
    }

    async fn listen(
        &self,
        permit: &Permit,
        route: &Route,
        expects: Option<Fingerprint>,
    ) -> Result<(), EngineError> {
        traffic::route(self, permit, route, expects).await
    }

    async fn stop_listening(
        &self,
        permit: &Permit,
        service: &ServiceName,
    ) -> Result<(), EngineError> {
        traffic::unroute(self, permit, service).await
    }

    async fn deploy(
        &self,
        permit: &Permit,
        placement: Placement,
        progress: Progress<'_>,
    ) -> Result<(), EngineError> {
        slots::deploy(self, permit, &placement, progress).await
    }

    async fn rehearse(
        &self,
        scope: &Scope,
        rehearsal: &Rehearsal<'_>,
    ) -> Result<Rehearsed, EngineError> {
        rehearse::rehearse(self, scope, rehearsal).await
    }

    async fn replaced(
        &self,
        scope: &Scope,
        route: &Route,
        traffic: LiveTraffic,
        among: &BTreeSet<ObjectKey>,
    ) -> Result<Vec<ObjectKey>, EngineError> {
        rehearse::replaced(self, scope, route, traffic, among).await
    }

    async fn secret_hashes(
        &self,
        scope: &Scope,
        values: &BTreeMap<String, SecretValue>,
    ) -> Result<BTreeMap<String, String>, EngineError> {
        let api = self.api().await?;
        let key = self.records(api, scope).key(false).await;
        let key = key.map_err(|fault| fault.while_("reading the key of secrets' hashes"))?;
        Ok(if key.0.is_empty() {
            BTreeMap::new()
        } else {
            key.hashes(values)
        })
    }

    async fn restart(
        &self,
        permit: &Permit,
        restart: Restart,
        progress: Progress<'_>,
    ) -> Result<(), EngineError> {
        slots::restart(self, permit, restart, progress).await
    }

    async fn stop(
        &self,
        permit: &Permit,
        slot: Slot,
        service: &ServiceName,
        expects: Option<Fingerprint>,
        progress: Progress<'_>,
    ) -> Result<(), EngineError> {
        slots::stop(self, permit, (slot, service), expects, progress).await
    }

    async fn undeploy(
        &self,
        permit: &Permit,
        slot: Slot,
        service: &ServiceName,
        expects: Option<Fingerprint>,
    ) -> Result<(), EngineError> {
        slots::undeploy(self, permit, slot, service, expects).await
    }

    async fn ready(
        &self,
        scope: &Scope,
        slot: Slot,
        within: Period,
        progress: Progress<'_>,
    ) -> Result<(), EngineError> {
        wait::whole_slot(self, scope, slot, within, progress).await
    }

    async fn switch(
        &self,
        permit: &Permit,
        from: LiveTraffic,
        to: LiveTraffic,
    ) -> Result<(), EngineError> {
        traffic::switch(self, permit, from, to).await
    }

    async fn retain(
        &self,
        permit: &Permit,
        slot: Slot,
        until: Timestamp,
    ) -> Result<(), EngineError> {
        slots::retain(self, permit, slot, until).await
    }

    async fn apply(
        &self,
        permit: &Permit,
        manifest: &Manifest,
        replace: bool,
        expects: Option<Fingerprint>,
        progress: Progress<'_>,
    ) -> Result<(), EngineError> {
        let application = environment_objects::Application {
            engine: self,
            permit,
            manifest,
            replace,
            expects,
            progress,
        };
        application.run().await
    }

    async fn settled(
        &self,
        scope: &Scope,
        manifest: &Manifest,
        progress: Progress<'_>,
    ) -> Result<(), EngineError> {
        environment_objects::settled(self, scope, manifest, progress).await
    }

    async fn delete(
        &self,
        permit: &Permit,
        key: &ObjectKey,
        expects: Option<Fingerprint>,
        foreseen: Foreseen<'_>,
    ) -> Result<(), EngineError> {
        environment_objects::delete(self, permit, key, expects, foreseen).await
    }

    async fn forget(&self, permit: &Permit, key: &ObjectKey) -> Result<(), EngineError> {
        environment_objects::forget(self, permit, key).await
    }

    async fn occupants(
        &self,
        scope: &Scope,
        resource: &ResourceKey,
    ) -> Result<Vec<Holding>, EngineError> {
        occupants::occupants(self, scope, resource).await
    }

    async fn adopt(
        &self,
        permit: &Permit,
        manifest: &Manifest,
    ) -> Result<Vec<String>, EngineError> {
        environment_objects::adopt(self, permit, manifest).await
    }

    async fn finish_due(&self, permit: &Permit) -> Result<Vec<String>, EngineError> {
        // A cluster that is not there yet has nothing that could be due.
        match self.try_api().await? {
            Some(_) => slots::finish_due(self, permit).await,
            None => Ok(Vec::new()),
        }
    }

    async fn clear(&self, permit: &Permit) -> Result<(), EngineError> {
        match self.try_api().await? {
            Some(api) => environment_objects::clear(self, api, permit).await,
            None => Ok(()),
        }
    }

    async fn rollback_blockers(
        &self,
        scope: &Scope,
        slot: Slot,
        objects: &[Manifest],
    ) -> Result<Vec<String>, EngineError> {
        slots::rollback_blockers(self, scope, slot, objects).await
    }

    async fn diagnose(
        &self,
        scope: &Scope,
        slot: Slot,
        release: Option<ReleaseNumber>,
    ) -> Result<Option<Diagnosis>, EngineError> {
        diagnose::diagnose(self, scope, slot, release)
            .await
            .map(Some)
    }

    async fn diagnose_object(
        &self,
        _scope: &Scope,
        key: &ObjectKey,
    ) -> Result<Option<Diagnosis>, EngineError> {
        diagnose::object(self, key).await
    }

    fn warnings(&self) -> Vec<String> {
        let mut all = connect::warnings(&self.settings.connection);
        all.extend(
            self.api
                .get()
                .map(|api| api.warnings())
                .into_iter()
                .flatten(),
        );
        all
    }

    async fn examine(
        &self,
        scope: &Scope,
        wanted: &[Manifest],
        tasks: &[&TaskProgram],
    ) -> Result<Vec<CheckResult>, EngineError> {
        doctor::examine(self, scope, wanted, tasks).await
    }

    async fn urls(&self, scope: &Scope, role: Role) -> Result<Vec<Url>, EngineError> {
        traffic::urls(self, scope, role).await
    }

    async fn port_addresses(
        &self,
        scope: &Scope,
        role: Role,
        port: (&ServiceName, &PortName),
    ) -> Result<Vec<SocketAddr>, EngineError> {
        traffic::port_addresses(self, scope, role, port).await
    }

    async fn load_balancers(
        &self,
        scope: &Scope,
    ) -> Result<BTreeMap<ServiceName, Option<String>>, EngineError> {
        traffic::load_balancers(self, scope).await
    }

    async fn command(
        &self,
        scope: &Scope,
        request: CommandRequest,
    ) -> Result<RunningCommand, EngineError> {
        command::run(self, scope, request).await
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
        schedules::schedules(self, scope, task).await
    }

    async fn logs(
        &self,
        scope: &Scope,
        query: LogQuery,
    ) -> Result<BoxStream<'static, Result<LogLine, EngineError>>, EngineError> {
        logs::logs(self, scope, query).await
    }
}
