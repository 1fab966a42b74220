//! The state store `host`: history, journal and lock as documents of the agent, so that everybody
//! who deploys to a machine has the same ones, wherever they sit. The agent compares the version
//! that a write names with what it has, one write at a time; the rest is the one lock and the one
//! store of objects.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

use crate::driver::host::HostEngine;
use crate::driver::state::objects::{Found, Guard, ObjectStore, Objects, Written};
use crate::model::ProjectName;
use crate::port::engine::EngineError;
use crate::port::store::StoreError;
use crate::proto::v1;

/// The store of the agent that an engine speaks to. Nothing is asked of it yet.
#[must_use]
pub fn store(agent: HostEngine, project: &ProjectName, failures: PathBuf) -> ObjectStore {
    ObjectStore::new(Arc::new(Documents(agent)), format!("{project}/"), failures)
}

/// The documents of an agent.
struct Documents(HostEngine);

impl Documents {
    fn failed(&self, what: &str, key: &str, error: EngineError) -> StoreError {
        let what = format!("{what} {}", self.place(key));
        let help = match &error {
            EngineError::Unreachable { help, .. } => help.clone(),
            _ => "look at the agent's log there: `shipit agent logs`".to_owned(),
        };
        let reason = match error {
            EngineError::Unreachable { what, reason, .. } => format!("{what}: {reason}"),
            other => other.to_string(),
        };
        StoreError::Remote { what, reason, help }
    }

    async fn written(
        &self,
        key: &str,
        content: Vec<u8>,
        over: v1::write_document_request::Over,
    ) -> Result<Option<String>, StoreError> {
        let message = v1::WriteDocumentRequest {
            key: key.to_owned(),
            content,
            over: Some(over),
        };
        let written = self.0.write_document(message).await;
        written.map_err(|error| self.failed("writing", key, error))
    }
}

#[async_trait]
impl Objects for Documents {
    fn place(&self, key: &str) -> String {
        format!("{key} of {}", self.0.place())
    }

    fn remedy(&self) -> &'static str {
        "the agent keeps no version but the last one"
    }

    async fn get(&self, key: &str) -> Result<Option<Found>, StoreError> {
        let found = self.0.read_document(key).await;
        let found = found.map_err(|error| self.failed("reading", key, error))?;
        Ok(found.map(|found| Found {
            bytes: found.content,
            version: found.version,
        }))
    }

    async fn write(&self, key: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        let any = v1::write_document_request::Over::Any(true);
        self.written(key, bytes, any).await.map(drop)
    }

    async fn put(
        &self,
        key: &str,
        bytes: Vec<u8>,
        guard: Guard<'_>,
    ) -> Result<Written, StoreError> {
        use v1::write_document_request::Over;

        let over = match guard {
            Guard::Absent => Over::Absent(true),
            Guard::Is(version) => Over::Version(version.to_owned()),
        };
        let version = self.written(key, bytes, over).await?;
        Ok(version.map_or(Written::Moved, Written::As))
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        let deleted = self.0.delete_document(key).await;
        deleted.map_err(|error| self.failed("deleting", key, error))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let listed = self.0.list_documents(prefix.trim_end_matches('/')).await;
        listed.map_err(|error| self.failed("listing", prefix, error))
    }

    async fn folders(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let keys = self.list(prefix).await?;
        let folders = keys.iter().filter_map(|key| {
            let (folder, _) = key.strip_prefix(prefix)?.split_once('/')?;
            Some(format!("{prefix}{folder}/"))
        });
        let mut folders: Vec<String> = folders.collect();
        folders.dedup();
        Ok(folders)
    }
}
