//! Whether a plan that was made before is the one that would be made now. What differs is either
//! something that has moved since, or something that only the older plan says: then it was edited.

use std::collections::BTreeMap;

use crate::model::plan::{Action, Intent, Plan, Step, Target, Unchanged};
use crate::model::secret::SecretRef;
use crate::model::workload::Workload;
use crate::model::{Address, ServiceName};

/// What differs first, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// The world, the source or the history has moved.
    Moved(String),
    /// Neither the configuration nor the world says this: the plan was edited, or made from another
    /// configuration.
    Unfounded(String),
}

/// What differs first between a plan that was given and the one that was made now; none when they
/// do the same. Words for readers do not count: those of the fresh plan are shown.
#[must_use]
pub fn difference(given: &Plan, fresh: &Plan) -> Option<Difference> {
    source(given, fresh)
        .or_else(|| promoted(given, fresh))
        .or_else(|| rules(given, fresh))
        .or_else(|| standing(given, fresh))
        .or_else(|| target(given.target.as_ref(), fresh.target.as_ref()))
        .or_else(|| steps("", &given.steps, &fresh.steps))
        .or_else(|| losses(given, fresh))
        .or_else(|| steps("during the rollback: ", &given.reverse, &fresh.reverse))
        .or_else(|| recorded(given.target.as_ref()?, fresh.target.as_ref()?))
}

/// What the history would keep of the release: an image that is said to be made from other files
/// would be taken for theirs by a later run.
fn recorded(given: &Target, fresh: &Target) -> Option<Difference> {
    let same = [
        (
            "which files the images are made from",
            given.inputs == fresh.inputs,
        ),
        ("the names of the images", given.names == fresh.names),
        ("the tasks of the release", given.tasks == fresh.tasks),
    ];
    first_wrong(&same).map(Difference::Unfounded)
}

fn source(given: &Plan, fresh: &Plan) -> Option<Difference> {
    (given.source != fresh.source).then(|| {
        let place = |plan: &Plan| {
            let branch = plan.source.branch.as_deref().unwrap_or("no branch");
            format!("{} ({branch})", plan.source.short())
        };
        let (then, now) = (place(given), place(fresh));
        Difference::Moved(if then == now {
            format!("the checkout of {now} is not what it was")
        } else {
            format!("it was made from {then}, and this is {now}")
        })
    })
}

/// What is live in another environment moves on.
fn promoted(given: &Plan, fresh: &Plan) -> Option<Difference> {
    let (Intent::PromoteFrom(then), Intent::PromoteFrom(now)) = (&given.intent, &fresh.intent)
    else {
        return None;
    };
    (then.environment == now.environment && then.release != now.release).then(|| {
        Difference::Moved(format!(
            "release {} was live in {} when it was made, and {} is now",
            then.release, then.environment, now.release
        ))
    })
}

/// That a plan tells its reader what the one says that was made now: whoever signed it has read
/// nothing else. Notes may differ, and how many files an image was built from, which depends on the
/// checkout that it was counted in.
///
/// # Errors
/// What it tells something else of.
pub fn reads_same(given: &Plan, fresh: &Plan) -> Result<(), String> {
    let pairs = |one: &Plan| [read(one.steps.clone()), read(one.reverse.clone())];
    for (given, fresh) in pairs(given).iter().zip(&pairs(fresh)) {
        let differs = given
            .iter()
            .zip(fresh)
            .find(|(given, fresh)| given != fresh);
        if let Some((given, _)) = differs {
            return Err(format!("what it tells its reader of {}", given.address));
        }
    }
    let of_unchanged = |one: &Plan| -> Vec<Unchanged> {
        let all = one.unchanged.iter().cloned();
        all.map(|same| Unchanged {
            reason: counted(&same.address, same.reason),
            ..same
        })
        .collect()
    };
    if of_unchanged(given) != of_unchanged(fresh) {
        return Err("what it tells its reader of what is unchanged".to_owned());
    }
    if given.rollback_blockers != fresh.rollback_blockers {
        return Err("what it tells its reader of the rollback".to_owned());
    }

    let whole = |one: &Plan| Plan {
        steps: read(one.steps.clone()),
        reverse: read(one.reverse.clone()),
        unchanged: of_unchanged(one),
        notes: Vec::new(),
        ..one.clone()
    };
    if whole(given) == whole(fresh) {
        return Ok(());
    }
    Err("what it tells its reader".to_owned())
}

