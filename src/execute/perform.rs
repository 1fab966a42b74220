//! One step: from its action to a call through a port.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::execute::signed::signed;
use crate::execute::{Run, documents, room};
use crate::model::build::BuildSpec;
use crate::model::check::{Check, ScanCheck, Stage};
use crate::model::event::Event;
use crate::model::facts::Facts;
use crate::model::journal::Direction;
use crate::model::plan::{Action, Step};
use crate::model::release::Label;
use crate::model::resource::{Resource, ResourceFacts, ResourceKey};
use crate::model::route::Route;
use crate::model::secret::SecretValue;
use crate::model::workload::Workload;
use crate::model::{Address, ContentHash, Digest, Fingerprint, Period, Role, ServiceName, Slot};
use crate::port::builder::{BuildError, BuildRequest};
use crate::port::checker::{CheckFailed, CheckTarget};
use crate::port::engine::{EngineError, Placement, Pull};
use crate::port::hold::LockLost;
use crate::port::provider::{Findings, ProviderError};
use crate::port::registry::{RegistryError, bases, inputs_tag};
use crate::port::secret::SecretError;
use crate::redact::{Hidden, SHORTEST};
use crate::rollout::{Cause, CutOff, Impact, probe_failure_reverts};

/// A step that is done.
pub(super) struct Done {
    /// What came of it, in words.
    pub result: String,
    /// The image that a build made.
    pub digest: Option<Digest>,
}

impl Done {
    fn say(result: impl Into<String>) -> Self {
        Self {
            result: result.into(),
            digest: None,
        }
    }
}

/// Why a step is not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum StepError {
    /// It was told to stop.
    #[error("it stopped before it was done, and nobody had asked for that")]
    Stopped,
    #[error(transparent)]
    LockLost(#[from] LockLost),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Provider(#[from] ProviderError),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Check(#[from] CheckFailed),
    /// The prober saw requests fail.
    #[error("{failures} of {requests} requests failed while traffic was switched")]
    Lost {
        failures: u64,
        requests: u64,
        examples: Vec<String>,
    },
    /// The plan cannot be carried out as it stands.
    #[error("{0}")]
    Plan(String),
}

impl StepError {
    pub fn reason(&self) -> String {
        self.to_string()
    }

    /// What helps to understand it.
    pub fn detail(&self) -> Vec<String> {
        match self {
            Self::Engine(EngineError::NotReady { not_ready, .. }) => not_ready.log.clone(),
            Self::Engine(
                EngineError::Refused { help, .. } | EngineError::Unreachable { help, .. },
            ) => {
                vec![format!("help: {help}")]
            }
            Self::Build(BuildError::Command { log, .. }) => log.clone(),
            Self::Provider(ProviderError::Failed { help, .. }) => vec![format!("help: {help}")],
            Self::Registry(error) => vec![format!("help: {}", error.help())],
            Self::Check(failed) => failed.detail.clone(),
            Self::Lost { examples, .. } => examples.clone(),
            Self::Secret(error) => vec![format!("help: {}", error.help)],
            _ => Vec::new(),
        }
    }

    /// Whether it ends the run where it stands.
    pub const fn cut_off(&self) -> Option<CutOff> {
        match self {
            Self::LockLost(_)
            | Self::Engine(EngineError::Fenced { .. } | EngineError::LockLost)
            | Self::Provider(ProviderError::LockLost) => Some(CutOff::LockLost),
            _ => None,
        }
    }

    /// What it means for the rollout.
    pub fn means(&self, address: &Address) -> Result<Cause, CutOff> {
        if let Some(by) = self.cut_off() {
            return Err(by);
        }
        Ok(match self {
            Self::Engine(EngineError::Moved { by, at, .. }) => {
                Cause::Stale(moved(address, by.as_ref(), *at))
            }
            Self::Build(BuildError::InputsMoved { .. })
            | Self::Provider(ProviderError::Moved { .. }) => Cause::Stale(self.reason()),
            _ => Cause::Failed(format!("{address}: {}", self.reason())),
        })
    }
}

/// What moved, and who moved it.
pub(super) fn moved(
    address: &Address,
    by: Option<&crate::model::release::Actor>,
    at: Option<Timestamp>,
) -> String {
    let by = by
        .map(|actor| format!(", changed by {actor}"))
        .unwrap_or_default();
    let at = at.map(|at| format!(" at {at:.0}")).unwrap_or_default();
    format!("{address} is not what the plan saw{by}{at}")
}

