//! The world that simulated runs share, and what each of them sees of it: every call through a
//! port passes the run's faults first.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::model::facts::Facts;
use crate::model::release::Actor;
use crate::model::{ContentHash, Digest, ServiceName};
use crate::port::Ports;
use crate::port::hold::Hold;
use crate::port::host_probe::AnyHost;
use crate::redact::Redactor;
use crate::simulate::engine::MemoryEngine;
use crate::simulate::fault::{Broken, Call, Fault, Faults, Kind};
use crate::simulate::objects::Resources;
use crate::simulate::store::MemoryStore;

/// Everything outside of the program, in memory.
#[derive(Debug, Default)]
pub struct World {
    /// Where releases run.
    pub engine: MemoryEngine,
    /// Where history, journal and lock are kept.
    pub store: MemoryStore,
    pub(super) resources: Mutex<Resources>,
    images: Mutex<Images>,
    effects: Mutex<Vec<Effect>>,
    /// How often what has live traffic is not heard of yet when it is asked.
    pub(super) unheard: AtomicU32,
}

/// The images of the registry.
#[derive(Debug, Default)]
struct Images {
    /// What each service was built from last.
    built: BTreeMap<ServiceName, ContentHash>,
    /// What each tag of a service points at.
    tags: BTreeMap<(ServiceName, String), Digest>,
}

/// Something that a run has done to the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// Which run.
    pub run: String,
    /// By which call.
    pub call: Call,
    /// How things stood when it made the call.
    pub moment: Moment,
    /// What was there afterwards.
    pub facts: Facts,
}

/// How things stood for a run when it made a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Whether it knew that its lock was lost.
    pub without_lock: bool,
    /// How many intents its journal had.
    pub intents: usize,
}

impl World {
    /// One that answers so many times that what has live traffic is not heard of.
    #[must_use]
    pub fn unheard(times: u32) -> Self {
        Self {
            unheard: AtomicU32::new(times),
            ..Self::default()
        }
    }

    /// One with resources.
    #[must_use]
    pub(super) fn with(engine: MemoryEngine, store: MemoryStore, resources: Resources) -> Self {
        Self {
            engine,
            store,
            resources: Mutex::new(resources),
            ..Self::default()
        }
    }

    /// Whether all that was to be unheard of has been.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        self.unheard.load(Ordering::Relaxed) == 0
    }

    /// The image that a service's tag points at.
    #[must_use]
    pub fn image(&self, service: &ServiceName, tag: &str) -> Option<Digest> {
        let key = (service.clone(), tag.to_owned());
        self.images().tags.get(&key).cloned()
    }

    /// What runs have done to it, in order.
    #[must_use]
    pub fn effects(&self) -> Vec<Effect> {
        let effects = self.effects.lock().unwrap_or_else(PoisonError::into_inner);
        effects.clone()
    }

    fn images(&self) -> MutexGuard<'_, Images> {
        self.images.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn resources(&self) -> MutexGuard<'_, Resources> {
        self.resources
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A service is built from these inputs.
    pub(super) fn build(&self, service: &ServiceName, inputs: &ContentHash) {
        let mut images = self.images();
        images.built.insert(service.clone(), inputs.clone());
    }

    /// The image of what was built last: the one that its inputs' hash stands for.
    pub(super) fn pushed(&self, service: &ServiceName) -> Digest {
        let images = self.images();
        let inputs = images.built.get(service).map(ContentHash::as_str);
        Digest::of(inputs.unwrap_or_default().as_bytes())
    }

    pub(super) fn tag(&self, service: &ServiceName, image: &Digest, tags: &[String]) {
        let mut images = self.images();
        for tag in tags {
            let key = (service.clone(), tag.clone());
            images.tags.insert(key, image.clone());
        }
    }

    fn note(&self, effect: Effect) {
        let mut effects = self.effects.lock().unwrap_or_else(PoisonError::into_inner);
        effects.push(effect);
    }
}

