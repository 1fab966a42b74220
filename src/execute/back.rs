//! Back: the reverse plan, as far as its steps were begun, one after the other.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use crate::execute::step::perform;
use crate::execute::{Begun, Run, log};
use crate::model::event::Event;
use crate::model::journal::Direction;
use crate::model::plan::{Action, Step};
use crate::model::{Address, ServiceName, Slot};
use crate::rollout::{Back, CutOff};

/// Takes back what was begun. A step that fails does not keep the ones after it from being tried:
/// the one that moves traffic comes first, and each one that succeeds is a gain.
///
/// # Errors
/// What cut it off: another run has the lock.
pub(super) async fn carry_out(run: &Arc<Run>, begun: &Begun) -> Result<Back, CutOff> {
    let steps: Vec<Step> = run
        .plan()
        .reverse
        .iter()
        .filter(|step| step.undoes.is_some_and(|id| begun.contains(&id)))
        .cloned()
        .collect();
    if !steps.is_empty() {
        let count = match steps.len() {
            1 => "1 step to take back".to_owned(),
            count => format!("{count} steps to take back"),
        };
        run.say(Event::GoingBack { reason: count });
    }

    let mut failures = Vec::new();
    let mut running = BTreeSet::new();
    for step in steps {
        if let Some(reason) = runs_elsewhere(&step, &running) {
            failures.push(reason);
            continue;
        }
        if let Some(reason) = undo(run, &step).await? {
            failures.push(reason);
            running.extend(not_stopped(&step));
        }
    }
    Ok(if failures.is_empty() {
        Back::Done
    } else {
        Back::Failed(failures.join("; "))
    })
}

/// What goes on running where it could not be stopped.
fn not_stopped(step: &Step) -> Option<(Slot, ServiceName)> {
    match (&step.action, &step.address) {
        (Action::Stop, Address::Workload(slot, service)) => Some((*slot, service.clone())),
        _ => None,
    }
}

/// Why a service is not started: it never runs twice at once, and could not be stopped where it
/// runs.
fn runs_elsewhere(step: &Step, running: &BTreeSet<(Slot, ServiceName)>) -> Option<String> {
    match (&step.action, &step.address) {
        (Action::Deploy { running: true, .. }, Address::Workload(slot, service)) => {
            let other = (slot.other(), service.clone());
            let (address, other) = (&step.address, running.get(&other)?.0);
            Some(format!(
                "{address}: it is not started, for it could not be stopped in {other}"
            ))
        }
        _ => None,
    }
}

/// Why a step could not be taken back, if it could not. During the rollback a journal that cannot
/// be written (a full disk) does not stop what saves live traffic.
async fn undo(run: &Arc<Run>, step: &Step) -> Result<Option<String>, CutOff> {
    let since = Instant::now();
    if let Err(error) = log::intent(run, step, Direction::Back).await
        && let Some(by) = error.cut_off()
    {
        return Err(by);
    }

    match perform(run, step, Direction::Back).await {
        Ok(done) => {
            let _ = log::done(run, step, Direction::Back, &done, since).await;
            Ok(None)
        }
        Err(error) => {
            if let Some(by) = error.cut_off() {
                return Err(by);
            }
            log::failed(run, step, Direction::Back, &error).await;
            Ok(Some(format!("{}: {}", step.address, error.reason())))
        }
    }
}