/// Steps as they must read.
fn read(mut steps: Vec<Step>) -> Vec<Step> {
    for step in &mut steps {
        step.reason = counted(&step.address, std::mem::take(&mut step.reason));
    }
    steps
}

/// A reason, unless it is counted in a checkout.
fn counted(address: &Address, reason: String) -> String {
    match address {
        Address::Image(_) => String::new(),
        _ => reason,
    }
}

/// What would be destroyed may have become more, or other.
fn losses(given: &Plan, fresh: &Plan) -> Option<Difference> {
    let differs = fresh
        .losses
        .iter()
        .find(|loss| !given.losses.contains(loss));
    let gone = given
        .losses
        .iter()
        .find(|loss| !fresh.losses.contains(loss));
    let loss = differs.or(gone)?;
    Some(Difference::Moved(format!(
        "what {} holds is not what the plan saw",
        loss.name
    )))
}

/// What comes from the configuration alone.
fn rules(given: &Plan, fresh: &Plan) -> Option<Difference> {
    let same = [
        ("the command", given.intent == fresh.intent),
        ("the strategy", given.strategy == fresh.strategy),
        ("who switches traffic", given.mode == fresh.mode),
        ("what measures the switch", given.probe == fresh.probe),
    ];
    first_wrong(&same).map(Difference::Unfounded)
}

fn first_wrong(same: &[(&str, bool)]) -> Option<String> {
    same.iter()
        .find(|(_, is_same)| !is_same)
        .map(|(what, _)| (*what).to_owned())
}

fn standing(given: &Plan, fresh: &Plan) -> Option<Difference> {
    (given.active != fresh.active).then(|| {
        let live = |plan: &Plan| {
            plan.active.as_ref().map_or_else(
                || "nothing was live".to_owned(),
                |placed| format!("release {} was live in {}", placed.release, placed.slot),
            )
        };
        let (then, now) = (live(given), live(fresh).replace("was", "is"));
        Difference::Moved(format!("{then} when it was made, and {now} now"))
    })
}

fn target(given: Option<&Target>, fresh: Option<&Target>) -> Option<Difference> {
    let (Some(given), Some(fresh)) = (given, fresh) else {
        return (given.is_some() != fresh.is_some())
            .then(|| Difference::Moved("what is to be placed".to_owned()));
    };
    let moved = [
        ("the slot of the release", given.slot == fresh.slot),
        ("the number of the release", given.release == fresh.release),
        ("whether the release is new", given.new == fresh.new),
        (
            "what the release is made from",
            given.source == fresh.source,
        ),
    ];
    first_wrong(&moved)
        .map(Difference::Moved)
        .or_else(|| tags(given, fresh))
        .or_else(|| workloads(&given.workloads, &fresh.workloads))
}

/// The tag of an image that somebody else has made, and has moved.
fn tags(given: &Target, fresh: &Target) -> Option<Difference> {
    fresh.names.iter().find_map(|(service, name)| {
        let image = |target: &Target| target.workloads.get(service)?.image.value().cloned();
        let (then, now) = (image(given)?, image(fresh)?);
        let is_moved = given.names.get(service) == Some(name) && then != now;
        is_moved.then(|| {
            let was = format!("{name} was {then} when it was made, and is {now} now");
            Difference::Moved(was)
        })
    })
}

fn workloads(
    given: &BTreeMap<ServiceName, Workload>,
    fresh: &BTreeMap<ServiceName, Workload>,
) -> Option<Difference> {
    if !given.keys().eq(fresh.keys()) {
        return Some(Difference::Unfounded("which services there are".to_owned()));
    }
    fresh
        .iter()
        .find_map(|(name, fresh)| workload(given.get(name)?, fresh))
}

fn workload(given: &Workload, fresh: &Workload) -> Option<Difference> {
    if let Some(moved) = versions(given, fresh) {
        return Some(moved);
    }
    let name = &fresh.service;
    let (was, is) = (given.process(), fresh.process());
    let configured = [
        (
            "the command",
            was.map(|it| &it.command) == is.map(|it| &it.command),
        ),
        (
            "the environment variables",
            was.map(|it| &it.env) == is.map(|it| &it.env),
        ),
        (
            "the files",
            was.map(|it| &it.files) == is.map(|it| &it.files),
        ),
        ("the secrets", given.secrets() == fresh.secrets()),
    ];
    if let Some(what) = first_wrong(&configured) {
        return Some(Difference::Unfounded(format!("{what} of {name}")));
    }
    let but_for_the_image = Workload {
        image: fresh.image.clone(),
        ..given.clone()
    };
    if but_for_the_image != *fresh {
        return Some(Difference::Unfounded(format!("what {name} is")));
    }
    (given.image != fresh.image).then(|| Difference::Moved(format!("the image of {name}")))
}

