//! How each ending of a run reads.

use super::{is_as_before, one_below_the_other};
use crate::model::outcome::{Ending, Outcome, ProbeReport, Url};
use crate::model::{LiveTraffic, ReleaseNumber, Slot};
use crate::output::outcome::human;

fn outcome(ending: Ending) -> Outcome {
    Outcome {
        ending,
        release: Some(ReleaseNumber(2)),
        aborted: None,
        traffic: LiveTraffic::All(Slot::Blue),
        waiting: None,
        waiting_release: None,
        urls: Vec::new(),
        probe: None,
        notes: Vec::new(),
    }
}

/// The endings, each under its name in JSON.
fn endings() -> Vec<(&'static str, Ending)> {
    let reason = || "web of green is not ready: exit code 1".to_owned();
    vec![
        ("done", Ending::Done),
        ("no_changes", Ending::NoChanges),
        ("failed", Ending::Failed { reason: reason() }),
        ("refused", Ending::Refused { reason: reason() }),
        ("reverted", Ending::Reverted { reason: reason() }),
        (
            "rollback_failed",
            Ending::RollbackFailed {
                reason: reason(),
                back: "the agent does not answer".to_owned(),
            },
        ),
        (
            "stale",
            Ending::Stale {
                reason: "traffic was changed by kim@laptop (run 7)".to_owned(),
            },
        ),
        ("lock_lost", Ending::LockLost),
        ("killed", Ending::Killed),
        (
            "interrupted, before the switch",
            Ending::Interrupted { reverted: false },
        ),
        (
            "interrupted, after the switch",
            Ending::Interrupted { reverted: true },
        ),
    ]
}

#[test]
fn each_ending_says_what_is_live_and_what_to_do() {
    let texts = endings()
        .into_iter()
        .map(|(name, ending)| (name, human(&outcome(ending)).plain()));
    is_as_before("endings", &one_below_the_other(texts));
}

#[test]
fn a_release_that_went_live_is_shown_with_its_measurement_and_where_it_answers() {
    let live = Outcome {
        traffic: LiveTraffic::All(Slot::Green),
        urls: vec![Url {
            service: "web".parse().expect("a name"),
            port: None,
            slot: Slot::Green,
            url: "http://127.0.0.1:8080".to_owned(),
            trust: Vec::new(),
        }],
        probe: Some(ProbeReport {
            requests: 1204,
            uncounted: 0,
            sent_again: 2,
            bad_answers: 0,
            failures: 0,
            slowest_micros: 3_470,
            examples: Vec::new(),
        }),
        ..outcome(Ending::Done)
    };
    let waits = Outcome {
        waiting: Some(Slot::Green),
        waiting_release: Some(ReleaseNumber(2)),
        ..outcome(Ending::Done)
    };
    let another_waits = Outcome {
        release: None,
        ..waits.clone()
    };
    let given_up = Outcome {
        aborted: Some(ReleaseNumber(3)),
        ..outcome(Ending::Done)
    };
    let noted = Outcome {
        notes: vec!["the task warm has failed: exit code 3".to_owned()],
        ..outcome(Ending::Done)
    };
    let texts = [
        ("with a task whose failure is noted", noted),
        ("live", live),
        ("waits for its promotion", waits),
        ("an earlier one waits", another_waits),
        ("one is given up", given_up),
    ];
    let texts = texts.map(|(name, outcome)| (name, human(&outcome).plain()));
    is_as_before("done", &one_below_the_other(texts));
}
