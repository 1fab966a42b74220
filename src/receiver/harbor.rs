//! Harbor, in its own format and as `CloudEvents`.

use serde::Deserialize;

use super::{Incoming, Meaning, label, parsed, pushed};

#[derive(Deserialize)]
struct Payload {
    r#type: String,
    #[serde(default)]
    operator: String,
    #[serde(alias = "data")]
    event_data: Option<Data>,
}

#[derive(Deserialize)]
struct Data {
    resources: Vec<Resource>,
    repository: Repository,
}

#[derive(Deserialize)]
struct Resource {
    #[serde(default)]
    digest: String,
    tag: Option<String>,
}

#[derive(Deserialize)]
struct Repository {
    repo_full_name: String,
}

pub(super) fn read(incoming: &Incoming<'_>) -> Meaning {
    let payload: Payload = match parsed(incoming) {
        Ok(payload) => payload,
        Err(reason) => return Meaning::nothing("", reason),
    };
    let event = label(&payload.r#type);
    if event != "PUSH_ARTIFACT" && event != "harbor.artifact.pushed" {
        let reason = format!("nothing is deployed on the event `{event}`");
        return Meaning::nothing(event, reason);
    }
    let Some(data) = payload.event_data else {
        return Meaning::nothing(event, "it has no event data: a test of the endpoint");
    };

    let name = &data.repository.repo_full_name;
    let resource = |resource: &Resource| {
        // The digest stands where a tag would when there is none.
        let tag = resource
            .tag
            .as_deref()
            .filter(|tag| *tag != resource.digest);
        pushed(name, tag, &payload.operator)
    };
    Meaning::of(event, data.resources.iter().map(resource))
}
