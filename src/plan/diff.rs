//! What differs between two workloads, or between two entry points, field by field, for a reader.
//!
//! A workload is compared as it stands in one slot: the objects that it was in the slot, had it
//! been placed there, with those that it will be. So the slot's own name makes no difference.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::model::fields::{Fields, changes, flatten};
use crate::model::object::{Names, rename};
use crate::model::plan::Change;
use crate::model::route::{Route, RouteKind};
use crate::model::workload::{EnvValue, Known, Process, Workload, WorkloadKind};
use crate::model::{Manifest, ObjectKey, Slot};
use crate::plan::secrets;

/// How many digits of a hash end the name of a `ConfigMap`.
const HASH: usize = 10;

/// The fields in which `after` differs from `before` in a slot, in order of their names.
#[must_use]
pub fn workload_changes(before: Option<&Workload>, after: &Workload, slot: Slot) -> Vec<Change> {
    let Some(before) = before else {
        return Vec::new();
    };
    let mut found = changes(&fields(before, slot), &fields(after, slot));
    let objects = objects_changes(of_slot(before, slot), of_slot(after, slot));
    let news: Vec<Change> = objects
        .into_iter()
        .filter(|change| !found.iter().any(|known| restates(known, change)))
        .collect();
    found.extend(news);
    if !found.is_empty() || before == after {
        return found;
    }

    // Nothing differs here: then it is what the release would be in the other slot.
    let other = slot.other();
    let elsewhere = objects_changes(of_slot(before, other), of_slot(after, other));
    elsewhere
        .into_iter()
        .map(|change| Change {
            origin: Some(format!("in {other} only")),
            ..change
        })
        .collect()
}

/// The fields in which an entry point differs from what it was.
#[must_use]
pub fn route_changes(before: &Route, after: &Route) -> Vec<Change> {
    let mut found = changes(&of_listeners(before), &of_listeners(after));
    found.extend(objects_changes(of_route(before), of_route(after)));
    found
}

/// The fields of an entry point, with those of its objects.
pub(super) fn route_fields(route: &Route) -> Fields {
    let mut found = of_listeners(route);
    found.extend(object_fields(of_route(route)));
    found
}

/// The fields of objects, each behind the kind and name of its object.
pub(super) fn object_fields(objects: Vec<Manifest>) -> Fields {
    let all = by_key(objects).into_iter().flat_map(|(key, manifest)| {
        let fields = parts(&without(manifest.body(), &["kind"]));
        let named = move |(field, value)| (format!("{} {field}", key.short()), value);
        fields.into_iter().map(named)
    });
    all.collect()
}

/// What an entry point is besides its objects.
fn of_listeners(route: &Route) -> Fields {
    match &route.kind {
        RouteKind::Listeners(listeners) => parts(&without(listeners, &[])),
        RouteKind::Objects(objects) => parts(&without(objects, &["fixed", "off", "to"])),
    }
}

/// What stands still, and the live object as it is without traffic: with it only the slot differs.
fn of_route(route: &Route) -> Vec<Manifest> {
    let objects = route.objects();
    objects.map_or_else(Vec::new, |objects| {
        let fixed = objects.fixed.iter();
        fixed.chain([&objects.off]).cloned().collect()
    })
}

/// A workload's fields but for its objects. What is special about images and secrets is said here;
/// the rest is its JSON, so that no field of it is left out.
pub(super) fn fields(workload: &Workload, slot: Slot) -> Fields {
    let named = ["service", "image", "process", "objects"];
    let mut fields = parts(&without(workload, &named));
    fields.insert("image".to_owned(), image(workload));
    match &workload.kind {
        WorkloadKind::Process(process) => fields.extend(of_process(process)),
        WorkloadKind::Objects(_) => fields.extend(variables(workload, slot)),
    }
    for (name, from) in workload.secrets() {
        if let Some(version) = from.version() {
            fields.insert(secrets::field(name), version.to_string());
        }
        let from = serde_json::to_value(from.at(None)).unwrap_or_default();
        flatten(&format!("secrets.{name}"), &from, &mut fields);
    }
    fields
}

