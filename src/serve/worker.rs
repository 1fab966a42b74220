//! The loop that has jobs carried out.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::ops::doors::Doors;
use crate::ops::doors::spool::collect;
use crate::ops::doors::work::{Stopped, forget, round};

/// How often it looks at what runs.
const LOOK: Duration = Duration::from_millis(200);

/// How often it looks when it could not.
const AFTER_TROUBLE: Duration = Duration::from_secs(5);

/// How often it does what can wait.
const HOUSEKEEPING: Duration = Duration::from_mins(1);

pub(super) async fn work(doors: Arc<Doors>, stop: CancellationToken) {
    let mut stopped = Stopped::new();
    let mut housekeeping = Instant::now();
    while !stop.is_cancelled() {
        if Instant::now() >= housekeeping {
            keep_house(&doors).await;
            housekeeping = Instant::now() + HOUSEKEEPING;
        }
        let pause = match round(&doors, &mut stopped).await {
            Ok(_) => LOOK,
            Err(error) => {
                tracing::error!(%error, "jobs cannot be looked at; trying again");
                AFTER_TROUBLE
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = doors.wake.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn keep_house(doors: &Doors) {
    match collect(doors).await {
        Ok(0) => {}
        Ok(count) => tracing::info!(count, "pushes were taken that no server had heard of"),
        Err(error) => tracing::error!(%error, "spooled pushes cannot be taken"),
    }
    if let Err(error) = forget(doors).await {
        tracing::error!(%error, "what is over cannot be forgotten");
    }
}
