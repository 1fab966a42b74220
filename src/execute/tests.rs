//! Every cause of a stop, at every moment at which it can be heard: a run comes to its end, with
//! the right word for it, and has no effect once its lock is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use jiff::Timestamp;
use proptest::prelude::*;
use tokio_util::sync::CancellationToken;

use super::{Finished, Gate, Job, Stops, execute};
use crate::driver::host::fake::FakeEngine;
use crate::model::approval::Approval;
use crate::model::build::{Base, BuildSpec, Inputs, PackSpec, an_hour};
use crate::model::check::{Check, TcpCheck};
use crate::model::command::CommandRecord;
use crate::model::desired::{Desired, DesiredService, ImageSource};
use crate::model::facts::Facts;
use crate::model::garbage::{Collect, Collected};
use crate::model::health::Health;
use crate::model::image::{ImageHome, ImageName};
use crate::model::journal::{Journal, JournalEntry};
use crate::model::limits::Limits;
use crate::model::observed::{ImageFacts, Observed};
use crate::model::outcome::{ProbeReport, Url};
use crate::model::plan::Plan;
use crate::model::promotion::{Mode, Probe, Promotion, ServiceStrategy, Strategy as Rollout};
use crate::model::release::Actor;
use crate::model::route::{Listeners, Route};
use crate::model::secret::{SecretRef, SecretValue};
use crate::model::source::Source;
use crate::model::state::{LockHolder, State};
use crate::model::workload::{EnvValue, Known, Process, Workload, WorkloadKind};
use crate::model::{
    Address, ContentHash, Digest, EnvironmentName, Fingerprint, Period, Platform, Role,
    ServiceName, Slot,
};
use crate::plan;
use crate::port::builder::{BuildError, BuildRequest};
use crate::port::checker::{CheckFailed, CheckTarget, ProbeTarget};
use crate::port::engine::{
    CheckResult, Engine, EngineError, Incoming, LogLine, LogQuery, NotReady, Permit, Placement,
    Pull, Scope,
};
use crate::port::hold::Hold;
use crate::port::provider::NoProvider;
use crate::port::registry::{BaseImages, Bases, Built, RegistryError};
use crate::port::secret::{SecretError, SecretReading};
use crate::port::store::{Lease, StoreError};
use crate::port::{Builder, Checker, Ports, Progress, Registry, SecretSource, StateStore};
use crate::redact::Redactor;
use crate::rollout::{End, Traffic};

/// Longer than any run here takes, by far.
const PATIENCE: Duration = Duration::from_secs(30);

/// What happens at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trigger {
    /// What is asked for fails.
    Fails,
    /// What is asked for finds another world than the plan saw.
    Stale,
    /// A person asks to stop.
    Interrupted,
    /// A person asks twice.
    Killed,
    /// A person asks twice, and what is asked for never answers.
    KilledWhileItHangs,
    /// Another run takes the lock.
    LockLost,
    /// Another run takes the lock, and what is asked for never answers.
    LockLostWhileItHangs,
}

const TRIGGERS: [Trigger; 7] = [
    Trigger::Fails,
    Trigger::Stale,
    Trigger::Interrupted,
    Trigger::Killed,
    Trigger::KilledWhileItHangs,
    Trigger::LockLost,
    Trigger::LockLostWhileItHangs,
];

impl Trigger {
    const fn hangs(self) -> bool {
        matches!(self, Self::KilledWhileItHangs | Self::LockLostWhileItHangs)
    }

    const fn loses_the_lock(self) -> bool {
        matches!(self, Self::LockLost | Self::LockLostWhileItHangs)
    }

    const fn kills(self) -> bool {
        matches!(self, Self::Killed | Self::KilledWhileItHangs)
    }
}

/// Whether a call through a port changes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Looks,
    Acts,
}

/// What was asked of the ports, in order, and what is to happen at which moment.
#[derive(Debug, Default)]
struct Moments {
    passed: usize,
    plan: BTreeMap<usize, Trigger>,
    heard: Vec<Trigger>,
    after_the_loss: Vec<&'static str>,
    calls: Vec<&'static str>,
}

