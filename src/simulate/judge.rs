//! What must hold of a world whatever went wrong in it.

use std::collections::BTreeMap;

use crate::model::facts::{Facts, SlotFacts};
use crate::model::journal::{Direction, Journal, What};
use crate::model::plan::{Step, StepId};
use crate::model::promotion::ServiceStrategy;
use crate::model::{ServiceName, Slot};
use crate::simulate::fault::{Kind, is_of};
use crate::simulate::world::{Effect, World};

/// The rules that the runs of a world have broken, in words.
#[must_use]
pub fn broken(world: &World) -> Vec<String> {
    let effects = world.effects();
    let mut broken: Vec<String> = effects.iter().flat_map(of_effect).collect();
    let journals: BTreeMap<&str, Option<Journal>> = effects
        .iter()
        .map(|effect| (effect.run.as_str(), world.store.journal(&effect.run)))
        .collect();
    let journal = |effect: &Effect| journals.get(effect.run.as_str()).and_then(Option::as_ref);
    let unplanned = effects
        .iter()
        .filter(|effect| !is_planned(journal(effect), effect));
    broken.extend(unplanned.map(|effect| {
        let (call, run) = (&effect.call, &effect.run);
        format!("{call}: run {run} had written no intent of it down")
    }));
    let pairs = effects.windows(2);
    broken.extend(pairs.flat_map(|pair| between(&pair[0].facts, &pair[1])));
    broken
}

/// What an effect has made of what was there before.
fn between(before: &Facts, effect: &Effect) -> Vec<String> {
    let (call, run, after) = (&effect.call, &effect.run, &effect.facts);
    let mut broken = Vec::new();
    if after.fence < before.fence {
        broken.push(format!(
            "{call}: run {run} acted after another had taken its place"
        ));
    }
    // To switch to what is active changes nothing, whatever has become of it.
    if let Some(slot) = after
        .traffic
        .slot()
        .filter(|slot| !before.traffic.reaches(*slot))
        && !after.slots.get(&slot).is_some_and(SlotFacts::is_ready)
    {
        broken.push(format!("{call}: {slot} got live traffic and was not ready"));
    }
    broken
}

fn of_effect(effect: &Effect) -> Vec<String> {
    let (call, run, facts) = (&effect.call, &effect.run, &effect.facts);
    let mut broken = Vec::new();
    if effect.moment.without_lock {
        broken.push(format!("{call}: run {run} acted without its lock"));
    }
    if let Some(slot) = facts.traffic.slot()
        && !facts.slots.contains_key(&slot)
    {
        broken.push(format!("{call}: live traffic is in {slot}, which is empty"));
    }
    let twice = twice(facts);
    broken
        .extend(twice.map(|service| {
            format!("{call}: {service} runs twice, which never runs twice at once")
        }));
    broken
}

/// What never runs twice at once, and does.
fn twice(facts: &Facts) -> impl Iterator<Item = &ServiceName> {
    let runs = |slot: Slot, service: &ServiceName| {
        let there = facts.slots.get(&slot);
        let workload = there.and_then(|there| there.workloads.get(service));
        workload.filter(|workload| workload.running)
    };
    let blue = facts.slots.get(&Slot::Blue);
    let services = blue.into_iter().flat_map(|there| there.workloads.keys());
    services.filter(move |service| {
        let both = runs(Slot::Blue, service).zip(runs(Slot::Green, service));
        let alone = Some(ServiceStrategy::Recreate);
        both.is_some_and(|(blue, green)| {
            blue.spec.strategy == alone || green.spec.strategy == alone
        })
    })
}

/// Whether what a run did was in its journal before.
fn is_planned(journal: Option<&Journal>, effect: &Effect) -> bool {
    let call = &effect.call;
    if call.kind == Kind::Looks || matches!(call.what, "append" | "save" | "check") {
        return true;
    }
    let Some(journal) = journal else {
        return false;
    };
    let Some(plan) = journal.plan() else {
        return false;
    };
    let intents = journal.entries.iter().filter_map(|entry| match entry.what {
        What::Intent { step, back } => Some((step, back)),
        _ => None,
    });
    let before: Vec<(StepId, Direction)> = intents.take(effect.moment.intents).collect();
    let has_begun = |id: StepId| before.contains(&(id, Direction::Forward));
    let is_own = |step: &Step| has_begun(step.id) && is_of(call, step);
    // A journal that cannot be written does not stop the rollback of what was begun.
    let is_taken_back = |step: &Step| step.undoes.is_some_and(has_begun) && is_of(call, step);
    plan.steps.iter().any(is_own) || plan.reverse.iter().any(is_taken_back)
}
