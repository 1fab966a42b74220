//! `settle`: what an earlier run has left for later, and what has come due by now.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::model::facts::Overview;
use crate::model::{ReleaseNumber, Slot};
use crate::ops::actor::actor;
use crate::ops::apply::{permit, unless_interrupted};
use crate::ops::plan::{Request, Seen, draw, known_state, seen};
use crate::ops::{Error, Session, lock};
use crate::policy;

/// How long what is due may take to be stopped, and how often it is looked.
const STOPPING: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(200);

/// What was done, and what is due later.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Settled {
    /// What was done, a sentence each.
    pub done: Vec<String>,
    /// What is due later, the earliest first.
    pub pending: Vec<Pending>,
}

/// A release that is retained for a time.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Pending {
    /// Where it is.
    pub slot: Slot,
    /// Which.
    pub release: ReleaseNumber,
    /// When it is stopped.
    pub stops_at: Timestamp,
}

/// How it is done.
pub struct Options<'a> {
    /// How long to wait for a lock that somebody else holds.
    pub lock_wait: Duration,
    /// For how long to wait for what comes due.
    pub wait: Duration,
    /// Is told what is waited for, once for each.
    pub waiting: &'a (dyn Fn(&Pending) + Send + Sync),
    /// Called off when a person asks to stop.
    pub interrupted: CancellationToken,
}

/// Does what is due, and what comes due within the time that there is. Who has nothing to do takes
/// no lock.
pub async fn settle(session: &Session, options: Options<'_>) -> Result<Settled, Error> {
    policy::is_no_change(session.source.change.as_ref())?;
    let wait = SignedDuration::try_from(options.wait).unwrap_or(SignedDuration::MAX);
    let until = Timestamp::now().checked_add(wait);
    let until = until.unwrap_or(Timestamp::MAX);

    let (mut done, mut handled) = (Vec::new(), Vec::new());
    loop {
        let observing = async { Ok(session.ports.engine.overview(&session.scope()).await?) };
        let found = unless_interrupted(&options.interrupted, observing).await?;
        let mut pending = retained(&found);
        pending.retain(|one| !handled.contains(one));
        let now = Timestamp::now();
        let due: Vec<Pending> = pending.extract_if(.., |one| one.stops_at <= now).collect();
        if !due.is_empty() {
            done.extend(finish(session, &options).await?);
            handled.extend(due);
            continue;
        }

        match pending.first() {
            Some(next) if next.stops_at <= until => {
                (options.waiting)(next);
                unless_interrupted(&options.interrupted, sleep_until(next.stops_at)).await?;
            }
            _ => return Ok(Settled { done, pending }),
        }
    }
}

/// Tasks of the live release that wait until no earlier release is kept.
#[derive(Debug, Default)]
pub struct TasksDue {
    /// Whether any has come due.
    pub is_any: bool,
    /// What a reader should know of them.
    pub notes: Vec<String>,
}

/// Which tasks of the live release have come due.
pub async fn tasks_due(
    session: &Session,
    interrupted: &CancellationToken,
) -> Result<TasksDue, Error> {
    let looking = async {
        let state = known_state(session, &actor()).await?;
        let live = state.live();
        if live.is_none_or(|release| release.waits_with_tasks() == Some(false)) {
            return Ok(TasksDue::default());
        }

        until_stopped(session).await?;
        let request = Request::Settle;
        let Seen { desired, observed } = seen(session, &request, &state).await?;
        let plan = draw(&request, &desired, &observed, &state)?;
        Ok(TasksDue {
            is_any: !plan.is_empty(),
            notes: plan.notes,
        })
    };
    unless_interrupted(interrupted, looking).await
}

/// Waits a moment for what is due to be stopped, on an engine that does that by itself.
async fn until_stopped(session: &Session) -> Result<(), Error> {
    let begun = tokio::time::Instant::now();
    while begun.elapsed() < STOPPING {
        let facts = session.ports.engine.observe(&session.scope()).await?;
        let now = Timestamp::now();
        let mut others = facts.slots.iter();
        let is_stopping = others.any(|(slot, there)| {
            let is_due = there.stops_at.is_some_and(|at| at <= now);
            !facts.traffic.reaches(*slot) && is_due && there.is_running()
        });
        if !is_stopping {
            break;
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// What stands retained for a time, the earliest end first.
fn retained(found: &Overview) -> Vec<Pending> {
    let ends = found.stops.iter();
    let ends = ends.filter(|(slot, _)| !found.traffic.reaches(**slot));
    let pending = ends.filter_map(|(slot, stops_at)| {
        Some(Pending {
            slot: *slot,
            release: found.number(*slot)?,
            stops_at: *stops_at,
        })
    });
    let mut pending: Vec<Pending> = pending.collect();
    pending.sort_by_key(|one| one.stops_at);
    pending
}

async fn sleep_until(at: Timestamp) -> Result<(), Error> {
    let pause = at.duration_since(Timestamp::now());
    tokio::time::sleep(Duration::try_from(pause).unwrap_or_default()).await;
    Ok(())
}

/// Takes the lock, and has the engine do what is due.
async fn finish(session: &Session, options: &Options<'_>) -> Result<Vec<String>, Error> {
    let actor = actor();
    let taking = lock::take(session, &actor, "settle", options.lock_wait);
    let lease = unless_interrupted(&options.interrupted, taking).await?;

    let finishing = async {
        let state = known_state(session, &actor).await?;
        let lineage = state.lineage.unwrap_or_default();
        let permit = permit(session, &actor, lineage, lease.as_ref());
        Ok(session.ports.engine.finish_due(&permit).await?)
    };
    let result = finishing.await;
    // The result counts; a lock that cannot be given back is taken over from a dead holder.
    let _ = lease.release().await;
    result
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::release::Label;
    use crate::model::{ContentHash, LiveTraffic};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn label(number: u64) -> Label {
        Label {
            number: ReleaseNumber(number),
            commit: None,
            branch: None,
            dirty: false,
            config: ContentHash::of(b""),
            inputs: BTreeMap::new(),
        }
    }

    #[test]
    fn only_what_is_retained_for_a_time_and_has_no_traffic_is_due_some_day() {
        let both = |traffic| Overview {
            traffic,
            labels: BTreeMap::from([(Slot::Blue, label(1)), (Slot::Green, label(2))]),
            stops: BTreeMap::from([(Slot::Blue, at(20)), (Slot::Green, at(10))]),
            ..Overview::default()
        };
        let shown = |found: &Overview| -> Vec<(u64, Timestamp)> {
            let pending = retained(found).into_iter();
            pending.map(|one| (one.release.0, one.stops_at)).collect()
        };
        assert_eq!(shown(&both(LiveTraffic::Off)), [(2, at(10)), (1, at(20))]);
        assert_eq!(shown(&both(LiveTraffic::All(Slot::Green))), [(1, at(20))]);
        assert_eq!(shown(&Overview::default()), []);
    }
}