/// The world of one run: an engine in memory, and everything else as thin as can be.
struct World {
    engine: FakeEngine,
    moments: Mutex<Moments>,
    stops: Stops,
    hold: Hold,
    /// How often the first release is not heard of yet when it is asked.
    unheard: AtomicU32,
}

/// Why a call does not succeed.
struct Refused(Trigger);

impl World {
    fn moments(&self) -> MutexGuard<'_, Moments> {
        self.moments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every call through a port passes here first.
    async fn pass(&self, what: &'static str, kind: Kind) -> Result<(), Refused> {
        let trigger = {
            let mut moments = self.moments();
            if kind == Kind::Acts && self.hold.lost().is_cancelled() {
                moments.after_the_loss.push(what);
            }
            moments.calls.push(what);
            let now = moments.passed;
            moments.passed += 1;
            let trigger = moments.plan.get(&now).copied();
            moments.heard.extend(trigger);
            trigger
        };
        let Some(trigger) = trigger else {
            return Ok(());
        };
        match trigger {
            Trigger::Fails | Trigger::Stale => return Err(Refused(trigger)),
            Trigger::Interrupted => self.stops.interrupted.cancel(),
            Trigger::Killed | Trigger::KilledWhileItHangs => {
                self.stops.interrupted.cancel();
                self.stops.killed.cancel();
            }
            Trigger::LockLost | Trigger::LockLostWhileItHangs => self.hold.lose(),
        }
        if trigger.hangs() {
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    async fn engine(&self, what: &'static str, kind: Kind) -> Result<&FakeEngine, EngineError> {
        match self.pass(what, kind).await {
            Ok(()) => Ok(&self.engine),
            Err(Refused(Trigger::Stale)) => Err(EngineError::Moved {
                address: Address::Traffic,
                by: None,
                at: None,
            }),
            Err(_) => Err(EngineError::Failed {
                what: what.to_owned(),
                reason: "it broke".to_owned(),
            }),
        }
    }

    async fn registry(&self, what: &'static str) -> Result<(), RegistryError> {
        let failed = |_| RegistryError::Missing {
            what: what.to_owned(),
            place: "here".to_owned(),
        };
        self.pass(what, Kind::Acts).await.map_err(failed)
    }
}

#[async_trait]
impl Engine for World {
    async fn observe(&self, scope: &Scope) -> Result<Facts, EngineError> {
        let engine = self.engine("observe", Kind::Looks).await?;
        engine.observe(scope).await
    }

    async fn listen(
        &self,
        permit: &Permit,
        route: &Route,
        expects: Option<Fingerprint>,
    ) -> Result<(), EngineError> {
        let engine = self.engine("listen", Kind::Acts).await?;
        engine.listen(permit, route, expects).await
    }

    async fn listen_together(
        &self,
        permit: &Permit,
        routes: &[Route],
        expects: Option<Fingerprint>,
    ) -> Result<(), EngineError> {
        let engine = self.engine("listen_together", Kind::Acts).await?;
        engine.listen_together(permit, routes, expects).await
    }

    async fn stop_listening(
        &self,
        permit: &Permit,
        service: &ServiceName,
    ) -> Result<(), EngineError> {
        let engine = self.engine("stop_listening", Kind::Acts).await?;
        engine.stop_listening(permit, service).await
    }

    async fn room(&self, incoming: &[Incoming]) -> Result<(), EngineError> {
        let engine = self.engine("room", Kind::Looks).await?;
        engine.room(incoming).await
    }

    async fn deploy(
        &self,
        permit: &Permit,
        placement: Placement,
        progress: Progress<'_>,
    ) -> Result<(), EngineError> {
        let engine = self.engine("deploy", Kind::Acts).await?;
        let deployed = engine.deploy(permit, placement, progress).await;
        let facts = engine.observe(&permit.scope).await?;
        let runs = facts.slots.values().filter(|there| {
            let queue = there.workloads.get("queue");
            queue.is_some_and(|queue| queue.running)
        });
        assert!(runs.count() < 2, "what never runs twice at once does");
        deployed
    }

    async fn stop(
        &self,
        permit: &Permit,
        slot: Slot,
        service: &ServiceName,
        expects: Option<Fingerprint>,
        progress: Progress<'_>,
    ) -> Result<(), EngineError> {
        let engine = self.engine("stop", Kind::Acts).await?;
        engine.stop(permit, slot, service, expects, progress).await
    }

    async fn undeploy(
        &self,
        permit: &Permit,
        slot: Slot,
        service: &ServiceName,
        expects: Option<Fingerprint>,
    ) -> Result<(), EngineError> {
        let engine = self.engine("undeploy", Kind::Acts).await?;
        engine.undeploy(permit, slot, service, expects).await
    }

    async fn ready(
        &self,
        scope: &Scope,
        slot: Slot,
        within: Period,
        progress: Progress<'_>,
    ) -> Result<(), EngineError> {
        let engine = self.engine("ready", Kind::Looks).await;
        let engine = engine.map_err(|_| EngineError::NotReady {
            slot,
            not_ready: NotReady {
                reason: format!("not within {within}"),
                log: Vec::new(),
            },
        })?;
        engine.ready(scope, slot, within, progress).await
    }

    async fn switch(
        &self,
        permit: &Permit,
        from: Option<Slot>,
        to: Option<Slot>,
    ) -> Result<(), EngineError> {
        let engine = self.engine("switch", Kind::Acts).await?;
        engine.switch(permit, from, to).await
    }

    async fn retain(
        &self,
        permit: &Permit,
        slot: Slot,
        until: Timestamp,
    ) -> Result<(), EngineError> {
        let engine = self.engine("retain", Kind::Acts).await?;
        engine.retain(permit, slot, until).await
    }

    async fn urls(&self, scope: &Scope, role: Role) -> Result<Vec<Url>, EngineError> {
        let engine = self.engine("urls", Kind::Looks).await?;
        engine.urls(scope, role).await
    }

    async fn logs(
        &self,
        scope: &Scope,
        query: LogQuery,
    ) -> Result<BoxStream<'static, Result<LogLine, EngineError>>, EngineError> {
        self.engine.logs(scope, query).await
    }
}

#[async_trait]
impl Registry for World {
    fn place(&self) -> String {
        "here".to_owned()
    }

