//! What the schema of its kind does not take of an object. The server names one field, or some of
//! them, and would name the next one only when these are mended: it is asked until it names none.

use serde_json::Value;

use super::fields::take_out;
use super::would_apply;
use crate::driver::kubernetes::client::api::{Api, ApiError};
use crate::driver::kubernetes::engine::Conflict;
use crate::driver::kubernetes::engine::openapi;
use crate::driver::kubernetes::engine::spelling::nearest;
use crate::model::Manifest;
use crate::model::object::ObjectFault;

/// How many fields of one object are told.
const MOST: usize = 20;
/// How the server begins.
const BEGINS: &str = "failed to create typed patch object";

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Unfit {
    path: String,
    why: Why,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Why {
    Unknown,
    /// What is needed instead.
    Needs(String),
    Other(String),
}

/// Everything that the schema does not take of a manifest, if that is what a refusal says. What
/// stands in a Secret is not told.
pub(in super::super) async fn schema_faults(
    api: &Api,
    policy: Conflict,
    manifest: &Manifest,
    fault: &ApiError,
) -> Vec<ObjectFault> {
    if manifest.kind() == "Secret" {
        return Vec::new();
    }

    let mut found = Vec::new();
    let mut body = manifest.body().clone();
    let mut unfit = parse(&fault.to_string());
    while found.len() < MOST {
        let taken = take_out_all(&mut body, std::mem::take(&mut unfit));
        if taken.is_empty() {
            break;
        }
        found.extend(taken);
        let Ok(asked) = Manifest::try_from(body.clone()) else {
            break;
        };
        if let Err(next) = would_apply(api, policy, &asked).await {
            unfit = parse(&next.to_string());
        }
    }

    let is_unknown = |(unfit, _): &(Unfit, Value)| unfit.why == Why::Unknown;
    let schema = if found.iter().any(is_unknown) {
        openapi::document(api, &manifest.key().api_version).await
    } else {
        None
    };
    let told = found
        .into_iter()
        .map(|(unfit, value)| tell(manifest, schema.as_ref(), &unfit, &value));
    told.collect()
}

/// Takes fields out of a manifest, each with what it was. The server names what stands in a list by
/// its number, and from the beginning: the last one goes first, and the numbers of the others stay.
fn take_out_all(body: &mut Value, unfit: Vec<Unfit>) -> Vec<(Unfit, Value)> {
    let taken = unfit.into_iter().rev();
    let taken = taken.filter_map(|one| {
        let value = take_out(body, &one.path)?;
        Some((one, value))
    });
    let mut found: Vec<(Unfit, Value)> = taken.collect();
    found.reverse();
    found
}

fn tell(manifest: &Manifest, schema: Option<&Value>, unfit: &Unfit, value: &Value) -> ObjectFault {
    let key = manifest.key();
    let (object, path) = (super::said(&key), unfit.path.trim_start_matches('.'));
    let (reason, help) = match &unfit.why {
        Why::Unknown => {
            let fields = schema.map(|schema| openapi::beside(schema, &key, &unfit.path));
            let name = path.rsplit(['.', ']']).next().unwrap_or_default();
            let fields = fields.unwrap_or_default();
            let meant = nearest(name, fields.iter().map(String::as_str));
            let help = meant.map(|meant| format!("did you mean `{meant}`?"));
            (
                format!("{object}: a {} has no field `{path}`", key.kind),
                help,
            )
        }
        Why::Needs(what) => {
            let is_plain = value.is_boolean() || value.is_number();
            let help = (what == "string" && is_plain).then(|| {
                format!(
                    "put it in quotes, `\"{value}\"`: without them YAML reads a number, or true and \
                     false (`yes`, `no`, `on`, `off`, `y` and `n` as well)"
                )
            });
            let short: String = value.to_string().chars().take(60).collect();
            (
                format!("{object}: `{path}` is {short}, and a {what} is needed"),
                help,
            )
        }
        Why::Other(why) => (format!("{object}: `{path}`: {why}"), None),
    };
    ObjectFault {
        reason,
        field: Some(unfit.path.clone()),
        help,
    }
}

/// The fields that the server names; none when it says something else.
fn parse(message: &str) -> Vec<Unfit> {
    let Some((_, rest)) = message.split_once(BEGINS) else {
        return Vec::new();
    };
    let Some((_, rest)) = rest.split_once("): ") else {
        return Vec::new();
    };
    let lines = rest.lines().map(str::trim);
    lines.filter_map(one).collect()
}

fn one(line: &str) -> Option<Unfit> {
    let (path, why) = line.split_once(": ")?;
    if !path.starts_with('.') {
        return None;
    }
    let needs = why
        .strip_prefix("expected ")
        .and_then(|why| why.split_once(", got "));
    let why = match needs {
        _ if why == "field not declared in schema" => Why::Unknown,
        Some((needed, _)) => Why::Needs(needed.to_owned()),
        None => Why::Other(why.to_owned()),
    };
    Some(Unfit {
        path: path.to_owned(),
        why,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment() -> Manifest {
        let body = json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "shop"}});
        Manifest::try_from(body).expect("a manifest")
    }

    #[test]
    fn what_stands_in_one_list_is_told_with_its_own_value() {
        let mut body = json!({"spec": {"args": [1, true, "x"], "paused": "yes"}});
        let unfit = [
            ".spec.args[0]",
            ".spec.args[1]",
            ".spec.paused",
            ".spec.none",
        ];
        let unfit = unfit.map(|path| Unfit {
            path: path.to_owned(),
            why: Why::Unknown,
        });
        let taken = take_out_all(&mut body, unfit.into());
        let taken = taken.iter().map(|(one, value)| (one.path.as_str(), value));
        assert_eq!(
            taken.collect::<Vec<_>>(),
            [
                (".spec.args[0]", &json!(1)),
                (".spec.args[1]", &json!(true)),
                (".spec.paused", &json!("yes")),
            ]
        );
        assert_eq!(body, json!({"spec": {"args": ["x"]}}));
    }

    #[test]
    fn one_field_or_several_are_read_from_what_the_server_says() {
        let said = |rest: &str| {
            let object = "(shop/web; apps/v1, Kind=Deployment)";
            parse(&format!(
                "failed to create typed patch object {object}: {rest}"
            ))
        };
        let unfit = |path: &str, why| Unfit {
            path: path.to_owned(),
            why,
        };
        let unknown = said(".spec.replica: field not declared in schema");
        assert_eq!(unknown, [unfit(".spec.replica", Why::Unknown)]);
        let several = "errors:\n  .metadata.annotations.a: expected string, got \
            &value.valueUnstructured{Value:true}\n  .spec.b: element 0: bad";
        assert_eq!(
            said(several),
            [
                unfit(".metadata.annotations.a", Why::Needs("string".to_owned())),
                unfit(".spec.b", Why::Other("element 0: bad".to_owned())),
            ]
        );
        assert_eq!(parse("admission webhook denied: .spec.a: no"), []);
    }

    #[test]
    fn a_boolean_where_a_text_is_needed_wants_quotes() {
        let unfit = Unfit {
            path: ".metadata.annotations.a".to_owned(),
            why: Why::Needs("string".to_owned()),
        };
        let fault = tell(&deployment(), None, &unfit, &json!(true));
        assert_eq!(
            fault.reason,
            "Deployment/web in shop: `metadata.annotations.a` is true, and a string is needed"
        );
        assert_eq!(fault.field.as_deref(), Some(".metadata.annotations.a"));
        assert!(fault.help.is_some_and(|help| help.contains("`\"true\"`")));
        let list = tell(&deployment(), None, &unfit, &json!(["a"]));
        assert_eq!(list.help, None);
    }

    #[test]
    fn a_field_that_is_not_there_is_told_with_the_nearest_that_is() {
        let schema = json!({"components": {"schemas": {"D": {
            "x-kubernetes-group-version-kind": [{"group": "apps", "version": "v1", "kind": "Deployment"}],
            "properties": {"spec": {"properties": {"replicas": {}, "selector": {}}}},
        }}}});
        let unfit = Unfit {
            path: ".spec.replica".to_owned(),
            why: Why::Unknown,
        };
        let fault = tell(&deployment(), Some(&schema), &unfit, &json!(2));
        assert_eq!(
            fault.reason,
            "Deployment/web in shop: a Deployment has no field `spec.replica`"
        );
        assert_eq!(fault.help.as_deref(), Some("did you mean `replicas`?"));
        assert_eq!(tell(&deployment(), None, &unfit, &json!(2)).help, None);
    }
}
