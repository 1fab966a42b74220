//! A service that comes into its slot.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::try_join_all;
use serde_json::Value;

use super::apply::{Applying, Replacing};
use super::existing::Existing;
use super::sweep::held;
use super::{Slots, moved};
use crate::driver::kubernetes::client::api::{Api, Kind};
use crate::driver::kubernetes::engine::apply::{self, said};
use crate::driver::kubernetes::engine::autoscale::{Pods, Scalers};
use crate::driver::kubernetes::engine::complete::{Finish, bind, finish};
use crate::driver::kubernetes::engine::record::{Placed, Read, Workloads};
use crate::driver::kubernetes::engine::wait::SlotWait;
use crate::driver::kubernetes::engine::{KubernetesEngine, traffic};
use crate::model::facts::WorkloadFacts;
use crate::model::plan::DeployMode;
use crate::model::secret::HashKey;
use crate::model::workload::Known;
use crate::model::{Address, LiveTraffic, Manifest, ObjectKey, Period, ServiceName};
use crate::port::Progress;
use crate::port::engine::{EngineError, Permit, Placement, Pull};

/// How long a replacement in a live slot may take; what fails for good ends it at once.
const REPLACED: Period = Period::from_secs(900);

pub(in super::super) async fn deploy(
    engine: &KubernetesEngine,
    permit: &Permit,
    placement: &Placement,
    progress: Progress<'_>,
) -> Result<(), EngineError> {
    let deployment = Deployment {
        slots: Slots::open(engine, permit, placement.slot).await?,
        placement,
        progress,
    };
    deployment.run().await
}

/// One service on its way into its slot.
struct Deployment<'a> {
    slots: Slots<'a>,
    placement: &'a Placement,
    progress: Progress<'a>,
}

/// What the slot shall hold for the service: as it is recorded, and as it is sent.
struct Wanted {
    placed: Placed,
    manifests: Vec<Manifest>,
}

/// What was asked before anything is decided.
struct Found {
    traffic: LiveTraffic,
    existing: Existing,
    scalers: Scalers,
    /// What is there under the names of a service that is new in the slot.
    names: BTreeMap<ObjectKey, Value>,
    /// Whether the slot has this very service already, and nothing of it has drifted.
    is_same: bool,
}

