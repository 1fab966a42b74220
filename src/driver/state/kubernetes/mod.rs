//! The state store `kubernetes`: history, journal and lock as objects of one namespace.
//!
//! ```text
//! ConfigMap shipit-state-PROJECT-ENV        the head: serial, lineage, and which Secret holds which release
//! Secret    shipit-state-PROJECT-ENV-r7-s12  release 7 as it was written at serial 12, compressed
//! Secret    shipit-state-PROJECT-ENV-j-RUN-3 the third entry of a run's journal
//! Lease     shipit-state-PROJECT-ENV         who holds the lock, with a heartbeat
//! ```
//!
//! A save writes the releases that changed under new names, and then the head: its resource version is the guard, so
//! that a reader finds all of a state or all of the one before. Start with [`KubernetesStore`].

mod cluster_lock;
mod lock;

pub use cluster_lock::ClusterLock;

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::future::try_join_all;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::driver::kubernetes::client::api::{Api, ApiError, How, Selector};
use crate::driver::kubernetes::client::connect::{ClusterConnection, try_connect};
use crate::driver::state::failure;
use crate::driver::state::lock::{
    LockPlace as _, Taker, break_lock, holder, request_abort, still_held, take,
};
use crate::model::journal::{Journal, JournalEntry};
use crate::model::object::mark;
use crate::model::release::{Actor, Release};
use crate::model::state::{FORMAT, LockHolder, State};
use crate::model::{ContentHash, EnvironmentName, ObjectKey, ProjectName, ReleaseNumber};
use crate::port::StateStore;
use crate::port::engine::EngineError;
use crate::port::store::{Lease, StoreError};

/// Which part of a state an object is.
const PART: &str = mark::STATE;
/// The run that a journal's entry belongs to.
const RUN: &str = "shipit.dev/run";
/// The most that one Secret holds, below the server's limit of a mebibyte.
const LARGEST: usize = 900 << 10;
/// The largest document, unpacked.
const LIMIT: u64 = 64 << 20;
/// How many journals are kept.
const JOURNALS: usize = 5;

/// State in a cluster.
pub struct KubernetesStore {
    connection: ClusterConnection,
    namespace: String,
    project: ProjectName,
    /// Where what is known about failures is kept: a folder, for people.
    failures: PathBuf,
    api: OnceCell<Arc<Api>>,
    /// How many entries each journal of this process has.
    counts: Mutex<BTreeMap<String, usize>>,
}

/// The head.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
struct Head {
    format: u32,
    lineage: Option<String>,
    serial: u64,
    /// Over the whole state.
    checksum: ContentHash,
    releases: Vec<Stored>,
}

/// Where a release is.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Stored {
    number: ReleaseNumber,
    secret: String,
    hash: ContentHash,
}

fn failed(what: impl Into<String>) -> impl FnOnce(ApiError) -> StoreError {
    let what = what.into();
    |fault| remote(what, fault.while_("the cluster"))
}

/// What the cluster says, with what it says to do.
fn remote(what: String, error: EngineError) -> StoreError {
    let (reason, help) = match error {
        EngineError::Unreachable { reason, help, .. } | EngineError::Refused { reason, help } => {
            (reason, help)
        }
        other => {
            let help = "`shipit doctor` says what of the cluster can be reached and what not";
            (other.to_string(), help.to_owned())
        }
    };
    StoreError::Remote { what, reason, help }
}

impl KubernetesStore {
    /// The store in a namespace, which must be there. Nothing is asked of the cluster yet.
    #[must_use]
    pub fn new(
        connection: ClusterConnection,
        namespace: String,
        project: ProjectName,
        failures: PathBuf,
    ) -> Self {
        let (api, counts) = (OnceCell::new(), Mutex::default());
        Self {
            connection,
            namespace,
            project,
            failures,
            api,
            counts,
        }
    }

    async fn api(&self) -> Result<&Arc<Api>, StoreError> {
        let made = async {
            let what = "reaching the state".to_owned();
            match try_connect(&self.connection).await {
                Ok(Some(connected)) => Ok(Arc::new(Api::new(connected))),
                Ok(None) => Err(StoreError::Absent {
                    what,
                    reason: "the cluster is not there yet".to_owned(),
                }),
                Err(error) => Err(remote(what, error)),
            }
        };
        self.api.get_or_try_init(|| made).await
    }

