//! Starting a service's instances anew, as they are.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::agent::engine::deploy::{Secrets, Swap};
use crate::agent::engine::record::WorkloadRecord;
use crate::agent::engine::{Agent, moved};
use crate::agent::log::instances;
use crate::model::Address;
use crate::model::secret::SecretValue;
use crate::port::Progress;
use crate::port::engine::{EngineError, Permit, Placement, Pull, Restart};

/// Replaces the instances of a service by new ones of the same: the new ones are ready before the
/// old ones go, unless they cannot stand side by side.
pub(in crate::agent) async fn restart(
    agent: &Arc<Agent>,
    permit: &Permit,
    restart: Restart,
    progress: Progress<'_>,
) -> Result<(), EngineError> {
    let Restart {
        slot,
        service,
        mode,
        secrets,
    } = restart;
    let environment = agent.environment(&permit.scope);
    let before = environment.state.record();
    let mut work = agent.enter(&environment, permit).await?;
    let record = environment.state.record();

    let address = || Address::Workload(slot, service.clone());
    let there = record.slots.get(&slot);
    let there = there.and_then(|there| Some((&there.label, there.workloads.get(&service)?)));
    let (label, workload) = there.ok_or_else(|| moved(address(), &before))?;
    if !workload.running {
        return Err(EngineError::Refused {
            reason: format!("{service} in {slot} is stopped"),
            help: "`shipit status` shows what runs".to_owned(),
        });
    }

    let placement = Placement {
        slot,
        label: label.clone(),
        workload: workload.spec.clone(),
        mode,
        running: true,
        // The image is here, and is not fetched.
        pull: Pull::Layout(agent.folder().layout()),
        secrets: as_given(agent, workload, secrets),
        expects: None,
    };
    let secrets = Secrets::of(&work, &placement)?;
    instances::forget_oldest(&agent.folder().slot_logs(&permit.scope, slot));
    let swap = Swap {
        agent,
        permit,
        environment: &environment,
        work: &mut work,
        secrets,
        placement,
    };
    swap.run(&record, Some(workload), progress).await
}

/// The values that the service was given when it was deployed: another one would be a release.
fn as_given(
    agent: &Agent,
    workload: &WorkloadRecord,
    mut values: BTreeMap<String, SecretValue>,
) -> BTreeMap<String, SecretValue> {
    let hashes = agent.hashes(&values);
    values.retain(|name, _| hashes.get(name) == workload.secrets.get(name));
    values
}
