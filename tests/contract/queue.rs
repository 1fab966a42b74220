//! The queue's contract, held by the one in a file and by the one in memory.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use shipit::driver::queue::memory::MemoryQueue;
use shipit::driver::queue::sqlite::SqliteQueue;
use shipit::jobs::{Happening, happen};
use shipit::model::delivery::{Delivery, Verdict};
use shipit::model::job::{
    Job, JobEnd, JobKind, JobNumber, JobRequest, JobState, Lane, Requester, Via,
};
use shipit::ops::doors::wiring::RULES;
use shipit::port::Queue;
use shipit::port::queue::JobQuery;

/// Every queue, with its name.
fn queues() -> Vec<(&'static str, Arc<dyn Queue>, Option<tempfile::TempDir>)> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = SqliteQueue::open(&folder.path().join("queue.db"), RULES).expect("it opens");
    vec![
        ("memory", Arc::new(MemoryQueue::new(RULES)), None),
        ("sqlite", Arc::new(file), Some(folder)),
    ]
}

fn delivery(key: &str) -> Delivery {
    Delivery {
        door: "shop/gitea".to_owned(),
        key: key.to_owned(),
        received: Timestamp::now(),
        event: "push".to_owned(),
        size: 2,
        sha256: "sha256:aa".to_owned(),
        verdict: Verdict::Accepted,
    }
}

fn request(environment: &str, commit: &str) -> JobRequest {
    JobRequest {
        lane: Lane {
            project: "shop".parse().expect("a name"),
            environment: environment.parse().expect("a name"),
        },
        kind: JobKind::Apply,
        reference: "refs/heads/staging".to_owned(),
        commit: (!commit.is_empty()).then(|| commit.to_owned()),
        by: Requester {
            name: "kim".to_owned(),
            via: Via::GitHook,
        },
        retry_of: None,
    }
}

async fn accept(queue: &dyn Queue, key: &str, requests: Vec<JobRequest>) -> Vec<JobNumber> {
    let accepted = queue
        .accept(delivery(key), requests)
        .await
        .expect("it is stored");
    accepted.jobs.iter().map(|placed| placed.number).collect()
}

async fn claim(queue: &dyn Queue) -> Option<Job> {
    queue.claim(Timestamp::now()).await.expect("it answers")
}

async fn end(queue: &dyn Queue, number: JobNumber, exit: u8) -> Job {
    let end = JobEnd {
        exit,
        reason: String::new(),
        commit: None,
    };
    let change =
        Box::new(move |job: &Job| happen(job, Happening::Ended(end), Timestamp::now()).ok());
    queue
        .update(number, change)
        .await
        .expect("it answers")
        .expect("there is one")
}

async fn word(queue: &dyn Queue, number: JobNumber) -> &'static str {
    queue
        .job(number)
        .await
        .expect("it answers")
        .expect("there is one")
        .word()
}

#[tokio::test]
async fn a_delivery_that_comes_again_adds_nothing() {
    for (name, queue, _folder) in queues() {
        let first = queue
            .accept(delivery("a"), vec![request("staging", "c1")])
            .await
            .expect("stored");
        let again = queue
            .accept(delivery("a"), vec![request("staging", "c2")])
            .await
            .expect("known");
        assert!(!first.is_repeated && again.is_repeated, "{name}");
        assert_eq!(first.delivery, again.delivery, "{name}");
        assert_eq!(first.jobs[0].number, again.jobs[0].number, "{name}");
        let other = queue
            .accept(delivery("b"), Vec::new())
            .await
            .expect("stored");
        assert!(!other.is_repeated && other.jobs.is_empty(), "{name}");

        let found = queue.deliveries(None, 10).await.expect("they are read");
        let keys: Vec<&str> = found.iter().map(|one| one.delivery.key.as_str()).collect();
        assert_eq!(keys, ["b", "a"], "{name}");
        assert_eq!(found[1].jobs, [first.jobs[0].number], "{name}");
    }
}

#[tokio::test]
async fn a_newer_job_supersedes_those_that_wait_and_never_one_that_runs() {
    for (name, queue, _folder) in queues() {
        let queue = &*queue;
        let first = accept(queue, "1", vec![request("staging", "c1")]).await[0];
        assert_eq!(
            claim(queue).await.expect("its turn").number,
            first,
            "{name}"
        );
        let second = accept(queue, "2", vec![request("staging", "c2")]).await[0];
        let third = accept(queue, "3", vec![request("staging", "c3")]).await[0];

        assert_eq!(word(queue, first).await, "running", "{name}");
        assert_eq!(word(queue, second).await, "superseded", "{name}");
        assert_eq!(word(queue, third).await, "waiting", "{name}");
        // The same commit is the same job, whether it waits or runs.
        assert_eq!(
            accept(queue, "4", vec![request("staging", "c1")]).await,
            [first],
            "{name}"
        );
        assert_eq!(
            accept(queue, "5", vec![request("staging", "c3")]).await,
            [third],
            "{name}"
        );
        assert!(claim(queue).await.is_none(), "{name}: one at a time");
        end(queue, first, 0).await;
        // What is over may be asked for again.
        let fourth = accept(queue, "6", vec![request("staging", "c1")]).await[0];
        assert!(fourth > third, "{name}");
    }
}

