//! The user's own manifests: template files, or what `kustomize` and `helm` rendered.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use crate::config::schema::Manifests;
use crate::desired::cluster::{Site, chart, mark, repeated, sound, yaml};
use crate::desired::{DesiredError, DesiredErrors, DesiredPlace};
use crate::model::object::{IMAGE, SECRET};
use crate::model::{Manifest, ObjectKey, ServiceName, Slot};

/// The longest name of a `StatefulSet`: with what its controller puts behind it, it is a label of
/// each pod.
const LONGEST_SET: usize = 63 - "-0123456789".len();

/// What a name gets for its slot where both slots share a namespace.
const SLOT_ENDING: usize = "-green".len();

/// The objects of a service in a slot.
pub(super) fn of_service(
    site: &Site<'_>,
    name: &ServiceName,
    manifests: &Manifests,
    slot: Slot,
) -> Result<Vec<Manifest>, DesiredErrors> {
    let at = format!("services.{name}.manifests");
    let mut documents = documents(site, Some(name), manifests, slot, &at)?;
    if documents.is_empty() {
        let what = format!("{at}: there is no object in them, and nothing that would run");
        let help = "`shipit render` shows what the templates make";
        return Err(DesiredError::new(what, help).of_key(at).into());
    }
    let namespace = &site.namespaces.slots[&slot];
    let ending = if site.apart() { 0 } else { SLOT_ENDING };
    refuse_twins(site, &mut documents, (namespace, ending))?;
    let mut errors = DesiredErrors::default();
    for document in &documents {
        let fit = may_be_of_service(site, name, slot, &document.manifest);
        errors.keep(fit.map_err(|error| error.at(&document.origin)));
    }
    errors.unless_any(manifests_of(documents))
}

/// Refuses an object that cannot be one of a service.
fn may_be_of_service(
    site: &Site<'_>,
    name: &ServiceName,
    slot: Slot,
    object: &Manifest,
) -> Result<(), DesiredError> {
    let target = format!("{name}-{slot}");
    if let Some(image) = other_image(object.body(), name) {
        return Err(DesiredError::new(
            format!("services.{name}.manifests: `{image}` is the image of another service"),
            format!("write `{{{{ image }}}}`, or `{IMAGE}{name}`"),
        ));
    }

    if object.body()["spec"]["persistentVolumeClaimRetentionPolicy"]["whenScaled"] == "Delete" {
        return Err(DesiredError::new(
            format!(
                "services.{name}.manifests: StatefulSet/{} has `whenScaled: Delete`: a release \
                 that is kept for the rollback is scaled to none, and would lose its data",
                object.name()
            ),
            "write `whenScaled: Retain`, or bring it under the environment's own `manifests:`",
        ));
    }
    if object.kind() == "Service"
        && (object.name() == target || object.name() == name.as_str() && !site.apart())
    {
        return Err(DesiredError::new(
            format!(
                "services.{name}.manifests: Service/{} is the entry point that shipit makes",
                object.name()
            ),
            "leave this Service out of the manifests, or give it another name",
        ));
    }
    Ok(())
}

/// A text that stands for the image of another service.
fn other_image(value: &Value, own: &ServiceName) -> Option<String> {
    match value {
        Value::String(text) => text
            .strip_prefix(IMAGE)
            .filter(|name| *name != own.as_str())
            .map(|_| text.clone()),
        Value::Array(items) => items.iter().find_map(|item| other_image(item, own)),
        Value::Object(map) => map.values().find_map(|value| other_image(value, own)),
        _ => None,
    }
}

