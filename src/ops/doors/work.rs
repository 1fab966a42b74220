//! What is done about what came: jobs that run are looked at, and those whose turn it is begun.
//!
//! One that this server has started and one that it has found are looked at in the same way, so a
//! server that was killed goes on where the last one was.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::counts::count;
use super::{DoorError, Doors, setup};
use crate::files::marked::Mark;
use crate::jobs::{Happening, happen};
use crate::model::job::{Job, JobNumber, JobState};
use crate::port::queue::{Change, JobQuery};
use crate::port::runner::{JobSpec, Standing};

/// The most jobs that are looked at in one round.
const MOST: usize = 10_000;

/// Attempts that were asked to stop.
pub type Stopped = BTreeSet<(JobNumber, u32)>;

/// Looks at what runs, and begins what may. How many run then.
///
/// # Errors
/// The queue or the runner cannot be asked; the next round goes on.
pub async fn round(doors: &Doors, stopped: &mut Stopped) -> Result<usize, DoorError> {
    let open = JobQuery {
        is_open: true,
        last: MOST,
        ..JobQuery::default()
    };
    let mut running = 0;
    for job in doors.queue.jobs(open).await? {
        if !matches!(job.state, JobState::Running { .. }) {
            continue;
        }
        match is_under_way(doors, &job, stopped).await {
            Ok(false) => {}
            Ok(true) => running += 1,
            // One whose files cannot be read holds up no other; it keeps its place until they can.
            Err(DoorError::Runner(error)) => {
                tracing::error!(job = %job.number, %error, "a job cannot be looked at");
                running += 1;
            }
            Err(other) => return Err(other),
        }
    }

    let workers = usize::from(doors.config.runner.workers.get());
    while running < workers {
        let Some(job) = doors.queue.claim(Timestamp::now()).await? else {
            break;
        };
        count(&doors.counts.begun);
        begin(doors, &job).await?;
        running += 1;
    }
    Ok(running)
}

/// Whether a job that was begun still runs. One that does not is recorded.
async fn is_under_way(doors: &Doors, job: &Job, stopped: &mut Stopped) -> Result<bool, DoorError> {
    let happening = match doors.runner.look(job.number, job.attempt).await? {
        Standing::Running => {
            let is_to_stop = matches!(
                &job.state,
                JobState::Running {
                    cancelled_by: Some(_),
                    ..
                }
            );
            let attempt = (job.number, job.attempt);
            let is_told = stopped.contains(&attempt);
            if is_to_stop && !is_told && doors.runner.stop(job.number, job.attempt).await? {
                stopped.insert(attempt);
            }
            return Ok(true);
        }
        Standing::Ended(end) => Happening::Ended(end),
        Standing::Gone => {
            count(&doors.counts.gone);
            tracing::warn!(job = %job.number, "a job's process is gone");
            Happening::WorkerGone {
                reason: "its process went without saying how it ended".to_owned(),
            }
        }
    };
    doors
        .queue
        .update(job.number, change(job.attempt, happening))
        .await?;
    Ok(false)
}

/// What becomes of a job in this attempt; nothing of a later one.
fn change(attempt: u32, happening: Happening) -> Change {
    Box::new(move |job| {
        let is_it = job.attempt == attempt;
        happen(job, happening, Timestamp::now())
            .ok()
            .filter(|_| is_it)
    })
}

/// Starts the process of a job that was claimed.
async fn begin(doors: &Doors, job: &Job) -> Result<(), DoorError> {
    let (config, lane) = (&doors.config, &job.request.lane);
    let Some(project) = config.projects.get(&lane.project) else {
        let reason = format!("server.yaml has no project {} any more", lane.project);
        return fail(doors, job, reason).await;
    };
    let pipeline = match project.pipeline.as_deref().map(setup::pipeline).transpose() {
        Ok(pipeline) => pipeline,
        Err(reason) => return fail(doors, job, reason).await,
    };
    let place = config.lane(lane.project.as_str(), lane.environment.as_str());
    let spec = JobSpec {
        number: job.number,
        attempt: job.attempt,
        lane: lane.clone(),
        kind: job.request.kind,
        reference: job.request.reference.clone(),
        by: job.request.by.clone(),
        url: project.source.url.clone(),
        folder: project.source.folder.clone(),
        place,
        mark: Mark::random().word().to_owned(),
        pipeline,
        may: project.may.clone(),
        within: config.runner.within.get(),
        lock_timeout: config.runner.lock_timeout.get(),
        log: config.runner.log.bytes(),
        variables: config.runner.variables.clone(),
    };
    match doors.runner.start(&spec).await {
        Ok(()) => Ok(()),
        Err(error) => fail(doors, job, error.to_string()).await,
    }
}

async fn fail(doors: &Doors, job: &Job, reason: String) -> Result<(), DoorError> {
    let end = crate::model::job::JobEnd {
        exit: 1,
        reason,
        commit: None,
    };
    let change = change(job.attempt, Happening::Ended(end));
    doors.queue.update(job.number, change).await?;
    Ok(())
}

/// Forgets what has been over for long enough.
///
/// # Errors
/// The queue or the runner cannot do it.
pub async fn forget(doors: &Doors) -> Result<(), DoorError> {
    let before = |period: crate::model::Period| {
        let length = SignedDuration::try_from(period.get()).unwrap_or(SignedDuration::MAX);
        Timestamp::now()
            .checked_sub(length)
            .unwrap_or(Timestamp::MIN)
    };
    let keep = &doors.config.keep;
    let forgotten = doors
        .queue
        .forget(before(keep.deliveries), before(keep.jobs))
        .await?;
    for number in forgotten {
        // Its row is gone: whatever is left of one keeps the others from nothing.
        if let Err(error) = doors.runner.forget(number).await {
            tracing::warn!(job = %number, %error, "what a job left cannot be deleted");
        }
    }
    Ok(())
}
