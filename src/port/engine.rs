//! The engine: where releases run and live traffic is switched. `host` is one; a cluster is
//! another.
//!
//! All calls are idempotent: to place what is placed, or to switch to what is active, changes
//! nothing and succeeds. Every change is made under a [`Permit`]; an engine refuses a permit whose
//! fencing number is lower than the highest it has seen, so that a run that lost its lock has no
//! further effect.

mod command;
mod error;
mod task;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use jiff::Timestamp;

use crate::model::facts::{Facts, Overview};
use crate::model::kind::{Capabilities, KindScopes};
use crate::model::loss::Holding;
use crate::model::object::ObjectFacts;
use crate::model::outcome::Url;
use crate::model::port::PortName;
use crate::model::resource::ResourceKey;
use crate::model::route::Route;
use crate::model::schedule::ScheduleFacts;
use crate::model::secret::SecretValue;
use crate::model::task::{TaskId, TaskProgram};
use crate::model::{
    Fingerprint, LiveTraffic, Manifest, ObjectKey, Period, ReleaseNumber, Role, ServiceName, Slot,
    TaskName,
};
use crate::port::Progress;

pub use command::{
    CommandInput, CommandOutput, CommandRequest, RunningCommand, WAITING, WindowSize, Withheld,
    without_secrets,
};
use error::no_objects;
pub use error::{EngineError, NotReady};
pub use task::{TaskBegan, TaskEnd, TaskImage, TaskPlace, TaskRun};
pub use values::{
    CheckResult, Diagnosis, Foreseen, Incoming, LogLine, LogQuery, Permit, Placement, Pull,
    Rehearsal, Rehearsed, Restart, Scope,
};

/// An engine.
#[async_trait]
pub trait Engine: Send + Sync {
    /// What is there now. An environment that the engine does not know is [`Facts::default`], not
    /// an error.
    async fn observe(&self, scope: &Scope) -> Result<Facts, EngineError>;

    /// What stands where, for who need not know how it is.
    async fn overview(&self, scope: &Scope) -> Result<Overview, EngineError> {
        Ok(Overview::from(&self.observe(scope).await?))
    }

    /// The highest fencing number that it has seen.
    async fn fence(&self, scope: &Scope) -> Result<u64, EngineError> {
        Ok(self.observe(scope).await?.fence)
    }

    /// Both at once: what is there, and how these objects stand ([`Engine::compare`]).
    async fn observe_with(
        &self,
        scope: &Scope,
        wanted: &[Manifest],
    ) -> Result<(Facts, Vec<ObjectFacts>), EngineError> {
        Ok((
            self.observe(scope).await?,
            self.compare(scope, wanted).await?,
        ))
    }

    /// Sets up or changes a service's listeners. `expects`: the fingerprint of the route that must
    /// be there now. A live listener without an active slot holds requests, then answers 503.
    async fn listen(
        &self,
        permit: &Permit,
        route: &Route,
        expects: Option<Fingerprint>,
    ) -> Result<(), EngineError>;

    /// Changes the listeners of several services in one step, for they take over each other's
    /// addresses. `expects`: the fingerprint of all these routes as they must be now
    /// ([`Facts::routes_fingerprint`]).
    async fn listen_together(
        &self,
        permit: &Permit,
        routes: &[Route],
        expects: Option<Fingerprint>,
    ) -> Result<(), EngineError> {
        let _ = (permit, routes, expects);
        Err(EngineError::Refused {
            reason: "this engine has no listeners that take over each other's addresses".to_owned(),
            help: "change the listeners of one service after the other".to_owned(),
        })
    }

    /// Takes a service's listeners away.
    async fn stop_listening(
        &self,
        permit: &Permit,
        service: &ServiceName,
    ) -> Result<(), EngineError>;

    /// Looks whether there is room for the images of these workloads, all together, before anything
    /// that runs is touched. What is there already needs none.
    async fn room(&self, _incoming: &[Incoming]) -> Result<(), EngineError> {
        Ok(())
    }

    /// Puts a workload into a slot and starts it, without waiting for it to be ready — except that
    /// `Rolling` and `Recreate` return when all instances are replaced, or with
    /// [`EngineError::NotReady`]. `Fresh` is refused over what runs with live traffic. The image is
    /// fetched and every blob of it verified before anything is stopped or started.
    async fn deploy(
        &self,
        permit: &Permit,
        placement: Placement,
        progress: Progress<'_>,
    ) -> Result<(), EngineError>;

