//! The layer: a tar whose bytes depend on the files' names, contents and modes, and on nothing
//! else.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::driver::builder::files::{Source, append, clean, left_out};
use crate::driver::builder::hashing::{Layer, LayerWriter};
use crate::driver::builder::io;
use crate::driver::builder::pack::program;
use crate::files::beneath::{Links, Root};
use crate::model::Platform;
use crate::model::build::{Base, PackSpec};
use crate::port::builder::BuildError;

/// Packs the files that the specification copies. Names are sorted, times are zero, owners are
/// numbers, and a mode is 0755 or 0644, so that neither the machine, nor its umask, nor the order
/// of its folders shows.
pub(super) fn pack(
    root: &Path,
    spec: &PackSpec,
    platform: &Platform,
    into: &Path,
) -> Result<Layer, BuildError> {
    let entries = entries(root, spec)?;
    if !spec.platforms.is_empty() {
        program::must_run_on(platform, spec, &entries)?;
    }
    let path = into.join("layer.tar.gz");
    let mut tar = tar::Builder::new(LayerWriter::create(&path)?);
    tar.follow_symlinks(false);
    for (name, source) in &entries {
        append(&mut tar, name, source, owner(spec), 0)?;
    }
    tar.into_inner().map_err(io("writing", &path))?.finish()
}

/// `uid:gid` of every file: that of the image's user, so that the service may read its own files.
fn owner(spec: &PackSpec) -> (u64, u64) {
    let Some(user) = &spec.user else {
        return (0, 0);
    };
    let (uid, gid) = user.split_once(':').unwrap_or((user, user));
    (uid.parse().unwrap_or(0), gid.parse().unwrap_or(0))
}

/// Every entry by its name in the image, folders included.
fn entries(root: &Path, spec: &PackSpec) -> Result<BTreeMap<PathBuf, Source>, BuildError> {
    let context = root.join(&spec.context);
    let beneath = Root::open(&context, Links::StayBeneath).map_err(io("reading", &context))?;
    let left_out = left_out(root, &spec.leave_out);
    let mut entries = BTreeMap::new();
    let mut taken = BTreeSet::new();
    for (from, to) in &spec.copy {
        let target = inside(to)?;
        if !taken.insert(target.clone()) {
            return Err(BuildError::Copy {
                path: to.clone(),
                reason: "two sources are copied there".to_owned(),
            });
        }

        // Folders of a base stay the base's: one of them may be a link there, as /lib most often
        // is.
        if spec.base == Base::Scratch {
            add_parents(&mut entries, &target);
        }

        let from = source(&beneath, from)?;
        add(&mut entries, &context.join(from), &target, &left_out)?;
    }
    Ok(entries)
}

/// Where a source is in the context. What is named may be a link, as for a Dockerfile's COPY, and
/// what it leads to is copied; a link that is only found below stays one.
fn source(context: &Root, from: &Path) -> Result<PathBuf, BuildError> {
    context.real(from).map_err(|error| BuildError::Copy {
        path: context.path().join(from),
        reason: if error.is_missing() {
            "is not there; did the build's command make it elsewhere?".to_owned()
        } else {
            format!("cannot be copied: {error}")
        },
    })
}

/// A path in the image, without its leading slash.
fn inside(to: &Path) -> Result<PathBuf, BuildError> {
    let refused = |reason: &str| {
        Err(BuildError::Copy {
            path: to.to_path_buf(),
            reason: reason.to_owned(),
        })
    };
    let Ok(relative) = to.strip_prefix("/") else {
        return refused("a path in the image starts with `/`");
    };
    if relative
        .components()
        .any(|part| !matches!(part, Component::Normal(_)))
    {
        return refused("a path in the image has no `.` and no `..`");
    }
    Ok(relative.to_path_buf())
}

fn add_parents(entries: &mut BTreeMap<PathBuf, Source>, target: &Path) {
    for parent in target
        .ancestors()
        .skip(1)
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        entries
            .entry(parent.to_path_buf())
            .or_insert(Source::Folder);
    }
}

