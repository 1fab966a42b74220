//! The image that a build with these inputs has made: by what the runs of this project have
//! recorded, and never by what a registry says. A tag is what somebody has pushed who may push.
//!
//! The environment's own history is asked first, and that of the others only when it has nothing:
//! what one environment has built, another one need not build again. What cannot be read is no
//! reason to stop: then it is built.

use futures_util::future::join_all;
use tokio::sync::OnceCell;

use crate::model::facts::Facts;
use crate::model::journal::Journal;
use crate::model::state::State;
use crate::model::{ContentHash, Digest, EnvironmentName, ProjectName, ServiceName};
use crate::port::registry::RegistryError;
use crate::port::{Ports, StateStore};

/// How many images that were made from the same inputs are looked for in the registry: a build that
/// gives another image each time has many.
const MOST: usize = 4;

/// What the project's runs have recorded.
pub(super) struct Built<'a> {
    ports: &'a Ports,
    project: &'a ProjectName,
    environment: &'a EnvironmentName,
    own: OnceCell<Record>,
    others: OnceCell<Vec<Record>>,
}

impl<'a> Built<'a> {
    /// Nothing is read yet.
    pub fn new(
        ports: &'a Ports,
        project: &'a ProjectName,
        environment: &'a EnvironmentName,
    ) -> Self {
        Self {
            ports,
            project,
            environment,
            own: OnceCell::new(),
            others: OnceCell::new(),
        }
    }

    /// The newest image that was made from these inputs and that the registry has.
    pub async fn find(
        &self,
        service: &ServiceName,
        inputs: &ContentHash,
    ) -> Result<Option<Digest>, RegistryError> {
        let read = || Record::read(self.ports.store.as_ref(), self.project, self.environment);
        let own = self.own.get_or_init(read).await;
        if let Some(found) = self.there(service, own.made_from(service, inputs)).await? {
            return Ok(Some(found));
        }
        let others = self.others.get_or_init(|| self.others()).await;
        let made = others
            .iter()
            .flat_map(|record| record.made_from(service, inputs));
        self.there(service, made).await
    }

    /// The image that was made from these inputs, by what the engine keeps beside the releases in
    /// the slots. It is written by this project's runs alone, as the history is.
    pub async fn in_slots(
        &self,
        service: &ServiceName,
        inputs: &ContentHash,
        facts: &Facts,
    ) -> Result<Option<Digest>, RegistryError> {
        let slots = facts.slots.values();
        let made = slots.filter_map(|slot| slot.made_from(service, inputs));
        self.there(service, made).await
    }

    async fn there(
        &self,
        service: &ServiceName,
        images: impl Iterator<Item = &Digest>,
    ) -> Result<Option<Digest>, RegistryError> {
        let mut images: Vec<&Digest> = images.collect();
        images.dedup();
        for image in images.into_iter().take(MOST) {
            if self.ports.registry.has(service, image).await? {
                return Ok(Some(image.clone()));
            }
        }
        Ok(None)
    }

    async fn others(&self) -> Vec<Record> {
        let store = self.ports.store.as_ref();
        let names = store.environments().await.unwrap_or_default();
        let others = names.iter().filter(|name| *name != self.environment);
        join_all(others.map(|name| Record::read(store, self.project, name))).await
    }
}

/// What one environment's runs have recorded.
#[derive(Debug, Default)]
struct Record {
    /// The last run, which may have been killed before its end.
    journal: Option<Journal>,
    state: Option<State>,
}

impl Record {
    async fn read(
        store: &dyn StateStore,
        project: &ProjectName,
        environment: &EnvironmentName,
    ) -> Self {
        let (journal, state) =
            tokio::join!(store.last_journal(environment), store.load(environment));
        let is_own =
            |journal: &Journal| journal.plan().is_some_and(|plan| plan.project == *project);
        Self {
            journal: journal.ok().flatten().filter(is_own),
            state: state
                .ok()
                .flatten()
                .filter(|state| state.project == *project),
        }
    }

    fn made_from<'a>(
        &'a self,
        service: &'a ServiceName,
        inputs: &'a ContentHash,
    ) -> impl Iterator<Item = &'a Digest> {
        let journal = self.journal.iter();
        let last = journal.flat_map(|journal| journal.made_from(service, inputs));
        let states = self.state.iter();
        last.chain(states.flat_map(|state| state.made_from(service, inputs)))
    }
}
