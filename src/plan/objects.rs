//! The environment's own objects in a plan: those that belong to no slot.

use std::collections::BTreeMap;

use crate::model::desired::Desired;
use crate::model::loss::{Claim, Holding, can_hold, is_protected};
use crate::model::object::{LAST, ObjectFacts, ObjectState, rank, references};
use crate::model::plan::{Action, StepId};
use crate::model::{Address, Manifest, ObjectKey};
use crate::plan::draft::{Draft, Proposal};
use crate::plan::losses::{Account, grows, remarks};
use crate::plan::origin::origin;

/// Makes what is missing and changes what differs; gives the steps that a slot has to wait for.
pub(super) fn make(
    draft: &mut Draft,
    desired: &Desired,
    found: &[ObjectFacts],
    claims: &[Claim],
) -> Vec<StepId> {
    let replaced = replaced_kinds(desired, found);
    let found: Vec<ObjectFacts> = found
        .iter()
        .map(|object| with_its_definition(object, &replaced))
        .collect();
    let facts: BTreeMap<&ObjectKey, &ObjectFacts> =
        found.iter().map(|object| (&object.key, object)).collect();

    let mut steps = Steps::default();
    let mut wanted: Vec<(&Manifest, &ObjectFacts)> = desired
        .objects
        .iter()
        .filter_map(|manifest| Some((manifest, *facts.get(&manifest.key())?)))
        .collect();
    // Every step is recorded: there must be a place for the record.
    wanted.sort_by_key(|(_, object)| !object.is_home);
    for (manifest, object) in wanted {
        let key = manifest.key();
        draft.notes.extend(object.notes.iter().cloned());
        let Some(reason) = reason(draft, &key, object) else {
            continue;
        };

        if is_replaced(object) {
            draft.notes.extend(remarks(manifest, claims));
        }
        let step = change(draft, manifest, object, reason, &steps.needed_by(manifest));
        steps.add(manifest, step);
        if object.is_home {
            steps.home = Some(step);
        }
    }
    steps.all
}

/// Why an object is applied; none for one that is left as it is.
fn reason(draft: &mut Draft, key: &ObjectKey, object: &ObjectFacts) -> Option<String> {
    match &object.state {
        ObjectState::Same => {
            draft.same(Address::Object(key.clone()), "is as it was applied");
            None
        }
        ObjectState::Done { at } => {
            let reason = format!("was done at {at:.0} and has gone since");
            draft.notes.push(format!(
                "{} {reason}: it runs again when its manifest changes",
                key.short()
            ));
            draft.same(Address::Object(key.clone()), reason);
            None
        }
        ObjectState::Gone
        | ObjectState::Going { .. }
        | ObjectState::Foreign { .. }
        | ObjectState::Refused { .. } => None,
        ObjectState::Absent => Some("is not there".to_owned()),
        ObjectState::Differs => {
            Some(origin(&object.changes).unwrap_or_else(|| "differs".to_owned()))
        }
        ObjectState::Replace { reason } => Some(format!("is replaced: {reason}")),
        ObjectState::After { definition } => Some(format!("known after {}", definition.short())),
    }
}

const fn is_replaced(object: &ObjectFacts) -> bool {
    matches!(object.state, ObjectState::Replace { .. })
}

/// The step that applies an object.
fn change(
    draft: &mut Draft,
    manifest: &Manifest,
    object: &ObjectFacts,
    reason: String,
    needs: &[StepId],
) -> StepId {
    let key = &object.key;
    let action = apply(manifest, is_replaced(object));
    let new = Proposal::new(Address::Object(key.clone()), action, reason)
        .changing(object.changes.clone())
        .expecting(object.fingerprint.clone())
        .after(needs);
    let step = match undo(draft, object, manifest) {
        Some(back) => draft.add_with_undo(new, back),
        None => draft.add(new),
    };

    let is_lossy = is_replaced(object) && (can_hold(key) || object.is_protected);
    if is_lossy || !object.holds.is_empty() {
        draft.accounts_for(account(step, object));
    }
    step
}

