//! The seal of an unpacked image: what its files are, so that it is seen when something has changed
//! them.
//!
//! ```text
//! IMAGE/files        the image's files
//! IMAGE/entries.json each of them: what it is, its content's digest, its stamp
//! IMAGE/seal         a digest over all names and stamps: what is looked at first
//! IMAGE/replaced/N   what was found changed the Nth time, and was replaced
//! ```
//!
//! A stamp is a file's inode and times. A write, a new mode, another name in the place of a file:
//! each moves `ctime`, and nobody can set that. As long as no stamp has moved nothing has changed,
//! and no content is read. Where one has, the content decides.

mod delete;
mod name;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::{BTreeMap, HashMap, hash_map};
use std::fs::{self, File, Permissions};
use std::io::{self, BufReader, BufWriter, ErrorKind, Read as _, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::ser::{SerializeMap, Serializer as _};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::agent::rootfs::seal::name::Name;
use crate::agent::rootfs::seal::walk::walk;
use crate::files;
use crate::files::beneath::plain_file;
use crate::model::Digest;

pub(super) use delete::remove_tree;

/// How many times what was replaced is kept.
const KEPT: usize = 10;

/// Who reads the files of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::agent) enum Tree {
    /// Processes of this machine: every file is readable and none can be written, whoever the
    /// service is.
    Machine,
    /// Containers, which have a layer of their own over them: owners and permissions are the
    /// image's.
    Container,
}

/// Where a file is, and when it last changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp(u64, i64, i64, i64, i64);

/// What a name of an image is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum What {
    Folder,
    File { content: Digest },
    Link { target: Vec<u8> },
    Other,
}

/// A name of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    what: What,
    mode: u32,
    uid: u32,
    gid: u32,
    stamp: Stamp,
}

/// Every name below an image's folder, with the folder itself as the empty one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entries(BTreeMap<Name, Entry>);

/// How a name differs from what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum How {
    // What matters most comes first.
    Content,
    Removed,
    Added,
    Attributes,
}

/// A name that is not as it was unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub path: PathBuf,
    pub how: How,
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let how = match self.how {
            How::Added => "is not of the image",
            How::Removed => "is gone",
            How::Content => "has other content",
            How::Attributes => "has another owner or other permissions",
        };
        // Whoever added a file chose its name.
        let name = self.path.as_os_str().as_bytes().escape_ascii();
        match self
            .path
            .to_str()
            .filter(|path| !path.contains(char::is_control))
        {
            Some(path) => write!(f, "{path} {how}"),
            None => write!(f, "{name} {how}"),
        }
    }
}

/// What was found of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    /// It is as it was unpacked.
    Whole,
    /// These names are not, the parents first.
    Changed(Vec<Change>),
}

/// In one line, for a person: what matters most, and how much more there is.
pub(super) fn in_words(changes: &[Change]) -> String {
    let first = changes.iter().min_by_key(|change| change.how);
    let first = first.map(ToString::to_string).unwrap_or_default();
    match changes.len() {
        0 | 1 => first,
        count => format!("{first}, and {} more", count - 1),
    }
}

/// Fails when there is no time left.
pub(super) type InTime<'a> = dyn Fn() -> io::Result<()> + 'a;

/// Makes the files of an image what they are to be for their readers, and records what they are.
pub(super) fn seal(image: &Path, tree: Tree, in_time: &InTime<'_>) -> io::Result<()> {
    let files = image.join("files");
    if tree == Tree::Machine {
        close(&files, in_time)?;
    }

    // Nothing is kept in memory of what was written.
    let mut hasher = Sha256::new();
    files::replace_with(&image.join("entries.json"), |file| {
        let mut to = BufWriter::new(file);
        let mut json = serde_json::Serializer::new(&mut to);
        let mut map = (&mut json).serialize_map(None)?;
        entries(&files, None, in_time, &mut |name, entry| {
            entry.add_to(&mut hasher, &name);
            Ok(map.serialize_entry(&name, &entry)?)
        })?;
        SerializeMap::end(map)?;
        to.flush()
    })?;
    let digest = Digest::from_sha256(hasher);
    files::replace(&image.join("seal"), digest.as_str().as_bytes())
}

/// Nobody may write, everybody may read, and what is a program stays one.
fn close(path: &Path, in_time: &InTime<'_>) -> io::Result<()> {
    in_time()?;
    let meta = fs::symlink_metadata(path)?;
    if meta.is_dir() {
        for entry in fs::read_dir(path)? {
            close(&entry?.path(), in_time)?;
        }
    }
    let is_open = meta.is_dir() || meta.mode() & 0o111 != 0;
    if meta.is_symlink() {
        return Ok(());
    }
    fs::set_permissions(
        path,
        Permissions::from_mode(if is_open { 0o555 } else { 0o444 }),
    )
}

fn write(image: &Path, entries: &Entries) -> io::Result<()> {
    files::replace_with(&image.join("entries.json"), |file| {
        let mut to = BufWriter::new(file);
        serde_json::to_writer(&mut to, entries)?;
        to.flush()
    })?;
    files::replace(&image.join("seal"), entries.digest().as_str().as_bytes())
}

