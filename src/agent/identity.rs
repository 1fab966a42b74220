//! What tells an agent from every other one that speaks to the same engine: the paths of their
//! folders may be the same, as two build containers with one socket have them.

use std::path::Path;

use crate::files;
use crate::model::Digest;
use crate::proto::Directory;

/// The largest key, in bytes.
const LARGEST: u64 = 1 << 10;

/// An agent by its folder: what its random key gives, which nobody comes to from there.
#[must_use]
pub(in crate::agent) fn of(folder: &Path) -> String {
    let key = Directory::find(Some(folder.to_owned())).hash_key();
    // Without a key, which every agent makes before anything else, the folder has to do.
    let known = files::read(&key, LARGEST);
    let known = known.unwrap_or_else(|_| folder.as_os_str().as_encoded_bytes().to_vec());
    let named = [b"the name of an agent: ", known.as_slice()].concat();
    Digest::of(&named).short().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_are_told_apart_by_their_keys() {
        let folder = tempfile::tempdir().expect("a folder");
        let key = Directory::find(Some(folder.path().to_owned())).hash_key();
        let mut names = vec![of(folder.path())];
        for text in ["one key", "another key"] {
            std::fs::create_dir_all(key.parent().expect("a folder")).expect("made");
            std::fs::write(&key, text).expect("written");
            names.push(of(folder.path()));
            assert_eq!(names.last(), Some(&of(folder.path())), "it stays");
        }
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 3, "{names:?}");
    }
}
