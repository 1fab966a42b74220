//! Reads a finished plan and names what is wrong with it. Every plan is read before it is carried
//! out, one from a file all the more: it may have been edited.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::loss::{Holding, can_hold};
use crate::model::plan::{Action, DeployMode, FORMAT, Plan, Step, StepId};
use crate::model::release::Label;
use crate::model::task::{TaskClass, TaskMoment};
use crate::model::volume::contended;
use crate::model::workload::{Known, Workload};
use crate::model::{Address, LiveTraffic, Manifest, ServiceName, Slot};
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
    /// A step would let a service run twice that never runs beside another release of it.
    #[error("step {0} starts {1} while another release of it runs, and that must never be")]
    RunsTwice(StepId, Address),
    /// A step would let two services have a volume at once that is not shared.
    #[error("step {0} starts {1} while {2} runs, which has its volume, and that must never be")]
    VolumeTwice(StepId, Address, ServiceName),
    /// A step deletes or replaces what can hold something, and the plan does not say what goes with
    /// it.
    #[error("step {0} deletes or replaces {1}, and the plan does not say what goes with it")]
    Undeclared(StepId, Address),
    /// A step would destroy what no consent lets go.
    #[error("step {0} would destroy what {1} holds: {2}")]
    Destroys(StepId, String, Holding),
    /// A task would run twice for its release.
    #[error("step {0} runs {1}, which another step runs as well")]
    TaskTwice(StepId, Address),
    /// A task would run in a release that is not there yet.
    #[error("step {0} runs {1} before what it runs in is there")]
    TaskTooEarly(StepId, Address),
    /// A task breaks the rollback, and the plan does not say so.
    #[error("step {0} runs {1}, which leaves no rollback, and the plan does not say so")]
    TaskBreaks(StepId, Address),
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
        faults.extend(runs_twice(plan, step, &before[&step.id].stopped));
        faults.extend(volume_twice(plan, step, &before[&step.id]));
        faults.extend(has_no_rollback(plan, step, &undone));
        faults.extend(task_fault(plan, step, &before[&step.id]));
    }

    faults.extend(runs_twice_during_the_rollback(plan));
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
            let mut there = before.get(need).cloned().unwrap_or_default();
            there.is_done(by_id[need]);
            here.join(&there);
        }
        before.insert(id, here);
    }

    before
}

#[derive(Debug, Clone, Default)]
struct Before {
    /// Up to which step of what was started a slot was seen ready.
    ready: BTreeMap<Slot, StepId>,
    /// The last step that started something in a slot.
    started: BTreeMap<Slot, StepId>,
    /// What was built, fetched or deployed.
    placed: BTreeSet<Address>,
    /// What was stopped, or taken out.
    stopped: BTreeSet<(Slot, ServiceName)>,
    /// What of the release that was there does not run any more: it was stopped, taken out, or
    /// replaced.
    ended: BTreeSet<(Slot, ServiceName)>,
    /// Where traffic went, once a switch is done.
    traffic: Option<Moved>,
}

impl Before {
    /// Takes in what is done before a step that has to be done before.
    fn join(&mut self, other: &Self) {
        for (own, others) in [
            (&mut self.ready, &other.ready),
            (&mut self.started, &other.started),
        ] {
            for (slot, step) in others {
                let known = own.entry(*slot).or_insert(*step);
                *known = (*known).max(*step);
            }
        }
        self.placed.extend(other.placed.iter().cloned());
        self.stopped.extend(other.stopped.iter().cloned());
        self.ended.extend(other.ended.iter().cloned());
        self.traffic = other.traffic.or(self.traffic);
    }

    fn is_done(&mut self, step: &Step) {
        if let Action::Build { .. } | Action::Fetch { .. } | Action::Deploy { .. } = step.action {
            self.placed.insert(step.address.clone());
        }
        match (&step.action, &step.address) {
            (Action::WaitUntilReady { .. }, Address::Slot(slot)) => {
                let started = self.started.get(slot).copied().unwrap_or(StepId(0));
                let known = self.ready.entry(*slot).or_insert(started);
                *known = (*known).max(started);
            }
            (
                Action::Deploy {
                    running: true,
                    label,
                    ..
                },
                Address::Workload(slot, service),
            ) => {
                let known = self.started.entry(*slot).or_insert(step.id);
                *known = (*known).max(step.id);
                let key = (*slot, service.clone());
                self.stopped.remove(&key);
                match label {
                    None => self.ended.insert(key),
                    Some(_) => self.ended.remove(&key),
                };
            }
            (Action::Stop | Action::Undeploy, Address::Workload(slot, service)) => {
                self.stopped.insert((*slot, service.clone()));
                self.ended.insert((*slot, service.clone()));
            }
            (Action::Switch { to, .. }, _) => self.traffic = Some(Moved(*to)),
            _ => {}
        }
    }

