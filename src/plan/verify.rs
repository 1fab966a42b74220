//! Reads a finished plan and names what is wrong with it. Every plan is read before it is carried
//! out, one from a file all the more: it may have been edited.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::loss::{Holding, can_hold};
use crate::model::plan::{Action, DeployMode, FORMAT, Plan, Step, StepId};
use crate::model::{Address, Slot};
use crate::plan::graph::waves;
use crate::plan::losses::{changes_entries, closes, must_account};

/// What is wrong with a plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanFault {
    /// It was made by another version.
    #[error("the plan has format {found}, and this shipit reads format {FORMAT}")]
    Format {
        /// The format that the plan has.
        found: u32,
    },
    /// Steps wait for each other, or for a step that is not there.
    #[error("steps {0:?} can never run: they wait for each other or for a step that is not there")]
    Order(Vec<StepId>),
    /// Two steps have the same number.
    #[error("step {0} is there twice")]
    Twice(StepId),
    /// Traffic would go to a slot that no step before it saw ready.
    #[error("step {0} gives traffic to a slot that no step before it saw ready")]
    UnreadySwitch(StepId),
    /// A step would stop or replace what has live traffic.
    #[error("step {0} changes {1}, which has live traffic")]
    LiveTouched(StepId, Address),
    /// A step deletes or replaces what can hold something, and the plan does not say what goes with
    /// it.
    #[error("step {0} deletes or replaces {1}, and the plan does not say what goes with it")]
    Undeclared(StepId, Address),
    /// A step would destroy what no consent lets go.
    #[error("step {0} would destroy what {1} holds: {2}")]
    Destroys(StepId, String, Holding),
    /// A step that changes something has nothing that takes it back.
    #[error("step {0} has no rollback")]
    NoRollback(StepId),
}

/// All that is wrong with a plan; nothing for one that may be carried out.
#[must_use]
pub fn verify(plan: &Plan) -> Vec<PlanFault> {
    if plan.format != FORMAT {
        return vec![PlanFault::Format { found: plan.format }];
    }

    let mut faults = duplicates(&plan.steps);
    for steps in [&plan.steps, &plan.reverse] {
        if let Err(stuck) = waves(steps) {
            faults.push(PlanFault::Order(stuck));
        }
    }

    if !faults.is_empty() {
        return faults;
    }

    let before = ancestors(&plan.steps);
    let undone: BTreeSet<StepId> = plan.reverse.iter().filter_map(|back| back.undoes).collect();
    for step in &plan.steps {
        faults.extend(unready_switch(step, &before[&step.id]));
        faults.extend(live_touched(plan, step, &before[&step.id]));
        faults.extend(has_no_rollback(step, &undone));
    }

    faults.extend(undeclared(plan));
    faults.extend(destroyed(plan));
    faults
}

/// The steps that delete or replace what can hold something, and of which the plan gives no
/// account. The rollback may replace only what the plan itself replaces, and deletes nothing that
/// can hold anything.
fn undeclared(plan: &Plan) -> Vec<PlanFault> {
    let mut undo: BTreeMap<StepId, Vec<&Step>> = BTreeMap::new();
    for back in &plan.reverse {
        if let Some(id) = back.undoes {
            undo.entry(id).or_default().push(back);
        }
    }

    let declared: BTreeSet<StepId> = plan.losses.iter().map(|loss| loss.step).collect();
    let is_live = plan.active.is_some() && changes_entries(&plan.intent);
    let forward = plan.steps.iter().filter(|step| {
        let back = undo.get(&step.id).map(Vec::as_slice).unwrap_or_default();
        let closes = is_live && closes(step, back);
        (closes || must_account(step, back)) && !declared.contains(&step.id)
    });
    let back = plan.reverse.iter().filter(|step| {
        let (Action::Delete | Action::Apply { replace: true, .. }, Address::Object(key)) =
            (&step.action, &step.address)
        else {
            return false;
        };
        let is_declared = step.undoes.is_some_and(|id| declared.contains(&id));
        can_hold(key) && !(is_declared && step.action != Action::Delete)
    });

    forward
        .chain(back)
        .map(|step| PlanFault::Undeclared(step.id, step.address.clone()))
        .collect()
}

