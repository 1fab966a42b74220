//! The places in a container's files at which files of the machine are mounted.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, fstat, unlinkat};

use crate::agent::runtime::container::contain::{Reason, described, said};
use crate::files::beneath::{Links, Root};

/// Takes links away that lead to nothing and whose name a file of the machine gets: images of
/// distributions have `/etc/resolv.conf` lead into `/run`, where nothing is before they run. The
/// mount makes a file in the place of one that is missing, and cannot make one through a link.
///
/// The files are this container's own: the image keeps its links, and so does a volume that is
/// mounted above such a place.
pub(super) fn clear(bundle: &Path) -> Result<(), Reason> {
    let clearing = "making places for the machine's files";
    let container = described(bundle)?;
    let files = container["root"]["path"].as_str().unwrap_or_default();
    let files = bundle.join(files);
    let root = Root::open(&files, Links::SeeRoot).map_err(said(clearing))?;
    let own = files.metadata().map_err(said(clearing))?.dev();

    let mounts = container["mounts"].as_array().into_iter().flatten();
    let binds = mounts.filter(|mount| mount["type"] == "bind");
    for place in binds.filter_map(|mount| mount["destination"].as_str()) {
        let place = Path::new(place);
        let leads_nowhere = matches!(root.real(place), Err(error) if error.is_missing());
        let Ok(link) = root.name(place) else {
            continue;
        };
        let is_own = fstat(&link.folder).is_ok_and(|folder| folder.st_dev == own);
        if let Some(name) = link.name.filter(|_| leads_nowhere && is_own) {
            match unlinkat(&link.folder, &name, AtFlags::empty()) {
                Ok(()) | Err(rustix::io::Errno::NOENT) => {}
                Err(error) => return Err(said(clearing)(error)),
            }
        }
    }
    Ok(())
}