/// What the rollback does to an object that was applied; none where there is no rollback.
fn undo(draft: &mut Draft, object: &ObjectFacts, manifest: &Manifest) -> Option<Proposal> {
    let key = &object.key;
    let address = Address::Object(key.clone());
    match (&object.before, &object.fingerprint) {
        // What it held does not come back with it, and what came into it since would go.
        (Some(_), _) if !object.holds.is_empty() => None,
        // The claims that its new pods get would go with them.
        (Some(_), _) if grows(manifest, &object.changes) => {
            draft.notes.push(format!(
                "{key} keeps its new number of pods in a rollback: fewer would delete their claims"
            ));
            None
        }
        (Some(before), _) => {
            let action = apply(before, is_replaced(object));
            Some(Proposal::new(address, action, "as it was"))
        }
        // What was written into it meanwhile would go, or it says that it must not be deleted: it
        // stays, and the next run finds it.
        (None, None) if can_hold(key) || is_protected(manifest) => None,
        (None, None) => Some(Proposal::new(address, Action::Delete, "deleted again")),
        (None, Some(_)) => {
            draft.notes.push(if key.kind == "Secret" {
                format!("the values that {key} has are not kept: there is no rollback for it")
            } else {
                format!("{key} was never applied by shipit: there is no rollback for it")
            });
            None
        }
    }
}

fn apply(manifest: &Manifest, replace: bool) -> Action {
    Action::Apply {
        manifest: Box::new(manifest.clone()),
        replace,
    }
}

fn account(step: StepId, object: &ObjectFacts) -> Account {
    Account::of_object(step, &object.key, object.holds.clone()).protected(object.is_protected)
}

/// The definitions that are replaced, by the group and kind that they define.
fn replaced_kinds(
    desired: &Desired,
    found: &[ObjectFacts],
) -> BTreeMap<(String, String), ObjectKey> {
    let replaced: Vec<&ObjectKey> = found
        .iter()
        .filter(|object| is_replaced(object))
        .map(|object| &object.key)
        .collect();
    desired
        .objects
        .iter()
        .filter(|manifest| replaced.contains(&&manifest.key()))
        .filter_map(|manifest| Some((defined(manifest)?, manifest.key())))
        .collect()
}

/// The objects of a definition go with it when it is replaced, and are made again after it.
fn with_its_definition(
    object: &ObjectFacts,
    replaced: &BTreeMap<(String, String), ObjectKey>,
) -> ObjectFacts {
    let kind = (object.key.group().to_owned(), object.key.kind.clone());
    match (replaced.get(&kind), &object.state) {
        (
            _,
            ObjectState::Gone
            | ObjectState::Going { .. }
            | ObjectState::Foreign { .. }
            | ObjectState::Refused { .. },
        )
        | (None, _) => object.clone(),
        (Some(definition), _) => {
            let definition = definition.clone();
            ObjectFacts::plain(object.key.clone(), ObjectState::After { definition })
        }
    }
}

/// An object by kind, namespace and name: what a reference tells of it.
type Named = (String, Option<String>, String);

/// The steps so far, by what others may need of them.
#[derive(Default)]
struct Steps {
    all: Vec<StepId>,
    /// What makes the namespace of the record.
    home: Option<StepId>,
    /// A reference names no group: two objects may be what it names.
    by_key: BTreeMap<Named, Vec<StepId>>,
    /// Definitions by the group and kind that they define.
    definitions: BTreeMap<(String, String), StepId>,
    /// What gives a service account its rights.
    grants: BTreeMap<Named, Vec<StepId>>,
    /// What bounds all pods of a namespace, by the namespace.
    bounds: BTreeMap<Option<String>, Vec<StepId>>,
}

impl Steps {
    fn add(&mut self, manifest: &Manifest, id: StepId) {
        let key = manifest.key();
        self.all.push(id);
        if let Some(defined) = defined(manifest) {
            self.definitions.insert(defined, id);
        }
        if matches!(key.kind.as_str(), "RoleBinding" | "ClusterRoleBinding") {
            for subject in referred(manifest).filter(|(kind, ..)| kind == "ServiceAccount") {
                self.grants.entry(subject).or_default().push(id);
            }
        }

        if matches!(
            key.kind.as_str(),
            "ResourceQuota" | "LimitRange" | "NetworkPolicy"
        ) {
            let of_namespace = self.bounds.entry(key.namespace.clone()).or_default();
            of_namespace.push(id);
        }

        let named = (key.kind, key.namespace, key.name);
        self.by_key.entry(named).or_default().push(id);
    }

