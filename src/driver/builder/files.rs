//! The files that a build depends on, hashed.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use ignore::Walk;
use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};

use crate::driver::builder::io;
use crate::files::beneath::{Alone, BeneathError, Missing, in_repository, plain_file};
use crate::files::outputs;
use crate::model::ContentHash;
use crate::port::builder::BuildError;

/// The most files that one build may depend on.
const MOST: usize = 200_000;

/// The files, links and empty folders below a context that count, relative to it and sorted. `help`
/// says what to do about too many.
pub(super) fn collect(
    context: &Path,
    walk: Walk,
    help: &str,
    counts: impl Fn(&Path) -> bool,
) -> Result<Vec<PathBuf>, BuildError> {
    let mut paths = Vec::new();
    for entry in walk {
        let entry = entry.map_err(|error| BuildError::Invalid {
            reason: format!("reading the inputs: {error}"),
        })?;
        // A folder is in the names of what is in it, but for one that has nothing.
        let is_input = entry.file_type().is_some_and(|kind| {
            kind.is_file() || kind.is_symlink() || (kind.is_dir() && is_empty(entry.path()))
        });
        let Ok(path) = entry.path().strip_prefix(context) else {
            continue;
        };
        let is_context = path.as_os_str().is_empty();
        if is_input && !is_context && counts(path) {
            paths.push(path.to_path_buf());
        }
        if paths.len() > MOST {
            return Err(BuildError::Invalid {
                reason: format!("more than {MOST} input files; {help}"),
            });
        }
    }

    paths.sort();
    Ok(paths)
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
}

/// The context, which must be a folder of the repository.
pub(super) fn context(root: &Path, context: &Path) -> Result<PathBuf, BuildError> {
    let (repository, path) =
        in_repository(root, context, Alone::Machine).map_err(io("reading", root))?;
    let context = root.join(context);
    match repository.folder(&path, Missing::Refuse) {
        Ok(_) => Ok(context),
        Err(BeneathError::Io { .. }) => Err(BuildError::Copy {
            path: context,
            reason: "the build's context is not a folder".to_owned(),
        }),
        Err(error) => Err(BuildError::Invalid {
            reason: format!("the build's context: {error}"),
        }),
    }
}

/// A text of the repository, if it is there.
pub(super) fn text(root: &Path, path: &Path, limit: u64) -> Result<Option<String>, BuildError> {
    let (repository, inside) =
        in_repository(root, path, Alone::Machine).map_err(io("reading", root))?;
    match repository.text(&inside, limit) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.is_missing() => Ok(None),
        Err(error) => Err(BuildError::Invalid {
            reason: format!("reading {}: {error}", root.join(path).display()),
        }),
    }
}

/// What of the project's folder is no input, by its whole path: these folders, and what this
/// command writes.
pub(super) fn left_out(root: &Path, folders: &[PathBuf]) -> Vec<PathBuf> {
    let written = outputs::below(root);
    let all = folders.iter().chain(&written);
    all.map(|path| clean(&root.join(path))).collect()
}

/// A path without `.` in it, so that equal paths compare equal.
pub(super) fn clean(path: &Path) -> PathBuf {
    path.components()
        .filter(|part| !matches!(part, std::path::Component::CurDir))
        .collect()
}

/// Hashes side by side: reading is what takes the time.
pub(super) fn hash_all(
    context: &Path,
    paths: &[PathBuf],
) -> Result<BTreeMap<String, ContentHash>, BuildError> {
    let width = std::thread::available_parallelism().map_or(2, usize::from);
    let part = paths.len().div_ceil(width).max(1);
    let hash_part = |part: &[PathBuf]| -> Result<Vec<_>, BuildError> {
        part.iter()
            .map(|path| Ok((shown(path), hash(&context.join(path))?)))
            .collect()
    };
    let parts: Vec<Result<Vec<(String, ContentHash)>, BuildError>> = std::thread::scope(|scope| {
        let threads: Vec<_> = paths
            .chunks(part)
            .map(|part| scope.spawn(move || hash_part(part)))
            .collect();
        threads
            .into_iter()
            .map(|thread| {
                thread.join().unwrap_or_else(|_| {
                    Err(BuildError::Invalid {
                        reason: "hashing failed".to_owned(),
                    })
                })
            })
            .collect()
    });

    let mut files = BTreeMap::new();
    for part in parts {
        files.extend(part?);
    }
    Ok(files)
}