/// Does one step.
pub(super) async fn perform(
    run: &Arc<Run>,
    step: &Step,
    direction: Direction,
) -> Result<Done, StepError> {
    if Impact::of(&step.action) == Impact::Live && direction == Direction::Forward {
        run.probe.start_before(run).await;
    }
    match (&step.action, &step.address) {
        (Action::Build { spec, inputs }, Address::Image(service)) => {
            build(run, step, service, spec, inputs).await
        }
        (Action::Apply { manifest, replace }, Address::Object(key)) => {
            let say = |line: &str| {
                run.say(Event::StepSaid {
                    step: step.id,
                    line: line.to_owned(),
                });
            };
            let expects = match direction {
                Direction::Forward => step.expects.clone(),
                Direction::Back => object_fingerprint(run, manifest).await?,
            };
            run.acting()
                .await?
                .engine
                .apply(&run.job.permit, manifest, *replace, expects, &say)
                .await?;
            let wait = async {
                let engine = &run.job.ports.engine;
                let scope = &run.job.permit.scope;
                Ok(engine.settled(scope, manifest, &say).await?)
            };
            unless_stopped(run, direction, wait).await?;
            Ok(Done::say(format!("{} applied", key.short())))
        }
        (Action::Delete, Address::Object(key)) => {
            run.acting()
                .await?
                .engine
                .delete(&run.job.permit, key, step.expects.clone())
                .await?;
            Ok(Done::say(format!("{} deleted", key.short())))
        }
        (Action::Forget, Address::Object(key)) => {
            run.job.ports.engine.forget(&run.job.permit, key).await?;
            Ok(Done::say(format!("{} is left as it is", key.short())))
        }
        (Action::Ensure { resource, replace }, Address::Resource(key)) => {
            if *replace && direction == Direction::Forward {
                holds_what_it_held(run, step, key).await?;
            }
            let say = |line: &str| {
                run.say(Event::StepSaid {
                    step: step.id,
                    line: line.to_owned(),
                });
            };
            let expects = match direction {
                Direction::Forward => step.expects.clone(),
                Direction::Back => resource_fingerprint(run, resource).await?,
            };
            let provider = &run.acting().await?.provider;
            provider
                .ensure(
                    &run.job.permit,
                    resource,
                    *replace,
                    expects,
                    &say,
                    &run.soft,
                )
                .await?;
            Ok(Done::say(format!("{key} is as it should be")))
        }
        (Action::Delete, Address::Resource(key)) => {
            holds_what_it_held(run, step, key).await?;
            let say = |line: &str| {
                run.say(Event::StepSaid {
                    step: step.id,
                    line: line.to_owned(),
                });
            };
            let provider = &run.acting().await?.provider;
            provider
                .delete(&run.job.permit, key, step.expects.clone(), &say, &run.soft)
                .await?;
            Ok(Done::say(format!("{key} is gone")))
        }
        (Action::Listen { .. }, _) => listen(run, step, direction).await,
        (Action::StopListening, Address::Route(service)) => {
            run.acting()
                .await?
                .engine
                .stop_listening(&run.job.permit, service)
                .await?;
            Ok(Done::say("closed"))
        }
        (Action::Deploy { workload, .. }, Address::Workload(slot, _)) => {
            place(run, step, direction, *slot, workload).await
        }
        (Action::Undeploy, Address::Workload(slot, service)) => {
            remove(run, step, direction, *slot, service).await
        }
        (Action::Clear, Address::Slot(slot)) => empty(run, step, direction, *slot).await,
        (Action::WaitUntilReady { within }, Address::Slot(slot)) => {
            ready(run, step, *slot, *within).await
        }
        (Action::Check { stage, checks }, _) => check(run, step, *stage, checks).await,
        (Action::Switch { from, to }, _) => switch(run, direction, *from, *to).await,
        (Action::Retain { keep: length }, Address::Slot(slot)) => {
            let until = Timestamp::now()
                .checked_add(length.get())
                .unwrap_or(Timestamp::MAX);
            keep(run, *slot, until).await
        }
        (Action::RetainUntil { until }, Address::Slot(slot)) => keep(run, *slot, *until).await,
        (action, address) => Err(StepError::Plan(format!(
            "`{}` cannot be done to {address}",
            action.title()
        ))),
    }
}