fn of_process(process: &Process) -> Fields {
    let mut fields = parts(&without(process, &["env", "files"]));
    for (name, value) in &process.env {
        fields.insert(format!("env.{name}"), env(value));
    }
    for (path, file) in &process.files {
        let path = path.display();
        fields.insert(format!("files.{path}"), env(&file.content));
        if let Some(variable) = &file.variable {
            fields.insert(format!("files.{path}.variable"), variable.clone());
        }
    }
    fields
}

/// The variables of the container that is the service's own, by its name: a reader looks for them
/// as they stand in the configuration, and not as a path in an object. Its port is told as the
/// workload's.
fn variables(workload: &Workload, slot: Slot) -> Fields {
    let containers = workload.objects(slot).iter().flat_map(|object| {
        let containers = &object.body()["spec"]["template"]["spec"]["containers"];
        containers.as_array().into_iter().flatten()
    });
    let own = containers.filter(|container| container["name"] == workload.service.as_str());
    let variables = own.flat_map(|container| container["env"].as_array().into_iter().flatten());
    variables
        .filter_map(|variable| {
            let name = variable["name"].as_str().filter(|name| *name != "PORT")?;
            let secret = variable["valueFrom"]["secretKeyRef"]["key"].as_str();
            let secret = secret.map(|name| format!("(secret {name})"));
            let value = secret.or_else(|| variable["value"].as_str().map(str::to_owned))?;
            Some((format!("env.{name}"), value))
        })
        .collect()
}

/// A value as JSON, without what is told in another way.
fn without(value: &impl serde::Serialize, names: &[&str]) -> Value {
    let mut json = serde_json::to_value(value).unwrap_or_default();
    if let Some(map) = json.as_object_mut() {
        map.retain(|name, _| !names.contains(&name.as_str()));
    }
    json
}

/// The fields of a document, by their names alone.
fn parts(json: &Value) -> Fields {
    let mut fields = Fields::new();
    for (name, value) in json.as_object().into_iter().flatten() {
        // Without a value there is nothing to tell of a list.
        if value.as_array().is_some_and(Vec::is_empty) {
            continue;
        }
        flatten(name, value, &mut fields);
    }
    fields
}

fn image(workload: &Workload) -> String {
    match &workload.image {
        Known::Value(digest) => digest.to_string(),
        Known::After(_) => "(known after build)".to_owned(),
    }
}

fn env(value: &EnvValue) -> String {
    match value {
        EnvValue::Plain(text) => text.clone(),
        EnvValue::Secret { name, .. } => format!("(secret {name})"),
    }
}

fn of_slot(workload: &Workload, slot: Slot) -> Vec<Manifest> {
    workload.objects(slot).to_vec()
}

/// The fields in which objects differ, and the objects that come and go.
fn objects_changes(before: Vec<Manifest>, after: Vec<Manifest>) -> Vec<Change> {
    let (before, after) = (by_key(before), by_key(after));
    let mut found = Vec::new();
    for (key, manifest) in &after {
        match before.get(key) {
            Some(old) if old == manifest => {}
            Some(old) => found.extend(object_changes(key, old, manifest)),
            None => found.push(whole(key, None, Some("is added"))),
        }
    }
    let gone = before.keys().filter(|key| !after.contains_key(*key));
    found.extend(gone.map(|key| whole(key, Some("goes"), None)));
    found.sort_by(|a, b| a.field.cmp(&b.field));
    found
}

fn object_changes(key: &ObjectKey, before: &Manifest, after: &Manifest) -> Vec<Change> {
    let of = |manifest: &Manifest| parts(&without(manifest.body(), &["kind"]));
    changes(&of(before), &of(after))
        .into_iter()
        .map(|change| Change {
            field: format!("{} {}", key.short(), change.field),
            ..change
        })
        .collect()
}

fn whole(key: &ObjectKey, before: Option<&str>, after: Option<&str>) -> Change {
    Change {
        field: key.short(),
        before: before.map(str::to_owned),
        after: after.map(str::to_owned),
        origin: None,
        by: None,
    }
}