    async fn has(&self, _: &ServiceName, _: &Digest) -> Result<bool, RegistryError> {
        Ok(false)
    }

    async fn push(
        &self,
        service: &ServiceName,
        _: &Built,
        _: &[String],
        _: Progress<'_>,
    ) -> Result<Digest, RegistryError> {
        self.registry("push").await?;
        Ok(Digest::of(service.as_str().as_bytes()))
    }

    async fn tag(&self, _: &ServiceName, _: &Digest, _: &[String]) -> Result<(), RegistryError> {
        self.registry("tag").await
    }

    async fn base(&self, _: &str, _: &[Platform]) -> Result<Option<BaseImages>, RegistryError> {
        Ok(None)
    }

    async fn verify(&self, _: ImageHome<'_>, _: &Digest) -> Result<(), RegistryError> {
        Ok(())
    }

    async fn resolve(&self, name: &ImageName) -> Result<Digest, RegistryError> {
        Ok(Digest::of(name.to_string().as_bytes()))
    }

    async fn collect(&self, _: &BTreeSet<Digest>, _: Collect) -> Result<Collected, RegistryError> {
        Ok(Collected::default())
    }

    fn pull(&self, _: ImageHome<'_>) -> Pull {
        Pull::Layout("/images".into())
    }
}

#[async_trait]
impl Builder for World {
    async fn bases(&self, _: &Path, _: &BuildSpec) -> Result<Vec<String>, BuildError> {
        Ok(Vec::new())
    }

    async fn inputs(&self, _: &Path, _: &BuildSpec, _: &Bases) -> Result<Inputs, BuildError> {
        Ok(inputs())
    }

