//! Entries that a server tells apart by some fields, and that would be there twice. It refuses them
//! with words of its own; here the place is known.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::desired::DesiredError;
use crate::model::Manifest;

/// A list whose entries the server tells apart.
struct Keyed {
    list: &'static str,
    /// The fields that name an entry, each with what it is where it is left out.
    by: &'static [(&'static str, &'static str)],
}

const fn keyed(list: &'static str, by: &'static [(&'static str, &'static str)]) -> Keyed {
    Keyed { list, by }
}

const NAME: &[(&str, &str)] = &[("name", "")];

/// The lists of a pod.
const OF_POD: [Keyed; 8] = [
    keyed("volumes", NAME),
    keyed("initContainers", NAME),
    keyed("containers", NAME),
    keyed("imagePullSecrets", NAME),
    keyed("hostAliases", &[("ip", "")]),
    keyed(
        "topologySpreadConstraints",
        &[("topologyKey", ""), ("whenUnsatisfiable", "")],
    ),
    keyed("resourceClaims", NAME),
    keyed("schedulingGates", NAME),
];

/// The lists of a container.
const OF_CONTAINER: [Keyed; 5] = [
    keyed("env", NAME),
    keyed("volumeMounts", &[("mountPath", "")]),
    keyed("ports", &[("containerPort", ""), ("protocol", "TCP")]),
    keyed("volumeDevices", &[("devicePath", "")]),
    keyed("resources/claims", NAME),
];

/// The lists of other kinds, by where they are.
const OF_KIND: [(&str, Keyed); 5] = [
    (
        "Service",
        keyed("spec/ports", &[("port", ""), ("protocol", "TCP")]),
    ),
    ("ServiceAccount", keyed("secrets", NAME)),
    ("Gateway", keyed("spec/listeners", NAME)),
    ("ValidatingWebhookConfiguration", keyed("webhooks", NAME)),
    ("MutatingWebhookConfiguration", keyed("webhooks", NAME)),
];

/// Refuses a manifest that has something twice.
pub(super) fn refuse(place: &str, manifest: &Manifest) -> Result<(), DesiredError> {
    let short = manifest.key().short();
    let Some((list, name)) = first_twice(manifest) else {
        return Ok(());
    };
    Err(DesiredError::new(
        format!("{place}: {short}: {list} has `{name}` twice"),
        "keep one of them: the server takes no list with two entries of one name",
    ))
}

/// The first list with two entries of one name, in words, and the name.
fn first_twice(manifest: &Manifest) -> Option<(String, String)> {
    let body = manifest.body();
    let in_words = |keyed: &Keyed| format!("`{}`", keyed.list.replace('/', "."));
    for (_, keyed) in OF_KIND.iter().filter(|(kind, _)| *kind == manifest.kind()) {
        if let Some(name) = twice(body, keyed) {
            return Some((in_words(keyed), name));
        }
    }
    if let Some(name) = set_twice(&body["metadata"]["finalizers"]) {
        return Some(("`metadata.finalizers`".to_owned(), name));
    }

    let mut manifest = manifest.clone();
    let spec = match manifest.kind() {
        "Pod" => manifest.body()["spec"].clone(),
        _ => manifest.pod_template()?["spec"].clone(),
    };
    let of_pod = OF_POD.iter();
    let mut of_pod = of_pod.filter_map(|keyed| Some((in_words(keyed), twice(&spec, keyed)?)));
    of_pod
        .next()
        .or_else(|| in_containers(&spec))
        .or_else(|| shared_name(&spec))
}

/// What a container has twice.
fn in_containers(spec: &Value) -> Option<(String, String)> {
    let lists = ["initContainers", "containers"];
    let containers = lists
        .iter()
        .flat_map(|list| spec[*list].as_array().into_iter().flatten());
    for container in containers {
        let own = container["name"].as_str().unwrap_or_default();
        for keyed in &OF_CONTAINER {
            if let Some(name) = twice(container, keyed) {
                let list = keyed.list.replace('/', ".");
                return Some((format!("`{list}` of container {own}"), name));
            }
        }
    }
    None
}

/// The name that a container and an init container have both.
fn shared_name(spec: &Value) -> Option<(String, String)> {
    let names = |list: &str| -> BTreeSet<String> {
        let all = spec[list].as_array().into_iter().flatten();
        all.filter_map(|one| one["name"].as_str().map(str::to_owned))
            .collect()
    };
    let shared = names("initContainers")
        .intersection(&names("containers"))
        .next()
        .cloned()?;
    Some(("`initContainers` with `containers`".to_owned(), shared))
}

/// The first name that two entries of a list have.
fn twice(of: &Value, keyed: &Keyed) -> Option<String> {
    let list = of.pointer(&format!("/{}", keyed.list))?.as_array()?;
    let mut seen = BTreeSet::new();
    let mut names = list.iter().filter_map(|entry| name_of(entry, keyed.by));
    names.find(|name| !seen.insert(name.clone()))
}