    /// Replaces all instances of a service by new ones of the same release, and returns when the
    /// new ones are ready and the old ones gone. What it has begun goes on when nobody waits for
    /// it.
    async fn restart(
        &self,
        permit: &Permit,
        restart: Restart,
        progress: Progress<'_>,
    ) -> Result<(), EngineError> {
        let _ = (permit, restart, progress);
        Err(EngineError::Refused {
            reason: "this engine cannot restart a service".to_owned(),
            help: "`shipit apply` deploys it".to_owned(),
        })
    }

    /// Asks whether a workload could be placed, and changes nothing. An engine that cannot tell
    /// beforehand has nothing to say.
    async fn rehearse(
        &self,
        scope: &Scope,
        rehearsal: &Rehearsal<'_>,
    ) -> Result<Rehearsed, EngineError> {
        let _ = (scope, rehearsal);
        Ok(Rehearsed::default())
    }

    /// Which of these objects of an entry point cannot be changed into what a route has, and would
    /// be deleted and made again. Nothing is changed by asking. `active`: the slot with live
    /// traffic.
    async fn replaced(
        &self,
        scope: &Scope,
        route: &Route,
        traffic: LiveTraffic,
        among: &BTreeSet<ObjectKey>,
    ) -> Result<Vec<ObjectKey>, EngineError> {
        let _ = (scope, route, traffic, among);
        Ok(Vec::new())
    }

    /// Stops a service in a slot, and returns when nothing of it runs there any more; it stays
    /// startable. What is stopped stays so. A slot with live traffic is no exception: the plan
    /// has it start elsewhere.
    async fn stop(
        &self,
        permit: &Permit,
        slot: Slot,
        service: &ServiceName,
        expects: Option<Fingerprint>,
        progress: Progress<'_>,
    ) -> Result<(), EngineError>;

    /// Takes a service out of a slot: its instances are stopped. Refused for the active slot unless
    /// no live traffic can reach the service.
    async fn undeploy(
        &self,
        permit: &Permit,
        slot: Slot,
        service: &ServiceName,
        expects: Option<Fingerprint>,
    ) -> Result<(), EngineError>;

    /// Waits until all of the slot that is meant to run is ready. Ends early when an instance has
    /// failed for good.
    async fn ready(
        &self,
        scope: &Scope,
        slot: Slot,
        within: Period,
        progress: Progress<'_>,
    ) -> Result<(), EngineError>;

    /// Gives all live traffic to `to`, in one atomic change; `None` takes the environment off.
    /// Refused with [`EngineError::NotReady`] when the slot is not ready at that moment, and with
    /// [`EngineError::Moved`] when the active slot is neither `from` nor already `to`. The slot
    /// that was active drains and stays up until [`Engine::keep`] says otherwise; a pending stop of
    /// `to` is cancelled.
    async fn switch(
        &self,
        permit: &Permit,
        from: LiveTraffic,
        to: LiveTraffic,
    ) -> Result<(), EngineError>;

    /// Lets a slot without live traffic run on until `until`, then stops it; it stays startable.
    async fn retain(
        &self,
        permit: &Permit,
        slot: Slot,
        until: Timestamp,
    ) -> Result<(), EngineError>;

    /// Holds objects that belong to no slot against what is there; those of ours that are there and
    /// not wanted are [`crate::model::object::ObjectState::Gone`]. An engine without objects has
    /// nothing to say.
    async fn compare(
        &self,
        scope: &Scope,
        wanted: &[Manifest],
    ) -> Result<Vec<ObjectFacts>, EngineError> {
        let _ = (scope, wanted);
        Ok(Vec::new())
    }

    /// Where the objects of kinds are, by `apiVersion` and kind; a kind that is not known is left
    /// out.
    async fn kind_scopes(
        &self,
        kinds: &BTreeSet<(String, String)>,
    ) -> Result<KindScopes, EngineError> {
        let _ = kinds;
        Ok(KindScopes::default())
    }

    /// What stands for the values of secrets, by name: keyed hashes as in
    /// [`WorkloadFacts::secrets`](crate::model::facts::WorkloadFacts::secrets), which tell one
    /// value from another and nothing of either. None of them before the engine has a key for it.
    async fn secret_hashes(
        &self,
        scope: &Scope,
        values: &BTreeMap<String, SecretValue>,
    ) -> Result<BTreeMap<String, String>, EngineError> {
        let _ = (scope, values);
        Ok(BTreeMap::new())
    }