    async fn build(
        &self,
        request: &BuildRequest,
        _: Progress<'_>,
        cancel: &CancellationToken,
    ) -> Result<Built, BuildError> {
        let passed = self.pass("build", Kind::Acts).await;
        if cancel.is_cancelled() {
            return Err(BuildError::Cancelled);
        }
        match passed {
            Ok(()) => Ok(Built {
                images: Vec::new(),
                index: None,
            }),
            Err(Refused(Trigger::Stale)) => Err(BuildError::InputsMoved {
                service: request.service.clone(),
            }),
            Err(_) => Err(BuildError::Invalid {
                reason: "it broke".to_owned(),
            }),
        }
    }
}

#[async_trait]
impl Checker for World {
    async fn check(
        &self,
        check: &Check,
        _: &CheckTarget,
        _: Progress<'_>,
        _: &CancellationToken,
    ) -> Result<(), CheckFailed> {
        let failed = |_| CheckFailed {
            check: check.to_string(),
            reason: "it broke".to_owned(),
            detail: Vec::new(),
        };
        self.pass("check", Kind::Acts).await.map_err(failed)
    }

    async fn answers(&self, _: &ProbeTarget) -> bool {
        let left = self.unheard.load(Ordering::Relaxed);
        self.unheard
            .store(left.saturating_sub(1), Ordering::Relaxed);
        left == 0
    }

    async fn probe(&self, _: ProbeTarget, stop: CancellationToken) -> ProbeReport {
        let unheard = self.unheard.load(Ordering::Relaxed);
        assert_eq!(unheard, 0, "it is measured once it has answered");
        let failures = u64::from(self.pass("probe", Kind::Looks).await.is_err());
        stop.cancelled().await;
        ProbeReport {
            requests: 1,
            failures,
            ..ProbeReport::default()
        }
    }
}

#[async_trait]
impl SecretSource for World {
    async fn read(&self, _: &str, _: &SecretRef) -> Result<SecretReading, SecretError> {
        Ok(SecretReading {
            value: SecretValue::new(String::new()),
            version: None,
            until: None,
        })
    }

    async fn examine(&self, _: &[&SecretRef]) -> Vec<CheckResult> {
        Vec::new()
    }

    async fn close(&self) {}
}

#[async_trait]
impl StateStore for World {
    fn place(&self, environment: &EnvironmentName) -> String {
        environment.to_string()
    }

    async fn read(&self, _: &EnvironmentName) -> Result<Option<State>, StoreError> {
        Ok(None)
    }

    async fn save(&self, _: &dyn Lease, _: &State) -> Result<(), StoreError> {
        Ok(())
    }

    async fn replace(&self, _: &dyn Lease, state: &State) -> Result<State, StoreError> {
        Ok(state.clone())
    }

    async fn lock(
        &self,
        environment: &EnvironmentName,
        _: &Actor,
        _: &str,
        _: u64,
        _: Duration,
    ) -> Result<Box<dyn Lease>, StoreError> {
        Err(StoreError::Lost {
            environment: environment.clone(),
            reason: "nobody takes it here".to_owned(),
        })
    }

    async fn holder(&self, _: &EnvironmentName) -> Result<Option<LockHolder>, StoreError> {
        Ok(None)
    }

    async fn request_abort(&self, _: &EnvironmentName) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn break_lock(&self, _: &EnvironmentName) -> Result<Option<LockHolder>, StoreError> {
        Ok(None)
    }

    async fn append(
        &self,
        _: &EnvironmentName,
        _: &str,
        _: &JournalEntry,
    ) -> Result<(), StoreError> {
        let failed = |_| StoreError::Io {
            what: "writing".to_owned(),
            source: std::io::Error::other("it broke"),
        };
        self.pass("append", Kind::Acts).await.map_err(failed)
    }

    async fn last_journal(&self, _: &EnvironmentName) -> Result<Option<Journal>, StoreError> {
        Ok(None)
    }

    async fn journals(&self, _: &EnvironmentName) -> Result<Vec<Journal>, StoreError> {
        Ok(Vec::new())
    }

    async fn keep_journals(&self, _: &EnvironmentName, _: &[Journal]) -> Result<usize, StoreError> {
        Ok(0)
    }

    async fn keep_command(&self, _: &EnvironmentName, _: &CommandRecord) -> Result<(), StoreError> {
        Ok(())
    }

    async fn keep_commands(
        &self,
        _: &EnvironmentName,
        _: &[CommandRecord],
    ) -> Result<usize, StoreError> {
        Ok(0)
    }

