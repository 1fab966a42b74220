//! Objects as no server should send them: every function that reads one gives an answer, and never
//! falls over.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use crate::driver::kubernetes::engine::holds::defined;
use crate::driver::kubernetes::engine::list::key_of;
use crate::driver::kubernetes::engine::ready::{self, Rule, ready};
use crate::driver::kubernetes::engine::{compare, owner};

#[cfg(test)]
mod tests;

/// The bytes of one, beside one that says nothing.
#[cfg(any(test, fuzzing))]
pub(crate) fn bytes(bytes: &[u8]) {
    let Ok(object) = serde_json::from_slice::<Value>(bytes) else {
        return;
    };
    let other = serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"}});
    read(&object, &other);
    read(&other, &object);
    read(&object, &object);
}

/// Two objects, by every function that reads one.
fn read(object: &Value, other: &Value) {
    let rule = Rule {
        condition: Some("Ready".to_owned()),
        field: Some(("status.phase".to_owned(), "Bound".to_owned())),
        failed: Some("Failed".to_owned()),
    };
    let rules = BTreeMap::from([("example.org/Widget".to_owned(), rule)]);
    let _ = ready(object, &rules);
    let _ = ready(object, &BTreeMap::new());
    let _ = ready::trouble(object, Timestamp::UNIX_EPOCH);
    let _ = ready::instance(0, object);

    let _ = key_of(object);
    let _ = defined(object);
    let _ = owner::is_ours(object);
    let _ = owner::belongs_to(object, "set");
    let _ = owner::manager(object);

    let _ = compare::compare(other, object);
    let _ = compare::changes(other, object, object);
    let _ = compare::applied(object);
    let _ = compare::is_unchanged(object, other);
}
