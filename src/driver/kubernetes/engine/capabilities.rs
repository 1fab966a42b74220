//! What a server is and serves, for charts that ask.

use std::collections::BTreeSet;

use futures_util::future::try_join_all;
use http::Method;

use crate::driver::kubernetes::client::api::{Api, ApiError};
use crate::driver::kubernetes::engine::KubernetesEngine;
use crate::model::kind::{Capabilities, GroupKind, KindScope, KindScopes};
use crate::port::engine::EngineError;

/// What the engine's server is and serves; none of a cluster that is not there yet.
pub(super) async fn of(engine: &KubernetesEngine) -> Result<Option<Capabilities>, EngineError> {
    let Some(api) = engine.try_api().await? else {
        return Ok(None);
    };
    let found = ask(api).await;
    found
        .map(Some)
        .map_err(|fault| fault.while_("asking what the server serves"))
}

/// Asks a server what it is and serves. A group whose own server does not answer is left out.
async fn ask(api: &Api) -> Result<Capabilities, ApiError> {
    let (version, groups) = tokio::try_join!(
        api.call(Method::GET, "/version", None),
        api.call(Method::GET, "/apis", None),
    )?;
    let groups = groups["groups"].as_array();
    let served = groups
        .into_iter()
        .flatten()
        .flat_map(|group| group["versions"].as_array().into_iter().flatten())
        .filter_map(|version| version["groupVersion"].as_str());
    let versions: BTreeSet<String> = served.chain(["v1"]).map(str::to_owned).collect();
    let kinds = try_join_all(versions.iter().map(|version| kinds(api, version))).await?;
    Ok(Capabilities {
        version: version["gitVersion"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
        apis: versions.into_iter().chain(kinds.concat()).collect(),
    })
}

/// Whether a group's own server is gone, or does not answer: that it may not be asked is another
/// matter.
fn is_left_out(fault: &ApiError) -> bool {
    use http::StatusCode;
    let codes = [
        StatusCode::NOT_FOUND,
        StatusCode::BAD_GATEWAY,
        StatusCode::SERVICE_UNAVAILABLE,
        StatusCode::GATEWAY_TIMEOUT,
    ];
    codes.iter().any(|code| fault.is(*code))
}

async fn kinds(api: &Api, version: &str) -> Result<Vec<String>, ApiError> {
    let root = if version.contains('/') { "apis" } else { "api" };
    let list = match api
        .call(Method::GET, &format!("/{root}/{version}"), None)
        .await
    {
        Err(fault) if is_left_out(&fault) => return Ok(Vec::new()),
        other => other?,
    };
    let resources = list["resources"].as_array();
    let names = resources.into_iter().flatten().filter_map(|resource| {
        let is_part = resource["name"].as_str()?.contains('/');
        (!is_part).then_some(resource["kind"].as_str()?)
    });
    Ok(names.map(|kind| format!("{version}/{kind}")).collect())
}

/// Where the objects of kinds are, by the server's own account of what it serves.
pub(super) async fn kind_scopes(
    api: &Api,
    kinds: &BTreeSet<(String, String)>,
) -> Result<KindScopes, EngineError> {
    let asked = kinds.iter().map(|(version, kind)| async move {
        let found = api.kind(version, kind).await;
        found.map_err(|fault| fault.while_(format!("asking for the kind {kind} in {version}")))
    });
    let found = try_join_all(asked).await?;
    let scopes = found.into_iter().flatten().map(|kind| {
        let scope = if kind.namespaced {
            KindScope::Namespaced
        } else {
            KindScope::Cluster
        };
        let group = kind.group().to_owned();
        (
            GroupKind {
                group,
                kind: kind.kind,
            },
            scope,
        )
    });
    Ok(scopes.collect())
}
