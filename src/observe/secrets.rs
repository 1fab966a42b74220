//! Which values the secrets have now, told by the hashes that the engine makes of them.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;

use crate::model::desired::Desired;
use crate::model::facts::Facts;
use crate::model::observed::SecretFacts;
use crate::model::secret::SecretRef;
use crate::port::Ports;
use crate::port::engine::Scope;

/// Looks at the secrets of services that run already. What cannot be read here, or told by the
/// engine, is said, and keeps nobody from planning.
pub(super) async fn look(
    desired: &Desired,
    ports: &Ports,
    scope: &Scope,
    facts: &Facts,
) -> BTreeMap<String, SecretFacts> {
    let there = facts
        .slots
        .values()
        .flat_map(|there| there.workloads.values());
    let running: BTreeSet<&str> = there.flat_map(|it| it.spec.secrets().into_keys()).collect();

    let services = desired.services.values();
    let mut wanted: BTreeMap<&str, &SecretRef> = services
        .flat_map(|service| service.workload.secrets())
        .collect();
    wanted.retain(|name, _| running.contains(name));
    let asked = wanted
        .into_iter()
        .map(|(name, from)| async move { (name.to_owned(), ports.secrets.read(name, from).await) });

    let (mut found, mut values) = (BTreeMap::new(), BTreeMap::new());
    for (name, read) in join_all(asked).await {
        match read {
            Ok(read) => {
                values.insert(name, read.value);
            }
            Err(error) => {
                let reason = error.reason;
                found.insert(name, SecretFacts::Unknown { reason });
            }
        }
    }
    if values.is_empty() {
        return found;
    }

    match ports.engine.secret_hashes(scope, &values).await {
        Ok(mut hashes) => found.extend(values.into_keys().map(|name| {
            let hash = hashes.remove(&name).map(SecretFacts::Hash);
            (name, hash.unwrap_or_else(not_told))
        })),
        Err(error) => found.extend(values.into_keys().map(|name| {
            let reason = error.to_string();
            (name, SecretFacts::Unknown { reason })
        })),
    }
    found
}

fn not_told() -> SecretFacts {
    let reason = "the engine does not tell which value it was given".to_owned();
    SecretFacts::Unknown { reason }
}
