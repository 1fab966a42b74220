//! A state that is new where a release is live already: another folder's, another executor's, or
//! that of another project of the same name. shipit goes on from it, and says whose it is.
//!
//! It is no refusal: the workspace of an executor is new each time, and often knows the last commit
//! alone.

use crate::model::facts::{Facts, SlotFacts};
use crate::model::plan::Plan;
use crate::model::source::{Source, shown};
use crate::model::{ReleaseNumber, Slot};
use crate::ops::{Error, Session};
use crate::port::Scm as _;

/// What is known of a live release's commit in this folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Commit {
    /// It is in the repository, or whether it is could not be asked.
    NotForeign,
    /// The repository does not have it.
    Foreign,
}

/// Whose release a plan changes, where this state has nothing of its own yet.
pub(super) async fn note(
    session: &Session,
    plan: &Plan,
    facts: &Facts,
) -> Result<Option<String>, Error> {
    let Some((slot, there)) = facts.live().filter(|_| !plan.is_empty()) else {
        return Ok(None);
    };
    if session.state().await?.lineage.is_some() {
        return Ok(None);
    }

    let commit = known(session, there).await;
    let next = plan.target.as_ref().map(|target| target.release);
    Ok(Some(text((slot, there), facts, commit, next)))
}

async fn known(session: &Session, there: &SlotFacts) -> Commit {
    let Source {
        commit: Some(_), ..
    } = session.source
    else {
        return Commit::NotForeign;
    };
    let Some(commit) = &there.label.commit else {
        return Commit::NotForeign;
    };
    match session.scm.tagged(commit).await {
        Ok(None) => Commit::Foreign,
        Ok(Some(_)) | Err(_) => Commit::NotForeign,
    }
}

fn text(
    (slot, there): (Slot, &SlotFacts),
    facts: &Facts,
    commit: Commit,
    next: Option<ReleaseNumber>,
) -> String {
    let label = &there.label;
    let of = label.commit.as_ref().map(|commit| {
        let branch = label.branch.iter().map(|branch| format!(", {branch}"));
        let branch: String = branch.collect();
        format!(" ({}{branch})", shown(commit, label.dirty))
    });
    let at = facts.changed_at.map(|at| format!(" at {at:.0}"));
    let by = facts.changed_by.as_ref().map(|actor| {
        let at = at.unwrap_or_default();
        format!("; {actor} was the last to act{at}")
    });
    let next = next.filter(|next| *next != label.number);
    let next = next.map(|next| format!("; release {next} takes its place"));
    let foreign = match commit {
        Commit::NotForeign => "",
        Commit::Foreign => {
            "; this repository does not have that commit: if the release is another project's of \
             the same name, give one of them another `project:`"
        }
    };
    format!(
        "this state has no release yet, and release {}{} is live in {slot}{}{}{foreign}",
        label.number,
        of.unwrap_or_default(),
        by.unwrap_or_default(),
        next.unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp;

    use super::*;
    use crate::model::release::{Actor, Label};
    use crate::model::{ContentHash, LiveTraffic};

    #[test]
    fn it_is_said_whose_release_is_replaced_by_whom_and_when_it_was_made() {
        let label = Label {
            number: ReleaseNumber(1),
            commit: Some("5fb4f1b0".to_owned()),
            branch: Some("main".to_owned()),
            dirty: false,
            config: ContentHash::of_json(&1),
            inputs: BTreeMap::new(),
        };
        let there = SlotFacts {
            label,
            workloads: BTreeMap::new(),
            placed_at: Timestamp::UNIX_EPOCH,
            stops_at: None,
        };
        let facts = Facts {
            traffic: LiveTraffic::All(Slot::Blue),
            changed_by: Some(Actor {
                user: "kim".to_owned(),
                host: "laptop".to_owned(),
                run: "7".to_owned(),
                ci: None,
            }),
            changed_at: Some(Timestamp::UNIX_EPOCH),
            ..Facts::default()
        };
        let of = |commit, next| text((Slot::Blue, &there), &facts, commit, next);
        let start = "this state has no release yet, and release 1 (5fb4f1b, main) is live in blue; \
                     kim@laptop (run 7) was the last to act at 1970-01-01T00:00:00Z";
        assert_eq!(of(Commit::NotForeign, None), start);
        assert_eq!(of(Commit::NotForeign, Some(ReleaseNumber(1))), start);
        assert_eq!(
            of(Commit::Foreign, Some(ReleaseNumber(2))),
            format!(
                "{start}; release 2 takes its place; this repository does not have that commit: if \
                 the release is another project's of the same name, give one of them another \
                 `project:`"
            )
        );
    }
}
