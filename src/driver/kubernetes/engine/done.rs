//! Jobs that were done. One with `ttlSecondsAfterFinished` is deleted by the cluster afterwards:
//! that it is not there any more is no reason to run it again.

use jiff::Timestamp;
use serde_json::Value;

use crate::driver::kubernetes::client::api::Api;
use crate::driver::kubernetes::engine::KubernetesEngine;
use crate::driver::kubernetes::engine::record::Record;
use crate::model::{ContentHash, Manifest, ObjectKey};
use crate::port::engine::{EngineError, Scope};

/// How many are remembered: names may have a release's number in them, and be new each time.
const KEPT: usize = 200;

/// A Job that was done.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Done {
    /// Of the manifest as it was sent: another manifest is another Job to do.
    pub hash: ContentHash,
    pub at: Timestamp,
}

/// Whether an object is a Job.
pub(super) fn is_job(key: &ObjectKey) -> bool {
    key.group() == "batch" && key.kind == "Job"
}

/// Whether an object is a Job that the cluster takes away when it is done.
fn goes(manifest: &Manifest) -> bool {
    let ttl = &manifest.body()["spec"]["ttlSecondsAfterFinished"];
    is_job(&manifest.key()) && ttl.is_u64()
}

impl Record {
    /// When this very Job was done; none when it was not, or when nothing deletes it.
    pub fn done_at(&self, key: &ObjectKey, body: &Value) -> Option<Timestamp> {
        let done = self.done.get(key)?;
        (done.hash == ContentHash::of_json(body)).then_some(done.at)
    }

    fn are_done(&mut self, jobs: &[&Manifest], now: Timestamp) {
        for job in jobs {
            if self.done_at(&job.key(), job.body()).is_none() {
                let hash = job.hash();
                self.done.insert(job.key(), Done { hash, at: now });
            }
        }
        while self.done.len() > KEPT {
            let oldest = self.done.iter().min_by_key(|(_, done)| done.at);
            let oldest = oldest.map(|(key, _)| key.clone());
            oldest.and_then(|key| self.done.remove(&key));
        }
    }
}

/// Writes down which of these objects are Jobs that were done and will not stay.
pub(super) async fn remember(
    engine: &KubernetesEngine,
    api: &Api,
    scope: &Scope,
    manifests: &[Manifest],
) -> Result<(), EngineError> {
    let jobs: Vec<&Manifest> = manifests.iter().filter(|manifest| goes(manifest)).collect();
    if jobs.is_empty() {
        return Ok(());
    }
    let now = Timestamp::now();
    let change = |record: &mut Record| record.are_done(&jobs, now);
    engine.note(api, scope, change).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn job(image: &str, ttl: &Value) -> Manifest {
        let body = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a", "namespace": "b"},
            "spec": {"ttlSecondsAfterFinished": ttl, "image": image}});
        Manifest::try_from(body).expect("a manifest")
    }

    #[test]
    fn a_job_is_done_until_its_manifest_is_another() {
        let (old, new) = (job("one", &json!(0)), job("two", &json!(0)));
        let mut record = Record::default();
        record.are_done(&[&old], Timestamp::UNIX_EPOCH);
        let at = |job: &Manifest| record.done_at(&job.key(), job.body());
        assert_eq!((at(&old), at(&new)), (Some(Timestamp::UNIX_EPOCH), None));
        assert!(goes(&old) && !goes(&job("one", &Value::Null)));
    }
}
