//! What a tool made: the archive of `docker save`, which buildah writes as well.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Component, Path, PathBuf};

use serde_json::{Value, json};

use crate::driver::builder::hashing::LayerWriter;
use crate::driver::builder::{files, io};
use crate::files::beneath::{Links, Root};
use crate::model::Digest;
use crate::port::builder::BuildError;
use crate::port::registry::{BaseImage, Blob};

/// The archive's name in the build's folder.
pub(super) const ARCHIVE: &str = "image.tar";

/// An image that a tool made.
pub(super) struct Made {
    pub config: Value,
    pub layers: Vec<Blob>,
}

fn invalid(reason: impl std::fmt::Display) -> BuildError {
    BuildError::Invalid {
        reason: format!("the image that was built cannot be read: {reason}"),
    }
}

/// Unpacks an archive that shipit or a tool of this machine wrote; what would lie outside is
/// refused.
pub(super) fn all(archive: &Path, into: &Path) -> Result<(), BuildError> {
    std::fs::create_dir_all(into).map_err(io("making", into))?;
    let file = File::open(archive).map_err(io("reading", archive))?;
    let mut tar = tar::Archive::new(std::io::BufReader::new(file));
    tar.set_preserve_mtime(true);
    tar.set_overwrite(true);
    tar.unpack(into).map_err(io("unpacking", archive))
}

/// Reads the archive in a folder. `created` takes the place of the clock's time.
pub(super) fn read(folder: &Path, bases: &[&BaseImage], created: &str) -> Result<Made, BuildError> {
    let inside = folder.join("image");
    all(&folder.join(ARCHIVE), &inside)?;
    std::fs::remove_file(folder.join(ARCHIVE)).map_err(io("removing", &folder.join(ARCHIVE)))?;
    // Links in it are the tool's own, and lead to other files of it.
    let made = Root::open(&inside, Links::StayBeneath).map_err(io("reading", &inside))?;
    let document = json_file(&made, Path::new("manifest.json"))?;
    let only = document
        .as_array()
        .filter(|images| images.len() == 1)
        .map(|images| &images[0]);
    let only = only.ok_or_else(|| invalid("there is not exactly one image in the archive"))?;
    let mut config = json_file(&made, member(&only["Config"])?)?;
    let files: Vec<PathBuf> = only["Layers"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|name| Ok(inside.join(made.real(member(name)?).map_err(invalid)?)))
        .collect::<Result<_, _>>()?;
    let diff_ids = diff_ids(&config)?;
    if diff_ids.len() != files.len() {
        return Err(invalid(format!(
            "{} layers, and {} of them named",
            files.len(),
            diff_ids.len()
        )));
    }

    let base = base(&diff_ids, bases);
    let reused = base.map(|base| base.layers.as_slice()).unwrap_or_default();
    let rest: Vec<(&Digest, &PathBuf)> = diff_ids.iter().zip(&files).skip(reused.len()).collect();
    let own = compress_all(&rest, folder)?;
    timeless(&mut config, created, base);
    Ok(Made {
        config,
        layers: reused.iter().cloned().chain(own).collect(),
    })
}

fn json_file(made: &Root, path: &Path) -> Result<Value, BuildError> {
    let bytes = made.read(path, 8 << 20).map_err(invalid)?;
    serde_json::from_slice(&bytes).map_err(invalid)
}

/// A file that the archive's manifest names.
fn member(name: &Value) -> Result<&Path, BuildError> {
    let name = Path::new(name.as_str().unwrap_or_default());
    let plain = name
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    if !plain || name.as_os_str().is_empty() {
        return Err(invalid(format!("`{}` is no file of it", name.display())));
    }
    Ok(name)
}

fn diff_ids(config: &Value) -> Result<Vec<Digest>, BuildError> {
    let ids = config["rootfs"]["diff_ids"]
        .as_array()
        .into_iter()
        .flatten();
    ids.map(|id| id.as_str().unwrap_or_default().parse().map_err(invalid))
        .collect()
}

/// The base whose layers are the image's first ones, the one with the most.
fn base<'a>(diff_ids: &[Digest], bases: &[&'a BaseImage]) -> Option<&'a BaseImage> {
    let whole = |base: &&BaseImage| {
        let config: Value = serde_json::from_slice(&base.config).unwrap_or_default();
        let own = self::diff_ids(&config).unwrap_or_default();
        own.len() == base.layers.len() && diff_ids.starts_with(&own)
    };
    bases
        .iter()
        .copied()
        .filter(whole)
        .max_by_key(|base| base.layers.len())
}

/// Takes out of a configuration what tells of the machine and the clock. The base's own history
/// stays as it is.
fn timeless(config: &mut Value, created: &str, base: Option<&BaseImage>) {
    let below: Value = base
        .and_then(|base| serde_json::from_slice(&base.config).ok())
        .unwrap_or_default();
    let keep = below["history"].as_array().map_or(0, Vec::len);
    let Some(map) = config.as_object_mut() else {
        return;
    };

    for key in [
        "container",
        "container_config",
        "docker_version",
        "id",
        "parent",
    ] {
        map.remove(key);
    }

    map.insert("created".to_owned(), json!(created));
    let steps = map
        .get_mut("history")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten();
    for step in steps.skip(keep) {
        if let Some(step) = step.as_object_mut() {
            step.insert("created".to_owned(), json!(created));
        }
    }
}

/// Compresses layers side by side: it is what takes the time.
fn compress_all(layers: &[(&Digest, &PathBuf)], folder: &Path) -> Result<Vec<Blob>, BuildError> {
    let width = std::thread::available_parallelism().map_or(2, usize::from);
    let next = std::sync::atomic::AtomicUsize::new(0);
    let work = || -> Result<BTreeMap<usize, Blob>, BuildError> {
        let mut done = BTreeMap::new();
        loop {
            let number = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let Some((diff_id, from)) = layers.get(number) else {
                return Ok(done);
            };
            let to = folder.join(format!("layer-{number}.tar.gz"));
            done.insert(number, compress(diff_id, from, &to)?);
        }
    };

    let parts: Vec<Result<BTreeMap<usize, Blob>, BuildError>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..width.min(layers.len()))
            .map(|_| scope.spawn(work))
            .collect();
        let failed = |_| Err(invalid("compressing failed"));
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(failed))
            .collect()
    });

    let mut blobs = BTreeMap::new();
    for part in parts {
        blobs.extend(part?);
    }
    Ok(blobs.into_values().collect())
}

fn compress(diff_id: &Digest, from: &Path, to: &Path) -> Result<Blob, BuildError> {
    let mut source = files::open(from)?;
    let mut writer = LayerWriter::create(to)?;
    std::io::copy(&mut source, &mut writer).map_err(io("compressing", from))?;
    let layer = writer.finish()?;
    if layer.diff_id != *diff_id {
        return Err(invalid(format!(
            "layer {diff_id} has the digest {}",
            layer.diff_id
        )));
    }
    Ok(layer.blob)
}
