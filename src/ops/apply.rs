//! Carrying a plan out under the lock, and recording what came of it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::execute::{self, Finished, Gate, Job, Sink, Stops};
use crate::model::Role;
use crate::model::approval::{Approved, SignedBy};
use crate::model::garbage::Collected;
use crate::model::outcome::{Ending, Outcome, Url};
use crate::model::plan::{Intent, Plan};
use crate::model::release::Actor;
use crate::model::state::State;
use crate::model::task::TaskRecord;
use crate::model::window::OutsideWindow;
use crate::ops::actor::actor;
use crate::ops::hooks::Around;
use crate::ops::notify::{AFTER, Courier, Pace};
use crate::ops::plan::{Request, known_state, make_plan_with, protection};
use crate::ops::plan_file::{self, PlanFile};
use crate::ops::policy as rules;
use crate::ops::policy::approvals::{self, Signed};
use crate::ops::{Error, Session, hooks, images, lock, preflight};
use crate::plan;
use crate::policy;
use crate::port::engine::Permit;
use crate::port::store::Lease;
use crate::rollout::End;
use crate::rollout::record::Ended;

/// Says whether a plan is to be carried out, by whose word, and what of what it destroys may go. It
/// is told who signed the plan, where that was wanted. May ask a person, and take its time.
pub type Approve = Arc<dyn Fn(&Plan, &[SignedBy]) -> Result<Approved, Error> + Send + Sync>;

/// How a run is made.
pub struct Options {
    /// What the plan that is made has to be equal to.
    pub plan: Option<PlanFile>,
    /// Whether a plan may be carried out that has no rollback.
    pub allow_no_rollback: bool,
    /// Why live traffic may be touched outside of its windows; none: it may not.
    pub outside_window: OutsideWindow,
    /// How long to wait for a lock that somebody else holds.
    pub lock_wait: Duration,
    /// Says whether the plan is to be carried out.
    pub approve: Approve,
    /// Where events go.
    pub sink: Sink,
    /// Called off when a person asks to stop.
    pub interrupted: CancellationToken,
    /// Called off when a person asks twice.
    pub killed: CancellationToken,
}

/// Makes or takes a plan, has it approved, and carries it out.
pub async fn run(session: &Session, request: &Request, options: Options) -> Result<Outcome, Error> {
    // A rollback is never held up.
    if !matches!(request, Request::Rollback(_) | Request::Abort) {
        policy::is_no_change(session.source.change.as_ref())?;
        in_time(session, options.outside_window.as_ref())?;
    }
    if !matches!(request, Request::Abort | Request::Destroy(_)) {
        preflight::can_begin(session)?;
    }
    let actor = actor();
    let words = request.words();
    let taking = lock::take(session, &actor, &words, options.lock_wait);
    let lease = unless_interrupted(&options.interrupted, taking).await?;
    let courier = Courier::begin(
        session,
        lease.as_ref(),
        &options.sink,
        &options.killed,
        Pace::Growing,
    );
    // Large: it has all of a run in it.
    let under = Under {
        actor: &actor,
        lease: lease.as_ref(),
        courier: &courier,
    };
    let result = Box::pin(locked(session, request, options, under)).await;
    courier.finish(AFTER).await;
    // The result counts; a lock that cannot be given back is taken over from a dead holder.
    let _ = lease.release().await;
    result
}

/// What is done before a plan is carried out leaves nothing behind: whoever asks to stop is obeyed
/// at once.
pub(super) async fn unless_interrupted<T>(
    interrupted: &CancellationToken,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    tokio::select! {
        biased;
        () = interrupted.cancelled() => Err(Error::Interrupted),
        result = work => result,
    }
}

/// What a run is made under.
#[derive(Clone, Copy)]
struct Under<'a> {
    actor: &'a Actor,
    lease: &'a dyn Lease,
    courier: &'a Courier,
}

