//! Writing a state: the releases that changed under new names, and then the head, whose version is
//! the guard.

use futures_util::future::try_join_all;
use http::StatusCode;
use serde_json::{Value, json};

use super::document::{Head, Stored};
use super::{KubernetesStore, failed};
use crate::driver::kubernetes::client::api::{Api, ApiError};
use crate::driver::state::local::document::{after, serial_in};
use crate::model::release::Release;
use crate::model::state::{FORMAT, State};
use crate::model::{ContentHash, EnvironmentName};
use crate::port::store::StoreError;

impl KubernetesStore {
    pub(super) async fn write_state(&self, state: &State) -> Result<(), StoreError> {
        let current = self.head(&state.environment).await?;
        let serial = current.as_ref().map_or(0, |(head, _)| head.serial);
        if state.serial <= serial {
            return Err(moved(state, serial));
        }

        let (old, version) = match current {
            Some((head, version)) => (head.releases, Some(version)),
            None => (Vec::new(), None),
        };
        let written = self.write_over(state, &old, version).await?;
        let gone = old.iter().filter(|one| !written.contains(one));
        self.delete_secrets(gone.map(|one| one.secret.clone()).collect())
            .await
    }

    /// Writes a state over whatever is there. Nothing of that is relied on: all releases are
    /// written anew.
    pub(super) async fn replace_state(&self, state: &State) -> Result<State, StoreError> {
        let environment = &state.environment;
        let found = self.head_text(environment).await?;
        let (text, version) = found.unzip();
        let state = after(state, serial_in(text.unwrap_or_default().as_bytes()));
        let written = self.write_over(&state, &[], version).await?;

        let mut gone = self.release_secrets(environment).await?;
        gone.retain(|secret| !written.iter().any(|one| one.secret == *secret));
        self.delete_secrets(gone).await?;
        Ok(state)
    }

    /// Writes the releases that are not stored yet as they are, and then the head, over this
    /// version of it. Gives where the releases are.
    async fn write_over(
        &self,
        state: &State,
        old: &[Stored],
        version: Option<String>,
    ) -> Result<Vec<Stored>, StoreError> {
        let writes = state
            .releases
            .iter()
            .map(|release| self.write_release(state, release, old));
        let releases = try_join_all(writes).await?;

        let head = Head {
            format: FORMAT,
            lineage: state.lineage.clone(),
            serial: state.serial,
            checksum: ContentHash::of_json(state),
            releases,
            migrated_to: state.migrated_to.clone(),
        };
        let api = self.api().await?;
        let written = self.write_head(api, &state.environment, &head, version);
        match written.await {
            Ok(_) => {}
            Err(fault) if fault.is(StatusCode::CONFLICT) => {
                self.refuse_other(state, &head).await?;
            }
            Err(fault) => return Err(failed("writing the state")(fault)),
        }
        Ok(head.releases)
    }

    /// Writes a release, unless it is stored as it is.
    async fn write_release(
        &self,
        state: &State,
        release: &Release,
        old: &[Stored],
    ) -> Result<Stored, StoreError> {
        let hash = ContentHash::of_json(release);
        let same = old
            .iter()
            .find(|one| one.number == release.number && one.hash == hash);
        if let Some(same) = same {
            return Ok(same.clone());
        }

        let environment = &state.environment;
        let secret = format!(
            "{}-r{}-s{}",
            self.name(environment),
            release.number,
            state.serial
        );
        let document = serde_json::to_vec(release).unwrap_or_default();
        self.write_secret(&secret, self.labels(environment, "release"), &document)
            .await?;
        Ok(Stored {
            number: release.number,
            secret,
            hash,
        })
    }

    /// Writes the head over the version that was read; the cluster's answer is for the caller.
    async fn write_head(
        &self,
        api: &Api,
        environment: &EnvironmentName,
        head: &Head,
        version: Option<String>,
    ) -> Result<Value, ApiError> {
        let key = self.object("ConfigMap", self.name(environment));
        let mut body = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": key.name, "namespace": self.namespace, "labels": self.labels(environment, "head")},
            "data": {"head": serde_json::to_string(head).unwrap_or_default()},
        });
        match version {
            None => api.create(&body).await,
            Some(version) => {
                body["metadata"]["resourceVersion"] = version.into();
                api.replace(&key, &body).await
            }
        }
    }

    /// After a conflict: a request that was sent twice finds its own work, and all else is
    /// another's.
    async fn refuse_other(&self, state: &State, head: &Head) -> Result<(), StoreError> {
        let now = self.head(&state.environment).await?;
        match now {
            Some((now, _)) if now.checksum == head.checksum => Ok(()),
            now => Err(moved(state, now.map_or(0, |(now, _)| now.serial))),
        }
    }

    /// Deletes Secrets that the head does not name any more. That one cannot be removed is no
    /// reason to fail.
    async fn delete_secrets(&self, names: Vec<String>) -> Result<(), StoreError> {
        let api = self.api().await?;
        for name in names {
            let _ = api.delete(&self.object("Secret", name), None).await;
        }
        Ok(())
    }

    /// The Secrets of an environment that are releases.
    async fn release_secrets(
        &self,
        environment: &EnvironmentName,
    ) -> Result<Vec<String>, StoreError> {
        let objects = self.secrets_of(environment, "release").await?;
        let name = |object: &Value| object["metadata"]["name"].as_str().map(str::to_owned);
        Ok(objects.iter().filter_map(name).collect())
    }
}

fn moved(state: &State, found: u64) -> StoreError {
    StoreError::Moved {
        environment: state.environment.clone(),
        expected: state.serial.saturating_sub(1),
        found,
    }
}