/// Runs something that is cancelled when the run should stop soon.
async fn unless_stopped<T>(
    run: &Run,
    direction: Direction,
    work: impl Future<Output = Result<T, StepError>>,
) -> Result<T, StepError> {
    if direction == Direction::Back {
        return work.await;
    }
    tokio::select! {
        biased;
        result = work => result,
        () = run.soft.cancelled() => Err(StepError::Stopped),
    }
}

async fn build(
    run: &Arc<Run>,
    step: &Step,
    service: &ServiceName,
    spec: &BuildSpec,
    inputs: &ContentHash,
) -> Result<Done, StepError> {
    let ports = &run.job.ports;
    let say = |line: &str| {
        run.say(Event::StepSaid {
            step: step.id,
            line: line.to_owned(),
        });
    };
    let names = ports.builder.bases(&run.job.root, spec).await?;
    let bases = bases(&names, spec, ports.registry.as_ref()).await?;
    let mut secrets = BTreeMap::new();
    if let BuildSpec::Dockerfile(spec) = spec {
        for (id, from) in &spec.secrets {
            let value = ports.secrets.read(id, from).await?;
            note_if_shown(run, id, &value);
            secrets.insert(id.clone(), value);
        }
    }
    let request = BuildRequest {
        title: format!("{} {service}", run.plan().project),
        service: service.clone(),
        root: run.job.root.clone(),
        spec: spec.clone(),
        bases,
        secrets,
        source: run.plan().source.clone(),
        expects: inputs.clone(),
    };
    let image = match run
        .acting()
        .await?
        .builder
        .build(&request, &say, &run.soft)
        .await
    {
        Err(BuildError::Cancelled) => return Err(StepError::Stopped),
        other => other?,
    };

    // By its tags the image is found by the next run, which attaches nothing: they come last. An upload may take its
    // time, so that the lock is looked at again before anybody can see its result.
    let registry = &run.acting().await?.registry;
    let digest = registry.push(service, &image, &[], &say).await?;
    if documents::wanted(registry.as_ref()) {
        documents::attach(run, &request, &image, &say).await?;
    }
    let registry = &run.acting().await?.registry;
    registry.tag(service, &digest, &tags(run, inputs)).await?;
    run.remember(service, digest.clone());
    Ok(Done {
        result: digest.to_string(),
        digest: Some(digest),
    })
}

/// The labels of an image: how it is found again by its inputs, and by people.
fn tags(run: &Run, inputs: &ContentHash) -> Vec<String> {
    let source = &run.plan().source;
    let mut tags = vec![inputs_tag(inputs)];
    if run.job.ports.registry.moves_tags() {
        tags.push(run.plan().environment.to_string());
    }
    tags.extend(source.tag());
    tags
}

async fn listen(run: &Run, step: &Step, direction: Direction) -> Result<Done, StepError> {
    let routes: Vec<Route> = step.action.routes().cloned().collect();
    let services = routes.iter().map(|route| &route.service);
    let expects = match direction {
        Direction::Forward => step.expects.clone(),
        Direction::Back => facts(run).await?.routes_fingerprint(services),
    };

    let (engine, permit) = (&run.acting().await?.engine, &run.job.permit);
    match &routes[..] {
        [route] => engine.listen(permit, route, expects).await?,
        routes => engine.listen_together(permit, routes, expects).await?,
    }
    let words: Vec<String> = routes.iter().map(Route::to_string).collect();
    Ok(Done::say(words.join("; ")))
}

async fn keep(run: &Run, slot: Slot, until: Timestamp) -> Result<Done, StepError> {
    let engine = &run.acting().await?.engine;
    engine.retain(&run.job.permit, slot, until).await?;
    Ok(Done::say(format!("until {until:.0}")))
}

/// During the rollback a resource is as this run left it.
async fn resource_fingerprint(
    run: &Run,
    resource: &Resource,
) -> Result<Option<Fingerprint>, StepError> {
    let wanted = std::slice::from_ref(resource);
    let found = run
        .job
        .ports
        .provider
        .observe(&run.job.permit.scope, wanted)
        .await?;
    Ok(found
        .iter()
        .find(|facts| facts.key == resource.key)
        .and_then(ResourceFacts::fingerprint))
}