    async fn commands(&self, _: &EnvironmentName) -> Result<Vec<CommandRecord>, StoreError> {
        Ok(Vec::new())
    }

    async fn environments(&self) -> Result<Vec<EnvironmentName>, StoreError> {
        Ok(Vec::new())
    }
}

fn inputs() -> Inputs {
    Inputs {
        hash: ContentHash::of(b"inputs"),
        files: BTreeMap::new(),
        bases: BTreeMap::new(),
    }
}

fn service(name: &str, version: u8) -> (ServiceName, DesiredService) {
    let name: ServiceName = name.parse().expect("a name");
    let port = 8000 + u16::from(name.as_str().as_bytes()[0]);
    let at = |port: u16| ([127, 0, 0, 1], port).into();
    let workload = Workload {
        service: name.clone(),
        image: Known::After(Address::Image(name.clone())),
        repository: None,
        port: Some(port),
        replicas: 1,
        health: Health::default(),
        strategy: None,
        kind: WorkloadKind::Process(Box::new(Process {
            env: BTreeMap::from([("V".to_owned(), EnvValue::Plain(version.to_string()))]),
            ..Process::default()
        })),
    };
    let build = BuildSpec::Pack(PackSpec {
        context: ".".into(),
        inputs: Vec::new(),
        leave_out: Vec::new(),
        run: vec!["make".to_owned()],
        copy: BTreeMap::new(),
        base: Base::Scratch,
        entrypoint: vec!["/app".to_owned()],
        user: None,
        workdir: None,
        env: BTreeMap::new(),
        labels: BTreeMap::new(),
        port: None,
        within: an_hour(),
        platforms: Vec::new(),
    });
    let route = Route::of_listeners(
        name.clone(),
        Listeners::plain(at(port), at(port + 1000), Limits::default()),
    );
    let service = DesiredService {
        image: ImageSource::Build(build),
        workload,
        route: Some(route),
    };
    (name, service)
}

/// Three services in this version, one of which never runs twice at once, with a check on each side of the switch.
fn desired(version: u8, strategy: Rollout) -> Desired {
    let check = Check::Tcp(TcpCheck {
        service: None,
        port: None,
        timeout: Period::from_secs(1),
    });
    Desired {
        resources: Vec::new(),
        unrotated: BTreeSet::new(),
        project: "shop".parse().expect("a name"),
        environment: "staging".parse().expect("a name"),
        source: Source::default(),
        promoted_from: None,
        strategy,
        promotion: Promotion {
            mode: Mode::Auto,
            before: vec![check.clone()],
            after: vec![check],
            probe: Probe {
                linger: Period::from_millis(0),
                ..Probe::default()
            },
            ..Promotion::default()
        },
        ready_within: Period::from_secs(60),
        objects: Vec::new(),
        services: [
            service("web", version),
            service("jobs", version),
            queue(version),
        ]
        .into(),
    }
}

/// A service that never runs twice at once.
fn queue(version: u8) -> (ServiceName, DesiredService) {
    let (name, mut queue) = service("queue", version);
    queue.workload.strategy = Some(ServiceStrategy::Recreate);
    (name, queue)
}

fn draw(version: u8, strategy: Rollout, facts: Facts) -> Plan {
    let desired = desired(version, strategy);
    let image = |name: &ServiceName| {
        let facts = ImageFacts {
            inputs: inputs(),
            found: None,
            changed_files: None,
            rebuild: false,
        };
        (name.clone(), facts)
    };
    let observed = Observed {
        facts,
        images: desired.services.keys().map(image).collect(),
        ..Observed::default()
    };
    let state = State::empty(desired.project.clone(), desired.environment.clone());
    plan::apply(&desired, &observed, &state)
}

/// What came of a run.
struct Story {
    finished: Finished,
    before: Facts,
    after: Facts,
    heard: Vec<Trigger>,
    /// How many calls it took.
    passed: usize,
    after_the_loss: Vec<&'static str>,
    calls: Vec<&'static str>,
}

/// Carries the second release out, with these triggers at these moments.
async fn tell(strategy: Rollout, triggers: BTreeMap<usize, Trigger>) -> Story {
    tell_at(strategy, triggers, None).await
}

/// The same, with something that is asked before live traffic is touched.
async fn tell_at(
    strategy: Rollout,
    triggers: BTreeMap<usize, Trigger>,
    gate: Option<Gate>,
) -> Story {
    let stops = Stops {
        interrupted: CancellationToken::new(),
        killed: CancellationToken::new(),
    };
    let hold = Hold::none();
    let world = Arc::new(World {
        engine: FakeEngine::default(),
        moments: Mutex::default(),
        stops: stops.clone(),
        hold: hold.clone(),
        // Where nothing else goes wrong.
        unheard: AtomicU32::new(if triggers.is_empty() { 2 } else { 0 }),
    });
    let scope = Scope {
        project: "shop".parse().expect("a name"),
        environment: "staging".parse().expect("a name"),
    };
    let job = |plan: Plan| Job {
        plan,
        approval: Approval::InAdvance,
        ports: Ports {
            engine: world.clone(),
            provider: Arc::new(NoProvider),
            registry: world.clone(),
            builder: world.clone(),
            store: world.clone(),
            checker: world.clone(),
            secrets: world.clone(),
            redactor: Redactor::default(),
        },
        permit: Permit {
            scope: scope.clone(),
            lineage: "l".to_owned(),
            fence: 1,
            actor: Actor {
                user: "u".to_owned(),
                host: "h".to_owned(),
                run: "r".to_owned(),
                ci: None,
            },
            hold: hold.clone(),
        },
        root: "/".into(),
        stops: stops.clone(),
        gate: gate.clone(),
        outside_window: None,
        sink: Arc::new(|_| ()),
    };

    let first = execute(job(draw(1, strategy, Facts::default()))).await;
    assert_eq!(first.end, End::Done, "the first release");
    assert_eq!(world.unheard.load(Ordering::Relaxed), 0);
    let before = world.engine.observe(&scope).await.expect("facts");
    *world.moments() = Moments {
        plan: triggers,
        ..Moments::default()
    };

    let finished = execute(job(draw(2, strategy, before.clone()))).await;
    let passed = world.moments().passed;
    // Whatever was left under way would act now.
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    let after = world.engine.observe(&scope).await.expect("facts");
    let moments = world.moments();
    Story {
        finished,
        before,
        after,
        heard: moments.heard.clone(),
        passed,
        after_the_loss: moments.after_the_loss.clone(),
        calls: moments.calls.clone(),
    }
}

/// The same on a thread of its own: a run that never ends fails the test, and does not hang it.
fn story(strategy: Rollout, triggers: &BTreeMap<usize, Trigger>) -> Story {
    let (send, receive) = mpsc::channel();
    let wanted = triggers.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let _ = send.send(runtime.block_on(tell(strategy, wanted)));
    });
    receive
        .recv_timeout(PATIENCE)
        .unwrap_or_else(|_| panic!("{strategy:?}: the run does not end: {triggers:?}"))
}

