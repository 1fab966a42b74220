//! The pod of a command: made from one of the service's, waited for, and deleted.

use std::time::Duration;

use serde_json::{Value, json};

use super::{container, text};
use crate::driver::kubernetes::client::api::{Api, ApiError, Selector};
use crate::driver::kubernetes::engine::observe;
use crate::driver::kubernetes::engine::ready::pending;
use crate::model::ObjectKey;
use crate::model::object::{mark, pod_like};
use crate::port::Progress;
use crate::port::engine::{CommandRequest, EngineError, Scope};

/// How long the pod of a command may take to start.
const START: Duration = Duration::from_mins(5);
/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_millis(500);
/// How long the end of a container may take to be seen, once its output has ended.
const ENDING: Duration = Duration::from_secs(30);
/// How long it may take to be seen that a container ended before anybody was attached to it.
const SEEN: Duration = Duration::from_secs(5);
/// Why a container will not start, whatever is waited for.
const HOPELESS: [&str; 5] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "InvalidImageName",
];
/// Where a command runs.
pub(super) struct Place {
    pub namespace: String,
    pub pod: String,
    pub container: String,
    /// The pod, when it is the command's own.
    pub own: Option<ObjectKey>,
}

/// Makes the pod of a command: what the service\'s pod is, without what makes it one of the
/// service\'s. What earlier commands have left goes.
pub(super) async fn begin(
    api: &Api,
    scope: &Scope,
    model: &Value,
    request: &CommandRequest,
) -> Result<Place, ApiError> {
    let namespace = text(model, "namespace");
    sweep(api, scope, &namespace).await?;
    let pod = pod_for(scope, model, request);
    let made = api.create(&pod).await?;
    let name = text(&made, "name");
    Ok(Place {
        own: Some(ObjectKey {
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
            namespace: Some(namespace.clone()),
            name: name.clone(),
        }),
        container: container(model),
        namespace,
        pod: name,
    })
}

fn pod_for(scope: &Scope, model: &Value, request: &CommandRequest) -> Value {
    let (slot, service) = (request.slot, &request.service);
    let id = uuid::Uuid::new_v4().simple().to_string();
    let mut spec = pod_like(&model["spec"], &request.command);
    let first = &mut spec["containers"][0];
    first["stdin"] = json!(request.reads);
    first["stdinOnce"] = json!(request.reads);
    first["tty"] = json!(request.terminal.is_some());
    spec["activeDeadlineSeconds"] = json!(request.within.get().as_secs().max(1));
    spec["terminationGracePeriodSeconds"] = json!(5);
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": format!("{service}-command-{}", &id[..8]),
            "namespace": model["metadata"]["namespace"],
            "labels": {
                mark::PROJECT: scope.project.as_str(),
                mark::ENVIRONMENT: scope.environment.as_str(),
                mark::COMMAND: format!("{slot}.{service}"),
            },
        },
        "spec": spec,
    })
}

/// Deletes the pods of commands that have ended and whose client has died.
async fn sweep(api: &Api, scope: &Scope, namespace: &str) -> Result<(), ApiError> {
    let kind = api.must(("v1", "Pod")).await?;
    let labels = format!(
        "{},{},!{}",
        observe::of_scope(scope),
        mark::COMMAND,
        mark::TASK
    );
    let mut over = Vec::new();
    api.list(&kind, Some(namespace), &Selector::Labels(labels), |pod| {
        if matches!(
            pod["status"]["phase"].as_str(),
            Some("Succeeded" | "Failed")
        ) {
            over.push(text(&pod, "name"));
        }
    })
    .await?;
    for name in over {
        let key = ObjectKey {
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
            namespace: Some(namespace.to_owned()),
            name,
        };
        let _ = api.delete(&key, None).await;
    }
    Ok(())
}

/// Waits until the pod of a command runs, or has run. What it waits for is told as it changes.
pub(in super::super) async fn until_it_runs(
    api: &Api,
    key: &ObjectKey,
    what: &str,
    progress: Progress<'_>,
) -> Result<Value, EngineError> {
    let begun = tokio::time::Instant::now();
    let mut last = String::new();
    loop {
        let pod = api.get(key).await.map_err(|fault| fault.while_(what))?;
        let Some(pod) = pod else {
            return Err(EngineError::Failed {
                what: what.to_owned(),
                reason: if last.is_empty() {
                    "its pod was deleted".to_owned()
                } else {
                    format!("its pod was deleted before it started: {last}")
                },
            });
        };
        if !matches!(pod["status"]["phase"].as_str(), None | Some("Pending")) {
            return Ok(pod);
        }

        if let Some(waits) = pending(&pod).filter(|waits| *waits != last) {
            progress(&format!("{}: {waits}", key.short()));
            last = waits;
        }
        let waits = &pod["status"]["containerStatuses"][0]["state"]["waiting"];
        let reason = waits["reason"].as_str().unwrap_or("no node has it yet");
        if HOPELESS.contains(&reason) || begun.elapsed() > START {
            let message = waits["message"].as_str().unwrap_or_default();
            return Err(EngineError::Failed {
                what: what.to_owned(),
                reason: format!("its pod does not start: {reason} {message}"),
            });
        }
        tokio::time::sleep(LOOK).await;
    }
}

impl Place {
    /// Waits for the end of a pod of a command, and gives its exit code.
    pub async fn exit(&self, api: &Api) -> Option<u8> {
        self.exit_within(api, ENDING).await
    }

    /// Whether the command has ended, as far as that is seen soon.
    pub async fn has_ended(&self, api: &Api) -> bool {
        self.exit_within(api, SEEN).await.is_some()
    }

    async fn exit_within(&self, api: &Api, within: Duration) -> Option<u8> {
        let key = self.own.as_ref()?;
        let begun = tokio::time::Instant::now();
        while begun.elapsed() < within {
            let pod = api.get(key).await.ok()??;
            let statuses = pod["status"]["containerStatuses"].as_array();
            let code = statuses
                .into_iter()
                .flatten()
                .filter(|one| one["name"] == self.container.as_str())
                .find_map(|one| one["state"]["terminated"]["exitCode"].as_u64());
            if let Some(code) = code {
                return u8::try_from(code).ok();
            }
            tokio::time::sleep(LOOK).await;
        }
        None
    }

    /// Deletes the pod of a command.
    pub async fn clean_up(&self, api: &Api) {
        if let Some(key) = &self.own {
            let _ = api.delete(key, None).await;
        }
    }
}
