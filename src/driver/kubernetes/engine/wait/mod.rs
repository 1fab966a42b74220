//! Waiting: a LIST and then a watch for each kind, and a look at everything whenever something
//! moved. Nothing is polled, and what will not get better by itself ends the wait at once.

mod object;
mod slot;
mod trouble;

pub(super) use object::{is_of, makes, object};
pub(super) use slot::{SlotWait, whole_slot};
pub(super) use trouble::not_made;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use http::StatusCode;
use kube::core::WatchEvent;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use crate::driver::kubernetes::client::api::{Api, ApiError, Kind, Selector};
use crate::driver::kubernetes::engine::done::is_job;
use crate::driver::kubernetes::engine::list::key_of;
use crate::driver::kubernetes::engine::ready::{Ready, ready};
use crate::model::ObjectKey;

/// Why a Job is not waited for any longer that was made and is not there.
const UNSEEN: &str = "it is not there any more, and nobody saw it done: it was deleted, or its \
                      `ttlSecondsAfterFinished` is too short (60 is enough)";
/// How often what was heard is looked at again although nothing moved: some of it only counts after
/// a time.
const AGAIN: Duration = Duration::from_secs(1);

/// Objects of one kind in one place that a wait looks at.
#[derive(Debug, Clone)]
pub(super) struct Watched {
    pub kind: Kind,
    pub namespace: Option<String>,
    pub selector: Selector,
    pub need: Need,
}

/// Whether a wait can do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    Must,
    /// It only helps to understand: who may not see it waits without.
    Helps,
}

/// What a watch says.
enum Said {
    /// All objects of one kind in one place, as they are now.
    All { place: usize, objects: Vec<Value> },
    /// One object as it is now.
    Is(Value),
    /// One object went away.
    Gone(Value),
    /// It cannot be watched.
    Failed(ApiError),
}

/// Waits until `check` has something to say about the objects of some kinds, or until the deadline.
pub(super) async fn until<T>(
    api: &Arc<Api>,
    watched: &[Watched],
    deadline: Instant,
    mut check: impl FnMut(&BTreeMap<ObjectKey, Value>) -> Option<T>,
) -> Result<Option<T>, ApiError> {
    let (say, mut heard) = mpsc::channel(256);
    // Dropped with this function: no watch outlives its wait.
    let mut tasks = JoinSet::new();
    for (place, one) in watched.iter().enumerate() {
        tasks.spawn(follow(Arc::clone(api), place, one.clone(), say.clone()));
    }
    drop(say);

    let mut objects: BTreeMap<ObjectKey, Value> = BTreeMap::new();
    let mut listed = BTreeSet::new();
    let timer = tokio::time::sleep_until(deadline);
    tokio::pin!(timer);

    let mut again = tokio::time::interval(AGAIN);
    again.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let said = tokio::select! {
            said = heard.recv() => said.map(Some),
            _ = again.tick() => Some(None),
            () = &mut timer => return Ok(None),
        };
        let Some(said) = said else {
            return Ok(None);
        };
        match said {
            None => {}
            Some(Said::Failed(fault)) => return Err(fault),
            Some(Said::All {
                place,
                objects: all,
            }) => {
                relist(&mut objects, &watched[place], all);
                listed.insert(place);
            }
            Some(Said::Is(object)) => {
                if let Some(key) = key_of(&object) {
                    objects.insert(key, object);
                }
            }
            Some(Said::Gone(object)) => forget(&mut objects, object),
        }

        if listed.len() == watched.len()
            && heard.is_empty()
            && let Some(found) = check(&objects)
        {
            return Ok(Some(found));
        }
    }
}

/// Puts all objects of one kind in one place as they are now.
fn relist(objects: &mut BTreeMap<ObjectKey, Value>, watched: &Watched, all: Vec<Value>) {
    let Watched {
        kind, namespace, ..
    } = watched;
    objects.retain(|key, _| !kind.is_of(key) || key.namespace != *namespace);
    objects.extend(
        all.into_iter()
            .filter_map(|object| Some((key_of(&object)?, object))),
    );
}

fn forget(objects: &mut BTreeMap<ObjectKey, Value>, object: Value) {
    let Some(key) = key_of(&object) else {
        return;
    };
    // That a Job was done stays true when it goes.
    if is_job(&key) && ready(&object, &BTreeMap::new()) == Ready::Yes {
        objects.insert(key, object);
    } else {
        objects.remove(&key);
    }
}

/// One kind in one place: listed, then watched; listed again when the watch breaks off.
async fn follow(api: Arc<Api>, place: usize, watched: Watched, say: mpsc::Sender<Said>) {
    let Watched {
        kind,
        namespace,
        selector,
        need,
    } = watched;
    loop {
        let mut objects = Vec::new();
        let listed = api
            .list(&kind, namespace.as_deref(), &selector, |object| {
                objects.push(object);
            })
            .await;
        let since = match listed {
            Ok(version) => Some(version),
            Err(fault) if need == Need::Helps && fault.is(StatusCode::FORBIDDEN) => None,
            Err(fault) => {
                let _ = say.send(Said::Failed(fault)).await;
                return;
            }
        };
        let all = say.send(Said::All { place, objects }).await;
        let (Ok(()), Some(mut since)) = (all, since) else {
            return;
        };

        // A watch that ends in peace goes on where it was.
        while watch(
            &api,
            &kind,
            namespace.as_deref(),
            &selector,
            &mut since,
            &say,
        )
        .await
        {}
        if say.is_closed() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Hands on what happens; true when it can go on from `since`.
async fn watch(
    api: &Api,
    kind: &Kind,
    namespace: Option<&str>,
    selector: &Selector,
    since: &mut String,
    say: &mpsc::Sender<Said>,
) -> bool {
    let Ok(events) = api.watch(kind, namespace, selector, since).await else {
        return false;
    };

    tokio::pin!(events);
    while let Some(event) = events.next().await {
        let said = match event {
            Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
                Said::Is(named(kind, object))
            }
            Ok(WatchEvent::Deleted(object)) => Said::Gone(named(kind, object)),
            Ok(WatchEvent::Bookmark(_)) => continue,
            Ok(WatchEvent::Error(_)) | Err(_) => return false,
        };
        if let Said::Is(object) | Said::Gone(object) = &said
            && let Some(version) = object["metadata"]["resourceVersion"].as_str()
        {
            version.clone_into(since);
        }
        if say.send(said).await.is_err() {
            return false;
        }
    }

    true
}

fn named(kind: &Kind, mut object: Value) -> Value {
    object["apiVersion"] = kind.api_version.clone().into();
    object["kind"] = kind.kind.clone().into();
    object
}
