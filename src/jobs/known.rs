//! What the jobs of a ref tell of where it pointed, and which deliveries are one.

use jiff::Timestamp;

use super::is_tag;
use crate::model::job::{Job, JobNumber, JobRequest};

/// For how long a body that comes again may be the same delivery, in seconds: who has no answer
/// sends it again within minutes.
const SAME: i64 = 3_600;

/// The commit, or the tag object, that a job has deployed or is to deploy. None: it was asked for
/// without one, and has not checked one out.
#[must_use]
pub fn deployed(job: &Job) -> Option<&str> {
    // What a tag's object is on is checked out, and not the object.
    let tells = !job.is_open() && !is_tag(&job.request.reference);
    let checked_out = job.checked_out.as_deref().filter(|_| tells);
    checked_out.or(job.request.commit.as_deref())
}

/// What tells a delivery without an id of its sender's apart: its body, unless one of its refs was
/// elsewhere since. A ref may go forth and back and forth again, and the third body is the first
/// one to the byte; but it is no repetition. `jobs` are those of its lanes.
#[must_use]
pub fn key_of_body(hash: &str, requests: &[JobRequest], jobs: &[Job], now: Timestamp) -> String {
    let others = requests
        .iter()
        .flat_map(|request| jobs.iter().filter(|job| is_elsewhere(request, job)));
    let last = others.map(|job| job.number).max().unwrap_or(JobNumber(0));
    let hour = now.as_second().div_euclid(SAME);
    format!("body:{hash} after job {last} in hour {hour}")
}

/// Whether a job is for another commit of the ref that is asked for.
fn is_elsewhere(request: &JobRequest, job: &Job) -> bool {
    job.request.lane == request.lane
        && job.request.reference == request.reference
        && request.commit.is_some()
        && deployed(job) != request.commit.as_deref()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::job::{JobEnding, JobKind, JobState, Requester, Via};

    fn request(reference: &str, commit: Option<&str>) -> JobRequest {
        JobRequest {
            lane: crate::model::job::Lane {
                project: "shop".parse().expect("a name"),
                environment: "staging".parse().expect("a name"),
            },
            kind: JobKind::Apply,
            reference: reference.to_owned(),
            commit: commit.map(str::to_owned),
            by: Requester {
                name: String::new(),
                via: Via::GitHook,
            },
            retry_of: None,
        }
    }

    fn job(number: u64, commit: Option<&str>, checked_out: Option<&str>) -> Job {
        Job {
            number: JobNumber(number),
            request: request("refs/heads/staging", commit),
            created: Timestamp::UNIX_EPOCH,
            attempt: 1,
            fence: 1,
            checked_out: checked_out.map(str::to_owned),
            state: JobState::Ended {
                at: Timestamp::UNIX_EPOCH,
                ending: JobEnding::Succeeded,
            },
        }
    }

    #[test]
    fn what_was_checked_out_counts_more_than_what_was_named() {
        assert_eq!(deployed(&job(1, Some("b"), Some("a"))), Some("a"));
        assert_eq!(deployed(&job(1, Some("b"), None)), Some("b"));
        assert_eq!(deployed(&job(1, None, Some("a"))), Some("a"));
        let mut tag = job(1, Some("object"), Some("commit"));
        tag.request.reference = "refs/tags/v1".to_owned();
        assert_eq!(deployed(&tag), Some("object"));
        let mut open = job(1, Some("b"), Some("a"));
        open.state = JobState::Running {
            since: Timestamp::UNIX_EPOCH,
            cancelled_by: None,
        };
        assert_eq!(deployed(&open), Some("b"), "it may check out once more");
    }

    #[test]
    fn a_body_that_comes_again_is_a_repetition_unless_its_ref_was_elsewhere() {
        let asked = [request("refs/heads/staging", Some("b"))];
        let at = |second| Timestamp::from_second(second).expect("a time");
        let key = |jobs: &[Job], second| key_of_body("hash", &asked, jobs, at(second));
        let (first, second) = (job(1, Some("a"), None), job(2, Some("b"), None));
        let (third, fourth) = (job(3, Some("a"), None), job(4, Some("b"), None));

        let once = key(std::slice::from_ref(&first), 10);
        let again = key(&[second.clone(), first.clone()], 20);
        assert_eq!(once, again, "nothing else was there in between");
        let back = key(&[third.clone(), second.clone(), first.clone()], 30);
        assert_ne!(once, back);
        let back_again = key(&[fourth, third, second, first.clone()], 40);
        assert_eq!(back, back_again);

        // The ref was elsewhere although nobody told of it.
        let elsewhere = job(2, Some("b"), Some("a"));
        assert_ne!(once, key(&[elsewhere, first.clone()], 20));
        assert_ne!(
            once,
            key(&[first], 20 + SAME),
            "it is too late for a repetition"
        );
    }
}
