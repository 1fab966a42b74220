//! Whether a store keeps to the conditions of a write. One that does not would give a lock to two.

use crate::driver::state::objects::{Guard, Written};
use crate::driver::state::s3::objects::BucketObjects;
use crate::port::store::StoreError;

/// A version that no object has.
const NEVER: &str = "\"00000000000000000000000000000000\"";

/// Writes an object of its own under conditions that hold and that do not, and takes it away again.
pub(super) async fn keeps_conditions(objects: &BucketObjects, key: &str) -> Result<(), StoreError> {
    let key = format!("{key}-{}", uuid::Uuid::new_v4().simple());
    let tried = tried(objects, &key).await;
    // Whatever came out, nothing stays.
    let deleted = objects.delete(&key).await;
    tried.and(deleted)
}

async fn tried(objects: &BucketObjects, key: &str) -> Result<(), StoreError> {
    let write = async |guard| objects.put(key, b"shipit\n".to_vec(), guard).await;
    // A write whose answer was lost is in its own way when it is sent again. Nobody else knows the
    // key: what is there is this one's.
    let version = match write(Guard::Absent).await? {
        Written::As(version) => version,
        Written::Moved => match objects.get(key).await? {
            Some(found) => found.version,
            None => return Err(ignores("refuses a new object that says `If-None-Match: *`")),
        },
    };
    if write(Guard::Absent).await? != Written::Moved {
        return Err(ignores(
            "writes over an object although the request says `If-None-Match: *`",
        ));
    }
    if write(Guard::Is(NEVER)).await? != Written::Moved {
        return Err(ignores(
            "writes over an object although `If-Match` names another version",
        ));
    }
    let other = b"shipit was here\n".to_vec();
    if objects.put(key, other.clone(), Guard::Is(&version)).await? != Written::Moved {
        return Ok(());
    }
    match objects.get(key).await? {
        Some(found) if found.bytes == other => Ok(()),
        _ => Err(ignores(
            "refuses a write whose `If-Match` names the version that is there",
        )),
    }
}

fn ignores(what: &str) -> StoreError {
    StoreError::Remote {
        what: "trying the bucket before its first lock".to_owned(),
        reason: format!("the store {what}: two runs could hold the lock at once"),
        help: "use one with conditional writes (Amazon S3, MinIO, Ceph), or `state: {kind: \
               kubernetes}`"
            .to_owned(),
    }
}