/// What runs on a resource may have become more since the plan was made.
async fn holds_what_it_held(run: &Run, step: &Step, key: &ResourceKey) -> Result<(), StepError> {
    let account = run.plan().losses.iter().find(|loss| loss.step == step.id);
    let Some(account) = account.filter(|loss| loss.name == key.to_string()) else {
        return Ok(());
    };
    let engine = &run.job.ports.engine;
    let now = engine.occupants(&run.job.permit.scope, key).await?;
    if now == account.holds {
        return Ok(());
    }
    Err(ProviderError::Moved {
        address: step.address.clone(),
    }
    .into())
}

/// During the rollback an object is as this run left it.
async fn object_fingerprint(
    run: &Run,
    manifest: &crate::model::Manifest,
) -> Result<Option<Fingerprint>, StepError> {
    let wanted = std::slice::from_ref(manifest);
    let found = run
        .job
        .ports
        .engine
        .compare(&run.job.permit.scope, wanted)
        .await?;
    Ok(found
        .into_iter()
        .find(|object| object.key == manifest.key())
        .and_then(|object| object.fingerprint))
}

async fn facts(run: &Run) -> Result<Facts, StepError> {
    Ok(run.job.ports.engine.observe(&run.job.permit.scope).await?)
}

/// What a step on a workload expects to find. During the rollback it is whatever is there: this run put it there,
/// or did not come to it, and the lock keeps everybody else away.
async fn expected(
    run: &Run,
    step: &Step,
    direction: Direction,
    slot: Slot,
    service: &ServiceName,
) -> Result<Option<Fingerprint>, StepError> {
    match direction {
        Direction::Forward => Ok(step.expects.clone()),
        Direction::Back => Ok(facts(run).await?.workload_fingerprint(slot, service)),
    }
}

async fn place(
    run: &Arc<Run>,
    step: &Step,
    direction: Direction,
    slot: Slot,
    workload: &Workload,
) -> Result<Done, StepError> {
    let Action::Deploy {
        mode,
        running,
        label,
        ..
    } = &step.action
    else {
        return Err(StepError::Plan("not a placement".to_owned()));
    };
    let unbuilt = || {
        StepError::Plan(format!(
            "no step of this plan built the image of {}",
            workload.service
        ))
    };
    let workload = run.known(workload).ok_or_else(unbuilt)?;
    let say = |line: &str| {
        run.say(Event::StepSaid {
            step: step.id,
            line: line.to_owned(),
        });
    };
    let image = workload.image.value().ok_or_else(unbuilt)?;
    if direction == Direction::Forward {
        room::look(run, &say).await?;
    }
    let placement = Placement {
        slot,
        label: the_label(run, label.as_ref())?,
        mode: *mode,
        running: *running,
        pull: run
            .job
            .ports
            .registry
            .bring(&workload.service, image, &say)
            .await?,
        secrets: secrets(run, direction, &workload).await?,
        expects: expected(run, step, direction, slot, &workload.service).await?,
        workload,
    };
    let count = placement.workload.replicas;
    run.acting()
        .await?
        .engine
        .deploy(&run.job.permit, placement, &say)
        .await?;
    Ok(Done::say(match (*running, count) {
        (false, _) => "kept, stopped".to_owned(),
        (true, 1) => "1 instance".to_owned(),
        (true, count) => format!("{count} instances"),
    }))
}

fn the_label(run: &Run, label: Option<&Label>) -> Result<Label, StepError> {
    label
        .cloned()
        .or_else(|| run.target_label())
        .ok_or_else(|| StepError::Plan("the plan places a workload and has no target".to_owned()))
}

/// A value of a few characters is part of too many words to be taken out of everything.
fn note_if_shown(run: &Run, name: &str, value: &SecretValue) {
    if Hidden::of(value) == Hidden::TooShort {
        run.say(Event::Note {
            text: format!(
                "the secret `{name}` has less than {SHORTEST} characters: where a program writes it, it is shown"
            ),
        });
    }
}