/// What must hold of every run.
fn judge(story: &Story, context: &str) {
    let end = &story.finished.end;
    let heard = |which: fn(Trigger) -> bool| story.heard.iter().copied().any(which);
    let lost = heard(Trigger::loses_the_lock);
    let killed = heard(Trigger::kills);
    let failed = heard(|trigger| matches!(trigger, Trigger::Fails | Trigger::Stale));
    let interrupted = heard(|trigger| trigger == Trigger::Interrupted);

    assert_eq!(
        story.after_the_loss,
        Vec::<&str>::new(),
        "{context}: acted without its lock"
    );
    let is_rightly_so = match end {
        End::Done => true,
        End::LockLost => lost,
        End::Interrupted(Traffic::Unknown) => killed,
        End::Interrupted(_) => killed || interrupted,
        End::Failed(_)
        | End::Refused(_)
        | End::Reverted(_)
        | End::Stale(_)
        | End::RollbackFailed { .. } => failed,
    };
    assert!(
        is_rightly_so,
        "{context}: ended with {end:?} after {:?}",
        story.heard
    );
    let (live_before, live_after) = (live(&story.before), live(&story.after));
    match end {
        End::Done => assert_ne!(live_after, live_before, "{context}: {end:?}"),
        End::Failed(_)
        | End::Refused(_)
        | End::Reverted(_)
        | End::Stale(_)
        | End::Interrupted(Traffic::Untouched | Traffic::MovedBack) => {
            assert_eq!(live_after, live_before, "{context}: {end:?}");
        }
        End::RollbackFailed { .. } | End::Interrupted(Traffic::Unknown) | End::LockLost => {}
    }
}

