//! A route of the Gateway API: every gateway that it names has accepted it, and found its backends.

use serde_json::Value;

use super::Ready;

pub(super) fn ready(object: &Value) -> Ready {
    let parents = object.pointer("/status/parents").and_then(Value::as_array);
    let Some(parents) = parents.filter(|parents| !parents.is_empty()) else {
        return Ready::Not("no gateway has taken it yet".to_owned());
    };
    let generation = object
        .pointer("/metadata/generation")
        .and_then(Value::as_i64)
        .unwrap_or(0);
    for parent in parents {
        for condition in parent["conditions"].as_array().into_iter().flatten() {
            let (kind, status) = (
                condition["type"].as_str().unwrap_or_default(),
                condition["status"].as_str(),
            );
            if !matches!(kind, "Accepted" | "ResolvedRefs") {
                continue;
            }
            if condition["observedGeneration"]
                .as_i64()
                .is_some_and(|seen| seen < generation)
            {
                return Ready::Not("the change was not seen yet".to_owned());
            }
            if status != Some("True") {
                let text = |name: &str| condition[name].as_str().unwrap_or_default();
                return Ready::Not(format!(
                    "{kind} is not true: {} {}",
                    text("reason"),
                    text("message")
                ));
            }
        }
    }

    Ready::Yes
}