/// The values of a workload's secrets. During the rollback the configuration may no longer say where an old one is: what
/// cannot be read then is left to the agent, which holds what it was given.
async fn secrets(
    run: &Run,
    direction: Direction,
    workload: &Workload,
) -> Result<BTreeMap<String, SecretValue>, StepError> {
    let mut values = BTreeMap::new();
    for (name, from) in workload.secrets() {
        match (run.job.ports.secrets.read(name, from).await, direction) {
            (Ok(value), _) => {
                note_if_shown(run, name, &value);
                values.insert(name.to_owned(), value);
            }
            (Err(error), Direction::Forward) => return Err(error.into()),
            (Err(error), Direction::Back) => run.say(Event::Note {
                text: format!("{error}: the value that was brought before is used"),
            }),
        }
    }
    Ok(values)
}

async fn remove(
    run: &Run,
    step: &Step,
    direction: Direction,
    slot: Slot,
    service: &ServiceName,
) -> Result<Done, StepError> {
    let expects = expected(run, step, direction, slot, service).await?;
    run.acting()
        .await?
        .engine
        .undeploy(&run.job.permit, slot, service, expects)
        .await?;
    Ok(Done::say("taken out"))
}

async fn empty(
    run: &Run,
    step: &Step,
    direction: Direction,
    slot: Slot,
) -> Result<Done, StepError> {
    let facts = facts(run).await?;
    let Some(there) = facts.slots.get(&slot) else {
        return Ok(Done::say("was empty"));
    };
    if direction == Direction::Forward && facts.slot_fingerprint(slot) != step.expects {
        let (by, at) = (facts.changed_by, facts.changed_at);
        return Err(EngineError::Moved {
            address: step.address.clone(),
            by,
            at,
        }
        .into());
    }
    if direction == Direction::Forward {
        let say = |line: &str| {
            run.say(Event::StepSaid {
                step: step.id,
                line: line.to_owned(),
            });
        };
        room::look(run, &say).await?;
    }
    for (service, workload) in &there.workloads {
        let expects = Some(workload.fingerprint());
        run.acting()
            .await?
            .engine
            .undeploy(&run.job.permit, slot, service, expects)
            .await?;
    }
    Ok(Done::say(format!(
        "release {} taken out",
        there.label.number
    )))
}

async fn ready(run: &Arc<Run>, step: &Step, slot: Slot, within: Period) -> Result<Done, StepError> {
    let say = |line: &str| {
        run.say(Event::StepSaid {
            step: step.id,
            line: line.to_owned(),
        });
    };
    let scope = &run.job.permit.scope;
    let wait = async {
        Ok(run
            .job
            .ports
            .engine
            .ready(scope, slot, within, &say)
            .await?)
    };
    unless_stopped(run, Direction::Forward, wait).await?;
    Ok(Done::say(format!("{slot} is ready")))
}

async fn check(
    run: &Arc<Run>,
    step: &Step,
    stage: Stage,
    checks: &[Check],
) -> Result<Done, StepError> {
    let role = match stage {
        Stage::Before => Role::Preview,
        Stage::After => Role::Active,
    };
    let hold = async {
        if !checks.is_empty() {
            hold_all(run, step, role, checks).await?;
        }
        Ok(())
    };
    unless_stopped(run, Direction::Forward, hold).await?;
    match stage {
        Stage::Before => Ok(Done::say(held(checks))),
        Stage::After => verdict(run, checks).await,
    }
}

fn held(checks: &[Check]) -> String {
    match checks.len() {
        0 => "nothing to check".to_owned(),
        1 => "1 check holds".to_owned(),
        count => format!("{count} checks hold"),
    }
}

async fn hold_all(
    run: &Arc<Run>,
    step: &Step,
    role: Role,
    checks: &[Check],
) -> Result<(), StepError> {
    let target = check_target(run, role).await?;
    let say = |line: &str| {
        run.say(Event::StepSaid {
            step: step.id,
            line: line.to_owned(),
        });
    };
    for check in checks {
        match check {
            Check::Scan(scan) => scanned(run, check, scan, &say).await?,
            Check::Signature(wanted) => signed(run, check, wanted, &say).await?,
            _ => {
                run.acting()
                    .await?
                    .checker
                    .check(check, &target, &say, &run.soft)
                    .await?;
            }
        }
        say(&format!("✓ {check}"));
    }
    Ok(())
}

