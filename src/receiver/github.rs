//! GitHub.

use serde::Deserialize;

use super::{Incoming, Meaning, event, moved, parsed, pushed};

#[derive(Deserialize)]
struct Push {
    r#ref: String,
    after: String,
    #[serde(default)]
    pusher: Name,
}

#[derive(Default, Deserialize)]
struct Name {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct PackageEvent {
    action: String,
    #[serde(alias = "package")]
    registry_package: Package,
    #[serde(default)]
    sender: Login,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    #[serde(default)]
    namespace: String,
    #[serde(rename = "package_version")]
    version: Option<Version>,
}

#[derive(Default, Deserialize)]
struct Login {
    #[serde(default)]
    login: String,
}

#[derive(Deserialize)]
struct Version {
    container_metadata: Option<Container>,
}

#[derive(Deserialize)]
struct Container {
    tag: Option<Name>,
}

pub(super) fn read(incoming: &Incoming<'_>) -> Meaning {
    let event = event(incoming, "x-github-event");
    let part = match event.as_str() {
        "push" => parsed(incoming)
            .and_then(|push: Push| moved(&push.r#ref, &push.after, &push.pusher.name)),
        "registry_package" | "package" => parsed(incoming).and_then(package),
        "ping" => return Meaning::nothing(event, "it is a ping: the hook works"),
        "" => return Meaning::nothing(event, "it has no header x-github-event"),
        _ => {
            let reason = format!("nothing is deployed on the event `{event}`");
            return Meaning::nothing(event, reason);
        }
    };
    Meaning::of(event, [part])
}

fn package(event: PackageEvent) -> Result<crate::model::trigger::Trigger, String> {
    if event.action != "published" && event.action != "updated" {
        return Err("the image was not pushed".to_owned());
    }
    let package = event.registry_package;
    let container = package
        .version
        .and_then(|version| version.container_metadata);
    let tag = container
        .and_then(|container| container.tag)
        .map(|tag| tag.name);
    let repository = format!("{}/{}", package.namespace, package.name);
    pushed(
        repository.trim_matches('/'),
        tag.as_deref(),
        &event.sender.login,
    )
}
