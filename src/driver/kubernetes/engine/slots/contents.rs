//! The record of what a slot holds.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::Slots;
use crate::driver::kubernetes::client::api::Kind;
use crate::driver::kubernetes::engine::environment_objects;
use crate::driver::kubernetes::engine::record::{Read, Record, SlotRecord, Workloads};
use crate::model::Manifest;
use crate::model::release::Label;
use crate::port::engine::EngineError;

impl Slots<'_> {
    /// Writes down what the slot holds from now on.
    pub(super) async fn write(
        &self,
        read: &mut Read,
        workloads: &Workloads,
        label: &Label,
        kinds: &BTreeSet<Kind>,
        manifests: &[Manifest],
    ) -> Result<(), EngineError> {
        let named = (kinds, manifests);
        self.write_until(read, workloads, label, named, None).await
    }

    /// The same for what has an end.
    pub(super) async fn write_until(
        &self,
        read: &mut Read,
        workloads: &Workloads,
        label: &Label,
        (kinds, manifests): (&BTreeSet<Kind>, &[Manifest]),
        stops_at: Option<Timestamp>,
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
        let change = |record: &mut Record| {
            let old = record.slots.get(&slot);
            let placed_at = old
                .filter(|old| old.label == *label)
                .map_or(now, |old| old.placed_at);
            record.slots.insert(
                slot,
                SlotRecord {
                    label: label.clone(),
                    placed_at,
                    stops_at,
                    chunks,
                },
            );
            self.engine.will_have(record, kinds, manifests);
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

    /// Writes down what is left of a slot.
    pub(super) async fn forget(
        &self,
        read: &mut Read,
        workloads: &Workloads,
    ) -> Result<(), EngineError> {
        let Some(found) = read.record.slots.get(&self.slot) else {
            return Ok(());
        };
        let (label, chunks) = (found.label.clone(), found.chunks);
        if !workloads.is_empty() {
            return self
                .write(read, workloads, &label, &BTreeSet::new(), &[])
                .await;
        }

        let slot = self.slot;
        self.engine.placed().remove(&slot);
        let change = |record: &mut Record| {
            record.slots.remove(&slot);
        };
        self.engine
            .remember(self.api, self.permit, read, change)
            .await?;
        self.shrink(0, chunks).await?;
        environment_objects::clear_if_empty(self.engine, self.api, &self.permit.scope, read).await
    }
}
