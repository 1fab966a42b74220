//! The folder of an agent is where its clients find it. An agent whose folder is gone, or that
//! another has taken the place of, can be found by nobody any more, and ends.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{Stat, fstat};
use tokio_util::sync::CancellationToken;

use crate::agent::Directory;
use crate::agent::engine::Agent;

/// How often it is looked for.
const LOOK: Duration = Duration::from_secs(1);

/// How often in a row it must not be there: a folder that is being moved is back in a moment.
const LOOKS: u32 = 3;

/// What became of the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Home {
    /// It is where it was.
    There,
    /// It is elsewhere, with all that is in it: another agent finds the services there.
    Moved,
    /// It was deleted, with the images that the services run from, their logs and all that was
    /// recorded of them.
    Deleted,
}

/// Waits until the folder is not where it was any more; for ever while it is.
pub(super) async fn watch(folder: OwnedFd, directory: Directory, stop: CancellationToken) -> Home {
    let mut missed = 0;
    while !stop.is_cancelled() {
        tokio::time::sleep(LOOK).await;
        let named = rustix::fs::stat(directory.path()).ok();
        let home = fstat(&folder).map_or(Home::There, |open| became(&open, named.as_ref()));
        missed = if home == Home::There { 0 } else { missed + 1 };
        if missed >= LOOKS {
            return home;
        }
    }
    std::future::pending().await
}

/// From the folder that is open, and what has its name now.
fn became(open: &Stat, named: Option<&Stat>) -> Home {
    let is_it = |named: &Stat| (named.st_dev, named.st_ino) == (open.st_dev, open.st_ino);
    if named.is_some_and(is_it) {
        Home::There
    } else if open.st_nlink == 0 {
        Home::Deleted
    } else {
        Home::Moved
    }
}

/// Ends the agent of a folder that is not there any more; with its services, when nobody will know
/// of them again.
pub(super) async fn leave(
    home: impl Future<Output = Home>,
    agent: Arc<Agent>,
    stop: CancellationToken,
) {
    let home = home.await;
    let directory = agent.directory().path().display().to_string();
    match home {
        Home::There => return,
        Home::Moved => {
            tracing::error!(
                directory,
                "the agent's folder has been moved: it ends, and its services go on"
            );
        }
        Home::Deleted => {
            tracing::error!(
                directory,
                "the agent's folder has been deleted: it ends, and its services with it"
            );
            agent.stop_services().await;
        }
    }

    stop.cancel();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_there_moved_or_deleted() {
        let place = tempfile::tempdir().unwrap();
        let (here, there) = (place.path().join("a"), place.path().join("b"));
        std::fs::create_dir(&here).unwrap();
        let open = std::fs::File::open(&here).unwrap();
        let look = || {
            became(
                &fstat(&open).unwrap(),
                rustix::fs::stat(&here).ok().as_ref(),
            )
        };
        assert_eq!(look(), Home::There);
        std::fs::rename(&here, &there).unwrap();
        assert_eq!(look(), Home::Moved);
        std::fs::create_dir(&here).unwrap();
        assert_eq!(look(), Home::Moved, "another has its place");
        std::fs::remove_dir(&there).unwrap();
        assert_eq!(look(), Home::Deleted);
    }
}
