//! The plan of `destroy`: take an environment away, traffic first.

use crate::model::desired::Desired;
use crate::model::facts::Facts;
use crate::model::object::ObjectFacts;
use crate::model::observed::Observed;
use crate::model::plan::{Action, Intent, Plan, StepId};
use crate::model::state::State;
use crate::model::{Address, LiveTraffic};
use crate::plan::draft::{Draft, Proposal, Subject};
use crate::plan::pieces::restore;
use crate::plan::tasks::{Tasks, specs};
use crate::plan::{infrastructure, objects};

/// Makes the plan of `destroy`: live traffic off, then the listeners, then the slots. Images and
/// history stay.
#[must_use]
pub fn destroy(desired: &Desired, facts: &Facts, found: &[ObjectFacts], state: &State) -> Plan {
    let mut draft = Draft::default();
    environment(&mut draft, (desired, state), facts, found);
    draft.notes.extend(what_stays(desired));
    finish(draft, &Subject::new(desired, facts, state), Intent::Destroy)
}

/// Makes the plan of `destroy --infrastructure`: the same, and behind it what was made for this
/// environment at its provider, the last made first. What others use, and what shipit has not made,
/// stays and is named.
#[must_use]
pub fn destroy_infrastructure(desired: &Desired, observed: &Observed, state: &State) -> Plan {
    let (facts, found) = (&observed.facts, &observed.objects);
    let mut draft = Draft::default();
    environment(&mut draft, (desired, state), facts, found);
    infrastructure::dismantle(&mut draft, desired, &observed.resources);
    let subject = Subject::new(desired, facts, state);
    finish(draft, &subject, Intent::DestroyInfrastructure)
}

fn finish(draft: Draft, subject: &Subject<'_>, intent: Intent) -> Plan {
    let mut plan = draft.finish(subject, intent, None);
    // That nothing answers any more is what was asked for.
    plan.probe.rate = 0;
    plan
}

/// The steps that end an environment.
fn environment(
    draft: &mut Draft,
    (desired, state): (&Desired, &State),
    facts: &Facts,
    found: &[ObjectFacts],
) {
    let mut before = Vec::new();
    if let Some((slot, there)) = facts.live() {
        let workloads = specs(there);
        let release = (slot, there.label.number);
        let tasks = Tasks::of(desired, state, Some(slot), release, &workloads);
        before = tasks.before_remove(draft);
    }
    let live = facts.traffic;
    if !live.is_off() {
        let off = Action::Switch {
            from: live,
            to: LiveTraffic::Off,
        };
        let back = Action::Switch {
            from: LiveTraffic::Off,
            to: live,
        };
        let new = Proposal::new(Address::Traffic, off, "nothing answers after this")
            .expecting(Some(facts.traffic_fingerprint()))
            .after(&before);
        before.push(draft.add_with_undo(
            new,
            Proposal::new(Address::Traffic, back, "live traffic as it was"),
        ));
    }

    let mut done = before.clone();
    done.extend(close_listeners(draft, facts, &before));
    for (slot, there) in &facts.slots {
        let reason = format!("release {} is stopped and undeployed", there.label.number);
        let new = Proposal::new(Address::Slot(*slot), Action::Clear, reason)
            .expecting(facts.slot_fingerprint(*slot))
            .after(&before);
        done.push(draft.add_with_undos(new, restore(facts, *slot, there)));
    }

    for pod in &facts.commands {
        let address = Address::Object(pod.clone());
        let reason = "a command of `shipit run` that has not ended, or that nobody waits for";
        done.push(draft.add(Proposal::new(address, Action::Delete, reason).after(&before)));
    }

    objects::prune(draft, found, &done, objects::Leaving::Environment);
}

/// The steps that close the listeners of all services.
fn close_listeners(draft: &mut Draft, facts: &Facts, needs: &[StepId]) -> Vec<StepId> {
    let mut steps = Vec::new();
    for (name, route) in &facts.routes {
        let address = Address::Route(name.clone());
        let close = Action::StopListening;
        let new = Proposal::new(address.clone(), close, "the environment goes").after(needs);
        let open = Action::listen(route.clone());
        let back = Proposal::new(address, open, "the listeners as they were");
        steps.push(draft.add_with_undo(new, back));
    }
    steps
}

fn what_stays(desired: &Desired) -> Option<String> {
    let resources = desired.resources.iter();
    let names: Vec<String> = resources.map(|resource| resource.key.to_string()).collect();
    (!names.is_empty()).then(|| {
        format!(
            "the infrastructure stays: {}; `shipit destroy --infrastructure` deletes what was made \
             for this environment",
            names.join(", ")
        )
    })
}
