//! Gitea and Forgejo.

use serde::Deserialize;

use super::{Incoming, Meaning, event, moved, parsed, pushed};
use crate::model::trigger::Trigger;

#[derive(Deserialize)]
struct Push {
    r#ref: String,
    after: String,
    #[serde(default)]
    pusher: Login,
}

#[derive(Default, Deserialize)]
struct Login {
    #[serde(default)]
    login: String,
}

#[derive(Deserialize)]
struct PackageEvent {
    action: String,
    package: Package,
    #[serde(default)]
    sender: Login,
}

#[derive(Deserialize)]
struct Package {
    owner: Login,
    name: String,
    r#type: String,
    version: String,
}

pub(super) fn read(incoming: &Incoming<'_>, name: &str) -> Meaning {
    let event = event(incoming, name);
    let part = match event.as_str() {
        "push" => parsed(incoming)
            .and_then(|push: Push| moved(&push.r#ref, &push.after, &push.pusher.login)),
        "package" => parsed(incoming).and_then(package),
        "create" => {
            return Meaning::nothing(event, "a push of the same branch or tag comes besides");
        }
        "" => return Meaning::nothing(event, format!("it has no header {name}")),
        _ => {
            let reason = format!("nothing is deployed on the event `{event}`");
            return Meaning::nothing(event, reason);
        }
    };
    Meaning::of(event, [part])
}

fn package(event: PackageEvent) -> Result<Trigger, String> {
    let package = event.package;
    if event.action != "created" || package.r#type != "container" {
        return Err("it is not a push of an image".to_owned());
    }
    let repository = format!("{}/{}", package.owner.login, package.name);
    pushed(&repository, Some(&package.version), &event.sender.login)
}