/// The environment's own objects.
pub(super) fn of_environment(
    site: &Site<'_>,
    manifests: &Manifests,
) -> Result<Vec<Manifest>, DesiredErrors> {
    let mut documents = documents(site, None, manifests, Slot::Blue, "manifests")?;
    refuse_twins(site, &mut documents, (&site.namespaces.home, 0))?;
    let mut errors = DesiredErrors::default();
    for Document {
        manifest,
        place,
        origin,
        ..
    } in &documents
    {
        if manifest.kind() == "Secret" && manifest.body().get("data").is_some() {
            let name = manifest.name();
            let error = DesiredError::new(
                format!("{place}: Secret/{name} belongs to no service"),
                "a Secret is written under the `manifests:` or the `env:` of the service that \
                 needs it",
            );
            errors.0.push(error.at(origin));
        }
    }
    errors.unless_any(manifests_of(documents))
}

/// A manifest, and where it is written.
pub(super) struct Document {
    pub manifest: Manifest,
    place: String,
    pub origin: DesiredPlace,
    /// The text of its file as it was rendered, where that has the lines of the file.
    pub text: Option<Arc<str>>,
    /// The file of the chart that Helm says it is from.
    source: Option<String>,
}

impl Document {
    /// Whether it is from this folder of a chart, or of one that the chart brings along.
    pub fn is_from(&self, folder: &str) -> bool {
        let source = self.source.as_deref().unwrap_or_default();
        // The charts themselves are folders of any name.
        let mut parts = source.split('/').skip(1);
        loop {
            match parts.next() {
                Some("charts") => {
                    parts.next();
                }
                other => return other == Some(folder),
            }
        }
    }
}

fn manifests_of(documents: Vec<Document>) -> Vec<Manifest> {
    let manifests = documents.into_iter().map(|document| document.manifest);
    manifests.collect()
}

/// Gives every object its namespace, and refuses one that is written twice: the second would undo
/// the first.
fn refuse_twins(
    site: &Site<'_>,
    documents: &mut [Document],
    (namespace, ending): (&str, usize),
) -> Result<(), DesiredError> {
    let mut places: BTreeMap<ObjectKey, &str> = BTreeMap::new();
    for Document {
        manifest,
        place,
        origin,
        ..
    } in documents
    {
        mark::settle(site, manifest, namespace);
        repeated::refuse(place, manifest)
            .and_then(|()| sound::refuse(place, manifest))
            .and_then(|()| refuse_long(place, manifest, ending))
            .map_err(|error| error.at(origin))?;
        let key = manifest.key();
        let short = key.short();

        if let Some(first) = places.insert(key, place) {
            let error = DesiredError::new(
                format!("{place}: {short} is written here and at {first}"),
                "an object is written once: remove one, or give it another name",
            );
            return Err(error.at(origin));
        }
    }
    Ok(())
}

/// Refuses a name that the server takes, and that no pod can be made of.
fn refuse_long(place: &str, manifest: &Manifest, ending: usize) -> Result<(), DesiredError> {
    let longest = LONGEST_SET - ending;
    let (kind, length) = (manifest.kind(), manifest.name().len());
    if kind != "StatefulSet" || length <= longest {
        return Ok(());
    }
    let short = manifest.key().short();
    Err(DesiredError::new(
        format!(
            "{place}: {short}: the name has {length} characters, and a StatefulSet's has {longest} \
             at most: its pods carry it in a label"
        ),
        format!("shorten it by {}", length - longest),
    ))
}

