//! One of the environment's own objects on its way to the server.

use std::collections::BTreeSet;

use serde_json::Value;

use super::moved;
use crate::driver::kubernetes::client::api::{Api, ApiError, Kind};
use crate::driver::kubernetes::engine::apply::{self, refused, said};
use crate::driver::kubernetes::engine::autoscale::{Pods, Scalers, is_of_ours};
use crate::driver::kubernetes::engine::cache::{Announced, Seen};
use crate::driver::kubernetes::engine::compare::{Comparison, compare};
use crate::driver::kubernetes::engine::complete::shared;
use crate::driver::kubernetes::engine::holds::{Asked, ClaimHolder, NOTHING, bound, guard};
use crate::driver::kubernetes::engine::observe::{fingerprint, identity};
use crate::driver::kubernetes::engine::record::Read;
use crate::driver::kubernetes::engine::unknown_kind::unknown;
use crate::driver::kubernetes::engine::{KubernetesEngine, owner, slots};
use crate::model::loss::Holding;
use crate::model::object::{ObjectFault, has_number, mark};
use crate::model::{Fingerprint, Manifest, ObjectKey};
use crate::port::Progress;
use crate::port::engine::{EngineError, Permit};

/// An object that is to be as the configuration has it.
pub(in super::super) struct Application<'a> {
    pub engine: &'a KubernetesEngine,
    pub permit: &'a Permit,
    pub manifest: &'a Manifest,
    /// Whether it is deleted first, and made again.
    pub replace: bool,
    pub expects: Option<Fingerprint>,
    pub progress: Progress<'a>,
}

/// How the object stands before it is applied.
struct Current {
    /// The record; none while there is no place for one.
    read: Option<Read>,
    live: Option<Value>,
    /// The version that was seen when the plan was made, where that still counts.
    version: Option<String>,
    scalers: Scalers,
}

impl Current {
    /// What the object is bound to; none when it is not there.
    fn fingerprint(&self, whole: &Manifest, holds: &[Holding]) -> Option<Fingerprint> {
        let live = self.scalers.settled(whole, self.live.as_ref()?);
        Some(bound(fingerprint(&live, Some(whole.body())), holds))
    }
}

