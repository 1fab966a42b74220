//! Workloads in their slots: placed, kept, stopped, taken out. What a slot should hold is recorded before any
//! object of it is touched, so that a run that is killed in between leaves drift, and nothing unknown.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::try_join_all;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::driver::kubernetes::client::api::{Api, ApiError, Kind, Selector};
use crate::driver::kubernetes::engine::apply::{self, refused, replacement, said};
use crate::driver::kubernetes::engine::autoscale::{Pods, Scalers};
use crate::driver::kubernetes::engine::complete::{Finish, autoscaled, bind, finish};
use crate::driver::kubernetes::engine::holds::{Asked, ClaimHolder, Fate, NOTHING};
use crate::driver::kubernetes::engine::list::{Expected, Search, list};
use crate::driver::kubernetes::engine::observe::{self, sent, workload};
use crate::driver::kubernetes::engine::owner;
use crate::driver::kubernetes::engine::record::{Placed, Read, SlotRecord, Workloads};
use crate::driver::kubernetes::engine::{Conflict, KubernetesEngine, wait};
use crate::model::facts::{HealthState, WorkloadFacts};
use crate::model::loss::{Held, can_hold};
use crate::model::object::{LAST, is_kept, mark, rank};
use crate::model::plan::DeployMode;
use crate::model::workload::Known;
use crate::model::{Address, Fingerprint, Manifest, ObjectKey, Period, ServiceName, Slot};
use crate::port::Progress;
use crate::port::engine::{EngineError, Permit, Placement, Pull, Scope};

/// Under which name shipit scales what it does not own the number of.
const SCALER: &str = "shipit-scale";
/// How long a replacement in a live slot may take; what fails for good ends it at once.
const REPLACED: Period = Period::from_secs(900);

/// What a slot's service is found by.
pub(super) fn selector(scope: &Scope, slot: Slot, service: Option<&ServiceName>) -> String {
    let mut text = format!("{},{}={slot}", observe::of_scope(scope), mark::SLOT);
    if let Some(service) = service {
        text = format!("{text},{}={service}", mark::SERVICE);
    }
    text
}

fn moved(address: Address, read: &Read) -> EngineError {
    EngineError::Moved {
        address,
        by: read.record.changed_by.clone(),
        at: read.record.changed_at,
    }
}

/// One service in a slot: what was recorded, and what is there.
struct There {
    placed: Option<Placed>,
    facts: Option<WorkloadFacts>,
    /// All objects of ours that carry the slot's and the service's labels.
    objects: BTreeMap<ObjectKey, Swept>,
}

/// An object of a slot, as far as it matters when it is not wanted any more.
enum Swept {
    /// It is deleted, by the server's own name of it.
    Deleted { uid: String },
    /// It says that it stays.
    Kept,
}

/// How objects of a slot are applied.
#[derive(Clone, Copy)]
struct Applying {
    replacing: Replacing,
    pods: Pods,
}

/// What becomes of an object that cannot be changed in place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Replacing {
    Allowed,
    Refused,
}

/// Where work in a slot happens.
struct Slots<'a> {
    engine: &'a KubernetesEngine,
    api: &'a Api,
    permit: &'a Permit,
    slot: Slot,
    set: String,
}