    /// Whether a slot was seen ready with all that was started in it.
    fn is_ready(&self, slot: Slot) -> bool {
        let started = self.started.get(&slot).copied().unwrap_or(StepId(0));
        self.ready.get(&slot).is_some_and(|ready| *ready >= started)
    }
}

/// Where a switch moved traffic to.
#[derive(Debug, Clone, Copy)]
struct Moved(LiveTraffic);

fn unready_switch(step: &Step, before: &Before) -> Option<PlanFault> {
    match step.action {
        Action::Switch {
            to: LiveTraffic::All(to),
            ..
        } if !before.is_ready(to) => Some(PlanFault::UnreadySwitch(step.id)),
        _ => None,
    }
}

fn live_touched(plan: &Plan, step: &Step, before: &Before) -> Option<PlanFault> {
    let live = match before.traffic {
        Some(Moved(traffic)) => traffic.slot()?,
        None => plan.active.as_ref()?.slot,
    };
    let in_place = !plan.strategy.has_preview();
    let slot = match (&step.action, &step.address) {
        (Action::Undeploy, _) if in_place => None,
        // What was stopped there may start again, and may be stopped to start elsewhere.
        (
            Action::Stop
            | Action::Deploy {
                mode: DeployMode::Fresh,
                ..
            },
            Address::Workload(_, service),
        ) if is_exclusive(plan, service) => None,
        (
            Action::Deploy {
                mode: DeployMode::Fresh,
                ..
            }
            | Action::Stop
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

/// Whether a live service never runs beside what the plan places.
fn is_exclusive(plan: &Plan, service: &ServiceName) -> bool {
    let active = plan.active.as_ref();
    active.is_some_and(|active| active.exclusive.contains(service))
}

/// A service that never runs twice at once starts in a slot only behind its stop in the other one,
/// and is never replaced instance by instance.
fn runs_twice(
    plan: &Plan,
    step: &Step,
    stopped: &BTreeSet<(Slot, ServiceName)>,
) -> Option<PlanFault> {
    let (
        Action::Deploy {
            running,
            mode,
            workload,
            ..
        },
        Address::Workload(slot, service),
    ) = (&step.action, &step.address)
    else {
        return None;
    };
    // Some kinds cannot stand stopped: they run from the moment that they are there.
    let is_unstoppable =
        |object: &Manifest| matches!(object.kind(), "DaemonSet" | "Job" | "CronJob" | "Pod");
    if !running && !workload.objects(*slot).iter().any(is_unstoppable) {
        return None;
    }

    let live = plan.active.as_ref().map(|active| active.slot);
    let is_elsewhere = live.is_some_and(|live| live != *slot) && is_exclusive(plan, service);
    let runs_there = is_elsewhere && !stopped.contains(&(slot.other(), service.clone()));
    let rolls =
        *mode == DeployMode::Rolling && (workload.is_exclusive() || is_exclusive(plan, service));
    (runs_there || rolls).then(|| PlanFault::RunsTwice(step.id, step.address.clone()))
}

/// What has a volume that a live service has for itself, or the other way round, starts only behind
/// the end of that one, whatever the two are called. A release does not exclude its own services:
/// its configuration was refused otherwise.
fn volume_twice(plan: &Plan, step: &Step, before: &Before) -> Option<PlanFault> {
    let (slot, service, started) = started(step)?;
    let active = plan.active.as_ref()?;
    let target = plan.target.as_ref().map(|target| target.release);
    let is_same_release = started.label.is_some() || target == Some(active.release);
    if active.slot == slot && is_same_release {
        return None;
    }

    let own = started.workload.mounts();
    let mut live = active.mounts.iter();
    let (other, _) = live.find(|(name, mounts)| {
        let is_itself = active.slot == slot && *name == service;
        let has_ended = before.ended.contains(&(active.slot, (*name).clone()));
        !is_itself && !has_ended && contended(mounts, &own).is_some()
    })?;
    let address = step.address.clone();
    Some(PlanFault::VolumeTwice(step.id, address, other.clone()))
}

/// The rollback starts a service where it was only once it has stopped where the plan started it,
/// and so has what has its volume.
fn runs_twice_during_the_rollback(plan: &Plan) -> Vec<PlanFault> {
    let forward = plan.steps.iter().filter_map(started);
    let mut running: BTreeMap<(Slot, &ServiceName), Started<'_>> = forward
        .map(|(slot, service, started)| ((slot, service), started))
        .collect();
    let mut faults = Vec::new();
    for step in &plan.reverse {
        if let Some((slot, service, one)) = started(step) {
            let mut others = running.iter().filter(|(at, _)| **at != (slot, service));
            let other = others.find(|((_, name), other)| {
                // The services of one release go together.
                let may_meet = *name != service && one.label == other.label;
                !may_meet && one.workload.excludes(other.workload)
            });
            faults.extend(other.map(|((_, other), _)| {
                let address = step.address.clone();
                if *other == service {
                    PlanFault::RunsTwice(step.id, address)
                } else {
                    PlanFault::VolumeTwice(step.id, address, (*other).clone())
                }
            }));
            running.insert((slot, service), one);
        }
        if let (
            Action::Stop | Action::Undeploy | Action::Deploy { running: false, .. },
            Address::Workload(slot, service),
        ) = (&step.action, &step.address)
        {
            running.remove(&(*slot, service));
        }
    }
    faults
}

/// What a step starts.
struct Started<'a> {
    workload: &'a Workload,
    /// The release that it is of; the plan's target without it.
    label: Option<&'a Label>,
}

/// What a step starts, and where.
const fn started(step: &Step) -> Option<(Slot, &ServiceName, Started<'_>)> {
    match (&step.action, &step.address) {
        (
            Action::Deploy {
                running: true,
                workload,
                label,
                ..
            },
            Address::Workload(slot, service),
        ) => {
            let label = label.as_ref();
            Some((*slot, service, Started { workload, label }))
        }
        _ => None,
    }
}

/// A task runs once, in what is there by then; and the plan says what it breaks.
fn task_fault(plan: &Plan, step: &Step, before: &Before) -> Option<PlanFault> {
    let (Action::Task(of), Address::Task(slot, _)) = (&step.action, &step.address) else {
        return None;
    };
    let (id, address) = (step.id, step.address.clone());
    let is_same = |other: &&Step| other.id < id && other.address == address;
    if plan.steps.iter().any(|other| is_same(&other)) {
        return Some(PlanFault::TaskTwice(id, address));
    }

    let breaks = of.task.class == TaskClass::Breaking && plan.active.is_some();
    if breaks && plan.rollback_blockers.is_empty() {
        return Some(PlanFault::TaskBreaks(id, address));
    }

    let own = Address::Workload(*slot, of.task.service.clone());
    let mut placing = plan.steps.iter().filter(|other| {
        let is_fresh = matches!(
            other.action,
            Action::Deploy {
                mode: DeployMode::Fresh,
                label: None,
                ..
            }
        );
        is_fresh && other.address == own
    });
    let is_placed = placing.next().is_none_or(|_| before.placed.contains(&own));
    let looks = of.task.when == TaskMoment::Preview && plan.strategy.has_preview();
    let is_up = !looks || before.is_ready(*slot);
    let image = of.workload.as_ref().map(|workload| &workload.image);
    let is_known = match image {
        Some(Known::After(image)) => before.placed.contains(image),
        Some(Known::Value(_)) | None => true,
    };
    (!is_placed || !is_known || !is_up).then_some(PlanFault::TaskTooEarly(id, address))
}

fn has_no_rollback(plan: &Plan, step: &Step, undone: &BTreeSet<StepId>) -> Option<PlanFault> {
    let changes = matches!(
        step.action,
        Action::Listen { .. }
            | Action::StopListening
            | Action::Deploy { .. }
            | Action::Undeploy
            | Action::Clear
            | Action::Switch { .. }
    );
    let is_live = |slot: &Slot| {
        plan.active
            .as_ref()
            .is_some_and(|active| active.slot == *slot)
    };
    // What a run that died has left in a slot without live traffic does not come back.
    let stops = matches!((&step.action, &step.address),
        (Action::Stop, Address::Workload(slot, _)) if is_live(slot));
    let changes = changes || stops;
    (changes && !undone.contains(&step.id)).then_some(PlanFault::NoRollback(step.id))
}
