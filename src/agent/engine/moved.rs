//! What of an environment's files outside the agent's own folder somebody else has changed: units,
//! files of proxies, and keys of etcd.

use crate::agent::engine::Agent;
use crate::agent::engine::environment::Environment;
use crate::agent::front::nginx::Mark;
use crate::agent::front::seen;
use crate::model::Slot;
use crate::model::drift::MovedField;
use crate::model::facts::Facts;
use crate::model::workload::Workload;

/// Fills in what has moved, and what could not be looked at.
pub(super) async fn look(agent: &Agent, environment: &Environment, facts: &mut Facts) {
    for (slot, there) in &mut facts.slots {
        for workload in there.workloads.values_mut() {
            workload.unit_files = units(agent, environment, *slot, &workload.spec).await;
        }
    }

    let record = environment.state.record();
    let seen = seen::look(&record.routes, &Mark::of(&record), record.traffic).await;
    facts.route_files = seen.moved;
    facts.unseen = seen.unseen;
}

/// What has moved of the units of a workload's instances.
pub(super) async fn units(
    agent: &Agent,
    environment: &Environment,
    slot: Slot,
    workload: &Workload,
) -> Vec<MovedField> {
    let runtime = agent.runtimes().of(workload);
    let mut moved = Vec::new();
    for (of, service, name) in environment.state.contained() {
        if of == slot && service == workload.service {
            moved.extend(runtime.altered(agent.folder(), &name).await);
        }
    }
    moved
}
