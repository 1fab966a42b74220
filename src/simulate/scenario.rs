//! What a simulation begins with, and how its runs make their plans.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::check::Check;
use crate::model::desired::Desired;
use crate::model::facts::Overview;
use crate::model::journal::Journal;
use crate::model::observed::{Observed, SecretFacts};
use crate::model::plan::{Action, Plan};
use crate::model::state::State;
use crate::model::{Address, Fingerprint, Period};
use crate::plan::{PlanError, last_run};
use crate::port::StateStore as _;
use crate::port::engine::Scope;
use crate::port::registry::inputs_tag;
use crate::simulate::engine::MemoryEngine;
use crate::simulate::objects::Resources;
use crate::simulate::store::MemoryStore;
use crate::simulate::world::World;

/// Makes a plan from what was found and the state.
pub type Draw = Arc<dyn Fn(&Observed, &State) -> Result<Plan, PlanError> + Send + Sync>;

/// What a simulation begins with.
#[derive(Clone)]
pub struct Scenario {
    /// What should be true.
    pub desired: Desired,
    /// What was found.
    pub observed: Observed,
    /// The state.
    pub state: State,
    /// The journal of the last run.
    pub journal: Option<Journal>,
    /// Makes the plans.
    pub draw: Draw,
}

impl Scenario {
    /// The environment.
    #[must_use]
    pub fn scope(&self) -> Scope {
        Scope {
            project: self.desired.project.clone(),
            environment: self.desired.environment.clone(),
        }
    }

    /// A world in which everything is as it was observed.
    #[must_use]
    pub fn world(&self) -> World {
        let observed = &self.observed;
        let hashes = observed.secrets.iter();
        let hashes = hashes.filter_map(|(name, facts)| match facts {
            SecretFacts::Known { hash, .. } => Some((name.clone(), hash.clone()?)),
            SecretFacts::Unknown { .. } => None,
        });
        let (facts, objects) = (observed.facts.clone(), &observed.objects);
        let engine = MemoryEngine::seeded(self.scope(), facts, objects, hashes.collect());
        let store = MemoryStore::seeded(self.state.clone(), self.journal.clone());
        World::with(engine, store, Resources::seeded(&observed.resources))
    }

    /// The state as it is in a world.
    pub(super) async fn state(&self, world: &World) -> State {
        let kept = world.store.read(&self.desired.environment).await;
        kept.ok().flatten().unwrap_or_else(|| self.state.clone())
    }

    /// What a run finds in a world.
    pub async fn observe(&self, world: &World) -> Observed {
        let environment = &self.desired.environment;
        let facts = world.engine.facts();
        let journal = world.store.last_journal(environment).await.ok().flatten();
        let left = last_run(journal.as_ref(), &Overview::from(&facts)).left();

        let mut images = self.observed.images.clone();
        for (service, image) in &mut images {
            if let Some(made) = world.image(service, &inputs_tag(&image.inputs.hash)) {
                (image.found, image.rebuild) = (Some(made), false);
            }
        }

        Observed {
            objects: world.engine.objects_against(&self.desired.objects),
            resources: world.resources().observe(&self.desired.resources),
            facts,
            images,
            named: self.observed.named.clone(),
            secrets: self.observed.secrets.clone(),
            left,
        }
    }

    /// The plan that a run makes in a world. What only the real world can say is taken to hold:
    /// signatures, and scans of images.
    ///
    /// # Errors
    /// There is no such plan.
    pub async fn draw(&self, world: &World) -> Result<Plan, PlanError> {
        let (observed, state) = (self.observe(world).await, self.state(world).await);
        let plan = (self.draw)(&observed, &state)?;
        Ok(simulated(plan))
    }

    /// Everything in a world that has a fingerprint.
    pub(super) async fn things(&self, world: &World) -> BTreeMap<Address, String> {
        let observed = self.observe(world).await;
        things(&observed)
    }
}

/// A plan as it is carried out in memory.
#[must_use]
pub fn simulated(mut plan: Plan) -> Plan {
    plan.probe.linger = Period::from_millis(0);
    for step in plan.steps.iter_mut().chain(&mut plan.reverse) {
        if let Action::Check { checks, .. } = &mut step.action {
            checks.retain(|check| !matches!(check, Check::Scan(_) | Check::Signature(_)));
        }
    }
    plan
}

fn things(observed: &Observed) -> BTreeMap<Address, String> {
    let facts = &observed.facts;
    let mut things = BTreeMap::new();
    let mut add = |address: Address, fingerprint: Option<&Fingerprint>| {
        if let Some(fingerprint) = fingerprint {
            things.insert(address, fingerprint.to_string());
        }
    };
    for (slot, there) in &facts.slots {
        for (service, workload) in &there.workloads {
            let address = Address::Workload(*slot, service.clone());
            add(address, Some(&workload.fingerprint()));
        }
    }
    for service in facts.routes.keys() {
        let fingerprint = facts.route_fingerprint(service);
        add(Address::Route(service.clone()), fingerprint.as_ref());
    }
    for object in &observed.objects {
        add(
            Address::Object(object.key.clone()),
            object.fingerprint.as_ref(),
        );
    }
    for resource in &observed.resources {
        let fingerprint = resource.fingerprint();
        add(
            Address::Resource(resource.key.clone()),
            fingerprint.as_ref(),
        );
    }
    for (service, image) in &observed.images {
        if let Some(found) = &image.found {
            let fingerprint = Fingerprint::of_json(found);
            add(Address::Image(service.clone()), Some(&fingerprint));
        }
    }
    things
}