impl<'a> Slots<'a> {
    async fn open(
        engine: &'a KubernetesEngine,
        permit: &'a Permit,
        slot: Slot,
    ) -> Result<Slots<'a>, EngineError> {
        let api = engine.api().await?;
        let set = engine.records(api, &permit.scope).set();
        Ok(Slots {
            engine,
            api,
            permit,
            slot,
            set,
        })
    }

    fn namespace(&self) -> &str {
        &self.engine.settings.namespaces.slots[&self.slot]
    }

    fn holder(&self) -> ClaimHolder<'_> {
        ClaimHolder {
            api: self.api,
            scope: &self.permit.scope,
            set: &self.set,
            going: &NOTHING,
            asked: Asked::ForStep,
        }
    }

    async fn workloads(&self, read: &Read) -> Result<Workloads, EngineError> {
        let (scope, slot) = (&self.permit.scope, self.slot);
        let workloads = self.engine.workloads(self.api, scope, read, slot).await;
        workloads.map_err(|fault| fault.while_(format!("reading what is deployed in {slot}")))
    }

    async fn there(
        &self,
        read: &Read,
        workloads: &Workloads,
        service: &ServiceName,
    ) -> Result<There, EngineError> {
        let failed =
            |fault: ApiError| fault.while_(format!("looking at {service} in {}", self.slot));
        let placed = workloads.get(service).cloned();
        let number = read
            .record
            .slots
            .get(&self.slot)
            .map(|there| there.label.number);
        let manifests = match (&placed, number) {
            (Some(placed), Some(number)) => sent(placed, self.slot, number, &self.set),
            _ => Vec::new(),
        };
        let objects: BTreeMap<ObjectKey, Value> = manifests
            .iter()
            .map(|manifest| (manifest.key(), manifest.body().clone()))
            .collect();
        let records = self.engine.records(self.api, &self.permit.scope);
        let key = records.key(false).await.map_err(failed)?;
        let expected = Expected {
            objects,
            whole: BTreeSet::new(),
            unmanaged: true,
            key: &key,
        };
        let selector = Selector::Labels(format!(
            "{}={},{}",
            mark::PART_OF,
            self.set,
            selector(&self.permit.scope, self.slot, Some(service))
        ));
        let search = Search {
            kinds: &read.record.kinds,
            namespaces: vec![self.namespace()],
            elsewhere: &read.record.elsewhere,
            record: &read.record,
            selector,
        };
        let found = list(self.api, &self.engine.settings, &search, &expected)
            .await
            .map_err(failed)?;
        // The slot's own Service has these labels, too, and belongs to the entry point.
        let of_routes: BTreeSet<ObjectKey> = read
            .record
            .routes
            .values()
            .flat_map(|route| observe::of_route(route, None, &self.set))
            .map(|manifest| manifest.key())
            .collect();
        let kept = manifests.iter().filter(|manifest| is_kept(manifest.body()));
        let mut kept: BTreeSet<ObjectKey> = kept.map(Manifest::key).collect();
        let unmanaged = found.unmanaged.iter().filter(|(_, live)| is_kept(live));
        kept.extend(unmanaged.map(|(key, _)| key.clone()));
        let objects = found
            .ours()
            .filter(|(key, _)| !of_routes.contains(key))
            .map(|(key, uid)| {
                let uid = uid.to_owned();
                let fate = if kept.contains(key) {
                    Swept::Kept
                } else {
                    Swept::Deleted { uid }
                };
                (key.clone(), fate)
            })
            .collect();
        let facts = match &placed {
            None => None,
            Some(placed) => {
                let policy = self.engine.settings.conflict;
                let holder = self.holder();
                let facts = workload(self.api, policy, placed, &manifests, &found, &[]);
                let (mut facts, held) =
                    tokio::try_join!(facts, holder.held(&manifests, &found)).map_err(failed)?;
                facts.held = held;
                Some(facts)
            }
        };
        Ok(There {
            placed,
            facts,
            objects,
        })
    }

    /// Writes down what the slot holds from now on.
    async fn write(
        &self,
        read: &mut Read,
        workloads: &Workloads,
        label: &crate::model::release::Label,
        kinds: &BTreeSet<Kind>,
        manifests: &[Manifest],
    ) -> Result<(), EngineError> {
        let records = self.engine.records(self.api, &self.permit.scope);
        self.engine.placed().remove(&self.slot);
        let chunks = records
            .write_workloads(self.slot, workloads)
            .await
            .map_err(|fault| fault.while_(format!("writing what is deployed in {}", self.slot)))?;
        let before = read
            .record
            .slots
            .get(&self.slot)
            .map_or(0, |there| there.chunks);
        let now = Timestamp::now();
        let slot = self.slot;
        let change = |record: &mut super::record::Record| {
            let old = record.slots.get(&slot);
            let placed_at = old
                .filter(|old| old.label == *label)
                .map_or(now, |old| old.placed_at);
            record.slots.insert(
                slot,
                SlotRecord {
                    label: label.clone(),
                    placed_at,
                    stops_at: None,
                    chunks,
                },
            );
            record.will_have(kinds, manifests);
        };
        self.engine
            .remember(self.api, self.permit, read, change)
            .await?;
        let written = (read.record.fence, workloads.clone());
        self.engine.placed().insert(self.slot, written);
        self.shrink(chunks, before).await
    }

    async fn shrink(&self, from: usize, to: usize) -> Result<(), EngineError> {
        let records = self.engine.records(self.api, &self.permit.scope);
        let shrunk = records.shrink(self.slot, from, to).await;
        shrunk.map_err(|fault| fault.while_(format!("tidying the record of {}", self.slot)))
    }

    /// Applies objects, kind after kind as they need each other: the server takes what runs together with what only
    /// refers to it.
    async fn apply(
        &self,
        manifests: &[Manifest],
        scalers: &Scalers,
        how: Applying,
        progress: Progress<'_>,
    ) -> Result<(), EngineError> {
        let mut ranks: BTreeMap<u8, Vec<&Manifest>> = BTreeMap::new();
        for manifest in manifests {
            ranks
                .entry(stage(manifest.kind()))
                .or_default()
                .push(manifest);
        }
        for group in ranks.values() {
            let all = group
                .iter()
                .map(|manifest| self.apply_one(manifest, scalers, how, progress));
            try_join_all(all).await?;
            for text in self.api.warnings() {
                progress(&text);
            }
        }
        Ok(())
    }

    async fn apply_one(
        &self,
        whole: &Manifest,
        scalers: &Scalers,
        how: Applying,
        progress: Progress<'_>,
    ) -> Result<(), EngineError> {
        let key = whole.key();
        let live = match scalers.of_object(whole) {
            Some(_) => {
                let live = self.api.get(&key).await;
                live.map_err(|fault| fault.while_(format!("looking at {}", said(&key))))?
            }
            None => None,
        };
        if live.is_some() && how.pods.are_ended_by(whole) {
            // Applied first, the number would be a conflict with whoever has set it.
            self.scale_to(&key, 0).await?;
        }
        let left = live.map(|live| scalers.leave(whole, &live, how.pods));
        let manifest = left.as_ref().unwrap_or(whole);
        let policy = self.engine.settings.conflict;
        let Err(fault) = apply::apply(self.api, policy, manifest, None).await else {
            return Ok(());
        };
        let reason = replacement(self.api, manifest.body(), fault)
            .await
            .map_err(|fault| refused(&key, fault))?;
        if how.replacing == Replacing::Refused {
            return Err(EngineError::Refused {
                reason: format!("{}: {reason} while it has live traffic", said(&key)),
                help: "`strategy: blue_green` replaces it beside the live one, `strategy: recreate` in its place"
                    .to_owned(),
            });
        }
        progress(&format!("{} is replaced: {reason}", said(&key)));
        self.make_room(whole, &reason).await?;
        apply::apply(self.api, policy, whole, None)
            .await
            .map(drop)
            .map_err(|fault| refused(&key, fault))
    }

    /// Takes an object out of the way of a new one of its name, unless something goes with it: no plan said so.
    async fn make_room(&self, manifest: &Manifest, reason: &str) -> Result<(), EngineError> {
        let key = manifest.key();
        let failed = |fault: ApiError| fault.while_(format!("replacing {}", said(&key)));
        let Some(live) = self.api.get(&key).await.map_err(failed)? else {
            return Ok(());
        };
        let holds = self.holder().of(&key, &live, Fate::Replaced).await;
        if let Some(holding) = holds.map_err(failed)?.first() {
            return Err(EngineError::Refused {
                reason: format!("{}: {reason}, and it holds {holding}", said(&key)),
                help: "write it as it is, or give the new one another name".to_owned(),
            });
        }
        apply::make_room(self.api, &live, manifest).await
    }

    /// Refuses to sweep what holds something that no plan has declared: what a run that ended left behind.
    async fn refuse_undeclared(
        &self,
        objects: &BTreeMap<ObjectKey, Swept>,
        declared: &[Held],
    ) -> Result<(), EngineError> {
        let unknown = objects.iter().filter(|(key, fate)| {
            let is_declared = declared.iter().any(|held| held.key == **key);
            can_hold(key) && matches!(fate, Swept::Deleted { .. }) && !is_declared
        });
        for (key, _) in unknown {
            let failed = |fault: ApiError| fault.while_(format!("looking into {}", said(key)));
            let Some(live) = self.api.get(key).await.map_err(failed)? else {
                continue;
            };
            let holds = self.holder().of(key, &live, Fate::Deleted).await;
            if let Some(holding) = holds.map_err(failed)?.first() {
                return Err(EngineError::Refused {
                    reason: format!(
                        "{} is not deleted by the way: it holds {holding}",
                        said(key)
                    ),
                    help: "an earlier run left it there: delete it by hand, if it may go"
                        .to_owned(),
                });
            }
        }
        Ok(())
    }

    /// Nothing of another owner's is taken over silently: the first time that a service comes into a slot, what has
    /// its objects' names already is looked at.
    fn refuse_foreign(
        &self,
        names: &BTreeMap<ObjectKey, Value>,
        there: &There,
    ) -> Result<(), EngineError> {
        let new = names
            .iter()
            .filter(|(key, _)| !there.objects.contains_key(key));
        for (key, live) in new {
            if live["metadata"]["labels"][mark::PART_OF] != self.set.as_str() {
                return Err(EngineError::Refused {
                    reason: format!(
                        "{} is there and belongs to {}",
                        said(key),
                        owner::manager(live)
                    ),
                    help: "`shipit import` takes it over; or delete it, or name yours differently"
                        .to_owned(),
                });
            }
        }
        Ok(())
    }

    /// What is there under the names of these manifests.
    async fn under_names_of(
        &self,
        manifests: &[Manifest],
    ) -> Result<BTreeMap<ObjectKey, Value>, EngineError> {
        let asked = manifests.iter().map(|manifest| async move {
            let key = manifest.key();
            let live = self.api.get(&key).await;
            let live = live.map_err(|fault| fault.while_(format!("looking for {}", said(&key))))?;
            Ok::<_, EngineError>(live.map(|live| (key, live)))
        });
        Ok(try_join_all(asked).await?.into_iter().flatten().collect())
    }

    /// Deletes objects of the service that are not wanted any more, the last made first; lets go of those that stay.
    async fn sweep(
        &self,
        objects: BTreeMap<ObjectKey, Swept>,
        declared: &[Held],
    ) -> Result<(), EngineError> {
        self.refuse_undeclared(&objects, declared).await?;
        let mut ranks: BTreeMap<Reverse<u8>, Vec<(ObjectKey, Swept)>> = BTreeMap::new();
        for (key, fate) in objects {
            let rank = Reverse(rank(&key.kind));
            ranks.entry(rank).or_default().push((key, fate));
        }
        for group in ranks.values() {
            let swept = group.iter().map(|(key, fate)| async move {
                match fate {
                    Swept::Deleted { uid } => apply::delete(self.api, key, uid).await,
                    Swept::Kept => {
                        super::environment_objects::let_go(self.api, key, &self.set).await
                    }
                }
            });
            try_join_all(swept).await?;
        }
        Ok(())
    }

    /// Gives what an autoscaler owns as many pods as the other slot's has now, or none.
    async fn scale(
        &self,
        manifests: &[Manifest],
        scalers: &Scalers,
        number: Option<u64>,
    ) -> Result<(), EngineError> {
        let scaled = autoscaled(manifests);
        let own = manifests.iter().filter(|manifest| {
            manifest.scales()
                && (scaled.contains(&manifest.key().name)
                    || scalers.of_workload(manifest).is_some())
        });
        for manifest in own {
            let key = manifest.key();
            let failed = |fault: ApiError| fault.while_(format!("scaling {}", said(&key)));
            let wanted = match number {
                Some(number) => number,
                None => self.size_of_other(&key).await.map_err(failed)?,
            };
            if number.is_none() && wanted <= 1 && self.has_pods(&key).await.map_err(failed)? {
                continue;
            }
            let wanted = if number.is_none() {
                wanted.max(1)
            } else {
                wanted
            };
            self.scale_to(&key, wanted).await?;
        }
        Ok(())
    }

    /// What scales the pods of these manifests. Nobody is asked when none of them has any.
    async fn scalers(&self, manifests: &[Manifest]) -> Result<Scalers, EngineError> {
        if !manifests.iter().any(Manifest::scales) {
            return Ok(Scalers::default());
        }
        let scalers = Scalers::there(self.api, [self.namespace()]).await;
        scalers.map_err(|fault| fault.while_("looking for autoscalers"))
    }

    async fn scale_to(&self, key: &ObjectKey, number: u64) -> Result<(), EngineError> {
        let body = json!({"spec": {"replicas": number}});
        let scaled = self.api.merge(key, "/scale", &body, SCALER).await;
        scaled
            .map(drop)
            .map_err(|fault| fault.while_(format!("scaling {}", said(key))))
    }

    /// Whether a workload is to have any pods: one that was stopped has none, and no autoscaler gives it any.
    async fn has_pods(&self, key: &ObjectKey) -> Result<bool, ApiError> {
        let live = self.api.get(key).await?;
        Ok(live.is_none_or(|live| live["spec"]["replicas"] != 0))
    }

    /// How many pods the same workload has in the other slot.
    async fn size_of_other(&self, key: &ObjectKey) -> Result<u64, ApiError> {
        let other = self.slot.other();
        let namespaces = &self.engine.settings.namespaces;
        let name = match key.name.strip_suffix(&format!("-{}", self.slot)) {
            Some(base) if namespaces.slots[&self.slot] == namespaces.slots[&other] => {
                format!("{base}-{other}")
            }
            _ => key.name.clone(),
        };
        let there = ObjectKey {
            name,
            namespace: Some(namespaces.slots[&other].clone()),
            ..key.clone()
        };
        let live = self.api.get(&there).await?;
        Ok(live
            .and_then(|live| live["spec"]["replicas"].as_u64())
            .unwrap_or(0))
    }
}

