//! An image's files, unpacked once per digest, with every blob held against its digest first.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Component, Path, PathBuf};

use flate2::read::GzDecoder;
use oci_spec::image::{Descriptor, ImageConfiguration, ImageManifest};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::agent::Directory;
use crate::model::{Digest, Platform, platform};
use crate::port::engine::Pull;

/// The largest document that is read.
const DOCUMENT_LIMIT: u64 = 8 << 20;

/// What the image says about how it is started.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ImageMeta {
    /// Entrypoint and arguments.
    pub command: Vec<String>,
    /// Its variables.
    pub env: BTreeMap<String, String>,
    /// Where it starts.
    pub workdir: PathBuf,
    /// As whom.
    pub user: Option<String>,
}

/// Why an image cannot be used, in words.
pub(super) type Reason = String;

/// Verifies and unpacks an image, unless it is there. Everything is read and verified before the folder gets its
/// name, so that what is there is whole.
pub(super) fn fetch(
    directory: &Directory,
    pull: &Pull,
    image: &Digest,
) -> Result<ImageMeta, Reason> {
    if let Ok(meta) = read_meta(directory, image) {
        return Ok(meta);
    }
    let Pull::Layout(layout) = pull else {
        return Err(
            "only Docker fetches images from a registry by itself: apply again with this version of shipit"
                .to_owned(),
        );
    };
    let manifest = manifest(layout, image)?;
    let config: ImageConfiguration = document(layout, &digest(manifest.config())?)?;
    for layer in manifest.layers() {
        verify(layout, &digest(layer)?)?;
    }
    fs::create_dir_all(directory.images())
        .map_err(|error| said("making", &directory.images(), &error))?;
    let beside = tempfile::Builder::new()
        .prefix(".unpacking-")
        .tempdir_in(directory.images())
        .map_err(|error| said("making a folder in", &directory.images(), &error))?;
    let files = beside.path().join("files");
    fs::create_dir(&files).map_err(|error| said("making", &files, &error))?;
    for layer in manifest.layers() {
        unpack(layout, layer, &files)?;
    }
    let meta = meta(&config);
    let text = serde_json::to_vec(&meta).unwrap_or_default();
    let path = beside.path().join("image.json");
    fs::write(&path, text).map_err(|error| said("writing", &path, &error))?;
    settle(&beside.keep(), &directory.rootfs(image))?;
    Ok(meta)
}

/// Writes an image of a layout as the archive that `docker load` reads, every blob held against its digest; gives its
/// configuration's digest, which is its name there.
pub(super) fn archive(layout: &Path, image: &Digest, to: &mut File) -> Result<Digest, Reason> {
    let manifest = manifest(layout, image)?;
    let config = digest(manifest.config())?;
    let layers: Vec<Digest> = manifest
        .layers()
        .iter()
        .map(digest)
        .collect::<Result<_, _>>()?;
    let name = |digest: &Digest| format!("blobs/sha256/{}", digest.hex());
    let names: Vec<String> = layers.iter().map(name).collect();
    let listed = serde_json::json!([{"Config": name(&config), "RepoTags": null, "Layers": names}])
        .to_string();
    let mut tar = tar::Builder::new(io::BufWriter::new(to));
    let broken = |error: io::Error| format!("packing the image: {error}");
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(listed.len() as u64);
    tar.append_data(&mut header, "manifest.json", listed.as_bytes())
        .map_err(broken)?;
    let once: std::collections::BTreeSet<&Digest> = layers.iter().chain([&config]).collect();
    for digest in once {
        verify(layout, digest)?;
        tar.append_file(name(digest), &mut blob(layout, digest)?)
            .map_err(broken)?;
    }
    tar.into_inner()
        .and_then(|mut file| io::Write::flush(&mut file))
        .map_err(broken)?;
    Ok(config)
}

/// Where an unpacked image's files are.
pub(super) fn files(directory: &Directory, image: &Digest) -> PathBuf {
    directory.rootfs(image).join("files")
}

/// What an unpacked image says about how it is started.
pub(super) fn read_meta(directory: &Directory, image: &Digest) -> Result<ImageMeta, Reason> {
    let path = directory.rootfs(image).join("image.json");
    let bytes = fs::read(&path).map_err(|error| said("reading", &path, &error))?;
    serde_json::from_slice(&bytes).map_err(|error| format!("{}: {error}", path.display()))
}

