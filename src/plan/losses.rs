//! What a plan destroys: for each step that deletes or replaces something which can hold anything,
//! what goes with it.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::facts::{Facts, WorkloadFacts};
use crate::model::loss::{Claim, Held, Holding, Loss, can_hold, is_protected, resource_can_hold};
use crate::model::object::{has_number, mark};
use crate::model::plan::{Action, Change, Intent, Step, StepId, Target};
use crate::model::route::{ObjectsRoute, Route};
use crate::model::workload::Workload;
use crate::model::{Address, Manifest, ObjectKey, ServiceName, Slot};

/// A loss before its name is known to be the only one.
pub(super) struct Account {
    pub step: StepId,
    /// What a person consents by, if nothing else in the plan has that name.
    pub short: String,
    /// The name that is the only one anyway.
    pub long: String,
    pub holds: Vec<Holding>,
    pub is_protected: bool,
}

impl Account {
    pub fn of_object(step: StepId, key: &ObjectKey, holds: Vec<Holding>) -> Self {
        Self {
            step,
            short: key.short(),
            long: key.namespace.as_ref().map_or_else(
                || key.to_string(),
                |namespace| format!("{}/{namespace}/{}", key.kind, key.name),
            ),
            holds,
            is_protected: false,
        }
    }

    /// A route's name is the only one of its kind.
    fn of_route(step: StepId, address: &Address, holds: Vec<Holding>) -> Self {
        Self {
            step,
            short: address.to_string(),
            long: address.to_string(),
            holds,
            is_protected: false,
        }
    }

    /// Without what the environment itself has in it, which goes by its own steps before.
    pub fn without_own(mut self) -> Self {
        self.holds.retain(|holding| !holding.is_own());
        self
    }

    pub const fn protected(mut self, is_protected: bool) -> Self {
        self.is_protected = is_protected;
        self
    }
}

/// The accounts with names that each mean one thing.
pub(super) fn named(accounts: Vec<Account>) -> Vec<Loss> {
    let mut longs: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for account in &accounts {
        let of_name = longs.entry(account.short.clone()).or_default();
        of_name.insert(account.long.clone());
    }

    let name = |account: &Account| {
        let is_only = longs.get(&account.short).is_some_and(|all| all.len() == 1);
        if is_only {
            account.short.clone()
        } else {
            account.long.clone()
        }
    };

    accounts
        .into_iter()
        .map(|account| Loss {
            step: account.step,
            name: name(&account),
            holds: account.holds,
            is_protected: account.is_protected,
        })
        .collect()
}

/// What the steps on slots destroy: the objects of each workload that a step takes out or writes
/// over.
pub(super) fn of_slots(steps: &[Step], facts: &Facts) -> Vec<Account> {
    let emptied: BTreeSet<Slot> = steps
        .iter()
        .filter_map(|step| match (&step.action, &step.address) {
            (Action::Clear, Address::Slot(slot)) => Some(*slot),
            _ => None,
        })
        .collect();
    steps
        .iter()
        .flat_map(|step| {
            taken_out(step, facts, &emptied).into_iter().map(|held| {
                Account::of_object(step.id, &held.key, held.holds.clone())
                    .protected(held.is_protected)
            })
        })
        .collect()
}

/// Whether a plan makes listeners what the configuration says. A rollback and the end of an
/// environment are asked for by name already, and are not held up.
pub(super) const fn changes_entries(intent: &Intent) -> bool {
    match intent {
        Intent::Apply | Intent::PromoteFrom(_) => true,
        Intent::Promote(_)
        | Intent::Rollback(_)
        | Intent::Abort
        | Intent::Destroy
        | Intent::DestroyInfrastructure
        | Intent::Task(_)
        | Intent::Settle => false,
    }
}