pub(super) async fn place(
    engine: &KubernetesEngine,
    permit: &Permit,
    placement: &Placement,
    progress: Progress<'_>,
) -> Result<(), EngineError> {
    let slots = Slots::open(engine, permit, placement.slot).await?;
    let mut read = engine.enter(slots.api, permit).await?;
    let service = &placement.workload.service;
    let records = engine.records(slots.api, &permit.scope);
    let key = async {
        let key = records.key(true).await;
        key.map_err(|fault| fault.while_("making the key of secrets' hashes"))
    };
    let (mut workloads, key) = tokio::try_join!(slots.workloads(&read), key)?;
    let image = image(placement)?;
    let bindings = bind(
        &placement.workload,
        placement.slot,
        image,
        &placement.secrets,
        &key,
    );
    let new = Placed {
        spec: placement.workload.clone(),
        running: placement.running,
        bindings,
    };
    let how = Finish {
        slot: placement.slot,
        release: placement.label.number,
        running: placement.running,
        bindings: &new.bindings,
        values: Some(&placement.secrets),
        set: &slots.set,
    };
    let manifests = finish(&placement.workload, &how);

    // What can be asked before anything is decided is asked at once.
    let names = async {
        if workloads.contains_key(service) {
            return Ok(BTreeMap::new());
        }
        slots.under_names_of(&manifests).await
    };
    let (active, there, scalers, names) = tokio::try_join!(
        super::traffic::active(engine, slots.api, &read),
        slots.there(&read, &workloads, service),
        slots.scalers(&manifests),
        names
    )?;
    let old = read
        .record
        .slots
        .get(&placement.slot)
        .map(|there| there.label.clone());
    let is_same = there.placed.as_ref() == Some(&new)
        && there
            .facts
            .as_ref()
            .is_some_and(|facts| facts.drift.is_empty());
    if is_same && old.as_ref() == Some(&placement.label) {
        return Ok(());
    }
    let current = there.facts.as_ref().map(WorkloadFacts::fingerprint);
    let is_bound = is_same || current == placement.expects;
    if !is_bound {
        return Err(moved(
            Address::Workload(placement.slot, service.clone()),
            &read,
        ));
    }
    if placement.mode == DeployMode::Fresh
        && active == Some(placement.slot)
        && there.placed.is_some()
        && !is_same
    {
        return Err(EngineError::Refused {
            reason: format!(
                "{} has live traffic: nothing is replaced there at once",
                placement.slot
            ),
            help: "place it in the other slot".to_owned(),
        });
    }
    if let Some(secret) = manifests
        .iter()
        .find(|manifest| apply::is_unfilled(manifest))
    {
        let what = format!("applying {}", said(&secret.key()));
        return Err(EngineError::Failed {
            what,
            reason: "a secret that it names was not read".to_owned(),
        });
    }
    let kinds = kinds(slots.api, &manifests).await?;
    if there.placed.is_none() {
        slots.refuse_foreign(&names, &there)?;
    }
    let empties = placement.mode == DeployMode::Fresh
        && old
            .as_ref()
            .is_some_and(|old| old.number != placement.label.number);
    let others: Vec<ServiceName> = workloads
        .keys()
        .filter(|name| *name != service && empties)
        .cloned()
        .collect();
    for other in &others {
        let there = slots.there(&read, &workloads, other).await?;
        workloads.remove(other);
        slots.sweep(there.objects, &held(there.facts)).await?;
    }
    workloads.insert(service.clone(), new);
    slots
        .write(&mut read, &workloads, &placement.label, &kinds, &manifests)
        .await?;
    let is_rolling = placement.mode == DeployMode::Rolling && active == Some(placement.slot);
    let how = Applying {
        replacing: if is_rolling {
            Replacing::Refused
        } else {
            Replacing::Allowed
        },
        pods: Pods::of(placement.running),
    };
    // A Job of this very release that a run before this one saw done is not run twice.
    let is_done = |one: &Manifest| read.record.done_at(&one.key(), one.body()).is_some();
    let (_, open): (Vec<Manifest>, Vec<Manifest>) = manifests.iter().cloned().partition(is_done);
    slots.apply(&open, &scalers, how, progress).await?;
    if placement.mode == DeployMode::Fresh && placement.running {
        slots.scale(&manifests, &scalers, None).await?;
    }
    if !placement.running {
        slots.scale(&manifests, &scalers, Some(0)).await?;
    }
    if placement.mode != DeployMode::Fresh && placement.running {
        wait::slot(
            engine,
            &permit.scope,
            placement.slot,
            Some(service),
            REPLACED,
            progress,
        )
        .await?;
    }
    let wanted: BTreeSet<ObjectKey> = manifests.iter().map(Manifest::key).collect();
    let mut left = there.objects;
    left.retain(|key, _| !wanted.contains(key));
    slots.sweep(left, &held(there.facts)).await
}