/// Holds the findings of every image against what may be.
async fn scanned(
    run: &Arc<Run>,
    check: &Check,
    limits: &ScanCheck,
    say: &(dyn Fn(&str) + Send + Sync),
) -> Result<(), StepError> {
    let failed = |reason: String| CheckFailed {
        check: check.to_string(),
        reason,
        detail: Vec::new(),
    };
    let workloads = run
        .plan()
        .target
        .iter()
        .flat_map(|target| target.workloads.values());
    let deadline = tokio::time::Instant::now() + limits.timeout.get();
    for workload in workloads {
        let service = &workload.service;
        let Some(image) = run
            .known(workload)
            .and_then(|workload| workload.image.value().cloned())
        else {
            return Err(failed(format!("the image of {service} is not known")).into());
        };
        let Pull::Repository(reference) = run.job.ports.registry.pull(service) else {
            return Err(failed("this registry scans no images".to_owned()).into());
        };
        let repository = reference
            .split_once('/')
            .map_or(reference.as_str(), |(_, name)| name);
        let found = loop {
            match run
                .acting()
                .await?
                .provider
                .findings(repository, &image)
                .await?
            {
                Findings::Done(found) => break found,
                // What cannot be told is not "clean".
                Findings::Unavailable(reason) => {
                    return Err(failed(format!("{service}: there is no result: {reason}")).into());
                }
                Findings::Pending if tokio::time::Instant::now() > deadline => {
                    return Err(
                        failed(format!("{service}: not done within {}", limits.timeout)).into(),
                    );
                }
                Findings::Pending => {
                    say(&format!("{service} is being scanned"));
                    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
                }
            }
        };
        if let Some((severity, count, limit)) = limits.exceeded(&found) {
            return Err(failed(format!(
                "{service} has {count} {severity} findings, and {limit} may be"
            ))
            .into());
        }
    }
    Ok(())
}

async fn check_target(run: &Run, role: Role) -> Result<CheckTarget, StepError> {
    let urls = run
        .job
        .ports
        .engine
        .urls(&run.job.permit.scope, role)
        .await?;
    let mut env = BTreeMap::from([(
        "SHIPIT_ENVIRONMENT".to_owned(),
        run.plan().environment.to_string(),
    )]);
    if let Some(target) = &run.plan().target {
        env.insert("SHIPIT_SLOT".to_owned(), target.slot.to_string());
        env.insert("SHIPIT_RELEASE".to_owned(), target.release.to_string());
    }
    Ok(CheckTarget {
        urls,
        root: run.job.root.clone(),
        env,
    })
}

/// What the prober saw from before the switch until now.
async fn verdict(run: &Arc<Run>, checks: &[Check]) -> Result<Done, StepError> {
    let linger = run.plan().probe.linger.get();
    let stay = async {
        if run.probe.is_on() {
            tokio::time::sleep(linger).await;
        }
        Ok(())
    };
    unless_stopped(run, Direction::Forward, stay).await?;
    let Some(report) = run.probe.stop().await else {
        return Ok(Done::say(held(checks)));
    };
    run.say(Event::Probed {
        report: report.clone(),
    });
    if report.failures > 0 && probe_failure_reverts(run.plan()) {
        let (failures, requests, examples) = (report.failures, report.requests, report.examples);
        return Err(StepError::Lost {
            failures,
            requests,
            examples,
        });
    }
    Ok(Done::say(format!(
        "{}, {} of {} requests failed",
        held(checks),
        report.failures,
        report.requests
    )))
}

async fn switch(
    run: &Arc<Run>,
    direction: Direction,
    from: Option<Slot>,
    to: Option<Slot>,
) -> Result<Done, StepError> {
    if direction == Direction::Forward {
        holds_the_target(run, to).await?;
    }
    run.acting()
        .await?
        .engine
        .switch(&run.job.permit, from, to)
        .await?;
    if direction == Direction::Forward {
        run.probe.start_after(run).await;
    }
    Ok(Done::say(to.map_or_else(
        || "off".to_owned(),
        |slot| format!("{slot} is active"),
    )))
}

/// The slot must hold the release that the plan is about, and no other.
async fn holds_the_target(run: &Run, to: Option<Slot>) -> Result<(), StepError> {
    let (Some(slot), Some(target)) = (to, &run.plan().target) else {
        return Ok(());
    };
    let overview = run.job.ports.engine.overview(&run.job.permit.scope).await?;
    if overview.number(slot) == Some(target.release) {
        return Ok(());
    }
    let (by, at) = (overview.changed_by, overview.changed_at);
    Err(EngineError::Moved {
        address: Address::Slot(slot),
        by,
        at,
    }
    .into())
}
