//! The fields of a kind, as the server describes them: asked for when a field is not one of them.

use http::Method;
use serde_json::Value;

use crate::driver::kubernetes::client::api::{Api, encode};
use crate::model::ObjectKey;

/// How many references are followed from one field.
const REFERENCES: usize = 8;

/// What the server says of a version of an API; none when it does not say it.
pub(super) async fn document(api: &Api, api_version: &str) -> Option<Value> {
    let path = match api_version.split_once('/') {
        Some((group, version)) => {
            format!("/openapi/v3/apis/{}/{}", encode(group), encode(version))
        }
        None => format!("/openapi/v3/api/{}", encode(api_version)),
    };
    api.call(Method::GET, &path, None).await.ok()
}

/// The names of the fields that may stand where a path ends, the path as the server writes it.
pub(super) fn beside(document: &Value, key: &ObjectKey, path: &str) -> Vec<String> {
    let Some(mut at) = schema(document, key) else {
        return Vec::new();
    };
    let names = names(path);
    let Some((_, above)) = names.split_last() else {
        return Vec::new();
    };
    for name in above {
        at = plain(document, at);
        at = match name {
            Name::Field(name) => match at["properties"].get(*name) {
                Some(below) => below,
                None => &at["additionalProperties"],
            },
            Name::Item => &at["items"],
        };
    }

    let fields = plain(document, at)["properties"].as_object();
    fields
        .into_iter()
        .flat_map(|map| map.keys().cloned())
        .collect()
}

/// A step of a path.
#[derive(Debug, PartialEq, Eq)]
enum Name<'a> {
    Field(&'a str),
    Item,
}

/// The steps of a path: `.spec.containers[name="web"].image`.
fn names(path: &str) -> Vec<Name<'_>> {
    let mut names = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(inside) = rest.strip_prefix('[') {
            let Some((_, below)) = inside.split_once(']') else {
                break;
            };
            names.push(Name::Item);
            rest = below;
            continue;
        }
        rest = rest.strip_prefix('.').unwrap_or(rest);
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        let (name, below) = rest.split_at(end);
        names.push(Name::Field(name));
        rest = below;
    }
    names
}

/// The schema of a kind.
fn schema<'a>(document: &'a Value, key: &ObjectKey) -> Option<&'a Value> {
    let (group, version) = key
        .api_version
        .split_once('/')
        .unwrap_or(("", &key.api_version));
    let is_kind = |one: &Value| {
        one["group"] == group && one["version"] == version && one["kind"] == key.kind.as_str()
    };
    let schemas = document["components"]["schemas"].as_object()?;
    schemas.values().find(|schema| {
        let kinds = schema["x-kubernetes-group-version-kind"].as_array();
        kinds.into_iter().flatten().any(is_kind)
    })
}

/// A schema itself, where another is referred to.
fn plain<'a>(document: &'a Value, mut at: &'a Value) -> &'a Value {
    for _ in 0..REFERENCES {
        let direct = at["$ref"].as_str();
        let Some(name) = direct.or_else(|| at["allOf"][0]["$ref"].as_str()) else {
            break;
        };
        let name = name.rsplit('/').next().unwrap_or_default();
        at = &document["components"]["schemas"][name];
    }
    at
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_fields_beside_one_are_found_through_references_and_lists() {
        let document = json!({"components": {"schemas": {
            "Pod": {
                "x-kubernetes-group-version-kind": [{"group": "", "version": "v1", "kind": "Pod"}],
                "properties": {"spec": {"allOf": [{"$ref": "#/components/schemas/Spec"}]}},
            },
            "Spec": {"properties": {"containers": {
                "items": {"allOf": [{"$ref": "#/components/schemas/Container"}]},
            }}},
            "Container": {"properties": {"image": {}, "imagePullPolicy": {}}},
            "Loop": {"$ref": "#/components/schemas/Loop"},
        }}});
        let key: ObjectKey = "v1/Pod/shop/a".parse().expect("a key");
        let found = |path: &str| beside(&document, &key, path);
        let path = ".spec.containers[name=\"web\"].imagePullPolice";
        assert_eq!(found(path), ["image", "imagePullPolicy"]);
        assert_eq!(found(".spce"), ["spec"]);
        assert_eq!(found(".metadata.x"), Vec::<String>::new());
        assert_eq!(found(""), Vec::<String>::new());
        let looped = &document["components"]["schemas"]["Loop"];
        assert_eq!(plain(&document, looped), looped);
    }
}
