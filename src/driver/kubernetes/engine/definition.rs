//! A definition that was just made: its kind is served a moment after the server calls it
//! established.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::Value;
use tokio::time::Instant;

use crate::driver::kubernetes::client::api::{Api, ApiError};
use crate::driver::kubernetes::engine::apply::said;
use crate::driver::kubernetes::engine::{KubernetesEngine, wait};
use crate::model::Manifest;
use crate::port::Progress;
use crate::port::engine::EngineError;

/// How long a kind may take to be served once its definition is established.
const SERVED: Duration = Duration::from_secs(30);
/// How often it is asked for meanwhile.
const LOOK: Duration = Duration::from_millis(50);

/// Waits until objects of a definition's kind can be made.
pub(super) async fn until_served(
    engine: &KubernetesEngine,
    definition: &Manifest,
    progress: Progress<'_>,
) -> Result<(), EngineError> {
    let api = engine.api().await?;
    let key = definition.key();
    let within = engine.settings.within.get();
    wait::object(engine, &key, within, progress).await?;

    let begun = Instant::now();
    loop {
        api.forget_kinds();
        let served = is_served(api, definition).await;
        if served.map_err(|fault| fault.while_(format!("waiting for {}", said(&key))))? {
            return Ok(());
        }
        if begun.elapsed() > SERVED {
            return Err(EngineError::Failed {
                what: format!("waiting for {}", said(&key)),
                reason: format!("it is established, and not served within {SERVED:?}"),
            });
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Whether every version that a definition serves is known, and answers.
async fn is_served(api: &Api, definition: &Manifest) -> Result<bool, ApiError> {
    let spec = &definition.body()["spec"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (group, kind) = (text(&spec["group"]), text(&spec["names"]["kind"]));
    let versions = spec["versions"].as_array().into_iter().flatten();
    for version in versions.filter(|version| version["served"] == true) {
        let api_version = format!("{group}/{}", text(&version["name"]));
        let Some(kind) = api.kind(&api_version, &kind).await? else {
            return Ok(false);
        };
        // A kind is in the server's list of kinds before the server answers for it.
        let path = format!("{}?limit=1", kind.path(None, None));
        match api.call(Method::GET, &path, None).await {
            Err(fault) if fault.is(StatusCode::NOT_FOUND) => return Ok(false),
            // Who may not ask cannot know better.
            Err(fault) if !fault.is(StatusCode::FORBIDDEN) => return Err(fault),
            Ok(_) | Err(_) => {}
        }
    }

    Ok(true)
}
