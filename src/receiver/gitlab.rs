//! GitLab.

use serde::Deserialize;

use super::{Incoming, Meaning, label, moved, parsed};

#[derive(Deserialize)]
struct Kind {
    object_kind: String,
}

#[derive(Deserialize)]
struct Push {
    r#ref: String,
    after: String,
    #[serde(default)]
    user_username: String,
}

pub(super) fn read(incoming: &Incoming<'_>) -> Meaning {
    let kind = match parsed::<Kind>(incoming) {
        Ok(kind) => label(&kind.object_kind),
        Err(reason) => return Meaning::nothing("", reason),
    };
    match kind.as_str() {
        "push" | "tag_push" => {
            let push = parsed(incoming);
            let part =
                push.and_then(|push: Push| moved(&push.r#ref, &push.after, &push.user_username));
            Meaning::of(kind, [part])
        }
        _ => {
            let reason = format!("nothing is deployed on the event `{kind}`");
            Meaning::nothing(kind, reason)
        }
    }
}