/// What live traffic sees.
fn live(facts: &Facts) -> Vec<String> {
    let (_, there) = facts.live().expect("something is live");
    there
        .workloads
        .values()
        .map(|workload| format!("{:?}", workload.spec.kind))
        .collect()
}

#[test]
fn every_cause_at_every_moment_ends_the_run_with_the_right_word_and_without_a_late_effect() {
    for strategy in [Rollout::BlueGreen, Rollout::Rolling] {
        let undisturbed = story(strategy, &BTreeMap::new());
        assert_eq!(undisturbed.finished.end, End::Done);
        assert!(undisturbed.passed > 20, "{}", undisturbed.passed);
        for moment in 0..undisturbed.passed {
            for trigger in TRIGGERS {
                let context = format!("{strategy:?}, {trigger:?} at {moment}");
                let told = story(strategy, &BTreeMap::from([(moment, trigger)]));
                judge(&told, &context);
                assert_eq!(told.heard, [trigger], "{context}");
                if trigger.hangs() {
                    assert_ne!(told.finished.end, End::Done, "{context}");
                }
            }
        }
    }
}

#[test]
fn room_for_all_images_is_looked_for_before_anything_is_stopped() {
    for strategy in [Rollout::BlueGreen, Rollout::Rolling, Rollout::Recreate] {
        let undisturbed = story(strategy, &BTreeMap::new());
        let calls = &undisturbed.calls;
        let first = |what: &[&str]| calls.iter().position(|call| what.contains(call));
        let looked = first(&["room"]).expect("it is looked for");
        assert!(
            Some(looked) < first(&["deploy", "undeploy"]),
            "{strategy:?}: {calls:?}"
        );

        // Without it, nothing that runs is touched.
        let told = story(strategy, &BTreeMap::from([(looked, Trigger::Fails)]));
        assert!(
            matches!(told.finished.end, End::Failed(_) | End::Reverted(_)),
            "{:?}",
            told.finished.end
        );
        // In place, the rollback puts the old release where it stands already.
        let acted = told.calls.contains(&"deploy") && strategy == Rollout::BlueGreen;
        assert!(!acted, "{strategy:?}: {:?}", told.calls);
        let stands = |facts: &Facts| (facts.active, facts.slots.clone());
        assert_eq!(stands(&told.after), stands(&told.before), "{strategy:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn several_causes_end_the_run_as_well(
        triggers in prop::collection::btree_map(0_usize..60, prop::sample::select(&TRIGGERS[..]), 1..5),
        rolling in any::<bool>(),
    ) {
        let strategy = if rolling { Rollout::Rolling } else { Rollout::BlueGreen };
        judge(&story(strategy, &triggers), &format!("{strategy:?}, {triggers:?}"));
    }
}

#[tokio::test]
async fn live_traffic_is_not_touched_once_its_window_has_closed() {
    for strategy in [Rollout::BlueGreen, Rollout::Rolling] {
        let asked = AtomicU32::new(0);
        // The first release comes in time, the second does not.
        let gate: Gate = Arc::new(move || match asked.fetch_add(1, Ordering::Relaxed) {
            0 => Ok(()),
            _ => Err("the window has closed".to_owned()),
        });
        let told = tell_at(strategy, BTreeMap::new(), Some(gate)).await;
        let End::Refused(reason) = &told.finished.end else {
            panic!("{strategy:?}: {:?}", told.finished.end);
        };
        assert_eq!(reason, "the window has closed");
        assert_eq!(told.before.active, told.after.active, "{strategy:?}");
        assert!(!told.calls.contains(&"switch"), "{:?}", told.calls);
    }
}
