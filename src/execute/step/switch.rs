//! The switch of live traffic.

use std::sync::Arc;

use crate::execute::Run;
use crate::execute::step::outcome::{Done, StepError};
use crate::model::journal::Direction;
use crate::model::{Address, LiveTraffic};
use crate::port::engine::EngineError;

pub(super) async fn switch(
    run: &Arc<Run>,
    direction: Direction,
    from: LiveTraffic,
    to: LiveTraffic,
) -> Result<Done, StepError> {
    if direction == Direction::Forward {
        holds_the_target(run, to).await?;
    }
    run.acting()
        .await?
        .engine
        .switch(run.permit(), from, to)
        .await?;
    if direction == Direction::Forward {
        run.probe.start_after(run).await;
    }

    Ok(Done::say(to.slot().map_or_else(
        || "off".to_owned(),
        |slot| format!("{slot} is active"),
    )))
}

/// The slot must hold the release that the plan is about, and no other.
async fn holds_the_target(run: &Run, to: LiveTraffic) -> Result<(), StepError> {
    let (Some(slot), Some(target)) = (to.slot(), &run.plan().target) else {
        return Ok(());
    };
    let overview = run.engine().overview(run.scope()).await?;
    if overview.number(slot) == Some(target.release) {
        return Ok(());
    }
    let (by, at) = (overview.changed_by, overview.changed_at);
    Err(EngineError::Moved {
        address: Address::Slot(slot),
        by,
        at,
    }
    .into())
}
