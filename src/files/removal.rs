//! Deleting what is in a folder that is open, by names alone: no link in it leads elsewhere.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::fs::{fstat, openat, statat, unlinkat};
use rustix::io::Errno;

/// Whether something stays: by the folder that has it and its name there.
pub type Stays<'a> = dyn Fn(u64, &OsStr) -> bool + 'a;

/// Takes a name away, and all that is below it; what stays keeps the folders that it is in.
pub fn remove(folder: &impl AsFd, name: &OsStr, stays: &Stays<'_>) -> io::Result<()> {
    let inode = fstat(folder)?.st_ino;
    let is_folder = match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(()),
        stat => FileType::from_raw_mode(stat?.st_mode) == FileType::Directory,
    };
    if !is_folder {
        if !stays(inode, name) {
            unlinkat(folder, name, AtFlags::empty())?;
        }
        return Ok(());
    }

    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let inside = openat(folder, name, flags, Mode::empty())?;
    clear(&inside, stays)?;
    if stays(inode, name) {
        return Ok(());
    }
    match unlinkat(folder, name, AtFlags::REMOVEDIR) {
        // Something in it stays.
        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
        removed => Ok(removed?),
    }
}

/// Takes away all that is in a folder.
pub fn clear(folder: &impl AsFd, stays: &Stays<'_>) -> io::Result<()> {
    for name in names(folder)? {
        remove(folder, &name, stays)?;
    }
    Ok(())
}

/// The names that are in a folder.
pub fn names(folder: &impl AsFd) -> io::Result<Vec<OsString>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let readable = openat(folder, ".", flags, Mode::empty())?;
    let mut names = Vec::new();
    for entry in Dir::new(readable)? {
        let name = OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned();
        if name != "." && name != ".." {
            names.push(name);
        }
    }
    Ok(names)
}