/// The rank in which an object of a slot is made. From the Services on nothing needs the other to be there.
fn stage(kind: &str) -> u8 {
    match rank(kind) {
        LAST => LAST,
        early => early.min(rank("Service")),
    }
}

/// What a plan that was bound to these facts has declared.
fn held(facts: Option<WorkloadFacts>) -> Vec<Held> {
    facts.map(|facts| facts.held).unwrap_or_default()
}

/// The image as a node pulls it.
fn image(placement: &Placement) -> Result<String, EngineError> {
    let refuse = |reason: &str, help: &str| EngineError::Refused {
        reason: reason.to_owned(),
        help: help.to_owned(),
    };
    let Pull::Repository(repository) = &placement.pull else {
        return Err(refuse(
            "the nodes of a cluster cannot read an image layout",
            "use a registry of kind `oci`",
        ));
    };
    match &placement.workload.image {
        Known::Value(digest) => Ok(format!("{repository}@{digest}")),
        Known::After(_) => Err(refuse("the image is not known", "build it first")),
    }
}

async fn kinds(api: &Api, manifests: &[Manifest]) -> Result<BTreeSet<Kind>, EngineError> {
    let names: BTreeSet<(String, String)> = manifests
        .iter()
        .map(Manifest::key)
        .map(|key| (key.api_version, key.kind))
        .collect();
    let asked = names.iter().map(|(version, kind)| async move {
        let found = api.kind(version, kind).await;
        let found = found
            .map_err(|fault| fault.while_(format!("asking for the kind {kind} in {version}")))?;
        found.ok_or_else(|| EngineError::Refused {
            reason: format!("the server has no kind {kind} in {version}"),
            help: "add its CustomResourceDefinition to the environment's `manifests:`".to_owned(),
        })
    });
    Ok(try_join_all(asked).await?.into_iter().collect())
}

