//! The objects of a namespace.

use std::collections::BTreeMap;

use crate::driver::kubernetes::client::api::{Api, ApiError, Kind, Selector};
use crate::driver::kubernetes::client::{ClusterConnection, connect};
use crate::port::engine::EngineError;
use crate::port::inventory::{Listed, Sought};
use futures_util::future::try_join_all;

/// The workloads of a namespace, and what leads to them. A kind that this identity may not list has
/// the reason instead.
///
/// # Errors
/// The cluster cannot be reached.
pub async fn objects(
    connection: &ClusterConnection,
    namespace: &str,
) -> Result<BTreeMap<Sought, Listed>, EngineError> {
    let api = Api::new(connect::connect(connection).await?);
    let lists = Sought::ALL.map(|sought| list(&api, namespace, sought));
    Ok(try_join_all(lists).await?.into_iter().collect())
}

async fn list(api: &Api, namespace: &str, sought: Sought) -> Result<(Sought, Listed), EngineError> {
    let (kind, mut found) = (kind(sought), Vec::new());
    let listed = api
        .list(&kind, Some(namespace), &Selector::All, |object| {
            found.push(object);
        })
        .await;
    match listed {
        Ok(_) => Ok((sought, Ok(found))),
        Err(fault @ ApiError::Refused(_)) => Ok((sought, Err(fault.to_string()))),
        Err(fault) => {
            let what = format!("looking at the {}s of {namespace}", kind.kind);
            Err(fault.while_(what))
        }
    }
}

fn kind(sought: Sought) -> Kind {
    let (api_version, kind, plural) = match sought {
        Sought::Deployment => ("apps/v1", "Deployment", "deployments"),
        Sought::StatefulSet => ("apps/v1", "StatefulSet", "statefulsets"),
        Sought::Service => ("v1", "Service", "services"),
        Sought::Ingress => ("networking.k8s.io/v1", "Ingress", "ingresses"),
    };
    Kind {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
        namespaced: true,
    }
}
