//! Making a plan: what is desired, what is there, and what the rules say.

use jiff::Timestamp;

use crate::files::temporary;
use crate::model::desired::Desired;
use crate::model::facts::{Facts, Overview};
use crate::model::observed::Observed;
use crate::model::plan::Plan;
use crate::model::release::Actor;
use crate::model::state::State;
use crate::model::verdict::{Ruling, Verdict};
use crate::model::{EnvironmentName, ReleaseNumber, Slot, TaskName};
use crate::observe::{infrastructure, observe};
use crate::ops::actor::actor;
use crate::ops::{
    Error, Session, behind, elsewhere, hooks, images, listeners, policy, preflight, promote,
    refused, shared, taken_over, unsteady, versions, volumes,
};
use crate::plan::{self, Again};
use crate::policy::Protection;
use crate::port::engine::EngineError;
use crate::rollout::record::adopt;

/// How far `destroy` goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// What runs; the infrastructure and the images stay.
    Environment,
    /// That, and the infrastructure that was made for it.
    Infrastructure,
}

/// What a command asks for.
#[derive(Debug, Clone)]
pub enum Request {
    /// Make the environment what the configuration says.
    Apply {
        /// Whether to build even what was built from the same inputs before.
        rebuild: bool,
    },
    /// Live traffic for what stands in this slot; without one for the release that waits.
    Promote(Option<Slot>),
    /// The live images of another environment.
    PromoteFrom(EnvironmentName),
    /// Live traffic for an earlier release.
    Rollback(Option<ReleaseNumber>),
    /// Give up what waits.
    Abort,
    /// Delete everything, this far.
    Destroy(Extent),
    /// Run a task of the configuration in the live release.
    Task {
        /// Which.
        name: TaskName,
        /// Whether it runs though it was run for the release.
        again: Again,
    },
    /// Run the tasks of the live release that have come due.
    Settle,
}

impl Request {
    /// The command's words, for who finds the lock held.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Apply { .. } => "apply".to_owned(),
            Self::Promote(None) => "promote".to_owned(),
            Self::Promote(Some(slot)) => format!("promote {slot}"),
            Self::PromoteFrom(from) => format!("promote {from} --to"),
            Self::Rollback(None) => "rollback".to_owned(),
            Self::Rollback(Some(release)) => format!("rollback --to {release}"),
            Self::Abort => "abort".to_owned(),
            Self::Destroy(Extent::Environment) => "destroy".to_owned(),
            Self::Destroy(Extent::Infrastructure) => "destroy --infrastructure".to_owned(),
            Self::Task { name, .. } => format!("task {name}"),
            Self::Settle => "settle".to_owned(),
        }
    }
}

/// Makes a plan. Changes nothing.
pub async fn make_plan(session: &Session, request: &Request) -> Result<Plan, Error> {
    let state = known_state(session, &actor()).await?;
    make_plan_with(session, request, &state).await
}

/// What the rules say of a plan that was made.
pub struct Ruled {
    /// All that they say, also of the time.
    pub verdicts: Vec<Verdict>,
    /// Whether rules of the project's own are against it. The time may be another one when it is
    /// carried out.
    pub is_refused: bool,
}

impl Ruled {
    /// What they say of it now.
    pub async fn of(session: &Session, plan: &Plan) -> Result<Self, Error> {
        let state = session.state().await?;
        let mut verdicts = policy::of_plan(session, plan, &state).await?;
        // A project that has no rules of its own is not held up by those of a branch that is not
        // here.
        let has_own = !session.configuration()?.policy.is_empty();
        let is_refused = verdicts.iter().any(|verdict| match verdict.ruling {
            Ruling::Passed => false,
            Ruling::Undecided => has_own,
            Ruling::Refused => true,
        });
        verdicts.extend(policy::at(session, Timestamp::now())?);
        Ok(Self {
            verdicts,
            is_refused,
        })
    }
}

