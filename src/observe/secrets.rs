//! Which versions and values the secrets have now. Values are told by the hashes that the engine
//! makes of them.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;

use crate::model::desired::Desired;
use crate::model::facts::Facts;
use crate::model::observed::SecretFacts;
use crate::model::secret::{SecretRef, SecretValue, SecretVersion};
use crate::port::Ports;
use crate::port::engine::Scope;

/// Looks at the secrets of services that run already, and at those whose source has versions. What
/// cannot be read here, or told by the engine, is said, and keeps nobody from planning.
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
    wanted.retain(|name, from| running.contains(name) || from.has_versions());
    let asked = wanted
        .into_iter()
        .map(|(name, from)| async move { (name, ports.secrets.read(name, from).await) });

    let (mut found, mut values) = (BTreeMap::new(), BTreeMap::new());
    let mut versions: BTreeMap<String, Option<SecretVersion>> = BTreeMap::new();
    for (name, read) in join_all(asked).await {
        match read {
            Ok(read) => {
                versions.insert(name.to_owned(), read.version);
                if running.contains(name) {
                    values.insert(name.to_owned(), read.value);
                }
            }
            Err(error) => {
                let reason = error.reason;
                found.insert(name.to_owned(), SecretFacts::Unknown { reason });
            }
        }
    }

    let hashes = hashes(ports, scope, &values).await;
    for (name, version) in versions {
        found.insert(name.clone(), known(&name, version, &hashes));
    }
    found
}

/// What the engine makes of values; why it does not otherwise. Nothing is asked of an engine that
/// was given nothing yet.
async fn hashes(
    ports: &Ports,
    scope: &Scope,
    values: &BTreeMap<String, SecretValue>,
) -> Result<BTreeMap<String, String>, String> {
    if values.is_empty() {
        return Ok(BTreeMap::new());
    }
    let told = ports.engine.secret_hashes(scope, values).await;
    told.map_err(|error| error.to_string())
}

/// What is known of a secret that was read.
fn known(
    name: &str,
    version: Option<SecretVersion>,
    hashes: &Result<BTreeMap<String, String>, String>,
) -> SecretFacts {
    let hash = match hashes {
        Ok(hashes) => hashes.get(name).cloned().ok_or_else(not_told),
        Err(reason) => Err(reason.clone()),
    };
    match (version, hash) {
        (None, Err(reason)) => SecretFacts::Unknown { reason },
        (version, hash) => SecretFacts::Known {
            version,
            hash: hash.ok(),
        },
    }
}

fn not_told() -> String {
    "the engine does not tell which value it was given".to_owned()
}
