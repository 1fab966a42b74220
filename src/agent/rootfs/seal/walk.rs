//! Every name below a folder, one after the other.
//!
//! Nothing is kept of what was visited: an image may have a million names of four thousand bytes
//! each.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::vec::IntoIter;

/// What is done with a name and with what the machine says of it.
pub(super) type Visit<'a> = dyn FnMut(&Path, &fs::Metadata) -> io::Result<()> + 'a;

/// Visits the folder itself, as the empty name, and all that is below it: a folder right before
/// what is in it, and the names of a folder by their bytes. That is the order of
/// [`Name`](super::Name).
pub(super) fn walk(files: &Path, visit: &mut Visit<'_>) -> io::Result<()> {
    let mut name = PathBuf::new();
    visit(&name, &fs::symlink_metadata(files)?)?;

    let mut folders: Vec<IntoIter<OsString>> = vec![names(files)?];
    while let Some(folder) = folders.last_mut() {
        let Some(next) = folder.next() else {
            folders.pop();
            name.pop();
            continue;
        };

        name.push(next);
        let path = files.join(&name);
        let meta = fs::symlink_metadata(&path)?;
        visit(&name, &meta)?;
        if meta.is_dir() {
            folders.push(names(&path)?);
        } else {
            name.pop();
        }
    }
    Ok(())
}

fn names(folder: &Path) -> io::Result<IntoIter<OsString>> {
    let names = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name()));
    let mut names: Vec<OsString> = names.collect::<io::Result<_>>()?;
    names.sort_unstable();
    Ok(names.into_iter())
}
