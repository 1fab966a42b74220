//! Entries that a server tells apart by one field, and that would be there twice. It refuses them
//! with words of its own; here the place is known.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::desired::DesiredError;
use crate::model::Manifest;

/// The lists of a container, with the field that names an entry.
const OF_CONTAINER: [(&str, &str); 2] = [("env", "name"), ("volumeMounts", "mountPath")];

/// Refuses a manifest whose pods have something twice.
pub(super) fn refuse(place: &str, manifest: &Manifest) -> Result<(), DesiredError> {
    let short = manifest.key().short();
    let mut manifest = manifest.clone();
    let Some(pod) = manifest.pod_template() else {
        return Ok(());
    };
    let wrong = |what: String, name: &str| DesiredError {
        what: format!("{place}: {short}: {what} has `{name}` twice"),
        help: "keep one of them: the server takes no list with two entries of one name".to_owned(),
    };

    let spec = &pod["spec"];
    if let Some(name) = twice(&spec["volumes"], "name") {
        return Err(wrong("`volumes`".to_owned(), &name));
    }
    for containers in ["initContainers", "containers"] {
        if let Some(name) = twice(&spec[containers], "name") {
            return Err(wrong(format!("`{containers}`"), &name));
        }
        for container in spec[containers].as_array().into_iter().flatten() {
            let own = container["name"].as_str().unwrap_or_default();
            for (list, field) in OF_CONTAINER {
                if let Some(name) = twice(&container[list], field) {
                    return Err(wrong(format!("`{list}` of container {own}"), &name));
                }
            }
        }
    }
    Ok(())
}

/// The first name that two entries of a list have.
fn twice(list: &Value, field: &str) -> Option<String> {
    let mut seen = BTreeSet::new();
    let entries = list.as_array().into_iter().flatten();
    let mut names = entries.filter_map(|entry| entry[field].as_str());
    names.find(|name| !seen.insert(*name)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(spec: &Value) -> Option<String> {
        let body = json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web"}, "spec": {"template": {"spec": spec}}});
        let manifest = Manifest::try_from(body).expect("a manifest");
        refuse("a.yaml:1", &manifest).err().map(|error| error.what)
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
}
