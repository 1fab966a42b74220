//! The layer: a tar whose bytes depend on the files' names, contents and modes, and on nothing
//! else.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
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
/// of its folders shows. With the layer comes what was found and can be in no image.
pub(super) fn pack(
    root: &Path,
    spec: &PackSpec,
    platform: &Platform,
    into: &Path,
) -> Result<(Layer, Vec<PathBuf>), BuildError> {
    let Entries {
        all: entries,
        skipped,
    } = entries(root, spec)?;
    if !spec.platforms.is_empty() {
        program::must_run_on(platform, spec, &entries)?;
    }
    let path = into.join("layer.tar.gz");
    let mut tar = tar::Builder::new(LayerWriter::create(&path)?);
    tar.follow_symlinks(false);
    for (name, source) in &entries {
        append(&mut tar, name, source, owner(spec), 0)?;
    }
    let layer = tar.into_inner().map_err(io("writing", &path))?.finish()?;
    Ok((layer, skipped))
}

/// `uid:gid` of every file: that of the image's user, so that the service may read its own files.
fn owner(spec: &PackSpec) -> (u64, u64) {
    let Some(user) = &spec.user else {
        return (0, 0);
    };
    let (uid, gid) = user.split_once(':').unwrap_or((user, user));
    (uid.parse().unwrap_or(0), gid.parse().unwrap_or(0))
}

/// What is packed.
struct Entries {
    /// Every entry by its name in the image, folders included.
    all: BTreeMap<PathBuf, Source>,
    /// What was found and can be in no image: sockets, pipes, devices.
    skipped: Vec<PathBuf>,
}

fn entries(root: &Path, spec: &PackSpec) -> Result<Entries, BuildError> {
    let context = root.join(&spec.context);
    let beneath = Root::open(&context, Links::StayBeneath).map_err(io("reading", &context))?;
    let left_out = left_out(root, &spec.leave_out);
    let mut entries = Entries {
        all: BTreeMap::new(),
        skipped: Vec::new(),
    };
    // Which source each of them comes from, or is there for.
    let mut from_where: BTreeMap<PathBuf, &Path> = BTreeMap::new();
    for (from, to) in &spec.copy {
        let real = context.join(source(&beneath, from)?);
        let target = target(to, from, &real)?;

        // Folders of a base stay the base's: one of them may be a link there, as /lib most often
        // is.
        if spec.base == Base::Scratch {
            add_parents(&mut entries.all, &target);
            for parent in target.ancestors().skip(1) {
                from_where.entry(parent.to_path_buf()).or_insert(from);
            }
        }

        let mut own = Entries {
            all: BTreeMap::new(),
            skipped: Vec::new(),
        };
        add(&mut own, &real, &target, &left_out)?;
        for (name, found) in own.all {
            let is_folder = matches!(found, Source::Folder);
            match entries.all.get(&name) {
                None => {}
                Some(Source::Folder) if is_folder => continue,
                Some(_) => {
                    let other = from_where.get(&name).copied();
                    return Err(twice(&name, other, from));
                }
            }
            from_where.insert(name.clone(), from);
            entries.all.insert(name, found);
        }
        entries.skipped.extend(own.skipped);
    }
    nothing_below_files(&entries.all, &from_where)?;
    Ok(entries)
}

/// Nothing is below a file.
fn nothing_below_files(
    entries: &BTreeMap<PathBuf, Source>,
    from_where: &BTreeMap<PathBuf, &Path>,
) -> Result<(), BuildError> {
    for name in entries.keys() {
        let mut above = name.ancestors().skip(1);
        let file = above.find(|above| {
            entries
                .get(*above)
                .is_some_and(|found| !matches!(found, Source::Folder))
        });
        if let Some(file) = file {
            let from = from_where.get(name).copied().unwrap_or(Path::new(""));
            return Err(twice(file, from_where.get(file).copied(), from));
        }
    }
    Ok(())
}