/// The state, or what still stands in the slots when the state was lost.
pub(super) async fn known_state(session: &Session, actor: &Actor) -> Result<State, Error> {
    let state = session.state().await?;
    if state.lineage.is_some() {
        return Ok(state);
    }
    let (engine, scope) = (&session.ports.engine, session.scope());
    // Where nothing was ever deployed there is nothing to look into.
    let there = engine.overview(&scope).await?;
    if there.lineage.is_none() && there.labels.is_empty() {
        return Ok(state);
    }
    let facts = engine.observe(&scope).await?;
    let adopted = adopt(&state, &facts, actor, Timestamp::now());
    Ok(State {
        lineage: facts.lineage,
        ..adopted
    })
}

/// What a plan is made from, besides the state.
pub(super) struct Seen {
    /// What should be true.
    pub desired: Desired,
    /// What was found.
    pub observed: Observed,
}

/// Looks at what a plan is made from.
pub(super) async fn seen(
    session: &Session,
    request: &Request,
    state: &State,
) -> Result<Seen, Error> {
    let desired = desired(session, request, state).await?;
    let observed = observed(session, request, &desired).await?;
    Ok(Seen { desired, observed })
}

/// The steps, from what was seen alone.
pub(super) fn draw(
    request: &Request,
    desired: &Desired,
    observed: &Observed,
    state: &State,
) -> Result<Plan, plan::PlanError> {
    let facts = &observed.facts;
    match request {
        Request::Apply { .. } | Request::PromoteFrom(_) => {
            Ok(plan::apply(desired, observed, state))
        }
        Request::Promote(slot) => {
            let slot = slot.or_else(|| plan::waiting(facts, state));
            let slot = slot.ok_or_else(|| plan::PlanError::NothingWaiting {
                environment: desired.environment.clone(),
            })?;
            plan::promote(desired, facts, state, slot)
        }
        Request::Rollback(to) => plan::rollback(desired, facts, state, *to),
        Request::Abort => plan::abort(desired, facts, state),
        Request::Destroy(Extent::Environment) => {
            Ok(plan::destroy(desired, facts, &observed.objects, state))
        }
        Request::Destroy(Extent::Infrastructure) => {
            Ok(plan::destroy_infrastructure(desired, observed, state))
        }
        Request::Task { name, again } => plan::task(desired, facts, state, name, *again),
        Request::Settle => Ok(plan::settle(desired, facts, state)),
    }
}

/// Makes a plan with a state that was read already.
pub async fn make_plan_with(
    session: &Session,
    request: &Request,
    state: &State,
) -> Result<Plan, Error> {
    let (plan, _) = look_and_plan(session, request, state).await?;
    Ok(plan)
}