/// Whether the files of an image are what was unpacked. An image that an agent unpacked before
/// there were seals is sealed as it is.
pub(super) fn check(image: &Path) -> io::Result<Condition> {
    let sealed = match fs::read_to_string(image.join("seal")) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            tracing::warn!(image = %image.display(), "an image without a seal is sealed as it is");
            seal(image, Tree::Container, &|| Ok(()))?;
            return Ok(Condition::Whole);
        }
        other => other?,
    };
    if stamps(&image.join("files"))?.as_str() == sealed {
        return Ok(Condition::Whole);
    }

    let known = Entries::read(image)?;
    let found = Entries::of(&image.join("files"), &known)?;
    let changes = known.changes(&found);
    if !changes.is_empty() {
        return Ok(Condition::Changed(changes));
    }
    // Only stamps have moved: the files were copied, or linked to, or their owner was set to what
    // it was.
    write(image, &found)?;
    Ok(Condition::Whole)
}

/// Brings what has changed back to what it was. `fresh` unpacks the image anew; it is asked only
/// when something is missing or has other content. What is replaced is kept, the last ten times.
pub(super) fn restore<E: From<io::Error>>(
    image: &Path,
    tree: Tree,
    changes: &[Change],
    fresh: impl FnOnce() -> Result<PathBuf, E>,
) -> Result<(), E> {
    let known = Entries::read(image)?;
    let needs = |change: &Change| matches!(change.how, How::Removed | How::Content);
    let fresh = changes.iter().any(needs).then(fresh).transpose()?;
    let aside = aside(image)?;

    let mut done: Option<&Path> = None;
    for change in changes {
        // What is below a folder that was replaced came with it.
        if done.is_some_and(|folder| change.path.starts_with(folder)) {
            continue;
        }
        let path = image.join("files").join(&change.path);
        let before = known.0.get(&Name(change.path.clone()));
        match (change.how, &fresh, before) {
            (How::Attributes, _, Some(before)) => before.give(&path)?,
            (How::Added, ..) => {
                put_aside(&path, &aside.join(&change.path))?;
                done = Some(&change.path);
            }
            (_, Some(fresh), _) => {
                put_aside(&path, &aside.join(&change.path))?;
                bring(&fresh.join(&change.path), &path, tree)?;
                done = Some(&change.path);
            }
            (How::Removed | How::Content | How::Attributes, ..) => {}
        }
    }
    Ok(())
}

/// A new folder for what is replaced. The oldest goes when there are many.
fn aside(image: &Path) -> io::Result<PathBuf> {
    let folder = image.join("replaced");
    fs::create_dir_all(&folder)?;
    let mut times: Vec<u64> = fs::read_dir(&folder)?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    times.sort_unstable();
    if times.len() >= KEPT {
        remove_tree(&folder.join(times[0].to_string()))?;
    }

    let aside = folder.join((times.last().unwrap_or(&0) + 1).to_string());
    fs::create_dir(&aside)?;
    Ok(aside)
}

impl Entry {
    fn give(&self, path: &Path) -> io::Result<()> {
        // Only root can; anybody else has not lost them either.
        let _ = std::os::unix::fs::lchown(path, Some(self.uid), Some(self.gid));
        match self.what {
            What::Link { .. } => Ok(()),
            _ => fs::set_permissions(path, Permissions::from_mode(self.mode)),
        }
    }
}

fn put_aside(path: &Path, to: &Path) -> io::Result<()> {
    let meta = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    if meta.is_dir() {
        // To move a folder is to write its `..`.
        fs::set_permissions(path, Permissions::from_mode(0o700))?;
    }
    fs::create_dir_all(to.parent().unwrap_or(to))?;
    in_open_folder(path, || fs::rename(path, to))
}

fn bring(from: &Path, to: &Path, tree: Tree) -> io::Result<()> {
    in_open_folder(to, || fs::rename(from, to))?;
    match tree {
        Tree::Machine => close(to, &|| Ok(())),
        Tree::Container => Ok(()),
    }
}

/// Does something to a name of a folder that nobody may write.
fn in_open_folder(path: &Path, work: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let Some(folder) = path.parent() else {
        return work();
    };
    let before = fs::metadata(folder)?.permissions();
    if before.mode() & 0o200 != 0 {
        return work();
    }
    fs::set_permissions(folder, Permissions::from_mode(before.mode() | 0o700))?;
    let done = work();
    fs::set_permissions(folder, before)?;
    done
}

impl Stamp {
    fn of(meta: &fs::Metadata) -> Self {
        Self(
            meta.ino(),
            meta.mtime(),
            meta.mtime_nsec(),
            meta.ctime(),
            meta.ctime_nsec(),
        )
    }
}