/// What no consent lets go.
fn destroyed(plan: &Plan) -> impl Iterator<Item = PlanFault> {
    plan.losses.iter().filter_map(|loss| {
        let holding = loss.holds.iter().find(|holding| !holding.may_go())?;
        Some(PlanFault::Destroys(
            loss.step,
            loss.name.clone(),
            holding.clone(),
        ))
    })
}

fn duplicates(steps: &[Step]) -> Vec<PlanFault> {
    let mut seen = BTreeSet::new();
    steps
        .iter()
        .filter(|step| !seen.insert(step.id))
        .map(|step| PlanFault::Twice(step.id))
        .collect()
}

/// For each step the kinds of step that are certainly done before it: which slots were seen ready,
/// and whether traffic was moved. Kept as facts and not as sets of steps, so that a wide plan stays
/// linear.
fn ancestors(steps: &[Step]) -> BTreeMap<StepId, Before> {
    let mut before: BTreeMap<StepId, Before> = BTreeMap::new();
    let by_id: BTreeMap<StepId, &Step> = steps.iter().map(|step| (step.id, step)).collect();
    for id in waves(steps).unwrap_or_default().into_iter().flatten() {
        let mut here = Before::default();
        for need in &by_id[&id].needs {
            if let Some(there) = before.get(need) {
                here.ready.extend(&there.ready);
                here.traffic = there.traffic.or(here.traffic);
            }
            match (&by_id[need].action, &by_id[need].address) {
                (Action::WaitUntilReady { .. }, Address::Slot(slot)) => {
                    here.ready.insert(*slot);
                }
                (Action::Switch { to, .. }, _) => here.traffic = Some(Moved(*to)),
                _ => {}
            }
        }
        before.insert(id, here);
    }

    before
}

#[derive(Debug, Clone, Default)]
struct Before {
    ready: BTreeSet<Slot>,
    /// Where traffic went, once a switch is done.
    traffic: Option<Moved>,
}

/// The slot that a switch gave traffic to; none when it took the environment off.
#[derive(Debug, Clone, Copy)]
struct Moved(Option<Slot>);

fn unready_switch(step: &Step, before: &Before) -> Option<PlanFault> {
    match step.action {
        Action::Switch { to: Some(to), .. } if !before.ready.contains(&to) => {
            Some(PlanFault::UnreadySwitch(step.id))
        }
        _ => None,
    }
}

fn live_touched(plan: &Plan, step: &Step, before: &Before) -> Option<PlanFault> {
    let live = match before.traffic {
        Some(Moved(slot)) => slot?,
        None => plan.active.as_ref()?.slot,
    };
    let in_place = !plan.strategy.has_preview();
    let slot = match (&step.action, &step.address) {
        (Action::Undeploy, _) if in_place => None,
        (
            Action::Deploy {
                mode: DeployMode::Fresh,
                ..
            }
            | Action::Undeploy,
            Address::Workload(slot, _),
        )
        | (
            Action::Clear | Action::Retain { .. } | Action::RetainUntil { .. },
            Address::Slot(slot),
        ) => Some(*slot),
        _ => None,
    };
    (slot == Some(live)).then(|| PlanFault::LiveTouched(step.id, step.address.clone()))
}

fn has_no_rollback(step: &Step, undone: &BTreeSet<StepId>) -> Option<PlanFault> {
    let changes = matches!(
        step.action,
        Action::Listen { .. }
            | Action::StopListening
            | Action::Deploy { .. }
            | Action::Undeploy
            | Action::Clear
            | Action::Switch { .. }
    );
    (changes && !undone.contains(&step.id)).then_some(PlanFault::NoRollback(step.id))
}