impl Application<'_> {
    pub async fn run(&self) -> Result<(), EngineError> {
        let (engine, permit) = (self.engine, self.permit);
        let api = engine.api().await?;
        let set = engine.records(api, &permit.scope).set();
        let whole = shared(self.manifest, &set);
        let key = whole.key();

        // Its kind and place first: what is made must be found again.
        let kind = kind(api, &key).await?;
        let announced = (BTreeSet::from([kind]), vec![whole.clone()]);
        engine.will_announce(&announced);

        let current = self.current(api, &whole).await?;
        let object = match &current.live {
            Some(live) if !self.replace => current.scalers.leave(&whole, live, Pods::Wanted),
            _ => whole.clone(),
        };
        if let Some(live) = &current.live {
            refuse_foreign(&key, live, &set)?;
            if compare(object.body(), live) == Comparison::Same {
                return Ok(());
            }
        }

        let holds = self
            .holds(api, &set, &object, current.live.as_ref())
            .await?;
        if current.fingerprint(&whole, &holds) != self.expects && !self.is_bound_to(&current) {
            // What was seen may be of before: a look tells who has moved it.
            if current.version.is_some() {
                return Box::pin(self.run()).await;
            }
            return Err(moved(&key, current.live.as_ref()));
        }
        if let Some(mut read) = current.read {
            engine.announce(api, permit, &mut read, &announced).await?;
        }

        let (live, version) = (current.live.as_ref(), current.version.as_deref());
        if self.replace
            && let Some(live) = live
        {
            self.make_room(api, &object, live, &holds).await?;
        }
        let left = self.left_to_others(api, &object, live).await?;
        let applied = apply::apply(api, slots::policy(engine), &left, version).await;
        if applied.is_err() && version.is_some() {
            return Box::pin(self.run()).await;
        }
        applied.map_err(|fault| refused(&key, fault))?;
        self.follow_up(api, &key, &announced).await
    }

    /// The record, the object and what scales it. What was seen when the plan was made counts as
    /// long as the server has no other version of it.
    async fn current(&self, api: &Api, whole: &Manifest) -> Result<Current, EngineError> {
        let key = whole.key();
        let failed = |fault: ApiError| fault.while_(format!("looking at {}", said(&key)));
        let seen = self.engine.seen().remove(&key).filter(|_| !self.replace);
        let live = async {
            match &seen {
                Some(seen) => Ok(Some(seen.live.clone())),
                None => api.get(&key).await.map_err(failed),
            }
        };
        let (read, live) = tokio::try_join!(self.enter(api), live)?;

        let (version, scalers) = if let Some(Seen { live, scalers }) = seen {
            (version_of(&live), scalers)
        } else {
            let namespaces = key.namespace.as_deref().into_iter();
            let is_numbered = |live: &Value| has_number(whole.body()) || is_of_ours(live);
            let numbered = live.as_ref().filter(|live| is_numbered(live));
            let numbered = numbered.map(|_| whole.body()).into_iter();
            let scalers = Scalers::of(api, namespaces, numbered).await;
            (None, scalers.map_err(failed)?)
        };
        Ok(Current {
            read,
            live,
            version,
            scalers,
        })
    }

    /// Whether the plan knew the object in another version of its kind, and this is that object.
    fn is_bound_to(&self, current: &Current) -> bool {
        let found = current.live.as_ref().map(identity);
        !self.replace && found.is_some() && found == self.expects
    }

    /// Shows the permit. The home namespace is made before there is a place for the record; then
    /// there is nobody to be kept away yet.
    async fn enter(&self, api: &Api) -> Result<Option<Read>, EngineError> {
        let home = &self.engine.settings.namespaces.home;
        if self.manifest.kind() == "Namespace" && self.manifest.name() == home {
            let key = self.manifest.key();
            let found = api.get(&key).await;
            let found =
                found.map_err(|fault| fault.while_(format!("looking at {}", said(&key))))?;
            if found.is_none() {
                return Ok(None);
            }
        }
        self.engine.enter(api, self.permit).await.map(Some)
    }

    /// What goes with the object as it is changed, or replaced.
    async fn holds(
        &self,
        api: &Api,
        set: &str,
        object: &Manifest,
        live: Option<&Value>,
    ) -> Result<Vec<Holding>, EngineError> {
        let Some(live) = live else {
            return Ok(Vec::new());
        };

        let holder = ClaimHolder {
            api,
            scope: &self.permit.scope,
            set,
            going: &NOTHING,
            asked: Asked::ForStep,
        };

        let holds = holder.changed(object, live, self.replace).await;
        holds.map_err(|fault| fault.while_(format!("looking at {}", said(&object.key()))))
    }

    /// Deletes the object that is to be replaced, unless something goes with it.
    async fn make_room(
        &self,
        api: &Api,
        object: &Manifest,
        live: &Value,
        holds: &[Holding],
    ) -> Result<(), EngineError> {
        let key = object.key();
        guard(&key, holds)?;
        apply::refuse_protected(&key, live)?;
        (self.progress)(&format!("{} is deleted, to be replaced", said(&key)));
        apply::make_room(api, live, object).await
    }

    /// The object without the fields that are left to other managers.
    async fn left_to_others(
        &self,
        api: &Api,
        object: &Manifest,
        live: Option<&Value>,
    ) -> Result<Manifest, EngineError> {
        let live = live.filter(|_| !self.replace && object.kind() != "Secret");
        let left = apply::left_to_others(api, slots::policy(self.engine), object, live).await;
        left.map_err(|fault| refused(&object.key(), fault))
    }

    /// What an object changes for those after it: the kinds that there are, and the place of the
    /// record.
    async fn follow_up(
        &self,
        api: &Api,
        key: &ObjectKey,
        announced: &Announced,
    ) -> Result<(), EngineError> {
        for text in api.warnings() {
            (self.progress)(&text);
        }

        if matches!(key.kind.as_str(), "CustomResourceDefinition" | "APIService") {
            api.forget_kinds();
        }

        if key.kind == "Namespace" && key.name == self.engine.settings.namespaces.home {
            let mut read = self.engine.enter(api, self.permit).await?;
            self.engine
                .announce(api, self.permit, &mut read, announced)
                .await?;
        }

        Ok(())
    }
}

async fn kind(api: &Api, key: &ObjectKey) -> Result<Kind, EngineError> {
    let kind = api.kind(&key.api_version, &key.kind).await;
    let kind = kind.map_err(|fault| fault.while_(format!("looking at {}", said(key))))?;
    let Some(kind) = kind else {
        let ObjectFault { reason, help, .. } = unknown(api, key).await;
        let help = help.unwrap_or_default();
        return Err(EngineError::Refused { reason, help });
    };
    Ok(kind)
}

fn refuse_foreign(key: &ObjectKey, live: &Value, set: &str) -> Result<(), EngineError> {
    if live["metadata"]["labels"][mark::PART_OF] == set || key.kind == "Namespace" {
        return Ok(());
    }
    Err(EngineError::Refused {
        reason: format!(
            "{} is there and belongs to {}",
            said(key),
            owner::manager(live)
        ),
        help: "`shipit import` takes it over".to_owned(),
    })
}

fn version_of(live: &Value) -> Option<String> {
    let version = live["metadata"]["resourceVersion"].as_str();
    version.map(str::to_owned)
}
