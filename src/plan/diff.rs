//! What differs between two workloads, or between two entry points, field by field, for a reader.
//!
//! A workload is compared as it stands in one slot: the objects that it was in the slot, had it
//! been placed there, with those that it will be. So the slot's own name makes no difference.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::model::fields::{Fields, changes, flatten};
use crate::model::object::{Names, has_number, rename, scalers, target_of};
use crate::model::plan::Change;
use crate::model::route::{Route, RouteKind};
use crate::model::workload::{EnvValue, Known, Process, Workload, WorkloadKind};
use crate::model::{Manifest, ObjectKey, Slot};
use crate::plan::secrets;

/// Stands in the place of a number that is an autoscaler's, before its kind and name.
const LEFT: &str = "(left to ";
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
    // Where the number is an autoscaler's, the workload's own says nothing.
    if objects.iter().any(is_left_number) {
        found.retain(|change| change.field != "replicas");
    }
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

/// The objects of a workload in a slot. Where the number of pods is an autoscaler's from the
/// beginning, that stands in the place of the number.
fn of_slot(workload: &Workload, slot: Slot) -> Vec<Manifest> {
    let mut objects = workload.objects(slot).to_vec();
    let scalers = scalers(objects.iter().map(Manifest::body));
    for object in &mut objects {
        let scaler = scalers.get(&target_of(object.key()));
        if let Some(scaler) = scaler.filter(|_| !has_number(object.body())) {
            object.edit(|body| body["spec"]["replicas"] = format!("{LEFT}{scaler})").into());
        }
    }
    objects
}

/// Whether a change of an object is that an autoscaler gets the number of pods, or gives it back.
fn is_left_number(change: &Change) -> bool {
    let is_left = |text: &Option<String>| text.as_ref().is_some_and(|text| text.starts_with(LEFT));
    change.field.ends_with(" spec.replicas") && (is_left(&change.before) || is_left(&change.after))
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
mod tests;
