//! What becomes of a job: a state machine over plain values, and what a push means for the lanes.
//!
//! Pure: no I/O, no clock. A failed deployment is never tried again by itself; a held lock and a
//! process that is gone are, a few times. A running job is never cut off by a newer one. Uses
//! `model`. Start with [`happen`].

mod known;
mod routing;
#[cfg(test)]
mod tests;
mod versions;

use std::time::Duration;

use jiff::Timestamp;

use crate::model::job::{Job, JobEnd, JobEnding, JobNumber, JobRequest, JobState, Placing};

pub use known::{deployed, key_of_body};
pub use routing::{Route, Routed, is_glob, is_tag, route, route_together};

/// How often a job is begun at the most.
pub const ATTEMPTS: u32 = 3;

/// How long a job waits before a lock that was held is tried again.
const LOCK_DELAY: Duration = Duration::from_secs(30);

/// Something that happens to a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// A worker takes it.
    Claimed {
        /// The number that its lane gives.
        fence: u64,
    },
    /// Its process has ended.
    Ended(JobEnd),
    /// Its process is gone, and did not say how it ended.
    WorkerGone {
        /// What is known.
        reason: String,
    },
    /// Somebody wants it stopped.
    CancelAsked {
        /// Who.
        by: String,
    },
    /// A newer one does what it would have done.
    Superseded {
        /// Which.
        by: JobNumber,
    },
}

/// Why something cannot happen to a job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Impossible {
    /// It is over.
    #[error("job {number} has ended: it {word}")]
    Over {
        /// Which.
        number: JobNumber,
        /// How, in a word.
        word: &'static str,
    },
    /// It does not run.
    #[error("job {0} does not run")]
    NotRunning(JobNumber),
    /// It runs.
    #[error("job {0} runs")]
    Running(JobNumber),
}

/// The job after something has happened to it.
///
/// # Errors
/// It cannot happen to this one; nothing of it is changed.
pub fn happen(job: &Job, happening: Happening, now: Timestamp) -> Result<Job, Impossible> {
    let (number, mut next) = (job.number, job.clone());
    match (&job.state, happening) {
        (JobState::Ended { ending, .. }, _) => {
            return Err(Impossible::Over {
                number,
                word: ending.word(),
            });
        }

        (JobState::Waiting { .. }, Happening::Claimed { fence }) => {
            next.attempt += 1;
            next.fence = fence;
            next.state = JobState::Running {
                since: now,
                cancelled_by: None,
            };
        }
        (JobState::Waiting { .. }, Happening::CancelAsked { by }) => {
            next.state = ended(now, JobEnding::Cancelled { by });
        }
        (JobState::Waiting { .. }, Happening::Superseded { by }) => {
            next.state = ended(now, JobEnding::Superseded { by });
        }
        (JobState::Waiting { .. }, Happening::Ended(_) | Happening::WorkerGone { .. }) => {
            return Err(Impossible::NotRunning(number));
        }

        (JobState::Running { since, .. }, Happening::CancelAsked { by }) => {
            next.state = JobState::Running {
                since: *since,
                cancelled_by: Some(by),
            };
        }
        (JobState::Running { cancelled_by, .. }, Happening::Ended(end)) => {
            next.checked_out.clone_from(&end.commit);
            next.state = after(job, end, cancelled_by.as_deref(), now);
        }
        (JobState::Running { cancelled_by, .. }, Happening::WorkerGone { reason }) => {
            next.state = match cancelled_by {
                Some(by) => ended(now, JobEnding::Cancelled { by: by.clone() }),
                None if job.attempt >= ATTEMPTS => ended(now, JobEnding::Lost { reason }),
                None => waiting(now, reason),
            };
        }
        (JobState::Running { .. }, Happening::Claimed { .. } | Happening::Superseded { .. }) => {
            return Err(Impossible::Running(number));
        }
    }
    Ok(next)
}

const fn ended(at: Timestamp, ending: JobEnding) -> JobState {
    JobState::Ended { at, ending }
}

const fn waiting(not_before: Timestamp, reason: String) -> JobState {
    JobState::Waiting {
        not_before,
        reason: Some(reason),
    }
}

/// What a process' end means, by the exit codes of `apply`.
fn after(job: &Job, end: JobEnd, cancelled_by: Option<&str>, now: Timestamp) -> JobState {
    let reason = end.reason;
    let ending = match end.exit {
        0 => JobEnding::Succeeded,
        3 => JobEnding::Reverted { reason },
        // Who waits for a lock no more because somebody stopped it does not try again.
        4 if cancelled_by.is_none() && job.attempt < ATTEMPTS => {
            let not_before = now.checked_add(LOCK_DELAY).unwrap_or(now);
            return waiting(
                not_before,
                "another run held the environment's lock".to_owned(),
            );
        }
        4 if cancelled_by.is_none() => JobEnding::Locked,
        5 => JobEnding::Stale { reason },
        6 => JobEnding::Refused { reason },
        130 => JobEnding::Cancelled {
            by: cancelled_by.unwrap_or("a signal").to_owned(),
        },
        _ => match cancelled_by {
            Some(by) if end.exit == 4 => JobEnding::Cancelled { by: by.to_owned() },
            _ => JobEnding::Failed { reason },
        },
    };
    ended(now, ending)
}

/// Where a job goes that is asked for, beside those of its lane that are open: the same one is not
/// done twice, and waiting ones of its kind are superseded.
#[must_use]
pub fn place(request: &JobRequest, open: &[Job]) -> Placing {
    let is_same = |job: &&Job| {
        let asked = &job.request;
        let does_it = asked.kind == request.kind
            && asked.reference == request.reference
            && asked.commit == request.commit;
        // One that runs may have looked at its ref before it was asked again without a commit.
        let covers = request.commit.is_some() || matches!(job.state, JobState::Waiting { .. });
        does_it && covers
    };
    if let Some(same) = open.iter().find(is_same) {
        return Placing::Same(same.number);
    }

    let waits = |job: &&Job| {
        matches!(job.state, JobState::Waiting { .. }) && job.request.kind == request.kind
    };
    Placing::New(open.iter().filter(waits).map(|job| job.number).collect())
}

/// The exit code of a command that waited for a job: that of `apply`.
#[must_use]
pub const fn exit_code(ending: &JobEnding) -> u8 {
    match ending {
        JobEnding::Succeeded => 0,
        JobEnding::Failed { .. } | JobEnding::Lost { .. } => 1,
        JobEnding::Reverted { .. } => 3,
        JobEnding::Locked => 4,
        JobEnding::Stale { .. } | JobEnding::Superseded { .. } => 5,
        JobEnding::Refused { .. } => 6,
        JobEnding::Cancelled { .. } => 130,
    }
}
