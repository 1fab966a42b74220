//! What stands in a slot for one service: what was recorded, and what the server has.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Slots;
use super::sweep::Swept;
use crate::driver::kubernetes::client::api::{ApiError, Selector};
use crate::driver::kubernetes::engine::list::{Expected, ObjectsFound, Search, list};
use crate::driver::kubernetes::engine::observe::{self, sent, workload};
use crate::driver::kubernetes::engine::record::{Placed, Read, Workloads};
use crate::driver::kubernetes::engine::slots::selector;
use crate::model::facts::WorkloadFacts;
use crate::model::object::{is_kept, mark};
use crate::model::{LiveTraffic, Manifest, ObjectKey, ServiceName};
use crate::port::engine::EngineError;

/// One service in a slot: what was recorded, and what is there.
pub(super) struct Existing {
    pub placed: Option<Placed>,
    pub facts: Option<WorkloadFacts>,
    /// All objects of ours that carry the slot's and the service's labels.
    pub objects: BTreeMap<ObjectKey, Swept>,
}

impl Slots<'_> {
    pub(super) async fn existing(
        &self,
        read: &Read,
        workloads: &Workloads,
        service: &ServiceName,
    ) -> Result<Existing, EngineError> {
        let failed =
            |fault: ApiError| fault.while_(format!("looking at {service} in {}", self.slot));
        let placed = workloads.get(service).cloned();
        let manifests = self.recorded(read, placed.as_ref());

        let found = self.find(read, service, &manifests).await;
        let found = found.map_err(failed)?;
        let objects = self.classify(read, &manifests, &found);

        let facts = match &placed {
            None => None,
            Some(placed) => {
                let facts = self.facts(placed, &manifests, &found).await;
                Some(facts.map_err(failed)?)
            }
        };
        Ok(Existing {
            placed,
            facts,
            objects,
        })
    }

    /// The manifests of a service as they were sent.
    fn recorded(&self, read: &Read, placed: Option<&Placed>) -> Vec<Manifest> {
        match (placed, read.record.slots.get(&self.slot)) {
            (Some(placed), Some(slot)) => {
                let as_recorded = (slot.label.number, read.record.traffic);
                sent(placed, self.slot, as_recorded, &self.set)
            }
            _ => Vec::new(),
        }
    }

    /// The objects that carry the slot's and the service's labels, compared with what was sent.
    async fn find(
        &self,
        read: &Read,
        service: &ServiceName,
        manifests: &[Manifest],
    ) -> Result<ObjectsFound, ApiError> {
        let records = self.engine.records(self.api, &self.permit.scope);
        let key = records.key(false).await?;
        let objects: BTreeMap<ObjectKey, Value> = manifests
            .iter()
            .map(|manifest| (manifest.key(), manifest.body().clone()))
            .collect();
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
        list(self.api, &self.engine.settings, &search, &expected).await
    }

    /// What becomes of each object that was found when it is not wanted any more.
    fn classify(
        &self,
        read: &Read,
        manifests: &[Manifest],
        found: &ObjectsFound,
    ) -> BTreeMap<ObjectKey, Swept> {
        // The slot's own Service has these labels, too, and belongs to the entry point.
        let of_routes: BTreeSet<ObjectKey> = read
            .record
            .routes
            .values()
            .flat_map(|route| observe::of_route(route, LiveTraffic::Off, &self.set))
            .map(|manifest| manifest.key())
            .collect();

        let kept = manifests.iter().filter(|manifest| is_kept(manifest.body()));
        let mut kept: BTreeSet<ObjectKey> = kept.map(Manifest::key).collect();
        let unmanaged = found.unmanaged.iter().filter(|(_, live)| is_kept(live));
        kept.extend(unmanaged.map(|(key, _)| key.clone()));

        found
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
            .collect()
    }

    async fn facts(
        &self,
        placed: &Placed,
        manifests: &[Manifest],
        found: &ObjectsFound,
    ) -> Result<WorkloadFacts, ApiError> {
        let policy = self.engine.settings.conflict;
        let holder = self.holder();
        let facts = workload(self.api, policy, placed, manifests, found, &[]);
        let (mut facts, held) = tokio::try_join!(facts, holder.held(manifests, found))?;
        facts.held = held;
        Ok(facts)
    }
}
