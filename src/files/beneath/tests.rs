//! What is opened, what is refused, and that the kernel sees it the same way.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};

use proptest::prelude::*;
use rustix::fs::{ResolveFlags, mknodat, openat2};

use super::*;

fn project() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("root");
    fs::create_dir_all(root.join("conf/deep")).expect("a folder");
    fs::write(root.join("conf/deep/a"), "ours").expect("a file");
    fs::write(folder.path().join("host"), "theirs").expect("a file");
    for (link, target) in [
        ("conf/inside", "../conf/deep/a"),
        ("conf/out", "../../host"),
        ("conf/absolute", "/etc/hostname"),
        ("folder", "conf/deep"),
        ("up", ".."),
        ("loop", "loop"),
    ] {
        symlink(target, root.join(link)).expect("a link");
    }
    folder
}

fn beneath(folder: &tempfile::TempDir) -> Root {
    Root::open(&folder.path().join("root"), Links::StayBeneath).expect("a root")
}

#[test]
fn a_link_that_stays_is_followed_and_one_that_leads_out_is_named() {
    let folder = project();
    let root = beneath(&folder);
    for path in [
        "conf/deep/a",
        "conf/inside",
        "folder/a",
        "./conf/../folder/a",
    ] {
        assert_eq!(root.text(Path::new(path), 100).expect(path), "ours");
        let real = root.real(Path::new(path)).expect(path);
        assert_eq!(real, Path::new("conf/deep/a"), "{path}");
    }
    for (path, link) in [
        ("conf/out", "conf/out"),
        ("conf/absolute", "conf/absolute"),
        ("up/host", "up"),
        ("folder/../../up/root/conf/deep/a", "up"),
    ] {
        let error = root.file(Path::new(path)).expect_err(path);
        let BeneathError::Link { link: found, .. } = error else {
            panic!("{path}: {error}");
        };
        assert_eq!(found, Path::new(link), "{path}");
    }
    for path in ["../host", "conf/../../host", "/etc/hostname"] {
        let error = root.file(Path::new(path)).expect_err(path);
        assert!(
            matches!(error, BeneathError::Outside { .. }),
            "{path}: {error}"
        );
    }
    let error = root.file(Path::new("loop/x")).expect_err("a loop");
    assert!(error.to_string().contains("symbolic links"), "{error}");
    assert!(
        root.file(Path::new("none"))
            .expect_err("nothing")
            .is_missing()
    );
}

#[test]
fn only_files_are_opened_and_only_as_much_as_is_wanted() {
    let folder = project();
    let root = beneath(&folder);
    let fifo = folder.path().join("root/fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR, 0).expect("a FIFO");
    for (path, kind) in [("fifo", "a pipe"), ("conf", "a folder"), (".", "a folder")] {
        let error = root.file(Path::new(path)).expect_err(path);
        assert!(error.to_string().contains(kind), "{error}");
    }
    let error = root.read(Path::new("conf/deep/a"), 3).expect_err("4 bytes");
    assert!(
        matches!(error, BeneathError::TooLarge { limit: 3, .. }),
        "{error}"
    );
    assert!(plain_file(Path::new("/dev/null")).is_err());
    assert!(plain_file(&folder.path().join("root/conf/inside")).is_err());
    assert!(plain_file(&fifo).is_err());
}

#[test]
fn folders_are_made_inside_whatever_links_say() {
    let folder = project();
    let top = folder.path().join("root");
    symlink("/run/x", top.join("var")).expect("a link");
    let root = Root::open(&top, Links::SeeRoot).expect("a root");
    for (path, real) in [
        ("var/lib", "run/x/lib"),
        ("up/up/new", "new"),
        ("../../new", "new"),
        ("conf/deep/a/b", "conf/deep/a/b"),
    ] {
        let folder = root
            .folder(Path::new(path), Missing::Make(0o750))
            .expect(path);
        assert_eq!(folder.real, Path::new(real), "{path}");
        let found = fs::metadata(top.join(real)).expect(real).mode() & 0o777;
        assert_eq!(found, 0o750, "{real}");
    }
}

const NAMES: [&str; 5] = ["a", "b", "c", "..", "."];

fn paths(most: usize) -> impl Strategy<Value = PathBuf> {
    let parts = prop::collection::vec(prop::sample::select(NAMES.to_vec()), 1..most);
    (parts, any::<bool>()).prop_map(|(parts, absolute)| {
        let path: PathBuf = parts.into_iter().collect();
        if absolute {
            Path::new("/").join(path)
        } else {
            path
        }
    })
}

fn kernel(root: &Path, path: &Path, flags: ResolveFlags) -> rustix::io::Result<u64> {
    let root = rustix::fs::open(root, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    loop {
        let flags = flags | ResolveFlags::NO_MAGICLINKS;
        match openat2(
            &root,
            path,
            OFlags::PATH | OFlags::CLOEXEC,
            Mode::empty(),
            flags,
        ) {
            // Something was renamed somewhere meanwhile.
            Err(Errno::AGAIN) => {}
            opened => return Ok(fstat(opened?)?.st_ino),
        }
    }
}

fn here(root: &Root, path: &Path) -> Option<u64> {
    let found = root.followed(path).ok()?;
    let name = found.name.as_deref().unwrap_or(OsStr::new("."));
    let stat = statat(&found.folder, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    Some(stat.st_ino)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_path_leads_where_the_kernel_says(
        folders in prop::collection::vec(paths(4), 0..4),
        links in prop::collection::vec((paths(4), paths(5)), 0..6),
        asked in prop::collection::vec(paths(6), 1..12),
    ) {
        let outside = tempfile::tempdir().expect("a folder");
        let top = outside.path().join("a/b");
        fs::create_dir_all(&top).expect("a folder");
        let root = Root::open(&top, Links::SeeRoot).expect("a root");
        for folder in folders {
            // Some of them are links' names by now.
            let _ = root.folder(&folder, Missing::Make(0o755));
        }
        for (link, target) in links {
            if let Ok(name) = root.name(&link) && let Some(last) = name.name {
                let _ = rustix::fs::symlinkat(&target, &name.folder, &last);
            }
        }

        if kernel(&top, Path::new("."), ResolveFlags::BENEATH) == Err(Errno::NOSYS) {
            return Ok(());
        }
        let beneath = Root::open(&top, Links::StayBeneath).expect("a root");
        for path in asked {
            let kernels = kernel(&top, &path, ResolveFlags::IN_ROOT).ok();
            prop_assert_eq!(here(&root, &path), kernels, "{} in the root", path.display());
            let kernels = kernel(&top, &path, ResolveFlags::BENEATH).ok();
            prop_assert_eq!(here(&beneath, &path), kernels, "{} beneath", path.display());
        }
    }
}
