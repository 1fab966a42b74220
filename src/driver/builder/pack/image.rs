//! Configuration and manifest: what makes a layer an image (OCI image-spec, `config.md` and `manifest.md`).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::driver::builder::pack::io;
use crate::driver::builder::pack::layer::Layer;
use crate::model::Digest;
use crate::model::build::{Base, PackSpec};
use crate::port::builder::{BuildError, BuildRequest};
use crate::port::registry::{BaseImage, Blob, BuiltImage};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub(super) fn assemble(
    request: &BuildRequest,
    spec: &PackSpec,
    layer: Layer,
    folder: TempDir,
) -> Result<BuiltImage, BuildError> {
    let bytes = canonical(&config(request, spec, &layer.diff_id)?);
    let path = folder.path().join("config.json");
    std::fs::write(&path, &bytes).map_err(io("writing", &path))?;
    let config = Blob {
        media_type: CONFIG.to_owned(),
        digest: Digest::of(&bytes),
        size: bytes.len() as u64,
        file: Some(path),
    };
    let mut layers = request.base.as_ref().map(|base| base.layers.clone()).unwrap_or_default();
    layers.push(layer.blob);
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(&config),
        "layers": layers.iter().map(descriptor).collect::<Vec<_>>(),
        "annotations": annotations(request, spec),
    });
    let manifest = canonical(&manifest);
    Ok(BuiltImage { manifest, media_type: MANIFEST.to_owned(), config, layers, folder: Some(folder) })
}

fn canonical(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

fn descriptor(blob: &Blob) -> Value {
    json!({"mediaType": blob.media_type, "digest": blob.digest, "size": blob.size})
}

/// The commit's time: the same commit gives the same image whenever it is built.
fn created(request: &BuildRequest) -> String {
    let seconds = request.source.committed_at.unwrap_or(0);
    Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}

fn annotations(request: &BuildRequest, spec: &PackSpec) -> BTreeMap<String, String> {
    let name = |key: &str| format!("org.opencontainers.image.{key}");
    let mut annotations =
        BTreeMap::from([(name("created"), created(request)), (name("title"), request.title.clone())]);
    if let Some(commit) = &request.source.commit {
        let dirty = if request.source.dirty { "-dirty" } else { "" };
        annotations.insert(name("revision"), format!("{commit}{dirty}"));
    }
    if let Some(origin) = &request.source.origin {
        annotations.insert(name("source"), origin.clone());
    }
    if let (Base::Image(reference), Some(base)) = (&spec.base, &request.base) {
        annotations.insert(name("base.name"), reference.clone());
        annotations.insert(name("base.digest"), base.digest.to_string());
    }
    annotations
}

fn config(request: &BuildRequest, spec: &PackSpec, diff_id: &Digest) -> Result<Value, BuildError> {
    let mut config = base_config(request.base.as_ref())?;
    let step =
        json!({"created": created(request), "created_by": format!("shipit pack {}", spec.run.join(" "))});
    config.insert("created".to_owned(), json!(created(request)));
    push(&mut config, "history", step);
    let rootfs = config.entry("rootfs").or_insert_with(|| json!({"type": "layers", "diff_ids": []}));
    if let Some(rootfs) = rootfs.as_object_mut() {
        push(rootfs, "diff_ids", json!(diff_id));
    }
    let runtime = config.entry("config").or_insert_with(|| json!({}));
    if let Some(runtime) = runtime.as_object_mut() {
        fill(runtime, spec);
    }
    Ok(Value::Object(config))
}

fn base_config(base: Option<&BaseImage>) -> Result<Map<String, Value>, BuildError> {
    let Some(base) = base else {
        let fresh = json!({"architecture": architecture(), "os": std::env::consts::OS});
        return Ok(fresh.as_object().cloned().unwrap_or_default());
    };
    let invalid = || BuildError::Invalid {
        reason: format!("the base image {} has no readable configuration", base.digest),
    };
    serde_json::from_slice::<Value>(&base.config)
        .ok()
        .and_then(|value| value.as_object().cloned())
        .ok_or_else(invalid)
}

/// The architecture by its Go name, as the specification asks.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

fn push(map: &mut Map<String, Value>, key: &str, value: Value) {
    let list = map.entry(key).or_insert_with(|| json!([]));
    if let Some(list) = list.as_array_mut() {
        list.push(value);
    }
}

fn fill(runtime: &mut Map<String, Value>, spec: &PackSpec) {
    let mut set = |key: &str, value: Value| runtime.insert(key.to_owned(), value);
    if !spec.entrypoint.is_empty() {
        set("Entrypoint", json!(spec.entrypoint));
        set("Cmd", json!([]));
    }
    if let Some(user) = &spec.user {
        set("User", json!(user));
    }
    if let Some(folder) = &spec.workdir {
        set("WorkingDir", json!(folder));
    }
    if let Some(port) = spec.port {
        set("ExposedPorts", json!({format!("{port}/tcp"): {}}));
    }
    if !spec.labels.is_empty() {
        set("Labels", json!(spec.labels));
    }
    let env = environment(runtime.get("Env"), spec);
    runtime.insert("Env".to_owned(), json!(env));
}

/// The base's variables, with the specification's over them.
fn environment(base: Option<&Value>, spec: &PackSpec) -> Vec<String> {
    let base = base.and_then(Value::as_array).cloned().unwrap_or_default();
    let mut lines: Vec<String> = base.iter().filter_map(|line| line.as_str().map(str::to_owned)).collect();
    if !lines.iter().any(|line| line.starts_with("PATH=")) {
        lines.push(PATH.to_owned());
    }
    lines.retain(|line| line.split_once('=').is_none_or(|(name, _)| !spec.env.contains_key(name)));
    lines.extend(spec.env.iter().map(|(name, value)| format!("{name}={value}")));
    lines
}
