//! The builder `pack`: a command makes files, and the files make one reproducible layer on a base.
//!
//! [`inputs`] reads what a build depends on, [`layer`] packs the files, and [`program`] sees that
//! what starts the service runs on the image's platform. For several platforms the command runs
//! once for each.

mod inputs;
mod layer;
mod program;

use std::collections::BTreeMap;
use std::path::Path;

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::driver::builder::files::context;
use crate::driver::builder::hashing::Layer;
use crate::driver::builder::{blocking, command, image, io, misplaced, unmoved};
use crate::driver::scm::git::Git;
use crate::model::Platform;
use crate::model::build::{Base, BuildSpec, Inputs, PackSpec};
use crate::port::builder::{BuildError, BuildRequest};
use crate::port::registry::{BaseImage, BaseImages, Bases, Built, BuiltImage, asked};
use crate::port::{Builder, Progress};

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The builder.
#[derive(Debug, Default, Clone, Copy)]
pub struct Pack;

fn pack(spec: &BuildSpec) -> Result<&PackSpec, BuildError> {
    match spec {
        BuildSpec::Pack(spec) => Ok(spec),
        BuildSpec::Dockerfile(_) => Err(misplaced()),
    }
}

/// What the base of a specification that has one names: it must be there for every platform.
fn named<'a>(spec: &PackSpec, bases: &'a Bases) -> Result<Option<&'a BaseImages>, BuildError> {
    let Base::Image(reference) = &spec.base else {
        return Ok(None);
    };
    let missing = || BuildError::NoBase {
        reference: reference.clone(),
        looked: "its registry does not have it".to_owned(),
    };
    let found = bases.get(reference).ok_or_else(missing)?;
    let lacks = asked(&spec.platforms)
        .into_iter()
        .find(|platform| !found.images.contains_key(platform));
    lacks.map_or(Ok(Some(found)), |platform| {
        Err(image::no_base_for(reference, &platform))
    })
}

#[async_trait]
impl Builder for Pack {
    async fn bases(&self, _: &Path, spec: &BuildSpec) -> Result<Vec<String>, BuildError> {
        Ok(match &pack(spec)?.base {
            Base::Scratch => Vec::new(),
            Base::Image(reference) => vec![reference.clone()],
        })
    }

    async fn inputs(
        &self,
        root: &Path,
        spec: &BuildSpec,
        bases: &Bases,
    ) -> Result<Inputs, BuildError> {
        let spec = pack(spec)?.clone();
        let base = named(&spec, bases)?.map(|base| base.digest.clone());
        let context = context(root, &spec.context)?;
        let tracked = if inputs::obeys_ignore_files(&spec) {
            let found = Git::new(context.clone()).tracked_but_ignored().await;
            found.map_err(|error| BuildError::Invalid {
                reason: format!("asking which files are tracked: {error}"),
            })?
        } else {
            Vec::new()
        };

        let root = root.to_path_buf();
        blocking(move || inputs::read(&root, &context, &spec, base, tracked)).await
    }

    async fn build(
        &self,
        request: &BuildRequest,
        progress: Progress<'_>,
        cancel: &CancellationToken,
    ) -> Result<Built, BuildError> {
        unmoved(
            request,
            &self
                .inputs(&request.root, &request.spec, &request.bases)
                .await?,
        )?;
        let spec = pack(&request.spec)?;
        let mut images = Vec::new();
        for platform in asked(&spec.platforms) {
            if !spec.platforms.is_empty() {
                progress(&format!("for {platform}:"));
            }
            let image = one(request, spec, &platform, progress, cancel).await?;
            images.push((platform, image));
        }

        let mut annotations = image::annotations(request);
        if let (Base::Image(reference), Some(base)) = (&spec.base, named(spec, &request.bases)?) {
            image::annotate_base(&mut annotations, reference, &base.digest);
        }
        Ok(image::whole(request, images, &annotations))
    }
}

