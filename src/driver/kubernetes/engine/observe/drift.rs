//! What is not as it was applied.

use futures_util::future::try_join_all;
use http::StatusCode;

use crate::driver::kubernetes::client::api::{Api, ApiError};
use crate::driver::kubernetes::engine::Conflict;
use crate::driver::kubernetes::engine::apply::{Decision, decide};
use crate::driver::kubernetes::engine::autoscale::Pods;
use crate::driver::kubernetes::engine::compare::{Comparison as Compared, compare};
use crate::driver::kubernetes::engine::list::ObjectsFound;
use crate::model::object::Drift;
use crate::model::plan::Change;
use crate::model::{Manifest, ObjectKey};

/// What is not as it was applied.
pub(in super::super) async fn drift(
    api: &Api,
    policy: Conflict,
    manifests: &[Manifest],
    found: &ObjectsFound,
    pods: Pods,
) -> Result<Vec<Drift>, ApiError> {
    let all = manifests
        .iter()
        .map(|manifest| of_object(api, policy, manifest, found, pods));
    Ok(try_join_all(all).await?.into_iter().flatten().collect())
}

async fn of_object(
    api: &Api,
    policy: Conflict,
    manifest: &Manifest,
    found: &ObjectsFound,
    pods: Pods,
) -> Result<Option<Drift>, ApiError> {
    let key = manifest.key();
    let Some(item) = found.known.get(&key) else {
        return Ok(Some(gone(key)));
    };
    let Some(live) = &item.live else {
        return Ok(None);
    };
    if live["metadata"].get("deletionTimestamp").is_some() {
        return Ok(Some(gone(key)));
    }
    let manifest = found.scalers.leave(manifest, live, pods);
    if compare(manifest.body(), live) == Compared::Same {
        return Ok(None);
    }

    let (changes, conflicts) = match decide(api, policy, manifest.body(), live).await {
        Ok(Decision::Same) => return Ok(None),
        Ok(Decision::Differs { changes, conflicts }) => (changes, conflicts),
        Ok(Decision::Replace(reason)) => (vec![replaced(reason)], Vec::new()),
        // It went away between the two looks.
        Err(fault) if fault.is(StatusCode::NOT_FOUND) => return Ok(Some(gone(key))),
        Err(fault) => return Err(fault),
    };
    Ok(Some(Drift {
        key,
        missing: false,
        changes,
        conflicts,
    }))
}

fn gone(key: ObjectKey) -> Drift {
    Drift {
        key,
        missing: true,
        changes: Vec::new(),
        conflicts: Vec::new(),
    }
}

fn replaced(reason: String) -> Change {
    Change {
        field: "(replaced)".to_owned(),
        before: None,
        after: None,
        origin: Some(reason),
        by: None,
    }
}