/// The same, with what it was made from.
pub(super) async fn look_and_plan(
    session: &Session,
    request: &Request,
    state: &State,
) -> Result<(Plan, Seen), Error> {
    if !matches!(request, Request::Abort | Request::Destroy(_)) {
        preflight::can_start(session)?;
    }
    let Seen { desired, observed } = seen(session, request, state).await?;
    let facts = &observed.facts;
    belongs_here(session, state, &observed)?;
    let overview = Overview::from(facts);
    let missing = elsewhere::missing(session, state, &overview).await?;
    let behind = behind::compared(session, state, &overview).await?;
    may_be_made(session, request, &desired, &observed).await?;

    let drawn = draw(request, &desired, &observed, state);
    let mut plan = drawn.map_err(|error| match (request, behind.clone()) {
        (Request::Rollback(_), Some(note)) => Error::Behind { error, note },
        _ => error.into(),
    })?;
    images::must_be_there(session, &plan).await?;
    let mut lost = preflight::protected_entries(session, &plan, facts).await?;
    lost.extend(missing.map_or_else(Vec::new, |missing| missing.losses(&plan)));
    plan.losses.extend(lost);
    crate::policy::may_lose(&plan, protection(session)?)?;
    let rollback_blockers = async {
        match request {
            Request::Rollback(_) => Ok(Vec::new()),
            _ => preflight::rollback_blockers(session, &plan, &desired, facts).await,
        }
    };
    let rehearsed = preflight::rehearse(session, &plan, &desired, facts);
    let (blockers, unchecked) = tokio::try_join!(rollback_blockers, rehearsed)?;
    plan.rollback_blockers.extend(blockers);
    plan.notes.extend(unchecked);
    plan.notes.extend(behind);
    plan.notes
        .extend(taken_over::note(session, &plan, facts).await?);
    let of_secrets = versions::notes(session, &plan, facts).await;
    plan.notes.extend(of_secrets);
    plan.notes
        .extend(preflight::unsigned(session, &plan).await?);
    plan.notes.extend(preflight::as_root(session, &plan));
    plan.notes.extend(volumes::notes(session, &plan).await);
    plan.notes
        .extend(listeners::notes(session, &plan, facts).await?);
    plan.notes.extend(session.ports.engine.warnings());
    if let Request::Apply { .. } = request {
        plan.notes.extend(preflight::submodules(session).await?);
        plan.notes.extend(preflight::missing_files(session).await?);
        if !plan.is_empty() {
            plan.notes.extend(unsteady::note(session).await?);
        }
    }
    plan.notes
        .extend(session.source.change.as_ref().map(|change| {
            format!(
                "this is {change}: the plan is for when it is merged, and is not carried out here"
            )
        }));
    plan.namespaces = session.namespaces()?;
    plan.hooks = hooks::of_plan(session, &plan)?;
    let missing = preflight::missing_programs(session, &plan);
    plan.notes.extend(missing);
    Ok((plan, Seen { desired, observed }))
}

/// Whether there is a plan at all for what was asked, by what was found.
async fn may_be_made(
    session: &Session,
    request: &Request,
    desired: &Desired,
    observed: &Observed,
) -> Result<(), Error> {
    if matches!(request, Request::Destroy(_)) {
        crate::policy::would_be_refused(observed)?;
    }
    if matches!(request, Request::Apply { .. } | Request::PromoteFrom(_)) {
        refused::own_objects(session, observed).await?;
        crate::policy::may_take(observed)?;
        crate::policy::may_replace(&desired.resources, &observed.resources)?;
        crate::policy::may_enter(&desired.resources, &observed.resources)?;
        listeners::addresses_are_free(session, desired).await?;
        images::survive_their_lifecycle(session, desired, observed).await?;
    }
    Ok(())
}

/// Whether the environment may lose anything.
pub fn protection(session: &Session) -> Result<Protection, Error> {
    Ok(if session.configuration()?.protected {
        Protection::On
    } else {
        Protection::Off
    })
}

async fn desired(session: &Session, request: &Request, state: &State) -> Result<Desired, Error> {
    match request {
        Request::PromoteFrom(from) => promote::desired(session, from).await,
        Request::Apply { .. } => {
            // Nothing of a change request is deployed; what would be, once it is merged, is what
            // its reader wants to see.
            if session.source.change.is_none() {
                policy::deployable(session).await?;
            }
            let mut desired = session.desired().await?;
            promote::look_up(session, &mut desired).await?;
            Ok(desired)
        }
        Request::Task { name, .. } => {
            let outline = session.outline()?;
            if !is_declared(state, &outline, name) {
                policy::deployable(session).await?;
            }
            Ok(outline)
        }
        // What is moved, stopped or deleted is what stands there, whatever the folder says by now.
        Request::Promote(_)
        | Request::Rollback(_)
        | Request::Abort
        | Request::Destroy(_)
        | Request::Settle => session.outline(),
    }
}

