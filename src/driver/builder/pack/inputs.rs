//! What a build depends on: the files of its context that Git would keep, or those that `inputs`
//! names.
//!
//! What the build itself makes must not count, or no build would ever be up to date: that is why
//! Git's ignore files are obeyed, and why `inputs` is there for projects without them.

use std::path::{Path, PathBuf};

use globset::{Glob, GlobSet, GlobSetBuilder};
use ignore::WalkBuilder;

use crate::driver::builder::files::{clean, collect, hash_all, left_out};
use crate::model::build::{Base, Inputs, PackSpec, an_hour};
use crate::model::{ContentHash, Digest};
use crate::port::builder::BuildError;

/// Whether what the ignore files name is no input. Without a command nothing is made here: what Git
/// ignores is then packed as it is.
pub(super) const fn obeys_ignore_files(spec: &PackSpec) -> bool {
    spec.inputs.is_empty() && !spec.run.is_empty()
}

/// Reads what a build depends on. `tracked` are the files that count though an ignore file names
/// them.
pub(super) fn read(
    root: &Path,
    context: &Path,
    spec: &PackSpec,
    base: Option<Digest>,
    tracked: Vec<PathBuf>,
) -> Result<Inputs, BuildError> {
    let paths = paths(context, spec, &left_out(root, &spec.leave_out), tracked)?;
    let files = hash_all(context, &paths)?;
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
    left_out: &[PathBuf],
    tracked: Vec<PathBuf>,
) -> Result<Vec<PathBuf>, BuildError> {
    let wanted = (!spec.inputs.is_empty())
        .then(|| set(&spec.inputs))
        .transpose()?;
    // A link to a folder is an input itself.
    let is_folder = |path: PathBuf| path.symlink_metadata().is_ok_and(|meta| meta.is_dir());
    if let Some(folder) = spec
        .inputs
        .iter()
        .find(|glob| is_folder(context.join(glob)))
    {
        let plain = folder.trim_end_matches('/');
        let reason =
            format!("`inputs`: {folder} is a folder, and files are inputs: write `{plain}/**`");
        return Err(BuildError::Invalid { reason });
    }
    let walk = walk(context, obeys_ignore_files(spec), left_out.to_owned());
    let counts = |path: &Path| wanted.as_ref().is_none_or(|set| set.is_match(path));
    let mut paths = collect(context, walk, "name the right ones with `inputs:`", counts)?;
    let is_left_out = |path: &PathBuf| {
        let path = clean(&context.join(path));
        left_out.iter().any(|folder| path.starts_with(folder))
    };

    paths.extend(tracked.into_iter().filter(|path| !is_left_out(path)));
    paths.sort();
    paths.dedup();
    if paths.is_empty() && wanted.is_some() {
        let reason = format!("`inputs` ({}) match no file", spec.inputs.join(", "));
        return Err(BuildError::Invalid { reason });
    }
    Ok(paths)
}