    /// Whether the lock was ever taken, and its place is there.
    async fn has_lock(&self, environment: &EnvironmentName) -> Result<bool, StoreError> {
        let key = self.object("Lease", self.name(environment));
        let found = self.api().await?.get(&key).await;
        Ok(found.map_err(failed("reading the lock"))?.is_some())
    }

    /// Takes the lock's object away where nothing of the environment is left, unless somebody has it again.
    async fn forget_lock(&self, environment: &EnvironmentName) -> Result<(), StoreError> {
        let api = self.api().await?;
        let record = format!("shipit-{}-{environment}", self.project);
        let record = api.get(&self.object("ConfigMap", record)).await;
        if record.map_err(failed("looking for the record"))?.is_some() {
            return Ok(());
        }
        let key = self.object("Lease", self.name(environment));
        let lease = api.get(&key).await.map_err(failed("reading the lock"))?;
        match lease {
            Some(lease) if lease["spec"].get("holderIdentity").is_none() => {
                let deleted = api.delete_version(&key, &lease).await;
                deleted.map_err(failed("deleting the lock"))
            }
            _ => Ok(()),
        }
    }

    fn name(&self, environment: &EnvironmentName) -> String {
        format!("shipit-state-{}-{environment}", self.project)
    }

    fn object(&self, kind: &str, name: String) -> ObjectKey {
        let api_version = if kind == "Lease" {
            "coordination.k8s.io/v1"
        } else {
            "v1"
        }
        .to_owned();
        ObjectKey {
            api_version,
            kind: kind.to_owned(),
            namespace: Some(self.namespace.clone()),
            name,
        }
    }

    fn labels(&self, environment: &EnvironmentName, part: &str) -> Value {
        json!({
            "app.kubernetes.io/managed-by": "shipit", mark::PROJECT: self.project.as_str(),
            mark::ENVIRONMENT: environment.as_str(), PART: part,
        })
    }

    fn damaged(&self, key: &ObjectKey, reason: impl Into<String>) -> StoreError {
        StoreError::Damaged {
            path: format!("{} in {}", key.short(), self.namespace),
            reason: reason.into(),
            help: "nothing was changed; if the history may go, delete this object: what runs is found again"
                .to_owned(),
        }
    }