pub(super) async fn remove(
    engine: &KubernetesEngine,
    permit: &Permit,
    slot: Slot,
    service: &ServiceName,
    expects: Option<Fingerprint>,
) -> Result<(), EngineError> {
    let slots = Slots::open(engine, permit, slot).await?;
    let mut read = engine.enter(slots.api, permit).await?;
    let mut workloads = slots.workloads(&read).await?;
    if !workloads.contains_key(service) {
        return Ok(());
    }
    let there = slots.there(&read, &workloads, service).await?;
    if there.facts.as_ref().map(WorkloadFacts::fingerprint) != expects {
        return Err(moved(Address::Workload(slot, service.clone()), &read));
    }
    let active = super::traffic::active(engine, slots.api, &read).await?;
    if active == Some(slot) && read.record.routes.contains_key(service) {
        return Err(EngineError::Refused {
            reason: format!("{service} in {slot} has live traffic"),
            help: "switch traffic away, or close its entry point, first".to_owned(),
        });
    }
    slots.sweep(there.objects, &held(there.facts)).await?;
    workloads.remove(service);
    forget(&slots, &mut read, &workloads).await
}

/// Writes down what is left of a slot.
async fn forget(
    slots: &Slots<'_>,
    read: &mut Read,
    workloads: &Workloads,
) -> Result<(), EngineError> {
    let Some(label) = read
        .record
        .slots
        .get(&slots.slot)
        .map(|there| there.label.clone())
    else {
        return Ok(());
    };
    if !workloads.is_empty() {
        return slots
            .write(read, workloads, &label, &BTreeSet::new(), &[])
            .await;
    }
    let slot = slots.slot;
    let chunks = read.record.slots.get(&slot).map_or(0, |there| there.chunks);
    slots.engine.placed().remove(&slot);
    let change = |record: &mut super::record::Record| {
        record.slots.remove(&slot);
    };
    slots
        .engine
        .remember(slots.api, slots.permit, read, change)
        .await?;
    slots.shrink(0, chunks).await?;
    super::environment_objects::clear_if_empty(slots.engine, slots.api, &slots.permit.scope, read)
        .await
}

