//! The loops that ask repositories where their refs point: one for each project that says how
//! often.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::model::ProjectName;
use crate::ops::doors::{DoorError, Doors, poll};

/// Looks at a project's repository about as often as this, the first time at once.
pub(super) async fn watch(
    doors: Arc<Doors>,
    project: ProjectName,
    every: Duration,
    stop: CancellationToken,
) {
    let mut trouble = None;
    loop {
        let looked = tokio::select! {
            () = stop.cancelled() => return,
            looked = poll::look(&doors, &project) => looked,
        };
        trouble = told(&project, looked, trouble.as_deref());
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(poll::pause(every)) => {}
        }
    }
}

/// Says what is new: what was taken, and a trouble that is another than the last time's, which is
/// returned.
fn told(
    project: &ProjectName,
    looked: Result<usize, DoorError>,
    before: Option<&str>,
) -> Option<String> {
    let error = match looked {
        Ok(count) => {
            if count > 0 {
                tracing::info!(%project, count, "refs had moved that nobody told of");
            }
            if before.is_some() {
                tracing::info!(%project, "the repository can be asked again");
            }
            return None;
        }
        Err(error) => error.to_string(),
    };
    if before != Some(error.as_str()) {
        tracing::warn!(%project, %error, "what moved in the repository cannot be taken");
    }
    Some(error)
}