fn twice(name: &Path, one: Option<&Path>, other: &Path) -> BuildError {
    let one = one.unwrap_or(Path::new(""));
    BuildError::Copy {
        path: Path::new("/").join(name),
        reason: format!(
            "`{}` and `{}` are copied over each other there; name one of them, or another place",
            one.display(),
            other.display()
        ),
    }
}

/// Where a source comes to in the image. One that is no folder is put into what ends with `/`, as
/// for a Dockerfile's COPY.
fn target(to: &Path, from: &Path, real: &Path) -> Result<PathBuf, BuildError> {
    let target = inside(to)?;
    let is_into = to.as_os_str().as_bytes().ends_with(b"/");
    match from.file_name() {
        Some(name) if is_into && !real.is_dir() => Ok(target.join(name)),
        _ => Ok(target),
    }
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
    entries: &mut Entries,
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
            entries.all.insert(to.to_path_buf(), Source::Folder);
        }
        for entry in fs::read_dir(from).map_err(io("reading", from))? {
            let entry = entry.map_err(io("reading", from))?;
            let kind = entry.file_type().map_err(io("reading", from))?;
            if !(kind.is_dir() || kind.is_file() || kind.is_symlink()) {
                entries.skipped.push(entry.path());
            } else if entry.file_name() != ".git" {
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
        entries.all.insert(to.to_path_buf(), Source::Link(target));
    } else if meta.is_file() {
        entries
            .all
            .insert(to.to_path_buf(), Source::File(from.to_path_buf()));
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
        Ok(entries.all.iter().map(shown).collect())
    }

    #[test]
    fn one_source_is_never_copied_over_another_or_below_a_file() {
        let root = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(root.path().join("app/sub")).expect("a folder");
        for file in ["app/sub/x", "app/swiss.py", "top.txt"] {
            fs::write(root.path().join(file), file).expect("a file");
        }
        let copied = |copy: &[(&str, &str)]| names(root.path(), &spec(Base::Scratch, copy));
        for target in ["/app/sub", "/app/swiss.py", "/app/swiss.py/x"] {
            let reason = copied(&[("app", "/app"), ("top.txt", target)]).expect_err(target);
            assert!(reason.contains("`app`"), "{target}: {reason}");
        }
        let reason = copied(&[("app", "/app"), ("top.txt", "/app/sub")]).expect_err("a folder");
        assert!(reason.contains("`app` and `top.txt`"), "{reason}");

        let into = |target| copied(&[("top.txt", target)]).expect(target);
        assert_eq!(into("/cfg/"), ["cfg/", "cfg/top.txt"]);
        assert_eq!(into("/"), ["top.txt"]);
        assert_eq!(into("/cfg"), ["cfg"]);
        let beside = copied(&[("app", "/app"), ("top.txt", "/app/")]).expect("into it");
        assert!(beside.contains(&"app/top.txt".to_owned()), "{beside:?}");
        let one_in_another = copied(&[("app", "/app/"), ("app/sub", "/app/more")]);
        assert!(one_in_another.is_ok(), "{one_in_another:?}");
    }

    #[test]
    fn what_can_be_in_no_image_is_left_out_and_told() {
        let root = tempfile::tempdir().expect("a folder");
        fs::create_dir(root.path().join("app")).expect("a folder");
        fs::write(root.path().join("app/x"), "x").expect("a file");
        let pipe = root.path().join("app/pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, 0o600.into()).expect("a pipe");
        let found = entries(root.path(), &spec(Base::Scratch, &[("app", "/app")])).expect("packed");
        assert_eq!(found.skipped.len(), 1);
        assert!(
            found.skipped[0].ends_with("app/pipe"),
            "{:?}",
            found.skipped
        );
        assert_eq!(found.all.len(), 2);
        let named = names(root.path(), &spec(Base::Scratch, &[("app/pipe", "/pipe")]));
        assert!(named.is_err(), "it was asked for by its name");
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
