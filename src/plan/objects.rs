//! The environment's own objects in a plan: those that belong to no slot.

use std::collections::BTreeMap;

use crate::model::desired::Desired;
use crate::model::object::{ObjectFacts, ObjectState, rank};
use crate::model::plan::{Action, StepId};
use crate::model::{Address, Manifest, ObjectKey};
use crate::plan::draft::{Draft, Proposal};

/// Makes what is missing and changes what differs; gives the steps that a slot has to wait for.
pub(super) fn make(draft: &mut Draft, desired: &Desired, found: &[ObjectFacts]) -> Vec<StepId> {
    let facts: BTreeMap<&ObjectKey, &ObjectFacts> =
        found.iter().map(|object| (&object.key, object)).collect();
    let mut steps: Vec<(&Manifest, StepId)> = Vec::new();
    for manifest in &desired.objects {
        let key = manifest.key();
        let Some(object) = facts.get(&key) else { continue };
        let reason = match &object.state {
            ObjectState::Same => {
                draft.same(Address::Object(key), "is as it was applied");
                continue;
            }
            ObjectState::Gone | ObjectState::Foreign { .. } => continue,
            ObjectState::Absent => "is not there".to_owned(),
            ObjectState::Differs => origin(object),
            ObjectState::Replace { reason } => format!("is made anew: {reason}"),
            ObjectState::After { definition } => format!("known after {}", definition.short()),
        };
        let replace = matches!(object.state, ObjectState::Replace { .. });
        let needs: Vec<StepId> =
            steps.iter().filter(|(other, _)| is_needed(other, manifest)).map(|(_, id)| *id).collect();
        let address = Address::Object(key);
        let apply = |manifest: &Manifest| Action::Apply { manifest: Box::new(manifest.clone()), replace };
        let new = Proposal::new(address.clone(), apply(manifest), reason)
            .changing(object.changes.clone())
            .expecting(object.fingerprint.clone())
            .after(&needs);
        let back = match (&object.before, &object.fingerprint) {
            (Some(before), _) => Proposal::new(address, apply(before), "as it was"),
            (None, None) => Proposal::new(address, Action::Delete, "taken away again"),
            (None, Some(_)) => {
                draft.notes.push(format!(
                    "{} was never applied by shipit: there is no way back for it",
                    manifest.key()
                ));
                steps.push((manifest, draft.add(new)));
                continue;
            }
        };
        steps.push((manifest, draft.add_with_undo(new, back)));
    }
    steps.into_iter().map(|(_, id)| id).collect()
}

fn origin(object: &ObjectFacts) -> String {
    let drift = object.changes.iter().find_map(|change| change.origin.clone());
    drift.unwrap_or_else(|| "differs".to_owned())
}

/// Whether `other` must be there before `manifest`: its namespace, its definition, and what its pods refer to.
fn is_needed(other: &Manifest, manifest: &Manifest) -> bool {
    let (there, here) = (other.key(), manifest.key());
    match there.kind.as_str() {
        "Namespace" => here.namespace.as_deref() == Some(&there.name),
        "CustomResourceDefinition" => {
            let spec = &other.body()["spec"];
            spec["group"] == here.group() && spec["names"]["kind"] == here.kind.as_str()
        }
        _ => {
            rank(&there.kind) < rank(&here.kind)
                && (there.namespace.is_none() || there.namespace == here.namespace)
        }
    }
}

/// Deletes what is one of ours and not desired any more, the last made first.
pub(super) fn prune(draft: &mut Draft, found: &[ObjectFacts], needs: &[StepId]) {
    let mut gone: Vec<&ObjectFacts> =
        found.iter().filter(|object| object.state == ObjectState::Gone).collect();
    gone.sort_by_key(|object| (std::cmp::Reverse(rank(&object.key.kind)), object.key.clone()));
    let mut before: Vec<(u8, StepId)> = Vec::new();
    for object in gone {
        let address = Address::Object(object.key.clone());
        let here = rank(&object.key.kind);
        let higher: Vec<StepId> = before.iter().filter(|(rank, _)| *rank > here).map(|(_, id)| *id).collect();
        let new = Proposal::new(address.clone(), Action::Delete, "not in the configuration any more")
            .expecting(object.fingerprint.clone())
            .after(needs)
            .after(&higher);
        let step = match &object.before {
            Some(manifest) => {
                let manifest = Box::new(manifest.clone());
                let back = Action::Apply { manifest, replace: false };
                draft.add_with_undo(new, Proposal::new(address, back, "as it was"))
            }
            None => draft.add(new),
        };
        before.push((here, step));
    }
}