    /// What the server is and serves; none where there is none, or not yet.
    async fn capabilities(&self) -> Result<Option<Capabilities>, EngineError> {
        Ok(None)
    }

    /// Makes an object what it should be; [`Engine::settled`] waits until it can be used.
    /// `expects`: the fingerprint of what must be there now; none: nothing. With `replace` what is
    /// there goes first, but for what a new one adopts; what it holds is part of the fingerprint,
    /// and anything but data is refused.
    async fn apply(
        &self,
        permit: &Permit,
        manifest: &Manifest,
        replace: bool,
        expects: Option<Fingerprint>,
        progress: Progress<'_>,
    ) -> Result<(), EngineError> {
        let _ = (permit, replace, expects, progress);
        Err(no_objects(&manifest.key()))
    }

    /// Waits until an object that was made what it should be can be used. It changes nothing, and
    /// may be given up.
    async fn settled(
        &self,
        scope: &Scope,
        manifest: &Manifest,
        progress: Progress<'_>,
    ) -> Result<(), EngineError> {
        let _ = (scope, manifest, progress);
        Ok(())
    }

    /// Deletes an object, and waits until it is gone. `expects`: the fingerprint of what must be
    /// there now; without one it must hold nothing. What it holds and was not foreseen is
    /// [`EngineError::Moved`], and anything but data is refused.
    async fn delete(
        &self,
        permit: &Permit,
        key: &ObjectKey,
        expects: Option<Fingerprint>,
        foreseen: Foreseen<'_>,
    ) -> Result<(), EngineError> {
        let _ = (permit, expects, foreseen);
        Err(no_objects(key))
    }

    /// Lets go of an object: it stays as it is, and nothing says any more that it is this
    /// environment's.
    async fn forget(&self, permit: &Permit, key: &ObjectKey) -> Result<(), EngineError> {
        let _ = permit;
        Err(no_objects(key))
    }

    /// What runs on a provider's resource and would go with it.
    async fn occupants(
        &self,
        scope: &Scope,
        resource: &ResourceKey,
    ) -> Result<Vec<Holding>, EngineError> {
        let _ = (scope, resource);
        Ok(Vec::new())
    }

    /// Takes an object over that is there and was not made by shipit, with the fields that other
    /// tools' own ways of applying claimed for it. Gives the managers that it was taken from.
    async fn adopt(
        &self,
        permit: &Permit,
        manifest: &Manifest,
    ) -> Result<Vec<String>, EngineError> {
        let _ = permit;
        Err(no_objects(&manifest.key()))
    }

    /// Does what has come due, for an engine on which nothing runs between commands: stops what was
    /// retained long enough. Gives what it did.
    async fn finish_due(&self, permit: &Permit) -> Result<Vec<String>, EngineError> {
        let _ = permit;
        Ok(Vec::new())
    }

    /// Takes away what the engine keeps for itself about an environment in which nothing is left.
    async fn clear(&self, permit: &Permit) -> Result<(), EngineError> {
        let _ = permit;
        Ok(())
    }

    /// Why a release in a slot could not be started again as it stands, if traffic had to go back
    /// to it. `objects`: the environment's own, as they are by then.
    async fn rollback_blockers(
        &self,
        scope: &Scope,
        slot: Slot,
        objects: &[Manifest],
    ) -> Result<Vec<String>, EngineError> {
        let _ = (scope, slot, objects);
        Ok(Vec::new())
    }

    /// What can be known about a slot that did not become ready.
    async fn diagnose(
        &self,
        scope: &Scope,
        slot: Slot,
        release: Option<ReleaseNumber>,
    ) -> Result<Option<Diagnosis>, EngineError> {
        let _ = (scope, slot, release);
        Ok(None)
    }

    /// What can be known about an object of the environment's own that did not become ready.
    async fn diagnose_object(
        &self,
        scope: &Scope,
        key: &ObjectKey,
    ) -> Result<Option<Diagnosis>, EngineError> {
        let _ = (scope, key);
        Ok(None)
    }

    /// What somebody should know of how it is reached who relies on it: that nobody proves who the
    /// server is.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }

    /// Whether it can be reached, and may do what a plan for these objects and tasks would ask of
    /// it.
    async fn examine(
        &self,
        scope: &Scope,
        wanted: &[Manifest],
        tasks: &[&TaskProgram],
    ) -> Result<Vec<CheckResult>, EngineError> {
        let _ = (wanted, tasks);
        self.observe(scope).await?;
        Ok(vec![CheckResult {
            what: "the engine answers".to_owned(),
            fault: None,
            help: None,
        }])
    }

    /// Where services answer: through the live listener, or through the preview one.
    async fn urls(&self, scope: &Scope, role: Role) -> Result<Vec<Url>, EngineError>;

    /// The same as this machine reaches it, for who asks there: an engine on another machine may be
    /// reached through a connection alone.
    async fn reachable_urls(&self, scope: &Scope, role: Role) -> Result<Vec<Url>, EngineError> {
        self.urls(scope, role).await
    }

    /// How many connections to the engine's machine were lost until now: what is asked through one
    /// that is lost says nothing of a service. None where there is no such connection.
    async fn lost_connections(&self) -> u64 {
        0
    }

    /// Where a service answers in the slot with this role at one of its ports besides the one with
    /// the traffic: each of its instances, or what stands before all of them.
    async fn port_addresses(
        &self,
        scope: &Scope,
        role: Role,
        (service, port): (&ServiceName, &PortName),
    ) -> Result<Vec<SocketAddr>, EngineError> {
        let facts = self.observe(scope).await?;
        Ok(facts.port_addresses(role, service, port))
    }

    /// At which of these addresses somebody listens on the engine's machine, as far as it can be
    /// told.
    async fn occupied(&self, addresses: &[SocketAddr]) -> Result<Vec<SocketAddr>, EngineError> {
        let _ = addresses;
        Ok(Vec::new())
    }

    /// The addresses of the load balancers that a cloud has made for live traffic, whether they
    /// can be reached from here or not; none of one that has no address yet.
    async fn load_balancers(
        &self,
        scope: &Scope,
    ) -> Result<BTreeMap<ServiceName, Option<String>>, EngineError> {
        let _ = scope;
        Ok(BTreeMap::new())
    }

    /// Runs a command for somebody who looks on, in a ready instance of a service or by itself with
    /// the service's image, environment and secrets. It ends when nobody looks on any more.
    async fn command(
        &self,
        scope: &Scope,
        request: CommandRequest,
    ) -> Result<RunningCommand, EngineError> {
        let _ = (scope, request);
        Err(EngineError::Refused {
            reason: "this engine cannot run commands".to_owned(),
            help: String::new(),
        })
    }

    /// Runs a task, and returns when it has ended, however it did. `progress` is told its output,
    /// a line at a time. An attempt that was begun before, by a run that died, is not begun again:
    /// it is waited for, or its end is given, with what is kept of its output. One that
    /// [`Engine::stop_task`] has ended counts as never begun. A task goes on when nobody waits for
    /// it any more, up to its own time limit.
    async fn run_task(
        &self,
        permit: &Permit,
        run: TaskRun,
        progress: Progress<'_>,
    ) -> Result<TaskEnd, EngineError> {
        let _ = (permit, progress);
        Err(EngineError::Refused {
            reason: format!("{}: this engine runs no tasks", run.id),
            help: "take the task out of the environment".to_owned(),
        })
    }

    /// Ends a task with all that it has started, and returns when nothing of it is left. One that
    /// has ended, or was never begun, is left as it is.
    async fn stop_task(&self, permit: &Permit, id: &TaskId) -> Result<(), EngineError> {
        let _ = (permit, id);
        Ok(())
    }

    /// The tasks of the live release that run by themselves, by their names, with what became of
    /// their last times, the last one first. With a name this one alone, whether it is live or
    /// not, and the output that is kept of it. An engine without them has none.
    async fn schedules(
        &self,
        scope: &Scope,
        task: Option<&TaskName>,
    ) -> Result<Vec<ScheduleFacts>, EngineError> {
        let _ = (scope, task);
        Ok(Vec::new())
    }

    /// The logs, oldest line first within an instance.
    async fn logs(
        &self,
        scope: &Scope,
        query: LogQuery,
    ) -> Result<BoxStream<'static, Result<LogLine, EngineError>>, EngineError>;
}
