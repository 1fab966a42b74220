//! Back: the reverse plan, as far as its steps were begun, one after the other.

use std::sync::Arc;
use std::time::Instant;

use crate::execute::step::perform;
use crate::execute::{Begun, Run, log};
use crate::model::event::Event;
use crate::model::journal::Direction;
use crate::model::plan::{Action, Plan, Step};
use crate::model::workload::Workload;
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
    let mut left = Vec::new();
    for step in &steps {
        if let Some(reason) = runs_elsewhere(step, &left) {
            failures.push(reason);
            continue;
        }
        if let Some(reason) = undo(run, step).await? {
            failures.push(reason);
            left.extend(not_stopped(run.plan(), step));
        }
    }
    Ok(if failures.is_empty() {
        Back::Done
    } else {
        Back::Failed(failures.join("; "))
    })
}

/// What goes on running where it could not be stopped.
struct Left<'a> {
    slot: Slot,
    service: &'a ServiceName,
    /// What it is; not known of what this plan neither started nor places.
    workload: Option<&'a Workload>,
}

fn not_stopped<'a>(plan: &'a Plan, step: &'a Step) -> Option<Left<'a>> {
    let (
        Action::Stop | Action::Undeploy | Action::Deploy { running: false, .. },
        Address::Workload(slot, service),
    ) = (&step.action, &step.address)
    else {
        return None;
    };
    let mut same = plan.steps.iter().rev();
    let started = same.find_map(|one| match &one.action {
        Action::Deploy {
            workload,
            running: true,
            ..
        } if one.address == step.address => Some(workload),
        _ => None,
    });
    let placed = plan.target.as_ref().filter(|target| target.slot == *slot);
    Some(Left {
        slot: *slot,
        service,
        workload: started.or_else(|| placed?.workloads.get(service)),
    })
}

/// Why a service is not started: it never runs beside what could not be stopped.
fn runs_elsewhere(step: &Step, left: &[Left<'_>]) -> Option<String> {
    let (
        Action::Deploy {
            running: true,
            workload,
            ..
        },
        Address::Workload(slot, service),
    ) = (&step.action, &step.address)
    else {
        return None;
    };
    let excludes = |left: &&Left<'_>| {
        let is_itself = (left.slot, left.service) == (*slot, service);
        let is_other = left.slot != *slot && left.service == service;
        !is_itself && left.workload.map_or(is_other, |it| it.excludes(workload))
    };
    let other = left.iter().find(excludes)?;
    let address = &step.address;
    Some(if other.service == service {
        format!(
            "{address}: it is not started, for it could not be stopped in {}",
            other.slot
        )
    } else {
        format!(
            "{address}: it is not started, for {}, which has its volume, could not be stopped in {}",
            other.service, other.slot
        )
    })
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
