//! Distribution, which is docker-registry: an envelope with events that have nothing to do with
//! each other, those of our own pulls among them.

use serde::Deserialize;

use super::{Incoming, Meaning, parsed, pushed};
use crate::model::trigger::Trigger;

const EVENT: &str = "envelope";

#[derive(Deserialize)]
struct Envelope {
    events: Vec<Event>,
}

#[derive(Deserialize)]
struct Event {
    action: String,
    target: Target,
    #[serde(default)]
    actor: Actor,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Target {
    #[serde(default)]
    media_type: String,
    #[serde(default)]
    repository: String,
    tag: Option<String>,
}

#[derive(Default, Deserialize)]
struct Actor {
    #[serde(default)]
    name: String,
}

pub(super) fn read(incoming: &Incoming<'_>) -> Meaning {
    match parsed::<Envelope>(incoming) {
        Ok(envelope) => Meaning::of(EVENT, envelope.events.iter().map(happened)),
        Err(reason) => Meaning::nothing(EVENT, reason),
    }
}

fn happened(event: &Event) -> Result<Trigger, String> {
    let (target, action) = (&event.target, event.action.as_str());
    let is_image =
        target.media_type.contains("manifest") || target.media_type.contains("image.index");
    match action {
        "push" if is_image => pushed(&target.repository, target.tag.as_deref(), &event.actor.name),
        "push" => Err("a layer was pushed".to_owned()),
        "pull" => Err("an image was pulled".to_owned()),
        _ => Err("no image was pushed".to_owned()),
    }
}