#[tokio::test]
async fn a_lane_has_one_job_that_runs_and_its_numbers_grow() {
    for (name, queue, _folder) in queues() {
        let queue = &*queue;
        let requests = vec![request("staging", "c1"), request("production", "c1")];
        let [staging, production] = accept(queue, "1", requests).await[..] else {
            panic!("two jobs")
        };
        let (one, other) = (
            claim(queue).await.expect("a job"),
            claim(queue).await.expect("a job"),
        );
        assert_eq!((one.number, other.number), (staging, production), "{name}");
        let mut fence = one.fence;
        for attempt in 2..=3 {
            end(queue, staging, 4).await;
            // A lock that was held is waited for.
            assert!(claim(queue).await.is_none(), "{name}");
            let later = Timestamp::now() + SignedDuration::from_mins(5);
            let again = queue
                .claim(later)
                .await
                .expect("it answers")
                .expect("its time has come");
            assert_eq!((again.number, again.attempt), (staging, attempt), "{name}");
            assert!(again.fence > fence, "{name}");
            fence = again.fence;
        }
        assert_eq!(end(queue, staging, 4).await.word(), "locked", "{name}");
    }
}

#[tokio::test]
async fn many_workers_never_have_two_jobs_of_a_lane() {
    for (name, queue, _folder) in queues() {
        let lanes = ["a", "b", "c"];
        for round in 0..8 {
            for lane in lanes {
                accept(&*queue, &format!("{lane}{round}"), vec![request(lane, "")]).await;
                // What runs keeps those that come later from being the same.
                claim(&*queue).await;
            }
        }
        let workers = (0..8).map(|_| {
            let queue = Arc::clone(&queue);
            tokio::spawn(async move {
                let mut done = Vec::new();
                for _ in 0..20 {
                    let Some(job) = claim(&*queue).await else {
                        break;
                    };
                    let open = JobQuery {
                        lane: Some(job.request.lane.clone()),
                        is_open: true,
                        last: 100,
                        ..JobQuery::default()
                    };
                    let open = queue.jobs(open).await.expect("they are read");
                    let running = open
                        .iter()
                        .filter(|job| matches!(job.state, JobState::Running { .. }));
                    assert_eq!(running.count(), 1);
                    end(&*queue, job.number, 0).await;
                    done.push(job.number);
                }
                done
            })
        });
        let mut all = BTreeSet::new();
        for worker in workers.collect::<Vec<_>>() {
            for number in worker.await.expect("it ends") {
                assert!(all.insert(number), "{name}: {number} was done twice");
            }
        }
    }
}

#[tokio::test]
async fn jobs_and_deliveries_are_read_page_by_page() {
    for (name, queue, _folder) in queues() {
        let mut all = Vec::new();
        for number in 0..7 {
            let key = number.to_string();
            all.extend(accept(&*queue, &key, vec![request(&format!("e{key}"), "c")]).await);
        }
        all.reverse();

        let (mut jobs, mut before) = (Vec::new(), None);
        loop {
            let query = JobQuery {
                before,
                last: 3,
                ..JobQuery::default()
            };
            let page = queue.jobs(query).await.expect("they are read");
            let Some(oldest) = page.last() else { break };
            before = Some(oldest.number);
            jobs.extend(page.iter().map(|job| job.number));
        }
        assert_eq!(jobs, all, "{name}");

        let (mut deliveries, mut before) = (Vec::new(), None);
        loop {
            let page = queue.deliveries(before, 3).await.expect("they are read");
            let Some(oldest) = page.last() else { break };
            before = Some(oldest.number);
            deliveries.extend(page.into_iter().flat_map(|one| one.jobs));
        }
        assert_eq!(deliveries, all, "{name}");
    }
}

#[tokio::test]
async fn what_is_over_is_forgotten_and_what_is_open_is_not() {
    for (name, queue, _folder) in queues() {
        let queue = &*queue;
        let over = accept(queue, "1", vec![request("staging", "c1")]).await[0];
        claim(queue).await.expect("its turn");
        end(queue, over, 0).await;
        let open = accept(queue, "2", vec![request("staging", "c2")]).await[0];

        let past = Timestamp::now() - SignedDuration::from_hours(1);
        assert!(
            queue
                .forget(past, past)
                .await
                .expect("it answers")
                .is_empty(),
            "{name}"
        );
        let future = Timestamp::now() + SignedDuration::from_hours(1);
        assert_eq!(
            queue.forget(future, future).await.expect("it answers"),
            [over],
            "{name}"
        );
        assert!(
            queue.job(over).await.expect("it answers").is_none(),
            "{name}"
        );
        assert_eq!(word(queue, open).await, "waiting", "{name}");
        assert!(
            queue
                .deliveries(None, 10)
                .await
                .expect("they are read")
                .is_empty(),
            "{name}"
        );
    }
}

#[tokio::test]
async fn what_was_accepted_is_there_when_the_file_is_opened_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("queue.db");
    let number = {
        let queue = SqliteQueue::open(&path, RULES).expect("it opens");
        let number = accept(&queue, "1", vec![request("staging", "c1")]).await[0];
        claim(&queue).await.expect("its turn");
        number
    };
    let queue = SqliteQueue::open(&path, RULES).expect("it opens again");
    assert_eq!(word(&queue, number).await, "running");
    assert_eq!(
        accept(&queue, "1", vec![request("staging", "c1")]).await,
        [number]
    );
    assert!(accept(&queue, "2", vec![request("staging", "c2")]).await[0] > number);
}
