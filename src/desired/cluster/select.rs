//! The selectors of a slot's objects, narrowed to the slot: two slots in one namespace carry the
//! same labels of the user's own, and a selector by these alone takes in both.

use serde_json::{Value, json};

use crate::model::object::mark::SLOT;
use crate::model::{Manifest, Slot};

/// How a selector is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `matchLabels` and `matchExpressions`.
    Selector,
    /// Labels and their values.
    Labels,
    /// Calico's `a == 'b' && has(c)`.
    Expression,
}

/// Narrows every selector that decides about the slot's own pods or Services. What says nothing
/// about them, such as the peers of a `NetworkPolicy` or the database that a pod wants to be near,
/// stays as it is.
pub(super) fn narrow(slot: Slot, objects: &mut [Manifest]) {
    let known: Vec<Value> = objects.iter_mut().flat_map(labels).collect();
    for object in objects {
        let subjects = subjects(object);
        object.edit(|body| {
            for (path, form) in subjects {
                if let Some(selector) = body.pointer_mut(path) {
                    add(selector, form, slot);
                }
            }
            for name in ["spec", "specs", "template"] {
                if let Some(part) = body.get_mut(name) {
                    walk(part, &known, slot);
                }
            }
        });
    }
}

/// The labels by which others find an object, or the pods that it makes.
fn labels(object: &mut Manifest) -> Vec<Value> {
    let is_found = matches!(object.kind(), "Pod" | "Service");
    let own = is_found.then(|| object.body()["metadata"]["labels"].clone());
    let made = object
        .pod_template()
        .map(|template| template["metadata"]["labels"].clone());
    own.into_iter().chain(made).collect()
}

/// Where an object says which pods or Services it is about, whatever labels it names.
fn subjects(object: &Manifest) -> Vec<(&'static str, Form)> {
    let key = object.key();
    let one: &[(&str, Form)] = match (key.group(), key.kind.as_str()) {
        ("policy", "PodDisruptionBudget")
        | ("monitoring.coreos.com", "ServiceMonitor" | "PodMonitor") => {
            &[("/spec/selector", Form::Selector)]
        }
        ("batch", "Job") if object.body()["spec"]["manualSelector"] == true => {
            &[("/spec/selector", Form::Selector)]
        }
        ("", "Service" | "ReplicationController") => &[("/spec/selector", Form::Labels)],
        ("networking.k8s.io", "NetworkPolicy") => &[("/spec/podSelector", Form::Selector)],
        ("cilium.io", "CiliumNetworkPolicy") => &[("/spec/endpointSelector", Form::Selector)],
        ("projectcalico.org" | "crd.projectcalico.org", "NetworkPolicy") => {
            &[("/spec/selector", Form::Expression)]
        }
        _ => &[],
    };
    one.to_vec()
}

/// Goes through an object for selectors that take in the slot's own.
fn walk(value: &mut Value, known: &[Value], slot: Slot) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| walk(item, known, slot)),
        Value::Object(map) => {
            for (name, inner) in map {
                if selects_others(name) {
                    continue;
                }
                let takes_in = |labels| matches(inner, labels);
                if is_selector(name, inner) && known.iter().any(takes_in) {
                    add(inner, Form::Selector, slot);
                } else {
                    walk(inner, known, slot);
                }
            }
        }
        _ => {}
    }
}

/// Selectors of namespaces, nodes, volumes and metrics: none of these belongs to a slot.
fn selects_others(name: &str) -> bool {
    matches!(
        name,
        "namespaceSelector" | "nodeSelector" | "volumeClaimTemplates" | "metrics"
    )
}

fn is_selector(name: &str, value: &Value) -> bool {
    let is_named = name == "selector" || name.ends_with("Selector");
    let has = |part: &str| value.get(part).is_some();
    is_named && (has("matchLabels") || has("matchExpressions"))
}

/// Whether a selector takes in what has these labels.
fn matches(selector: &Value, labels: &Value) -> bool {
    let wanted = selector["matchLabels"].as_object();
    let mut wanted = wanted.into_iter().flatten();
    let rules = selector["matchExpressions"].as_array();
    let mut rules = rules.into_iter().flatten();
    wanted.all(|(name, value)| name == SLOT || labels.get(name) == Some(value))
        && rules.all(|rule| holds(rule, labels))
}

fn holds(rule: &Value, labels: &Value) -> bool {
    let label = rule["key"].as_str().and_then(|key| labels.get(key));
    let values = rule["values"].as_array();
    let is_in = label.is_some_and(|label| values.is_some_and(|values| values.contains(label)));
    match rule["operator"].as_str() {
        Some("In") => is_in,
        Some("NotIn") => !is_in,
        Some("Exists") => label.is_some(),
        Some("DoesNotExist") => label.is_none(),
        _ => false,
    }
}