pub(super) async fn keep(
    engine: &KubernetesEngine,
    permit: &Permit,
    slot: Slot,
    until: Timestamp,
) -> Result<(), EngineError> {
    let api = engine.api().await?;
    let mut read = engine.enter(api, permit).await?;
    if super::traffic::active(engine, api, &read).await? == Some(slot) {
        return Err(EngineError::Refused {
            reason: format!("{slot} has live traffic and cannot be stopped"),
            help: "switch traffic away first".to_owned(),
        });
    }
    let change = |record: &mut super::record::Record| {
        if let Some(there) = record.slots.get_mut(&slot) {
            there.stops_at = Some(until);
        }
    };
    engine.remember(api, permit, &mut read, change).await?;
    if until <= Timestamp::now() {
        stop(engine, permit, slot).await.map(drop)
    } else {
        Ok(())
    }
}

/// Stops every slot whose time has come.
pub(super) async fn finish_due(
    engine: &KubernetesEngine,
    permit: &Permit,
) -> Result<Vec<String>, EngineError> {
    let api = engine.api().await?;
    let records = engine.records(api, &permit.scope);
    let read = records
        .read()
        .await
        .map_err(|fault| fault.while_(format!("reading the record of {}", permit.scope)))?;
    let due = |there: &&SlotRecord| there.stops_at.is_some_and(|at| at <= Timestamp::now());
    let slots: Vec<Slot> = read
        .record
        .slots
        .iter()
        .filter(|(_, there)| due(there))
        .map(|(slot, _)| *slot)
        .collect();
    let mut done = Vec::new();
    for slot in slots {
        done.extend(stop(engine, permit, slot).await?);
    }
    Ok(done)
}