async fn locked(
    session: &Session,
    request: &Request,
    options: Options,
    under: Under<'_>,
) -> Result<Outcome, Error> {
    let Under {
        actor,
        lease,
        courier,
    } = under;
    let Options {
        plan,
        allow_no_rollback,
        outside_window,
        approve,
        sink,
        interrupted,
        killed,
        ..
    } = options;
    let stops = stops(lease, interrupted.clone(), killed);
    // Large: all that is asked before anything is done.
    let prepared = unless_interrupted(
        &interrupted,
        Box::pin(async {
            let state = known_state(session, actor).await?;
            let file = plan.as_ref();
            let around = Around::of(session, request, actor, &sink);
            around.before().await?;
            let plan = decide(session, request, file, &state, (actor, lease), &sink).await?;
            around.after(&plan).await?;
            policy::may_lose(&plan, protection(session)?)?;
            may_be_carried_out(&plan, allow_no_rollback)?;
            rules::passed(&rules::of_plan(session, &plan, &state).await?)?;
            let signed = signed(session, plan, file, &state, &sink).await?;
            let approved = approved(approve, &signed).await?;
            policy::consented(&signed.plan, &approved.consents)?;
            Ok((signed, state, approved.by))
        }),
    );
    let (signed, state, approval) = prepared.await?;
    let plan = signed.plan;
    if plan.is_empty() {
        return unchanged(session, actor, lease, &plan, &state).await;
    }

    let lineage = state
        .lineage
        .clone()
        .unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
    let job = Job {
        plan: plan.clone(),
        approval,
        ports: session.ports.clone(),
        permit: permit(session, actor, lineage.clone(), lease),
        root: session.root.clone(),
        stops,
        gate: gate(session, &plan, outside_window.as_ref())?,
        outside_window: outside_window.clone(),
        called: hooks::called(session, &plan).await?,
        sink: sink.clone(),
    };
    let state = State {
        lineage: Some(lineage),
        ..state
    };
    let state = recorded(session, lease, &plan, state).await?;
    courier.started(&plan, actor).await;
    let finished = execute::execute(job).await;
    let (ending, notes) = (execute::ending(&finished.end), noted(&finished.tasks));
    let told = courier.keep_end(&plan, actor, &ending, notes).await;
    let by = By {
        actor,
        outside_window: outside_window.as_deref(),
        approvals: &signed.by,
    };
    let result = persist(session, &plan, &finished, by, lease, &state, &sink).await;
    courier.tell(told);
    result
}

/// The state with what a run that was killed behind its switch did not come to record. Nothing is
/// asked where it is known what has live traffic.
async fn recorded(
    session: &Session,
    lease: &dyn Lease,
    plan: &Plan,
    state: State,
) -> Result<State, Error> {
    let live = plan.active.as_ref().map(|active| active.release);
    let recorded = state.live().map(|release| release.number);
    if live.is_none() || live == recorded {
        return Ok(state);
    }
    let facts = session.ports.engine.observe(&session.scope()).await?;
    let store = session.ports.store.as_ref();
    Ok(execute::persist_unrecorded(store, lease, state, plan, &facts).await?)
}

/// Who made a run, who signed it, and why when it was.
#[derive(Clone, Copy)]
struct By<'a> {
    actor: &'a Actor,
    outside_window: Option<&'a str>,
    approvals: &'a [SignedBy],
}

/// That live traffic may be touched now.
fn in_time(session: &Session, outside: Option<&String>) -> Result<(), Error> {
    match outside {
        Some(_) => Ok(()),
        None => rules::passed(&rules::at(session, Timestamp::now())?),
    }
}

/// What asks the same before the first step that touches live traffic; none where nothing is asked.
fn gate(session: &Session, plan: &Plan, outside: Option<&String>) -> Result<Option<Gate>, Error> {
    let configuration = session.configuration()?;
    let (windows, freezes) = (configuration.windows.clone(), configuration.freezes.clone());
    let is_open = outside.is_some() || windows.is_empty() && freezes.is_empty();
    if is_open || matches!(plan.intent, Intent::Rollback(_) | Intent::Abort) {
        return Ok(None);
    }
    Ok(Some(Arc::new(move || {
        let verdicts = policy::may_touch(&windows, &freezes, Timestamp::now());
        let against = verdicts.into_iter().find(|verdict| !verdict.is_passed());
        against.map_or(Ok(()), |verdict| Err(verdict.reason))
    })))
}

