//! What a definition takes from the objects that are there when it is changed in place. A field
//! that its schema has no more is cut out of them at their next write, and out of every answer
//! before.

use serde_json::Value;

/// The versions and fields that a definition has no more.
pub(super) fn lost(live: &Value, after: &Value) -> Vec<String> {
    let mut lost = Vec::new();
    for version in served(live) {
        let name = version["name"].as_str().unwrap_or_default();
        let Some(next) = served(after).find(|next| next["name"] == version["name"]) else {
            lost.push(format!("version {name}"));
            continue;
        };
        let schema = |of: &Value| of["schema"]["openAPIV3Schema"].clone();
        let mut fields = Vec::new();
        fields_lost("", &schema(version), &schema(next), &mut fields);
        lost.extend(fields.iter().map(|field| format!("{field} ({name})")));
    }
    if live["spec"]["preserveUnknownFields"] == true
        && after["spec"]["preserveUnknownFields"] != true
    {
        lost.push("every field that no schema has".to_owned());
    }
    lost
}

fn served(definition: &Value) -> impl Iterator<Item = &Value> {
    let versions = definition["spec"]["versions"].as_array();
    let versions = versions.into_iter().flatten();
    versions.filter(|version| version["served"] == true)
}

/// The fields of one schema that another does not have. A schema says of what is below a field by
/// its properties, of a list's items and of any key of a map by one for all.
fn fields_lost(path: &str, live: &Value, after: &Value, lost: &mut Vec<String>) {
    const UNKNOWN: &str = "x-kubernetes-preserve-unknown-fields";
    if after[UNKNOWN] == true {
        return;
    }
    let below = |name: &str| {
        if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path}.{name}")
        }
    };
    if live[UNKNOWN] == true {
        lost.push(format!("{} that no schema has", below("every field")));
    }
    for (name, schema) in live["properties"].as_object().into_iter().flatten() {
        // The server keeps these three whatever a schema says.
        if path.is_empty() && matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
            continue;
        }
        match after["properties"].get(name) {
            Some(next) => fields_lost(&below(name), schema, next, lost),
            None if after["additionalProperties"].is_object() => {}
            None => lost.push(format!("field {}", below(name))),
        }
    }
    for (inner, mark) in [("items", "[]"), ("additionalProperties", "*")] {
        if !live[inner].is_object() {
            continue;
        }
        if after[inner].is_object() {
            fields_lost(&format!("{path}{mark}"), &live[inner], &after[inner], lost);
        } else if inner == "additionalProperties" && after[inner] != true {
            lost.push(format!("field {}", below("*")));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn definition(served: bool, spec: &Value) -> Value {
        json!({"spec": {"versions": [{"name": "v1", "served": served, "storage": true,
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}}]}})
    }

    #[test]
    fn a_field_and_a_version_that_go_are_told() {
        let spec = |names: &[&str]| {
            let fields: serde_json::Map<String, Value> = names
                .iter()
                .map(|name| ((*name).to_owned(), json!({"type": "string"})))
                .collect();
            json!({"type": "object", "properties": fields})
        };
        let live = definition(true, &spec(&["color", "size"]));
        assert_eq!(lost(&live, &live), [""; 0]);
        let fewer = definition(true, &spec(&["size"]));
        assert_eq!(lost(&live, &fewer), ["field spec.color (v1)"]);
        assert_eq!(lost(&fewer, &live), [""; 0], "more takes nothing");
        let unserved = definition(false, &spec(&["color", "size"]));
        assert_eq!(lost(&live, &unserved), ["version v1"]);
        let open = definition(
            true,
            &json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
        );
        assert_eq!(lost(&live, &open), [""; 0]);
        assert!(lost(&open, &live)[0].contains("spec.every field that no schema has"));

        let list =
            |inner: &Value| definition(true, &json!({"properties": {"all": {"items": inner}}}));
        let told = lost(&list(&spec(&["a", "b"])), &list(&spec(&["a"])));
        assert_eq!(told, ["field spec.all[].b (v1)"]);
    }
}
