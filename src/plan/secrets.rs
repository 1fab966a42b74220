//! Secrets that are in another version, or have another value, than what a service was given.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::ServiceName;
use crate::model::desired::Desired;
use crate::model::facts::{Facts, SlotFacts, WorkloadFacts};
use crate::model::observed::{Observed, SecretFacts};
use crate::model::plan::Change;
use crate::model::secret::SecretRef;
use crate::model::workload::Workload;

/// The secrets of an environment, by name.
type Secrets = BTreeMap<String, SecretFacts>;

type Workloads = BTreeMap<ServiceName, Workload>;

/// How many digits of a hash are shown: enough to see that it is another one.
const SHOWN: usize = 7;

/// Names in the workloads which version of each secret they are given: the newest. What cannot be
/// told is taken for unchanged, and so is what has changed in secrets alone whose rotation is no
/// reason for a release.
pub(super) fn pin(desired: &Desired, observed: &Observed, workloads: &mut Workloads) {
    let facts = &observed.facts;
    for (service, workload) in &mut *workloads {
        let given = newest_first(facts).filter_map(|slot| slot.workloads.get(service));
        let given: Vec<&WorkloadFacts> = given.collect();
        workload.each_secret(&mut |name, from| {
            if from.version().is_none() {
                *from = version(name, from, observed.secrets.get(name), &given);
            }
        });
    }

    let same = newest_first(facts).find_map(|slot| unrotated(desired, slot, workloads));
    if let Some(same) = same {
        *workloads = same;
    }
}

/// The workloads as a slot has them, when they differ from those in nothing but secrets whose
/// rotation is no reason for a release.
fn unrotated(desired: &Desired, slot: &SlotFacts, workloads: &Workloads) -> Option<Workloads> {
    let mut kept = workloads.clone();
    for (service, workload) in &mut kept {
        let there = slot.workloads.get(service)?;
        let given = there.spec.secrets();
        workload.each_secret(&mut |name, from| {
            let before = given.get(name).filter(|before| is_same(before, from));
            if let Some(before) = before.filter(|_| desired.unrotated.contains(name)) {
                *from = (*before).clone();
            }
        });
        if there.spec != *workload {
            return None;
        }
    }
    Some(kept)
}

/// The slots from the one that was deployed last.
fn newest_first(facts: &Facts) -> impl Iterator<Item = &SlotFacts> {
    let mut slots: Vec<&SlotFacts> = facts.slots.values().collect();
    slots.sort_by_key(|slot| std::cmp::Reverse(slot.label.number));
    slots.into_iter()
}

/// Whether both are one secret, in whatever version.
fn is_same(one: &SecretRef, other: &SecretRef) -> bool {
    one.at(None) == other.at(None)
}

/// A secret in the version that a service is given now.
fn version(
    name: &str,
    from: &SecretRef,
    now: Option<&SecretFacts>,
    given: &[&WorkloadFacts],
) -> SecretRef {
    let mut before = given.iter().filter_map(|there| {
        let secrets = there.spec.secrets();
        let before = secrets.get(name).filter(|before| is_same(before, from))?;
        Some(((*before).clone(), there.secrets.get(name)))
    });
    match now {
        Some(SecretFacts::Known { version, hash }) => {
            // It was deployed when its version could not be told, and this is the same value.
            let untold = before.find(|(before, given)| {
                before.version().is_none() && hash.is_some() && *given == hash.as_ref()
            });
            untold.map_or_else(|| from.at(version.as_ref()), |(before, _)| before)
        }
        Some(SecretFacts::Unknown { .. }) | None => before
            .next()
            .map_or_else(|| from.clone(), |(before, _)| before),
    }
}

/// Adds the secrets of a workload that have another value than what runs was given, where no other
/// version says so already. What is not known is none.
pub(super) fn add_changes(
    changes: &mut Vec<Change>,
    there: Option<&WorkloadFacts>,
    wanted: &Workload,
    secrets: &Secrets,
) {
    for change in values(there, wanted, secrets) {
        if !changes.iter().any(|known| known.field == change.field) {
            changes.push(change);
        }
    }
}

fn values(there: Option<&WorkloadFacts>, wanted: &Workload, secrets: &Secrets) -> Vec<Change> {
    let Some(there) = there else {
        return Vec::new();
    };
    let names = wanted.secrets().into_keys();
    let changed = names.filter_map(|name| {
        let (given, now) = (there.secrets.get(name)?, secrets.get(name)?);
        match now {
            SecretFacts::Known {
                hash: Some(now), ..
            } if now != given => Some(Change {
                field: field(name),
                before: Some(shown(given)),
                after: Some(shown(now)),
                origin: None,
                by: None,
            }),
            SecretFacts::Known { .. } | SecretFacts::Unknown { .. } => None,
        }
    });
    changed.collect()
}

/// How a plan names what has changed in a secret.
pub(super) fn field(name: &str) -> String {
    format!("secret {name}")
}

/// Whether a slot's workloads were given the values that the secrets have now, but for those whose
/// rotation is no reason for a release.
pub(super) fn are_given(
    there: &SlotFacts,
    wanted: &Workloads,
    secrets: &Secrets,
    unrotated: &BTreeSet<String>,
) -> bool {
    let mut counting = secrets.clone();
    counting.retain(|name, _| !unrotated.contains(name));
    let mut wanted = wanted.iter();
    wanted.all(|(name, wanted)| values(there.workloads.get(name), wanted, &counting).is_empty())
}

/// What has to be said of secrets that could not be looked at.
pub(super) fn notes(secrets: &Secrets, unrotated: &BTreeSet<String>) -> Vec<String> {
    let counting = secrets
        .iter()
        .filter(|(name, _)| !unrotated.contains(*name));
    let unknown = counting.filter_map(|(name, facts)| match facts {
        SecretFacts::Unknown { reason } => Some(format!(
            "whether the secret `{name}` has another value is not known: {reason}"
        )),
        SecretFacts::Known { .. } => None,
    });
    unknown.collect()
}

fn shown(hash: &str) -> String {
    let digits: String = hash.chars().take(SHOWN).collect();
    format!("value {digits}")
}