impl Deployment<'_> {
    async fn run(self) -> Result<(), EngineError> {
        let (slots, placement) = (&self.slots, self.placement);
        let mut read = slots.engine.enter(slots.api, slots.permit).await?;
        let (mut workloads, key) = tokio::try_join!(slots.workloads(&read), self.key())?;
        let Wanted { placed, manifests } = self.wanted(&read, &key)?;

        let found = self.look(&read, &workloads, &placed, &manifests).await?;
        let recorded = read.record.slots.get(&placement.slot);
        if found.is_same && recorded.is_some_and(|slot| slot.label == placement.label) {
            return Ok(());
        }

        self.refuse_moved(&read, &found)?;
        self.refuse_live(&found)?;
        refuse_unfilled(&manifests)?;
        let kinds = kinds(slots.api, &manifests).await?;
        if found.existing.placed.is_none() {
            slots.refuse_foreign(&found.names, &found.existing)?;
        }

        self.empty(&read, &mut workloads).await?;
        workloads.insert(placement.workload.service.clone(), placed);
        slots
            .write(&mut read, &workloads, &placement.label, &kinds, &manifests)
            .await?;

        self.apply(&read, &manifests, &found).await?;
        self.scale_and_wait(&manifests, &found.scalers).await?;
        sweep_rest(slots, &manifests, found.existing).await
    }

    async fn key(&self) -> Result<HashKey, EngineError> {
        let records = self
            .slots
            .engine
            .records(self.slots.api, &self.slots.permit.scope);
        let key = records.key(true).await;
        key.map_err(|fault| fault.while_("making the key of secrets' hashes"))
    }

    fn wanted(&self, read: &Read, key: &HashKey) -> Result<Wanted, EngineError> {
        let placement = self.placement;
        let image = image(placement)?;
        let bindings = bind(
            &placement.workload,
            placement.slot,
            image,
            &placement.secrets,
            key,
        );
        let placed = Placed {
            spec: placement.workload.clone(),
            running: placement.running,
            bindings,
        };

        let how = Finish {
            slot: placement.slot,
            release: placement.label.number,
            running: placement.running,
            traffic: read.record.traffic,
            bindings: &placed.bindings,
            values: Some(&placement.secrets),
            set: &self.slots.set,
        };
        let manifests = finish(&placement.workload, &how);
        Ok(Wanted { placed, manifests })
    }

    /// What can be asked before anything is decided is asked at once.
    async fn look(
        &self,
        read: &Read,
        workloads: &Workloads,
        placed: &Placed,
        manifests: &[Manifest],
    ) -> Result<Found, EngineError> {
        let (slots, service) = (&self.slots, &self.placement.workload.service);
        let names = async {
            if workloads.contains_key(service) {
                return Ok(BTreeMap::new());
            }
            slots.under_names_of(manifests).await
        };
        let (traffic, existing, scalers, names) = tokio::try_join!(
            traffic::current(slots.engine, slots.api, read),
            slots.existing(read, workloads, service),
            slots.scalers(manifests),
            names
        )?;

        let facts = existing.facts.as_ref();
        let is_same = existing.placed.as_ref() == Some(placed)
            && facts.is_some_and(|facts| facts.drift.is_empty());
        Ok(Found {
            traffic,
            existing,
            scalers,
            names,
            is_same,
        })
    }

    /// What a plan was not made for is not deployed over.
    fn refuse_moved(&self, read: &Read, found: &Found) -> Result<(), EngineError> {
        let placement = self.placement;
        let current = found.existing.facts.as_ref();
        let current = current.map(WorkloadFacts::fingerprint);
        if found.is_same || current == placement.expects {
            return Ok(());
        }
        let service = placement.workload.service.clone();
        Err(moved(Address::Workload(placement.slot, service), read))
    }

    fn refuse_live(&self, found: &Found) -> Result<(), EngineError> {
        let placement = self.placement;
        let is_live = found.traffic.reaches(placement.slot);
        let there = found.existing.placed.as_ref();
        if placement.mode == DeployMode::Fresh
            && is_live
            && there.is_some_and(|there| there.running)
            && !found.is_same
        {
            return Err(EngineError::Refused {
                reason: format!(
                    "{} has live traffic: nothing is replaced there at once",
                    placement.slot
                ),
                help: "place it in the other slot".to_owned(),
            });
        }
        Ok(())
    }

    /// Takes the services of another release out of a slot that is begun afresh.
    async fn empty(&self, read: &Read, workloads: &mut Workloads) -> Result<(), EngineError> {
        let (slots, placement) = (&self.slots, self.placement);
        let recorded = read.record.slots.get(&placement.slot);
        let empties = placement.mode == DeployMode::Fresh
            && recorded.is_some_and(|slot| slot.label.number != placement.label.number);
        let others: Vec<ServiceName> = workloads
            .keys()
            .filter(|name| **name != placement.workload.service && empties)
            .cloned()
            .collect();

        for other in &others {
            let existing = slots.existing(read, workloads, other).await?;
            workloads.remove(other);
            slots.sweep(existing.objects, &held(existing.facts)).await?;
        }
        Ok(())
    }

    async fn apply(
        &self,
        read: &Read,
        manifests: &[Manifest],
        found: &Found,
    ) -> Result<(), EngineError> {
        let placement = self.placement;
        let is_rolling =
            placement.mode == DeployMode::Rolling && found.traffic.reaches(placement.slot);
        let how = Applying {
            replacing: if is_rolling {
                Replacing::Refused
            } else {
                Replacing::Allowed
            },
            pods: Pods::of(placement.running),
        };

        // A Job of this very release that a run before this one saw done is not run twice.
        let open: Vec<Manifest> = manifests
            .iter()
            .filter(|one| read.record.done_at(&one.key(), one.body()).is_none())
            .cloned()
            .collect();
        self.slots
            .apply(&open, &found.scalers, how, self.progress)
            .await
    }

    /// Gives the service the pods that it shall have, and waits for it where it is replaced in
    /// place.
    async fn scale_and_wait(
        &self,
        manifests: &[Manifest],
        scalers: &Scalers,
    ) -> Result<(), EngineError> {
        let (slots, placement) = (&self.slots, self.placement);
        if !placement.running {
            return slots.scale(manifests, scalers, Some(0)).await;
        }
        if placement.mode == DeployMode::Fresh {
            return slots.scale(manifests, scalers, None).await;
        }

        let wait = SlotWait {
            engine: slots.engine,
            scope: &slots.permit.scope,
            slot: placement.slot,
            service: Some(&placement.workload.service),
            within: REPLACED,
            progress: self.progress,
        };
        wait.run().await
    }
}

/// Sweeps what the service had before and has no more.
async fn sweep_rest(
    slots: &Slots<'_>,
    manifests: &[Manifest],
    existing: Existing,
) -> Result<(), EngineError> {
    let wanted: BTreeSet<ObjectKey> = manifests.iter().map(Manifest::key).collect();
    let mut left = existing.objects;
    left.retain(|key, _| !wanted.contains(key));
    slots.sweep(left, &held(existing.facts)).await
}

fn refuse_unfilled(manifests: &[Manifest]) -> Result<(), EngineError> {
    let unfilled = manifests
        .iter()
        .find(|manifest| apply::is_unfilled(manifest));
    match unfilled {
        None => Ok(()),
        Some(secret) => Err(EngineError::Failed {
            what: format!("applying {}", said(&secret.key())),
            reason: "a secret that it names was not read".to_owned(),
        }),
    }
}

/// The image as a node pulls it.
fn image(placement: &Placement) -> Result<String, EngineError> {
    let Pull::Repository(repository) = &placement.pull else {
        return Err(EngineError::Refused {
            reason: "the nodes of a cluster cannot read an image layout".to_owned(),
            help: "use a registry of kind `oci`".to_owned(),
        });
    };
    match &placement.workload.image {
        Known::Value(digest) => Ok(format!("{repository}@{digest}")),
        Known::After(_) => Err(EngineError::Refused {
            reason: "the image is not known".to_owned(),
            help: "build it first".to_owned(),
        }),
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
