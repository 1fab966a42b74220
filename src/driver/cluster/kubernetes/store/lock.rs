//! The lock: a `Lease`, renewed while its holder lives, with a number that only goes up.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::driver::cluster::kubernetes::api::Api;
use crate::driver::cluster::kubernetes::store::{KubernetesStore, failed};
use crate::files::process;
use crate::model::release::Actor;
use crate::model::state::Holder;
use crate::model::{EnvironmentName, ObjectKey};
use crate::port::store::{Lease, StoreError};

/// How often the holder says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(4);
/// After how long without a heartbeat a holder on another machine counts as dead.
const EXPIRY: Duration = Duration::from_secs(30);
/// How often a waiting taker looks.
const LOOK: Duration = Duration::from_millis(250);
/// How often a change is tried that somebody else's came before.
const TRIES: usize = 10;

const FENCE: &str = "shipit.dev/fence";
const HOLDER: &str = "shipit.dev/holder";
const ABORT: &str = "shipit.dev/abort";

/// What the `Lease` says.
#[derive(Debug, Clone, Default)]
struct Lock {
    /// The highest number that was ever given.
    fence: u64,
    holder: Option<Holder>,
    /// The number of the run that somebody wants aborted.
    abort: Option<u64>,
    /// None before it was ever made.
    version: Option<String>,
}

/// Where the lock of an environment is.
#[derive(Clone)]
struct Place {
    api: Arc<Api>,
    key: ObjectKey,
    environment: EnvironmentName,
    labels: Value,
}

async fn place(
    store: &KubernetesStore,
    environment: &EnvironmentName,
) -> Result<Place, StoreError> {
    let api = Arc::clone(store.api().await?);
    let key = store.object("Lease", store.name(environment));
    let labels = store.labels(environment, "lock");
    Ok(Place {
        api,
        key,
        environment: environment.clone(),
        labels,
    })
}

fn lives(holder: &Holder, now: Timestamp) -> bool {
    if holder.actor.host == process::host() {
        return process::started(holder.pid) == Some(holder.pid_started);
    }
    now.duration_since(holder.heartbeat).unsigned_abs() < EXPIRY
}

impl Place {
    async fn read(&self) -> Result<Lock, StoreError> {
        let found = self
            .api
            .get(&self.key)
            .await
            .map_err(failed("reading the lock"))?;
        let Some(object) = found else {
            return Ok(Lock::default());
        };
        let note = |name: &str| object["metadata"]["annotations"][name].as_str();
        Ok(Lock {
            fence: note(FENCE).and_then(|text| text.parse().ok()).unwrap_or(0),
            holder: note(HOLDER).and_then(|text| serde_json::from_str(text).ok()),
            abort: note(ABORT).and_then(|text| text.parse().ok()),
            version: object["metadata"]["resourceVersion"]
                .as_str()
                .map(str::to_owned),
        })
    }

    /// Writes the lock as it should be; false when somebody else has written it since it was read.
    async fn write(&self, lock: &Lock) -> Result<bool, StoreError> {
        let mut notes = json!({FENCE: lock.fence.to_string()});
        let mut spec = json!({"leaseTransitions": i32::try_from(lock.fence).unwrap_or(i32::MAX)});
        if let Some(holder) = &lock.holder {
            notes[HOLDER] = serde_json::to_string(holder).unwrap_or_default().into();
            spec["holderIdentity"] = holder.actor.to_string().into();
            spec["leaseDurationSeconds"] = EXPIRY.as_secs().into();
            spec["acquireTime"] = format!("{:.6}", holder.since).into();
            spec["renewTime"] = format!("{:.6}", holder.heartbeat).into();
        }
        if let Some(fence) = lock.abort {
            notes[ABORT] = fence.to_string().into();
        }
        let mut body = json!({
            "apiVersion": self.key.api_version, "kind": "Lease", "spec": spec,
            "metadata": {"name": self.key.name, "namespace": self.key.namespace, "labels": self.labels,
                "annotations": notes},
        });
        let written = match &lock.version {
            None => self.api.create(&body).await,
            Some(version) => {
                body["metadata"]["resourceVersion"] = version.clone().into();
                self.api.replace(&self.key, &body).await
            }
        };
        match written {
            Ok(_) => Ok(true),
            Err(fault) if fault.is(StatusCode::CONFLICT) => Ok(false),
            Err(fault) if fault.is(StatusCode::NOT_FOUND) => {
                let namespace = self.key.namespace.clone().unwrap_or_default();
                let reason = format!(
                    "namespace {namespace} is not there: make it, or name another under `state.namespace`"
                );
                Err(StoreError::Io {
                    what: "taking the lock".to_owned(),
                    source: std::io::Error::other(reason),
                })
            }
            Err(fault) => Err(failed("writing the lock")(fault)),
        }
    }

    /// Changes the lock as `change` says, which may leave it as it is.
    async fn change<T>(
        &self,
        change: impl Fn(&mut Lock) -> Result<Option<T>, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        for _ in 0..TRIES {
            let mut lock = self.read().await?;
            let Some(result) = change(&mut lock)? else {
                return Ok(None);
            };
            if self.write(&lock).await? {
                return Ok(Some(result));
            }
        }
        let source = std::io::Error::other("somebody else writes it all the time");
        Err(StoreError::Io {
            what: "writing the lock".to_owned(),
            source,
        })
    }