/// A secret that has another version now.
fn versions(given: &Workload, fresh: &Workload) -> Option<Difference> {
    let given = given.secrets();
    fresh.secrets().into_iter().find_map(|(name, now)| {
        let then = given.get(name)?;
        let is_moved = then.version() != now.version() && then.at(None) == now.at(None);
        let of = |from: &SecretRef| {
            let version = from.version();
            version.map_or_else(|| "in no known version".to_owned(), |it| it.to_string())
        };
        is_moved.then(|| {
            let (then, now) = (of(then), of(now));
            let was = format!("the secret `{name}` was {then} when it was made, and is {now} now");
            Difference::Moved(was)
        })
    })
}

fn steps(place: &str, given: &[Step], fresh: &[Step]) -> Option<Difference> {
    for (given, fresh) in given.iter().zip(fresh) {
        if given.address != fresh.address || given.action.title() != fresh.action.title() {
            return Some(Difference::Moved(format!(
                "{place}`{} {}` would be `{} {}` now",
                given.action.title(),
                given.address,
                fresh.action.title(),
                fresh.address
            )));
        }
        if let Some(difference) = step(given, fresh) {
            return Some(match difference {
                Difference::Moved(what) => Difference::Moved(format!("{place}{what}")),
                Difference::Unfounded(what) => Difference::Unfounded(format!("{place}{what}")),
            });
        }
    }

    let longer = if given.len() > fresh.len() {
        given
    } else {
        fresh
    };
    let extra = longer.get(given.len().min(fresh.len()))?;
    let what = format!("{place}`{} {}`", extra.action.title(), extra.address);
    Some(Difference::Moved(if given.len() > fresh.len() {
        format!("{what} is not needed now")
    } else {
        format!("{what} is needed now, too")
    }))
}

fn step(given: &Step, fresh: &Step) -> Option<Difference> {
    let address = &fresh.address;
    action(address, &given.action, &fresh.action)
        .or_else(|| {
            (given.expects != fresh.expects)
                .then(|| Difference::Moved(format!("{address} is not what the plan saw")))
        })
        .or_else(|| {
            let order = |step: &Step| (step.id, step.needs.clone(), step.undoes);
            (order(given) != order(fresh))
                .then(|| Difference::Unfounded(format!("when {address} comes")))
        })
}