/// A path as a text: itself, where it is one, and with its other bytes as `\xNN` where it is none.
/// Two paths are never the same text.
fn shown(path: &Path) -> String {
    let escaped = || path.as_os_str().as_bytes().escape_ascii().to_string();
    path.to_str().map_or_else(escaped, str::to_owned)
}

/// Over a file's content and whether it may be executed; over a link's target. An empty folder is
/// like any other.
fn hash(path: &Path) -> Result<ContentHash, BuildError> {
    let meta = fs::symlink_metadata(path).map_err(io("reading", path))?;
    let mut hasher = Sha256::new();
    if meta.is_symlink() {
        let target = fs::read_link(path).map_err(io("reading", path))?;
        hasher.update(b"link\0");
        hasher.update(target.as_os_str().as_bytes());
        return Ok(ContentHash::from_sha256(hasher));
    }
    if meta.is_dir() {
        hasher.update(b"folder\0");
        return Ok(ContentHash::from_sha256(hasher));
    }

    hasher.update(if meta.permissions().mode() & 0o111 == 0 {
        b"file\0"
    } else {
        b"exec\0"
    });
    let mut file = open(path)?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer).map_err(io("reading", path))? {
            0 => return Ok(ContentHash::from_sha256(hasher)),
            count => hasher.update(&buffer[..count]),
        }
    }
}

/// A file that was found, for reading.
pub(super) fn open(path: &Path) -> Result<fs::File, BuildError> {
    plain_file(path).map_err(|error| io("reading", path)(error.into()))
}

/// What an entry is made from.
pub(super) enum Source {
    Folder,
    File(PathBuf),
    Link(PathBuf),
}

impl Source {
    /// What is at this path.
    pub fn of(path: &Path) -> Result<Self, BuildError> {
        let meta = fs::symlink_metadata(path).map_err(io("reading", path))?;
        if meta.is_symlink() {
            return fs::read_link(path)
                .map(Self::Link)
                .map_err(io("reading", path));
        }
        Ok(if meta.is_dir() {
            Self::Folder
        } else {
            Self::File(path.to_path_buf())
        })
    }
}

/// Adds an entry whose bytes tell of the file's name, content, and whether it may be executed, and
/// of nothing else.
pub(super) fn append(
    tar: &mut tar::Builder<impl Write>,
    name: &Path,
    source: &Source,
    (uid, gid): (u64, u64),
    time: u64,
) -> Result<(), BuildError> {
    let mut header = Header::new_gnu();
    header.set_mtime(time);
    header.set_uid(uid);
    header.set_gid(gid);
    header.set_size(0);
    let failed = io("packing", name);

    match source {
        Source::Folder => {
            header.set_entry_type(EntryType::Directory);
            header.set_mode(0o755);
            let mut named = name.as_os_str().to_owned();
            named.push("/");
            tar.append_data(&mut header, named, std::io::empty())
                .map_err(failed)
        }
        Source::Link(target) => {
            header.set_entry_type(EntryType::Symlink);
            header.set_mode(0o777);
            tar.append_link(&mut header, name, target).map_err(failed)
        }
        Source::File(path) => {
            let file = open(path)?;
            let meta = file.metadata().map_err(io("reading", path))?;
            header.set_entry_type(EntryType::Regular);
            header.set_mode(if meta.permissions().mode() & 0o111 == 0 {
                0o644
            } else {
                0o755
            });
            header.set_size(meta.len());
            tar.append_data(&mut header, name, file).map_err(failed)
        }
    }
}
