//! What shipit keeps beside the objects of an environment: who owns it, which slot is live, what
//! stands in the slots. It is the `ApplySet` parent (KEP-3659), too: the kinds that its members
//! have are written on it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::driver::kubernetes::client::api::{Api, ApiError, Kind, Selector};
use crate::driver::kubernetes::engine::complete::Bindings;
use crate::driver::kubernetes::engine::done::Done;
use crate::driver::kubernetes::engine::list::key_of;
use crate::model::object::{Namespaces, another, mark};
use crate::model::release::{Actor, Label};
use crate::model::route::Route;
use crate::model::secret::HashKey;
use crate::model::workload::Workload;
use crate::model::{LiveTraffic, Manifest, ObjectKey, ServiceName, Slot};
use crate::port::engine::Scope;

/// The most that one Secret holds, below the server's limit of a mebibyte.
const CHUNK: usize = 900 << 10;
/// The largest slot's record, unpacked.
const LIMIT: u64 = 256 << 20;

/// The environment's own record.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Record {
    pub lineage: Option<String>,
    pub fence: u64,
    pub changed_by: Option<Actor>,
    pub changed_at: Option<Timestamp>,
    #[serde(rename = "active")]
    pub traffic: LiveTraffic,
    pub switched_at: Option<Timestamp>,
    pub slots: BTreeMap<Slot, SlotRecord>,
    pub routes: BTreeMap<ServiceName, Route>,
    /// The kinds that objects of this environment have: what is listed to find them.
    pub kinds: BTreeSet<Kind>,
    /// In which other namespaces than its home there may be objects of which kind.
    #[serde(default)]
    pub elsewhere: BTreeSet<Elsewhere>,
    /// Jobs that were done, and that the cluster takes away by itself.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub done: BTreeMap<ObjectKey, Done>,
}

/// A namespace in which objects of a kind may be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub(super) struct Elsewhere {
    pub group: String,
    pub kind: String,
    pub namespace: String,
}

impl Elsewhere {
    pub fn is_of(&self, kind: &Kind) -> bool {
        self.group == kind.group() && self.kind == kind.kind
    }
}

impl Record {
    /// Says which objects there will be, so that they are found again whatever happens next.
    pub fn will_have(&mut self, kinds: &BTreeSet<Kind>, manifests: &[Manifest]) {
        for kind in kinds {
            self.kinds.replace(kind.clone());
        }
        for key in manifests.iter().map(Manifest::key) {
            let Some(namespace) = key.namespace.clone() else {
                continue;
            };
            self.elsewhere.insert(Elsewhere {
                group: key.group().to_owned(),
                kind: key.kind,
                namespace,
            });
        }
    }
}

/// What stands in a slot; its workloads are kept apart, for their size.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct SlotRecord {
    pub label: Label,
    pub placed_at: Timestamp,
    pub stops_at: Option<Timestamp>,
    /// In how many Secrets its workloads are.
    pub chunks: usize,
}

/// A workload as it was placed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Placed {
    pub spec: Workload,
    pub running: bool,
    pub bindings: Bindings,
}

pub(super) type Workloads = BTreeMap<ServiceName, Placed>;

/// A record with the version of the object that it was read from: the guard of a write.
#[derive(Debug, Clone, Default)]
pub(super) struct Read {
    pub record: Record,
    pub version: Option<String>,
}

/// Where the records of an environment are.
pub(super) struct Records<'a> {
    pub api: &'a Api,
    pub scope: &'a Scope,
    pub namespaces: &'a Namespaces,
    /// The key, once it is known: it is made once, and goes with the record.
    pub known_key: &'a Mutex<Option<HashKey>>,
}

/// The kinds of a record as an `ApplySet` names them.
fn group_kinds(record: &Record) -> Vec<String> {
    let names: BTreeSet<String> = record
        .kinds
        .iter()
        .map(|kind| match kind.group() {
            "" => kind.kind.clone(),
            group => format!("{}.{group}", kind.kind),
        })
        .collect();
    names.into_iter().collect()
}

