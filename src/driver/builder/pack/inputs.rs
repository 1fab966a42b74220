//! What a build depends on: the files of its context that Git would keep, or those that `inputs` names.
//!
//! What the build itself makes must not count, or no build would ever be up to date: that is why Git's ignore
//! files are obeyed, and why `inputs` is there for projects without them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use globset::{Glob, GlobSet, GlobSetBuilder};
use ignore::WalkBuilder;
use sha2::{Digest as _, Sha256};

use crate::driver::builder::pack::io;
use crate::model::build::{Inputs, PackSpec};
use crate::model::{ContentHash, Digest};
use crate::port::builder::BuildError;

/// The most files that one build may depend on.
const MOST: usize = 200_000;

pub(super) fn read(root: &Path, spec: &PackSpec, base: Option<Digest>) -> Result<Inputs, BuildError> {
    let context = root.join(&spec.context);
    let left_out: Vec<PathBuf> = spec.leave_out.iter().map(|path| clean(&root.join(path))).collect();
    let paths = paths(&context, spec, left_out)?;
    let files = hash_all(&context, &paths)?;
    let hash = ContentHash::of_json(&(spec, &base, &files, std::env::consts::ARCH));
    Ok(Inputs { hash, files, base })
}

fn paths(context: &Path, spec: &PackSpec, left_out: Vec<PathBuf>) -> Result<Vec<PathBuf>, BuildError> {
    if !context.is_dir() {
        let reason = "the build's context is not a folder".to_owned();
        return Err(BuildError::Copy { path: context.to_path_buf(), reason });
    }
    let wanted = (!spec.inputs.is_empty()).then(|| set(&spec.inputs)).transpose()?;
    // Without a command nothing is made here: what Git ignores is then packed as it is, and is an input.
    let obey_ignore_files = wanted.is_none() && !spec.run.is_empty();
    let mut paths = Vec::new();
    for entry in walk(context, obey_ignore_files, left_out) {
        let entry =
            entry.map_err(|error| BuildError::Invalid { reason: format!("reading the inputs: {error}") })?;
        let is_input = entry.file_type().is_some_and(|kind| kind.is_file() || kind.is_symlink());
        let Ok(path) = entry.path().strip_prefix(context) else { continue };
        if is_input && wanted.as_ref().is_none_or(|set| set.is_match(path)) {
            paths.push(path.to_path_buf());
        }
        if paths.len() > MOST {
            let reason = format!("more than {MOST} input files; name the right ones with `inputs:`");
            return Err(BuildError::Invalid { reason });
        }
    }
    if paths.is_empty() && wanted.is_some() {
        let reason = format!("`inputs` ({}) match no file", spec.inputs.join(", "));
        return Err(BuildError::Invalid { reason });
    }
    Ok(paths)
}

/// A path without `.` in it, so that equal paths compare equal.
pub(super) fn clean(path: &Path) -> PathBuf {
    path.components().filter(|part| !matches!(part, std::path::Component::CurDir)).collect()
}

/// All files but Git's own and shipit's; those that the project's ignore files leave out only when asked to.
fn walk(context: &Path, obey_ignore_files: bool, left_out: Vec<PathBuf>) -> ignore::Walk {
    // In a repository its ignore files count up to its top and no further; elsewhere only those of the context.
    let in_repository = context.ancestors().any(|folder| folder.join(".git").exists());
    WalkBuilder::new(context)
        .standard_filters(false)
        .git_ignore(obey_ignore_files)
        .parents(obey_ignore_files && in_repository)
        .require_git(in_repository)
        .filter_entry(move |entry| entry.file_name() != ".git" && !left_out.contains(&clean(entry.path())))
        .build()
}

fn set(globs: &[String]) -> Result<GlobSet, BuildError> {
    let invalid = |error: globset::Error| BuildError::Invalid { reason: format!("`inputs`: {error}") };
    let mut builder = GlobSetBuilder::new();
    for glob in globs {
        builder.add(Glob::new(glob).map_err(invalid)?);
    }
    builder.build().map_err(invalid)
}

/// Hashes side by side: reading is what takes the time.
fn hash_all(context: &Path, paths: &[PathBuf]) -> Result<BTreeMap<String, ContentHash>, BuildError> {
    let width = std::thread::available_parallelism().map_or(2, usize::from);
    let part = paths.len().div_ceil(width).max(1);
    let hash_part = |part: &[PathBuf]| -> Result<Vec<_>, BuildError> {
        part.iter()
            .map(|path| Ok((path.to_string_lossy().into_owned(), hash(&context.join(path))?)))
            .collect()
    };
    let parts: Vec<Result<Vec<(String, ContentHash)>, BuildError>> = std::thread::scope(|scope| {
        let threads: Vec<_> = paths.chunks(part).map(|part| scope.spawn(move || hash_part(part))).collect();
        threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|_| Err(BuildError::Invalid { reason: "hashing failed".to_owned() }))
            })
            .collect()
    });
    let mut files = BTreeMap::new();
    for part in parts {
        files.extend(part?);
    }
    Ok(files)
}

/// Over a file's content and whether it may be executed; over a link's target.
fn hash(path: &Path) -> Result<ContentHash, BuildError> {
    let meta = fs::symlink_metadata(path).map_err(io("reading", path))?;
    let mut hasher = Sha256::new();
    if meta.is_symlink() {
        let target = fs::read_link(path).map_err(io("reading", path))?;
        hasher.update(b"link\0");
        hasher.update(target.to_string_lossy().as_bytes());
        return Ok(ContentHash::from_sha256(hasher));
    }
    hasher.update(if meta.permissions().mode() & 0o111 == 0 { b"file\0" } else { b"exec\0" });
    let mut file = File::open(path).map_err(io("reading", path))?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer).map_err(io("reading", path))? {
            0 => return Ok(ContentHash::from_sha256(hasher)),
            count => hasher.update(&buffer[..count]),
        }
    }
}