/// The image for one platform: the command makes its files anew.
async fn one(
    request: &BuildRequest,
    spec: &PackSpec,
    platform: &Platform,
    progress: Progress<'_>,
    cancel: &CancellationToken,
) -> Result<BuiltImage, BuildError> {
    if !spec.run.is_empty() {
        let folder = request.root.join(&spec.context);
        let command = command::Line {
            vector: &spec.run,
            folder: &folder,
            env: &variables(request, platform),
        };
        command::run(&command, spec.within, progress, cancel).await?;
    }

    let (request, spec, platform) = (request.clone(), spec.clone(), platform.clone());
    let (image, skipped) = blocking(move || {
        let folder = crate::files::temporary::folder()
            .map_err(io("making", Path::new("a temporary folder")))?;
        let (layer, skipped) = layer::pack(&request.root, &spec, &platform, folder.path())?;
        let image = assemble(&request, &spec, &platform, layer, folder)?;
        Ok((image, skipped))
    })
    .await?;
    for path in skipped {
        let path = path.display();
        progress(&format!(
            "{path} is a socket, a pipe or a device: no image has one, it is left out"
        ));
    }
    Ok(image)
}

/// What a command is told: the commit, its time, and the platform by the names that Dockerfiles
/// have for it.
fn variables(request: &BuildRequest, platform: &Platform) -> BTreeMap<String, String> {
    let time = request.source.committed_at.unwrap_or(0).to_string();
    let variant = platform.variant().unwrap_or_default().to_owned();
    let mut env = BTreeMap::from([
        ("SOURCE_DATE_EPOCH".to_owned(), time),
        ("TARGETPLATFORM".to_owned(), platform.to_string()),
        ("TARGETOS".to_owned(), platform.os().to_owned()),
        ("TARGETARCH".to_owned(), platform.architecture().to_owned()),
        ("TARGETVARIANT".to_owned(), variant),
    ]);
    env.extend(
        request
            .source
            .commit
            .clone()
            .map(|commit| ("SHIPIT_COMMIT".to_owned(), commit)),
    );
    env
}

fn assemble(
    request: &BuildRequest,
    spec: &PackSpec,
    platform: &Platform,
    layer: Layer,
    folder: TempDir,
) -> Result<BuiltImage, BuildError> {
    let base = named(spec, &request.bases)?.and_then(|base| base.images.get(platform));
    let config = config(request, spec, platform, base, &layer)?;
    let mut layers = base.map(|base| base.layers.clone()).unwrap_or_default();
    layers.push(layer.blob);
    let mut annotations = image::annotations(request);
    if let (Base::Image(reference), Some(base)) = (&spec.base, base) {
        image::annotate_base(&mut annotations, reference, &base.digest);
    }
    image::assemble(&config, layers, &annotations, folder)
}

fn config(
    request: &BuildRequest,
    spec: &PackSpec,
    platform: &Platform,
    base: Option<&BaseImage>,
    layer: &Layer,
) -> Result<Value, BuildError> {
    let created = image::created(request);
    let mut config = base_config(platform, base)?;
    let step =
        json!({"created": created, "created_by": format!("shipit pack {}", spec.run.join(" "))});
    config.insert("created".to_owned(), json!(created));
    push(&mut config, "history", step);
    let rootfs = config
        .entry("rootfs")
        .or_insert_with(|| json!({"type": "layers", "diff_ids": []}));
    if let Some(rootfs) = rootfs.as_object_mut() {
        push(rootfs, "diff_ids", json!(layer.diff_id));
    }

    let runtime = config.entry("config").or_insert_with(|| json!({}));
    if let Some(runtime) = runtime.as_object_mut() {
        fill(runtime, spec);
    }
    Ok(Value::Object(config))
}

fn base_config(
    platform: &Platform,
    base: Option<&BaseImage>,
) -> Result<Map<String, Value>, BuildError> {
    let Some(base) = base else {
        let mut fresh = json!({});
        image::set_platform(&mut fresh, platform);
        return Ok(fresh.as_object().cloned().unwrap_or_default());
    };

    let invalid = || BuildError::Invalid {
        reason: format!(
            "the base image {} has no readable configuration",
            base.digest
        ),
    };
    serde_json::from_slice::<Value>(&base.config)
        .ok()
        .and_then(|value| value.as_object().cloned())
        .ok_or_else(invalid)
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
    let mut lines: Vec<String> = base
        .iter()
        .filter_map(|line| line.as_str().map(str::to_owned))
        .collect();
    if !lines.iter().any(|line| line.starts_with("PATH=")) {
        lines.push(PATH.to_owned());
    }

    lines.retain(|line| {
        line.split_once('=')
            .is_none_or(|(name, _)| !spec.env.contains_key(name))
    });
    lines.extend(
        spec.env
            .iter()
            .map(|(name, value)| format!("{name}={value}")),
    );
    lines
}