/// One run of the program: the ports through which it sees the world.
#[derive(Clone)]
pub struct Runner {
    /// The world.
    pub world: Arc<World>,
    /// What goes wrong.
    pub faults: Arc<dyn Faults>,
    /// Is cancelled when the run is killed.
    pub killed: CancellationToken,
    /// Is cancelled when the run is paused.
    pub paused: CancellationToken,
    /// Lets it go on.
    pub resumed: CancellationToken,
    /// Its lock.
    pub hold: Hold,
    /// Who it is.
    pub actor: Actor,
}

impl Runner {
    /// A run that holds this lock.
    #[must_use]
    pub fn new(world: Arc<World>, faults: Arc<dyn Faults>, hold: Hold, actor: Actor) -> Self {
        Self {
            world,
            faults,
            killed: CancellationToken::new(),
            paused: CancellationToken::new(),
            resumed: CancellationToken::new(),
            hold,
            actor,
        }
    }

    /// What a run needs of the world.
    #[must_use]
    pub fn ports(&self, redactor: Redactor) -> Ports {
        let all = Arc::new(self.clone());
        Ports {
            engine: all.clone(),
            provider: all.clone(),
            registry: all.clone(),
            builder: all.clone(),
            store: all.clone(),
            checker: all.clone(),
            hooks: all.clone(),
            host: Arc::new(AnyHost),
            secrets: all,
            redactor,
        }
    }

    /// Makes a call, or has it go wrong.
    pub(super) async fn make<T, E: Broken>(
        &self,
        call: Call,
        effect: impl Future<Output = Result<T, E>> + Send,
    ) -> Result<T, E> {
        let moment = self.moment();
        let fault = self.faults.at(&call);
        self.make_at(moment, fault, call, effect).await
    }

    /// How things stand for the run when it makes a call: whatever befalls the call counts from
    /// there.
    pub(super) fn moment(&self) -> Moment {
        Moment {
            without_lock: self.hold.lost().is_cancelled(),
            intents: self.world.store.intents(&self.actor.run),
        }
    }

    /// Makes a call of which it is known what becomes of it.
    pub(super) async fn make_at<T, E: Broken>(
        &self,
        moment: Moment,
        fault: Option<Fault>,
        call: Call,
        effect: impl Future<Output = Result<T, E>> + Send,
    ) -> Result<T, E> {
        match fault {
            None => self.noted(moment, &call, effect).await,
            Some(Fault::Error) => Err(E::failed(&call)),
            Some(Fault::Moved) => Err(E::moved(&call)),
            Some(Fault::LostReply) => {
                self.noted(moment, &call, effect).await?;
                Err(E::failed(&call))
            }
            Some(Fault::Slow) => {
                late().await;
                match E::late(&call) {
                    Some(error) => Err(error),
                    None => self.noted(moment, &call, effect).await,
                }
            }
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::KilledBefore) => self.die().await,
            Some(Fault::KilledAfter) => {
                let _ = self.noted(moment, &call, effect).await;
                self.die().await
            }
            Some(Fault::Paused) => {
                self.paused.cancel();
                self.resumed.cancelled().await;
                self.noted(moment, &call, effect).await
            }
        }
    }

    async fn noted<T, E>(
        &self,
        moment: Moment,
        call: &Call,
        effect: impl Future<Output = Result<T, E>> + Send,
    ) -> Result<T, E> {
        let result = effect.await;
        if call.kind == Kind::Acts && result.is_ok() {
            self.world.note(Effect {
                run: self.actor.run.clone(),
                call: call.clone(),
                moment,
                facts: self.world.engine.facts(),
            });
        }
        result
    }

    /// Nothing is heard of a run that was killed.
    async fn die<T>(&self) -> T {
        self.killed.cancel();
        std::future::pending().await
    }
}

/// Whatever else can go on does so first.
async fn late() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}
