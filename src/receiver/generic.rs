//! Anything that signs by Standard Webhooks: `{"ref": "refs/heads/staging", "commit": "…"}` or
//! `{"image": "shop/web", "tag": "1.2"}`, with `"by"` where it knows who.

use serde::Deserialize;

use super::{Incoming, Meaning, moved, parsed, pushed};
use crate::model::trigger::Trigger;

#[derive(Deserialize)]
struct Payload {
    #[serde(default)]
    r#type: String,
    r#ref: Option<String>,
    commit: Option<String>,
    image: Option<String>,
    tag: Option<String>,
    #[serde(default)]
    by: String,
}

pub(super) fn read(incoming: &Incoming<'_>) -> Meaning {
    let payload: Payload = match parsed(incoming) {
        Ok(payload) => payload,
        Err(reason) => return Meaning::nothing("", reason),
    };
    let event = super::label(&payload.r#type);
    Meaning::of(event, [meant(&payload)])
}

fn meant(payload: &Payload) -> Result<Trigger, String> {
    match (&payload.r#ref, &payload.commit, &payload.image) {
        (Some(name), Some(commit), None) => moved(name, commit, &payload.by),
        (None, None, Some(image)) => pushed(image, payload.tag.as_deref(), &payload.by),
        _ => Err("it needs `ref` and `commit`, or `image`".to_owned()),
    }
}