/// A digest over all names and stamps of a folder.
fn stamps(files: &Path) -> io::Result<Digest> {
    let mut hasher = Sha256::new();
    walk(files, &mut |name, meta| {
        let stamp = Stamp::of(meta);
        let (mode, uid, gid) = (meta.mode(), meta.uid(), meta.gid());
        add(&mut hasher, name, mode, uid, gid, stamp);
        Ok(())
    })?;
    Ok(Digest::from_sha256(hasher))
}

fn add(hasher: &mut Sha256, name: &Path, mode: u32, uid: u32, gid: u32, stamp: Stamp) {
    hasher.update(name.as_os_str().as_bytes());
    // No path has this byte in it.
    hasher.update([0]);
    for number in [mode, uid, gid] {
        hasher.update(number.to_le_bytes());
    }
    hasher.update(stamp.0.to_le_bytes());
    for number in [stamp.1, stamp.2, stamp.3, stamp.4] {
        hasher.update(number.to_le_bytes());
    }
}

/// Visits each name of a folder as an entry. The content of what has the stamp that is known of it
/// is the content that is known.
fn entries(
    files: &Path,
    known: Option<&Entries>,
    in_time: &InTime<'_>,
    each: &mut dyn FnMut(Name, Entry) -> io::Result<()>,
) -> io::Result<()> {
    // A file may have a million names: it is read once.
    let mut read: HashMap<(u64, u64), What> = HashMap::new();
    walk(files, &mut |path, meta| {
        in_time()?;
        let (name, stamp) = (Name(path.to_path_buf()), Stamp::of(meta));
        let same = known
            .and_then(|known| known.0.get(&name))
            .filter(|entry| entry.stamp == stamp);
        let what = match same {
            Some(entry) => entry.what.clone(),
            None if meta.is_file() && meta.nlink() > 1 => {
                match read.entry((meta.dev(), meta.ino())) {
                    hash_map::Entry::Occupied(read) => read.get().clone(),
                    hash_map::Entry::Vacant(place) => place
                        .insert(What::of(&files.join(path), meta, in_time)?)
                        .clone(),
                }
            }
            None => What::of(&files.join(path), meta, in_time)?,
        };
        let entry = Entry {
            what,
            mode: meta.mode() & 0o7777,
            uid: meta.uid(),
            gid: meta.gid(),
            stamp,
        };
        each(name, entry)
    })
}

impl Entry {
    fn add_to(&self, hasher: &mut Sha256, name: &Name) {
        let kind = match self.what {
            What::Folder => 0o040_000,
            What::File { .. } => 0o100_000,
            What::Link { .. } => 0o120_000,
            What::Other => 0,
        };
        let mode = kind | self.mode;
        add(hasher, &name.0, mode, self.uid, self.gid, self.stamp);
    }
}

impl Entries {
    /// What is recorded of an image.
    fn read(image: &Path) -> io::Result<Self> {
        let file = BufReader::new(File::open(image.join("entries.json"))?);
        Ok(serde_json::from_reader(file)?)
    }

    /// What is in a folder.
    fn of(files: &Path, known: &Self) -> io::Result<Self> {
        let mut found = BTreeMap::new();
        entries(files, Some(known), &|| Ok(()), &mut |name, entry| {
            found.insert(name, entry);
            Ok(())
        })?;
        Ok(Self(found))
    }

    fn digest(&self) -> Digest {
        let mut hasher = Sha256::new();
        for (name, entry) in &self.0 {
            entry.add_to(&mut hasher, name);
        }
        Digest::from_sha256(hasher)
    }

    /// How what was found differs, the parents first.
    fn changes(&self, found: &Self) -> Vec<Change> {
        let names: std::collections::BTreeSet<&Name> =
            self.0.keys().chain(found.0.keys()).collect();
        let change = |name: &Name| {
            let how = match (self.0.get(name), found.0.get(name)) {
                (None, _) => How::Added,
                (_, None) => How::Removed,
                (Some(old), Some(new)) if old.what != new.what => How::Content,
                (Some(old), Some(new))
                    if (old.mode, old.uid, old.gid) != (new.mode, new.uid, new.gid) =>
                {
                    How::Attributes
                }
                _ => return None,
            };
            let path = name.0.clone();
            Some(Change { path, how })
        };
        names.into_iter().filter_map(change).collect()
    }
}

impl What {
    fn of(path: &Path, meta: &fs::Metadata, in_time: &InTime<'_>) -> io::Result<Self> {
        let kind = meta.file_type();
        if kind.is_dir() {
            return Ok(Self::Folder);
        }
        if kind.is_symlink() {
            let target = fs::read_link(path)?.into_os_string().into_vec();
            return Ok(Self::Link { target });
        }
        if !kind.is_file() {
            return Ok(Self::Other);
        }

        let (mut file, mut hasher) = (plain_file(path)?, Sha256::new());
        let mut buffer = vec![0; 128 << 10];
        loop {
            in_time()?;
            match file.read(&mut buffer)? {
                0 => break,
                count => hasher.update(&buffer[..count]),
            }
        }

        let content = Digest::from_sha256(hasher);
        Ok(Self::File { content })
    }
}
