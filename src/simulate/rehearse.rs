//! A rehearsal: a plan is carried out in memory once undisturbed, and once with each fault.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::model::Address;
use crate::model::journal::Direction;
use crate::model::outcome::Ending;
use crate::model::plan::{Plan, Step, StepId};
use crate::model::rehearsal::{
    Compared, EndState, FaultKind, FaultSpec, Leftover, Live, NextRun, RehearsedFault,
    RehearsedStep, Which,
};
use crate::simulate::fault::{Call, Fault, Faults, NoFaults, is_of};
use crate::simulate::judge::broken;
use crate::simulate::run::{Came, Locked, Ran};
use crate::simulate::scenario::{Scenario, simulated};
use crate::simulate::world::World;

/// One fault, in one step of a plan.
struct InStep {
    step: Step,
    kind: FaultKind,
    /// Whether the step was begun.
    is_begun: AtomicBool,
    /// Whether it went wrong.
    has_struck: AtomicBool,
}

impl InStep {
    fn new(step: &Step, kind: FaultKind) -> Self {
        Self {
            step: step.clone(),
            kind,
            is_begun: AtomicBool::new(false),
            has_struck: AtomicBool::new(false),
        }
    }

    fn strikes(&self) -> bool {
        !self.has_struck.swap(true, Ordering::Relaxed)
    }
}

impl Faults for InStep {
    fn at(&self, call: &Call) -> Option<Fault> {
        let fault = match self.kind {
            FaultKind::Error => Fault::Error,
            FaultKind::Slow => Fault::Slow,
            FaultKind::LostReply => Fault::LostReply,
            // It is killed once it has had its effect.
            FaultKind::Kill => return None,
        };
        let is_it = self.is_begun.load(Ordering::Relaxed) && is_of(call, &self.step);
        (is_it && self.strikes()).then_some(fault)
    }

    fn began(&self, step: StepId, direction: Direction) {
        if step == self.step.id && direction == Direction::Forward {
            self.is_begun.store(true, Ordering::Relaxed);
        }
    }

    fn ends(&self, step: StepId, direction: Direction) -> Option<Fault> {
        let is_it = step == self.step.id && direction == Direction::Forward;
        let kills = self.kind == FaultKind::Kill && is_it && self.strikes();
        kills.then_some(Fault::KilledBefore)
    }
}

/// What came of a plan in memory.
pub struct Rehearsal {
    /// When nothing goes wrong.
    pub undisturbed: EndState,
    /// What each fault comes to.
    pub steps: Vec<RehearsedStep>,
}

/// Carries a plan out in memory, once undisturbed and once with each fault that is asked for. Its
/// time is its own: nothing is waited for.
pub async fn rehearse(scenario: &Scenario, plan: &Plan, faults: &[FaultSpec]) -> Rehearsal {
    let plan = simulated(plan.clone());
    let stage = Stage {
        scenario,
        before: scenario.things(&scenario.world()).await,
    };
    let world = Arc::new(scenario.world());
    let ran = stage
        .run(&world, Arc::new(NoFaults), "1", Some(&plan))
        .await;
    let undisturbed = stage.end(&world, &ran).await;

    let mut steps = Vec::new();
    for step in &plan.steps {
        let kinds = kinds(step, faults);
        let mut struck = Vec::new();
        for kind in kinds {
            struck.extend(stage.struck(&plan, step, kind, &undisturbed).await);
        }
        if !struck.is_empty() {
            steps.push(RehearsedStep {
                step: step.id,
                address: step.address.clone(),
                action: step.action.title(),
                faults: struck,
            });
        }
    }
    Rehearsal { undisturbed, steps }
}

/// What is asked for of a step, each once, in its order.
fn kinds(step: &Step, faults: &[FaultSpec]) -> Vec<FaultKind> {
    let is_for = |spec: &&FaultSpec| match &spec.which {
        Which::Every => true,
        Which::Number(id) => *id == step.id,
        Which::Address(address) => *address == step.address,
    };
    let asked: Vec<&FaultKind> = faults
        .iter()
        .filter(is_for)
        .flat_map(|spec| &spec.kinds)
        .collect();
    let all = FaultKind::ALL.into_iter();
    all.filter(|kind| asked.contains(&kind)).collect()
}

struct Stage<'a> {
    scenario: &'a Scenario,
    /// What was there before.
    before: BTreeMap<Address, String>,
}

impl Stage<'_> {
    async fn run(
        &self,
        world: &Arc<World>,
        faults: Arc<dyn Faults>,
        run: &str,
        plan: Option<&Plan>,
    ) -> Ran {
        match Locked::take(self.scenario, world, faults, run).await {
            // Large: it has all of a run in it.
            Ok(locked) => Box::pin(locked.carry_out(self.scenario, plan.cloned())).await,
            Err(error) => Ran {
                plan: None,
                came: Came::Broke(error.to_string()),
            },
        }
    }

    /// What comes of a fault in a step; none where nothing is asked of anybody that could go wrong
    /// so.
    async fn struck(
        &self,
        plan: &Plan,
        step: &Step,
        kind: FaultKind,
        undisturbed: &EndState,
    ) -> Option<RehearsedFault> {
        let world = Arc::new(self.scenario.world());
        let fault = Arc::new(InStep::new(step, kind));
        let ran = self.run(&world, fault.clone(), "1", Some(plan)).await;
        if !fault.has_struck.load(Ordering::Relaxed) {
            return None;
        }
        let end = self.end(&world, &ran).await;
        if ran.came.is_done() {
            let next = None;
            return Some(RehearsedFault { kind, end, next });
        }

        // The lease of one that was killed runs out.
        world.store.expire();
        let again = self.run(&world, Arc::new(NoFaults), "2", None).await;
        let mut next = self.end(&world, &again).await;
        if !again.came.is_done() {
            next.broken
                .push(format!("the next run does not end well: {:?}", again.came));
        } else if next.live.is_some() != undisturbed.live.is_some() {
            next.broken
                .push("the next run does not come to the same end".to_owned());
        }
        let steps = again.plan.map_or(0, |plan| plan.steps.len());
        let next = Some(NextRun { steps, end: next });
        Some(RehearsedFault { kind, end, next })
    }

    async fn end(&self, world: &World, ran: &Ran) -> EndState {
        let facts = world.engine.facts();
        let live = facts.live().map(|(slot, there)| Live {
            slot,
            release: there.label.number,
        });
        let mut broken = broken(world);
        let ending = match &ran.came {
            Came::Ended(ending) => Some(ending.clone()),
            Came::Killed => None,
            Came::Broke(reason) => {
                broken.push(reason.clone());
                Some(Ending::Failed {
                    reason: reason.clone(),
                })
            }
        };
        EndState {
            ending,
            live,
            left: left(&self.before, &self.scenario.things(world).await),
            broken,
        }
    }
}

/// What is not as it was.
fn left(before: &BTreeMap<Address, String>, after: &BTreeMap<Address, String>) -> Vec<Leftover> {
    let all = before.keys().chain(after.keys());
    let mut all: Vec<&Address> = all.collect();
    all.sort_unstable();
    all.dedup();
    let compared = all.into_iter().filter_map(|address| {
        let is = match (before.get(address), after.get(address)) {
            (None, Some(_)) => Compared::Added,
            (Some(_), None) => Compared::Gone,
            (before, after) if before != after => Compared::Changed,
            _ => return None,
        };
        let address = address.clone();
        Some(Leftover { address, is })
    });
    compared.collect()
}
