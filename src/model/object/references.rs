//! What objects refer to by name, and renaming them with all references.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::model::object::Manifest;

/// Where the Secret of a token says whose it is.
const ACCOUNT: &str = "/metadata/annotations/kubernetes.io~1service-account.name";

/// New names by kind and old name. A rename of a kind holds for its references too.
pub type Names = BTreeMap<(String, String), String>;

/// Renames objects, and everything in them that refers to one of them by name.
pub fn rename(manifests: &mut [Manifest], names: &Names) {
    if names.is_empty() {
        return;
    }

    for manifest in manifests {
        let kind = manifest.kind().to_owned();
        let own = names.get(&(kind, manifest.name().to_owned())).cloned();
        if let Some(new) = own {
            manifest.0["metadata"]["name"] = Value::String(new);
        }
        let mut see = |kind: &str, name: &mut String| {
            if let Some(new) = names.get(&(kind.to_owned(), name.clone())) {
                name.clone_from(new);
            }
        };
        if let Some(account) = manifest.0.pointer_mut(ACCOUNT) {
            whole(account, "ServiceAccount", &mut see);
        }
        if let Some(map) = manifest.0.as_object_mut() {
            for (key, value) in map.iter_mut().filter(|(key, _)| may_refer(key)) {
                visit(key, value, &mut see);
            }
        }
    }
}

/// What an object refers to by name, in its own namespace: kind and name.
#[must_use]
pub fn references(manifest: &Manifest) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut body = manifest.body().clone();
    if let Some(account) = body.pointer(ACCOUNT).and_then(Value::as_str) {
        found.push(("ServiceAccount".to_owned(), account.to_owned()));
    }
    if let Some(map) = body.as_object_mut() {
        for (key, value) in map.iter_mut().filter(|(key, _)| may_refer(key)) {
            visit(key, value, &mut |kind, name| {
                found.push((kind.to_owned(), name.clone()));
            });
        }
    }
    found
}

/// Whether a part of an object can refer to others: what names it and what it carries for programs
/// do not.
fn may_refer(key: &str) -> bool {
    !matches!(key, "metadata" | "data" | "binaryData" | "stringData")
}

/// Goes through the references below `key`. Which keys refer to which kind is what the API's
/// reference says.
fn visit(key: &str, value: &mut Value, see: &mut impl FnMut(&str, &mut String)) {
    match key {
        "configMapRef" | "configMapKeyRef" | "configMap" => field(value, "name", "ConfigMap", see),
        "secretRef" | "secretKeyRef" | "nodePublishSecretRef" => {
            field(value, "name", "Secret", see);
        }
        "secret" => {
            field(value, "secretName", "Secret", see);
            field(value, "name", "Secret", see);
        }
        "persistentVolumeClaim" => field(value, "claimName", "PersistentVolumeClaim", see),
        "serviceAccountName" | "serviceAccount" => whole(value, "ServiceAccount", see),
        "serviceName" => whole(value, "Service", see),
        "secretName" => whole(value, "Secret", see),
        "service" => field(value, "name", "Service", see),
        "roleRef" | "targetRef" | "describedObject" | "dataSource" | "dataSourceRef"
        | "workloadRef" => by_kind(value, "", see),
        "scaleTargetRef" => by_kind(value, "Deployment", see),
        "authenticationRef" => by_kind(value, "TriggerAuthentication", see),
        "issuerRef" => by_kind(value, "Issuer", see),
        "subjects" | "targetRefs" => each(value, "", see),
        "backendRefs" => each(value, "Service", see),
        "parentRefs" => each(value, "Gateway", see),
        "imagePullSecrets" | "certificateRefs" | "secrets" | "secretTargetRef" => {
            each(value, "Secret", see);
        }
        "backendRef" => by_kind(value, "Service", see),
        "priorityClassName" => whole(value, "PriorityClass", see),
        "runtimeClassName" => whole(value, "RuntimeClass", see),
        "storageClassName" => whole(value, "StorageClass", see),
        "ingressClassName" => whole(value, "IngressClass", see),
        "gatewayClassName" => whole(value, "GatewayClass", see),
        "volumeName" => whole(value, "PersistentVolume", see),
        "persistentVolumeClaimName" => whole(value, "PersistentVolumeClaim", see),
        // The entry points of an Argo Rollout.
        "activeService" | "previewService" | "stableService" | "canaryService" => {
            whole(value, "Service", see);
        }
        _ => {}
    }

    match value {
        Value::Object(map) => map
            .iter_mut()
            .for_each(|(key, value)| visit(key, value, see)),
        Value::Array(items) => {
            for item in items {
                if let Value::Object(map) = item {
                    map.iter_mut()
                        .for_each(|(key, value)| visit(key, value, see));
                }
            }
        }
        _ => {}
    }
}

fn whole(value: &mut Value, kind: &str, see: &mut impl FnMut(&str, &mut String)) {
    if let Value::String(name) = value {
        see(kind, name);
    }
}

fn field(value: &mut Value, name: &str, kind: &str, see: &mut impl FnMut(&str, &mut String)) {
    if let Some(inner) = value.as_object_mut().and_then(|map| map.get_mut(name)) {
        whole(inner, kind, see);
    }
}

/// References in a list; one that does not say its kind is of this one.
fn each(value: &mut Value, default: &str, see: &mut impl FnMut(&str, &mut String)) {
    let items = value.as_array_mut().into_iter().flatten();
    items.for_each(|item| by_kind(item, default, see));
}

fn by_kind(value: &mut Value, default: &str, see: &mut impl FnMut(&str, &mut String)) {
    let kind = value
        .get("kind")
        .and_then(Value::as_str)
        .unwrap_or(default)
        .to_owned();
    field(value, "name", &kind, see);
}
