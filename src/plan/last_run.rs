//! What the last run of a state has left unfinished.

use crate::model::ReleaseNumber;
use crate::model::facts::Overview;
use crate::model::journal::{Journal, What};
use crate::model::outcome::Ending;
use crate::model::plan::Target;
use crate::model::release::Label;

/// What the last run of this state has left unfinished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastRun {
    /// Nothing.
    Ended,
    /// It was stopped or failed, and left this release prepared.
    Prepared(ReleaseNumber),
    /// It was cut off: what stands in the slots may be its own doing. The release is the one that
    /// it was to make, when that is in a slot.
    CutOff(Option<ReleaseNumber>),
}

impl LastRun {
    /// The release that the run was to make and has left in a slot.
    #[must_use]
    pub const fn left(self) -> Option<ReleaseNumber> {
        match self {
            Self::Ended => None,
            Self::Prepared(number) => Some(number),
            Self::CutOff(left) => left,
        }
    }
}

/// What the last run has left, told from its journal and from what is in the slots. A release is
/// known by its label: who acted last does not say whose it is, since restarts and the like have no
/// journal.
#[must_use]
pub fn last_run(journal: Option<&Journal>, found: &Overview) -> LastRun {
    let Some(journal) = journal else {
        return LastRun::Ended;
    };
    let target = journal.plan().and_then(|plan| plan.target.as_ref());
    let target = target.filter(|target| target.new);
    let mut labels = found.labels.values();
    let left = target.filter(|target| labels.any(|label| is_of(label, target)));
    let left = left.map(|target| target.release);

    match (ending(journal), left) {
        (None, left) => LastRun::CutOff(left),
        // What is done is in the state.
        (Some(Ending::Done | Ending::NoChanges), _) | (Some(_), None) => LastRun::Ended,
        (Some(_), Some(number)) => LastRun::Prepared(number),
    }
}

/// Whether a run with this target has put there what has this label.
pub(super) fn is_of(label: &Label, target: &Target) -> bool {
    (label.number, &label.commit, &label.inputs)
        == (target.release, &target.source.commit, &target.inputs)
}

pub(super) fn ending(journal: &Journal) -> Option<&Ending> {
    journal.entries.iter().find_map(|entry| match &entry.what {
        What::Ended { ending, .. } => Some(ending),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp;

    use super::*;
    use crate::model::journal::JournalEntry;
    use crate::model::release::Actor;
    use crate::model::source::Source;
    use crate::model::{ContentHash, Slot};
    use crate::plan::tests::{Wanted, World};

    fn label(number: u64, commit: &str) -> Label {
        Label {
            number: ReleaseNumber(number),
            commit: Some(commit.to_owned()),
            branch: None,
            dirty: false,
            config: ContentHash::of(b""),
            inputs: BTreeMap::from([(
                "web".parse().expect("a name"),
                ContentHash::of(commit.as_bytes()),
            )]),
        }
    }

    fn found(green: Label) -> Overview {
        Overview {
            traffic: crate::model::LiveTraffic::All(Slot::Blue),
            labels: BTreeMap::from([(Slot::Blue, label(1, "one")), (Slot::Green, green)]),
            ..Overview::default()
        }
    }

    /// The journal of a run that was to make this release, and that ended like this.
    fn journal(target: &Label, ending: Option<Ending>) -> Journal {
        let mut world = World::new();
        let wanted = Wanted::web(1);
        let mut plan = world.apply(&wanted);
        world.carry_out(&plan);
        let planned = plan.target.as_mut().expect("a target");
        planned.release = target.number;
        planned.source = Source {
            commit: target.commit.clone(),
            ..Source::default()
        };
        planned.inputs.clone_from(&target.inputs);

        let began = What::Began {
            actor: Actor {
                user: "kim".to_owned(),
                host: "laptop".to_owned(),
                run: "7".to_owned(),
                ci: None,
            },
            hash: ContentHash::of(b""),
            plan: Box::new(plan),
            approval: None,
            outside_window: None,
            fence: None,
        };
        let ended = ending.map(|ending| What::Ended {
            ending,
            release: Some(target.number),
        });
        let entry = |what| JournalEntry {
            at: Timestamp::UNIX_EPOCH,
            what,
        };
        Journal {
            run: "7".to_owned(),
            entries: [Some(began), ended]
                .into_iter()
                .flatten()
                .map(entry)
                .collect(),
        }
    }

    #[test]
    fn what_a_run_has_left_is_told_from_its_ending_and_the_labels() {
        let own = label(2, "two");
        let stopped = || Some(Ending::Interrupted { reverted: false });
        let two = ReleaseNumber(2);
        let cases = [
            ("cut off", None, own.clone(), LastRun::CutOff(Some(two))),
            ("stopped", stopped(), own.clone(), LastRun::Prepared(two)),
            ("done", Some(Ending::Done), own.clone(), LastRun::Ended),
            (
                "cut off early",
                None,
                label(3, "two"),
                LastRun::CutOff(None),
            ),
            ("another's", stopped(), label(2, "other"), LastRun::Ended),
            (
                "another's, cut off",
                None,
                label(2, "other"),
                LastRun::CutOff(None),
            ),
        ];
        for (about, ending, green, expected) in cases {
            let journal = journal(&own, ending);
            assert_eq!(last_run(Some(&journal), &found(green)), expected, "{about}");
        }
        assert_eq!(last_run(None, &found(own)), LastRun::Ended);
    }

    #[test]
    fn a_release_of_the_history_was_not_left_by_who_moved_it() {
        let own = label(2, "two");
        let mut journal = journal(&own, None);
        if let What::Began { plan, .. } = &mut journal.entries[0].what {
            plan.target.as_mut().expect("a target").new = false;
        }
        assert_eq!(last_run(Some(&journal), &found(own)), LastRun::CutOff(None));
    }
}
