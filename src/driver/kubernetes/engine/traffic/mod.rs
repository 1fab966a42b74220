//! The entry point: slot Services that no switch touches, and one live object per service that is
//! all a switch touches. The patch carries the version of the object that was looked at, and is not
//! believed until the endpoints say so.

mod balancer;
mod follow;
mod route;
mod switch;
mod urls;

pub(super) use balancer::load_balancers;
pub(super) use route::{route, unroute};
pub(super) use switch::switch;
pub(super) use urls::{port_addresses, urls};

use futures_util::future::try_join_all;
use serde_json::Value;

use crate::driver::kubernetes::client::api::{Api, ApiError};
use crate::driver::kubernetes::engine::apply::said;
use crate::driver::kubernetes::engine::record::{Read, Record};
use crate::driver::kubernetes::engine::{KubernetesEngine, observe, owner};
use crate::model::facts::Overview;
use crate::model::release::Actor;
use crate::model::route::ObjectsRoute;
use crate::model::{Address, LiveTraffic, ObjectKey, ServiceName};
use crate::port::engine::{EngineError, Scope};

fn moved(address: Address, read: &Read) -> EngineError {
    EngineError::Moved {
        address,
        by: read.record.changed_by.clone(),
        at: read.record.changed_at,
    }
}

fn objects(record: &Record) -> impl Iterator<Item = (&ServiceName, &ObjectsRoute)> {
    record
        .routes
        .iter()
        .filter_map(|(service, route)| Some((service, route.objects()?)))
}

/// The live objects of all services, as they are now.
async fn live(api: &Api, record: &Record) -> Result<Vec<Value>, ApiError> {
    let keys: Vec<ObjectKey> = objects(record).map(|(_, route)| route.off.key()).collect();
    let found = try_join_all(keys.iter().map(|key| api.get(key))).await?;
    Ok(found.into_iter().flatten().collect())
}

/// The highest fencing number that the environment has seen; a cluster that is not there yet has
/// seen none.
pub(super) async fn fence(engine: &KubernetesEngine, scope: &Scope) -> Result<u64, EngineError> {
    let Some(api) = engine.try_api().await? else {
        return Ok(0);
    };
    let read = engine.records(api, scope).read().await;
    let read = read.map_err(|fault| fault.while_(format!("looking at {scope}")))?;
    Ok(read.record.fence)
}

/// Where live traffic goes now.
pub(super) async fn current(
    _: &KubernetesEngine,
    api: &Api,
    read: &Read,
) -> Result<LiveTraffic, EngineError> {
    let live = live(api, &read.record)
        .await
        .map_err(|fault| fault.while_("looking at live traffic"))?;
    Ok(observe::traffic(
        &read.record,
        &live.iter().collect::<Vec<_>>(),
    ))
}

/// What stands where, without a look at the objects of the slots.
pub(super) async fn overview(
    engine: &KubernetesEngine,
    scope: &Scope,
) -> Result<Overview, EngineError> {
    let Some(api) = engine.try_api().await? else {
        return Ok(Overview::default());
    };
    let read = engine.record(api, scope).await;
    let read = read.map_err(|fault| fault.while_(format!("looking at {scope}")))?;
    let traffic = current(engine, api, &read).await?;
    let record = read.record;
    let stops = record.slots.iter();
    let stops = stops.filter_map(|(slot, there)| Some((*slot, there.stops_at?)));
    let stops = stops.collect();
    let labels = record.slots.into_iter();
    Ok(Overview {
        lineage: record.lineage,
        traffic,
        stops,
        labels: labels.map(|(slot, there)| (slot, there.label)).collect(),
        changed_by: record.changed_by,
        changed_at: record.changed_at,
    })
}

/// What is not ours is neither taken over nor deleted by the way.
fn foreign(key: &ObjectKey, live: &Value) -> EngineError {
    EngineError::Refused {
        reason: format!(
            "{} is there and belongs to {}",
            said(key),
            owner::manager(live)
        ),
        help: "`shipit import` takes it over; or delete it, or name the service differently"
            .to_owned(),
    }
}

/// Who changed an object last.
pub(super) fn last_manager(live: &Value) -> Option<Actor> {
    let entries = live.pointer("/metadata/managedFields")?.as_array()?;
    let last = entries
        .iter()
        .max_by_key(|entry| entry["time"].as_str().unwrap_or_default().to_owned())?;
    let user = last["manager"].as_str()?.to_owned();
    Some(Actor {
        user,
        host: String::new(),
        run: String::new(),
        ci: None,
    })
}
