//! The state store `s3`: history, journal and lock as objects of a bucket, whose keys begin with
//! `PREFIX/PROJECT/`.
//!
//! All that keeps two runs apart is that the bucket refuses a write whose `If-Match` or
//! `If-None-Match` does not hold (S3 has known both since 2024). A store that ignores them looks
//! the same until the day that it matters, so it is tried before the first lock is taken in it
//! ([`probe`]). Start with [`store`].

mod objects;
mod probe;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::OnceCell;

use crate::driver::aws::Aws;
use crate::driver::state::objects::{Found, Guard, ObjectStore, Objects, Written};
use crate::driver::state::s3::objects::BucketObjects;
use crate::model::ProjectName;
use crate::port::store::StoreError;

/// Where a bucket is, and where in it the state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// What all keys begin with; nothing for the top of the bucket.
    pub prefix: String,
    /// The address of a server that is not Amazon's.
    pub endpoint: Option<String>,
    /// Whether the bucket's name stands in the path of a URL, and not in its host.
    pub path_style: bool,
}

/// The store in a bucket, which must be there. Nothing is asked of it yet.
#[must_use]
pub fn store(
    aws: Arc<Aws>,
    bucket: Bucket,
    project: &ProjectName,
    failures: PathBuf,
) -> ObjectStore {
    let prefix = bucket.prefix.trim_matches('/');
    let top = if prefix.is_empty() {
        format!("{project}/")
    } else {
        format!("{prefix}/{project}/")
    };
    let objects = InBucket {
        aws,
        bucket,
        opened: OnceCell::new(),
    };
    ObjectStore::new(Arc::new(objects), top, failures)
}

/// The objects of a bucket, whose client is made when it is first needed.
struct InBucket {
    aws: Arc<Aws>,
    bucket: Bucket,
    opened: OnceCell<BucketObjects>,
}

impl InBucket {
    async fn open(&self) -> &BucketObjects {
        let open = async || {
            let client = self.aws.s3(&self.bucket).await;
            BucketObjects::new(client, self.bucket.name.clone())
        };
        self.opened.get_or_init(open).await
    }
}

#[async_trait]
impl Objects for InBucket {
    fn place(&self, key: &str) -> String {
        let place = format!("s3://{}/{key}", self.bucket.name);
        match &self.bucket.endpoint {
            Some(endpoint) => format!("{place} at {endpoint}"),
            None => place,
        }
    }

    fn remedy(&self) -> &'static str {
        "where the bucket keeps versions, the one before can be brought back"
    }

    async fn get(&self, key: &str) -> Result<Option<Found>, StoreError> {
        self.open().await.get(key).await
    }

    async fn write(&self, key: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.open().await.write(key, bytes).await
    }

    async fn put(
        &self,
        key: &str,
        bytes: Vec<u8>,
        guard: Guard<'_>,
    ) -> Result<Written, StoreError> {
        self.open().await.put(key, bytes, guard).await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.open().await.delete(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.open().await.list(prefix).await
    }

    async fn folders(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.open().await.folders(prefix).await
    }

    async fn keeps_conditions(&self, key: &str) -> Result<(), StoreError> {
        probe::keeps_conditions(self.open().await, key).await
    }
}
