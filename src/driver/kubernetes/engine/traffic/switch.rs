//! The switch: one patch per live object, of exactly the object that was looked at.

use futures_util::future::try_join_all;
use http::StatusCode;
use jiff::Timestamp;
use serde_json::Value;

use super::follow::follow;
use super::{foreign, last_manager, live, moved, objects};
use crate::driver::kubernetes::client::api::Api;
use crate::driver::kubernetes::engine::apply::{self, refused, said};
use crate::driver::kubernetes::engine::complete::shared;
use crate::driver::kubernetes::engine::list::key_of;
use crate::driver::kubernetes::engine::owner::belongs_to;
use crate::driver::kubernetes::engine::record::Record;
use crate::driver::kubernetes::engine::{KubernetesEngine, observe, schedules, slots};
use crate::model::object::mark;
use crate::model::{Address, LiveTraffic, Manifest};
use crate::port::engine::{EngineError, Permit};

/// How long a live object may be changed by others between looking and switching.
const TRIES: usize = 8;

pub(in super::super) async fn switch(
    engine: &KubernetesEngine,
    permit: &Permit,
    from: LiveTraffic,
    to: LiveTraffic,
) -> Result<(), EngineError> {
    let api = engine.api().await?;
    let mut read = engine.enter(api, permit).await?;
    let there = async {
        let there = live(api, &read.record).await;
        there.map_err(|fault| fault.while_("looking at live traffic"))
    };
    // Asked at once, and only counts where traffic moves.
    let is_ready = async {
        match to.slot() {
            Some(slot) => Ok(slots::is_ready(engine, api, permit, &read, slot).await),
            None => Ok(Ok(())),
        }
    };
    let (there, is_ready) = tokio::try_join!(there, is_ready)?;
    let now = observe::traffic(&read.record, &there.iter().collect::<Vec<_>>());
    let is_whole = agree(&read.record, &there, now);
    if now == to && is_whole && read.record.traffic == to {
        return Ok(());
    }
    // Where a switch was cut off in between, some services are on either side.
    if is_whole && now != from && now != to {
        return Err(moved(Address::Traffic, &read));
    }
    is_ready?;

    let set = engine.records(api, &permit.scope).set();
    let wanted: Vec<Manifest> = objects(&read.record)
        .map(|(_, route)| shared(route.live(to), &set))
        .collect();
    try_join_all(
        wanted
            .iter()
            .map(|manifest| patch(engine, api, &set, manifest, &there)),
    )
    .await?;
    if let Some(slot) = to.slot() {
        let follows = objects(&read.record)
            .map(|(service, route)| follow(engine, api, permit, slot, service, route));
        try_join_all(follows).await?;
    }
    schedules::hand_over(engine, api, permit, &read, to).await?;

    let now = Timestamp::now();
    let change = |record: &mut Record| {
        if record.traffic != to {
            record.switched_at = Some(now);
        }
        record.traffic = to;
        if let Some(there) = to.slot().and_then(|slot| record.slots.get_mut(&slot)) {
            there.stops_at = None;
        }
    };
    engine.remember(api, permit, &mut read, change).await
}

/// Whether all live objects point where they should.
fn agree(record: &Record, live: &[Value], traffic: LiveTraffic) -> bool {
    let wanted = traffic.as_str();
    live.len() == objects(record).count()
        && live
            .iter()
            .all(|object| object["metadata"]["labels"][mark::ACTIVE] == wanted)
}

/// One patch, for exactly the object that was looked at, and ours. Its status may move in between,
/// its content may not.
async fn patch(
    engine: &KubernetesEngine,
    api: &Api,
    set: &str,
    manifest: &Manifest,
    there: &[Value],
) -> Result<(), EngineError> {
    let key = manifest.key();
    let mut seen = there
        .iter()
        .find(|object| key_of(object).as_ref() == Some(&key))
        .cloned();

    for _ in 0..TRIES {
        if let Some(live) = seen.as_ref().filter(|live| !belongs_to(live, set)) {
            return Err(foreign(&key, live));
        }
        let version = seen
            .as_ref()
            .and_then(|object| object["metadata"]["resourceVersion"].as_str());
        match apply::apply(api, slots::policy(engine), manifest, version).await {
            Ok(_) => return Ok(()),
            Err(fault)
                if fault.is(StatusCode::CONFLICT)
                    && fault.to_string().contains("the object has been modified") =>
            {
                let now = api
                    .get(&key)
                    .await
                    .map_err(|fault| fault.while_(format!("looking at {}", said(&key))))?;
                if content(now.as_ref(), manifest) != content(seen.as_ref(), manifest) {
                    let by = now.as_ref().and_then(last_manager);
                    return Err(EngineError::Moved {
                        address: Address::Traffic,
                        by,
                        at: Some(Timestamp::now()),
                    });
                }
                seen = now;
            }
            Err(fault) => {
                let reason = apply::replacement(api, manifest.body(), None, fault)
                    .await
                    .map_err(|fault| refused(&key, fault))?;
                return Err(EngineError::Failed {
                    what: format!("switching {}", said(&key)),
                    reason,
                });
            }
        }
    }

    let what = format!("switching {}", said(&key));
    Err(EngineError::Failed {
        what,
        reason:
            "it was given up after several conflicts: somebody else changes it at the same time"
                .to_owned(),
    })
}

/// What a switch changes: the `spec`, and the annotations and labels that it writes. Others are
/// whoever's.
fn content<'a>(object: Option<&'a Value>, wanted: &Manifest) -> Option<Vec<&'a Value>> {
    let object = object?;
    let written = ["annotations", "labels"].into_iter().flat_map(|part| {
        let keys = wanted.body()["metadata"][part].as_object().into_iter();
        keys.flat_map(|keys| keys.keys().cloned())
            .map(move |key| (part, key))
    });
    let marks = written.map(|(part, key)| &object["metadata"][part][key]);
    Some(std::iter::once(&object["spec"]).chain(marks).collect())
}