/// Takes unpacked images away that nobody refers to.
pub(super) fn sweep(directory: &Directory, used: &[Digest]) {
    let Ok(entries) = fs::read_dir(directory.images()) else {
        return;
    };
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_used = used.iter().any(|digest| digest.hex() == name);
        if !is_used && !name.starts_with('.') {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn said(what: &str, path: &Path, error: &io::Error) -> Reason {
    format!("{what} {}: {error}", path.display())
}

/// Another placement of the same image may have been faster.
fn settle(from: &Path, to: &Path) -> Result<(), Reason> {
    match fs::rename(from, to) {
        Ok(()) => Ok(()),
        Err(_) if to.join("image.json").exists() => {
            let _ = fs::remove_dir_all(from);
            Ok(())
        }
        Err(error) => Err(said("naming", to, &error)),
    }
}

fn digest(descriptor: &Descriptor) -> Result<Digest, Reason> {
    let text = descriptor.digest().to_string();
    text.parse()
        .map_err(|_| format!("{text} is not a digest that is understood"))
}

fn blob(layout: &Path, digest: &Digest) -> Result<File, Reason> {
    let path = layout.join("blobs").join("sha256").join(digest.hex());
    File::open(&path).map_err(|error| said("opening", &path, &error))
}

fn expect(digest: &Digest, found: &Digest) -> Result<(), Reason> {
    if digest == found {
        return Ok(());
    }
    Err(format!(
        "the image is corrupt: a blob should have the digest {digest} and has {found}"
    ))
}

fn document<T: serde::de::DeserializeOwned>(layout: &Path, digest: &Digest) -> Result<T, Reason> {
    let mut bytes = Vec::new();
    let read = blob(layout, digest)?
        .take(DOCUMENT_LIMIT)
        .read_to_end(&mut bytes);
    read.map_err(|error| format!("{digest}: {error}"))?;
    expect(digest, &Digest::of(&bytes))?;
    serde_json::from_slice(&bytes).map_err(|error| format!("{digest}: {error}"))
}

/// An image's manifest; of an index the one for this machine.
fn manifest(layout: &Path, image: &Digest) -> Result<ImageManifest, Reason> {
    let index: Value = document(layout, image)?;
    if !index["manifests"].is_array() {
        return document(layout, image);
    }
    let own = Platform::own();
    let there: Vec<String> = platform::images(&index)
        .map(|(platform, _)| platform.to_string())
        .collect();
    let missing = || {
        let there = there.join(", ");
        format!(
            "the image is not made for {own}, which this machine is, only for {there}: add it under `build.platforms`"
        )
    };
    document(
        layout,
        &own.choose(platform::images(&index)).ok_or_else(missing)?,
    )
}

fn verify(layout: &Path, digest: &Digest) -> Result<(), Reason> {
    let mut file = blob(layout, digest)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file
            .read(&mut buffer)
            .map_err(|error| format!("{digest}: {error}"))?
        {
            0 => return expect(digest, &Digest::from_sha256(hasher)),
            count => hasher.update(&buffer[..count]),
        }
    }
}

/// Unpacks one layer over those below it: `.wh.NAME` takes NAME away, `.wh..wh..opq` all that was in its folder
/// (image-spec, `layer.md`).
fn unpack(layout: &Path, layer: &Descriptor, into: &Path) -> Result<(), Reason> {
    let file = blob(layout, &digest(layer)?)?;
    let media_type = layer.media_type().to_string();
    // OCI says `+gzip`, Docker says `.gzip`; both say `tar` before it.
    let reader: Box<dyn Read> = match media_type.rsplit(['.', '+']).next() {
        Some("gzip") => Box::new(GzDecoder::new(file)),
        Some("tar") => Box::new(file),
        _ => {
            return Err(format!(
                "layers of the type {media_type} are not understood"
            ));
        }
    };
    let mut archive = tar::Archive::new(reader);
    archive.set_preserve_mtime(false);
    archive.set_overwrite(true);
    let broken = |error: io::Error| format!("unpacking a layer: {error}");
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let path = entry.path().map_err(broken)?.into_owned();
        if !is_inside(&path) {
            return Err(format!(
                "a layer names {}, which is outside of the image",
                path.display()
            ));
        }
        if !white_out(into, &path).map_err(broken)? {
            // Refuses to write through links that lead out of the folder.
            entry.unpack_in(into).map_err(broken)?;
        }
    }
    Ok(())
}

fn is_inside(path: &Path) -> bool {
    path.components().all(|part| {
        matches!(
            part,
            Component::Normal(_) | Component::CurDir | Component::RootDir
        )
    })
}

fn white_out(into: &Path, path: &Path) -> io::Result<bool> {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return Ok(false);
    };
    let Some(hidden) = name.strip_prefix(".wh.") else {
        return Ok(false);
    };
    let parent = path.parent().unwrap_or(Path::new(""));
    let folder = into.join(parent.strip_prefix("/").unwrap_or(parent));
    if hidden == ".wh..opq" {
        for entry in fs::read_dir(&folder)
            .into_iter()
            .flatten()
            .filter_map(Result::ok)
        {
            remove(&entry.path())?;
        }
    } else {
        remove(&folder.join(hidden))?;
    }
    Ok(true)
}

fn remove(path: &Path) -> io::Result<()> {
    let is_folder = fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir());
    let removed = if is_folder {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn meta(config: &ImageConfiguration) -> ImageMeta {
    let Some(config) = config.config() else {
        return ImageMeta {
            workdir: "/".into(),
            ..ImageMeta::default()
        };
    };
    let words = |words: &Option<Vec<String>>| words.clone().unwrap_or_default();
    let command = [words(config.entrypoint()), words(config.cmd())].concat();
    let env = words(config.env())
        .iter()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let workdir = config
        .working_dir()
        .as_deref()
        .filter(|path| !path.is_empty())
        .unwrap_or("/")
        .into();
    ImageMeta {
        command,
        env,
        workdir,
        user: config.user().clone(),
    }
}
