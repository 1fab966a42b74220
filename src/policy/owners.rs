//! What belongs to somebody else is not taken by the way.

use crate::model::object::{ObjectFacts, ObjectState};
use crate::model::observed::Observed;
use crate::policy::Refusal;

/// Whether a plan may change what was found: no object is another owner's, and no field another
/// manager's, unless the configuration says so.
///
/// # Errors
/// What belongs to whom.
pub fn may_take(observed: &Observed) -> Result<(), Refusal> {
    let foreign: Vec<String> = observed
        .objects
        .iter()
        .filter_map(|object| match &object.state {
            ObjectState::Foreign { manager } => {
                Some(format!("{} belongs to {manager}", object.key))
            }
            _ => None,
        })
        .collect();
    if !foreign.is_empty() {
        return Err(Refusal {
            what: format!(
                "what is there already is not taken over by the way: {}",
                foreign.join("; ")
            ),
            help: "`shipit import` takes it over; or take it out of the configuration".to_owned(),
        });
    }

    would_be_refused(observed)?;
    let facts = &observed.facts;
    let live = facts
        .live()
        .map(|(_, slot)| slot.workloads.values())
        .into_iter()
        .flatten();
    let drifts = live
        .flat_map(|workload| &workload.drift)
        .chain(facts.route_drift.values().flatten());
    let objects = observed
        .objects
        .iter()
        .map(|object| (&object.key, &object.conflicts));
    let conflicts: Vec<String> = drifts
        .map(|drift| (&drift.key, &drift.conflicts))
        .chain(objects)
        .flat_map(|(key, fields)| {
            fields
                .iter()
                .map(move |field| format!("{} {field}", key.short()))
        })
        .collect();
    if conflicts.is_empty() {
        return Ok(());
    }

    Err(Refusal {
        what: format!(
            "fields that shipit applied were changed by others: \
                       {}",
            conflicts.join("; ")
        ),
        help:
            "`cluster: {conflicts: take_over}` sets them back, `conflicts: leave` leaves them to \
               the others; or undo the change there"
                .to_owned(),
    })
}

/// What the server would refuse of the environment's own objects, all of it at once.
///
/// # Errors
/// It would refuse some.
pub fn would_be_refused(observed: &Observed) -> Result<(), Refusal> {
    let faults = observed.objects.iter().flat_map(ObjectFacts::faults);
    let refused: Vec<String> = faults.map(|fault| format!("manifests: {fault}")).collect();
    if refused.is_empty() {
        return Ok(());
    }
    Err(Refusal {
        what: format!("the cluster would refuse it: {}", refused.join("; ")),
        help: "`shipit render` shows the objects as they are sent".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_the_server_would_refuse_is_told_at_once() {
        let refused = |text: &str| {
            let key = text.parse().expect("a key");
            let reason = format!("applying {text}: no");
            ObjectFacts::plain(key, ObjectState::refused(reason))
        };
        let observed = Observed {
            objects: vec![refused("v1/Pod/shop/a"), refused("v1/Secret/shop/b")],
            ..Observed::default()
        };
        let what = may_take(&observed).expect_err("refused").what;
        assert!(what.starts_with("the cluster would refuse it: "), "{what}");
        assert!(
            what.contains("v1/Pod/shop/a") && what.contains("v1/Secret/shop/b"),
            "{what}"
        );
    }

    #[test]
    fn what_belongs_to_others_is_named() {
        let key = || "v1/ConfigMap/shop/settings".parse().expect("a key");
        let object = |state, conflicts: &[&str]| ObjectFacts {
            conflicts: conflicts.iter().map(|text| (*text).to_owned()).collect(),
            ..ObjectFacts::plain(key(), state)
        };
        let observed = |object| Observed {
            objects: vec![object],
            ..Observed::default()
        };
        assert_eq!(
            may_take(&observed(object(ObjectState::Differs, &[]))),
            Ok(())
        );
        let foreign = object(
            ObjectState::Foreign {
                manager: "helm".to_owned(),
            },
            &[],
        );
        assert!(
            may_take(&observed(foreign))
                .expect_err("refused")
                .what
                .contains("belongs to helm")
        );
        let conflict = object(ObjectState::Differs, &[".data.a: kubectl-edit"]);
        assert!(
            may_take(&observed(conflict))
                .expect_err("refused")
                .what
                .contains("settings .data.a: kubectl-edit")
        );
    }
}
