//! Objects and resources in memory: what was observed of each, until something is done to it.

use std::collections::BTreeMap;

use crate::model::object::{ObjectFacts, ObjectState};
use crate::model::resource::{Resource, ResourceFacts, ResourceKey, StoredImage};
use crate::model::{Fingerprint, Manifest, ObjectKey};
use crate::port::engine::Foreseen;

/// An object.
#[derive(Debug, Clone)]
enum Object {
    /// Nothing was done to it since it was observed.
    Observed(Box<ObjectFacts>),
    /// It was applied.
    Applied(Box<Manifest>),
}

impl Object {
    fn fingerprint(&self) -> Option<Fingerprint> {
        match self {
            Self::Observed(facts) => facts.fingerprint.clone(),
            Self::Applied(manifest) => Some(Fingerprint::of_json(manifest)),
        }
    }
}

/// The objects of one environment.
#[derive(Debug, Default)]
pub(super) struct Objects(BTreeMap<ObjectKey, Object>);

impl Objects {
    pub(super) fn seeded(observed: &[ObjectFacts]) -> Self {
        let known = observed.iter().map(|facts| {
            let object = Object::Observed(Box::new(facts.clone()));
            (facts.key.clone(), object)
        });
        Self(known.collect())
    }

    /// How they stand against what is wanted, and those of the environment's that are not wanted.
    pub(super) fn compare(&self, wanted: &[Manifest]) -> Vec<ObjectFacts> {
        let mut found: Vec<ObjectFacts> = wanted.iter().map(|one| self.against(one)).collect();
        for (key, object) in &self.0 {
            let is_wanted = wanted.iter().any(|manifest| manifest.key() == *key);
            if let Object::Observed(facts) = object
                && facts.state == ObjectState::Gone
                && !is_wanted
            {
                found.push(facts.as_ref().clone());
            }
        }
        found
    }

    fn against(&self, wanted: &Manifest) -> ObjectFacts {
        let key = wanted.key();
        match self.0.get(&key) {
            None => ObjectFacts::plain(key, ObjectState::Absent),
            Some(Object::Observed(facts)) => facts.as_ref().clone(),
            Some(object @ Object::Applied(manifest)) => {
                let state = if manifest.hash() == wanted.hash() {
                    ObjectState::Same
                } else {
                    ObjectState::Differs
                };
                ObjectFacts {
                    fingerprint: object.fingerprint(),
                    before: Some(manifest.as_ref().clone()),
                    ..ObjectFacts::plain(key, state)
                }
            }
        }
    }

    /// Applies one that is as it is expected to be.
    ///
    /// # Errors
    /// The one that is not.
    pub(super) fn apply(
        &mut self,
        manifest: &Manifest,
        expects: Option<&Fingerprint>,
    ) -> Result<(), ObjectKey> {
        let key = manifest.key();
        let is_done = matches!(
            self.0.get(&key), Some(Object::Applied(there)) if there.hash() == manifest.hash()
        );
        if !is_done && self.fingerprint(&key).as_ref() != expects {
            return Err(key);
        }
        let applied = Object::Applied(Box::new(manifest.clone()));
        self.0.insert(key, applied);
        Ok(())
    }

    /// Deletes one that is as it is expected to be; one that is not there is gone already.
    ///
    /// # Errors
    /// The one that is not.
    pub(super) fn delete(
        &mut self,
        key: &ObjectKey,
        expects: Option<&Fingerprint>,
        foreseen: Foreseen<'_>,
    ) -> Result<(), ObjectKey> {
        let there = self.fingerprint(key);
        let holds = match self.0.get(key) {
            Some(Object::Observed(facts)) => facts.holds.as_slice(),
            Some(Object::Applied(_)) | None => &[],
        };
        if there.is_some() && (there.as_ref() != expects || !foreseen.covers(holds)) {
            return Err(key.clone());
        }
        self.0.remove(key);
        Ok(())
    }

    pub(super) fn forget(&mut self, key: &ObjectKey) {
        self.0.remove(key);
    }

    fn fingerprint(&self, key: &ObjectKey) -> Option<Fingerprint> {
        self.0.get(key).and_then(Object::fingerprint)
    }
}

/// The provider's resources of one environment.
#[derive(Debug, Default)]
pub(super) struct Resources(BTreeMap<ResourceKey, ResourceFacts>);

impl Resources {
    pub(super) fn seeded(observed: &[ResourceFacts]) -> Self {
        let known = observed
            .iter()
            .map(|facts| (facts.key.clone(), facts.clone()));
        Self(known.collect())
    }

    /// How those that are wanted are, and the environment's others.
    pub(super) fn observe(&self, wanted: &[Resource]) -> Vec<ResourceFacts> {
        let is_wanted = |key: &ResourceKey| wanted.iter().any(|resource| resource.key == *key);
        let of = |resource: &Resource| {
            let there = self.0.get(&resource.key).cloned();
            there.unwrap_or_else(|| ResourceFacts::absent(resource.key.clone()))
        };
        let others = self.0.values().filter(|facts| !is_wanted(&facts.key));
        wanted.iter().map(of).chain(others.cloned()).collect()
    }

    /// Makes one what it should be; a setting that is not named stays.
    pub(super) fn ensure(&mut self, resource: &Resource) {
        let key = &resource.key;
        let there = self.0.entry(key.clone());
        let facts = there.or_insert_with(|| ResourceFacts::absent(key.clone()));
        let settings = facts.settings.get_or_insert_default();
        settings.extend(resource.settings.clone());
    }

    pub(super) fn delete(&mut self, key: &ResourceKey) {
        self.0.remove(key);
    }

    pub(super) fn images(&self, key: &ResourceKey) -> Vec<StoredImage> {
        let facts = self.0.get(key);
        facts.map_or_else(Vec::new, |facts| facts.images.clone())
    }

    pub(super) fn fingerprint(&self, key: &ResourceKey) -> Option<Fingerprint> {
        self.0.get(key).and_then(ResourceFacts::fingerprint)
    }
}