/// Two actions with the same words.
fn action(address: &Address, given: &Action, fresh: &Action) -> Option<Difference> {
    if given == fresh {
        return None;
    }

    Some(match (given, fresh) {
        (Action::Build { spec: given, .. }, Action::Build { spec: fresh, .. }) => {
            if given == fresh {
                let name = address.to_string();
                let service = name.strip_prefix("image.").unwrap_or(&name);
                Difference::Moved(format!(
                    "the build inputs of {service} changed since the plan was made"
                ))
            } else {
                Difference::Unfounded(format!("how {address} is built"))
            }
        }
        (Action::Fetch { .. }, Action::Fetch { .. }) => {
            Difference::Moved(format!("what {address} is"))
        }
        (
            Action::Deploy {
                workload: given, ..
            },
            Action::Deploy {
                workload: fresh, ..
            },
        ) => workload(given, fresh)
            .unwrap_or_else(|| Difference::Moved(format!("how {address} is placed"))),
        (Action::Check { stage, .. }, _) => {
            Difference::Unfounded(format!("the checks {stage} the switch"))
        }
        (Action::Switch { .. }, _) => Difference::Moved("where live traffic is".to_owned()),
        _ => Difference::Unfounded(format!("what {address} should be")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::plan::{Change, FORMAT, StateRef, StepId};
    use crate::model::promotion::{Mode, Probe, Strategy};
    use crate::model::release::{PromotedFrom, ReleaseNumber};
    use crate::model::source::Source;
    use crate::model::{Fingerprint, Period, Slot};

    fn plan(steps: Vec<Step>) -> Plan {
        Plan {
            format: FORMAT,
            intent: Intent::Apply,
            project: "shop".parse().expect("a name"),
            environment: "staging".parse().expect("a name"),
            source: Source {
                commit: Some("3f2c1ab0".to_owned()),
                branch: Some("staging".to_owned()),
                ..Source::default()
            },
            namespaces: std::collections::BTreeSet::new(),
            state: StateRef {
                lineage: None,
                serial: 0,
            },
            strategy: Strategy::BlueGreen,
            mode: Mode::Auto,
            probe: Probe::default(),
            active: None,
            target: None,
            steps,
            reverse: Vec::new(),
            unchanged: Vec::new(),
            notes: Vec::new(),
            rollback_blockers: Vec::new(),
            losses: Vec::new(),
            hooks: Vec::new(),
        }
    }

    fn ready(seconds: u64) -> Step {
        Step {
            id: StepId(1),
            address: Address::Slot(Slot::Blue),
            action: Action::WaitUntilReady {
                within: Period::from_secs(seconds),
            },
            reason: "because".to_owned(),
            changes: Vec::new(),
            expects: Some(Fingerprint::of(b"seen")),
            needs: Vec::new(),
            undoes: None,
        }
    }

    #[test]
    fn words_for_readers_make_no_difference() {
        let (given, mut fresh) = (plan(vec![ready(1)]), plan(vec![ready(1)]));
        fresh.steps[0].reason = "another".to_owned();
        fresh.notes.push("a note".to_owned());
        assert_eq!(difference(&given, &fresh), None);
    }

    #[test]
    fn whoever_signs_a_plan_has_read_what_it_does() {
        type Lie = fn(&mut Plan);

        let fresh = plan(vec![ready(1)]);
        assert_eq!(reads_same(&fresh, &fresh), Ok(()));
        let mut noted = fresh.clone();
        noted.notes.push("a note".to_owned());
        assert_eq!(reads_same(&noted, &fresh), Ok(()));
        let mut of_image = fresh.clone();
        of_image.steps[0].address = Address::Image("web".parse().expect("a name"));
        let mut counted = of_image.clone();
        counted.steps[0].reason = "2 files changed".to_owned();
        assert_eq!(reads_same(&counted, &of_image), Ok(()));

        let lies: [(Lie, &str); 5] = [
            (
                |plan| plan.steps[0].reason = "harmless".to_owned(),
                " of slot.blue",
            ),
            (
                |plan| {
                    plan.steps[0].changes.push(Change {
                        field: "replicas".to_owned(),
                        before: None,
                        after: None,
                        origin: None,
                        by: None,
                    });
                },
                " of slot.blue",
            ),
            (
                |plan| {
                    plan.unchanged.push(Unchanged {
                        address: Address::Slot(Slot::Blue),
                        reason: "as it should be".to_owned(),
                    });
                },
                " of what is unchanged",
            ),
            (
                |plan| plan.rollback_blockers.push("one".to_owned()),
                " of the rollback",
            ),
            (|plan| plan.format += 1, ""),
        ];
        for (lie, of) in lies {
            let mut given = fresh.clone();
            lie(&mut given);
            let what = format!("what it tells its reader{of}");
            assert_eq!(reads_same(&given, &fresh), Err(what));
        }
    }

    #[test]
    fn what_is_live_in_another_environment_moves() {
        let from = |release: u64| {
            Intent::PromoteFrom(PromotedFrom {
                environment: "staging".parse().expect("a name"),
                release: ReleaseNumber(release),
            })
        };
        let mut given = plan(Vec::new());
        given.intent = from(3);
        let mut fresh = given.clone();
        fresh.intent = from(4);
        let what = "release 3 was live in staging when it was made, and 4 is now".to_owned();
        assert_eq!(difference(&given, &fresh), Some(Difference::Moved(what)));
    }

    #[test]
    fn what_moved_is_told_from_what_only_the_file_says() {
        let fresh = plan(vec![ready(1)]);
        let mut moved = fresh.clone();
        moved.steps[0].expects = None;
        let what = "slot.blue is not what the plan saw".to_owned();
        assert_eq!(difference(&moved, &fresh), Some(Difference::Moved(what)));

        let edited = plan(vec![ready(2)]);
        let what = "what slot.blue should be".to_owned();
        assert_eq!(
            difference(&edited, &fresh),
            Some(Difference::Unfounded(what))
        );

        let mut elsewhere = fresh.clone();
        elsewhere.source.branch = Some("evil".to_owned());
        assert!(matches!(
            difference(&elsewhere, &fresh),
            Some(Difference::Moved(_))
        ));

        let shorter = plan(Vec::new());
        let what = "`wait until ready slot.blue` is needed now, too".to_owned();
        assert_eq!(difference(&shorter, &fresh), Some(Difference::Moved(what)));
    }
}
