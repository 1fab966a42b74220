//! Whose the state is. Where others may make folders, one of them could have made the state's, with
//! a history of their own in it.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::process::geteuid;

use crate::port::store::StoreError;

/// Refuses a state that another user may have written: the store's folder, the environment's in it,
/// and the document. What is not there is nobody's.
///
/// Root works in other users' folders and closes a folder of state to all others: a link of one of
/// them could lead it anywhere.
pub(super) fn check(store: &Path, environment: &Path) -> Result<(), StoreError> {
    if geteuid().is_root() {
        refuse_links_of_others(environment)?;
    }

    let around = match store.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => store,
    };
    let document = super::document::path(environment);
    let nested = [
        (around, store),
        (store, environment),
        (environment, document.as_path()),
    ];
    for (folder, path) in nested {
        let Some((owner, of_folder)) = owner(path)?.zip(owner(folder)?) else {
            continue;
        };
        if !may_own(owner, geteuid().as_raw(), of_folder) {
            return Err(foreign(path, owner));
        }
    }
    Ok(())
}

/// Refuses a path that leads through a link of another user's than root.
fn refuse_links_of_others(path: &Path) -> Result<(), StoreError> {
    for on_the_way in path.ancestors() {
        let Ok(found) = on_the_way.symlink_metadata() else {
            continue;
        };
        if found.is_symlink() && found.uid() != 0 {
            return Err(foreign_link(on_the_way, found.uid()));
        }
    }
    Ok(())
}

/// Whether a user may own what another user's folder has: whoever runs shipit, root, and the owner
/// of the folder, who could replace it anyway.
const fn may_own(owner: u32, own: u32, of_folder: u32) -> bool {
    owner == own || owner == 0 || owner == of_folder
}

fn owner(path: &Path) -> Result<Option<u32>, StoreError> {
    match std::fs::metadata(path) {
        Ok(found) => Ok(Some(found.uid())),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(super::io("looking at", path)(error)),
    }
}

fn foreign_link(path: &Path, owner: u32) -> StoreError {
    let path = path.display().to_string();
    StoreError::Damaged {
        reason: format!(
            "it is a link of another user's ({owner}), which root does not follow to a state"
        ),
        help: "run shipit as that user, or name the folder itself in `state.path`".to_owned(),
        path,
    }
}

fn foreign(path: &Path, owner: u32) -> StoreError {
    let path = path.display().to_string();
    StoreError::Damaged {
        reason: format!(
            "it belongs to another user ({owner}), who may have written anything there"
        ),
        help: format!(
            "`ls -la {path}` shows who made it; remove it, or `chown -R` it to whoever runs shipit \
             if it is theirs"
        ),
        path,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::chown;

    use super::*;

    #[test]
    fn a_state_is_its_users_roots_or_its_folders_owners() {
        let (me, another, third) = (1000, 1001, 1002);
        assert!(may_own(me, me, another));
        assert!(may_own(0, me, another));
        assert!(may_own(another, 0, another), "root in somebody's project");
        assert!(!may_own(another, me, third));
        assert!(!may_own(another, me, 0));
        assert!(!may_own(another, 0, 0));
    }

    #[test]
    fn a_state_that_somebody_else_put_there_is_refused() {
        let project = tempfile::tempdir().expect("a folder");
        let store = project.path().join("state");
        let environment = store.join("p");
        check(&store, &environment).expect("nothing is there");
        std::fs::create_dir_all(&environment).expect("a folder");
        let document = super::super::document::path(&environment);
        std::fs::write(&document, "{}").expect("a file");
        check(&store, &environment).expect("this user's own");

        // Only root can give files away.
        if !geteuid().is_root() {
            return;
        }
        for path in [&document, &environment, &store] {
            chown(path, Some(65534), None).expect("given away");
            let error = check(&store, &environment).expect_err("nobody's");
            assert!(
                error
                    .to_string()
                    .contains("belongs to another user (65534)"),
                "{error}"
            );
            chown(path, Some(0), None).expect("given back");
        }
        let link = project.path().join("link");
        std::os::unix::fs::symlink(&store, &link).expect("a link");
        check(&link, &link.join("p")).expect("root's own link");
        std::os::unix::fs::lchown(&link, Some(65534), None).expect("given away");
        let error = check(&link, &link.join("p")).expect_err("nobody's link");
        assert!(error.to_string().contains("a link of another"), "{error}");

        for path in [project.path(), &store, &environment, &document] {
            chown(path, Some(65534), None).expect("given away");
        }
        check(&store, &environment).expect("a project of another user's");
    }
}