    /// The head and its resource version.
    async fn head(
        &self,
        environment: &EnvironmentName,
    ) -> Result<Option<(Head, String)>, StoreError> {
        let key = self.object("ConfigMap", self.name(environment));
        let found = self
            .api()
            .await?
            .get(&key)
            .await
            .map_err(failed("reading the state"))?;
        let Some(object) = found else { return Ok(None) };
        let text = object
            .pointer("/data/head")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let head: Head = serde_json::from_str(text)
            .map_err(|error| self.damaged(&key, format!("it is not a state: {error}")))?;
        if head.format != FORMAT {
            let reason = format!(
                "it has format {}, and this shipit reads {FORMAT}",
                head.format
            );
            return Err(self.damaged(&key, reason));
        }
        let version = object["metadata"]["resourceVersion"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        Ok(Some((head, version)))
    }

    async fn release(&self, stored: &Stored) -> Result<Release, StoreError> {
        let key = self.object("Secret", stored.secret.clone());
        let found = self
            .api()
            .await?
            .get(&key)
            .await
            .map_err(failed("reading the history"))?;
        let object =
            found.ok_or_else(|| self.damaged(&key, "the head names it, and it is not there"))?;
        let bytes = unpack(&object).map_err(|reason| self.damaged(&key, reason))?;
        serde_json::from_slice(&bytes).map_err(|error| self.damaged(&key, error.to_string()))
    }

    async fn write_secret(
        &self,
        name: &str,
        labels: Value,
        document: &[u8],
    ) -> Result<(), StoreError> {
        let what = || format!("writing {name}");
        let bytes = pack(document);
        if bytes.len() > LARGEST {
            return Err(StoreError::Remote {
                what: what(),
                reason: format!("it has {} bytes, more than a Secret may hold", bytes.len()),
                help: "keep fewer releases (`retention: {releases: 5}`), or the state in a folder"
                    .to_owned(),
            });
        }
        let body = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "shipit.dev/state",
            "metadata": {"name": name, "namespace": self.namespace, "labels": labels},
            "data": {"document": BASE64_STANDARD.encode(bytes)},
        });
        let how = How {
            force: true,
            dry_run: false,
        };
        self.api()
            .await?
            .apply(&body, how)
            .await
            .map(drop)
            .map_err(failed(what()))
    }

    /// Old journals go. That one cannot be removed is no reason to fail.
    async fn forget_oldest(&self, environment: &EnvironmentName) -> Result<(), StoreError> {
        let entries = self.entries(environment).await?;
        let runs: Vec<&String> = entries.keys().collect();
        for run in runs.iter().rev().skip(JOURNALS) {
            for object in &entries[*run] {
                let name = object["metadata"]["name"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned();
                let _ = self
                    .api()
                    .await?
                    .delete(&self.object("Secret", name), None)
                    .await;
            }
        }
        Ok(())
    }

    /// The journals' entries by run; the names of runs sort by time.
    async fn entries(
        &self,
        environment: &EnvironmentName,
    ) -> Result<BTreeMap<String, Vec<Value>>, StoreError> {
        let api = self.api().await?;
        let reading = || failed("reading the journal");
        let kind = api.must(("v1", "Secret")).await.map_err(reading())?;
        let labels = format!(
            "{}={},{}={environment},{PART}=journal",
            mark::PROJECT,
            self.project,
            mark::ENVIRONMENT
        );
        let selector = Selector::Labels(labels);
        let mut runs: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        let take = |object: Value| {
            let run = object["metadata"]["labels"][RUN]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            runs.entry(run).or_default().push(object);
        };
        api.list(&kind, Some(&self.namespace), &selector, take)
            .await
            .map_err(reading())?;
        for entries in runs.values_mut() {
            entries.sort_by_key(|object| {
                object["metadata"]["name"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned()
            });
        }
        Ok(runs)
    }
}

fn pack(document: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    // Writing into memory does not fail.
    let _ = packer.write_all(document);
    packer.finish().unwrap_or_default()
}

fn unpack(object: &Value) -> Result<Vec<u8>, String> {
    let text = object
        .pointer("/data/document")
        .and_then(Value::as_str)
        .ok_or("it has no document")?;
    let bytes = BASE64_STANDARD
        .decode(text)
        .map_err(|error| error.to_string())?;
    let mut document = Vec::new();
    let mut unpacker = flate2::read::GzDecoder::new(&bytes[..]).take(LIMIT);
    unpacker
        .read_to_end(&mut document)
        .map_err(|error| error.to_string())?;
    Ok(document)
}

#[async_trait]
impl StateStore for KubernetesStore {
    async fn load(&self, environment: &EnvironmentName) -> Result<Option<State>, StoreError> {
        let Some((head, _)) = self.head(environment).await? else {
            return Ok(None);
        };
        let releases =
            try_join_all(head.releases.iter().map(|stored| self.release(stored))).await?;
        let state = State {
            format: head.format,
            project: self.project.clone(),
            environment: environment.clone(),
            lineage: head.lineage,
            serial: head.serial,
            releases,
        };
        if ContentHash::of_json(&state) != head.checksum {
            let key = self.object("ConfigMap", self.name(environment));
            return Err(self.damaged(
                &key,
                "its content does not fit its checksum: it was edited by hand",
            ));
        }
        Ok(Some(state))
    }

    async fn save(&self, lease: &dyn Lease, state: &State) -> Result<(), StoreError> {
        let environment = &state.environment;
        let api = self.api().await?;
        let current = lock::place(self, environment).await?.read().await?;
        still_held(&current, lease.fence(), environment)?;
        let there = self.head(environment).await?;
        let found = there.as_ref().map_or(0, |(head, _)| head.serial);
        let moved = |found| {
            let expected = state.serial.saturating_sub(1);
            StoreError::Moved {
                environment: environment.clone(),
                expected,
                found,
            }
        };
        if state.serial != found + 1 {
            return Err(moved(found));
        }
        let old = there
            .as_ref()
            .map(|(head, _)| head.releases.clone())
            .unwrap_or_default();
        let writes = state.releases.iter().map(|release| {
            let old = &old;
            async move {
                let hash = ContentHash::of_json(release);
                if let Some(same) = old
                    .iter()
                    .find(|one| one.number == release.number && one.hash == hash)
                {
                    return Ok(same.clone());
                }
                let name = format!(
                    "{}-r{}-s{}",
                    self.name(environment),
                    release.number,
                    state.serial
                );
                let document = serde_json::to_vec(release).unwrap_or_default();
                self.write_secret(&name, self.labels(environment, "release"), &document)
                    .await?;
                Ok::<_, StoreError>(Stored {
                    number: release.number,
                    secret: name,
                    hash,
                })
            }
        });
        let releases = try_join_all(writes).await?;
        let head = Head {
            format: FORMAT,
            lineage: state.lineage.clone(),
            serial: state.serial,
            checksum: ContentHash::of_json(state),
            releases: releases.clone(),
        };
        let key = self.object("ConfigMap", self.name(environment));
        let mut body = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": key.name, "namespace": self.namespace, "labels": self.labels(environment, "head")},
            "data": {"head": serde_json::to_string(&head).unwrap_or_default()},
        });
        let written = match &there {
            None => api.create(&body).await,
            Some((_, version)) => {
                body["metadata"]["resourceVersion"] = version.clone().into();
                api.replace(&key, &body).await
            }
        };
        match written {
            Ok(_) => {}
            Err(fault) if fault.is(StatusCode::CONFLICT) => {
                // A request that was sent twice finds its own work.
                let now = self.head(environment).await?;
                if now
                    .as_ref()
                    .is_none_or(|(now, _)| now.checksum != head.checksum)
                {
                    return Err(moved(now.map_or(0, |(head, _)| head.serial)));
                }
            }
            Err(fault) => return Err(failed("writing the state")(fault)),
        }
        for gone in old.iter().filter(|one| !releases.contains(one)) {
            let _ = api
                .delete(&self.object("Secret", gone.secret.clone()), None)
                .await;
        }
        Ok(())
    }

    async fn lock(
        &self,
        environment: &EnvironmentName,
        actor: &Actor,
        command: &str,
        fence_above: u64,
        wait: Duration,
    ) -> Result<Box<dyn Lease>, StoreError> {
        let taker = Taker {
            actor: actor.clone(),
            command: command.to_owned(),
            fence_above,
        };
        take(lock::place(self, environment).await?, taker, wait).await
    }

    async fn holder(
        &self,
        environment: &EnvironmentName,
    ) -> Result<Option<LockHolder>, StoreError> {
        holder(&lock::place(self, environment).await?).await
    }

    async fn request_abort(&self, environment: &EnvironmentName) -> Result<bool, StoreError> {
        request_abort(&lock::place(self, environment).await?).await
    }

    async fn break_lock(
        &self,
        environment: &EnvironmentName,
    ) -> Result<Option<LockHolder>, StoreError> {
        break_lock(&lock::place(self, environment).await?).await
    }

    async fn append(
        &self,
        environment: &EnvironmentName,
        run: &str,
        entry: &JournalEntry,
    ) -> Result<(), StoreError> {
        let number = {
            let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
            let count = counts.entry(run.to_owned()).or_default();
            *count += 1;
            *count
        };
        let mut labels = self.labels(environment, "journal");
        labels[RUN] = run.into();
        let name = format!(
            "{}-j-{}-{number:05}",
            self.name(environment),
            run.to_lowercase()
        );
        self.write_secret(
            &name,
            labels,
            &serde_json::to_vec(entry).unwrap_or_default(),
        )
        .await?;
        if number == 1 {
            self.forget_oldest(environment).await
        } else {
            Ok(())
        }
    }

    async fn keep_failure(
        &self,
        environment: &EnvironmentName,
        release: ReleaseNumber,
        files: &BTreeMap<String, String>,
    ) -> Result<Option<String>, StoreError> {
        failure::keep(&self.failures, environment, release, files).await
    }

    async fn last_journal(
        &self,
        environment: &EnvironmentName,
    ) -> Result<Option<Journal>, StoreError> {
        let Some((run, objects)) = self.entries(environment).await?.into_iter().next_back() else {
            return Ok(None);
        };
        let entries = objects
            .iter()
            .map_while(|object| serde_json::from_slice(&unpack(object).ok()?).ok())
            .collect();
        Ok(Some(Journal { run, entries }))
    }

    async fn environments(&self) -> Result<Vec<EnvironmentName>, StoreError> {
        let api = self.api().await?;
        let reading = || failed("looking for environments");
        let kind = api.must(("v1", "ConfigMap")).await.map_err(reading())?;
        let selector = Selector::Labels(format!("{}={},{PART}=head", mark::PROJECT, self.project));
        let mut names = Vec::new();
        let take = |object: Value| {
            let name = object["metadata"]["labels"][mark::ENVIRONMENT].as_str();
            names.extend(name.and_then(|name| name.parse().ok()));
        };
        api.list(&kind, Some(&self.namespace), &selector, take)
            .await
            .map_err(reading())?;
        Ok(names)
    }
}