/// What comes of a plan without steps.
async fn unchanged(
    session: &Session,
    actor: &Actor,
    lease: &dyn Lease,
    plan: &Plan,
    state: &State,
) -> Result<Outcome, Error> {
    if plan.intent.ends_environment() {
        let lineage = state.lineage.clone().unwrap_or_default();
        let permit = permit(session, actor, lineage, lease);
        // A run that was killed at its very end may have left what the engine keeps for itself.
        session.ports.engine.clear(&permit).await?;
    }
    outcome(session, Ending::NoChanges, plan, state, None).await
}

pub(super) fn permit(
    session: &Session,
    actor: &Actor,
    lineage: String,
    lease: &dyn Lease,
) -> Permit {
    Permit {
        scope: session.scope(),
        lineage,
        fence: lease.fence(),
        actor: actor.clone(),
        hold: lease.hold(),
    }
}

/// The plan that is to be carried out. What has come due is done before one is made, unless it has
/// to be equal to one that was made before: that is for the world as it was.
async fn decide(
    session: &Session,
    request: &Request,
    given: Option<&PlanFile>,
    state: &State,
    (actor, lease): (&Actor, &dyn Lease),
    sink: &Sink,
) -> Result<Plan, Error> {
    if let Some(file) = given {
        let (plan, _) = plan_file::draw_again(session, request, file, state).await?;
        return Ok(plan);
    }
    if let Some(lineage) = &state.lineage {
        let permit = permit(session, actor, lineage.clone(), lease);
        finish_due(session, &permit, sink).await?;
    }
    make_plan_with(session, request, state).await
}

fn may_be_carried_out(plan: &Plan, allow_no_rollback: bool) -> Result<(), Error> {
    let faults = plan::verify(plan);
    if !faults.is_empty() {
        return Err(Error::Faulty(faults));
    }
    if !plan.rollback_blockers.is_empty() && !allow_no_rollback {
        let reasons = plan.rollback_blockers.join("; ");
        let what = match plan.intent {
            Intent::Rollback(_) => reasons,
            _ => format!("there would be no rollback: {reasons}"),
        };
        let help = "put that right, or say --allow-no-rollback".to_owned();
        return Err(policy::Refusal { what, help }.into());
    }
    Ok(())
}

/// The plan with the signatures that its environment wants.
async fn signed(
    session: &Session,
    plan: Plan,
    file: Option<&PlanFile>,
    state: &State,
    sink: &Sink,
) -> Result<Signed, Error> {
    let signed = approvals::of_plan(session, plan, file, state).await?;
    rules::passed(&signed.verdicts)?;
    for text in &signed.notes {
        let text = text.clone();
        sink(crate::model::event::Event::Note { text });
    }
    Ok(signed)
}

/// Whoever is asked may think for long: a signal is heard meanwhile.
async fn approved(approve: Approve, signed: &Signed) -> Result<Approved, Error> {
    let (plan, by) = (signed.plan.clone(), signed.by.clone());
    let asked = tokio::task::spawn_blocking(move || approve(&plan, &by)).await;
    asked.unwrap_or_else(|panic| {
        Err(Error::NotApproved {
            what: format!("the plan could not be shown: {panic}"),
            help: "run the command again".to_owned(),
        })
    })
}

/// Does what has come due since the last run, on an engine that does nothing by itself.
async fn finish_due(session: &Session, permit: &Permit, sink: &Sink) -> Result<(), Error> {
    for text in session.ports.engine.finish_due(permit).await? {
        sink(crate::model::event::Event::Note { text });
    }
    Ok(())
}