/// What the steps on listeners close that live traffic comes through.
pub(super) fn of_routes(steps: &[Step], facts: &Facts) -> Vec<Account> {
    let Some((_, live)) = facts.live() else {
        return Vec::new();
    };
    let mut accounts = Vec::new();
    for step in steps {
        for service in services(step) {
            let there = facts.routes.get(service);
            let lost = there.map_or_else(Vec::new, |there| entries_lost(step, there));
            if lost.is_empty() {
                continue;
            }

            // A service that the live release does not have gets no traffic: that much is said.
            let mut holds = Vec::new();
            if live.workloads.contains_key(service) {
                holds.extend(lost.into_iter().map(|what| Holding::Entry { what }));
            }
            let address = Address::Route(service.clone());
            accounts.push(Account::of_route(step.id, &address, holds));
        }
    }
    accounts
}

/// The objects of entry points that must never be deleted, and that the steps delete: whatever the
/// plan is for.
pub(super) fn of_protected_entries(steps: &[Step], facts: &Facts) -> Vec<Account> {
    let mut accounts = Vec::new();
    for step in steps {
        for service in services(step) {
            let protected = facts.protected_entries.get(service).into_iter().flatten();
            let next = next_route(step, service).and_then(Route::objects);
            let kept: BTreeSet<ObjectKey> = next.into_iter().flat_map(ObjectsRoute::keys).collect();
            accounts.extend(
                protected
                    .filter(|key| !kept.contains(key))
                    .map(|key| Account::of_object(step.id, key, Vec::new()).protected(true)),
            );
        }
    }
    accounts
}

/// What a step makes of a service's listeners; none when it takes them away.
fn next_route<'a>(step: &'a Step, service: &ServiceName) -> Option<&'a Route> {
    step.action.routes().find(|next| next.service == *service)
}

/// The services whose listeners a step acts on.
fn services(step: &Step) -> Vec<&ServiceName> {
    match (&step.action, &step.address) {
        (Action::Listen { .. }, _) => step.action.routes().map(|route| &route.service).collect(),
        (_, Address::Route(service)) => vec![service],
        _ => Vec::new(),
    }
}

/// What a promotion ends: services with live traffic that the release in the other slot does not
/// have.
pub(super) fn of_promotion(steps: &[Step], facts: &Facts, target: Option<&Target>) -> Vec<Account> {
    let (Some((_, live)), Some(target)) = (facts.live(), target) else {
        return Vec::new();
    };
    let switches = |step: &&Step| matches!(step.action, Action::Switch { .. });
    let Some(switch) = steps.iter().find(switches) else {
        return Vec::new();
    };
    let ends = facts.routes.iter().filter(|(service, _)| {
        live.workloads.contains_key(*service) && !target.workloads.contains_key(*service)
    });
    ends.map(|(service, route)| {
        let entries = route.entries_lost(None).into_iter();
        let holds = entries.map(|what| Holding::Entry { what }).collect();
        Account::of_route(switch.id, &Address::Route(service.clone()), holds)
    })
    .collect()
}

/// Where nothing answers any more once a step has taken the place of what was there.
fn entries_lost(step: &Step, there: &Route) -> Vec<String> {
    match &step.action {
        Action::Listen { .. } => {
            let next = next_route(step, &there.service);
            next.map_or_else(Vec::new, |next| there.entries_lost(Some(next)))
        }
        Action::StopListening => there.entries_lost(None),
        _ => Vec::new(),
    }
}

/// Whether a step closes what traffic may come through: what would put it back has an entry that
/// the step has not.
pub(super) fn closes(step: &Step, undo: &[&Step]) -> bool {
    let mut routes = undo.iter().flat_map(|back| back.action.routes());
    routes.any(|route| !entries_lost(step, route).is_empty())
}

