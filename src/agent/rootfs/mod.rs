//! An image's files, unpacked once per digest, with every blob compared with its digest on the way.
//!
//! [`blobs`] reads the layout folder, [`unpack`] puts the layers over each other, [`limits`] and
//! [`space`] say how much may come out of them, [`seal`] sees what changes afterwards. Start with
//! [`Unpacked::fetch`].

mod blobs;
mod fetch;
mod limits;
mod meta;
mod seal;
pub(in crate::agent) mod sent;
mod space;
#[cfg(test)]
mod tests;
mod unpack;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, PoisonError, RwLock};

use oci_spec::image::ImageConfiguration;
use tempfile::TempDir;

use crate::agent::Directory;
use crate::agent::rootfs::blobs::{Layer, Layout, digest};
pub(in crate::agent) use crate::agent::rootfs::fetch::fetch;
use crate::agent::rootfs::limits::Limits;
pub use crate::agent::rootfs::meta::ImageMeta;
use crate::agent::rootfs::seal::Condition;
pub(super) use crate::agent::rootfs::seal::Tree;
use crate::agent::rootfs::space::Space;
use crate::agent::rootfs::unpack::{Owners, Unpacker};
use crate::files::archive::Budget;
use crate::files::replace;
use crate::model::Digest;
use crate::port::engine::Pull;

/// What the name of an image's folder begins with until the image is whole.
const UNPACKING: &str = ".unpacking-";

/// How many changes of an image are logged one by one.
const LOGGED: usize = 100;

/// Why an image cannot be used, in words.
pub(super) type Reason = String;

/// One image's folder on this machine.
#[derive(Debug, Clone)]
pub(super) struct Unpacked {
    folder: PathBuf,
    digest: Digest,
    tree: Tree,
}

/// Held while an image is looked at, and alone while one is put right.
static ORDER: RwLock<()> = RwLock::new(());

impl Unpacked {
    /// The image with this digest, whether or not it is there.
    pub fn of(directory: &Directory, digest: &Digest, tree: Tree) -> Self {
        let own = directory.rootfs(digest);
        let folder = match tree {
            Tree::Machine => own,
            Tree::Container => {
                let folder = own.with_extension("container");
                // Agents before had one folder for both, and what they started still reads it.
                let is_old = !folder.exists() && own.exists() && !own.join("seal").exists();
                if is_old { own } else { folder }
            }
        };
        Self {
            folder,
            digest: digest.clone(),
            tree,
        }
    }

    /// Where its files are.
    pub fn files(&self) -> PathBuf {
        self.folder.join("files")
    }