/// Asked to stop by a signal or by `shipit abort` is the same to a run.
fn stops(lease: &dyn Lease, interrupted: CancellationToken, killed: CancellationToken) -> Stops {
    let (abort, token) = (lease.abort_requested(), interrupted.clone());
    tokio::spawn(async move {
        abort.cancelled().await;
        token.cancel();
    });
    Stops {
        interrupted,
        killed,
    }
}

async fn persist(
    session: &Session,
    plan: &Plan,
    finished: &Finished,
    by: By<'_>,
    lease: &dyn Lease,
    state: &State,
    sink: &Sink,
) -> Result<Outcome, Error> {
    let actor = by.actor;
    let now = Timestamp::now();
    let ended = Ended {
        plan,
        end: &finished.end,
        workloads: &finished.workloads,
        probe: finished.probe.as_ref(),
        tasks: &finished.tasks,
        actor,
        outside_window: by.outside_window,
        approvals: by.approvals,
        now,
    };

    let store = session.ports.store.as_ref();
    let (ending, next) = execute::persist(store, lease, state, &ended).await?;
    if finished.end == End::Done && !plan.intent.ends_environment() {
        collect(session, sink).await;
    }
    let outcome = outcome(session, ending, plan, &next, finished.probe.clone()).await?;
    Ok(Outcome {
        notes: noted(&finished.tasks),
        ..outcome
    })
}

/// Images that nobody needs go. That they cannot is worth a note and no more: the release is live.
async fn collect(session: &Session, sink: &Sink) {
    let say = |text: String| sink(crate::model::event::Event::Note { text });
    let tidied = match images::tidy(session).await {
        Ok(tidied) => tidied,
        Err(error) => return say(format!("old images were not deleted: {error}")),
    };
    if let Some(reason) = tidied.copies {
        say(format!(
            "old copies of images are still on this machine: {reason}"
        ));
    }

    let Some(collected) = tidied.images else {
        return;
    };
    let text = match collected {
        Ok(collected) if collected.images.is_empty() => return,
        Ok(Collected {
            refused: Some(reason),
            images,
            ..
        }) => {
            format!("{} old images were not deleted: {reason}", images.len())
        }
        Ok(collected) => format!("{} old images were deleted", collected.images.len()),
        Err(error) => format!("old images were not deleted: {error}"),
    };
    say(text);
}

async fn outcome(
    session: &Session,
    ending: Ending,
    plan: &Plan,
    state: &State,
    probe: Option<crate::model::outcome::ProbeReport>,
) -> Result<Outcome, Error> {
    let scope = session.scope();
    let engine = &session.ports.engine;
    let (overview, urls) = tokio::join!(engine.overview(&scope), engine.urls(&scope, Role::Active));
    let (overview, mut urls) = (overview?, urls.unwrap_or_default());
    let waiting = state.waiting_slot(overview.traffic, |slot| overview.number(slot));

    if waiting.is_some() {
        let preview = engine.urls(&scope, Role::Preview).await;
        urls.extend(preview.unwrap_or_default());
    }

    let urls: Vec<Url> = urls.into_iter().map(Url::without_trust).collect();

    let waiting_release = waiting.and_then(|slot| overview.number(slot));
    let live = overview
        .traffic
        .slot()
        .and_then(|slot| overview.number(slot));
    let target = plan.target.as_ref().map(|target| target.release);
    let (release, aborted) = match (&ending, &plan.intent) {
        (Ending::NoChanges, _) | (_, Intent::Task(_) | Intent::Settle) => (live, None),
        (_, Intent::Abort) => (live, target.filter(|_| ending == Ending::Done)),
        _ => (target, None),
    };
    Ok(Outcome {
        ending,
        release,
        aborted,
        traffic: overview.traffic,
        waiting,
        waiting_release,
        urls,
        probe,
        notes: Vec::new(),
    })
}

/// The tasks whose failure stopped nothing.
fn noted(tasks: &[TaskRecord]) -> Vec<String> {
    let failed = tasks
        .iter()
        .filter(|it| !it.exit.is_ok() && it.is_settled());
    let note = |it: &TaskRecord| format!("the task {} has failed: {}", it.name, it.how());
    failed.map(note).collect()
}
