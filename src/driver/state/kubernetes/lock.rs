//! The lock as a `Lease` of the cluster: written only over the version that was read.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};

use crate::driver::kubernetes::client::api::Api;
use crate::driver::state::kubernetes::{KubernetesStore, failed};
use crate::driver::state::lock::Lock;
use crate::driver::state::versioned::{LockDocument, Versioned};
use crate::model::lease::EXPIRY;
use crate::model::{EnvironmentName, ObjectKey};
use crate::port::store::StoreError;

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
}

pub(in crate::driver) async fn place(
    store: &KubernetesStore,
    environment: &EnvironmentName,
) -> Result<Versioned<LeaseObject>, StoreError> {
    let api = Arc::clone(store.api().await?);
    let key = store.object("Lease", store.name(environment));
    let labels = store.labels(environment, "lock");
    Ok(Versioned::of(LeaseObject {
        api,
        key,
        environment: environment.clone(),
        labels,
    }))
}

impl LeaseObject {
    /// A holder that cannot be read is not taken for none.
    fn damaged(&self, error: &serde_json::Error) -> StoreError {
        StoreError::Damaged {
            path: self.key.to_string(),
            reason: format!("it does not say who holds the lock: {error}"),
            help: "make sure that no shipit runs for this environment, then delete the object"
                .to_owned(),
        }
    }
}

impl LockDocument for LeaseObject {
    fn environment(&self) -> &EnvironmentName {
        &self.environment
    }

    fn poll(&self) -> Duration {
        Duration::from_millis(250)
    }

    async fn look(&self) -> Result<(Lock, Option<String>), StoreError> {
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

    async fn write(&self, lock: &Lock, over: Option<&str>) -> Result<Option<String>, StoreError> {
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
        let written = match over {
            None => self.api.create(&body).await,
            Some(version) => {
                body["metadata"]["resourceVersion"] = version.into();
                self.api.replace(&self.key, &body).await
            }
        };

        match written {
            Ok(object) => {
                let version = object["metadata"]["resourceVersion"].as_str();
                Ok(Some(version.unwrap_or_default().to_owned()))
            }
            Err(fault) if fault.is(StatusCode::CONFLICT) => Ok(None),
            Err(fault) if fault.is(StatusCode::NOT_FOUND) => {
                let namespace = self.key.namespace.clone().unwrap_or_default();
                let reason = format!(
                    "namespace {namespace} is not there: make it, or name another under \
                     `state.namespace`"
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