    /// What must be there before an object: its namespace, its definition, and what it refers to.
    /// What asks at every later write is last of all.
    fn needed_by(&self, manifest: &Manifest) -> Vec<StepId> {
        let key = manifest.key();
        if rank(&key.kind) == LAST {
            return self.all.clone();
        }

        let mut needs: Vec<StepId> = self.home.into_iter().collect();
        for wanted in namespace_of(&key).into_iter().chain(referred(manifest)) {
            needs.extend(self.by_key.get(&wanted).into_iter().flatten());
            needs.extend(self.grants.get(&wanted).into_iter().flatten());
        }

        if key.kind == "Pod" || manifest.clone().pod_template().is_some() {
            needs.extend(self.bounds.get(&key.namespace).into_iter().flatten());
        }
        needs.extend(
            self.definitions
                .get(&(key.group().to_owned(), key.kind.clone())),
        );
        needs.sort_unstable();
        needs.dedup();
        needs
    }
}

fn namespace_of(key: &ObjectKey) -> Option<Named> {
    key.namespace
        .clone()
        .map(|name| ("Namespace".to_owned(), None, name))
}

/// What a manifest refers to, in its own namespace or in none.
fn referred(manifest: &Manifest) -> impl Iterator<Item = Named> {
    let namespace = manifest.key().namespace;
    references(manifest)
        .into_iter()
        .flat_map(move |(kind, name)| {
            let whole = (kind.clone(), None, name.clone());
            namespace
                .clone()
                .map(|namespace| (kind, Some(namespace), name))
                .into_iter()
                .chain([whole])
        })
}

/// The group and kind that a definition defines.
fn defined(manifest: &Manifest) -> Option<(String, String)> {
    if manifest.kind() != "CustomResourceDefinition" {
        return None;
    }
    let spec = &manifest.body()["spec"];
    Some((
        spec["group"].as_str()?.to_owned(),
        spec["names"]["kind"].as_str()?.to_owned(),
    ))
}

/// Why objects go that are not desired any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaving {
    /// They left the configuration.
    Configuration,
    /// The environment is deleted.
    Environment,
}

impl Leaving {
    /// Why an object is not deleted but left as it is; none for one that is deleted.
    fn left(self, object: &ObjectFacts) -> Option<String> {
        if object.is_kept {
            return Some(
                "it is left as it is, for it says so (`helm.sh/resource-policy`)".to_owned(),
            );
        }
        let is_namespace = object.key.group().is_empty() && object.key.kind == "Namespace";
        if is_namespace && self == Self::Configuration {
            return Some("it is not managed any more, and stays with all that is in it".to_owned());
        }

        let is_container = is_namespace || object.key.kind == "CustomResourceDefinition";
        let foreign = object.holds.iter().find(|holding| match holding {
            Holding::Data { .. } | Holding::Entry { .. } | Holding::Unknown { .. } => false,
            // What could not be looked at in another place is for the policy to refuse.
            Holding::Unseen { .. } => is_container,
            // When the environment goes, its own objects go before.
            Holding::Own { .. } => self == Self::Configuration,
            Holding::LiveTraffic { .. } | Holding::State { .. } | Holding::Others { .. } => true,
        })?;

        let more = match object.holds.len() {
            0 | 1 => String::new(),
            count => format!(", and {} more", count - 1),
        };
        Some(format!("it is left as it is, for it holds {foreign}{more}"))
    }
}

/// Deletes what is one of ours and not desired any more, the last made first. What others, live
/// traffic or the state are in is let go of instead.
pub(super) fn prune(draft: &mut Draft, found: &[ObjectFacts], needs: &[StepId], leaving: Leaving) {
    for object in found {
        if let ObjectState::Going { waits } = &object.state {
            let short = object.key.short();
            draft
                .notes
                .push(format!("{short} is being deleted already, and {waits}"));
        }
    }
    let mut gone: Vec<&ObjectFacts> = found
        .iter()
        .filter(|object| object.state == ObjectState::Gone)
        .collect();
    gone.sort_by_key(|object| {
        (
            object.is_home,
            std::cmp::Reverse(rank(&object.key.kind)),
            object.key.clone(),
        )
    });

    let mut deletions = Deletions::default();
    for object in gone {
        let waits = [needs, &deletions.that_need(object)].concat();
        if let Some(reason) = leaving.left(object) {
            let address = Address::Object(object.key.clone());
            let new = Proposal::new(address, Action::Forget, reason).after(&waits);
            deletions.all.push(draft.add(new));
        } else {
            let step = delete(draft, object, &waits, leaving);
            deletions.add(object, step);
        }
    }
}

