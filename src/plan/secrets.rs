//! Secrets that have another value now than the one that a service was given.

use std::collections::BTreeMap;

use crate::model::ServiceName;
use crate::model::facts::{SlotFacts, WorkloadFacts};
use crate::model::observed::SecretFacts;
use crate::model::plan::Change;
use crate::model::workload::Workload;

/// The secrets of an environment, by name.
type Secrets = BTreeMap<String, SecretFacts>;

/// How many digits of a hash are shown: enough to see that it is another one.
const SHOWN: usize = 7;

/// The secrets of a workload that have another value than what runs was given. What is not known is
/// none.
pub(super) fn changes(
    there: Option<&WorkloadFacts>,
    wanted: &Workload,
    secrets: &Secrets,
) -> Vec<Change> {
    let Some(there) = there else {
        return Vec::new();
    };
    let names = wanted.secrets().into_keys();
    let changed = names.filter_map(|name| {
        let (given, now) = (there.secrets.get(name)?, secrets.get(name)?);
        match now {
            SecretFacts::Hash(now) if now != given => Some(Change {
                field: format!("secret {name}"),
                before: Some(shown(given)),
                after: Some(shown(now)),
                origin: None,
                by: None,
            }),
            SecretFacts::Hash(_) | SecretFacts::Unknown { .. } => None,
        }
    });
    changed.collect()
}

/// Whether a slot's workloads were given the values that the secrets have now.
pub(super) fn are_given(
    there: &SlotFacts,
    wanted: &BTreeMap<ServiceName, Workload>,
    secrets: &Secrets,
) -> bool {
    let mut wanted = wanted.iter();
    wanted.all(|(name, wanted)| changes(there.workloads.get(name), wanted, secrets).is_empty())
}

/// What has to be said of secrets that could not be looked at.
pub(super) fn notes(secrets: &Secrets) -> Vec<String> {
    let unknown = secrets.iter().filter_map(|(name, facts)| match facts {
        SecretFacts::Unknown { reason } => Some(format!(
            "whether the secret `{name}` has another value is not known: {reason}"
        )),
        SecretFacts::Hash(_) => None,
    });
    unknown.collect()
}

fn shown(hash: &str) -> String {
    let digits: String = hash.chars().take(SHOWN).collect();
    format!("value {digits}")
}