    /// What it says about how it is started.
    pub fn meta(&self) -> Result<ImageMeta, Reason> {
        let path = self.folder.join("image.json");
        let bytes = fs::read(&path).map_err(|error| said("reading", &path, &error))?;
        serde_json::from_slice(&bytes).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Unpacks and verifies it, unless it is there and as it was unpacked. Its folder gets its name
    /// when every byte was verified, so that what is there is whole.
    /// A user that it does not have is an error. It stops soon once `unwanted` is set.
    pub fn fetch(&self, pull: &Pull, unwanted: &Arc<AtomicBool>) -> Result<ImageMeta, Reason> {
        if let Ok(meta) = self.meta() {
            self.remember(pull)?;
            self.ensure()?;
            meta.has_its_user(&self.files())?;
            return Ok(meta);
        }
        let budget = Limits::of_agent()?.budget(Arc::clone(unwanted));
        let fresh = self.unpack(pull, &budget)?;
        let in_time = || Ok(budget.in_time()?);
        seal::seal(fresh.path(), self.tree, &in_time)
            .map_err(|error| limits::explain_sealing(fresh.path(), &error))?;
        settle(&fresh.keep(), &self.folder)?;
        self.remember(pull)?;
        self.meta()
    }

    /// The image anew, in a folder of its own beside the others.
    fn unpack(&self, pull: &Pull, budget: &Budget) -> Result<TempDir, Reason> {
        let Pull::Layout(layout) = pull else {
            return Err(
                "only Docker fetches images from a registry by itself: apply again with this \
                 version of shipit"
                    .to_owned(),
            );
        };
        let layout = Layout::open(layout)?;
        let manifest = layout.manifest(&self.digest)?;
        let config: ImageConfiguration = layout.document(&digest(manifest.config())?)?;
        let layers: Vec<Layer> = manifest
            .layers()
            .iter()
            .map(Layer::of)
            .collect::<Result<_, _>>()?;

        let images = self.folder.parent().unwrap_or(&self.folder);
        fs::create_dir_all(images).map_err(|error| said("making", images, &error))?;
        let fresh = tempfile::Builder::new()
            .prefix(UNPACKING)
            .tempdir_in(images)
            .map_err(|error| said("making a folder in", images, &error))?;
        let files = fresh.path().join("files");
        fs::create_dir(&files).map_err(|error| said("making", &files, &error))?;
        let layers = described(layers, &config)?;
        unpack_all(&layout, &layers, &files, (self.tree, budget))?;

        let meta = ImageMeta::of(&config);
        meta.has_its_user(&files)?;
        let text = serde_json::to_vec(&meta).unwrap_or_default();
        let path = fresh.path().join("image.json");
        fs::write(&path, text).map_err(|error| said("writing", &path, &error))?;
        Ok(fresh)
    }

    /// How many bytes it will have on disk, as its layers say; none when it is there.
    fn needs(&self, pull: &Pull) -> Result<u64, Reason> {
        let Pull::Layout(layout) = pull else {
            return Ok(0);
        };
        if self.meta().is_ok() {
            return Ok(0);
        }
        let layout = Layout::open(layout)?;
        let manifest = layout.manifest(&self.digest)?;
        let layers = manifest.layers().iter();
        let sizes = layers.map(|layer| Ok(layout.size(&Layer::of(layer)?)?.unpacked));
        sizes.sum()
    }

    /// Writes down where its layers are.
    fn remember(&self, pull: &Pull) -> Result<(), Reason> {
        let path = self.folder.join("from.json");
        let text = serde_json::to_vec(pull).unwrap_or_default();
        if fs::read(&path).is_ok_and(|known| known == text) {
            return Ok(());
        }
        replace(&path, &text).map_err(|error| said("writing", &path, &error))
    }

    /// What has changed on disk since it was unpacked, in words; none when nothing has, or when it
    /// is not there.
    pub fn damage(&self) -> Option<Reason> {
        let _order = ORDER.read().unwrap_or_else(PoisonError::into_inner);
        if !self.folder.exists() {
            return None;
        }
        match seal::check(&self.folder) {
            Ok(Condition::Whole) => None,
            Ok(Condition::Changed(changes)) => Some(seal::in_words(&changes)),
            Err(error) => Some(format!("it cannot be verified: {error}")),
        }
    }

    /// For the start of an instance: what has changed on disk is unpacked again.
    pub fn ensure(&self) -> Result<(), Reason> {
        if self.damage().is_none() {
            return Ok(());
        }

        let _order = ORDER.write().unwrap_or_else(PoisonError::into_inner);
        let check =
            || seal::check(&self.folder).map_err(|error| said("reading", &self.folder, &error));
        let Condition::Changed(changes) = check()? else {
            return Ok(());
        };
        let words = seal::in_words(&changes);
        let kept = self.folder.join("replaced");
        tracing::warn!(
            image = %self.digest, kept = %kept.display(),
            "an image changed on disk and is put right: {words}"
        );
        for change in changes.iter().take(LOGGED) {
            tracing::warn!(image = %self.digest, "changed: {change}");
        }

        let mut fresh = None;
        let restored = seal::restore(&self.folder, self.tree, &changes, || {
            let unpacked = self.unpack_again()?;
            let files = unpacked.path().join("files");
            fresh = Some(unpacked);
            Ok::<_, Restoring>(files)
        });
        restored.map_err(|Restoring(reason)| {
            format!(
                "the image {} changed on disk ({words}): {reason}",
                self.digest.short()
            )
        })?;
        match check()? {
            Condition::Whole => Ok(()),
            Condition::Changed(changes) => Err(format!(
                "the image {} changes while it is put right: {}",
                self.digest.short(),
                seal::in_words(&changes)
            )),
        }
    }

    fn unpack_again(&self) -> Result<TempDir, Restoring> {
        let path = self.folder.join("from.json");
        let from = fs::read(&path)
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Pull>(&bytes).ok());
        let again = "`shipit apply` brings its layers again";
        let Some(from) = from else {
            return Err(Restoring(format!(
                "where its layers are is not known; {again}"
            )));
        };
        let limits = Limits::of_agent().map_err(Restoring)?;
        let budget = limits.budget(Arc::default());
        self.unpack(&from, &budget)
            .map_err(|reason| Restoring(format!("{reason}; {again}")))
    }
}