    fn lost(&self, lock: &Lock) -> StoreError {
        let reason = match &lock.holder {
            Some(holder) => format!("{} has it now, for `{}`", holder.actor, holder.command),
            None => "somebody took it away".to_owned(),
        };
        StoreError::Lost {
            environment: self.environment.clone(),
            reason,
        }
    }
}

pub(super) async fn still_held(
    store: &KubernetesStore,
    environment: &EnvironmentName,
    fence: u64,
) -> Result<(), StoreError> {
    let place = place(store, environment).await?;
    let lock = place.read().await?;
    if lock
        .holder
        .as_ref()
        .is_some_and(|holder| holder.fence == fence)
    {
        Ok(())
    } else {
        Err(place.lost(&lock))
    }
}

pub(super) async fn living_holder(
    store: &KubernetesStore,
    environment: &EnvironmentName,
) -> Result<Option<Holder>, StoreError> {
    let lock = place(store, environment).await?.read().await?;
    Ok(lock.holder.filter(|holder| lives(holder, Timestamp::now())))
}

pub(super) async fn request_abort(
    store: &KubernetesStore,
    environment: &EnvironmentName,
) -> Result<bool, StoreError> {
    let place = place(store, environment).await?;
    let asked = place.change(|lock| {
        let fence = lock
            .holder
            .as_ref()
            .filter(|holder| lives(holder, Timestamp::now()))
            .map(|holder| holder.fence);
        lock.abort = fence;
        Ok(fence)
    });
    Ok(asked.await?.is_some())
}

pub(super) async fn break_lock(
    store: &KubernetesStore,
    environment: &EnvironmentName,
) -> Result<Option<Holder>, StoreError> {
    place(store, environment)
        .await?
        .change(|lock| Ok(lock.holder.take()))
        .await
}

pub(super) async fn take(
    store: &KubernetesStore,
    environment: &EnvironmentName,
    actor: &Actor,
    command: &str,
    fence_above: u64,
    wait: Duration,
) -> Result<Box<dyn Lease>, StoreError> {
    let place = place(store, environment).await?;
    let deadline = tokio::time::Instant::now() + wait;
    loop {
        let taken = place.change(|lock| {
            let now = Timestamp::now();
            if let Some(holder) = lock.holder.clone().filter(|holder| lives(holder, now)) {
                let environment = environment.clone();
                return Err(StoreError::Locked {
                    environment,
                    holder: Box::new(holder),
                });
            }
            let fence = lock.fence.max(fence_above) + 1;
            let pid = std::process::id();
            lock.fence = fence;
            lock.abort = None;
            lock.holder = Some(Holder {
                actor: actor.clone(),
                pid,
                pid_started: process::started(pid).unwrap_or_default(),
                command: command.to_owned(),
                since: now,
                heartbeat: now,
                fence,
            });
            Ok(Some(fence))
        });
        match taken.await {
            Ok(Some(fence)) => return Ok(Box::new(Held::begin(place, fence))),
            Ok(None) => {}
            Err(StoreError::Locked { .. }) if tokio::time::Instant::now() < deadline => {}
            Err(error) => return Err(error),
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// A held lock, with its heartbeat.
struct Held {
    place: Place,
    fence: u64,
    lost: CancellationToken,
    abort: CancellationToken,
    heart: tokio::task::JoinHandle<()>,
}

impl Held {
    fn begin(place: Place, fence: u64) -> Self {
        let (lost, abort) = (CancellationToken::new(), CancellationToken::new());
        let heart = tokio::spawn(beat(place.clone(), fence, lost.clone(), abort.clone()));
        Self {
            place,
            fence,
            lost,
            abort,
            heart,
        }
    }
}

/// Says that the holder lives, until the lock is lost. A server that does not answer is asked again until the lock
/// would have expired for others.
async fn beat(place: Place, fence: u64, lost: CancellationToken, abort: CancellationToken) {
    let mut last_good = tokio::time::Instant::now();
    loop {
        tokio::time::sleep(HEARTBEAT).await;
        let renewed = place.change(|lock| {
            match &mut lock.holder {
                Some(holder) if holder.fence == fence => holder.heartbeat = Timestamp::now(),
                _ => return Err(place.lost(lock)),
            }
            Ok(Some(lock.abort == Some(fence)))
        });
        let in_time =
            tokio::time::timeout(EXPIRY.saturating_sub(last_good.elapsed()), renewed).await;
        match in_time {
            Ok(Ok(asked)) => {
                last_good = tokio::time::Instant::now();
                if asked == Some(true) {
                    abort.cancel();
                }
            }
            Ok(Err(StoreError::Lost { .. })) | Err(_) => break,
            Ok(Err(_)) if last_good.elapsed() + HEARTBEAT < EXPIRY => {}
            Ok(Err(_)) => break,
        }
    }
    lost.cancel();
}

#[async_trait]
impl Lease for Held {
    fn fence(&self) -> u64 {
        self.fence
    }

    fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }

    fn abort_requested(&self) -> CancellationToken {
        self.abort.clone()
    }

    async fn release(self: Box<Self>) -> Result<(), StoreError> {
        self.heart.abort();
        let fence = self.fence;
        let given = self.place.change(|lock| {
            let is_own = lock
                .holder
                .as_ref()
                .is_some_and(|holder| holder.fence == fence);
            if is_own {
                lock.holder = None;
            }
            Ok(is_own.then_some(()))
        });
        given.await.map(drop)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.heart.abort();
    }
}
