//! What a build depends on: the files of its context that Git would keep, or those that `inputs` names.
//!
//! What the build itself makes must not count, or no build would ever be up to date: that is why Git's ignore
//! files are obeyed, and why `inputs` is there for projects without them.

use std::path::{Path, PathBuf};

use globset::{Glob, GlobSet, GlobSetBuilder};
use ignore::WalkBuilder;

use crate::driver::builder::files::{below, clean, collect, context, hash_all};
use crate::model::build::{Base, Inputs, PackSpec, an_hour};
use crate::model::{ContentHash, Digest};
use crate::port::builder::BuildError;

pub(super) fn read(
    root: &Path,
    spec: &PackSpec,
    base: Option<Digest>,
) -> Result<Inputs, BuildError> {
    let context = context(root, &spec.context)?;
    let paths = paths(&context, spec, below(root, &spec.leave_out))?;
    let files = hash_all(&context, &paths)?;
    let timeless = PackSpec {
        within: an_hour(),
        ..spec.clone()
    };
    // Where platforms are named, that of this machine is no input.
    let hash = if spec.platforms.is_empty() {
        ContentHash::of_json(&(timeless, &base, &files, std::env::consts::ARCH))
    } else {
        ContentHash::of_json(&(timeless, &base, &files))
    };
    let name = || {
        if let Base::Image(reference) = &spec.base {
            reference.clone()
        } else {
            String::new()
        }
    };
    Ok(Inputs {
        hash,
        files,
        bases: base.into_iter().map(|base| (name(), base)).collect(),
    })
}

fn paths(
    context: &Path,
    spec: &PackSpec,
    left_out: Vec<PathBuf>,
) -> Result<Vec<PathBuf>, BuildError> {
    let wanted = (!spec.inputs.is_empty())
        .then(|| set(&spec.inputs))
        .transpose()?;
    // Without a command nothing is made here: what Git ignores is then packed as it is, and is an input.
    let obey_ignore_files = wanted.is_none() && !spec.run.is_empty();
    let walk = walk(context, obey_ignore_files, left_out);
    let counts = |path: &Path| wanted.as_ref().is_none_or(|set| set.is_match(path));
    let paths = collect(context, walk, "name the right ones with `inputs:`", counts)?;
    if paths.is_empty() && wanted.is_some() {
        let reason = format!("`inputs` ({}) match no file", spec.inputs.join(", "));
        return Err(BuildError::Invalid { reason });
    }
    Ok(paths)
}

/// All files but Git's own and shipit's; those that the project's ignore files leave out only when asked to.
fn walk(context: &Path, obey_ignore_files: bool, left_out: Vec<PathBuf>) -> ignore::Walk {
    // In a repository its ignore files count up to its top and no further; elsewhere only those of the context.
    let in_repository = context
        .ancestors()
        .any(|folder| folder.join(".git").exists());
    WalkBuilder::new(context)
        .standard_filters(false)
        .git_ignore(obey_ignore_files)
        .parents(obey_ignore_files && in_repository)
        .require_git(in_repository)
        .filter_entry(move |entry| {
            entry.file_name() != ".git" && !left_out.contains(&clean(entry.path()))
        })
        .build()
}

fn set(globs: &[String]) -> Result<GlobSet, BuildError> {
    let invalid = |error: globset::Error| BuildError::Invalid {
        reason: format!("`inputs`: {error}"),
    };
    let mut builder = GlobSetBuilder::new();
    for glob in globs {
        builder.add(Glob::new(glob).map_err(invalid)?);
    }
    builder.build().map_err(invalid)
}
