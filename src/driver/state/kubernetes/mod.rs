//! The state store `kubernetes`: history, journal and lock as objects of one namespace.
//!
//! ```text
//! ConfigMap shipit-state-PROJECT-ENV         the head: serial, lineage, and which Secret holds
//!                                            which release
//! Secret    shipit-state-PROJECT-ENV-r7-s12  release 7 as it was written at serial 12,
//!                                            compressed
//! Secret    shipit-state-PROJECT-ENV-j-RUN-3 the third entry of a run's journal
//! Secret    shipit-state-PROJECT-ENV-n-ID    what is to be reported of a run, and what was
//! Lease     shipit-state-PROJECT-ENV         who holds the lock, with a heartbeat
//! ```
//!
//! A save writes the releases that changed under new names, and then the head: its resource version
//! is the guard, so that a reader finds all of a state or all of the one before. Start with
//! [`KubernetesStore`].

mod cluster_lock;
mod commands;
mod document;
mod journal;
mod lock;
mod notices;
mod save;

pub use cluster_lock::ClusterLock;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::driver::kubernetes::client::api::{Api, ApiError, Selector};
use crate::driver::kubernetes::client::connect::{ClusterConnection, try_connect};
use crate::driver::state::failure;
use crate::driver::state::lock::{
    LockPlace as _, Taker, break_lock, holder, request_abort, still_held, take,
};
use crate::driver::state::numbered::{Numbered, Numbers};
use crate::model::command::CommandRecord;
use crate::model::journal::{Journal, JournalEntry};
use crate::model::notice::OutboxEntry;
use crate::model::object::mark;
use crate::model::release::Actor;
use crate::model::state::{LockHolder, State};
use crate::model::{ContentHash, EnvironmentName, ObjectKey, ProjectName, ReleaseNumber};
use crate::port::StateStore;
use crate::port::engine::EngineError;
use crate::port::store::{Lease, StoreError};

/// Which part of a state an object is.
const PART: &str = mark::STATE;

/// State in a cluster.
pub struct KubernetesStore {
    connection: ClusterConnection,
    namespace: String,
    project: ProjectName,
    /// Where what is known about failures is kept: a folder, for people.
    failures: PathBuf,
    api: OnceCell<Arc<Api>>,
    numbers: Numbers,
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
        let (api, numbers) = (OnceCell::new(), Numbers::default());
        Self {
            connection,
            namespace,
            project,
            failures,
            api,
            numbers,
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

    /// Takes the lock's object away where nothing of the environment is left, unless somebody has
    /// it again.
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

    /// The Secrets of an environment that are one part of its state.
    async fn secrets_of(
        &self,
        environment: &EnvironmentName,
        part: &str,
    ) -> Result<Vec<Value>, StoreError> {
        let api = self.api().await?;
        let reading = || failed(format!("reading what is kept as {part}"));
        let kind = api.must(("v1", "Secret")).await.map_err(reading())?;
        let labels = format!(
            "{}={},{}={environment},{PART}={part}",
            mark::PROJECT,
            self.project,
            mark::ENVIRONMENT
        );
        let mut objects = Vec::new();
        let take = |object: Value| objects.push(object);
        let selector = Selector::Labels(labels);
        let listed = api.list(&kind, Some(&self.namespace), &selector, take);
        listed.await.map_err(reading())?;
        Ok(objects)
    }

    fn damaged(&self, key: &ObjectKey, reason: impl Into<String>) -> StoreError {
        StoreError::Damaged {
            path: format!("{} in {}", key.short(), self.namespace),
            reason: reason.into(),
            help:
                "nothing was changed; `shipit state push FILE --force` puts a copy in its place; \
                   if the history may go, delete this object: what runs is found again"
                    .to_owned(),
        }
    }
}

#[async_trait]
impl Numbered for KubernetesStore {
    fn numbers(&self) -> &Numbers {
        &self.numbers
    }

    async fn write_entry(
        &self,
        environment: &EnvironmentName,
        at: (&str, usize),
        entry: &JournalEntry,
    ) -> Result<(), StoreError> {
        self.write_numbered(environment, at, entry).await
    }

    async fn forget_journals(
        &self,
        environment: &EnvironmentName,
        own: &str,
        others: usize,
    ) -> Result<(), StoreError> {
        self.delete_journals(environment, own, others).await
    }

    async fn write_command(
        &self,
        environment: &EnvironmentName,
        record: &CommandRecord,
    ) -> Result<(), StoreError> {
        self.write_record(environment, record).await
    }

    async fn forget_commands(
        &self,
        environment: &EnvironmentName,
        stay: usize,
    ) -> Result<(), StoreError> {
        self.delete_commands(environment, stay).await
    }
}

#[async_trait]
impl StateStore for KubernetesStore {
    fn place(&self, environment: &EnvironmentName) -> String {
        let key = self.object("ConfigMap", self.name(environment));
        format!("{} in {}", key.short(), self.namespace)
    }

    async fn read(&self, environment: &EnvironmentName) -> Result<Option<State>, StoreError> {
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
            migrated_to: head.migrated_to,
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
        let current = lock::place(self, &state.environment).await?.read().await?;
        still_held(&current, lease.fence(), &state.environment)?;
        self.write_state(state).await
    }

    async fn replace(&self, lease: &dyn Lease, state: &State) -> Result<State, StoreError> {
        let current = lock::place(self, &state.environment).await?.read().await?;
        still_held(&current, lease.fence(), &state.environment)?;
        self.replace_state(state).await
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
        self.append_entry(environment, run, entry).await
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
        Ok(self.read_journals(environment).await?.pop())
    }

    async fn journals(&self, environment: &EnvironmentName) -> Result<Vec<Journal>, StoreError> {
        self.read_journals(environment).await
    }

    async fn keep_journals(
        &self,
        environment: &EnvironmentName,
        journals: &[Journal],
    ) -> Result<usize, StoreError> {
        self.take_journals(environment, journals).await
    }

    async fn keep_commands(
        &self,
        environment: &EnvironmentName,
        records: &[CommandRecord],
    ) -> Result<usize, StoreError> {
        self.take_commands(environment, records).await
    }

    async fn commands(
        &self,
        environment: &EnvironmentName,
    ) -> Result<Vec<CommandRecord>, StoreError> {
        self.read_commands(environment).await
    }

    async fn keep_notice(
        &self,
        environment: &EnvironmentName,
        entry: &OutboxEntry,
    ) -> Result<(), StoreError> {
        self.write_notice(environment, entry).await
    }

    async fn notices(&self, environment: &EnvironmentName) -> Result<Vec<OutboxEntry>, StoreError> {
        self.read_notices(environment).await
    }

    async fn forget_notice(
        &self,
        environment: &EnvironmentName,
        id: &str,
    ) -> Result<(), StoreError> {
        self.delete_notice(environment, id).await
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
