//! One object on its way to the server: applied under the rule for other managers' fields, asked
//! about by a dry run, or deleted until it is gone.

mod decide;
mod delete;
mod fields;
mod replacement;
mod schema;

pub(super) use decide::{Decision, decide, left_to_others};
pub(super) use delete::{delete, delete_own, make_room, refuse_protected};
use replacement::cause_fields;
pub(super) use replacement::replacement;

use http::StatusCode;
use serde_json::Value;

use self::fields::{fields, is_conflict, leave_out};
use self::schema::schema_faults;
use crate::driver::kubernetes::client::api::{Api, ApiError, How};
use crate::driver::kubernetes::engine::Conflict;
use crate::model::object::{ObjectFault, SECRET};
use crate::model::{Manifest, ObjectKey};
use crate::port::engine::EngineError;

/// How often fields are left to others before that is given up: each answer names all that
/// conflict.
const LEAVINGS: usize = 4;

/// Applies an object. `version`: the resource version that it must still have.
pub(super) async fn apply(
    api: &Api,
    policy: Conflict,
    manifest: &Manifest,
    version: Option<&str>,
) -> Result<Value, ApiError> {
    let mut body = manifest.body().clone();
    if let Some(version) = version {
        body["metadata"]["resourceVersion"] = version.into();
    }
    let how = How {
        dry_run: false,
        force: policy == Conflict::TakeOver,
    };
    settle(api, policy, body, how).await
}

/// Asks what applying an object would make of it.
pub(super) async fn would_apply(
    api: &Api,
    policy: Conflict,
    manifest: &Manifest,
) -> Result<Value, ApiError> {
    let how = How {
        dry_run: true,
        force: policy == Conflict::TakeOver,
    };
    settle(api, policy, manifest.body().clone(), how).await
}

/// Sends an object until its fields are ours, or left to others where that is the rule.
async fn settle(api: &Api, policy: Conflict, mut body: Value, how: How) -> Result<Value, ApiError> {
    for _ in 0..LEAVINGS {
        match api.apply(&body, how).await {
            Err(fault) if policy == Conflict::Leave && is_conflict(&fault) => {
                if !leave_out(&mut body, &fields(&fault)) {
                    return Err(fault);
                }
            }
            other => return other,
        }
    }
    Err(ApiError::Malformed(
        "fields of other managers conflict again and again".to_owned(),
    ))
}

/// Why the server did not take an object, in words. What it says about a Secret may quote it.
pub(super) fn refused(key: &ObjectKey, fault: ApiError) -> EngineError {
    let what = format!("applying {}", said(key));
    if is_conflict(&fault) {
        let found: Vec<String> = fields(&fault)
            .into_iter()
            .map(|(path, manager)| format!("{path} belongs to {manager}"))
            .collect();
        return conflict(&what, &found);
    }
    if key.kind == "Secret"
        && let ApiError::Refused(status) = &fault
    {
        let mut status = status.clone();
        let fields = cause_fields(&status);
        let fields = if fields.is_empty() {
            String::new()
        } else {
            format!(": {}", fields.join(", "))
        };
        status.message = format!(
            "the server refused it: {} ({}){fields}",
            status.reason, status.code
        );
        return ApiError::Refused(status).while_(what);
    }
    fault.while_(what)
}

/// Why the server would not take an object, one by one. What a rule of the cluster forbids is said
/// with what to do about it.
pub(super) async fn refusals(
    api: &Api,
    policy: Conflict,
    manifest: &Manifest,
    fault: ApiError,
) -> Vec<ObjectFault> {
    let faults = schema_faults(api, policy, manifest, &fault).await;
    if !faults.is_empty() {
        return faults;
    }
    let is_forbidden = fault.is(StatusCode::FORBIDDEN);
    let fault = match refused(&manifest.key(), fault) {
        EngineError::Refused { reason, help } if is_forbidden => ObjectFault {
            help: Some(help),
            ..ObjectFault::plain(reason)
        },
        other => ObjectFault::plain(other.to_string()),
    };
    vec![fault]
}

/// A conflict, with what can be done about it.
pub(super) fn conflict(what: &str, fields: &[String]) -> EngineError {
    EngineError::Refused {
        reason: format!("{what}: {}", fields.join(", ")),
        help: "`cluster: {conflicts: take_over}` makes these fields shipit's, `conflicts: leave` \
               leaves them to the other; or stop the other from changing them"
            .to_owned(),
    }
}

/// A key for people: kind, name and where.
pub(super) fn said(key: &ObjectKey) -> String {
    match &key.namespace {
        Some(namespace) => format!("{} in {namespace}", key.short()),
        None => key.short(),
    }
}

/// Whether a value of a Secret is still a reference, and must not be sent.
pub(super) fn is_unfilled(manifest: &Manifest) -> bool {
    manifest.kind() == "Secret"
        && manifest.body()["data"].as_object().is_some_and(|data| {
            data.values()
                .any(|value| value.as_str().is_some_and(|text| text.starts_with(SECRET)))
        })
}
