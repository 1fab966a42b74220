//! Which values the secrets have now, told by the hashes that the engine makes of them.

use std::collections::BTreeMap;

use crate::model::desired::Desired;
use crate::model::facts::{Facts, WorkloadFacts};
use crate::model::observed::SecretFacts;
use crate::port::Ports;
use crate::port::engine::Scope;

/// Looks at the secrets of services that run already, where the engine knows which values these
/// were given. What cannot be read here is said, and keeps nobody from planning.
pub(super) async fn look(
    desired: &Desired,
    ports: &Ports,
    scope: &Scope,
    facts: &Facts,
) -> BTreeMap<String, SecretFacts> {
    let given = |workload: &WorkloadFacts| workload.secrets.clone().into_keys();
    let there = facts
        .slots
        .values()
        .flat_map(|there| there.workloads.values());
    let known: Vec<String> = there.flat_map(given).collect();

    let (mut found, mut values) = (BTreeMap::new(), BTreeMap::new());
    for service in desired.services.values() {
        let secrets = service.workload.secrets().into_iter();
        for (name, from) in secrets.filter(|(name, _)| known.iter().any(|known| known == name)) {
            match ports.secrets.read(name, from).await {
                Ok(value) => {
                    values.insert(name.to_owned(), value);
                }
                Err(error) => {
                    let reason = error.reason;
                    found.insert(name.to_owned(), SecretFacts::Unknown { reason });
                }
            }
        }
    }
    if values.is_empty() {
        return found;
    }

    match ports.engine.secret_hashes(scope, &values).await {
        Ok(hashes) => {
            let hashes = hashes.into_iter();
            found.extend(hashes.map(|(name, hash)| (name, SecretFacts::Hash(hash))));
        }
        Err(error) => found.extend(values.into_keys().map(|name| {
            let reason = error.to_string();
            (name, SecretFacts::Unknown { reason })
        })),
    }
    found
}
