//! The files that this process writes for whoever started it: where its output goes, and the plan
//! file that is made or carried out. They often lie in the project's folder, and are none of its
//! files: no input of a build, and no change of the working tree.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use crate::files;

/// As its output itself, these are the whole process'.
static NAMED: RwLock<BTreeSet<PathBuf>> = RwLock::new(BTreeSet::new());

/// Says that a file is written or read for whoever started this, and is none of the project's.
pub fn name(path: &Path) {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let mut named = NAMED.write().unwrap_or_else(PoisonError::into_inner);
    named.insert(path);
}

/// Writes what whoever started this has asked to have in a file of this name. A file is replaced as
/// a whole, where a link leads too; a device, a pipe or a terminal is written to, and stays what it
/// is.
///
/// # Errors
/// It cannot be written, or whoever reads a pipe is gone.
pub fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(there) if there.is_file() => {
            let real = path.canonicalize()?;
            // Who could read it may go on.
            files::replace_with(&real, |file| {
                file.set_permissions(there.permissions())?;
                file.write_all(content)
            })
        }
        Ok(there) if !there.is_dir() => {
            let mut stream = OpenOptions::new().write(true).open(path)?;
            stream.write_all(content)
        }
        _ if fs::symlink_metadata(path).is_ok_and(|it| it.is_symlink()) => {
            Err(io::Error::other("it is a link that leads nowhere"))
        }
        _ => files::replace(path, content),
    }
}

/// These files that are below a folder, relative to it.
#[must_use]
pub fn below(folder: &Path) -> BTreeSet<PathBuf> {
    let named = NAMED.read().unwrap_or_else(PoisonError::into_inner).clone();
    let streams = [
        redirected(io::stdout(), "/proc/self/fd/1"),
        redirected(io::stderr(), "/proc/self/fd/2"),
    ];
    let Ok(folder) = folder.canonicalize() else {
        return BTreeSet::new();
    };
    let all = named.into_iter().chain(streams.into_iter().flatten());
    all.filter_map(|path| relative(&path, &folder)).collect()
}

/// The file that a stream goes to, if it is one and has this name still.
fn redirected(stream: impl AsFd, link: &str) -> Option<PathBuf> {
    let open = File::from(stream.as_fd().try_clone_to_owned().ok()?)
        .metadata()
        .ok()?;
    let path = fs::read_link(link).ok().filter(|_| open.is_file())?;
    let named = fs::symlink_metadata(&path).ok()?;
    ((open.dev(), open.ino()) == (named.dev(), named.ino())).then_some(path)
}

/// A path in its folder, by the folder's real name: a plan file is not there before it is written.
fn relative(path: &Path, folder: &Path) -> Option<PathBuf> {
    let real = path.parent()?.canonicalize().ok()?.join(path.file_name()?);
    Some(real.strip_prefix(folder).ok()?.to_path_buf())
}

/// Whether messages are taken: false when the pipe that they go to is full, and stays so this long.
/// Git goes on holding the pipe of a hook whose reader has gone.
#[must_use]
pub fn takes_messages(within: std::time::Duration) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    let stream = io::stderr();
    let mut streams = [PollFd::new(&stream, PollFlags::OUT)];
    let limit = Timespec::try_from(within).ok();
    let ready = poll(&mut streams, limit.as_ref());
    ready.is_ok_and(|count| count > 0) && !streams[0].revents().contains(PollFlags::ERR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_named_is_found_below_its_folder_by_whatever_way() {
        let place = tempfile::tempdir().expect("a folder");
        let (project, link) = (place.path().join("project"), place.path().join("link"));
        fs::create_dir_all(project.join("out")).expect("a folder");
        std::os::unix::fs::symlink(&project, &link).expect("a link");

        name(&link.join("out/plan.json"));
        name(&place.path().join("elsewhere.json"));
        let found = BTreeSet::from([PathBuf::from("out/plan.json")]);
        assert_eq!(below(&project), found);
        assert_eq!(below(&link), found);
    }

    #[test]
    fn what_is_no_file_is_written_to_and_stays_what_it_is() {
        use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};

        let place = tempfile::tempdir().expect("a folder");
        let (file, link) = (place.path().join("file"), place.path().join("link"));
        fs::write(&file, "before").expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("open to others");
        std::os::unix::fs::symlink(&file, &link).expect("a link");
        write(&link, b"text").expect("written");
        assert_eq!(fs::read(&file).expect("there"), b"text");
        assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
        let mode = fs::metadata(&file).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o644);

        let pipe = place.path().join("pipe");
        let status = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(status.expect("mkfifo").success());
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || fs::read(pipe).expect("read")
        });
        write(&pipe, b"text").expect("written");
        assert_eq!(reader.join().expect("it ends"), b"text");
        let kind = fs::metadata(&pipe).expect("there").file_type();
        assert!(kind.is_fifo());
        write(Path::new("/dev/full"), b"text").expect_err("it is full");

        let nowhere = place.path().join("nowhere");
        std::os::unix::fs::symlink(place.path().join("gone"), &nowhere).expect("a link");
        write(&nowhere, b"text").expect_err("it leads nowhere");
        let new = place.path().join("new");
        write(&new, b"text").expect("written");
        assert_eq!(fs::read(&new).expect("there"), b"text");
    }

    #[test]
    fn a_stream_counts_as_long_as_its_file_has_its_name() {
        let place = tempfile::tempdir().expect("a folder");
        let path = place.path().join("comment.md");
        let file = File::create(&path).expect("a file");
        let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
        assert_eq!(redirected(&file, &link), Some(path.clone()));

        fs::rename(&path, place.path().join("moved.md")).expect("renamed");
        File::create(&path).expect("another file");
        assert_eq!(
            redirected(&file, &link),
            Some(place.path().join("moved.md"))
        );
        fs::remove_file(place.path().join("moved.md")).expect("removed");
        assert_eq!(redirected(&file, &link), None);
    }
}
