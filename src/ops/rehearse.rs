//! `rehearse`: a plan, carried out in memory with faults. Nothing real is touched.

use std::sync::Arc;

use crate::model::EnvironmentName;
use crate::model::plan::{Intent, Plan, StepId};
use crate::model::rehearsal::{FaultSpec, RehearsalReport, Which};
use crate::model::state::State;
use crate::ops::actor::actor;
use crate::ops::plan::{Extent, Request, Seen, draw, known_state, look_and_plan};
use crate::ops::plan_file::{self, PlanFile};
use crate::ops::{Error, Session};
use crate::simulate::{Scenario, rehearse as carry_out};

/// Carries a plan out in memory, once undisturbed and once with each fault: the one that a file
/// has, or the one that `shipit apply` would make.
pub async fn rehearse(
    session: &Session,
    file: Option<&PlanFile>,
    faults: &[FaultSpec],
) -> Result<RehearsalReport, Error> {
    let state = known_state(session, &actor()).await?;
    let request = file.map_or(Request::Apply { rebuild: false }, request);
    let (plan, seen) = match file {
        // Large: all that a plan is made from is looked at.
        Some(file) => Box::pin(plan_file::draw_again(session, &request, file, &state)).await?,
        None => Box::pin(look_and_plan(session, &request, &state)).await?,
    };
    are_of(&plan, faults)?;

    let scenario = scenario(session, request, seen, state).await?;
    let rehearsal = carry_out(&scenario, &plan, faults).await;
    Ok(RehearsalReport {
        project: plan.project.clone(),
        environment: plan.environment.clone(),
        command: plan_file::command(&plan, None),
        undisturbed: rehearsal.undisturbed,
        steps: rehearsal.steps,
        notes: vec![
            "builds, checks and programs of the project were taken to do what they should"
                .to_owned(),
        ],
    })
}

/// What makes the plan of a file.
fn request(file: &PlanFile) -> Request {
    match &file.plan.intent {
        Intent::Apply => Request::Apply {
            rebuild: file.made.rebuild,
        },
        Intent::Promote(slot) => Request::Promote(Some(*slot)),
        Intent::PromoteFrom(from) => Request::PromoteFrom(from.environment.clone()),
        Intent::Rollback(release) => Request::Rollback(Some(*release)),
        Intent::Abort => Request::Abort,
        Intent::Destroy => Request::Destroy(Extent::Environment),
        Intent::DestroyInfrastructure => Request::Destroy(Extent::Infrastructure),
        Intent::Task(name) => Request::Task {
            name: name.clone(),
            again: crate::plan::Again::No,
        },
        Intent::Settle => Request::Settle,
    }
}

/// Every step that is asked for is in the plan.
fn are_of(plan: &Plan, faults: &[FaultSpec]) -> Result<(), Error> {
    let is_there = |which: &Which| match which {
        Which::Every => true,
        Which::Number(id) => plan.step(*id).is_some(),
        Which::Address(address) => plan.steps.iter().any(|step| step.address == *address),
    };
    let Some(missing) = faults.iter().find(|spec| !is_there(&spec.which)) else {
        return Ok(());
    };
    let what = match &missing.which {
        Which::Every => String::new(),
        Which::Number(StepId(number)) => format!("number {number}"),
        Which::Address(address) => address.to_string(),
    };
    let known: Vec<String> = plan
        .steps
        .iter()
        .map(|step| format!("{} ({})", step.id, step.address))
        .collect();
    Err(Error::Usage {
        what: format!("--faults: the plan has no step {what}"),
        help: if known.is_empty() {
            "the plan has no steps: nothing would be done".to_owned()
        } else {
            format!("its steps are {}", known.join(", "))
        },
    })
}

/// The world as it was found, and how plans are made in it.
async fn scenario(
    session: &Session,
    request: Request,
    seen: Seen,
    state: State,
) -> Result<Scenario, Error> {
    let Seen { desired, observed } = seen;
    let environment: &EnvironmentName = &session.environment;
    let journal = session.ports.store.last_journal(environment).await?;
    let wanted = desired.clone();
    Ok(Scenario {
        desired,
        observed,
        state,
        journal,
        draw: Arc::new(move |observed, state| draw(&request, &wanted, observed, state)),
    })
}
