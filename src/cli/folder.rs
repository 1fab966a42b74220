//! The project's folder: the one that is named, else the nearest one above that has a
//! `shipit.yaml`.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The configuration's file.
const FILE: &str = "shipit.yaml";

/// The folder that a command means. Above, it is looked for up to the top of the Git repository;
/// outside of one, as long as the folders belong to whoever runs this: nobody else's file above is
/// taken for the project's.
pub(super) fn of_project(named: Option<PathBuf>) -> PathBuf {
    let here = PathBuf::from(".");
    match named {
        Some(named) => named,
        None => std::env::current_dir()
            .ok()
            .and_then(|folder| above(&folder, rustix::process::geteuid().as_raw()))
            .unwrap_or(here),
    }
}

/// The nearest folder with a configuration; none when it is `from` itself.
fn above(from: &Path, user: u32) -> Option<PathBuf> {
    for folder in from.ancestors() {
        let is_theirs = |path: &Path| path.metadata().is_ok_and(|meta| meta.uid() == user);
        if folder.join(FILE).exists() {
            let is_above = folder != from && is_theirs(folder) && is_theirs(&folder.join(FILE));
            return is_above.then(|| folder.to_path_buf());
        }
        if folder.join(".git").exists() || !is_theirs(folder) {
            return None;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_project_is_looked_for_above_and_not_beyond_its_repository() {
        let machine = tempfile::tempdir().expect("a folder");
        let top = machine.path();
        let user = fs::metadata(top).expect("there").uid();
        fs::create_dir_all(top.join("repository/service/src")).expect("made");
        let deep = top.join("repository/service/src");
        fs::write(top.join(FILE), "").expect("written");
        assert_eq!(above(&deep, user), Some(top.to_path_buf()));
        assert_eq!(above(&deep, user + 1), None, "somebody else's folder");

        fs::create_dir(top.join("repository/.git")).expect("made");
        assert_eq!(above(&deep, user), None, "another repository's");
        fs::write(top.join("repository").join(FILE), "").expect("written");
        assert_eq!(above(&deep, user), Some(top.join("repository")));
        assert_eq!(above(&top.join("repository"), user), None, "it is here");
    }
}
