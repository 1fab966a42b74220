//! Whether the world is still as a plan saw it.

use std::collections::BTreeSet;

use crate::model::facts::Facts;
use crate::model::plan::{Action, Plan, Step};
use crate::model::{Address, Fingerprint};

/// The addresses that a plan's first acts would find changed. A step whose resource an earlier step
/// of the same plan changes is checked when it acts, and not here.
#[must_use]
pub fn stale(plan: &Plan, facts: &Facts) -> Vec<Address> {
    let mut touched: BTreeSet<Address> = BTreeSet::new();
    let mut stale = Vec::new();
    for step in plan.steps.iter().filter(|step| binds(step)) {
        let under_emptied = |address: &Address| matches!(address, Address::Workload(slot, _) if touched.contains(&Address::Slot(*slot)));
        let addresses = addresses(step);
        if !addresses.iter().any(|address| touched.contains(address))
            && !under_emptied(&step.address)
            && current(step, facts) != step.expects
        {
            stale.push(step.address.clone());
        }
        touched.extend(addresses);
    }
    stale
}

/// What a step acts on: with the listeners of one service it may change those of others.
fn addresses(step: &Step) -> Vec<Address> {
    let others = step.action.routes().map(|route| &route.service);
    let others = others.map(|service| Address::Route(service.clone()));
    std::iter::once(step.address.clone())
        .chain(others)
        .collect()
}

/// Whether a step is bound to what it finds.
const fn binds(step: &Step) -> bool {
    matches!(
        step.action,
        Action::Listen { .. }
            | Action::Deploy { .. }
            | Action::Stop
            | Action::Clear
            | Action::Switch { .. }
            | Action::Undeploy
    )
}

fn current(step: &Step, facts: &Facts) -> Option<Fingerprint> {
    match &step.address {
        Address::Image(_) | Address::Object(_) | Address::Resource(_) | Address::Task(..) => None,
        Address::Route(_) => {
            facts.routes_fingerprint(step.action.routes().map(|route| &route.service))
        }
        Address::Workload(slot, service) => facts.workload_fingerprint(*slot, service),
        Address::Slot(slot) => facts.slot_fingerprint(*slot),
        Address::Traffic => Some(facts.traffic_fingerprint()),
    }
}
