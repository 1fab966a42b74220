//! What of an environment's files outside the agent's own folder somebody else has changed: units,
//! files of proxies, and keys of etcd.

use std::sync::{Arc, PoisonError};

use crate::agent::engine::Agent;
use crate::agent::engine::environment::Environment;
use crate::agent::front::nginx::Mark;
use crate::agent::front::seen;
use crate::agent::router::RouteKey;
use crate::model::Slot;
use crate::model::drift::MovedField;
use crate::model::facts::Facts;
use crate::model::workload::Workload;
use crate::port::engine::Scope;

impl Agent {
    /// What is on record, with nothing looked at: where it answers and what it wrote is known from
    /// that alone.
    pub(super) fn recorded(&self, scope: &Scope) -> Facts {
        let environment = self.known(scope);
        let mut facts =
            environment.map_or_else(Facts::default, |environment| environment.state.facts());
        self.look_at_listeners(scope, &mut facts);
        facts
    }

    /// Fills in the certificates that the environment's listeners show, and which are not open.
    fn look_at_listeners(&self, scope: &Scope, facts: &mut Facts) {
        for service in facts.routes.keys() {
            let key = RouteKey {
                scope: scope.clone(),
                service: service.clone(),
            };
            let shown = self.router().certificates(&key);
            if !shown.is_empty() {
                facts.certificates.insert(service.clone(), shown);
            }
            let reason = self.router().why_unopened(&key);
            facts
                .unopened
                .extend(reason.map(|reason| (service.clone(), reason)));
        }
    }

    /// An environment that has anything here.
    pub(super) fn known(&self, scope: &Scope) -> Option<Arc<Environment>> {
        let environments = self.environments.lock();
        let environments = environments.unwrap_or_else(PoisonError::into_inner);
        environments.get(scope).cloned()
    }
}

/// What is on record, and what has become of it on disk and in front.
pub(super) async fn observe(agent: &Agent, environment: &Environment) -> Facts {
    let mut facts = environment.state.facts();
    agent.look_at_listeners(&environment.state.record().scope, &mut facts);
    let slots = facts.slots.values_mut();
    for workload in slots.flat_map(|there| there.workloads.values_mut()) {
        let damage = agent.runtimes.damage(&agent.directory, &workload.spec);
        workload.changed_on_disk = damage.await;
    }

    look(agent, environment, &mut facts).await;
    facts
}

/// Fills in what has moved, and what could not be looked at.
async fn look(agent: &Agent, environment: &Environment, facts: &mut Facts) {
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
