//! The files of a service's pods: texts in a `ConfigMap`, secrets in the service's own `Secret`,
//! each mounted at its own path.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::desired::Program;
use crate::model::ContentHash;
use crate::model::secret::SecretRef;
use crate::model::workload::{EnvValue, FILES_VARIABLE, WorkloadFile};

/// Everybody in a pod may read a text; a secret only its user, by the group of its volumes.
const TEXT: u32 = 0o444;
const SECRET: u32 = 0o440;

/// The ending of the `ConfigMap`'s name.
pub(super) const CONFIG: &str = "-files";

/// What its `ConfigMap` has; nothing when no file is a text.
pub(super) fn data(program: &Program<'_>) -> Map<String, Value> {
    let files = program.files.iter();
    let texts = files.filter_map(|(path, file)| match &file.content {
        EnvValue::Plain(text) => Some((key(path), text.clone().into())),
        EnvValue::Secret { .. } => None,
    });
    texts.collect()
}

/// The volumes that its files come from.
pub(super) fn volumes(program: &Program<'_>) -> Vec<Value> {
    let name = program.name.as_str();
    let sources = || {
        let files = program.files.values();
        files.filter_map(|file| match &file.content {
            EnvValue::Secret { from, .. } => Some(from),
            EnvValue::Plain(_) => None,
        })
    };
    let others: BTreeSet<&str> = sources().filter_map(other).collect();
    let has_secret = sources().any(|from| other(from).is_none());

    let mut volumes = Vec::new();
    if !data(program).is_empty() {
        volumes.push(json!({"name": "files",
            "configMap": {"name": format!("{name}{CONFIG}"), "defaultMode": TEXT}}));
    }
    if has_secret {
        volumes.push(json!({"name": "secret-files",
            "secret": {"secretName": format!("{name}-secrets"), "defaultMode": SECRET}}));
    }
    volumes.extend(others.into_iter().map(|other| {
        json!({"name": volume_of(other), "secret": {"secretName": other, "defaultMode": SECRET}})
    }));
    volumes
}

/// The Secret that somebody else makes, when a value is in one.
fn other(from: &SecretRef) -> Option<&str> {
    match from {
        SecretRef::Kubernetes(other) => Some(&other.secret),
        _ => None,
    }
}

/// A volume of somebody else's Secret: the name of a Secret may be longer than that of a volume.
fn volume_of(secret: &str) -> String {
    format!("secret-{}", &ContentHash::of_json(&secret).hex()[..8])
}

/// Where they are mounted. What is mounted file by file leaves what the image has beside it.
pub(super) fn mounts(program: &Program<'_>) -> impl Iterator<Item = Value> {
    let files = program.files.iter();
    files.map(|(path, WorkloadFile { content, .. })| {
        let (volume, key) = match content {
            EnvValue::Plain(_) => ("files".to_owned(), key(path)),
            EnvValue::Secret {
                from: SecretRef::Kubernetes(other),
                ..
            } => (volume_of(&other.secret), other.key.clone()),
            EnvValue::Secret { name, .. } => ("secret-files".to_owned(), name.clone()),
        };
        json!({"name": volume, "mountPath": path, "subPath": key, "readOnly": true})
    })
}

/// The variables that say where they are.
pub(super) fn variables(program: &Program<'_>) -> Vec<Value> {
    if program.files.is_empty() {
        return Vec::new();
    }
    let files = program.files.iter();
    let own = files.filter_map(|(path, file)| {
        let name = file.variable.as_ref()?;
        Some(json!({"name": name, "value": path}))
    });
    std::iter::once(json!({"name": FILES_VARIABLE, "value": ""}))
        .chain(own)
        .collect()
}

/// The key of a path: the file's name, as far as a key may have its letters, and what tells it from
/// one of the same name in another folder.
fn key(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let plain = |letter: char| {
        if letter.is_ascii_alphanumeric() || "-_.".contains(letter) {
            letter
        } else {
            '_'
        }
    };
    let name: String = name.chars().take(100).map(plain).collect();
    let hash = ContentHash::of_json(&path);
    format!("{}-{name}", &hash.hex()[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_the_files_name_and_is_its_paths_own() {
        let (one, other) = (key(Path::new("/a/app.toml")), key(Path::new("/b/app.toml")));
        assert!(one.ends_with("-app.toml") && other.ends_with("-app.toml"));
        assert_ne!(one, other);
        assert!(key(Path::new("/a/ä b")).ends_with("-__b"));
    }
}