/// Objects by what names them. The name of a `ConfigMap` ends in a hash of its content: that is
/// left out, so that it is the content that differs, and not each place in which the name stands.
fn by_key(mut objects: Vec<Manifest>) -> BTreeMap<ObjectKey, Manifest> {
    let configs = objects
        .iter()
        .filter(|object| object.kind() == "ConfigMap")
        .map(Manifest::name);
    let names: Names = configs
        .filter_map(|name| {
            let (base, hash) = name.rsplit_once('-')?;
            let is_hash = hash.len() == HASH && hash.chars().all(|c| c.is_ascii_hexdigit());
            let whole = ("ConfigMap".to_owned(), name.to_owned());
            is_hash.then(|| (whole, base.to_owned()))
        })
        .collect();
    rename(&mut objects, &names);
    objects
        .into_iter()
        .map(|object| (object.key(), object))
        .collect()
}

/// Whether a change of an object is what a change of the workload comes to, and no news.
pub(super) fn restates(workload: &Change, object: &Change) -> bool {
    let field = object.field.as_str();
    let is_about = match workload.field.split_once('.') {
        Some(("env", name)) => field.ends_with(&format!(".env[{name}].value")),
        Some(("health", _)) => field.contains("Probe."),
        None if workload.field == "port" => {
            let names = [".env[PORT].value", ".containerPort", ".port"];
            names.iter().any(|name| field.ends_with(name))
        }
        _ => field.ends_with(&format!(".{}", workload.field)),
    };
    is_about && workload.before == object.before && workload.after == object.after
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Address;
    use crate::model::workload::{SlotObjects, Socket};
    use serde_json::json;

    fn manifest(body: Value) -> Manifest {
        Manifest::try_from(body).expect("a manifest")
    }

    /// A workload in both slots, whose config has this text and whose container this request for
    /// processors.
    fn workload(text: &str, cpu: &str) -> Workload {
        let hash = crate::model::ContentHash::of_json(&text);
        let objects = |slot: Slot| {
            let config = format!("web-config-{slot}-{}", &hash.hex()[..HASH]);
            vec![
                manifest(json!({"apiVersion": "v1", "kind": "ConfigMap",
                    "metadata": {"name": config}, "data": {"app.conf": text}})),
                manifest(json!({"apiVersion": "apps/v1", "kind": "Deployment",
                    "metadata": {"name": format!("web-{slot}")},
                    "spec": {"replicas": 2, "template": {"spec": {
                        "containers": [{"name": "web", "resources": {"requests": {"cpu": cpu}},
                            "env": [{"name": "SHIPIT_SLOT", "value": slot.as_str()},
                                    {"name": "MODE", "value": "a"}]}],
                        "volumes": [{"name": "config", "configMap": {"name": config}}]}}}})),
            ]
        };
        let service: crate::model::ServiceName = "web".parse().expect("a name");
        Workload {
            image: Known::After(Address::Image(service.clone())),
            repository: None,
            service,
            port: Some(8080),
            replicas: 2,
            health: crate::model::health::Health::default(),
            strategy: None,
            kind: WorkloadKind::Objects(SlotObjects {
                slots: Slot::ALL.map(|slot| (slot, objects(slot))).into(),
                secrets: BTreeMap::new(),
            }),
        }
    }

    fn objects(workload: &mut Workload) -> &mut SlotObjects {
        match &mut workload.kind {
            WorkloadKind::Objects(objects) => objects,
            WorkloadKind::Process(_) => panic!("it is one of a cluster"),
        }
    }

    fn said(before: &Workload, after: &Workload) -> Vec<(String, String, String)> {
        let text = |side: Option<String>| side.unwrap_or_else(|| "-".to_owned());
        workload_changes(Some(before), after, Slot::Green)
            .into_iter()
            .map(|change| (change.field, text(change.before), text(change.after)))
            .collect()
    }

    fn row(field: &str, before: &str, after: &str) -> (String, String, String) {
        (field.to_owned(), before.to_owned(), after.to_owned())
    }

    #[test]
    fn a_field_of_an_object_is_named_as_in_its_slot() {
        let (before, after) = (workload("a", "100m"), workload("a", "200m"));
        let field =
            "Deployment/web-green spec.template.spec.containers[web].resources.requests.cpu";
        assert_eq!(said(&before, &after), [row(field, "100m", "200m")]);
        assert_eq!(said(&before, &before), []);
    }

    #[test]
    fn of_a_file_of_configuration_its_lines_are_told_and_not_its_hash() {
        let (before, after) = (
            workload("size 1\nage 2\n", "1"),
            workload("size 1\nage 3\n", "1"),
        );
        let field = "ConfigMap/web-config-green data[app.conf] line 2";
        assert_eq!(said(&before, &after), [row(field, "age 2", "age 3")]);
    }

    #[test]
    fn what_the_service_says_is_told_once() {
        let (before, mut after) = (workload("a", "2"), workload("a", "3"));
        after.replicas = 3;
        for manifest in objects(&mut after).slots.values_mut().flatten() {
            manifest.edit(|body| {
                if body["kind"] == "Deployment" {
                    body["spec"]["replicas"] = 3.into();
                    body["spec"]["template"]["spec"]["containers"][0]["env"][1]["value"] =
                        "b".into();
                }
            });
        }
        let cpu = "Deployment/web-green spec.template.spec.containers[web].resources.requests.cpu";
        assert_eq!(
            said(&before, &after),
            [
                row("env.MODE", "a", "b"),
                row("replicas", "2", "3"),
                row(cpu, "2", "3")
            ]
        );
    }

    #[test]
    fn objects_come_and_go_by_name() {
        let (mut before, mut after) = (workload("a", "1"), workload("a", "1"));
        let other = |name: &str| {
            manifest(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}}))
        };
        let green = |workload, name| {
            let slots = &mut objects(workload).slots;
            slots.entry(Slot::Green).or_default().push(other(name));
        };
        green(&mut before, "old");
        green(&mut after, "new");
        assert_eq!(
            said(&before, &after),
            [
                row("Service/new", "-", "is added"),
                row("Service/old", "goes", "-")
            ]
        );
    }

    #[test]
    fn what_differs_in_the_other_slot_only_is_told_too() {
        let (before, mut after) = (workload("a", "1"), workload("a", "1"));
        let blue = objects(&mut after).slots.entry(Slot::Blue).or_default();
        blue[1].edit(|body| body["spec"]["paused"] = true.into());
        let found = workload_changes(Some(&before), &after, Slot::Green);
        assert_eq!(found[0].field, "Deployment/web-blue spec.paused");
        assert_eq!(found[0].origin.as_deref(), Some("in blue only"));
    }

    #[test]
    fn no_field_of_a_workload_is_left_out() {
        let of = |process: Process| Workload {
            kind: WorkloadKind::Process(Box::new(process)),
            ..workload("a", "1")
        };
        let none = Process::default;
        let before = of(none());
        let container = crate::model::workload::Container {
            memory: Some(5),
            ..Default::default()
        };
        let from = crate::model::secret::SecretRef::Env("A".to_owned());
        let name = "s".to_owned();
        let secret = EnvValue::Secret { name, from };
        let edits = [
            (
                "socket",
                Process {
                    socket: Socket::Inherited,
                    ..none()
                },
            ),
            (
                "container.by",
                Process {
                    container: Some(container),
                    ..none()
                },
            ),
            (
                "env.S",
                Process {
                    env: BTreeMap::from([("S".to_owned(), secret)]),
                    ..none()
                },
            ),
            (
                "command[0]",
                Process {
                    command: vec!["run".to_owned()],
                    ..none()
                },
            ),
        ];
        for (field, after) in edits {
            let after = of(after);
            let found = workload_changes(Some(&before), &after, Slot::Green);
            assert_eq!(
                found.first().map(|change| change.field.as_str()),
                Some(field)
            );
        }
    }
}
