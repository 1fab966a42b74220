//! What must hold whatever happens to a job, and what a person expects of each happening.

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::model::job::{JobKind, Lane, Requester, Via};
use crate::model::trigger::Trigger;

fn request(reference: &str, commit: Option<&str>) -> JobRequest {
    JobRequest {
        lane: Lane {
            project: "shop".parse().expect("a name"),
            environment: "staging".parse().expect("a name"),
        },
        kind: JobKind::Apply,
        reference: reference.to_owned(),
        commit: commit.map(str::to_owned),
        by: Requester {
            name: "kim".to_owned(),
            via: Via::GitHook,
        },
        retry_of: None,
    }
}

fn job(number: u64) -> Job {
    Job {
        number: JobNumber(number),
        request: request("refs/heads/staging", Some("a1")),
        created: Timestamp::UNIX_EPOCH,
        attempt: 0,
        fence: 0,
        checked_out: None,
        state: JobState::Waiting {
            not_before: Timestamp::UNIX_EPOCH,
            reason: None,
        },
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time")
}

fn end(exit: u8) -> Happening {
    Happening::Ended(JobEnd {
        exit,
        reason: "why".to_owned(),
        commit: None,
    })
}

fn running() -> Job {
    happen(&job(1), Happening::Claimed { fence: 7 }, at(1)).expect("it waits")
}

#[test]
fn each_exit_code_has_its_ending() {
    let ending = |exit| {
        let after = happen(&running(), end(exit), at(2)).expect("it runs");
        match after.state {
            JobState::Ended { ending, .. } => ending.word(),
            other => panic!("{other:?}"),
        }
    };
    let words = [0, 1, 2, 3, 5, 6, 64, 130].map(ending);
    let expected = [
        "succeeded",
        "failed",
        "failed",
        "reverted",
        "stale",
        "refused",
        "failed",
        "cancelled",
    ];
    assert_eq!(words, expected);
}

#[test]
fn a_failed_deployment_is_not_tried_again_and_a_held_lock_is_a_few_times() {
    let failed = happen(&running(), end(1), at(2)).expect("it runs");
    assert!(!failed.is_open());

    let mut job = job(1);
    for attempt in 1..=ATTEMPTS {
        job = happen(
            &job,
            Happening::Claimed {
                fence: attempt.into(),
            },
            at(1),
        )
        .expect("it waits");
        assert_eq!(job.attempt, attempt);
        job = happen(&job, end(4), at(2)).expect("it runs");
        assert_eq!(job.is_open(), attempt < ATTEMPTS, "{job:?}");
    }
    assert_eq!(job.word(), "locked");
}

#[test]
fn a_process_that_is_gone_is_started_again_unless_it_was_to_stop() {
    let gone = || Happening::WorkerGone {
        reason: "killed".to_owned(),
    };
    let again = happen(&running(), gone(), at(2)).expect("it runs");
    assert_eq!(again.word(), "waiting");

    let asked = Happening::CancelAsked {
        by: "kim".to_owned(),
    };
    let stopping = happen(&running(), asked, at(2)).expect("it runs");
    let stopped = happen(&stopping, gone(), at(3)).expect("it runs");
    assert_eq!(stopped.word(), "cancelled");
}

#[test]
fn the_same_commit_is_one_job_and_a_newer_one_supersedes_those_that_wait() {
    let (first, mut second) = (running(), job(2));
    second.request.commit = Some("b2".to_owned());
    let open = [first, second];

    let again = request("refs/heads/staging", Some("a1"));
    assert_eq!(place(&again, &open), Placing::Same(JobNumber(1)));
    let newer = request("refs/heads/staging", Some("c3"));
    assert_eq!(place(&newer, &open), Placing::New(vec![JobNumber(2)]));
    // What runs may have looked at the branch before this was asked.
    let tip = request("refs/heads/staging", None);
    let mut of_tip = running();
    of_tip.request.commit = None;
    assert_eq!(place(&tip, &[of_tip]), Placing::New(vec![]));
}

#[test]
fn a_trigger_is_routed_to_the_environments_that_are_deployed_on_it() {
    let route_of = |name: &str, branch: Option<&str>, tag: Option<&str>| Route {
        environment: name.parse().expect("a name"),
        branch: branch.map(str::to_owned),
        tag: tag.map(str::to_owned),
        image: None,
        then: JobKind::Apply,
    };
    let mut staging = route_of("staging", Some("staging"), None);
    staging.image = Some(("shop/web".to_owned(), "1.*".to_owned()));
    let routes = [
        staging,
        route_of("production", None, Some("v*")),
        route_of("review", Some("feature/*"), None),
    ];
    let environments = |trigger: Trigger| -> Vec<String> {
        let found = route(&trigger, &routes);
        found
            .iter()
            .map(|one| one.environment.to_string())
            .collect()
    };
    let of_ref = |name: &str| Trigger::Ref {
        name: name.to_owned(),
        commit: "a1".to_owned(),
        by: String::new(),
    };
    assert_eq!(environments(of_ref("refs/heads/staging")), ["staging"]);
    assert_eq!(environments(of_ref("refs/tags/v1")), ["production"]);
    assert_eq!(environments(of_ref("refs/heads/feature/a")), ["review"]);
    for other in [
        "refs/heads/v1",
        "refs/tags/staging",
        "refs/heads/feature/a/b",
    ] {
        assert!(environments(of_ref(other)).is_empty(), "{other}");
    }

    let image = |tag: &str| Trigger::Image {
        repository: "shop/web".to_owned(),
        tag: Some(tag.to_owned()),
        by: String::new(),
    };
    assert_eq!(environments(image("1.2")), ["staging"]);
    assert!(environments(image("2.0")).is_empty());
}

#[test]
fn of_several_tags_of_one_push_the_newest_version_is_deployed() {
    let route_of = |name: &str, branch: Option<&str>, tag: &str| Route {
        environment: name.parse().expect("a name"),
        branch: branch.map(str::to_owned),
        tag: Some(tag.to_owned()),
        image: None,
        then: JobKind::Apply,
    };
    let routes = [
        route_of("production", Some("main"), "v*"),
        route_of("old", None, "v1.9.*"),
    ];
    for (pushed, expected) in [
        (
            &["v1.10.0", "v1.9.0"][..],
            &["production v1.10.0", "old v1.9.0"][..],
        ),
        (
            &["v1.9.0", "v1.10.0"],
            &["old v1.9.0", "production v1.10.0"],
        ),
        (&["v2.0.0", "v2.0.0-rc.1"], &["production v2.0.0"]),
        (&["v9", "v10", "v2"], &["production v10"]),
        (&["v2026-11", "v2026-9"], &["production v2026-11"]),
        (&["other"], &[]),
    ] {
        let triggers: Vec<Trigger> = pushed
            .iter()
            .map(|tag| Trigger::Ref {
                name: format!("refs/tags/{tag}"),
                commit: "a1".to_owned(),
                by: String::new(),
            })
            .collect();
        let each = route_together(&triggers, &routes);
        assert_eq!(each.len(), triggers.len());
        let jobs = each.iter().flatten();
        let jobs: Vec<String> = jobs
            .map(|job| {
                let tag = job.reference.trim_start_matches("refs/tags/");
                format!("{} {tag}", job.environment)
            })
            .collect();
        assert_eq!(jobs, expected, "{pushed:?}");
    }

    // A branch of the same push is none of its versions.
    let of_ref = |name: &str| Trigger::Ref {
        name: name.to_owned(),
        commit: "a1".to_owned(),
        by: String::new(),
    };
    let both = [of_ref("refs/heads/main"), of_ref("refs/tags/v1")];
    let each = route_together(&both, &routes);
    assert_eq!((each[0].len(), each[1].len()), (1, 1));
}

fn happenings() -> impl Strategy<Value = Happening> {
    prop_oneof![
        any::<u64>().prop_map(|fence| Happening::Claimed { fence }),
        prop::sample::select(vec![0u8, 1, 3, 4, 5, 6, 64, 130, 137]).prop_map(end),
        Just(Happening::WorkerGone {
            reason: "gone".to_owned()
        }),
        Just(Happening::CancelAsked {
            by: "kim".to_owned()
        }),
        Just(Happening::Superseded { by: JobNumber(9) }),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_a_job_ends_once_and_runs_only_when_it_was_claimed(
        happenings in prop::collection::vec(happenings(), 0..40),
    ) {
        let mut job = job(1);
        for (second, happening) in (1i64..).zip(happenings) {
            let Ok(next) = happen(&job, happening.clone(), at(second)) else { continue };
            prop_assert!(job.is_open(), "an ended job changed: {job:?}");
            let text = serde_json::to_string(&next).expect("it is written");
            prop_assert_eq!(&serde_json::from_str::<Job>(&text).expect("it is read"), &next);
            prop_assert!(next.attempt <= ATTEMPTS);

            let began = matches!(next.state, JobState::Running { .. })
                && !matches!(job.state, JobState::Running { .. });
            prop_assert_eq!(began, matches!(happening, Happening::Claimed { .. }));
            prop_assert_eq!(next.attempt, job.attempt + u32::from(began));

            // Only a lock and a process that is gone have it wait again.
            let waits_again = matches!(job.state, JobState::Running { .. })
                && matches!(next.state, JobState::Waiting { .. });
            if waits_again {
                let retried = matches!(&happening, Happening::Ended(end) if end.exit == 4)
                    || matches!(happening, Happening::WorkerGone { .. });
                prop_assert!(retried, "{happening:?}");
            }
            // What runs is never superseded.
            if let JobState::Ended { ending: JobEnding::Superseded { .. }, .. } = &next.state {
                let waited = matches!(job.state, JobState::Waiting { .. });
                prop_assert!(waited);
            }
            // What somebody stopped does not come back.
            if let JobState::Running { cancelled_by: Some(_), .. } = &job.state {
                let waits = matches!(next.state, JobState::Waiting { .. });
                prop_assert!(!waits);
            }
            job = next;
        }
    }
}
