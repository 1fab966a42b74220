//! Folders that their owner may not write to, as Go's module cache has them: nothing in them can be
//! deleted, whoever owns it.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::fs::{CWD, Dir, FileType, Mode, OFlags};
use rustix::fs::{fstat, openat};

/// How deep is looked. What is deeper has a longer path than most programs can name.
const DEEPEST: usize = 512;

/// What the owner of a folder needs to list it, and to delete what is in it.
const OWNER: u32 = 0o700;

/// Lets the owner write to a folder and to all folders below it, but for those that stay as they
/// are, by their paths below it. No link is followed, and what is another user's is left alone.
///
/// # Errors
/// It cannot be looked into.
pub fn open_up(folder: &Path, stays: &dyn Fn(&Path) -> bool) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = openat(CWD, folder, flags, Mode::empty())?;
    below(&opened, Path::new(""), stays, 0)
}

/// The same for an open folder, which is known by its path.
fn below(
    folder: &OwnedFd,
    path: &Path,
    stays: &dyn Fn(&Path) -> bool,
    depth: usize,
) -> io::Result<()> {
    let mode = Mode::from_raw_mode(fstat(folder)?.st_mode).as_raw_mode() & 0o7777;
    if mode & OWNER != OWNER {
        // By the link of the kernel it is this very folder, of whichever name by now.
        let own = format!("/proc/self/fd/{}", folder.as_raw_fd());
        fs::set_permissions(own, Permissions::from_mode(mode | OWNER))?;
    }
    if depth == DEEPEST {
        return Ok(());
    }

    let listed = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let listed = openat(folder.as_fd(), ".", listed, Mode::empty())?;
    for entry in Dir::new(listed)? {
        let entry = entry?;
        let name = std::ffi::OsStr::from_bytes(entry.file_name().to_bytes());
        let may_be_one = matches!(entry.file_type(), FileType::Directory | FileType::Unknown);
        if !may_be_one || name == "." || name == ".." {
            continue;
        }
        let path = path.join(name);
        if stays(&path) {
            continue;
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Ok(inside) = openat(folder.as_fd(), name, flags, Mode::empty()) else {
            continue;
        };
        // One that cannot be changed is for whoever deletes it to name.
        let _ = below(&inside, &path, stays, depth + 1);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        let found = fs::symlink_metadata(path).expect("it is there");
        found.permissions().mode() & 0o7777
    }

    fn set(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
    }

    #[test]
    fn folders_are_opened_up_to_their_owner_beneath_and_through_no_link() {
        let place = tempfile::tempdir().expect("a folder");
        let (root, other) = (place.path().join("root"), place.path().join("other"));
        for folder in ["cache/module@v1/inside", "state/sealed", "usual"] {
            fs::create_dir_all(root.join(folder)).expect("made");
        }
        fs::create_dir(&other).expect("made");
        symlink(&other, root.join("cache/link")).expect("a link");
        fs::write(root.join("cache/module@v1/inside/file"), "").expect("written");
        let file = root.join("cache/module@v1/inside/file");
        set(&file, 0o444);
        set(&other, 0o555);
        set(&root.join("usual"), 0o2755);
        set(&root.join("state/sealed"), 0o555);
        set(&root.join("cache/module@v1/inside"), 0o555);
        set(&root.join("cache/module@v1"), 0);
        set(&root, 0o555);

        open_up(&root, &|path| path == Path::new("state")).expect("opened");
        assert_eq!(mode(&root), 0o755);
        assert_eq!(mode(&root.join("cache/module@v1")), 0o700);
        assert_eq!(mode(&root.join("cache/module@v1/inside")), 0o755);
        assert_eq!(mode(&root.join("usual")), 0o2755);
        assert_eq!(mode(&root.join("state/sealed")), 0o555, "it stays");
        assert_eq!(mode(&other), 0o555, "it is only linked to");
        assert_eq!(mode(&file), 0o444, "a file is no folder");

        fs::remove_dir_all(&root).expect("it can be deleted");
        open_up(&place.path().join("none"), &|_| false).expect_err("there is none");
    }
}