/// Scales a slot's workloads to none; their objects stay, for a rollback.
async fn stop(
    engine: &KubernetesEngine,
    permit: &Permit,
    slot: Slot,
) -> Result<Option<String>, EngineError> {
    let slots = Slots::open(engine, permit, slot).await?;
    let mut read = engine.enter(slots.api, permit).await?;
    if super::traffic::active(engine, slots.api, &read).await? == Some(slot) {
        return Ok(None);
    }
    let Some(label) = read
        .record
        .slots
        .get(&slot)
        .map(|there| there.label.clone())
    else {
        return Ok(None);
    };
    let mut workloads = slots.workloads(&read).await?;
    if workloads.values().all(|placed| !placed.running) {
        return Ok(None);
    }
    for placed in workloads.values_mut() {
        placed.running = false;
    }
    slots
        .write(&mut read, &workloads, &label, &BTreeSet::new(), &[])
        .await?;
    let how = Applying {
        replacing: Replacing::Refused,
        pods: Pods::Stopped,
    };
    for placed in workloads.values() {
        // A Secret stays as it is: its values are not here, and they do not change.
        let manifests: Vec<Manifest> = sent(placed, slot, label.number, &slots.set)
            .into_iter()
            .filter(Manifest::scales)
            .collect();
        let all = sent(placed, slot, label.number, &slots.set);
        let scalers = slots.scalers(&all).await?;
        slots.apply(&manifests, &scalers, how, &|_| {}).await?;
        slots.scale(&all, &scalers, Some(0)).await?;
    }
    Ok(Some(format!(
        "release {} in {slot} was kept long enough, and is scaled down",
        label.number
    )))
}