/// Adds the slot to a selector; what else it demands stays. One that selects nothing goes on doing
/// so.
fn add(selector: &mut Value, form: Form, slot: Slot) {
    match (form, selector) {
        (Form::Selector, Value::Object(map)) => {
            let labels = map.entry("matchLabels").or_insert_with(|| json!({}));
            if labels.is_null() {
                *labels = json!({});
            }
            if let Some(labels) = labels.as_object_mut() {
                labels.insert(SLOT.to_owned(), slot.as_str().into());
            }
        }
        (Form::Labels, Value::Object(map)) if !map.is_empty() => {
            map.insert(SLOT.to_owned(), slot.as_str().into());
        }
        (Form::Expression, Value::String(text)) => {
            let own = format!("{SLOT} == '{slot}'");
            *text = match text.trim() {
                "" | "all()" => own,
                other => format!("({other}) && {own}"),
            };
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(body: Value) -> Manifest {
        Manifest::try_from(body).expect("a manifest")
    }

    fn object(group: &str, kind: &str, spec: &Value) -> Manifest {
        manifest(
            json!({"apiVersion": group, "kind": kind, "metadata": {"name": "a"}, "spec": spec}),
        )
    }

    fn narrowed(others: Vec<Manifest>) -> Vec<Value> {
        let labels = json!({"app": "web", SLOT: "blue"});
        let spec = json!({"template": {"metadata": {"labels": labels}}});
        let mut objects = vec![object("apps/v1", "Deployment", &spec)];
        objects.extend(others);
        narrow(Slot::Blue, &mut objects);
        objects.into_iter().skip(1).map(Value::from).collect()
    }

    #[test]
    fn every_kind_that_selects_pods_selects_the_slots_own() {
        let rules = json!([{"key": "app", "operator": "In", "values": ["web", "other"]}]);
        for (group, kind, field) in [
            ("policy/v1", "PodDisruptionBudget", "selector"),
            ("networking.k8s.io/v1", "NetworkPolicy", "podSelector"),
            ("monitoring.coreos.com/v1", "ServiceMonitor", "selector"),
            ("monitoring.coreos.com/v1", "PodMonitor", "selector"),
            ("cilium.io/v2", "CiliumNetworkPolicy", "endpointSelector"),
            ("security.istio.io/v1", "AuthorizationPolicy", "selector"),
            ("example.com/v1", "Anything", "workloadSelector"),
        ] {
            let selector = json!({"matchLabels": {"app": "web"}, "matchExpressions": rules});
            let all = narrowed(vec![object(group, kind, &json!({field: selector}))]);
            let found = &all[0]["spec"][field];
            assert_eq!(
                found["matchLabels"],
                json!({"app": "web", SLOT: "blue"}),
                "{kind}"
            );
            assert_eq!(found["matchExpressions"], rules, "{kind}");
        }
        let all = narrowed(vec![
            object("v1", "Service", &json!({"selector": {"app": "web"}})),
            object(
                "networking.k8s.io/v1",
                "NetworkPolicy",
                &json!({"podSelector": {}}),
            ),
            object(
                "projectcalico.org/v3",
                "NetworkPolicy",
                &json!({"selector": "app == 'web'"}),
            ),
        ]);
        let text = |value: &Value| value["spec"].to_string();
        assert_eq!(
            all[0]["spec"]["selector"],
            json!({"app": "web", SLOT: "blue"})
        );
        assert_eq!(
            all[1]["spec"]["podSelector"],
            json!({"matchLabels": {SLOT: "blue"}})
        );
        assert!(
            text(&all[2]).contains("(app == 'web') && shipit.dev/slot == 'blue'"),
            "{}",
            text(&all[2])
        );
    }

    #[test]
    fn a_selector_of_something_else_stays_as_it_is() {
        let mut spec = json!({
            "podSelector": {"matchLabels": {"app": "web"}},
            "ingress": [{"from": [
                {"podSelector": {"matchLabels": {"app": "web"}}},
                {"podSelector": {"matchLabels": {"app": "proxy"}}},
                {"podSelector": {}},
                {"namespaceSelector": {"matchLabels": {"app": "web"}}},
            ]}],
        });
        let all = narrowed(vec![object("networking.k8s.io/v1", "NetworkPolicy", &spec)]);
        for path in ["/podSelector", "/ingress/0/from/0/podSelector"] {
            spec.pointer_mut(path).expect(path)["matchLabels"][SLOT] = "blue".into();
        }
        assert_eq!(all[0]["spec"], spec);
        // A Service without a selector has endpoints that somebody else writes.
        let none = object("v1", "Service", &json!({"ports": [{"port": 1}]}));
        assert_eq!(narrowed(vec![none.clone()]), [Value::from(none)]);
    }

    #[test]
    fn pods_spread_among_their_own_and_keep_to_what_they_want_to_be_near() {
        let near =
            |app: &str| json!({"topologyKey": "t", "labelSelector": {"matchLabels": {"app": app}}});
        let pod = json!({
            "topologySpreadConstraints": [near("web")],
            "affinity": {
                "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution":
                    [{"weight": 1, "podAffinityTerm": near("web")}]},
                "podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [near("db")]},
            },
            "nodeSelector": {"app": "web"},
        });
        let spec = json!({"template": {"spec": pod}});
        let all = narrowed(vec![object("apps/v1", "Deployment", &spec)]);
        let mut wanted = pod;
        for path in [
            "/topologySpreadConstraints/0",
            "/affinity/podAntiAffinity/preferredDuringSchedulingIgnoredDuringExecution/0/podAffinityTerm",
        ] {
            wanted.pointer_mut(path).expect(path)["labelSelector"]["matchLabels"][SLOT] =
                "blue".into();
        }
        assert_eq!(all[0]["spec"]["template"]["spec"], wanted);
    }
}
