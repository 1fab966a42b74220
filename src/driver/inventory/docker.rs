//! The containers of a Docker Engine.

use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;
use futures_util::future::try_join_all;
use serde_json::Value;

use crate::port::inventory::{InventoryError, RunningContainer};

/// How long all of it may take.
const WITHIN: Duration = Duration::from_mins(1);

/// The containers that run, at the engine that `DOCKER_HOST` says or at the usual socket.
///
/// # Errors
/// It does not answer.
pub async fn containers() -> Result<Vec<RunningContainer>, InventoryError> {
    let listed = tokio::time::timeout(WITHIN, list()).await;
    listed.map_err(|_| {
        let seconds = WITHIN.as_secs();
        lost(&format!("no answer within {seconds} s"))
    })?
}

async fn list() -> Result<Vec<RunningContainer>, InventoryError> {
    let failed = |error: Error| lost(&error.to_string());
    let docker = Docker::connect_with_defaults().map_err(failed)?;
    let docker = docker.negotiate_version().await.map_err(failed)?;

    let listed = docker.list_containers(None).await.map_err(failed)?;
    let ids = listed.into_iter().filter_map(|found| found.id);
    let inspected = try_join_all(ids.map(|id| inspect(&docker, id))).await?;
    Ok(inspected.into_iter().flatten().collect())
}

/// One container; none of one that has ended meanwhile.
async fn inspect(docker: &Docker, id: String) -> Result<Option<RunningContainer>, InventoryError> {
    let found = match docker.inspect_container(&id, None).await {
        Ok(found) => found,
        Err(Error::DockerResponseServerError {
            status_code: 404, ..
        }) => return Ok(None),
        Err(error) => return Err(lost(&error.to_string())),
    };
    let image = match &found.image {
        Some(image) => docker.inspect_image(image).await.ok(),
        None => None,
    };
    let image = image.and_then(|image| serde_json::to_value(image).ok());
    Ok(Some(RunningContainer {
        inspected: serde_json::to_value(found).unwrap_or_default(),
        image: image.unwrap_or(Value::Null),
    }))
}

fn lost(reason: &str) -> InventoryError {
    InventoryError {
        what: "looking at the containers of this machine".to_owned(),
        reason: format!("Docker does not answer: {reason}"),
        help: "is it running, and may this user speak to it? DOCKER_HOST says where it is"
            .to_owned(),
    }
}
