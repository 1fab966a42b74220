//! The lock as a `Lease` of the cluster: written only over the version that was read.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};

use crate::driver::kubernetes::client::api::Api;
use crate::driver::state::kubernetes::{KubernetesStore, failed};
use crate::driver::state::lock::{Lock, LockPlace, Pace};
use crate::model::lease::EXPIRY;
use crate::model::{EnvironmentName, ObjectKey};
use crate::port::store::StoreError;

/// How often a change is tried that somebody else's came before.
const TRIES: usize = 10;

const FENCE: &str = "shipit.dev/fence";
const HOLDER: &str = "shipit.dev/holder";
const ABORT: &str = "shipit.dev/abort";

/// Where the lock of an environment is.
#[derive(Clone)]
pub(in crate::driver) struct LeaseObject {
    api: Arc<Api>,
    key: ObjectKey,
    environment: EnvironmentName,
    labels: Value,
    /// The lock as this process wrote it last, and the version that it has since: what is changed
    /// next begins there, and the version tells whether somebody else has written it meanwhile.
    written: Arc<Mutex<Option<(Lock, String)>>>,
}

pub(in crate::driver) async fn place(
    store: &KubernetesStore,
    environment: &EnvironmentName,
) -> Result<LeaseObject, StoreError> {
    let api = Arc::clone(store.api().await?);
    let key = store.object("Lease", store.name(environment));
    let labels = store.labels(environment, "lock");
    Ok(LeaseObject {
        api,
        key,
        environment: environment.clone(),
        labels,
        written: Arc::default(),
    })
}

impl LeaseObject {
    /// The lock, and its version; none before it was ever made.
    async fn read_object(&self) -> Result<(Lock, Option<String>), StoreError> {
        let found = self
            .api
            .get(&self.key)
            .await
            .map_err(failed("reading the lock"))?;
        let Some(object) = found else {
            return Ok((Lock::default(), None));
        };
        let note = |name: &str| object["metadata"]["annotations"][name].as_str();
        let holder = note(HOLDER).map(serde_json::from_str).transpose();
        let lock = Lock {
            fence: note(FENCE).and_then(|text| text.parse().ok()).unwrap_or(0),
            holder: holder.map_err(|error| self.damaged(&error))?,
            abort: note(ABORT).and_then(|text| text.parse().ok()),
        };

        let version = object["metadata"]["resourceVersion"]
            .as_str()
            .map(str::to_owned);
        Ok((lock, version))
    }

    /// The lock as it was written last. It is used once: who does not write it looks again.
    fn known(&self) -> Option<(Lock, String)> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.take()
    }

    fn remember(&self, known: Option<(Lock, String)>) {
        *self.written.lock().unwrap_or_else(PoisonError::into_inner) = known;
    }

    /// A holder that cannot be read is not taken for none.
    fn damaged(&self, error: &serde_json::Error) -> StoreError {
        StoreError::Damaged {
            path: self.key.to_string(),
            reason: format!("it does not say who holds the lock: {error}"),
            help: "make sure that no shipit runs for this environment, then delete the object"
                .to_owned(),
        }
    }

    /// Writes the lock as it should be; false when somebody else has written it since it was read.
    async fn write(&self, lock: &Lock, version: Option<&str>) -> Result<bool, StoreError> {
        let mut notes = json!({FENCE: lock.fence.to_string()});
        let mut spec = json!({"leaseTransitions": i32::try_from(lock.fence).unwrap_or(i32::MAX)});
        if let Some(holder) = &lock.holder {
            notes[HOLDER] = serde_json::to_string(holder).unwrap_or_default().into();
            spec["holderIdentity"] = holder.actor.to_string().into();
            spec["leaseDurationSeconds"] = EXPIRY.as_secs().into();
            spec["acquireTime"] = format!("{:.6}", holder.since).into();
            spec["renewTime"] = format!("{:.6}", holder.heartbeat).into();
        }
        if let Some(fence) = lock.abort {
            notes[ABORT] = fence.to_string().into();
        }

        let mut body = json!({
            "apiVersion": self.key.api_version, "kind": "Lease", "spec": spec,
            "metadata": {"name": self.key.name, "namespace": self.key.namespace, "labels": self.labels,
                "annotations": notes},
        });
        let written = match version {
            None => self.api.create(&body).await,
            Some(version) => {
                body["metadata"]["resourceVersion"] = version.into();
                self.api.replace(&self.key, &body).await
            }
        };

        match written {
            Ok(object) => {
                let version = object["metadata"]["resourceVersion"].as_str();
                self.remember(version.map(|version| (lock.clone(), version.to_owned())));
                Ok(true)
            }
            Err(fault) if fault.is(StatusCode::CONFLICT) => Ok(false),
            Err(fault) if fault.is(StatusCode::NOT_FOUND) => {
                let namespace = self.key.namespace.clone().unwrap_or_default();
                let reason = format!(
                    "namespace {namespace} is not there: make it, or name another under `state.namespace`"
                );
                Err(StoreError::Absent {
                    what: "taking the lock".to_owned(),
                    reason,
                })
            }
            Err(fault) => Err(failed("writing the lock")(fault)),
        }
    }
}

impl LockPlace for LeaseObject {
    fn environment(&self) -> &EnvironmentName {
        &self.environment
    }

    fn pace(&self) -> Pace {
        Pace {
            beat: Duration::from_secs(4),
            poll: Duration::from_millis(250),
            expiry: EXPIRY,
        }
    }

    async fn read(&self) -> Result<Lock, StoreError> {
        Ok(self.read_object().await?.0)
    }

    async fn change<T: Send + 'static>(
        &self,
        mut change: impl FnMut(&mut Lock) -> Result<Option<T>, StoreError> + Send + 'static,
    ) -> Result<Option<T>, StoreError> {
        let mut sent: Option<(Lock, T)> = None;
        let mut known = self.known();
        for _ in 0..TRIES {
            let is_known = known.is_some();
            let (mut lock, version) = match known.take() {
                Some((lock, version)) => (lock, Some(version)),
                None => self.read_object().await?,
            };
            // A write whose answer was lost is a conflict with itself when it is sent again.
            if let Some((written, result)) = sent
                && written == lock
            {
                return Ok(Some(result));
            }

            let Some(result) = change(&mut lock)? else {
                return Ok(None);
            };
            match self.write(&lock, version.as_deref()).await {
                Ok(true) => return Ok(Some(result)),
                // It may be gone altogether since: a look tells.
                Err(StoreError::Absent { .. }) if is_known => {}
                other => {
                    other?;
                }
            }
            sent = Some((lock, result));
        }
        Err(StoreError::Remote {
            what: "writing the lock".to_owned(),
            reason: format!("conflict: others changed it between each of {TRIES} reads and writes"),
            help: "run the command again".to_owned(),
        })
    }
}