/// What of a slot's objects that can hold something a step deletes.
fn taken_out<'a>(step: &Step, facts: &'a Facts, emptied: &BTreeSet<Slot>) -> Vec<&'a Held> {
    let workload = |slot: &Slot, service| facts.slots.get(slot)?.workloads.get(service);
    match (&step.action, &step.address) {
        (Action::Clear, Address::Slot(slot)) => {
            let there = facts.slots.get(slot).into_iter();
            let workloads = there.flat_map(|there| there.workloads.values());
            workloads.flat_map(|workload| &workload.held).collect()
        }
        (Action::Undeploy, Address::Workload(slot, service)) => workload(slot, service)
            .map(|there: &WorkloadFacts| there.held.iter().collect())
            .unwrap_or_default(),
        (Action::Deploy { workload: new, .. }, Address::Workload(slot, service))
            if !emptied.contains(slot) =>
        {
            let there = workload(slot, service).into_iter();
            there
                .flat_map(|there: &WorkloadFacts| &there.held)
                .filter(|held| !has(new, *slot, &held.key))
                .collect()
        }
        _ => Vec::new(),
    }
}

/// Whether a workload has an object in a slot, whatever version it is asked by.
fn has(workload: &Workload, slot: Slot, key: &ObjectKey) -> bool {
    let objects = workload.objects(slot).iter();
    objects.map(Manifest::key).any(|own| {
        (own.group(), &own.kind, &own.namespace, &own.name)
            == (key.group(), &key.kind, &key.namespace, &key.name)
    })
}

/// Whether a step has to give an account of what goes with what it acts on. What a step on a slot
/// takes out is told by what would put it back.
pub(super) fn must_account(step: &Step, undo: &[&Step]) -> bool {
    match (&step.action, &step.address) {
        (Action::Delete | Action::Apply { replace: true, .. }, Address::Object(key)) => {
            can_hold(key)
        }
        (Action::Apply { manifest, .. }, Address::Object(_)) => shrinks(manifest, &step.changes),
        (Action::Delete | Action::Ensure { replace: true, .. }, Address::Resource(key)) => {
            resource_can_hold(key)
        }
        (Action::Clear, _) => undo.iter().any(|back| restored(back).next().is_some()),
        // What takes a service back may relabel another one beside it.
        (Action::Undeploy, address) => undo
            .iter()
            .filter(|back| back.address == *address)
            .any(|back| restored(back).next().is_some()),
        (Action::Deploy { workload, .. }, Address::Workload(slot, _)) => undo
            .iter()
            .filter(|back| back.address == step.address)
            .flat_map(|step| restored(step))
            .any(|manifest| !has(workload, *slot, &manifest.key())),
        _ => false,
    }
}

/// Whether a change takes pods from a set that deletes the claims of those that go. A field that is
/// taken out gets its default.
fn shrinks(manifest: &Manifest, changes: &[Change]) -> bool {
    let (start, end) = ordinals_move(changes);
    deletes_claims(manifest, changes) && (start > 0 || end < 0)
}

/// Whether taking a change back would.
pub(super) fn grows(manifest: &Manifest, changes: &[Change]) -> bool {
    let (start, end) = ordinals_move(changes);
    deletes_claims(manifest, changes) && (start < 0 || end > 0)
}

/// Whether the claims of pods go with them, before or after the changes.
fn deletes_claims(manifest: &Manifest, changes: &[Change]) -> bool {
    const POLICY: &str = "spec.persistentVolumeClaimRetentionPolicy.whenScaled";
    let policy = &manifest.body()["spec"]["persistentVolumeClaimRetentionPolicy"];
    let before = changes.iter().find(|change| change.field == POLICY);
    let before = before.and_then(|change| change.before.as_deref());
    policy["whenScaled"] == "Delete" || before == Some("Delete")
}

/// By how much the first and the last number of a set's pods move.
fn ordinals_move(changes: &[Change]) -> (i64, i64) {
    let by = |field: &str, default: i64| {
        let number = |text: &Option<String>| {
            let number = text.as_ref().and_then(|text| text.parse().ok());
            number.unwrap_or(default)
        };
        let change = changes.iter().find(|change| change.field == field);
        change.map_or(0, |change| {
            number(&change.after).saturating_sub(number(&change.before))
        })
    };
    let start = by("spec.ordinals.start", 0);
    (start, start.saturating_add(by("spec.replicas", 1)))
}

