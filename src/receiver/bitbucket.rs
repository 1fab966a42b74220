//! Bitbucket Cloud and Bitbucket Data Center.

use serde::Deserialize;

use super::{Incoming, Meaning, event, header, moved, parsed};
use crate::model::trigger::Trigger;

const EVENT: &str = "x-event-key";

#[derive(Deserialize)]
struct CloudPush {
    #[serde(default)]
    actor: Actor,
    push: Changes,
}

#[derive(Default, Deserialize)]
struct Actor {
    #[serde(default)]
    nickname: String,
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct Changes {
    changes: Vec<CloudChange>,
}

#[derive(Deserialize)]
struct CloudChange {
    new: Option<CloudRef>,
    old: Option<CloudRef>,
}

#[derive(Deserialize)]
struct CloudRef {
    r#type: String,
    name: String,
    target: Target,
}

#[derive(Deserialize)]
struct Target {
    hash: String,
}

#[derive(Deserialize)]
struct DcPush {
    #[serde(default)]
    actor: Actor,
    changes: Vec<DcChange>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DcChange {
    r#ref: DcRef,
    to_hash: String,
}

#[derive(Deserialize)]
struct DcRef {
    id: String,
}

/// Whether it is the test of Data Center, which has no signature.
pub(super) fn is_unsigned_ping(incoming: &Incoming<'_>) -> bool {
    header(incoming, EVENT) == Some("diagnostics:ping")
}

pub(super) fn read_cloud(incoming: &Incoming<'_>) -> Meaning {
    let event = event(incoming, EVENT);
    if event != "repo:push" {
        let reason = format!("nothing is deployed on the event `{event}`");
        return Meaning::nothing(event, reason);
    }
    match parsed::<CloudPush>(incoming) {
        Err(reason) => Meaning::nothing(event, reason),
        Ok(push) => {
            let by = &push.actor.nickname;
            Meaning::of(
                event,
                push.push.changes.iter().map(|change| changed(change, by)),
            )
        }
    }
}

fn changed(change: &CloudChange, by: &str) -> Result<Trigger, String> {
    let full = |found: &CloudRef| match found.r#type.as_str() {
        "branch" => format!("refs/heads/{}", found.name),
        _ => format!("refs/tags/{}", found.name),
    };
    match (&change.new, &change.old) {
        (Some(new), _) => moved(&full(new), &new.target.hash, by),
        (None, Some(old)) => moved(&full(old), &"0".repeat(40), by),
        (None, None) => Err("a change without a branch or a tag".to_owned()),
    }
}

pub(super) fn read_dc(incoming: &Incoming<'_>) -> Meaning {
    let event = event(incoming, EVENT);
    if event != "repo:refs_changed" {
        let reason = format!("nothing is deployed on the event `{event}`");
        return Meaning::nothing(event, reason);
    }
    match parsed::<DcPush>(incoming) {
        Err(reason) => Meaning::nothing(event, reason),
        Ok(push) => {
            let by = &push.actor.name;
            let change = |change: &DcChange| moved(&change.r#ref.id, &change.to_hash, by);
            Meaning::of(event, push.changes.iter().map(change))
        }
    }
}