/// What names an entry; none where a field of it is missing, which the server says.
fn name_of(entry: &Value, by: &[(&str, &str)]) -> Option<String> {
    let parts = by.iter().map(|(field, default)| match &entry[*field] {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => (!default.is_empty()).then(|| (*default).to_owned()),
    });
    let parts: Option<Vec<String>> = parts.collect();
    parts.map(|parts| parts.join("/"))
}

/// The first text that is in a list twice.
fn set_twice(list: &Value) -> Option<String> {
    let mut seen = BTreeSet::new();
    let texts = list.as_array().into_iter().flatten();
    let mut texts = texts.filter_map(Value::as_str);
    texts
        .find(|text| !seen.insert((*text).to_owned()))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused_of(kind: &str, rest: &Value) -> Option<String> {
        let version = if kind == "Deployment" {
            "apps/v1"
        } else {
            "v1"
        };
        let mut body = json!({"apiVersion": version, "kind": kind, "metadata": {"name": "web"}});
        for (key, value) in rest.as_object().expect("a map") {
            if key == "finalizers" {
                body["metadata"]["finalizers"] = value.clone();
            } else {
                body[key] = value.clone();
            }
        }
        let manifest = Manifest::try_from(body).expect("a manifest");
        refuse("a.yaml:1", &manifest).err().map(|error| error.what)
    }

    fn refused(spec: &Value) -> Option<String> {
        refused_of("Deployment", &json!({"spec": {"template": {"spec": spec}}}))
    }

    #[test]
    fn what_is_there_twice_is_named_with_its_container() {
        let env = json!([{"name": "A", "value": "1"}, {"name": "B"}, {"name": "A", "value": "2"}]);
        let spec = json!({"containers": [{"name": "web", "env": env}]});
        assert_eq!(
            refused(&spec).as_deref(),
            Some("a.yaml:1: Deployment/web: `env` of container web has `A` twice")
        );
        let spec =
            json!({"containers": [{"name": "web"}], "volumes": [{"name": "v"}, {"name": "v"}]});
        assert_eq!(
            refused(&spec).as_deref(),
            Some("a.yaml:1: Deployment/web: `volumes` has `v` twice")
        );

        // Each container has variables of its own.
        let one = json!([{"name": "A"}]);
        let spec = json!({"initContainers": [{"name": "i", "env": one}],
            "containers": [{"name": "a", "env": one}, {"name": "b", "env": one}]});
        assert_eq!(refused(&spec), None);
    }

    #[test]
    fn every_list_whose_entries_the_server_tells_apart_is_looked_at() {
        let of_container = |list: &str, entry: &Value| {
            let mut container = json!({"name": "web"});
            match list {
                "claims" => container["resources"]["claims"] = json!([entry, entry]),
                _ => container[list] = json!([entry, entry]),
            }
            json!({"containers": [container]})
        };
        let port = json!({"containerPort": 80});
        for (spec, said) in [
            (
                of_container("ports", &port),
                "`ports` of container web has `80/TCP`",
            ),
            (
                of_container("volumeDevices", &json!({"devicePath": "/dev/x"})),
                "`/dev/x` twice",
            ),
            (
                of_container("claims", &json!({"name": "gpu"})),
                "`resources.claims` of container",
            ),
            (
                json!({"imagePullSecrets": [{"name": "a"}, {"name": "a"}]}),
                "`imagePullSecrets`",
            ),
            (
                json!({"hostAliases": [{"ip": "::1"}, {"ip": "::1"}]}),
                "`hostAliases` has `::1`",
            ),
            (
                json!({"schedulingGates": [{"name": "a"}, {"name": "a"}]}),
                "`schedulingGates`",
            ),
            (
                json!({"topologySpreadConstraints": [
                    {"topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"},
                    {"topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}]}),
                "`zone/DoNotSchedule` twice",
            ),
            (
                json!({"initContainers": [{"name": "a"}], "containers": [{"name": "a"}]}),
                "`initContainers` with `containers` has `a`",
            ),
        ] {
            let what = refused(&spec).unwrap_or_default();
            assert!(what.contains(said), "{spec}: {what}");
        }

        let both = json!([{"containerPort": 53}, {"containerPort": 53, "protocol": "UDP"}]);
        assert_eq!(
            refused(&json!({"containers": [{"name": "a", "ports": both}]})),
            None
        );

        let ports = json!([{"port": 80, "name": "a"}, {"port": 80, "name": "b"}]);
        let twice = json!([{"name": "a"}, {"name": "a"}]);
        for (kind, rest) in [
            ("Service", json!({"spec": {"ports": ports}})),
            ("ServiceAccount", json!({"secrets": twice})),
            ("ConfigMap", json!({"finalizers": ["a.b/c", "a.b/c"]})),
            ("Pod", json!({"spec": {"containers": twice}})),
        ] {
            assert!(refused_of(kind, &rest).is_some(), "{kind}");
        }
    }
}