/// Why a slot's release could not be started again.
pub(super) async fn rollback_blockers(
    engine: &KubernetesEngine,
    scope: &Scope,
    slot: Slot,
) -> Result<Vec<String>, EngineError> {
    // A plan asks this about the moment that its facts are of.
    let facts = match engine.kept_facts(scope) {
        Some(facts) => facts,
        None => observe::observe(engine, scope, None).await?.0,
    };
    let Some(there) = facts.slots.get(&slot) else {
        return Ok(vec![format!("nothing is in {slot}")]);
    };
    let api = engine.api().await?;
    let mut reasons = Vec::new();
    for workload in there.workloads.values() {
        for drift in workload.drift.iter().filter(|drift| drift.missing) {
            reasons.push(format!("{} is not there any more", said(&drift.key)));
        }
    }
    let pods: usize = there
        .workloads
        .values()
        .map(|workload| workload.instances.len())
        .sum();
    reasons.extend(quota(engine, api, slot, pods).await);
    Ok(reasons)
}

/// Whether the namespace's quotas have room for both slots at once. Who may not read them is not told.
async fn quota(engine: &KubernetesEngine, api: &Api, slot: Slot, pods: usize) -> Vec<String> {
    let namespaces = &engine.settings.namespaces.slots;
    let (own, other) = (&namespaces[&slot], &namespaces[&slot.other()]);
    let needed = if own == other { pods * 2 } else { pods };
    let mut reasons = Vec::new();
    let Ok(kind) = api.must(("v1", "ResourceQuota")).await else {
        return reasons;
    };
    let take = |quota: Value| {
        let hard = quota["status"]["hard"]["pods"]
            .as_str()
            .and_then(|text| text.parse::<usize>().ok());
        if let Some(hard) = hard.filter(|hard| *hard < needed) {
            let name = quota["metadata"]["name"].as_str().unwrap_or_default();
            reasons.push(format!(
                "the quota {name} in {own} allows {hard} pods, and both slots need {needed}"
            ));
        }
    };
    let _ = api.list(&kind, Some(own), &Selector::All, take).await;
    reasons
}

/// The pods of a slot that run, for whom it may concern.
pub(super) async fn pods(
    engine: &KubernetesEngine,
    api: &Api,
    scope: &Scope,
    slot: Slot,
) -> Result<Vec<Value>, ApiError> {
    let kind = api.must(("v1", "Pod")).await?;
    let mut pods = Vec::new();
    let namespace = &engine.settings.namespaces.slots[&slot];
    api.list(
        &kind,
        Some(namespace),
        &Selector::Labels(selector(scope, slot, None)),
        |pod| pods.push(pod),
    )
    .await?;
    Ok(pods)
}

/// Whether a slot is ready at this moment, and why not.
pub(super) async fn is_ready(
    engine: &KubernetesEngine,
    api: &Api,
    permit: &Permit,
    read: &Read,
    slot: Slot,
) -> Result<(), EngineError> {
    let slots = Slots {
        engine,
        api,
        permit,
        slot,
        set: engine.records(api, &permit.scope).set(),
    };
    let workloads = slots.workloads(read).await?;
    let not = |reason: String| {
        let not_ready = crate::port::engine::NotReady {
            reason,
            log: Vec::new(),
        };
        Err(EngineError::NotReady { slot, not_ready })
    };
    if workloads.is_empty() {
        return not("it is empty".to_owned());
    }
    let all = workloads.keys().map(|service| {
        let (slots, workloads) = (&slots, &workloads);
        async move {
            let Some(facts) = slots.there(read, workloads, service).await?.facts else {
                return Ok(None);
            };
            if facts.health() == HealthState::Ready {
                return Ok::<_, EngineError>(None);
            }
            let verdict = facts.verdict.filter(|_| facts.running);
            Ok(Some(format!(
                "{service}: {}",
                verdict.map_or_else(|| "it is stopped".to_owned(), |verdict| verdict.reason)
            )))
        }
    });
    match try_join_all(all).await?.into_iter().flatten().next() {
        Some(reason) => not(reason),
        None => Ok(()),
    }
}

/// The rule for other managers' fields, where one object decides about traffic.
pub(super) const fn policy(engine: &KubernetesEngine) -> Conflict {
    engine.settings.conflict
}