/// The objects that can hold something, of those that a step puts back into a slot.
fn restored(step: &Step) -> impl Iterator<Item = &Manifest> {
    let placed = match (&step.action, &step.address) {
        (Action::Deploy { workload, .. }, Address::Workload(slot, _)) => workload.objects(*slot),
        _ => &[],
    };
    placed
        .iter()
        .filter(|manifest| can_hold(&manifest.key()) || is_protected(manifest))
}

/// What a reader has to know of a workload that is placed or replaced: whose the number of its pods
/// is, which claims a `StatefulSet` finds, and which of them its templates do not change.
pub(super) fn remarks(manifest: &Manifest, claims: &[Claim]) -> Vec<String> {
    let key = manifest.key();
    let mut notes: Vec<String> = scaled(manifest).into_iter().collect();
    let templates = manifest.body()["spec"]["volumeClaimTemplates"].as_array();
    for template in templates.into_iter().flatten() {
        let name = template["metadata"]["name"].as_str().unwrap_or_default();
        let wanted = template["spec"]["resources"]["requests"]["storage"].as_str();
        let prefix = format!("{name}-{}-", key.name);
        let own: Vec<&Claim> = claims
            .iter()
            .filter(|claim| Some(&claim.namespace) == key.namespace.as_ref())
            .filter(|claim| {
                let number = claim.name.strip_prefix(&prefix);
                number.is_some_and(|number| number.parse::<u32>().is_ok())
            })
            .collect();

        notes.extend(found(&key, &own));
        notes.extend(too_small(&key, &own, wanted));
    }
    notes
}

/// Whose the number of pods is.
fn scaled(manifest: &Manifest) -> Option<String> {
    let scaler = manifest.body()["metadata"]["annotations"][mark::SCALED_BY].as_str()?;
    if !has_number(manifest.body()) {
        return None;
    }
    let short = manifest.key().short();
    Some(format!(
        "{short}: the number of its pods is left to {scaler}, and the one in its manifest is what \
         it begins with"
    ))
}

fn found(key: &ObjectKey, claims: &[&Claim]) -> Option<String> {
    (!claims.is_empty()).then(|| {
        let names: Vec<String> = claims
            .iter()
            .map(|claim| match &claim.size {
                Some(size) => format!("{} ({size})", claim.name),
                None => claim.name.clone(),
            })
            .collect();
        format!(
            "{} starts with the data that is in its claims already: {}",
            key.short(),
            names.join(", ")
        )
    })
}

/// A template is for claims that are replaced; one that is there keeps its size.
fn too_small(key: &ObjectKey, claims: &[&Claim], wanted: Option<&str>) -> Option<String> {
    let wanted = wanted?;
    let other: Vec<&&Claim> = claims
        .iter()
        .filter(|claim| claim.size.as_deref().is_some_and(|size| size != wanted))
        .collect();
    let first = other.first()?;
    let names: Vec<&str> = other.iter().map(|claim| claim.name.as_str()).collect();
    let how = match (first.expands, &first.class) {
        (Some(true), _) => format!(
            "to grow one: `kubectl -n {} patch pvc {} -p \
             '{{\"spec\":{{\"resources\":{{\"requests\":{{\"storage\":\"{wanted}\"}}}}}}}}'`",
            first.namespace, first.name
        ),
        (Some(false), Some(class)) => format!(
            "the storage class {class} lets no claim grow: what is in them has to be moved by hand"
        ),
        _ => "whether they can grow is for their storage class to say (`allowVolumeExpansion`)"
            .to_owned(),
    };

    Some(format!(
        "{}: its template asks for {wanted}, and that is for new claims only: {} stay as they are; \
         {how}",
        key.short(),
        names.join(", ")
    ))
}
