//! The documents of a state, as objects of the namespace: the head, and compressed Secrets.

use std::io::{Read as _, Write as _};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::{KubernetesStore, failed};
use crate::driver::kubernetes::client::api::{ANOTHER_NAME, ApiError, How};
use crate::model::object::another;
use crate::model::release::Release;
use crate::model::state::{FORMAT, Migrated};
use crate::model::{ContentHash, EnvironmentName, ReleaseNumber};
use crate::port::store::StoreError;

/// The most that one Secret holds, below the server's limit of a mebibyte.
const LARGEST: usize = 900 << 10;
/// The largest document, unpacked.
const LIMIT: u64 = 64 << 20;

/// The head.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(super) struct Head {
    pub format: u32,
    pub lineage: Option<String>,
    pub serial: u64,
    /// Over the whole state.
    pub checksum: ContentHash,
    pub releases: Vec<Stored>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migrated_to: Option<Migrated>,
}

/// Where a release is.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Stored {
    pub number: ReleaseNumber,
    pub secret: String,
    pub hash: ContentHash,
}

impl KubernetesStore {
    /// The head and its resource version.
    pub(super) async fn head(
        &self,
        environment: &EnvironmentName,
    ) -> Result<Option<(Head, String)>, StoreError> {
        let key = self.object("ConfigMap", self.name(environment));
        let Some((text, version)) = self.head_text(environment).await? else {
            return Ok(None);
        };
        let head: Head = serde_json::from_str(&text)
            .map_err(|error| self.damaged(&key, format!("it is not a state: {error}")))?;
        if head.format != FORMAT {
            let reason = format!(
                "it has format {}, and this shipit reads {FORMAT}",
                head.format
            );
            return Err(self.damaged(&key, reason));
        }
        Ok(Some((head, version)))
    }

    /// What stands in the head, whether or not it can be read, and its resource version.
    pub(super) async fn head_text(
        &self,
        environment: &EnvironmentName,
    ) -> Result<Option<(String, String)>, StoreError> {
        let key = self.object("ConfigMap", self.name(environment));
        let found = self.api().await?.get(&key).await;
        let object = found.map_err(failed("reading the state"))?;
        let owner = object.as_ref();
        let owner = owner.and_then(|object| another(object, &self.project, environment));
        if let Some(owner) = owner {
            let what = key.to_string();
            return Err(StoreError::Remote {
                what: "reading the state".to_owned(),
                reason: ApiError::Foreign { what, owner }.to_string(),
                help: ANOTHER_NAME.to_owned(),
            });
        }
        let text = |object: &Value, at: &str| {
            let text = object.pointer(at).and_then(Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        Ok(object.map(|object| {
            let version = text(&object, "/metadata/resourceVersion");
            (text(&object, "/data/head"), version)
        }))
    }

    pub(super) async fn release(&self, stored: &Stored) -> Result<Release, StoreError> {
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

    pub(super) async fn write_secret(
        &self,
        name: &str,
        labels: Value,
        document: &[u8],
    ) -> Result<(), StoreError> {
        let what = format!("writing {name}");
        let bytes = pack(document);
        if bytes.len() > LARGEST {
            return Err(StoreError::Remote {
                what,
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
            .map_err(failed(what))
    }
}

fn pack(document: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    // Writing into memory does not fail.
    let _ = packer.write_all(document);
    packer.finish().unwrap_or_default()
}

pub(super) fn unpack(object: &Value) -> Result<Vec<u8>, String> {
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