/// The steps that delete objects so far, by what those objects need.
#[derive(Default)]
struct Deletions {
    /// Those that let go of an object, too.
    all: Vec<StepId>,
    by_need: BTreeMap<Named, Vec<StepId>>,
    /// By group and kind, for the definition of it.
    by_kind: BTreeMap<(String, String), Vec<StepId>>,
}

impl Deletions {
    fn add(&mut self, object: &ObjectFacts, step: StepId) {
        self.all.push(step);
        let key = &object.key;
        let kind = (key.group().to_owned(), key.kind.clone());
        self.by_kind.entry(kind).or_default().push(step);

        let referred = object.before.iter().flat_map(referred);
        for need in namespace_of(key).into_iter().chain(referred) {
            self.by_need.entry(need).or_default().push(step);
        }
    }

    /// What goes before an object: all that is in it, refers to it, or is of the kind that it
    /// defines; before the place of the record, all.
    fn that_need(&self, object: &ObjectFacts) -> Vec<StepId> {
        if object.is_home {
            return self.all.clone();
        }
        let key = &object.key;
        let own = (key.kind.clone(), key.namespace.clone(), key.name.clone());
        let defined = object.before.as_ref().and_then(defined);
        let instances = defined.and_then(|kind| self.by_kind.get(&kind));

        let users = self.by_need.get(&own).into_iter().flatten();
        users
            .chain(instances.into_iter().flatten())
            .copied()
            .collect()
    }
}

/// The step that deletes an object.
fn delete(draft: &mut Draft, object: &ObjectFacts, needs: &[StepId], leaving: Leaving) -> StepId {
    let address = Address::Object(object.key.clone());
    let reason = "not in the configuration any more";
    let new = Proposal::new(address.clone(), Action::Delete, reason)
        .expecting(object.fingerprint.clone())
        .after(needs);

    let step = match &object.before {
        Some(manifest) => {
            let reason = if object.holds.is_empty() {
                "as it was"
            } else {
                "recreated, without what it held"
            };
            let back = Proposal::new(address, apply(manifest, false), reason);
            draft.add_with_undo(new, back)
        }
        None => draft.add(new),
    };
    let mut loss = account(step, object).without_own();
    if leaving == Leaving::Environment {
        // Whoever ends an environment ends what its traffic arrives at.
        let is_entry = |holding: &Holding| matches!(holding, Holding::Entry { .. });
        loss.holds.retain(|holding| !is_entry(holding));
    }
    if can_hold(&object.key) || object.is_protected || !loss.holds.is_empty() {
        draft.accounts_for(loss);
    }
    step
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_new_is_deleted_again_unless_it_is_protected() {
        let manifest = |annotations: serde_json::Value| {
            let body = json!({"apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": "keep", "namespace": "shop", "annotations": annotations}});
            Manifest::try_from(body).expect("a manifest")
        };
        let back = |manifest: &Manifest| {
            let object = ObjectFacts::plain(manifest.key(), ObjectState::Absent);
            undo(&mut Draft::default(), &object, manifest).is_some()
        };
        assert!(back(&manifest(json!({}))));
        assert!(back(&manifest(json!({"shipit.dev/protected": "false"}))));
        assert!(!back(&manifest(json!({"shipit.dev/protected": "true"}))));
    }

    #[test]
    fn what_refers_to_a_name_waits_for_all_that_have_it_in_whatever_group() {
        let manifest = |version: &str, kind: &str, spec: serde_json::Value| {
            let body = json!({"apiVersion": version, "kind": kind,
                "metadata": {"name": "web", "namespace": "shop"}, "spec": spec});
            Manifest::try_from(body).expect("a manifest")
        };
        let mut steps = Steps::default();
        let core = manifest("v1", "Service", json!({}));
        let knative = manifest("serving.knative.dev/v1", "Service", json!({}));
        steps.add(&core, StepId(1));
        steps.add(&knative, StepId(2));

        let backend = json!({"defaultBackend": {"service": {"name": "web"}}});
        let ingress = manifest("networking.k8s.io/v1", "Ingress", backend);
        assert_eq!(steps.needed_by(&ingress), [StepId(1), StepId(2)]);
    }
}
