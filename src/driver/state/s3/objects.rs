//! The objects of a bucket, read with their versions and written under conditions.

use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;

use crate::driver::aws;
use crate::driver::state::objects::{Found, Guard, Written};
use crate::port::store::StoreError;

/// The largest object that is read: a state of some ten thousand releases.
const LIMIT: usize = 64 << 20;

/// A bucket.
#[derive(Debug, Clone)]
pub(super) struct BucketObjects {
    client: Client,
    bucket: String,
}

impl BucketObjects {
    pub const fn new(client: Client, bucket: String) -> Self {
        Self { client, bucket }
    }

    /// None where there is no such object.
    pub async fn get(&self, key: &str) -> Result<Option<Found>, StoreError> {
        let request = self.client.get_object().bucket(&self.bucket).key(key);
        let mut answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) if code(&error) == "NoSuchKey" => return Ok(None),
            Err(error) => {
                // Without the right to list, S3 does not tell what is not there.
                return Err(self.failed(
                    "s3:GetObject` and `s3:ListBucket",
                    "reading",
                    key,
                    &error,
                ));
            }
        };

        let version = answer.e_tag.take();
        let kind = answer.content_type.take().unwrap_or_default();
        let cut_off = |reason: String| self.remote("reading", key, reason, "run the command again");
        let mut bytes = Vec::new();
        while let Some(piece) = answer.body.next().await {
            let piece = piece.map_err(|error| cut_off(error.to_string()))?;
            if bytes.len() + piece.len() > LIMIT {
                return Err(cut_off(format!("it has more than {LIMIT} bytes")));
            }
            bytes.extend_from_slice(&piece);
        }

        match version.filter(|_| !is_page(&kind, &bytes)) {
            Some(version) => Ok(Some(Found { bytes, version })),
            None => Err(self.no_object(key, &bytes)),
        }
    }

    /// What answered is not the bucket: a proxy, a login page, another server.
    fn no_object(&self, key: &str, bytes: &[u8]) -> StoreError {
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]);
        let begins = text.trim().lines().next().unwrap_or_default();
        self.remote(
            "reading",
            key,
            format!(
                "what answered is no bucket: its answer is no object of shipit's and begins \
                     with `{begins}`"
            ),
            "nothing was changed; look at `state.endpoint` and at the proxies on the way to it \
             (`aws s3api head-object` asks the bucket itself)",
        )
    }

    /// Whatever is there.
    pub async fn write(&self, key: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        let request = self.client.put_object().bucket(&self.bucket).key(key);
        let request = request.content_type("application/json");
        let sent = request.body(ByteStream::from(bytes)).send().await;
        let failed = |error| self.failed("s3:PutObject", "writing", key, &error);
        sent.map(drop).map_err(failed)
    }

    pub async fn put(
        &self,
        key: &str,
        bytes: Vec<u8>,
        guard: Guard<'_>,
    ) -> Result<Written, StoreError> {
        let request = self.client.put_object().bucket(&self.bucket).key(key);
        let request = request.content_type("application/json");
        let request = match guard {
            Guard::Absent => request.if_none_match("*"),
            Guard::Is(version) => request.if_match(version),
        };
        match request.body(ByteStream::from(bytes)).send().await {
            Ok(answer) => Ok(Written::As(answer.e_tag.unwrap_or_default())),
            Err(error) if is_moved(&error) => Ok(Written::Moved),
            Err(error) => Err(self.failed("s3:PutObject", "writing", key, &error)),
        }
    }

    /// One that is not there is deleted already.
    pub async fn delete(&self, key: &str) -> Result<(), StoreError> {
        let request = self.client.delete_object().bucket(&self.bucket).key(key);
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.failed("s3:DeleteObject", "deleting", key, &error)),
        }
    }

    /// The keys that begin so, sorted.
    pub async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        Ok(self.listed(prefix, None).await?.0)
    }

    /// The keys that begin so up to the next `/`, that included, sorted.
    pub async fn folders(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        Ok(self.listed(prefix, Some("/")).await?.1)
    }

    async fn listed(
        &self,
        prefix: &str,
        delimiter: Option<&str>,
    ) -> Result<(Vec<String>, Vec<String>), StoreError> {
        let request = self.client.list_objects_v2().bucket(&self.bucket);
        let request = request
            .prefix(prefix)
            .set_delimiter(delimiter.map(str::to_owned));
        let mut pages = request.into_paginator().send();
        let (mut keys, mut folders) = (Vec::new(), Vec::new());
        while let Some(page) = pages.next().await {
            let page =
                page.map_err(|error| self.failed("s3:ListBucket", "listing", prefix, &error))?;
            keys.extend(
                page.contents
                    .unwrap_or_default()
                    .into_iter()
                    .filter_map(|object| object.key),
            );
            let below = page.common_prefixes.unwrap_or_default();
            folders.extend(below.into_iter().filter_map(|folder| folder.prefix));
        }
        keys.sort();
        folders.sort();
        Ok((keys, folders))
    }

    fn failed<E>(&self, action: &str, what: &str, key: &str, error: &SdkError<E>) -> StoreError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        if code(error) == "NoSuchBucket" {
            return StoreError::Absent {
                what: format!("{what} s3://{}/{key}", self.bucket),
                reason: format!(
                    "there is no bucket {}: make it (`aws s3 mb s3://{}`, with versions), or name \
                     another under `state.bucket`",
                    self.bucket, self.bucket
                ),
            };
        }
        let (reason, help) = aws::explained(action, error);
        self.remote(what, key, reason, &help)
    }

    fn remote(&self, what: &str, key: &str, reason: String, help: &str) -> StoreError {
        StoreError::Remote {
            what: format!("{what} s3://{}/{key}", self.bucket),
            reason,
            help: help.to_owned(),
        }
    }
}

/// Whether an answer is a page for a browser. No document of shipit's begins like one.
fn is_page(kind: &str, bytes: &[u8]) -> bool {
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    kind.to_ascii_lowercase().contains("html") || first == Some(&b'<')
}

fn code<E: ProvideErrorMetadata>(error: &SdkError<E>) -> &str {
    error.code().unwrap_or_default()
}

/// Whether a write's condition did not hold: what should be there is another version or is gone, or
/// somebody writes it in this moment.
fn is_moved<E: ProvideErrorMetadata>(error: &SdkError<E>) -> bool {
    let status = error
        .raw_response()
        .map(|response| response.status().as_u16());
    let is_gone = status == Some(404) && code(error) == "NoSuchKey";
    status == Some(412) || code(error) == "ConditionalRequestConflict" || is_gone
}