/// Whether a task is word for word one that the live release was placed with. Any other comes from
/// this checkout, for which the rules of its branch hold.
fn is_declared(state: &State, outline: &Desired, name: &TaskName) -> bool {
    let declared = state.live().and_then(|release| release.declared.as_ref());
    match (declared, outline.tasks.get(name)) {
        (Some(declared), Some(task)) => declared.get(name) == Some(task),
        (_, None) => true,
        (None, Some(_)) => false,
    }
}

/// The release that a run which ended before it was live has left, if the last run did. What
/// another run is about to make live is no leftover.
async fn left(session: &Session, facts: &Facts) -> Result<Option<ReleaseNumber>, Error> {
    let (store, environment) = (&session.ports.store, &session.environment);
    let journal = store.last_journal(environment).await?;
    let left = plan::last_run(journal.as_ref(), &Overview::from(facts)).left();
    if left.is_none() {
        return Ok(None);
    }
    let holder = store.holder(environment).await?;
    let is_anothers = holder.is_some_and(|holder| holder.pid != std::process::id());
    Ok(left.filter(|_| !is_anothers))
}

/// Only a plan that may build needs to read the files.
async fn observed(
    session: &Session,
    request: &Request,
    desired: &Desired,
) -> Result<Observed, Error> {
    if let Request::Destroy(Extent::Infrastructure) = request {
        let mut observed = infrastructure(desired, &session.ports).await?;
        shared::look(session, desired, &mut observed.resources).await?;
        return Ok(observed);
    }
    let (Request::Apply { .. } | Request::PromoteFrom(_)) = request else {
        let engine = &session.ports.engine;
        let (facts, objects) = match request {
            Request::Destroy(_) => engine.observe_with(&session.scope(), &[]).await?,
            _ => (engine.observe(&session.scope()).await?, Vec::new()),
        };
        return Ok(Observed {
            facts,
            objects,
            ..Observed::default()
        });
    };

    let mut observed = observe(desired, &session.ports, &session.root).await?;
    observed.left = left(session, &observed.facts).await?;
    count_changes(session, desired, &mut observed).await;
    if let Request::Apply { rebuild: true } = request {
        for image in observed.images.values_mut() {
            image.rebuild = image.found.take().is_some();
        }
    }
    room_for_builds(&observed)?;
    Ok(observed)
}

/// A build is made in a folder for temporary files: without one nothing is begun.
fn room_for_builds(observed: &Observed) -> Result<(), Error> {
    if observed.images.values().all(|image| image.found.is_some()) {
        return Ok(());
    }
    let made = temporary::folder().map(drop);
    made.map_err(|error| Error::Machine {
        what: format!("a build has nowhere to go: {error}"),
        help: temporary::HELP.to_owned(),
    })
}

/// How much changed since the live release: a help for the reader, and no reason to fail.
async fn count_changes(session: &Session, desired: &Desired, observed: &mut Observed) {
    let Some(commit) = observed
        .facts
        .live()
        .and_then(|(_, there)| there.label.commit.clone())
    else {
        return;
    };
    for (name, image) in observed
        .images
        .iter_mut()
        .filter(|(_, image)| image.found.is_none())
    {
        let Some(spec) = desired.services[name].image.build() else {
            continue;
        };
        let context = spec.context();
        image.changed_files = session.scm.changed_files(&commit, context).await.ok();
        // Then it is something that Git does not see.
        if image.changed_files == Some(0) {
            let files = image.inputs.files.keys();
            let ignored = session.scm.ignored(context, files).await;
            image.ignored_files = ignored.unwrap_or_default();
        }
    }
}

fn belongs_here(session: &Session, state: &State, observed: &Observed) -> Result<(), Error> {
    match (&state.lineage, &observed.facts.lineage) {
        (Some(lineage), Some(owner)) if lineage != owner => Err(EngineError::Foreign {
            scope: session.scope(),
            owner: owner.clone(),
            lineage: lineage.clone(),
        }
        .into()),
        _ => Ok(()),
    }
}
