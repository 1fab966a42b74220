//! Custom resources: by the configuration's rule, else by the conditions that kstatus knows.

use serde_json::Value;

use super::{Ready, Rule, find, is_observed};

pub(super) fn by_rule(object: &Value, rule: &Rule) -> Ready {
    if object.pointer("/status/observedGeneration").is_some() && !is_observed(object) {
        return Ready::Not("the change was not seen yet".to_owned());
    }
    if let Some(name) = &rule.failed
        && let Some(("True", reason, message)) = find(object, name)
    {
        return Ready::Failed(format!("{name}: {reason} {message}").trim().to_owned());
    }

    if let Some(name) = &rule.condition
        && !matches!(find(object, name), Some(("True", ..)))
    {
        return Ready::Not(format!("{name} is not true"));
    }

    if let Some((path, value)) = &rule.field {
        let pointer = format!("/{}", path.replace('.', "/"));
        let found = object.pointer(&pointer);
        let text = found.map(|found| {
            found
                .as_str()
                .map_or_else(|| found.to_string(), str::to_owned)
        });
        if text.as_deref() != Some(value) {
            let found = text.unwrap_or_else(|| "not there".to_owned());
            return Ready::Not(format!("{path} is {found}, and {value} is waited for"));
        }
    }

    Ready::Yes
}

/// kstatus: `Stalled` has failed, `Reconciling` is under way, `Ready` says it itself; an object
/// that says none of them is ready once it is there.
pub(super) fn ready(object: &Value) -> Ready {
    if object.pointer("/status/observedGeneration").is_some() && !is_observed(object) {
        return Ready::Not("the change was not seen yet".to_owned());
    }

    if let Some(("True", reason, message)) = find(object, "Stalled") {
        return Ready::Failed(
            format!("it is stalled: {reason} {message}")
                .trim()
                .to_owned(),
        );
    }

    if let Some(("True", reason, _)) = find(object, "Reconciling") {
        return Ready::Not(format!("it is being reconciled: {reason}"));
    }

    for name in ["Ready", "Available"] {
        match find(object, name) {
            Some(("True", ..)) => return Ready::Yes,
            Some((_, reason, message)) => {
                return Ready::Not(
                    format!("{name} is not true: {reason} {message}")
                        .trim()
                        .to_owned(),
                );
            }
            None => {}
        }
    }

    Ready::Yes
}
