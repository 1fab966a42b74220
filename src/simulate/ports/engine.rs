//! The engine, as a run sees it.

use std::collections::BTreeMap;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use jiff::Timestamp;

use crate::model::facts::Facts;
use crate::model::object::ObjectFacts;
use crate::model::outcome::Url;
use crate::model::route::Route;
use crate::model::secret::SecretValue;
use crate::model::task::TaskId;
use crate::model::{
    Address, Fingerprint, LiveTraffic, Manifest, ObjectKey, Period, Role, ServiceName, Slot,
};
use crate::port::Progress;
use crate::port::engine::{
    Engine, EngineError, Foreseen, Incoming, LogLine, LogQuery, Permit, Placement, Scope, TaskEnd,
    TaskRun,
};
use crate::simulate::fault::Call;
use crate::simulate::world::Runner;

#[async_trait]
impl Engine for Runner {
    async fn observe(&self, scope: &Scope) -> Result<Facts, EngineError> {
        let call = Call::looks("observe");
        self.make(call, self.world.engine.observe(scope)).await
    }

    async fn secret_hashes(
        &self,
        scope: &Scope,
        values: &BTreeMap<String, SecretValue>,
    ) -> Result<BTreeMap<String, String>, EngineError> {
        self.world.engine.secret_hashes(scope, values).await
    }

    async fn listen(
        &self,
        permit: &Permit,
        route: &Route,
        expects: Option<Fingerprint>,
    ) -> Result<(), EngineError> {
        let call = Call::acts("listen").on(Address::Route(route.service.clone()));
        let listen = self.world.engine.listen(permit, route, expects);
        self.make(call, listen).await
    }

    async fn listen_together(
        &self,
        permit: &Permit,
        routes: &[Route],
        expects: Option<Fingerprint>,
    ) -> Result<(), EngineError> {
        let call = Call::acts("listen");
        let call = match routes.first() {
            Some(route) => call.on(Address::Route(route.service.clone())),
            None => call,
        };
        let listen = self.world.engine.listen_together(permit, routes, expects);
        self.make(call, listen).await
    }

    async fn stop_listening(
        &self,
        permit: &Permit,
        service: &ServiceName,
    ) -> Result<(), EngineError> {
        let call = Call::acts("stop_listening").on(Address::Route(service.clone()));
        let stop = self.world.engine.stop_listening(permit, service);
        self.make(call, stop).await
    }

    async fn room(&self, incoming: &[Incoming]) -> Result<(), EngineError> {
        let call = Call::looks("room");
        self.make(call, self.world.engine.room(incoming)).await
    }

    async fn deploy(
        &self,
        permit: &Permit,
        placement: Placement,
        progress: Progress<'_>,
    ) -> Result<(), EngineError> {
        let service = placement.workload.service.clone();
        let call = Call::acts("deploy").on(Address::Workload(placement.slot, service));
        let deploy = self.world.engine.deploy(permit, placement, progress);
        self.make(call, deploy).await
    }

    async fn stop(
        &self,
        permit: &Permit,
        slot: Slot,
        service: &ServiceName,
        expects: Option<Fingerprint>,
        progress: Progress<'_>,
    ) -> Result<(), EngineError> {
        let call = Call::acts("stop").on(Address::Workload(slot, service.clone()));
        let engine = &self.world.engine;
        let stop = engine.stop(permit, slot, service, expects, progress);
        self.make(call, stop).await
    }

    async fn undeploy(
        &self,
        permit: &Permit,
        slot: Slot,
        service: &ServiceName,
        expects: Option<Fingerprint>,
    ) -> Result<(), EngineError> {
        let call = Call::acts("undeploy").on(Address::Workload(slot, service.clone()));
        let undeploy = self.world.engine.undeploy(permit, slot, service, expects);
        self.make(call, undeploy).await
    }

    async fn ready(
        &self,
        scope: &Scope,
        slot: Slot,
        within: Period,
        progress: Progress<'_>,
    ) -> Result<(), EngineError> {
        let call = Call::looks("ready").on(Address::Slot(slot));
        let ready = self.world.engine.ready(scope, slot, within, progress);
        self.make(call, ready).await
    }

    async fn switch(
        &self,
        permit: &Permit,
        from: LiveTraffic,
        to: LiveTraffic,
    ) -> Result<(), EngineError> {
        let call = Call::acts("switch").on(Address::Traffic);
        self.make(call, self.world.engine.switch(permit, from, to))
            .await
    }

    async fn retain(
        &self,
        permit: &Permit,
        slot: Slot,
        until: Timestamp,
    ) -> Result<(), EngineError> {
        let call = Call::acts("retain").on(Address::Slot(slot));
        self.make(call, self.world.engine.retain(permit, slot, until))
            .await
    }

    async fn run_task(
        &self,
        permit: &Permit,
        run: TaskRun,
        progress: Progress<'_>,
    ) -> Result<TaskEnd, EngineError> {
        let call = Call::acts("run_task").on(Address::Slot(run.slot));
        let run = self.world.engine.run_task(permit, run, progress);
        self.make(call, run).await
    }

    async fn stop_task(&self, permit: &Permit, id: &TaskId) -> Result<(), EngineError> {
        let call = Call::acts("stop_task");
        let stop = self.world.engine.stop_task(permit, id);
        self.make(call, stop).await
    }

    async fn compare(
        &self,
        scope: &Scope,
        wanted: &[Manifest],
    ) -> Result<Vec<ObjectFacts>, EngineError> {
        let call = Call::looks("compare");
        self.make(call, self.world.engine.compare(scope, wanted))
            .await
    }

    async fn apply(
        &self,
        permit: &Permit,
        manifest: &Manifest,
        replace: bool,
        expects: Option<Fingerprint>,
        progress: Progress<'_>,
    ) -> Result<(), EngineError> {
        let call = Call::acts("apply").on(Address::Object(manifest.key()));
        let engine = &self.world.engine;
        let apply = engine.apply(permit, manifest, replace, expects, progress);
        self.make(call, apply).await
    }

    async fn settled(
        &self,
        scope: &Scope,
        manifest: &Manifest,
        progress: Progress<'_>,
    ) -> Result<(), EngineError> {
        let call = Call::looks("settled").on(Address::Object(manifest.key()));
        let settled = self.world.engine.settled(scope, manifest, progress);
        self.make(call, settled).await
    }

    async fn delete(
        &self,
        permit: &Permit,
        key: &ObjectKey,
        expects: Option<Fingerprint>,
        foreseen: Foreseen<'_>,
    ) -> Result<(), EngineError> {
        let call = Call::acts("delete").on(Address::Object(key.clone()));
        let delete = self.world.engine.delete(permit, key, expects, foreseen);
        self.make(call, delete).await
    }

    async fn forget(&self, permit: &Permit, key: &ObjectKey) -> Result<(), EngineError> {
        let call = Call::acts("forget").on(Address::Object(key.clone()));
        self.make(call, self.world.engine.forget(permit, key)).await
    }

    async fn urls(&self, scope: &Scope, role: Role) -> Result<Vec<Url>, EngineError> {
        let call = Call::looks("urls");
        self.make(call, self.world.engine.urls(scope, role)).await
    }

    async fn logs(
        &self,
        scope: &Scope,
        query: LogQuery,
    ) -> Result<BoxStream<'static, Result<LogLine, EngineError>>, EngineError> {
        self.world.engine.logs(scope, query).await
    }
}