pub(super) fn documents(
    site: &Site<'_>,
    service: Option<&ServiceName>,
    manifests: &Manifests,
    slot: Slot,
    at: &str,
) -> Result<Vec<Document>, DesiredErrors> {
    let mut all = Vec::new();
    let mut errors = DesiredErrors::default();
    match manifests {
        Manifests::Files(glob) => {
            let files = site.sources.matching(glob);
            if files.is_empty() {
                return Err(DesiredError::new(
                    format!("{at}: no file matches `{glob}`"),
                    "paths are relative to the project's folder",
                )
                .of_key(at)
                .into());
            }
            for (path, text) in files {
                let rendered = site.templates.render_file_in(path, service, slot, text);
                if let Some(rendered) = errors.keep(rendered) {
                    errors.keep(of_file(site, path, (text, rendered), &mut all));
                }
            }
        }
        Manifests::Rendered(rendered) => {
            let key = (service.cloned(), slot);
            let text = site.sources.rendered.get(&key).ok_or_else(|| {
                DesiredError::new(
                    format!("{at}: nothing was rendered"),
                    "look at the messages of kustomize or helm",
                )
                .of_key(at)
            })?;
            if let Err(faults) = read(at, text, &site.budget, &mut all) {
                errors
                    .0
                    .extend(faults.0.into_iter().map(|error| error.of_key(at)));
            }
            for document in &mut all {
                document.origin = DesiredPlace::Key(at.to_owned());
            }
            let all = errors.unless_any(all)?;
            return Ok(if rendered.helm.is_some() {
                let all = chart::as_helm_does(at, service, rendered, all);
                all.map_err(|error| error.or_of_key(at))?
            } else {
                all
            });
        }
    }

    errors.unless_any(all)
}

/// Reads the documents of a file, as it is written and as it was rendered. A template that makes
/// more lines, or fewer, has none of its own.
fn of_file(
    site: &Site<'_>,
    path: &Path,
    (text, rendered): (&str, String),
    all: &mut Vec<Document>,
) -> Result<(), DesiredErrors> {
    let has_its_lines = rendered.lines().count() == text.lines().count();
    let before = all.len();
    let read = read(&path.to_string_lossy(), &rendered, &site.budget, all);
    if has_its_lines {
        let rendered: Arc<str> = rendered.into();
        for document in all.iter_mut().skip(before) {
            document.text = Some(Arc::clone(&rendered));
        }
        return read;
    }

    for document in all.iter_mut().skip(before) {
        document.origin = DesiredPlace::File {
            path: path.to_path_buf(),
            line: 1,
        };
    }
    read.map_err(|faults| {
        let faults = faults.0.into_iter().map(|error| error.of_line(path, 1));
        DesiredErrors(faults.collect())
    })
}

/// Reads the documents of a text.
pub(super) fn read(
    file: &str,
    text: &str,
    budget: &yaml::Budget,
    all: &mut Vec<Document>,
) -> Result<(), DesiredErrors> {
    let mut errors = DesiredErrors::default();
    let wrong = |line: usize, place: &str, reason: &str| {
        let what = format!("{place}: {reason}");
        let help = "`shipit render` shows what the templates make";
        DesiredError::new(what, help).of_line(Path::new(file), line)
    };
    let documents = yaml::documents(text, budget)
        .map_err(|error| wrong(error.line, file, &error.to_string()))?;
    let lines = text.lines().zip(1_usize..);
    let sources: Vec<(usize, &str)> = lines
        .filter_map(|(text, line)| Some((line, text.strip_prefix("# Source: ")?)))
        .collect();
    for (index, yaml::Document { line, value }) in documents.into_iter().enumerate() {
        // A template's lines may be others than those of what it makes: the document's number is
        // told as well.
        let place = format!("{file}:{line} (document {})", index + 1);
        let source = sources.iter().rev().find(|(at, _)| *at <= line);
        let source = source.map(|(_, source)| (*source).to_owned());
        let document = value;
        if document.is_null() {
            continue;
        }

        let items = opened(document);
        let is_a_list = items.len() > 1;
        for (number, mut item) in (1..).zip(items) {
            let place = if is_a_list {
                format!("{place}, item {number}")
            } else {
                place.clone()
            };
            if let Some(reason) = generated(&item) {
                errors.0.push(wrong(line, &place, &reason));
                continue;
            }
            remove_what_the_server_says(&mut item);
            let manifest = Manifest::try_from(item);
            let manifest = manifest.map_err(|error| wrong(line, &place, &error.to_string()));
            let Some(mut manifest) = errors.keep(manifest) else {
                continue;
            };
            if manifest.kind() == "Secret" {
                let read = secret(file, &mut manifest);
                errors.keep(read.map_err(|error| error.or_of_line(Path::new(file), line)));
            }
            let source = source.clone();
            all.push(Document {
                manifest,
                place,
                origin: DesiredPlace::File {
                    path: file.into(),
                    line,
                },
                text: None,
                source,
            });
        }
    }
    errors.unless_any(())
}