/// All files but Git's own and shipit's; those that the project's ignore files leave out only when
/// asked to.
fn walk(context: &Path, obey_ignore_files: bool, left_out: Vec<PathBuf>) -> ignore::Walk {
    // In a repository its ignore files count up to its top and no further; elsewhere only those of
    // the context.
    let in_repository = context
        .ancestors()
        .any(|folder| folder.join(".git").exists());
    WalkBuilder::new(context)
        .standard_filters(false)
        .git_ignore(obey_ignore_files)
        .git_exclude(obey_ignore_files)
        .git_global(obey_ignore_files)
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use serde_json::json;

    use super::*;
    use crate::driver::scm::git::Git;

    fn git(folder: &Path, arguments: &[&str]) {
        let output = Command::new("git")
            .args(["-c", "user.name=t", "-c", "user.email=t@example.com"])
            .args(arguments)
            .current_dir(folder)
            .output()
            .expect("git starts");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }

    async fn inputs(root: &Path) -> Vec<String> {
        let spec: PackSpec = serde_json::from_value(json!({
            "context": ".", "inputs": [], "leave_out": ["state"], "run": ["make"], "copy": {},
            "base": Base::Scratch, "entrypoint": [], "user": null, "workdir": null,
            "env": {}, "labels": {}, "port": null,
        }))
        .expect("a specification");
        let tracked = Git::new(root.to_path_buf()).tracked_but_ignored().await;
        let tracked = tracked.expect("an answer");
        let inputs = read(root, root, &spec, None, tracked).expect("inputs");
        inputs.files.into_keys().collect()
    }

    #[test]
    fn an_empty_folder_that_is_packed_is_an_input_and_a_folder_is_no_glob() {
        let root = tempfile::tempdir().expect("a folder");
        let root = root.path();
        fs::create_dir_all(root.join("app/cache")).expect("a folder");
        fs::write(root.join("app/x"), "x").expect("written");
        let read = |inputs: &[&str]| {
            let spec: PackSpec = serde_json::from_value(json!({
                "context": ".", "inputs": inputs, "leave_out": [], "run": [], "copy": {"app": "/app"},
                "base": Base::Scratch, "entrypoint": [], "user": null, "workdir": null,
                "env": {}, "labels": {}, "port": null,
            }))
            .expect("a specification");
            read(root, root, &spec, None, Vec::new()).map_err(|error| error.to_string())
        };
        let with = read(&[]).expect("inputs");
        assert!(with.files.contains_key("app/cache"), "{:?}", with.files);
        fs::remove_dir(root.join("app/cache")).expect("removed");
        assert_ne!(read(&[]).expect("inputs").hash, with.hash);

        let reason = read(&["app"]).expect_err("a folder");
        assert!(reason.contains("write `app/**`"), "{reason}");
        assert!(read(&["app/**"]).is_ok());
    }

    #[tokio::test]
    async fn an_input_is_what_git_does_not_ignore() {
        let root = tempfile::tempdir().expect("a folder");
        let root = root.path();
        for folder in ["dist", "state", "sub"] {
            fs::create_dir(root.join(folder)).expect("a folder");
        }
        for file in [
            "a",
            "own.log",
            "by.exclude",
            "dist/keep",
            "dist/made",
            "state/kept",
            "sub/.x",
        ] {
            fs::write(root.join(file), file).expect("written");
        }
        fs::write(root.join(".gitignore"), "dist/\n*.log\nstate/\n").expect("written");
        git(root, &["init", "--quiet"]);
        fs::write(root.join(".git/info/exclude"), "by.exclude\n").expect("written");
        // What is tracked is not ignored, whatever a pattern says.
        git(root, &["add", "--force", "dist/keep", "state/kept"]);
        git(root, &["add", "a"]);
        assert_eq!(
            inputs(root).await,
            [".gitignore", "a", "dist/keep", "sub/.x"]
        );

        // A submodule has its own ignore files, and its own tracked files.
        let library = tempfile::tempdir().expect("a folder");
        for (file, text) in [(".gitignore", "*.gen\n"), ("a.gen", "a"), ("b", "b")] {
            fs::write(library.path().join(file), text).expect("written");
        }
        git(library.path(), &["init", "--quiet"]);
        git(library.path(), &["add", "--force", "."]);
        git(library.path(), &["commit", "--quiet", "--message", "made"]);
        let from = library.path().display().to_string();
        let add = [
            "-c",
            "protocol.file.allow=always",
            "submodule",
            "--quiet",
            "add",
            &from,
            "lib",
        ];
        git(root, &add);
        fs::write(root.join("lib/c.gen"), "c").expect("written");
        let found = inputs(root).await;
        assert!(found.contains(&"lib/a.gen".to_owned()), "{found:?}");
        assert!(!found.contains(&"lib/c.gen".to_owned()), "{found:?}");
        git(root, &["rm", "--quiet", "--force", "lib"]);
        fs::remove_file(root.join(".gitmodules")).expect("removed");

        fs::remove_file(root.join("dist/keep")).expect("removed");
        assert_eq!(inputs(root).await, [".gitignore", "a", "sub/.x"]);
    }
}
