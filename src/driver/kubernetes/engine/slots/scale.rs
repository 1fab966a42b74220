//! The number of pods in a slot, where an autoscaler owns it or where there shall be none.

use serde_json::json;

use super::Slots;
use crate::driver::kubernetes::client::api::ApiError;
use crate::driver::kubernetes::engine::apply::said;
use crate::driver::kubernetes::engine::autoscale::Scalers;
use crate::driver::kubernetes::engine::complete::autoscaled;
use crate::model::{Manifest, ObjectKey};
use crate::port::engine::EngineError;

/// Under which name shipit scales what it does not own the number of.
const SCALER: &str = "shipit-scale";

impl Slots<'_> {
    /// Gives what an autoscaler owns as many pods as the other slot's has now, or none.
    pub(super) async fn scale(
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

    /// What scales the pods of these manifests: what is there, and what is among them. Nobody is
    /// asked when none of them has any.
    pub(super) async fn scalers(&self, manifests: &[Manifest]) -> Result<Scalers, EngineError> {
        if !manifests.iter().any(Manifest::scales) {
            return Ok(Scalers::default());
        }
        let scalers = Scalers::there(self.api, &[self.namespace()].into()).await;
        let scalers = scalers.map_err(|fault| fault.while_("looking for autoscalers"))?;
        Ok(scalers.and_among(manifests.iter().map(Manifest::body)))
    }

    pub(super) async fn scale_to(&self, key: &ObjectKey, number: u64) -> Result<(), EngineError> {
        let body = json!({"spec": {"replicas": number}});
        let scaled = self.api.merge(key, "/scale", &body, SCALER).await;
        scaled
            .map(drop)
            .map_err(|fault| fault.while_(format!("scaling {}", said(key))))
    }

    /// Whether a workload is to have any pods: one that was stopped has none, and no autoscaler
    /// gives it any.
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