/// Why an object without a name of its own is none that a plan can have.
fn generated(item: &Value) -> Option<String> {
    let meta = &item["metadata"];
    let is_unnamed = match &meta["name"] {
        Value::Null => true,
        Value::String(name) => name.is_empty(),
        _ => false,
    };
    let prefix = meta["generateName"].as_str().filter(|_| is_unnamed)?;
    Some(format!(
        "it has `generateName: {prefix}`, and a server makes another object of it each time: \
         give it a `name`"
    ))
}

fn remove_what_the_server_says(item: &mut Value) {
    if let Some(map) = item.as_object_mut() {
        map.remove("status");
    }
    if let Some(meta) = item.get_mut("metadata").and_then(Value::as_object_mut) {
        for name in [
            "creationTimestamp",
            "resourceVersion",
            "uid",
            "managedFields",
            "generation",
        ] {
            meta.remove(name);
        }
    }
}

/// The objects of a document: those of a list, and of the lists in it, as kubectl opens them. What
/// an item of a list of one kind does not say of itself, the list does.
fn opened(document: Value) -> Vec<Value> {
    let mut objects = Vec::new();
    let mut left = vec![document];
    while let Some(document) = left.pop() {
        let kind = document["kind"].as_str().unwrap_or_default();
        let Some(of) = kind.strip_suffix("List").map(str::to_owned) else {
            objects.push(document);
            continue;
        };
        let Value::Object(mut map) = document else {
            continue;
        };
        let Some(Value::Array(items)) = map.remove("items") else {
            // A kind of its own whose name ends so, or a list of nothing.
            if !of.is_empty() && map.contains_key("spec") {
                objects.push(Value::Object(map));
            }
            continue;
        };

        let version = map.remove("apiVersion");
        let described = items.into_iter().map(|mut item| {
            if let (Some(item), false) = (item.as_object_mut(), of.is_empty()) {
                item.entry("kind").or_insert_with(|| of.clone().into());
                let version = version.clone().unwrap_or_default();
                item.entry("apiVersion").or_insert(version);
            }
            item
        });

        // The first of them is looked at next.
        left.extend(described.rev());
    }
    objects
}

/// A Secret names its values; it does not hold them: they would be in the plan and in the history.
fn secret(file: &str, manifest: &mut Manifest) -> Result<(), DesiredError> {
    let mut data = serde_json::Map::new();
    for part in ["data", "stringData"] {
        for (key, value) in manifest
            .body()
            .get(part)
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            let text = value.as_str().unwrap_or_default();
            let Some(reference) = reference(part, text) else {
                return Err(DesiredError::new(
                    format!(
                        "{file}: Secret/{} holds the value of `{key}`",
                        manifest.name()
                    ),
                    "a value in a manifest would be in plans and in the history: write \
                           `stringData: {KEY: \"{{ secret('NAME') }}\"}` and name its source under \
                           `secrets:`",
                ));
            };
            data.insert(key.clone(), reference.into());
        }
    }

    manifest.edit(|body| {
        if let Some(map) = body.as_object_mut() {
            map.remove("stringData");
            if !data.is_empty() {
                map.insert("data".to_owned(), data.into());
            }
        }
    });
    Ok(())
}

/// What stands for a secret's value. A generator writes `data`, in base64.
fn reference(part: &str, text: &str) -> Option<String> {
    let decoded = BASE64_STANDARD.decode(text).ok().filter(|_| part == "data");
    let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    let mut texts = [Some(text.to_owned()), decoded].into_iter().flatten();
    texts.find(|text| text.starts_with(SECRET))
}
