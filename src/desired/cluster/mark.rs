//! Labels, and names of the slot: what makes an object known as ours, and keeps the slots apart.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::desired::cluster::{Site, scaled, select};
use crate::model::kind::KindScope;
use crate::model::object::{Names, mark as label, rename, set};
use crate::model::{ContentHash, Manifest, ObjectKey, ServiceName, Slot};

/// What the pods of a service in a slot are found by.
pub(super) fn selector(site: &Site<'_>, service: &ServiceName, slot: Slot) -> Value {
    let mut map = Map::new();
    map.insert(label::PROJECT.to_owned(), site.project.as_str().into());
    map.insert(
        label::ENVIRONMENT.to_owned(),
        site.environment.as_str().into(),
    );
    map.insert(label::SERVICE.to_owned(), service.as_str().into());
    map.insert(label::SLOT.to_owned(), slot.as_str().into());
    map.into()
}

/// The labels that every object of an environment has.
pub(super) fn common(site: &Site<'_>, object: &mut Manifest) {
    let instance = format!("{}-{}", site.project, site.environment);
    object.label("app.kubernetes.io/managed-by", "shipit");
    object.label("app.kubernetes.io/part-of", site.project.as_str());
    object.label("app.kubernetes.io/instance", &instance);
    object.label(label::PROJECT, site.project.as_str());
    object.label(label::ENVIRONMENT, site.environment.as_str());
}

/// Makes a service's objects those of a slot: labels on them and on their pods, names of their own
/// where both slots share a namespace, and configuration named by its content.
pub(super) fn mark(site: &Site<'_>, service: &ServiceName, slot: Slot, objects: &mut [Manifest]) {
    for object in objects.iter_mut() {
        common(site, object);
        object.label("app.kubernetes.io/name", service.as_str());
        object.label(label::SERVICE, service.as_str());
        object.label(label::SLOT, slot.as_str());
        settle(site, object, &site.namespaces.slots[&slot]);
        let own = selector(site, service, slot);
        if let Some(template) = object.pod_template() {
            for (name, value) in own.as_object().into_iter().flatten() {
                set(
                    template,
                    &["metadata", "labels", name],
                    value.as_str().unwrap_or_default(),
                );
            }
            set(
                template,
                &["metadata", "labels", "app.kubernetes.io/name"],
                service.as_str(),
            );
            set(
                template,
                &["metadata", "labels", "app.kubernetes.io/part-of"],
                site.project.as_str(),
            );
        }
        // The slot is part of what a controller selects, so that two of them in one namespace stay
        // apart.
        if matches!(
            object.kind(),
            "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet"
        ) {
            object.edit(|body| {
                set(
                    body,
                    &["spec", "selector", "matchLabels", label::SLOT],
                    slot.as_str(),
                );
            });
        }
    }

    select::narrow(slot, objects);
    if !site.apart() {
        suffix(site, slot, objects);
    }

    by_content(objects);
    scaled::note(objects, scaled::Workloads::WithNumber);
}

/// Gives the objects names of the slot, unless they have them already.
fn suffix(site: &Site<'_>, slot: Slot, objects: &mut [Manifest]) {
    let ending = format!("-{slot}");
    let names: Names = objects
        .iter()
        .filter(|object| {
            let scope = site.sources.scopes.of(object);
            scope == KindScope::Namespaced && !object.name().ends_with(&ending)
        })
        .map(|object| {
            (
                (object.kind().to_owned(), object.name().to_owned()),
                format!("{}{ending}", object.name()),
            )
        })
        .collect();
    rename(objects, &names);
}

/// Names each `ConfigMap` by its content, so that a slot keeps the configuration that it was
/// released with. Secrets get theirs when their values are known.
fn by_content(objects: &mut [Manifest]) {
    let names: Names = objects
        .iter()
        .filter(|object| object.kind() == "ConfigMap")
        .map(|object| {
            let content = (object.body().get("data"), object.body().get("binaryData"));
            let hash = ContentHash::of_json(&content);
            let name = format!("{}-{}", object.name(), &hash.hex()[..10]);
            (("ConfigMap".to_owned(), object.name().to_owned()), name)
        })
        .collect();
    rename(objects, &names);
}

/// An object that both slots would have.
pub(super) fn shared(slots: &BTreeMap<Slot, Vec<Manifest>>) -> Option<ObjectKey> {
    let blue: std::collections::BTreeSet<ObjectKey> =
        slots.get(&Slot::Blue)?.iter().map(Manifest::key).collect();
    slots
        .get(&Slot::Green)?
        .iter()
        .map(Manifest::key)
        .find(|key| blue.contains(key))
}

/// Gives an object the namespace that the server will have it in: its own, else this one, and none
/// for a kind whose objects are in none.
pub(super) fn settle(site: &Site<'_>, object: &mut Manifest, namespace: &str) {
    match site.sources.scopes.of(object) {
        KindScope::Namespaced if object.key().namespace.is_some() => {}
        KindScope::Namespaced => {
            object.edit(|body| set(body, &["metadata", "namespace"], namespace));
        }
        KindScope::Cluster => object.edit(|body| {
            if let Some(meta) = body["metadata"].as_object_mut() {
                meta.remove("namespace");
            }
        }),
    }
}