impl Records<'_> {
    fn name(&self) -> String {
        format!("shipit-{}-{}", self.scope.project, self.scope.environment)
    }

    fn object(&self, kind: &str, name: String) -> ObjectKey {
        let namespace = Some(self.namespaces.home.clone());
        ObjectKey {
            api_version: "v1".to_owned(),
            kind: kind.to_owned(),
            namespace,
            name,
        }
    }

    fn parent(&self) -> ObjectKey {
        self.object("ConfigMap", self.name())
    }

    /// The `ApplySet`'s name: a hash of the parent's name, namespace, kind and group, as the KEP
    /// has it.
    pub fn set(&self) -> String {
        let id = format!("{}.{}.ConfigMap.", self.name(), self.namespaces.home);
        format!(
            "applyset-{}-v1",
            BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(id.as_bytes()))
        )
    }

    fn labels(&self) -> Value {
        json!({
            "app.kubernetes.io/managed-by": "shipit",
            "app.kubernetes.io/part-of": self.scope.project.as_str(),
            mark::PROJECT: self.scope.project.as_str(),
            mark::ENVIRONMENT: self.scope.environment.as_str(),
        })
    }

    pub async fn read(&self) -> Result<Read, ApiError> {
        let Some(object) = self.api.get(&self.parent()).await? else {
            return Ok(Read::default());
        };
        if let Some(owner) = another(&object, &self.scope.project, &self.scope.environment) {
            let what = self.parent().to_string();
            return Err(ApiError::Foreign { what, owner });
        }
        let text = object
            .pointer("/data/record")
            .and_then(Value::as_str)
            .unwrap_or("{}");
        let record = serde_json::from_str(text)
            .map_err(|error| ApiError::Malformed(format!("{}: {error}", self.parent())))?;
        let version = object
            .pointer("/metadata/resourceVersion")
            .and_then(Value::as_str)
            .map(str::to_owned);
        Ok(Read { record, version })
    }

    /// Writes the record; false when somebody else has written it since it was read.
    pub async fn write(&self, read: &mut Read) -> Result<bool, ApiError> {
        let record = &read.record;
        let groups = group_kinds(record);

        let mut others: BTreeSet<&str> = self.namespaces.all().into_iter().collect();
        others.extend(
            record
                .elsewhere
                .iter()
                .map(|place| place.namespace.as_str()),
        );
        others.remove(self.namespaces.home.as_str());
        let others: Vec<&str> = others.into_iter().collect();

        let mut labels = self.labels();
        labels["applyset.kubernetes.io/id"] = self.set().into();
        let mut annotations = json!({
            "applyset.kubernetes.io/tooling": concat!("shipit/", env!("CARGO_PKG_VERSION")),
            "applyset.kubernetes.io/contains-group-kinds": groups.join(","),
        });
        if !others.is_empty() {
            annotations["applyset.kubernetes.io/additional-namespaces"] = others.join(",").into();
        }

        let mut body = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": self.name(), "namespace": self.namespaces.home,
                "labels": labels, "annotations": annotations},
            "data": {"record": serde_json::to_string(record).unwrap_or_default()},
        });
        let written = match &read.version {
            None => self.api.create(&body).await,
            Some(version) => {
                body["metadata"]["resourceVersion"] = version.clone().into();
                self.api.replace(&self.parent(), &body).await
            }
        };

        match written {
            Ok(object) => {
                read.version = object
                    .pointer("/metadata/resourceVersion")
                    .and_then(Value::as_str)
                    .map(str::to_owned);
                Ok(true)
            }
            Err(fault) if fault.is(StatusCode::CONFLICT) => Ok(false),
            // It was there when it was read.
            Err(fault) if fault.is(StatusCode::NOT_FOUND) && read.version.is_some() => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    /// Deletes everything that shipit keeps for itself here. What a run that was killed in the
    /// middle has left is found by its labels; the record itself goes last, so that the next run
    /// finds what this one did not come to.
    pub async fn clear(&self) -> Result<(), ApiError> {
        let kind = self.api.must(("v1", "Secret")).await?;
        let label = |name, value: &str| format!("{name}={value}");
        let selector = Selector::Labels(
            [
                label(mark::PROJECT, self.scope.project.as_str()),
                label(mark::ENVIRONMENT, self.scope.environment.as_str()),
            ]
            .join(","),
        );
        let mut own = Vec::new();
        let take = |secret: Value| {
            let kept = ["shipit.dev/slot", "shipit.dev/key"].iter();
            if kept.into_iter().any(|kind| secret["type"] == *kind) {
                own.extend(key_of(&secret));
            }
        };
        let home = Some(self.namespaces.home.as_str());
        self.api.list(&kind, home, &selector, take).await?;

        *self.known() = None;
        let deleted = own.iter().map(|key| self.api.delete(key, None));
        futures_util::future::try_join_all(deleted).await?;
        self.api.delete(&self.parent(), None).await
    }

    /// Takes away the parts of a slot's record that are not used any more.
    pub async fn shrink(&self, slot: Slot, from: usize, to: usize) -> Result<(), ApiError> {
        for chunk in from..to {
            self.api.delete(&self.chunk(slot, chunk), None).await?;
        }
        Ok(())
    }

    fn chunk(&self, slot: Slot, chunk: usize) -> ObjectKey {
        self.object("Secret", format!("{}-{slot}-{chunk}", self.name()))
    }

    fn key_object(&self) -> ObjectKey {
        self.object("Secret", format!("{}-key", self.name()))
    }

    /// What the hashes of secrets are keyed with; made when it is not there and `make` says so.
    pub async fn key(&self, make: bool) -> Result<HashKey, ApiError> {
        let read = |object: &Value| {
            let text = object
                .pointer("/data/key")
                .and_then(Value::as_str)
                .unwrap_or_default();
            HashKey(BASE64_STANDARD.decode(text).unwrap_or_default())
        };
        if let Some(key) = &*self.known() {
            return Ok(key.clone());
        }
        if let Some(object) = self.api.get(&self.key_object()).await? {
            return Ok(self.remember(read(&object)));
        }
        if !make {
            return Ok(HashKey(Vec::new()));
        }
        self.make_key(read).await
    }

    fn known(&self) -> MutexGuard<'_, Option<HashKey>> {
        let known = self.known_key.lock();
        known.unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, key: HashKey) -> HashKey {
        *self.known() = Some(key.clone());
        key
    }

    /// Makes the key, unless somebody else has just made it.
    async fn make_key(&self, read: impl Fn(&Value) -> HashKey) -> Result<HashKey, ApiError> {
        let made = HashKey::random();
        let body = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "shipit.dev/key",
            "metadata": {"name": self.key_object().name, "namespace": self.namespaces.home, "labels": self.labels()},
            "data": {"key": BASE64_STANDARD.encode(&made.0)},
        });
        let made = match self.api.create(&body).await {
            Err(fault) if fault.is(StatusCode::CONFLICT) => {
                let there = self.api.get(&self.key_object()).await?;
                there.map_or_else(|| made.clone(), |object| read(&object))
            }
            other => read(&other?),
        };
        Ok(self.remember(made))
    }

    /// What stands in a slot.
    pub async fn workloads(&self, slot: Slot, there: &SlotRecord) -> Result<Workloads, ApiError> {
        let chunks = (0..there.chunks).map(|chunk| {
            let key = self.chunk(slot, chunk);
            async move {
                let object = self.api.get(&key).await?;
                let text = object
                    .as_ref()
                    .and_then(|object| object.pointer("/data/workloads")?.as_str());
                let bytes = text.and_then(|text| BASE64_STANDARD.decode(text).ok());
                bytes.ok_or_else(|| ApiError::Malformed(format!("{key} is not there")))
            }
        });
        let packed: Vec<u8> = futures_util::future::try_join_all(chunks).await?.concat();
        let mut text = Vec::new();
        flate2::read::GzDecoder::new(&packed[..])
            .take(LIMIT)
            .read_to_end(&mut text)
            .map_err(|error| ApiError::Malformed(format!("{}: {error}", self.chunk(slot, 0))))?;
        serde_json::from_slice(&text)
            .map_err(|error| ApiError::Malformed(format!("{}: {error}", self.chunk(slot, 0))))
    }

    /// Writes what stands in a slot; gives in how many Secrets it is.
    pub async fn write_workloads(
        &self,
        slot: Slot,
        workloads: &Workloads,
    ) -> Result<usize, ApiError> {
        let wrong = |error: std::io::Error| ApiError::Malformed(error.to_string());
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        packer
            .write_all(&serde_json::to_vec(workloads).unwrap_or_default())
            .map_err(wrong)?;
        let bytes = packer.finish().map_err(wrong)?;
        let chunks: Vec<&[u8]> = bytes.chunks(CHUNK).collect();
        let writes = chunks.iter().enumerate().map(|(number, chunk)| {
            let key = self.chunk(slot, number);
            let body = json!({
                "apiVersion": "v1", "kind": "Secret", "type": "shipit.dev/slot",
                "metadata": {"name": key.name, "namespace": self.namespaces.home, "labels": self.labels()},
                "data": {"workloads": BASE64_STANDARD.encode(chunk)},
            });
            async move { self.api.apply(&body, crate::driver::kubernetes::client::api::How { force: true, dry_run: false }).await }
        });
        futures_util::future::try_join_all(writes).await?;
        Ok(chunks.len())
    }
}