/// Refuses images that do not fit on the disk together. An image that several need is unpacked
/// once.
pub(super) fn room(directory: &Directory, images: &[(Unpacked, Pull)]) -> Result<(), Reason> {
    let place = directory.path();
    Space::of(place)
        .map_err(|error| said("opening", place, &error))?
        .expect(needed(images)?)
        .map_err(|error| format!("all images of the plan: {error}"))
}

fn needed(images: &[(Unpacked, Pull)]) -> Result<u64, Reason> {
    let once: BTreeMap<&Path, _> = images
        .iter()
        .map(|(image, pull)| (image.folder.as_path(), (image, pull)))
        .collect();
    let sizes = once.values().map(|(image, pull)| image.needs(pull));
    sizes.sum()
}

/// Why an image was not put right.
struct Restoring(Reason);

impl From<io::Error> for Restoring {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

/// The layers with the digests that the configuration says their files have.
fn described(
    layers: Vec<Layer>,
    config: &ImageConfiguration,
) -> Result<Vec<(Layer, String)>, Reason> {
    let said = config.rootfs().diff_ids();
    if said.len() != layers.len() {
        return Err(format!(
            "the image is corrupt: its manifest has {} layers, and its configuration {} \
             (`rootfs.diff_ids`)",
            layers.len(),
            said.len()
        ));
    }
    Ok(layers.into_iter().zip(said.iter().cloned()).collect())
}

/// Puts the layers over each other in an empty folder.
fn unpack_all(
    layout: &Layout,
    layers: &[(Layer, String)],
    into: &Path,
    (tree, budget): (Tree, &Budget),
) -> Result<(), Reason> {
    let limits = Limits::of_agent()?;
    let sizes = layers
        .iter()
        .map(|(layer, _)| layout.size(layer))
        .collect::<Result<Vec<_>, _>>()?;
    let opened = |error: io::Error| said("opening", into, &error);
    // Before anything is written, and before anything that runs is touched.
    let needed = sizes.iter().map(|size| size.unpacked).sum();
    Space::of(into)
        .map_err(opened)?
        .expect(needed)
        .map_err(|error| error.to_string())?;

    let owners = match tree {
        Tree::Container if rustix::process::geteuid().is_root() => Owners::AsWritten,
        Tree::Container | Tree::Machine => Owners::Own,
    };
    let unpacker = Unpacker::new(into, owners, budget.clone()).map_err(opened)?;
    for ((layer, said), size) in layers.iter().zip(sizes) {
        budget.next_archive(limits.expands_to(size.packed));
        let in_time = || Ok(budget.in_time()?);
        let found = layout.layer(layer, &in_time, |tar| {
            unpacker
                .layer(tar)
                .map_err(|error| limits::explain(&layer.digest, &error))
        })?;
        if found.as_str() != said {
            return Err(format!(
                "the image is corrupt: its configuration says that layer {} unpacks to {said}, and \
                 it does to {found}",
                layer.digest.short()
            ));
        }
    }
    Ok(())
}

/// Writes an image of a layout as the archive that `docker load` reads, with the name that it has
/// there, every blob compared with its digest.
pub(super) fn archive(
    layout: &Path,
    image: &Digest,
    local_name: &str,
    to: &mut File,
) -> Result<(), Reason> {
    let layout = Layout::open(layout)?;
    let manifest = layout.manifest(image)?;
    let config = digest(manifest.config())?;
    let layers: Vec<Digest> = manifest
        .layers()
        .iter()
        .map(digest)
        .collect::<Result<_, _>>()?;
    let name = |digest: &Digest| format!("blobs/sha256/{}", digest.hex());
    let names: Vec<String> = layers.iter().map(name).collect();
    let entry =
        serde_json::json!({"Config": name(&config), "RepoTags": [local_name], "Layers": names});
    let listed = serde_json::json!([entry]).to_string();
    let mut tar = tar::Builder::new(io::BufWriter::new(to));
    let broken = |error: io::Error| format!("packing the image: {error}");
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(listed.len() as u64);
    tar.append_data(&mut header, "manifest.json", listed.as_bytes())
        .map_err(broken)?;
    let once: BTreeSet<&Digest> = layers.iter().chain([&config]).collect();
    for digest in once {
        layout.verify(digest)?;
        tar.append_file(name(digest), &mut layout.blob(digest)?)
            .map_err(broken)?;
    }

    tar.into_inner()
        .and_then(|mut file| io::Write::flush(&mut file))
        .map_err(broken)
}

/// For the start of an agent, when nobody unpacks: limits that cannot be read are refused, and what
/// an agent left that was killed while it unpacked is deleted.
pub(super) fn prepare(directory: &Directory) -> Result<(), Reason> {
    Limits::of_agent()?;
    let entries = fs::read_dir(directory.images()).into_iter().flatten();
    for entry in entries.filter_map(Result::ok) {
        if entry.file_name().to_string_lossy().starts_with(UNPACKING) {
            let _ = seal::remove_tree(&entry.path());
        }
    }
    Ok(())
}

/// Takes unpacked images away that nobody refers to.
pub(super) fn sweep(directory: &Directory, used: &[Digest]) {
    let Ok(entries) = fs::read_dir(directory.images()) else {
        return;
    };
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let image = name.strip_suffix(".container").unwrap_or(&name);
        let is_used = used.iter().any(|digest| digest.hex() == image);
        if !is_used && !name.starts_with('.') {
            let _ = seal::remove_tree(&entry.path());
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
            let _ = seal::remove_tree(from);
            Ok(())
        }
        Err(error) => Err(said("naming", to, &error)),
    }
}

/// Unpacks a tar into a folder that has another one beside it, which stays as it is.
#[cfg(any(test, fuzzing))]
pub(crate) fn hostile(bytes: &[u8]) {
    let limits = crate::files::archive::Limits {
        bytes: 1 << 20,
        entries: 1000,
        within: std::time::Duration::from_secs(10),
    };
    let unpack = || -> io::Result<()> {
        let machine = tempfile::tempdir()?;
        let (image, beside) = (machine.path().join("image"), machine.path().join("beside"));
        fs::create_dir(&image)?;
        fs::create_dir(&beside)?;
        fs::write(beside.join("canary"), "s3cret")?;
        let before = fs::metadata(&beside)?;

        let budget = Budget::new(limits);
        budget.next_archive(u64::MAX);
        let _ = Unpacker::new(&image, Owners::Own, budget)?.layer(bytes);

        let after = fs::metadata(&beside)?;
        assert_eq!(fs::read_to_string(beside.join("canary"))?, "s3cret");
        assert_eq!(before.modified()?, after.modified()?);
        assert_eq!(before.permissions(), after.permissions());
        assert_eq!(fs::read_dir(machine.path())?.count(), 2);
        Ok(())
    };
    unpack().expect("this machine has folders");
}
