//! The logs of pods, side by side.

use std::collections::BTreeMap;

use futures_util::stream::{self, BoxStream, StreamExt as _};
use jiff::Timestamp;
use serde_json::Value;

use crate::driver::kubernetes::client::api::{Api, ApiError, encode};
use crate::driver::kubernetes::engine::observe::of_scope;
use crate::driver::kubernetes::engine::{KubernetesEngine, slots};
use crate::model::object::mark;
use crate::model::{ServiceName, Slot};
use crate::port::engine::{EngineError, LogLine, LogQuery, Scope};

pub(super) async fn logs(
    engine: &KubernetesEngine,
    scope: &Scope,
    query: LogQuery,
) -> Result<BoxStream<'static, Result<LogLine, EngineError>>, EngineError> {
    let api = engine.api().await?;
    let failed = |fault: ApiError| fault.while_(format!("reading the logs of {}", of_scope(scope)));
    let mut streams = Vec::new();
    for slot in Slot::ALL
        .into_iter()
        .filter(|slot| query.slot.is_none_or(|wanted| wanted == *slot))
    {
        let mut pods = slots::pods(engine, api, scope, slot)
            .await
            .map_err(failed)?;
        pods.sort_by_key(|pod| {
            pod["metadata"]["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        });

        let mut counts: BTreeMap<ServiceName, u16> = BTreeMap::new();
        for pod in &pods {
            let label = pod["metadata"]["labels"][mark::SERVICE]
                .as_str()
                .unwrap_or_default();
            let Ok(service) = label.parse::<ServiceName>() else {
                continue;
            };
            let instance = counts.entry(service.clone()).or_default();
            let index = *instance;
            *instance += 1;
            if query
                .service
                .as_ref()
                .is_some_and(|wanted| *wanted != service)
            {
                continue;
            }
            streams.extend(
                of_pod(api, pod, slot, &service, index, &query)
                    .await
                    .map_err(failed)?,
            );
        }
    }

    if query.follow {
        return Ok(stream::select_all(streams).boxed());
    }
    Ok(stream::iter(streams).flatten().boxed())
}

type Lines = BoxStream<'static, Result<LogLine, EngineError>>;

async fn of_pod(
    api: &Api,
    pod: &Value,
    slot: Slot,
    service: &ServiceName,
    instance: u16,
    query: &LogQuery,
) -> Result<Vec<Lines>, ApiError> {
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    let names: Vec<&str> = containers
        .filter_map(|container| container["name"].as_str())
        .collect();
    let many = names.len() > 1;

    let mut all = Vec::new();
    for name in names {
        let part = Part {
            tail: query.tail,
            since: query.since,
            follow: query.follow,
            previous: false,
        };
        let path = path(pod, name, part);
        let lines = match api.lines(&path).await {
            Ok(lines) => lines,
            // A container that has not started has written nothing.
            Err(fault) if matches!(fault.code(), 400 | 404) => continue,
            Err(fault) => return Err(fault),
        };

        let (service, name) = (service.clone(), name.to_owned());
        let lines = lines.map(move |line| match line {
            Ok(text) => {
                let text = if many {
                    format!("[{name}] {text}")
                } else {
                    text
                };
                Ok(LogLine {
                    slot,
                    service: service.clone(),
                    instance,
                    text,
                })
            }
            Err(error) => Err(EngineError::Failed {
                what: format!("reading the logs of {service}"),
                reason: error.to_string(),
            }),
        });
        all.push(lines.boxed());
    }
    Ok(all)
}

/// Which part of a container's log.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Part {
    /// How many of its last lines; all without it.
    pub tail: Option<usize>,
    /// Only what was written since.
    pub since: Option<Timestamp>,
    /// Whether to go on with what comes.
    pub follow: bool,
    /// Of the container that ran before this one.
    pub previous: bool,
}

/// The path of a part of a container's log.
pub(super) fn path(pod: &Value, container: &str, part: Part) -> String {
    let text = |name: &str| pod["metadata"][name].as_str().unwrap_or_default();
    let tail = part.tail.map(|tail| format!("&tailLines={tail}"));
    let since = part
        .since
        .map(|since| format!("&sinceTime={}", encode(&format!("{since:.0}"))));
    format!(
        "/api/v1/namespaces/{}/pods/{}/log?container={}&follow={}&previous={}{}{}",
        encode(text("namespace")),
        encode(text("name")),
        encode(container),
        part.follow,
        part.previous,
        tail.unwrap_or_default(),
        since.unwrap_or_default(),
    )
}