fn add(
    entries: &mut BTreeMap<PathBuf, Source>,
    from: &Path,
    to: &Path,
    left_out: &[PathBuf],
) -> Result<(), BuildError> {
    if left_out.contains(&clean(from)) {
        return Ok(());
    }

    let copy = |reason: String| BuildError::Copy {
        path: from.to_path_buf(),
        reason,
    };
    let meta = fs::symlink_metadata(from).map_err(|error| copy(error.to_string()))?;
    if meta.is_dir() {
        if !to.as_os_str().is_empty() {
            entries.insert(to.to_path_buf(), Source::Folder);
        }
        for entry in fs::read_dir(from).map_err(io("reading", from))? {
            let entry = entry.map_err(io("reading", from))?;
            if entry.file_name() != ".git" {
                add(
                    entries,
                    &entry.path(),
                    &to.join(entry.file_name()),
                    left_out,
                )?;
            }
        }
    } else if meta.is_symlink() {
        let target = fs::read_link(from).map_err(io("reading", from))?;
        entries.insert(to.to_path_buf(), Source::Link(target));
    } else if meta.is_file() {
        entries.insert(to.to_path_buf(), Source::File(from.to_path_buf()));
    } else {
        return Err(copy(
            "is neither a file, a folder nor a link, and cannot be in an image".to_owned(),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use serde_json::json;

    use super::*;

    fn spec(base: Base, copy: &[(&str, &str)]) -> PackSpec {
        let copy: BTreeMap<&str, &str> = copy.iter().copied().collect();
        let mut spec: PackSpec = serde_json::from_value(json!({
            "context": ".", "inputs": [], "leave_out": [], "run": [], "copy": copy,
            "base": Base::Scratch, "entrypoint": [], "user": null, "workdir": null,
            "env": {}, "labels": {}, "port": null,
        }))
        .expect("a specification");
        spec.base = base;
        spec
    }

    fn names(root: &Path, spec: &PackSpec) -> Result<Vec<String>, String> {
        let entries = entries(root, spec).map_err(|error| error.to_string())?;
        let shown = |(name, source): (&PathBuf, &Source)| match source {
            Source::Folder => format!("{}/", name.display()),
            Source::File(_) => name.display().to_string(),
            Source::Link(to) => format!("{} -> {}", name.display(), to.display()),
        };
        Ok(entries.iter().map(shown).collect())
    }

    #[test]
    fn a_link_that_is_named_is_what_it_leads_to_and_never_leads_out() {
        let machine = tempfile::tempdir().expect("a folder");
        let root = machine.path().join("project");
        fs::create_dir_all(root.join("releases/42")).expect("a folder");
        fs::write(root.join("releases/42/s.py"), "s").expect("a file");
        fs::write(machine.path().join("host"), "TOPSECRET").expect("a file");
        for (target, link) in [
            ("releases/42", "current"),
            ("s.py", "releases/42/main.py"),
            ("../host", "out"),
            ("..", "up"),
            ("/etc", "etc"),
        ] {
            symlink(target, root.join(link)).expect("a link");
        }

        let copied = names(&root, &spec(Base::Scratch, &[("current", "/app")]));
        let expected = ["app/", "app/main.py -> s.py", "app/s.py"];
        assert_eq!(copied, Ok(expected.map(str::to_owned).to_vec()));
        let one = names(&root, &spec(Base::Scratch, &[("current/main.py", "/main")]));
        assert_eq!(one, Ok(vec!["main".to_owned()]));
        for from in ["out", "up/host", "../host", "etc/hostname", "/etc/hostname"] {
            let reason = names(&root, &spec(Base::Scratch, &[(from, "/x")])).expect_err(from);
            assert!(reason.contains("outside of"), "{from}: {reason}");
        }
        let reason = names(&root, &spec(Base::Scratch, &[("none", "/x")])).expect_err("none");
        assert!(reason.contains("is not there"), "{reason}");
    }

    #[test]
    fn folders_of_a_base_stay_the_bases() {
        let root = tempfile::tempdir().expect("a folder");
        fs::write(root.path().join("x"), "x").expect("a file");
        let copy = [("x", "/lib/app/x")];
        let own = names(root.path(), &spec(Base::Scratch, &copy));
        assert_eq!(
            own,
            Ok(["lib/", "lib/app/", "lib/app/x"]
                .map(str::to_owned)
                .to_vec())
        );
        let based = names(root.path(), &spec(Base::Image("debian".to_owned()), &copy));
        assert_eq!(based, Ok(vec!["lib/app/x".to_owned()]));
    }
}
