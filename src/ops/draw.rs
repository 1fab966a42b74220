//! Drawing a plan: what is desired, what is there, and what the rules say.

use jiff::Timestamp;

use crate::model::desired::Desired;
use crate::model::observed::Observed;
use crate::model::plan::Plan;
use crate::model::release::Actor;
use crate::model::state::State;
use crate::model::{EnvironmentName, ReleaseNumber, Slot};
use crate::observe::observe;
use crate::ops::actor::actor;
use crate::ops::{Error, Session, carry, images, policy, preflight};
use crate::plan;
use crate::policy::Protection;
use crate::port::engine::EngineError;
use crate::rollout::record::adopt;

/// What somebody wants.
#[derive(Debug, Clone)]
pub enum Wanted {
    /// Make the environment what the configuration says.
    Apply {
        /// Whether to build even what was built from the same inputs before.
        rebuild: bool,
    },
    /// Live traffic for what stands in this slot.
    Promote(Slot),
    /// The live images of another environment.
    Carry(EnvironmentName),
    /// Live traffic for an earlier release.
    Rollback(Option<ReleaseNumber>),
    /// Give up what waits.
    Abort,
    /// Take everything away.
    Destroy,
}

impl Wanted {
    /// The command's words, for who finds the lock held.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Apply { .. } => "apply".to_owned(),
            Self::Promote(slot) => format!("promote {slot}"),
            Self::Carry(from) => format!("promote {from} --to"),
            Self::Rollback(None) => "rollback".to_owned(),
            Self::Rollback(Some(release)) => format!("rollback --to {release}"),
            Self::Abort => "abort".to_owned(),
            Self::Destroy => "destroy".to_owned(),
        }
    }
}

/// Draws a plan. Changes nothing.
pub async fn draw(session: &Session, wanted: &Wanted) -> Result<Plan, Error> {
    let state = known_state(session, &actor()).await?;
    draw_with(session, wanted, &state).await
}

/// The state, or what still stands in the slots when the state was lost.
pub(super) async fn known_state(session: &Session, actor: &Actor) -> Result<State, Error> {
    let state = session.state().await?;
    if state.lineage.is_some() {
        return Ok(state);
    }
    let facts = session.ports.engine.observe(&session.scope()).await?;
    let adopted = adopt(&state, &facts, actor, Timestamp::now());
    Ok(State {
        lineage: facts.lineage,
        ..adopted
    })
}

/// Draws a plan with a state that was read already.
pub async fn draw_with(session: &Session, wanted: &Wanted, state: &State) -> Result<Plan, Error> {
    if !matches!(wanted, Wanted::Abort | Wanted::Destroy) {
        preflight::can_start(session)?;
    }
    let desired = desired(session, wanted).await?;
    let observed = look(session, wanted, &desired).await?;
    let facts = &observed.facts;
    belongs_here(session, state, &observed)?;
    if matches!(wanted, Wanted::Apply { .. } | Wanted::Carry(_)) {
        crate::policy::may_take(&observed)?;
        crate::policy::may_replace(&desired.resources, &observed.resources)?;
        crate::policy::may_enter(&desired.resources, &observed.resources)?;
        images::survive_their_lifecycle(session, &desired, &observed).await?;
    }
    let mut plan = match wanted {
        Wanted::Apply { .. } | Wanted::Carry(_) => plan::apply(&desired, &observed, state),
        Wanted::Promote(slot) => plan::promote(&desired, facts, state, *slot)?,
        Wanted::Rollback(to) => plan::rollback(&desired, facts, state, *to)?,
        Wanted::Abort => plan::abort(&desired, facts, state)?,
        Wanted::Destroy => plan::destroy(&desired, facts, &observed.objects, state),
    };
    images::must_be_there(session, &plan).await?;
    crate::policy::may_lose(&plan, protection(session)?)?;
    let rollback_blockers = async {
        match wanted {
            Wanted::Rollback(_) => Ok(plan.rollback_blockers.clone()),
            _ => preflight::rollback_blockers(session, &plan, facts).await,
        }
    };
    let rehearsed = preflight::rehearse(session, &plan, &desired, facts);
    let (blockers, unchecked) = tokio::try_join!(rollback_blockers, rehearsed)?;
    plan.rollback_blockers = blockers;
    plan.notes.extend(unchecked);
    plan.notes
        .extend(preflight::unsigned(session, &plan).await?);
    plan.notes.extend(preflight::as_root(session, &plan));
    plan.notes.extend(session.ports.engine.warnings());
    if let Wanted::Apply { .. } = wanted {
        plan.notes.extend(preflight::submodules(session).await?);
    }
    plan.notes
        .extend(session.source.change.as_ref().map(|change| {
            format!(
                "this is {change}: the plan is for when it is merged, and is not carried out here"
            )
        }));
    Ok(plan)
}

/// Whether the environment may lose anything.
pub fn protection(session: &Session) -> Result<Protection, Error> {
    Ok(if session.configuration()?.protected {
        Protection::On
    } else {
        Protection::Off
    })
}

async fn desired(session: &Session, wanted: &Wanted) -> Result<Desired, Error> {
    match wanted {
        Wanted::Carry(from) => carry::desired(session, from).await,
        Wanted::Apply { .. } => {
            // Nothing of a change request is deployed; what would be, once it is merged, is what its reader wants to see.
            if session.source.change.is_none() {
                policy::may_deploy(session).await?;
            }
            session.desired().await
        }
        // What is moved, stopped or taken away is what stands there, whatever the folder says by now.
        Wanted::Promote(_) | Wanted::Rollback(_) | Wanted::Abort | Wanted::Destroy => {
            session.outline()
        }
    }
}

/// Only a plan that may build needs to read the files.
async fn look(session: &Session, wanted: &Wanted, desired: &Desired) -> Result<Observed, Error> {
    let (Wanted::Apply { .. } | Wanted::Carry(_)) = wanted else {
        let engine = &session.ports.engine;
        let (facts, objects) = match wanted {
            Wanted::Destroy => engine.survey(&session.scope(), &[]).await?,
            _ => (engine.observe(&session.scope()).await?, Vec::new()),
        };
        return Ok(Observed {
            facts,
            objects,
            ..Observed::default()
        });
    };
    let mut observed = observe(desired, &session.ports, &session.root).await?;
    count_changes(session, desired, &mut observed).await;
    if let Wanted::Apply { rebuild: true } = wanted {
        for image in observed.images.values_mut() {
            image.rebuild = image.found.take().is_some();
        }
    }
    Ok(observed)
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
        let context = desired.services[name].build.context();
        image.changed_files = session.scm.changed_files(&commit, context).await.ok();
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
