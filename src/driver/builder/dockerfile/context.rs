//! The context: what a Dockerfile may copy, as the files that are its inputs and as the archive
//! that a tool gets.
//!
//! Both come from one list, so that nothing can be built from what was not counted. Times and modes
//! in the archive are fixed: they are not inputs either.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use ignore::WalkBuilder;

use crate::driver::builder::dockerfile::ignore::Ignore;
use crate::driver::builder::files::{self, clean, collect};
use crate::driver::builder::io;
use crate::model::build::DockerfileSpec;
use crate::port::builder::BuildError;

/// 1980-01-02: the first day that every archive format can tell.
pub(super) const TIME: u64 = 315_619_200;

/// The largest `.dockerignore`.
const LIMIT: u64 = 1 << 20;

/// The files of a context that its `.dockerignore` leaves in, relative to it.
pub(super) fn list(root: &Path, spec: &DockerfileSpec) -> Result<Vec<PathBuf>, BuildError> {
    let context = files::context(root, &spec.context)?;
    let left_out = files::left_out(root, &spec.leave_out);
    let rules = std::sync::Arc::new(rules(root, spec)?);
    let (pruned, below) = (std::sync::Arc::clone(&rules), context.clone());
    let walk = WalkBuilder::new(&context)
        .standard_filters(false)
        .filter_entry(move |entry| {
            let path = entry.path().strip_prefix(&below).unwrap_or(entry.path());
            let is_folder = entry.file_type().is_some_and(|kind| kind.is_dir());
            entry.file_name() != ".git"
                && !left_out.contains(&clean(entry.path()))
                && !(is_folder && !path.as_os_str().is_empty() && pruned.leaves_out_all(path))
        })
        .build();

    collect(
        &context,
        walk,
        "leave the others out with `.dockerignore`",
        |path| !rules.leaves_out(path),
    )
}

/// `Dockerfile.dockerignore` beside the Dockerfile, or else the context's `.dockerignore`.
fn rules(root: &Path, spec: &DockerfileSpec) -> Result<Ignore, BuildError> {
    let mut own = spec.context.join(&spec.dockerfile).into_os_string();
    own.push(".dockerignore");
    for path in [PathBuf::from(own), spec.context.join(".dockerignore")] {
        if let Some(text) = files::text(root, &path, LIMIT)? {
            return Ignore::parse(&text, &root.join(path));
        }
    }
    Ok(Ignore::default())
}

/// The archive, and the name that the Dockerfile has in it.
pub(super) fn archive(
    root: &Path,
    spec: &DockerfileSpec,
    dockerfile: &str,
    into: &Path,
) -> Result<String, BuildError> {
    let context = root.join(&spec.context);
    let name = name(&spec.dockerfile);
    let file = File::create(into).map_err(io("making", into))?;
    let mut tar = tar::Builder::new(std::io::BufWriter::new(file));
    tar.follow_symlinks(false);
    let mut folders = BTreeSet::new();
    for path in list(root, spec)? {
        if path == Path::new(&name) {
            continue;
        }
        for folder in path
            .ancestors()
            .skip(1)
            .filter(|folder| !folder.as_os_str().is_empty())
        {
            folders.insert(folder.to_path_buf());
        }
        let from = context.join(&path);
        files::append(&mut tar, &path, &files::Source::of(&from)?, (0, 0), TIME)?;
    }

    for folder in &folders {
        files::append(&mut tar, folder, &files::Source::Folder, (0, 0), TIME)?;
    }
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_mtime(TIME);
    header.set_size(dockerfile.len() as u64);
    let written = tar
        .append_data(&mut header, &name, dockerfile.as_bytes())
        .and_then(|()| tar.into_inner())
        .and_then(|mut file| file.flush());
    written.map_err(io("writing", into))?;
    Ok(name)
}

/// A Dockerfile outside of the context comes into it under a name of its own.
fn name(dockerfile: &Path) -> String {
    let inside = clean(dockerfile);
    let plain = inside
        .components()
        .all(|part| matches!(part, std::path::Component::Normal(_)));
    if plain {
        inside.to_string_lossy().into_owned()
    } else {
        ".shipit.Dockerfile".to_owned()
    }
}
